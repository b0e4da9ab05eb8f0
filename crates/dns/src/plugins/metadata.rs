//! `metadata [ZONE...]`: what plugins know of a question is there for others: for lines of `log` (`{/kubernetes/service}`), for `rewrite`
//! and for `template`.
//!
//! Owns of which questions it is told. What there is to know is the business of those who know it, and is looked for when somebody
//! wants it. Source: CoreDNS's `metadata`.

use std::fmt;
use std::sync::Arc;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::plugins::kubernetes::Kubernetes;
use crate::plugins::scope::{longest, zones_or};
use crate::server::chain::{Known, Request};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    Some(Options { zones: directive.zones(mistakes) })
}

/// The plugin at work. No question passes through it: the server gives each what is known of it on its way.
pub(crate) struct Metadata {
    zones: Vec<Name>,
    /// Of the same block, if there is one.
    kubernetes: Option<Arc<Kubernetes>>,
}

struct OfQuestion {
    request: Box<Request>,
    kubernetes: Option<Arc<Kubernetes>>,
}

impl Metadata {
    pub(crate) fn new(options: &Options, block: &[Name], kubernetes: Option<Arc<Kubernetes>>) -> Self {
        Self { zones: zones_or(&options.zones, block), kubernetes }
    }

    pub(crate) fn of(&self, request: &Request) -> Arc<dyn Known> {
        let told = longest(&self.zones, &request.question.name).is_some();
        Arc::new(OfQuestion { request: Box::new(request.clone()), kubernetes: self.kubernetes.clone().filter(|_| told) })
    }
}

impl Known for OfQuestion {
    fn value(&self, label: &str) -> Option<String> {
        self.kubernetes.as_ref()?.metadata(label.strip_prefix("kubernetes/")?, &self.request)
    }
}

impl fmt::Debug for OfQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.request.question, f)
    }
}

/// Whether a text is a label at all: a plugin, a slash and a name.
pub(crate) fn is_label(text: &str) -> bool {
    text.split_once('/').is_some_and(|(plugin, name)| !plugin.is_empty() && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::Corefile;
    use crate::plugins::tests::{mistakes, request};

    const COREFILE: &str = ". {
        metadata
        kubernetes cluster.local in-addr.arpa {
            pods verified
            zonal
        }
    }";

    /// What each label of `kubernetes` is to a question; `-` for those that are not told.
    fn check(corefile: &str, question: &str, labels: &str, expected: &str) {
        let objects = "ns default\nns dev\npod dev/tool 10.2.0.1 app=shell\npod default/other 10.2.0.2\n";
        let routes = crate::plugins::kubernetes::tests::filled_routes(&Corefile::parse(corefile).expect("a Corefile"), objects);
        let known = routes[0].block.metadata.as_ref().map(|metadata| metadata.of(&request(question)));
        let value = |label| known.as_ref().and_then(|known| known.value(&format!("kubernetes/{label}"))).unwrap_or("-".to_owned());
        assert_eq!(labels.split(' ').map(value).collect::<Vec<_>>().join(" "), expected, "{question}: {labels}");
    }

    #[test]
    fn names_and_clients_are_told() {
        let parts = "port-name protocol endpoint service namespace kind zone";
        for (question, expected) in [
            ("_http._TCP.Web.dev.svc.cluster.local. SRV", "http tcp  web dev svc "),
            ("db-0.db.dev.svc.cluster.local. A", "  db-0 db dev svc "),
            ("10-1-2-3.dev.pod.cluster.local. A", "   10-1-2-3 dev pod "),
            ("z.a.prefer._zone.db.dev.svc.cluster.local. A", "   db dev svc z.a"),
            ("svc.cluster.local. A", "      "),
            ("a.b.c.d.dev.svc.cluster.local. A", "- - - - - - -"),
            ("www.example. A", "- - - - - - -"),
        ] {
            check(COREFILE, question, parts, expected);
        }
        check(COREFILE, "x.cluster.local. A", "parse-error service", "invalid query name -");
        check(COREFILE, "www.example. A", "client-namespace client-pod-name client-label/app client-label/x", "dev tool shell -");
        check(&COREFILE.replace("verified", "insecure"), "www.example. A", "client-namespace client-pod-name", "- -");
        check(&COREFILE.replace("metadata", "metadata example"), "web.dev.svc.cluster.local. A", "service client-namespace", "- -");
        check(&COREFILE.replace("metadata", "errors"), "web.dev.svc.cluster.local. A", "service", "-");
        assert_eq!(mistakes("metadata {\n x\n}"), ["`metadata` takes no block"]);
    }
}
