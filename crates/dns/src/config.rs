//! The Corefile: server blocks by zone and port, each with its plugins' options.
//!
//! Owns the syntax (Caddy's: words, braces, snippets, `import`), the files that it stands in, and the mistakes, which are told all at once. What a directive means is
//! its room's business in [`crate::plugins`]. Must not know sockets or records.

pub(crate) mod directive;
mod lex;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lex::Word;

use directive::{Directive, Mistakes, zones};
pub use directive::{Line, Mistake};

use crate::name::Name;
use crate::plugins::{self, Spec, kubernetes};

/// A whole Corefile, read and checked.
#[derive(Clone, Debug, Default)]
pub struct Corefile {
    pub blocks: Vec<ServerBlock>,
    /// Where it was read from, if from a file.
    pub path: Option<PathBuf>,
    /// All text that it consists of, imports included: what a change is told by.
    pub text: String,
    /// Of the keys that name none (CoreDNS's `-dns.port`).
    pub port: u16,
}

/// Which objects of a cluster a Corefile needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Any at all: Services, their endpoints, Namespaces.
    pub names: bool,
    /// Pods, for `pods verified`.
    pub pods: bool,
    /// The pods that ask, where it is known which ones do: for `search-completion`.
    pub clients: bool,
    /// ServiceImports, for `multicluster`.
    pub service_imports: bool,
    /// The API that they are read from, if one is named.
    pub api: Option<kubernetes::Api>,
}

/// `zone:port zone:port { plugins }`.
#[derive(Clone, Debug)]
pub struct ServerBlock {
    pub keys: Vec<Key>,
    /// In the order in which a query meets them, which is ours and not the file's.
    pub plugins: Vec<Spec>,
    pub line: Line,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub zone: Name,
    pub port: u16,
}

/// Gives the paths and texts of the files that `import PATTERN` names, for the file (its path) that it stands in.
type Import<'a> = &'a dyn Fn(&str, &str) -> io::Result<Vec<(String, String)>>;

/// Deeper imports are a loop.
const MAX_IMPORT_DEPTH: usize = 8;

/// CoreDNS's default port, where a key names none.
const DNS_PORT: u16 = 53;

// === impl Needs ===

impl Needs {
    fn and(self, options: &kubernetes::Options) -> Self {
        Self {
            names: true,
            pods: self.pods || options.pods == kubernetes::Pods::Verified,
            service_imports: self.service_imports || !options.multicluster.is_empty(),
            api: self.api.or_else(|| options.api.clone()),
            clients: self.clients,
        }
    }

    /// What either needs; the API is the other's, if that has a say.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            names: self.names || other.names,
            pods: self.pods || other.pods,
            clients: self.clients || other.clients,
            service_imports: self.service_imports || other.service_imports,
            api: if other.names { other.api.clone() } else { self.api.clone() },
        }
    }
}

// === impl ServerBlock ===

impl ServerBlock {
    /// The addresses of its `bind`; none for all there are.
    pub(crate) fn bound(&self) -> Vec<IpAddr> {
        let of = |plugin: &Spec| if let Spec::Bind(bind) = plugin { bind.addresses.clone() } else { Vec::new() };
        self.plugins.iter().flat_map(of).collect()
    }

    pub(crate) fn zones(&self) -> Vec<Name> {
        self.keys.iter().map(|key| key.zone.clone()).collect()
    }
}

// === impl Corefile ===

