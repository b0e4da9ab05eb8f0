//! Chains of iptables' old kernel interface (`iptables-legacy`), removed together with the rules that lead to them.
//!
//! The one conversation that needs a child process: the interface exchanges whole tables as memory images of every match, which only
//! iptables' own plugins can tell. It is spoken at a start alone, and only where this network namespace has such tables.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    #[error("this node has iptables-legacy rules, and {program} cannot be run: {source}")]
    NotHere {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {words}")]
    Failed { program: String, words: String },
}

/// Removes the chains of `table` for which `ours` holds; says how many. No such table, or no such interface: none.
pub fn remove_chains(v6: bool, table: &str, ours: impl Fn(&str) -> bool) -> Result<usize, LegacyError> {
    let (names, prefix) = if v6 { ("/proc/net/ip6_tables_names", "ip6tables") } else { ("/proc/net/ip_tables_names", "iptables") };
    // `thread-self`: the caller's namespace, not the process's.
    let names = names.replace("/proc/net", "/proc/thread-self/net");
    let tables = std::fs::read_to_string(names).unwrap_or_default();
    if !tables.lines().any(|line| line == table) {
        return Ok(0);
    }
    let saved = run(&format!("{prefix}-legacy-save"), &["-t", table], "")?;
    let (n, script) = removal(table, &saved, ours);
    if n > 0 {
        run(&format!("{prefix}-legacy-restore"), &["-w", "5", "--noflush"], &script)?;
    }
    Ok(n)
}

#[allow(clippy::disallowed_methods)] // once at a start, before the rules that packets then go by
fn run(program: &str, args: &[&str], input: &str) -> Result<String, LegacyError> {
    let not_here = |source| LegacyError::NotHere { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(not_here)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads all before it writes; if it does not read, its exit says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(not_here)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LegacyError::Failed { program: program.to_owned(), words })
}

/// How many chains go, and the input of iptables-restore that removes them: first what leads in, then all that the chains hold, then
/// the chains.
fn removal(table: &str, saved: &str, ours: impl Fn(&str) -> bool) -> (usize, String) {
    let chains: HashSet<&str> =
        saved.lines().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next()).filter(|name| ours(name)).collect();
    let mut script = format!("*{table}\n");
    for line in saved.lines() {
        let Some(rule) = line.strip_prefix("-A ") else { continue };
        let mut words = rule.split_whitespace();
        let from_ours = words.next().is_some_and(|chain| chains.contains(chain));
        let to_ours = words.skip_while(|word| !matches!(*word, "-j" | "-g")).nth(1).is_some_and(|chain| chains.contains(chain));
        if to_ours && !from_ours {
            script.push_str(&format!("-D {rule}\n"));
        }
    }
    let mut chains: Vec<&str> = chains.into_iter().collect();
    chains.sort_unstable();
    chains.iter().for_each(|chain| script.push_str(&format!("-F {chain}\n")));
    chains.iter().for_each(|chain| script.push_str(&format!("-X {chain}\n")));
    script.push_str("COMMIT\n");
    (chains.len(), script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_go_with_what_leads_to_them_and_others_stay() {
        let saved = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SVC [0:0]\n:KUBE-A - [0:0]\n:THEIRS - [0:0]\n\
            -A PREROUTING -m comment --comment \"to it\" -j KUBE-A\n-A PREROUTING -j THEIRS\n-A KUBE-A -j KUBE-SVC\n\
            -A KUBE-SVC -j THEIRS\nCOMMIT\n";
        let (n, script) = removal("nat", saved, |name| name.starts_with("KUBE-"));
        assert_eq!(n, 2);
        assert_eq!(
            script,
            "*nat\n-D PREROUTING -m comment --comment \"to it\" -j KUBE-A\n-F KUBE-A\n-F KUBE-SVC\n-X KUBE-A\n-X KUBE-SVC\nCOMMIT\n"
        );
    }
}
