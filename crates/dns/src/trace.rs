//! What becomes of a question, step by step: which server block, which plugin, which object, which records.
//!
//! Answers from the same snapshot code as the server, and explains beside it which object's field decided. Asks nobody: what would be
//! forwarded is said, not sent.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::name::{NamedKind, NamedService};
use model::{NameView, ObjectKind, ObjectRef, ServiceName};

use crate::config::{Corefile, ServerBlock};
use crate::name::{Name, labels};
use crate::plugins::Spec;
use crate::plugins::forward::Target;
use crate::plugins::kubernetes::{Options, Outcome, Snapshot, Zones};
use crate::plugins::scope::longest;
use crate::server::chain::Request;
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, MAX_TCP, rcode, rcode_name, type_named};

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

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
    #[error("`{0}` is no record type such as A, AAAA, SRV or PTR")]
    Type(String),
}

/// More links than an answer follows.
const MAX_LINKS: usize = 10;

/// Follows the question for `name` and `record_type` that `client` would ask.
pub fn trace(corefile: &Corefile, names: &Arc<NameView>, name: &str, record_type: &str, client: IpAddr) -> Result<Trace, TraceError> {
    let qtype = type_named(record_type).ok_or_else(|| TraceError::Type(record_type.to_owned()))?;
    let mut tracing = Tracing { corefile, names, client, qtype, trace: Trace::default() };
    let mut name = Name::parse(name)?;
    for _ in 0..MAX_LINKS {
        match tracing.ask(&name) {
            Some(target) => name = target,
            None => return Ok(tracing.trace),
        }
    }
    tracing.trace.outcome = "no data: the aliases lead nowhere".to_owned();
    Ok(tracing.trace)
}

struct Tracing<'a> {
    corefile: &'a Corefile,
    names: &'a Arc<NameView>,
    client: IpAddr,
    qtype: u16,
    trace: Trace,
}

