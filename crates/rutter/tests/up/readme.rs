//! The session in README.md, typed as it stands there: a reader who types it sees what it shows.
//!
//! Compared are words, column widths apart. What differs from one start to the next has one spelling on both sides: ages, times, generated
//! names and addresses, sizes. A line `...` stands for any lines, `...` within a line for any text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Machine, kubectl, run};
use crate::cluster::{project, until};

/// A command of the session and what the README shows behind it.
struct Step {
    command: String,
    shown: Vec<String>,
}

#[test]
fn the_session_in_the_readme_is_what_a_reader_sees() {
    let Some(program) = kubectl("the_session_in_the_readme_is_what_a_reader_sees") else { return };
    let machine = Machine::up();
    let shell = Shell { machine: &machine, path: path_with(&program) };
    let readme = std::fs::read_to_string(project().join("README.md")).expect("README.md");
    let steps = session(&readme);
    assert!(steps.len() >= 8, "a session of {} commands", steps.len());
    let shown_addresses = cluster_ips(steps.iter().flat_map(|step| &step.shown).map(String::as_str));
    let mut before: Option<String> = None;
    for step in &steps {
        if step.command.starts_with("export ") {
            continue;
        }
        let command = with_addresses(&step.command, &shown_addresses, &shell);
        let mut said = String::new();
        let mut n_tries = 0;
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the README is right", || {
                // A reader types slower than pods start, and a request is answered, and logged, by either pod.
                if let Some(before) = before.as_ref().filter(|_| n_tries > 0) {
                    shell.run(before);
                }
                n_tries += 1;
                said = shell.run(&command);
                is_shown(&step.shown, &said).then_some(())
            });
        }));
        assert!(seen.is_ok(), "README.md: $ {}\n{}\n--- is, in truth:\n{said}", step.command, step.shown.join("\n"));
        // Only what changes nothing is typed again.
        before = command.starts_with("curl ").then_some(command).or(before);
    }
}

#[test]
fn a_readme_that_went_stale_is_noticed() {
    let is = |shown: &str, said: &str| is_shown(&shown.lines().map(str::to_string).collect::<Vec<_>>(), said);
    assert!(is("web-747f787b6f-8x4zq  1/1  2s", "web-67576956f9-6qw8h 1/1   17s\n"));
    assert!(!is("web-747f787b6f-8x4zq 1/1 2s", "db-67576956f9-6qw8h 1/1 17s"));
    assert!(!is("web 1/1", "web 0/1"));
    assert!(is("a created\n...\nd created", "a created\nb created\nc created\nd created"));
    assert!(!is("a created\n...\nd created", "a created\nb created"));
    assert!(!is("a created", "a created\nb created"));
    assert!(is("{\"a\":1,...,\"path\":\"/\"...}", "{\"a\":1,\"b\":2,\"path\":\"/\",\"c\":3}"));
    assert!(!is("{\"a\":1,...,\"path\":\"/\"...}", "{\"a\":1,\"b\":2,\"path\":\"/api\",\"c\":3}"));
    assert!(is("10.98.80.66 8060:30001/TCP", "10.101.2.3 8060:30001/TCP"));
    assert!(!is("10.98.80.66 8060:30001/TCP", "10.101.2.3 8060:30002/TCP"));
}

/// The shell of a reader, on the node.
struct Shell<'a> {
    machine: &'a Machine,
    path: String,
}

impl Shell<'_> {
    /// All that a command says, on both outputs.
    fn run(&self, command: &str) -> String {
        let line = format!("cd {} && exec 2>&1 && {command}", project().display());
        let (home, kubeconfig) = (self.machine.files.text(), self.machine.kubeconfig().display().to_string());
        let env = [("HOME", home.as_str()), ("KUBECONFIG", kubeconfig.as_str()), ("PATH", self.path.as_str())];
        self.machine.node.run(|| run(&["sh", "-c", &line], None, &env)).unwrap_or_else(|said| said)
    }
}

/// The built rutter and this kubectl before all others.
fn path_with(kubectl: &std::path::Path) -> String {
    let rutter = PathBuf::from(crate::cluster::rutter().get_program());
    let folder = |program: &std::path::Path| program.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    format!("{}:{}:{}", folder(&rutter), folder(kubectl), std::env::var("PATH").unwrap_or_default())
}

