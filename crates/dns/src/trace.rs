//! What becomes of a question, step by step: which name of the search list, which server block, which plugin, which object, which records.
//!
//! The very plugins that serve are asked, over the names as they are; beside each stands what it did, and which object's field decided
//! ([`watched`]). Asks nobody: what would be forwarded is said, not sent, and of a cache it is not known what it keeps.

mod watched;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use model::{NameView, ObjectRef};

use crate::config::Corefile;
use crate::name::{Name, label};
use crate::plugins::Spec;
use crate::server::chain::{Next, Request};
use crate::server::{Route, route_of};
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, Folded, flag, rcode, rcode_name, type_named};
use watched::{Forwarded, Log};

/// One thing that was decided, and the object and field that decided it, where one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: String,
    pub by: Option<(ObjectRef, &'static str)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub steps: Vec<Step>,
    pub outcome: String,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    pub address: IpAddr,
    /// Of a pod that has the search list which kubelet writes.
    pub namespace: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
    #[error("`{0}` is no record type such as A, AAAA, SRV or PTR")]
    Type(String),
}

/// What kubelet writes into a pod's resolv.conf: names with fewer dots are looked for in the search list first.
const NDOTS: usize = 5;

/// Whether that can be asked for at all.
///
/// # Errors
/// A name or a type that is none.
pub fn check(name: &str, record_type: &str) -> Result<(), TraceError> {
    question(name, record_type).map(drop)
}

fn question(name: &str, record_type: &str) -> Result<(Name, u16), TraceError> {
    let qtype = type_named(record_type).ok_or_else(|| TraceError::Type(record_type.to_owned()))?;
    Ok((Name::parse(name)?, qtype))
}

/// Follows the question for `name` and `record_type` that `asker` would ask: each that its resolver would, if it has a search list and
/// the name no final dot.
///
/// # Errors
/// A name or a type that is none.
pub fn trace(corefile: &Corefile, names: &Arc<NameView>, name: &str, record_type: &str, asker: &Asker) -> Result<Trace, TraceError> {
    let (bare, qtype) = question(name, record_type)?;
    let log = Log::of(qtype);
    let routes = watched::routes(corefile, names, &log);
    let domains = if name.ends_with('.') { Vec::new() } else { domains(corefile, asker) };
    if let (Some(namespace), false) = (&asker.namespace, domains.is_empty()) {
        let listed: Vec<_> = domains.iter().map(ToString::to_string).collect();
        log.say(format!("the search list of namespace {namespace}, ndots:{NDOTS}: {}", listed.join(" ")));
    }
    let mut list: Vec<Name> = domains.iter().filter_map(|domain| domain.prefixed(&bare.wire()[..bare.wire().len() - 1])).collect();
    list.insert(if bare.n_labels() > NDOTS { 0 } else { list.len() }, bare);
    for (at, name) in list.iter().enumerate() {
        let question = Question { name: name.clone(), qtype, qclass: CLASS_IN };
        let request = Request { tcp: true, flags: flag::RD, ..Request::of(question, SocketAddr::new(asker.address, 0)) };
        let Some(answer) = ask(&routes, &request) else {
            log.say(format!("no server block of the Corefile serves {name}"));
            return Ok(log.end("REFUSED".to_owned()));
        };
        if answer.error.is_some() {
            log.say("no plugin of the block answers");
        }
        for record in &answer.answers {
            log.say(record.to_string());
        }
        let (last, forwarded) = (at + 1 == list.len(), log.forwarded());
        if last || answer.rcode != rcode::NXDOMAIN || forwarded.as_ref().is_some_and(|forwarded| forwarded.of_list) {
            return Ok(log.end(outcome(&answer, &log)));
        }
        log.say(match forwarded {
            None => "NXDOMAIN: on with the next of the search list".to_owned(),
            Some(Forwarded { to, .. }) => format!("asked of {to}; if it is not there, on with the next of the search list"),
        });
    }
    unreachable!("BUG: the name itself is not on the list")
}