impl Corefile {
    /// Reads a Corefile's text; `import` of files is refused, of snippets not.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let refuse = |_: &str, pattern: &str| Err(io::Error::other(format!("no snippet `{pattern}`, and files are not read here")));
        parse(String::new(), text.to_owned(), DNS_PORT, &refuse).1
    }

    /// Reads the file at `path`; what it imports is looked for beside it.
    pub fn read(path: &Path) -> Result<Self, Vec<Mistake>> {
        Self::read_on(path, DNS_PORT)
    }

    /// As `read`, where keys that name no port stand for `port`.
    pub fn read_on(path: &Path, port: u16) -> Result<Self, Vec<Mistake>> {
        Self::load(path, port).1
    }

    /// As `read`, and with it all text that was read, so that a change can be told from a second look at the same mistakes.
    pub(crate) fn load(path: &Path, port: u16) -> (String, Result<Self, Vec<Mistake>>) {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return (message.clone(), Err(vec![Mistake { file: Some(shown), line: 0, message }]));
            }
        };
        let beside = |file: &str, pattern: &str| files(&Path::new(file).parent().unwrap_or(Path::new("")).join(pattern));
        let (text, read) = parse(shown, text, port, &beside);
        (text, read.map(|corefile| Self { path: Some(path.to_owned()), ..corefile }))
    }

    /// What kubeadm installs, for `cluster_domain`.
    pub fn kubeadm(cluster_domain: &str) -> Result<Self, Vec<Mistake>> {
        Self::parse(&kubeadm_text(cluster_domain))
    }

    /// What has to be known to answer as all its `kubernetes` say.
    pub fn needs(&self) -> Needs {
        let plugins = self.blocks.iter().flat_map(|block| &block.plugins);
        plugins.fold(Needs::default(), |needs, plugin| match plugin {
            Spec::Kubernetes(options) => needs.and(options),
            // It stands beside a `kubernetes`.
            Spec::Rutter(options) => Needs { clients: needs.clients || options.search.is_some(), ..needs },
            _ => needs,
        })
    }
}

/// The text behind [`Corefile::kubeadm`] (kubeadm's `CoreDNSConfigMap` manifest).
pub fn kubeadm_text(cluster_domain: &str) -> String {
    format!(
        ".:53 {{
    errors
    health {{
       lameduck 5s
    }}
    ready
    kubernetes {cluster_domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9153
    forward . /etc/resolv.conf {{
       max_concurrent 1000
    }}
    cache 30 {{
       disable success {cluster_domain}
       disable denial {cluster_domain}
    }}
    loop
    reload
    loadbalance
}}
"
    )
}

/// Gives all text that was read, imports included, with what it says.
fn parse(path: String, text: String, port: u16, import: Import<'_>) -> (String, Result<Corefile, Vec<Mistake>>) {
    let mut mistakes = Mistakes::default();
    let words = words(path, text, &mut mistakes);
    let mut snippets = HashMap::new();
    let mut corefile = Corefile { port, ..Corefile::default() };
    top(words, import, &mut snippets, 0, &mut corefile, &mut mistakes);
    check_keys(&corefile, &mut mistakes);
    check_api(&corefile, &mut mistakes);
    if corefile.blocks.is_empty() && mistakes.is_empty() {
        mistakes.add(Line { file: 0, number: 1 }, "no server block: nothing would be answered");
    }
    corefile.text = mistakes.text();
    let text = corefile.text.clone();
    (text, if mistakes.is_empty() { Ok(corefile) } else { Err(mistakes.told()) })
}

/// The words of one more file.
fn words(path: String, text: String, mistakes: &mut Mistakes) -> Vec<Word> {
    let file = mistakes.file(path, text.clone());
    lex::words(&text, file, &|variable| std::env::var(variable).ok())
}