/// The commands behind `$` in indented lines of "Try it", each with the indented lines that follow it.
fn session(readme: &str) -> Vec<Step> {
    let section = readme.split("\n## ").find(|section| section.starts_with("Try it\n")).expect("a section \"Try it\"");
    let mut steps: Vec<Step> = Vec::new();
    for line in section.lines() {
        if let Some(command) = line.strip_prefix("    $ ") {
            steps.push(Step { command: command.to_string(), shown: Vec::new() });
        } else if let (Some(shown), Some(step)) = (line.strip_prefix("    "), steps.last_mut()) {
            step.shown.push(shown.to_string());
        }
    }
    steps
}

/// Service names and cluster addresses in lines of `kubectl get svc`.
fn cluster_ips<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let words = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.first()?.strip_prefix("service/")?;
        words.get(2).filter(|address| address.starts_with("10.")).map(|address| (name.to_string(), (*address).to_string()))
    });
    words.collect()
}

/// A command with the addresses of this cluster in place of those in the README.
fn with_addresses(command: &str, shown: &BTreeMap<String, String>, shell: &Shell<'_>) -> String {
    if !shown.values().any(|address| command.contains(address.as_str())) {
        return command.to_string();
    }
    let are = cluster_ips(shell.run("kubectl get svc,ingress").lines());
    shown.iter().fold(command.to_string(), |command, (name, address)| match are.get(name) {
        Some(is) => command.replace(address.as_str(), is),
        None => command,
    })
}

/// Whether what was said is what the README shows.
fn is_shown(shown: &[String], said: &str) -> bool {
    let plain = |lines: Vec<&str>| -> Vec<String> { lines.into_iter().map(one_spelling).filter(|line| !line.is_empty()).collect() };
    let shown = plain(shown.iter().map(String::as_str).collect());
    let said = plain(said.lines().collect());
    lines_match(&shown, &said)
}

fn lines_match(shown: &[String], said: &[String]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((first, rest)) if first == "..." => (0..=said.len()).any(|n| lines_match(rest, &said[n..])),
        Some((first, rest)) => said.split_first().is_some_and(|(line, more)| text_matches(first, line) && lines_match(rest, more)),
    }
}

/// The pieces between `...` stand in the text in their order, the first at its start, the last at its end.
fn text_matches(shown: &str, said: &str) -> bool {
    let pieces: Vec<&str> = shown.split("...").collect();
    let [first, middle @ .., last] = pieces.as_slice() else { return shown == said };
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// A line whose words are one space apart and spelled alike whatever the start.
fn one_spelling(line: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let mut text = String::new();
    let mut word = String::new();
    for c in line.split_whitespace().collect::<Vec<_>>().join(" ").chars().chain(['\n']) {
        if is_of_word(c) {
            word.push(c);
        } else {
            text.push_str(&spelled(&std::mem::take(&mut word)));
            text.push(c);
        }
    }
    // An access log's time and sizes.
    let text = match (text.find('['), text.find("] \"")) {
        (Some(start), Some(end)) if start < end => format!("{}TIME{}", &text[..=start], &text[end..]),
        _ => text,
    };
    let is_log = text.contains("\" 200 ");
    let words = text.trim_end().split(' ').map(|word| match word {
        number if is_log && number != "200" && number.parse::<u32>().is_ok() => "SIZE",
        agent if agent.starts_with("\"curl/") => "\"curl\"",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn spelled(word: &str) -> String {
    const SAFE: &str = "bcdfghjklmnpqrstvwxz2456789";
    let is_safe =
        |part: &str, lengths: std::ops::RangeInclusive<usize>| lengths.contains(&part.len()) && part.chars().all(|c| SAFE.contains(c));
    let parts: Vec<&str> = word.split('-').collect();
    match parts.as_slice() {
        // A Deployment's pod: name, hash, suffix. A slice: name, suffix.
        [name @ .., hash, suffix] if !name.is_empty() && is_safe(hash, 7..=10) && is_safe(suffix, 5..=5) => {
            format!("{}-HASH-SUFFIX", name.join("-"))
        }
        [name @ .., suffix] if !name.is_empty() && is_safe(suffix, 5..=5) => format!("{}-SUFFIX", name.join("-")),
        _ => match word.parse::<std::net::Ipv4Addr>().map(|address| address.octets()) {
            Ok([10, 244, _, last]) if last > 1 => "POD-IP".to_string(),
            // 10.96.0.x are given by name: the API, the DNS.
            Ok([10, second, third, _]) if (96..=111).contains(&second) && (second, third) != (96, 0) => "CLUSTER-IP".to_string(),
            _ if is_age(word) => "AGE".to_string(),
            _ => word.to_string(),
        },
    }
}

/// `7s`, `2m10s`.
fn is_age(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h'])
        && word.chars().all(|c| c.is_ascii_digit() || matches!(c, 's' | 'm' | 'h'))
}