impl Tracing<'_> {
    fn say(&mut self, what: impl Into<String>) {
        self.trace.steps.push(Step { what: what.into(), by: None });
    }

    fn say_by(&mut self, what: impl Into<String>, object: ObjectRef, field: &'static str) {
        self.trace.steps.push(Step { what: what.into(), by: Some((object, field)) });
    }

    fn end(&mut self, outcome: impl Into<String>) -> Option<Name> {
        self.trace.outcome = outcome.into();
        None
    }

    /// Follows one name; gives the next if it is an alias.
    fn ask(&mut self, name: &Name) -> Option<Name> {
        let keys = self.corefile.blocks.iter().flat_map(|block| block.keys.iter().map(move |key| (key, block)));
        let best = keys.filter(|(key, _)| name.is_under(&key.zone)).max_by_key(|(key, _)| key.zone.n_labels());
        let Some((key, block)) = best else {
            self.say(format!("no server block of the Corefile serves {name}"));
            return self.end("REFUSED");
        };
        self.say(format!("{name} {}: server block {}:{} (line {})", crate::wire::Type(self.qtype), key.zone, key.port, block.line));
        for plugin in &block.plugins {
            match plugin {
                Spec::Autopath(_) => self.say("autopath: a pod's search list is walked here, if the name ends in its first domain"),
                Spec::Acl(_) => self.say("acl: may refuse who asks"),
                Spec::Rewrite(_) => self.say("rewrite: may ask for another name or type instead"),
                Spec::Template(_) => self.say("template: answers what its pattern fits"),
                Spec::Hosts(hosts) => self.say(format!("hosts: {} and the lines of the block come first", hosts.file.display())),
                Spec::Rutter(options) if options.search.is_some() => self.say("rutter: steps of a search list are answered with their end"),
                Spec::K8sExternal(external) if external.zones.iter().any(|zone| name.is_under(zone)) => {
                    self.say("k8s_external: by external addresses");
                }
                Spec::Kubernetes(options) => match self.kubernetes(options, block, name) {
                    Asked::Passed => {}
                    Asked::Ended => return None,
                    Asked::Alias(target) => return Some(target),
                },
                Spec::Cache(_) => self.say("cache: an answer that is kept ends the way here"),
                Spec::Forward(forward) => {
                    let taken =
                        forward.from.iter().any(|zone| name.is_under(zone)) && !forward.except.iter().any(|zone| name.is_under(zone));
                    if taken {
                        let to: Vec<_> = forward
                            .to
                            .iter()
                            .map(|target| match target {
                                Target::Address(address) => address.to_string(),
                                Target::Tls(address, _) => format!("tls://{address}"),
                                Target::ResolvConf(path) => format!("the servers of {}", path.display()),
                            })
                            .collect();
                        return self.end(format!("forwarded to {}", to.join(", ")));
                    }
                }
                _ => {}
            }
        }
        self.say("no plugin of the block answers");
        self.end("SERVFAIL")
    }

    fn kubernetes(&mut self, options: &Options, block: &ServerBlock, name: &Name) -> Asked {
        let zones: Vec<Name> = block.keys.iter().map(|key| key.zone.clone()).collect();
        let options = options.clone().or_zones_of(&zones);
        let Some(zone) = longest(&options.zones, name).cloned() else {
            return Asked::Passed;
        };
        let mut snapshot = Snapshot::unsynced();
        snapshot.patch(self.names, &snapshot.changes(self.names), &HashSet::new(), &options);
        self.explain(&options, &zone, name);
        let question = Question { name: name.clone(), qtype: self.qtype, qclass: CLASS_IN };
        let request = Request { tcp: true, ..Request::of(question, SocketAddr::new(self.client, 0)) };
        let zones = Zones::new(options, Arc::default(), false);
        let mut reached = Asked::Passed;
        let answer = request.written(|query, buffer| match zones.answer(&snapshot, query, buffer, MAX_TCP, 0) {
            Outcome::Written(length, _) => Some(length),
            Outcome::Next => None,
            Outcome::Alias(target) => {
                reached = Asked::Alias(target);
                None
            }
        });
        match (&reached, answer) {
            (_, Some(answer)) => {
                self.answered(&answer);
                return Asked::Ended;
            }
            (Asked::Alias(target), None) => self.say(format!("an alias: on with {target}")),
            (_, None) => self.say("kubernetes: no such name here; `fallthrough` hands it on"),
        }
        reached
    }

    fn answered(&mut self, answer: &Message) {
        for record in &answer.answers {
            self.say(record.to_string());
        }
        self.trace.outcome = match (answer.rcode, answer.answers.len()) {
            (rcode::NOERROR, 0) => "NOERROR without records: the name exists, but has none of this type".to_owned(),
            (code, 0) => rcode_name(code).to_owned(),
            (code, n) => format!("{} with {n} record(s)", rcode_name(code)),
        };
    }

    /// Says which object the name leads to, and what of it decides.
    fn explain(&mut self, options: &Options, zone: &Name, name: &Name) {
        let front = name.split(zone).unwrap_or_default().to_ascii_lowercase();
        let text = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        let front: Vec<String> = labels(&front).map(text).collect();
        if zone.is_reverse() {
            self.say(format!("kubernetes: reverse zone {zone}: ClusterIPs first, then ready endpoints"));
            return;
        }
        match front.as_slice() {
            [.., namespace, kind] if kind == "pod" => {
                self.say(format!("kubernetes: a pod of namespace {namespace}; pods are {:?}", options.pods).to_lowercase());
            }
            [below @ .., service, namespace, kind] if kind == "svc" => {
                let name = ServiceName::new(namespace.as_str(), service.as_str());
                let exposed = options.namespaces.is_empty() || options.namespaces.contains(namespace);
                if !exposed {
                    self.say(format!("kubernetes: namespace {namespace} is not among `namespaces`"));
                }
                match self.names.services.get(&name).cloned() {
                    Some(service) => self.service(&name, &service, below, options),
                    None if self.names.namespaces.get(&name.namespace).is_some() => {
                        self.say_by(format!("kubernetes: there is no Service {name}"), namespace_ref(namespace), "metadata.name");
                    }
                    None => self.say(format!("kubernetes: there is neither a Service {name} nor a namespace {namespace}")),
                }
            }
            _ => self.say(format!("kubernetes: a name of zone {zone} itself")),
        }
    }

    fn service(&mut self, name: &ServiceName, service: &NamedService, below: &[String], options: &Options) {
        let object = name.object();
        let ready = service.endpoints().map(|endpoint| endpoint.address).collect::<HashSet<_>>().len();
        match &service.kind {
            NamedKind::ExternalName(target) => {
                self.say_by(format!("Service {name} is an alias of {target}"), object, "spec.externalName");
            }
            NamedKind::Headless => {
                self.say_by(format!("Service {name} is headless: {ready} ready endpoint(s) have its name"), object, "spec.clusterIP");
            }
            NamedKind::ClusterIp(ips) => {
                let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
                self.say_by(format!("Service {name} has {}", ips.join(" and ")), object.clone(), "spec.clusterIPs");
                if (ready == 0 || options.no_endpoints) && options.ignore_empty_service {
                    self.say_by("it has no ready endpoint, and `ignore empty_service` hides it", object, "spec.selector");
                }
            }
        }
        match below {
            [] => {}
            [port, protocol] => self.say_by(format!("the port {port} over {protocol}"), name.object(), "spec.ports"),
            below => self.say_by(format!("below it: {}", below.join(".")), name.object(), "spec.ports"),
        }
    }
}

enum Asked {
    Passed,
    Ended,
    Alias(Name),
}

fn namespace_ref(name: &str) -> ObjectRef {
    ObjectRef { kind: ObjectKind::Namespace, namespace: "".into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::plugins::kubernetes::tests::{CLUSTER, names};

    fn check(name: &str, record_type: &str, expect: Expect) {
        let corefile = Corefile::kubeadm("cluster.local").expect("valid");
        let client = "10.2.0.1".parse().expect("address");
        let trace = trace(&corefile, &Arc::new(names(CLUSTER)), name, record_type, client).expect("a question");
        let by = |step: &Step| step.by.as_ref().map(|(object, field)| format!("  [{object}: {field}]")).unwrap_or_default();
        let steps: String = trace.steps.iter().map(|step| format!("{}{}\n", step.what, by(step))).collect();
        expect.assert_eq(&format!("{steps}=> {}\n", trace.outcome));
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
            web.default.svc.cluster.local. A: server block .:53 (line 1)
            Service default/web has 10.96.0.1  [Service default/web: spec.clusterIPs]
            web.default.svc.cluster.local. 30 A 10.96.0.1
            => NOERROR with 1 record(s)
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
}