/// Reads what stands outside of all braces: server blocks, snippets, imports.
fn top(
    words: Vec<Word>,
    import: Import<'_>,
    snippets: &mut HashMap<String, Vec<Word>>,
    depth: usize,
    out: &mut Corefile,
    mistakes: &mut Mistakes,
) {
    let mut words = words.into_iter().peekable();
    while let Some(first) = words.next() {
        let line = first.line;
        if first.text == "import" {
            let args = rest_of_line(&mut words, line);
            for text in imported(&args, line, import, snippets, depth, mistakes) {
                top(text, import, snippets, depth + 1, out, mistakes);
            }
            continue;
        }
        if first.opens() {
            mistakes.add(line, "`{` stands where a zone should");
            let _ = inside(&mut words);
            continue;
        }
        let mut keys = vec![first];
        // Keys end with their line; after a comma they go on in the next.
        while let Some(word) = words.next_if(|word| !word.opens() && !word.closes() && goes_on(keys.last(), word)) {
            keys.push(word);
        }
        let body = match words.next_if(Word::opens) {
            Some(_) => inside(&mut words).unwrap_or_else(|unclosed| {
                mistakes.add(line, "this block is never closed: a `}` is missing");
                unclosed
            }),
            // One block that is alone may do without braces.
            None if out.blocks.is_empty() && snippet_name(&keys).is_none() => words.by_ref().collect(),
            None => {
                mistakes.add(line, format!("expected `{{` after `{}`", keys[0].text));
                words.next();
                continue;
            }
        };
        if let Some(snippet) = snippet_name(&keys) {
            if snippets.insert(snippet.to_owned(), body).is_some() {
                mistakes.add(line, format!("there is a snippet `{snippet}` already"));
            }
            continue;
        }
        let keys = keys
            .iter()
            .flat_map(|word| word.text.split(',').map(|key| (word.line, key)))
            .filter(|(_, key)| !key.is_empty())
            .flat_map(|(line, key)| parse_key(line, key, out.port, mistakes))
            .collect();
        let directives = directives(body, import, snippets, depth, mistakes);
        let plugins = plugins::parse(&directives, mistakes);
        out.blocks.push(ServerBlock { keys, plugins, line });
    }
}

/// Whether `word` is one more key of those that end with `last`.
fn goes_on(last: Option<&Word>, word: &Word) -> bool {
    last.is_none_or(|last| word.line == last.end || last.text.ends_with(','))
}

fn snippet_name(keys: &[Word]) -> Option<&str> {
    let [only] = keys else { return None };
    only.text.strip_prefix('(')?.strip_suffix(')')
}

/// The words up to the brace that closes what was opened just before, or, where there is none, all that is left.
fn inside(words: &mut impl Iterator<Item = Word>) -> Result<Vec<Word>, Vec<Word>> {
    let mut level = 1;
    let body = words
        .by_ref()
        .take_while(|word| {
            level += usize::from(word.opens());
            level -= usize::from(word.closes());
            level > 0
        })
        .collect();
    if level > 0 { Err(body) } else { Ok(body) }
}

/// The words up to the end of the line, or to a brace.
fn rest_of_line(words: &mut std::iter::Peekable<impl Iterator<Item = Word>>, line: Line) -> Vec<Word> {
    let mut end = line;
    std::iter::from_fn(|| {
        let word = words.next_if(|word| word.line == end && !word.opens() && !word.closes())?;
        end = word.end;
        Some(word)
    })
    .collect()
}

/// Cuts the inside of a block into lines, with the blocks inside it.
fn directives(
    words: Vec<Word>,
    import: Import<'_>,
    snippets: &HashMap<String, Vec<Word>>,
    depth: usize,
    mistakes: &mut Mistakes,
) -> Vec<Directive> {
    let mut out = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(first) = words.next() {
        let line = first.line;
        if first.opens() || first.closes() {
            mistakes.add(line, format!("`{}` stands where a directive should begin", first.text));
            continue;
        }
        let args = rest_of_line(&mut words, first.end);
        if first.text == "import" {
            for text in imported(&args, line, import, snippets, depth, mistakes) {
                out.extend(directives(text, import, snippets, depth + 1, mistakes));
            }
            continue;
        }
        let end = args.last().map_or(first.end, |last| last.end);
        let mut body = Vec::new();
        if words.next_if(|word| word.line == end && word.opens()).is_some() {
            let inner = inside(&mut words).unwrap_or_else(|unclosed| {
                mistakes.add(line, format!("the block of `{}` is never closed: a `}}` is missing", first.text));
                unclosed
            });
            body = directives(inner, import, snippets, depth, mistakes);
        }
        let args = args.into_iter().map(|word| word.text).collect();
        out.push(Directive { line, name: first.text, args, body });
    }
    out
}