fn outcome(answer: &Message, log: &Log) -> String {
    match log.forwarded() {
        Some(Forwarded { to, of_list: false }) => return format!("forwarded to {to}"),
        Some(Forwarded { to, of_list: true }) => return format!("an alias of the first of these that {to} knows, else NXDOMAIN"),
        None => {}
    }
    if answer.dropped {
        return "no answer is sent".to_owned();
    }
    match (answer.rcode, answer.answers.len()) {
        (rcode::NOERROR, 0) => "NOERROR without records: the name exists, but has none of this type".to_owned(),
        (code, 0) => rcode_name(code).to_owned(),
        (code, n) => format!("{} with {n} record(s)", rcode_name(code)),
    }
}

/// Nothing that is asked here waits for anybody.
fn ask(routes: &[Route], request: &Request) -> Option<Message> {
    route_of(routes, &Folded::of(&request.question.name)).filter(|(_, route)| !route.block.empty)?;
    match pin!(Next::start(routes).whole(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// The search domains that kubelet writes for the pod: the cluster's and, as far as the Corefile tells, the node's own.
fn domains(corefile: &Corefile, asker: &Asker) -> Vec<Name> {
    let Some(namespace) = asker.namespace.as_deref().and_then(label) else { return Vec::new() };
    for block in &corefile.blocks {
        let own = block.plugins.iter().find_map(|plugin| if let Spec::Rutter(options) = plugin { options.search.clone() } else { None });
        let options = block.plugins.iter().find_map(|plugin| if let Spec::Kubernetes(options) = plugin { Some(options) } else { None });
        let Some(options) = options.map(|options| options.clone().or_zones_of(&block.zones())) else { continue };
        if let Some(zone) = options.zones.iter().find(|zone| !zone.is_reverse()) {
            let services = zone.prefixed(b"\x03svc");
            let of_namespace = services.as_ref().and_then(|services| services.prefixed(&namespace));
            return of_namespace.into_iter().chain(services).chain([zone.clone()]).chain(own.unwrap_or_default()).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::plugins::kubernetes::tests::{CLUSTER, names};

    /// Asked by a process of the node, or by a pod of `namespace`.
    fn check_by(corefile: &Corefile, namespace: Option<&str>, name: &str, record_type: &str, expect: &Expect) {
        let asker = Asker { address: "10.2.0.1".parse().expect("address"), namespace: namespace.map(str::to_owned) };
        let trace = trace(corefile, &Arc::new(names(CLUSTER)), name, record_type, &asker).expect("a question");
        let by = |step: &Step| step.by.as_ref().map(|(object, field)| format!("  [{object}: {field}]")).unwrap_or_default();
        let steps: String = trace.steps.iter().map(|step| format!("{}{}\n", step.what, by(step))).collect();
        expect.assert_eq(&format!("{steps}=> {}\n", trace.outcome));
    }

    fn check(name: &str, record_type: &str, expect: Expect) {
        check_by(&Corefile::kubeadm("cluster.local").expect("valid"), None, name, record_type, &expect);
    }

    fn check_in(corefile: &str, namespace: Option<&str>, name: &str, record_type: &str, expect: Expect) {
        check_by(&Corefile::parse(corefile).expect("a Corefile"), namespace, name, record_type, &expect);
    }

    #[test]
    fn each_step_names_what_decided_it() {
        check(
            "web.default.svc.cluster.local",
            "A",
            expect![[r#"
            web.default.svc.cluster.local. A: server block .:53 (line 1)
            Service default/web has 10.96.0.1  [Service default/web: spec.clusterIPs]
            web.default.svc.cluster.local. 30 A 10.96.0.1
            => NOERROR with 1 record(s)
        "#]],
        );
        check(
            "db.default.svc.cluster.local.",
            "SRV",
            expect![[r#"
            db.default.svc.cluster.local. SRV: server block .:53 (line 1)
            Service default/db is headless: 3 ready endpoint(s) have its name  [Service default/db: spec.clusterIP]
            db.default.svc.cluster.local. 30 SRV 0 33 5432 db-0.db.default.svc.cluster.local.
            db.default.svc.cluster.local. 30 SRV 0 33 5432 db-1.db.default.svc.cluster.local.
            => NOERROR with 2 record(s)
        "#]],
        );
        check(
            "local.default.svc.cluster.local",
            "A",
            expect![[r#"
            local.default.svc.cluster.local. A: server block .:53 (line 1)
            Service default/local is an alias of web.default.svc.cluster.local  [Service default/local: spec.externalName]
            an alias: on with web.default.svc.cluster.local.
            Service default/web has 10.96.0.1  [Service default/web: spec.clusterIPs]
            local.default.svc.cluster.local. 30 CNAME web.default.svc.cluster.local.
            web.default.svc.cluster.local. 30 A 10.96.0.1
            => NOERROR with 2 record(s)
        "#]],
        );
        check(
            "nobody.default.svc.cluster.local",
            "A",
            expect![[r#"
            nobody.default.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is no Service default/nobody  [Namespace default: metadata.name]
            => NXDOMAIN
        "#]],
        );
        check(
            "www.example.com",
            "AAAA",
            expect![[r#"
            www.example.com. AAAA: server block .:53 (line 1)
            cache: an answer that is kept ends the way here
            => forwarded to the servers of /etc/resolv.conf
        "#]],
        );
    }

    #[test]
    fn a_pods_search_list_is_walked() {
        let kubeadm = Corefile::kubeadm("cluster.local").expect("valid");
        let check = |name: &str, expect: Expect| check_by(&kubeadm, Some("dev"), name, "A", &expect);
        check(
            "web.default",
            expect![[r#"
            the search list of namespace dev, ndots:5: dev.svc.cluster.local. svc.cluster.local. cluster.local.
            web.default.dev.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is no Service dev/default  [Namespace dev: metadata.name]
            NXDOMAIN: on with the next of the search list
            web.default.svc.cluster.local. A: server block .:53 (line 1)
            Service default/web has 10.96.0.1  [Service default/web: spec.clusterIPs]
            web.default.svc.cluster.local. 30 A 10.96.0.1
            => NOERROR with 1 record(s)
        "#]],
        );
        check(
            "www.example.com",
            expect![[r#"
            the search list of namespace dev, ndots:5: dev.svc.cluster.local. svc.cluster.local. cluster.local.
            www.example.com.dev.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is no Service dev/com  [Namespace dev: metadata.name]
            NXDOMAIN: on with the next of the search list
            www.example.com.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is neither a Service com/example nor a namespace com
            NXDOMAIN: on with the next of the search list
            www.example.com.cluster.local. A: server block .:53 (line 1)
            kubernetes: zone cluster.local. has nothing under com
            NXDOMAIN: on with the next of the search list
            www.example.com. A: server block .:53 (line 1)
            cache: an answer that is kept ends the way here
            => forwarded to the servers of /etc/resolv.conf
        "#]],
        );
        check(
            "web.default.svc.cluster.local.",
            expect![[r#"
            web.default.svc.cluster.local. A: server block .:53 (line 1)
            Service default/web has 10.96.0.1  [Service default/web: spec.clusterIPs]
            web.default.svc.cluster.local. 30 A 10.96.0.1
            => NOERROR with 1 record(s)
        "#]],
        );
        check(
            "a.b.c.d.e.example",
            expect![[r#"
            the search list of namespace dev, ndots:5: dev.svc.cluster.local. svc.cluster.local. cluster.local.
            a.b.c.d.e.example. A: server block .:53 (line 1)
            cache: an answer that is kept ends the way here
            asked of the servers of /etc/resolv.conf; if it is not there, on with the next of the search list
            a.b.c.d.e.example.dev.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is no Service dev/example  [Namespace dev: metadata.name]
            asked of the servers of /etc/resolv.conf; if it is not there, on with the next of the search list
            a.b.c.d.e.example.svc.cluster.local. A: server block .:53 (line 1)
            kubernetes: there is neither a Service example/e nor a namespace example
            asked of the servers of /etc/resolv.conf; if it is not there, on with the next of the search list
            a.b.c.d.e.example.cluster.local. A: server block .:53 (line 1)
            kubernetes: zone cluster.local. has nothing under example
            => forwarded to the servers of /etc/resolv.conf
        "#]],
        );
        let completed = ". {\n rutter {\n search-completion corp.example\n }\n kubernetes cluster.local\n forward . 192.0.2.53\n}";
        check_in(
            completed,
            Some("dev"),
            "www.example.com",
            "AAAA",
            expect![[r#"
            the search list of namespace dev, ndots:5: dev.svc.cluster.local. svc.cluster.local. cluster.local. corp.example.
            www.example.com.dev.svc.cluster.local. AAAA: server block .:53 (line 1)
            www.example.com.svc.cluster.local. AAAA: server block .:53 (line 1)
            kubernetes: there is neither a Service com/example nor a namespace com
            www.example.com.cluster.local. AAAA: server block .:53 (line 1)
            kubernetes: zone cluster.local. has nothing under com
            www.example.com.corp.example. AAAA: server block .:53 (line 1)
            www.example.com.corp.example. AAAA: asked of 192.0.2.53:53
            www.example.com.corp.example. A: asked of 192.0.2.53:53
            www.example.com. AAAA: server block .:53 (line 1)
            www.example.com. AAAA: asked of 192.0.2.53:53
            www.example.com. A: asked of 192.0.2.53:53
            kubernetes: there is no Service dev/com  [Namespace dev: metadata.name]
            => an alias of the first of these that 192.0.2.53:53 knows, else NXDOMAIN
        "#]],
        );
    }

    #[test]
    fn a_question_that_is_no_step_of_a_list_is_forwarded() {
        let corefile = ". {\n rutter {\n search-completion\n }\n kubernetes cluster.local\n forward . 192.0.2.53\n}";
        for name in ["www.example.com.", "search.default.svc.cluster.local."] {
            let asker = Asker { address: "10.2.0.1".parse().expect("address"), namespace: Some("dev".to_owned()) };
            let corefile = Corefile::parse(corefile).expect("a Corefile");
            let trace = trace(&corefile, &Arc::new(names(CLUSTER)), name, "A", &asker).expect("a question");
            assert_eq!(trace.outcome, "forwarded to 192.0.2.53:53", "{name}");
        }
    }

    #[test]
    fn why_a_step_of_a_list_is_left_to_the_client_is_told() {
        let corefile = |pods| {
            Corefile::parse(&format!(". {{\n rutter {{\n search-completion\n }}\n kubernetes cluster.local {{\n pods {pods}\n }}\n}}"))
        };
        for (address, pods, told) in [
            ("127.0.0.1", "insecure", Some("127.0.0.1 is not taken to walk a search list: it is this machine's own")),
            ("10.2.0.9", "verified", Some("10.2.0.9 is not taken to walk a search list: no pod of this namespace is known there")),
            ("10.2.0.1", "verified", None),
        ] {
            let asker = Asker { address: address.parse().expect("address"), namespace: None };
            let name = "web.default.dev.svc.cluster.local";
            let trace = trace(&corefile(pods).expect("a Corefile"), &Arc::new(names(CLUSTER)), name, "A", &asker).expect("a question");
            let why = trace.steps.iter().find_map(|step| step.what.strip_prefix("rutter: ").filter(|what| what.contains(address)));
            assert_eq!(why, told, "{pods}");
        }
    }

    #[test]
    fn what_a_plugin_does_is_seen() {
        let corefile = "example. {
    hosts /nowhere {
        192.0.2.1 www.example
        fallthrough
    }
    acl {
        block type MX
    }
    rewrite name exact old.example www.example
    rutter {
        aaaa off
    }
    forward . tls://192.0.2.53
}";
        let check = |name: &str, record_type: &str, expect: Expect| check_in(corefile, None, name, record_type, expect);
        check(
            "www.example",
            "A",
            expect![[r#"
            www.example. A: server block example.:53 (line 1)
            hosts: answers NOERROR
            www.example. 3600 A 192.0.2.1
            => NOERROR with 1 record(s)
        "#]],
        );
        check(
            "old.example",
            "A",
            expect![[r#"
            old.example. A: server block example.:53 (line 1)
            rewrite: www.example. A is asked in its place
            hosts: answers NOERROR
            old.example. 3600 A 192.0.2.1
            => NOERROR with 1 record(s)
        "#]],
        );
        check(
            "www.example",
            "MX",
            expect![[r#"
            www.example. MX: server block example.:53 (line 1)
            acl: answers REFUSED
            => REFUSED
        "#]],
        );
        check(
            "other.example",
            "AAAA",
            expect![[r#"
            other.example. AAAA: server block example.:53 (line 1)
            rutter: answers NOERROR
            => NOERROR without records: the name exists, but has none of this type
        "#]],
        );
        check(
            "other.example",
            "A",
            expect![[r#"
            other.example. A: server block example.:53 (line 1)
            => forwarded to tls://192.0.2.53:853
        "#]],
        );
        check(
            "other.test",
            "A",
            expect![[r#"
            no server block of the Corefile serves other.test.
            => REFUSED
        "#]],
        );
    }
}
