//! `hosts [FILE [ZONE...]]`: names and addresses from a file such as /etc/hosts, and from the lines of the block.
//!
//! Owns the file's syntax and when it is read again. Source: CoreDNS's `hosts`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::config::directive::{Directive, Mistakes, duration};
use crate::name::Name;
use crate::plugins::kubernetes::{reversed, reversed_wire};
use crate::plugins::scope::{Fallthrough, longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::Metrics;
use crate::wire::message::{Message, Record};
use crate::wire::{Query, rcode, rtype};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub file: PathBuf,
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub inline: Vec<String>,
    pub ttl_secs: u32,
    /// No PTR records.
    pub no_reverse: bool,
    /// How often the file is looked at; zero for never again.
    pub reload: Duration,
    pub fallthrough: Fallthrough,
    /// Types that a hosts file cannot hold go to the next plugin, too, where the name falls through.
    pub fallthrough_unsupported: bool,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let (file, zones) = match directive.args.split_first() {
        Some((file, zones)) => (file.as_str(), zones),
        None => ("/etc/hosts", &[][..]),
    };
    let mut options = Options {
        file: PathBuf::from(file),
        zones: zones.iter().flat_map(|zone| crate::config::directive::zones(directive.line, zone, mistakes)).collect(),
        inline: Vec::new(),
        // 3,600 s and 5 s: CoreDNS's defaults.
        ttl_secs: 3_600,
        no_reverse: false,
        reload: Duration::from_secs(5),
        fallthrough: Fallthrough::Never,
        fallthrough_unsupported: false,
    };
    for property in &directive.body {
        match property.name.as_str() {
            "ttl" => match property.parsed("a number of seconds", mistakes) {
                Some(secs @ 1..65_536) => options.ttl_secs = secs,
                Some(secs) => mistakes.add(property.line, format!("`ttl {secs}`: it lies between 1 and 65535")),
                None => {}
            },
            "no_reverse" => {
                property.bare(mistakes);
                options.no_reverse = true;
            }
            "reload" => match property.one(mistakes).map(|text| (text, duration(text))) {
                Some((_, Some(interval))) => options.reload = interval,
                Some((text, None)) => mistakes.add(property.line, format!("`reload {text}`: not a duration such as 15s")),
                None => {}
            },
            "fallthrough_unsupported" => {
                property.bare(mistakes);
                options.fallthrough_unsupported = true;
            }
            "fallthrough" => options.fallthrough = Fallthrough::parse(property, mistakes),
            address if address.parse::<IpAddr>().is_ok() => {
                options.inline.push([std::slice::from_ref(&property.name), &property.args].concat().join(" "));
            }
            _ => mistakes.unknown(
                property,
                "hosts",
                &["ADDRESS NAME...", "ttl", "no_reverse", "reload", "fallthrough", "fallthrough_unsupported"],
            ),
        }
    }
    if options.fallthrough_unsupported && options.fallthrough == Fallthrough::Never {
        mistakes.add(directive.line, "`fallthrough_unsupported` says nothing without `fallthrough`");
    }
    Some(options)
}

/// The plugin at work.
pub(crate) struct Hosts {
    options: Options,
    zones: Vec<Name>,
    table: ArcSwap<Table>,
}

/// What the file and the block say.
#[derive(Debug, Default)]
struct Table {
    /// By the name's wire form in lower case.
    addresses: HashMap<Box<[u8]>, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<Name>>,
    /// Some name starts with `*`: it stands for every label in its place, where that has no address of the family of its own.
    wildcards: bool,
}

impl Table {
    /// Reads lines of `ADDRESS NAME...`; a line that starts with no address says nothing.
    fn read(texts: &[&str], zones: &[Name], reverse: bool) -> Self {
        let mut table = Self::default();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            // A zone (`fe80::1%eth0`) means nothing to others.
            let Some(address) = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical())
            else {
                continue;
            };
            for name in words.filter_map(|word| Name::parse(word).ok()).map(|name| name.folded()) {
                if !zones.iter().any(|zone| name.is_under(zone)) {
                    continue;
                }
                let addresses = table.addresses.entry(name.wire().into()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
                if name.wire().starts_with(WILDCARD) {
                    table.wildcards = true;
                } else if reverse {
                    table.names.entry(address).or_default().push(name);
                }
            }
        }
        table
    }

    /// The addresses of a name in lower case.
    fn of(&self, name: &[u8]) -> Vec<IpAddr> {
        let own = self.addresses.get(name).map(Vec::as_slice).unwrap_or_default();
        let wild = wildcard(name).filter(|_| self.wildcards).and_then(|wild| self.addresses.get(wild.as_slice()));
        let fills = |ip: &&IpAddr| !own.iter().any(|known| known.is_ipv4() == ip.is_ipv4());
        own.iter().chain(wild.into_iter().flatten().filter(fills)).copied().collect()
    }

    /// Whether it has any.
    fn has(&self, name: &[u8]) -> bool {
        self.addresses.contains_key(name) || self.wildcards && !self.of(name).is_empty()
    }
}