/// The words of what `import` names, file by file.
fn imported(
    args: &[Word],
    line: Line,
    import: Import<'_>,
    snippets: &HashMap<String, Vec<Word>>,
    depth: usize,
    mistakes: &mut Mistakes,
) -> Vec<Vec<Word>> {
    let [pattern] = args else {
        mistakes.add(line, "import takes one file, pattern or snippet");
        return Vec::new();
    };
    if depth >= MAX_IMPORT_DEPTH {
        mistakes.add(line, format!("`import {}` is nested too deep: does it import itself?", pattern.text));
        return Vec::new();
    }
    if let Some(snippet) = snippets.get(&pattern.text) {
        return vec![snippet.clone()];
    }
    match import(mistakes.path(line), &pattern.text) {
        Ok(texts) => texts.into_iter().map(|(path, text)| words(path, text, mistakes)).collect(),
        Err(error) => {
            mistakes.add(line, format!("cannot import `{}`: {error}", pattern.text));
            Vec::new()
        }
    }
}

/// The texts of the files that `pattern` names: `*` and `?` in its last part. A pattern that matches none is no mistake, a plain
/// path that is missing is one (k3s imports folders that may be empty). As Caddy takes them: one `*` and one `?`, no brackets.
fn files(pattern: &Path) -> io::Result<Vec<(String, String)>> {
    let whole = pattern.to_string_lossy();
    if ['*', '?'].iter().any(|wildcard| whole.matches(*wildcard).count() > 1) || whole.contains('[') && whole.contains(']') {
        return Err(io::Error::other("a pattern has one wildcard at the most"));
    }
    let read = |path: &Path| std::fs::read_to_string(path).map(|text| (path.display().to_string(), text));
    let last = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !last.contains(['*', '?']) {
        return read(pattern).map(|file| vec![file]);
    }
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| matches(last.as_bytes(), name.as_encoded_bytes())))
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Whether `text` matches a pattern of `*` and `?`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some((b'?', rest)) => !text.is_empty() && matches(rest, &text[1..]),
        Some((byte, rest)) => text.first() == Some(byte) && matches(rest, &text[1..]),
    }
}

fn parse_key(line: Line, text: &str, default_port: u16, mistakes: &mut Mistakes) -> Vec<Key> {
    let text = match text.split_once("://") {
        None => text,
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => {
            mistakes.add(line, format!("`{text}`: this server listens for dns:// only, not {scheme}://"));
            return Vec::new();
        }
    };
    let (zone, port) = match text.rsplit_once(':') {
        Some((zone, port)) if !port.contains('/') => match port.parse() {
            Ok(port) => (zone, port),
            Err(_) => {
                mistakes.add(line, format!("`{text}`: `{port}` is no port"));
                return Vec::new();
            }
        },
        _ => (text, default_port),
    };
    let zone = if zone.is_empty() { "." } else { zone };
    zones(line, zone, mistakes).into_iter().map(|zone| Key { zone, port }).collect()
}

/// One server follows one API.
fn check_api(corefile: &Corefile, mistakes: &mut Mistakes) {
    let mut first: Option<(Line, &kubernetes::Api)> = None;
    for block in &corefile.blocks {
        let said = block.plugins.iter().find_map(|plugin| if let Spec::Kubernetes(options) = plugin { options.api.as_ref() } else { None });
        let Some(api) = said else { continue };
        let (line, known) = *first.get_or_insert((block.line, api));
        if known != api {
            mistakes
                .add(block.line, format!("`kubernetes` follows another API here than in the block in line {line}: one server follows one"));
        }
    }
}

/// Two blocks may not claim the same zone on the same port of the same address, since only one would ever be asked.
fn check_keys(corefile: &Corefile, mistakes: &mut Mistakes) {
    let mut seen = HashMap::new();
    for block in &corefile.blocks {
        let bound = block.bound();
        let on: Vec<Option<IpAddr>> = if bound.is_empty() { vec![None] } else { bound.into_iter().map(Some).collect() };
        for key in &block.keys {
            let taken = on.iter().filter_map(|ip| seen.insert((&key.zone, key.port, *ip), block.line)).find(|line| *line != block.line);
            if let Some(line) = taken {
                mistakes.add(block.line, format!("{}:{} is already served by the block in line {line}", key.zone, key.port));
            }
        }
    }
}

#[cfg(test)]
mod tests;
