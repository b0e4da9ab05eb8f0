//! `autopath [ZONE...] @kubernetes|RESOLV-CONF`: the client's search list is walked here, in one round trip.
//!
//! The first name of the list that exists is the answer, behind an alias from the name that was asked. Needs `pods verified`, which
//! tells the namespace of a client. Source: CoreDNS's `autopath`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::metrics::IntCounter;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::plugins::kubernetes::Kubernetes;
use crate::plugins::scope::{longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{rcode, rtype};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub search: Search,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The list that kubelet writes for a pod in the client's namespace.
    Kubernetes,
    File(PathBuf),
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    let Some((search, zones)) = directive.args.split_last() else {
        mistakes.add(directive.line, "`autopath` needs `@kubernetes` or a resolv.conf");
        return None;
    };
    let zones = zones.iter().flat_map(|zone| crate::config::directive::zones(directive.line, zone, mistakes)).collect();
    let search = match search.strip_prefix('@') {
        None if Path::new(search).is_file() => Search::File(PathBuf::from(search)),
        None => {
            mistakes.add(directive.line, format!("`autopath {search}`: neither `@kubernetes` nor a resolv.conf that is there"));
            return None;
        }
        Some("kubernetes") => Search::Kubernetes,
        Some(other) => {
            mistakes.add(directive.line, format!("`autopath @{other}`: only kubernetes knows search lists"));
            return None;
        }
    };
    Some(Options { zones, search })
}

/// The plugin at work.
pub(crate) struct Autopath {
    zones: Vec<Name>,
    /// Of the same block; there for `@kubernetes`.
    kubernetes: Option<Arc<Kubernetes>>,
    search: Search,
    /// The `search` list of a resolv.conf: the node's, behind the pod's own, or the one that the directive names.
    domains: Vec<Name>,
    found: IntCounter,
}

// === impl Autopath ===

impl Autopath {
    pub(crate) fn new(options: Options, block: &[Name], kubernetes: Option<Arc<Kubernetes>>, found: IntCounter) -> Self {
        let path = match &options.search {
            Search::Kubernetes => Path::new("/etc/resolv.conf"),
            Search::File(path) => path,
        };
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "no search list of the node");
            String::new()
        });
        let zones = zones_or(&options.zones, block);
        Self { zones, kubernetes, search: options.search, domains: domains(&text), found }
    }

    /// The search list of the client, if it is known: the one that kubelet writes, the node's, and the name as it is.
    fn list(&self, request: &Request) -> Option<Vec<Name>> {
        let mut list = Vec::new();
        if self.search == Search::Kubernetes {
            let kubernetes = self.kubernetes.as_ref()?;
            let snapshot = kubernetes.current.load();
            let namespace = snapshot.namespace_of_pod(request.client.ip().to_canonical())?;
            let zone = kubernetes.zones.forward_zone_of(&request.question.name)?;
            list = vec![zone.prefixed(&[namespace, &b"\x03svc"[..]].concat())?, zone.prefixed(b"\x03svc")?, zone.clone()];
        }
        list.extend(self.domains.iter().cloned());
        list.push(Name::root());
        Some(list)
    }
}

impl Plugin for Autopath {
    fn name(&self) -> &'static str {
        "autopath"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            let question = &request.question;
            let wanted = !rtype::is_transfer(question.qtype) && longest(&self.zones, &question.name).is_some();
            let list = if wanted { self.list(request) } else { None };
            let list = list.unwrap_or_default();
            let Some(base) = list.first().and_then(|first| question.name.split(first)).map(<[u8]>::to_vec) else {
                return next.run(request).await;
            };
            let first = next.run(request).await;
            if !goes_on(&first) || base.is_empty() {
                return first;
            }
            for domain in &list[1..] {
                let Some(name) = domain.prefixed(&base) else { continue };
                let further = request.renamed(name.clone());
                let mut found = next.whole(&further).await;
                if goes_on(&found) {
                    continue;
                }
                let ttl = found.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
                let glue = Record::new(question.name.clone(), rtype::CNAME, ttl, name.wire().to_vec());
                if !found.answers.is_empty() {
                    found.answers.insert(0, glue);
                }
                self.found.inc();
                found.question = question.clone();
                return found;
            }
            first
        })
    }
}

/// Whether the search goes on behind an answer: there is no such name, or a plugin here failed, which says nothing of the names behind it.
/// What an upstream says of a name holds, be it that it failed.
fn goes_on(answer: &Message) -> bool {
    let of_upstream = answer.upstream.is_some() || ["cache", "forward"].contains(&answer.by);
    let failed = [rcode::SERVFAIL, rcode::REFUSED].contains(&answer.rcode) && !of_upstream && answer.error.is_none();
    answer.rcode == rcode::NXDOMAIN || failed
}

/// The last `search` line's domains.
fn domains(resolv_conf: &str) -> Vec<Name> {
    let mut lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("search"));
    let last = lines.rfind(|rest| rest.starts_with(char::is_whitespace)).unwrap_or_default();
    last.split_whitespace().filter_map(|domain| Name::parse(domain).ok()).filter(|domain| !domain.is_root()).collect()
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::ask;

    #[test]
    fn a_failure_of_this_server_ends_no_search() {
        let corefile = ". {
            autopath @kubernetes
            template IN A svc.cluster.local {
                match ^web[.]test[.]svc[.]
                rcode SERVFAIL
                fallthrough
            }
            template IN A test {
                answer \"{{ .Name }} 60 IN A 192.0.2.1\"
            }
            kubernetes cluster.local {
                pods verified
            }
        }";
        assert_eq!(
            ask(corefile, "web.test.dev.svc.cluster.local. A"),
            "NOERROR\nweb.test.dev.svc.cluster.local. 60 CNAME web.test.\nweb.test. 60 A 192.0.2.1\n"
        );
    }
}