const WILDCARD: &[u8] = b"\x01*";

/// The name with its first label replaced.
fn wildcard(name: &[u8]) -> Option<Vec<u8>> {
    let (&length, rest) = name.split_first()?;
    (length > 0).then(|| [WILDCARD, &rest[usize::from(length)..]].concat())
}

impl Hosts {
    pub(crate) fn new(options: Options, block: &[Name], metrics: &Metrics) -> Self {
        let zones = zones_or(&options.zones, block);
        let hosts = Self { zones, table: ArcSwap::from_pointee(Table::default()), options };
        hosts.load(&file(&hosts.options.file), metrics);
        hosts
    }

    /// Reads the file again whenever it changes, for as long as somebody else holds the plugin.
    pub(crate) fn watch(self: &Arc<Self>, metrics: Arc<Metrics>) {
        let every = self.options.reload;
        if every.is_zero() {
            return;
        }
        let (hosts, path) = (Arc::downgrade(self), self.options.file.clone());
        let mut last = file(&path);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let looked = path.clone();
                // A disk may take its time.
                let Ok(text) = tokio::task::spawn_blocking(move || file(&looked)).await else { return };
                let Some(hosts) = hosts.upgrade() else { return };
                if text != last {
                    hosts.load(&text, &metrics);
                    tracing::info!(file = %path.display(), "read hosts again");
                    last = text;
                }
            }
        });
    }

    fn load(&self, text: &str, metrics: &Metrics) {
        let inline = self.options.inline.join("\n");
        let table = Table::read(&[text, &inline], &self.zones, !self.options.no_reverse);
        let n = table.addresses.values().map(Vec::len).sum::<usize>() + table.names.values().map(Vec::len).sum::<usize>();
        metrics.hosts_entries.with_label_values(&[&*self.options.file.to_string_lossy()]).set(n as i64);
        metrics.hosts_reloaded.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        self.table.store(Arc::new(table));
    }

    /// The answer; `None` for the next plugin's.
    fn answer(&self, request: &Request) -> Option<Message> {
        let question = &request.question;
        let table = self.table.load();
        let mut answer = Message::answer(question.clone(), rcode::NOERROR);
        if question.qtype == rtype::PTR {
            let names = reversed(&question.name).and_then(|address| table.names.get(&address));
            let record = |name: &Name| Record::new(question.name.clone(), rtype::PTR, self.options.ttl_secs, name.wire().to_vec());
            answer.answers = names?.iter().map(record).collect();
            return Some(answer);
        }
        longest(&self.zones, &question.name)?;
        let supported = [rtype::A, rtype::AAAA].contains(&question.qtype);
        if !supported && self.options.fallthrough_unsupported && self.options.fallthrough.holds(&question.name) {
            return None;
        }
        let addresses = table.of(question.name.folded().wire());
        if addresses.is_empty() {
            // There is no SOA to deny a name with, so it is a failure and not a denial.
            return (!self.options.fallthrough.holds(&question.name)).then(|| request.failed(rcode::SERVFAIL));
        }
        let fitting = addresses.iter().filter(|address| match question.qtype {
            rtype::A => address.is_ipv4(),
            rtype::AAAA => address.is_ipv6(),
            _ => false,
        });
        answer.answers = fitting.map(|address| Record::address(question.name.clone(), self.options.ttl_secs, *address)).collect();
        Some(answer)
    }
}

/// What the file holds; nothing, where it is not there.
fn file(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(file = %path.display(), %error, "could not read hosts");
        }
        String::new()
    })
}

impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    /// As CoreDNS: it never looks at the class, and what `rewrite class` made of it is answered too.
    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        match Hosts::answer(self, request) {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => next.run(request),
        }
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        let table = self.table.load();
        let everything = matches!(self.options.fallthrough, Fallthrough::Always);
        match query.qtype {
            rtype::PTR => {
                table.names.is_empty() || reversed_wire(query.name.wire()).is_none_or(|address| !table.names.contains_key(&address))
            }
            _ => everything && (table.addresses.is_empty() || !table.has(query.name.wire())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, request, shown, spec};

    const FILE: &str = "# comment\n127.0.0.1 localhost\n10.0.0.1 Node-A node-a.example # trailing\nfd00::1 node-a\nnonsense here\n10.0.0.1 alias\n10.0.0.7 *.apps.example\nfd00::7 own.apps.example\n";

    /// What a question is answered, in zone-file text; `next` where it is the next plugin's.
    fn check(directive: &str, question: &str, expected: &str) {
        let Spec::Hosts(options) = spec(directive) else { panic!("hosts") };
        let metrics = Metrics::new(&runtime::Registry::default());
        let hosts = Hosts::new(options, &[Name::root()], &metrics);
        hosts.load(FILE, &metrics);
        let answer = Hosts::answer(&hosts, &request(question)).map_or("next".to_owned(), |answer| shown(&answer));
        assert_eq!(answer, expected, "{directive}: {question}");
    }

    #[test]
    fn names_of_the_file_and_of_the_block_are_answered() {
        let directive = "hosts /nowhere {\n 10.0.0.9 inline node-a\n ttl 60\n reload 15s\n fallthrough\n}";
        for (question, expected) in [
            ("node-a. A", "NOERROR\nnode-a. 60 A 10.0.0.1\nnode-a. 60 A 10.0.0.9\n"),
            ("NODE-A. AAAA", "NOERROR\nNODE-A. 60 AAAA fd00::1\n"),
            ("inline. A", "NOERROR\ninline. 60 A 10.0.0.9\n"),
            ("inline. AAAA", "NOERROR\n"),
            ("inline. TXT", "NOERROR\n"),
            ("other. A", "next"),
            ("X.apps.example. A", "NOERROR\nX.apps.example. 60 A 10.0.0.7\n"),
            ("own.apps.example. AAAA", "NOERROR\nown.apps.example. 60 AAAA fd00::7\n"),
            ("own.apps.example. A", "NOERROR\nown.apps.example. 60 A 10.0.0.7\n"),
            ("a.b.apps.example. A", "next"),
            ("apps.example. A", "next"),
            ("7.0.0.10.in-addr.arpa. PTR", "next"),
            (
                "1.0.0.10.in-addr.arpa. PTR",
                "NOERROR\n1.0.0.10.in-addr.arpa. 60 PTR node-a.\n1.0.0.10.in-addr.arpa. 60 PTR node-a.example.\n1.0.0.10.in-addr.arpa. 60 PTR alias.\n",
            ),
            ("2.0.0.10.in-addr.arpa. PTR", "next"),
        ] {
            check(directive, question, expected);
        }
    }

    #[test]
    fn zones_limit_it_and_without_fallthrough_the_rest_fails() {
        check("hosts /nowhere example", "node-a.example. A", "NOERROR\nnode-a.example. 3600 A 10.0.0.1\n");
        check("hosts /nowhere example", "node-a. A", "next");
        check("hosts /nowhere example", "b.example. A", "SERVFAIL\n");
        check("hosts /nowhere {\n fallthrough example\n}", "b.example. A", "next");
        check("hosts /nowhere {\n fallthrough example\n}", "b.org. A", "SERVFAIL\n");
        check("hosts /nowhere {\n fallthrough example\n fallthrough_unsupported\n}", "node-a.example. MX", "next");
        check("hosts /nowhere {\n no_reverse\n}", "1.0.0.10.in-addr.arpa. PTR", "next");
    }

    #[test]
    fn the_class_does_not_matter() {
        let Spec::Hosts(options) = spec("hosts /nowhere") else { panic!("hosts") };
        let hosts = Hosts::new(options, &[Name::root()], &Metrics::new(&runtime::Registry::default()));
        assert!([1, 3, 4].into_iter().all(|class| hosts.knows_class(class)));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(
            mistakes("hosts {\n ttl 0\n reload soon\n 10.0.0 a\n}"),
            [
                "`ttl 0`: it lies between 1 and 65535",
                "`reload soon`: not a duration such as 15s",
                "hosts has no option `10.0.0`; it has: ADDRESS NAME..., ttl, no_reverse, reload, fallthrough, fallthrough_unsupported"
            ]
        );
    }
}
