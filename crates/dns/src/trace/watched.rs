//! The plugins of a Corefile with somebody who looks on: each says what it is asked and what it answers.
//!
//! `forward` is stood in for by one who says where a question would go. Of `kubernetes` it is said as well which object the name leads
//! to, and what of it decides.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::name::{NamedKind, NamedService};
use model::{NameView, ObjectKind, ObjectRef, ServiceName};

use super::{Step, Trace};
use crate::config::{Corefile, Key, ServerBlock};
use crate::name::{Name, labels};
use crate::plugins::Spec;
use crate::plugins::forward::{self, Target};
use crate::plugins::kubernetes::{Options, Snapshot};
use crate::plugins::scope::longest;
use crate::server::Route;
use crate::server::build::{self, Onlooker};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Question};
use crate::wire::{Query, Type, rcode, rcode_name, rtype};

/// What was seen so far. Cheap to clone.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    trace: Trace,
    /// The type that is asked for; of the other family, which `rutter` asks for beside it, nothing is told.
    qtype: u16,
    /// The plugins that the question is in.
    within: Vec<&'static str>,
    /// Those that asked the whole server something further on its account; nothing for the first time.
    askers: Vec<Option<&'static str>>,
    /// As it came to `rewrite`.
    before: Option<Question>,
    forwarded: Option<Forwarded>,
}

/// Where a question would go that is not sent.
#[derive(Clone)]
pub(super) struct Forwarded {
    pub(super) to: String,
    /// As one of a search list that is walked here.
    pub(super) of_list: bool,
}

/// Routes of the port that everybody asks, or of the first one that there is.
pub(super) fn routes(corefile: &Corefile, names: &Arc<NameView>, log: &Log) -> Vec<Route> {
    let onlooker = Watching { log: log.clone(), names: names.clone() };
    // Pods that are known although no name needs them are those that ask.
    let own_pods = names.pods.iter().next().is_some();
    let local = build::local_addresses(build::addresses(corefile, &[]).into_keys());
    let (routes, followed) = build::routes_to_look_at(corefile, local, own_pods, Some(&onlooker));
    for followed in followed {
        let mut snapshot = Snapshot::unsynced();
        snapshot.patch(names, &snapshot.changes(names), &HashSet::new(), &followed.options);
        followed.current.store(Arc::new(snapshot));
    }
    routes
}

/// Makes the plugins watched.
struct Watching {
    log: Log,
    names: Arc<NameView>,
}

/// One plugin, at its place in its block.
struct Watched {
    plugin: Box<dyn Plugin>,
    /// The one in front of it.
    behind: Option<&'static str>,
    block: Arc<Block>,
    log: Log,
}

struct Block {
    keys: Vec<Key>,
    line: String,
    /// Of `kubernetes`, where the block has it.
    options: Option<Options>,
    names: Arc<NameView>,
}

/// `forward`, who sends nothing.
struct Forward {
    options: forward::Options,
    log: Log,
}

// === impl Log ===

impl Log {
    pub(super) fn of(qtype: u16) -> Self {
        Self(Arc::new(Mutex::new(Seen { qtype, ..Seen::default() })))
    }

    pub(super) fn say(&self, what: impl Into<String>) {
        self.seen().trace.steps.push(Step { what: what.into(), by: None });
    }

    fn say_by(&self, what: impl Into<String>, object: ObjectRef, field: &'static str) {
        self.seen().trace.steps.push(Step { what: what.into(), by: Some((object, field)) });
    }

    pub(super) fn forwarded(&self) -> Option<Forwarded> {
        self.seen().forwarded.clone()
    }

    pub(super) fn end(&self, outcome: String) -> Trace {
        Trace { outcome, ..std::mem::take(&mut self.seen().trace) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watching ===

impl Onlooker for Watching {
    fn forward(&self, options: &forward::Options) -> Box<dyn Plugin> {
        Box::new(Forward { options: options.clone(), log: self.log.clone() })
    }

    fn watch(&self, block: &ServerBlock, plugins: Vec<Box<dyn Plugin>>) -> Vec<Box<dyn Plugin>> {
        let zones = block.zones();
        let options = block.plugins.iter().find_map(|plugin| match plugin {
            Spec::Kubernetes(options) => Some(options.clone().or_zones_of(&zones)),
            _ => None,
        });
        let block = Arc::new(Block { keys: block.keys.clone(), line: block.line.to_string(), options, names: self.names.clone() });
        let mut behind = None;
        let watched = |plugin: Box<dyn Plugin>| -> Box<dyn Plugin> {
            let behind = behind.replace(plugin.name());
            Box::new(Watched { plugin, behind, block: block.clone(), log: self.log.clone() })
        };
        plugins.into_iter().map(watched).collect()
    }
}

// === impl Watched ===

impl Plugin for Watched {
    fn name(&self) -> &'static str {
        self.plugin.name()
    }

    fn knows_class(&self, class: u16) -> bool {
        self.plugin.knows_class(class)
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        self.plugin.passes(query)
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        let families = [rtype::A, rtype::AAAA];
        let (asked, qtype) = (self.log.seen().qtype, request.question.qtype);
        let beside = asked != qtype && families.contains(&asked) && families.contains(&qtype) && request.depth > 0;
        Box::pin(async move {
            if !beside {
                self.asked(request);
            }
            self.enter();
            let answer = self.plugin.answer(request, next).await;
            self.leave();
            if !beside {
                self.answered(&answer);
            }
            answer
        })
    }
}

impl Watched {
    fn enter(&self) {
        let mut seen = self.log.seen();
        if self.behind.is_none() {
            let asker = seen.within.last().copied();
            seen.askers.push(asker);
        }
        seen.within.push(self.name());
    }

    fn leave(&self) {
        let mut seen = self.log.seen();
        seen.within.pop();
        if self.behind.is_none() {
            seen.askers.pop();
        }
    }

    fn asked(&self, request: &Request) {
        let (question, log) = (&request.question, &self.log);
        if self.behind.is_none() {
            if log.seen().within.last() == Some(&"kubernetes") {
                log.say(format!("an alias: on with {}", question.name));
            }
            let keys = self.block.keys.iter().filter(|key| question.name.is_under(&key.zone));
            if let Some(Key { zone, port }) = keys.max_by_key(|key| key.zone.n_labels()) {
                log.say(format!("{} {}: server block {zone}:{port} (line {})", question.name, Type(question.qtype), self.block.line));
            }
        }
        if self.behind == Some("kubernetes") && self.block.zone_of(&question.name).is_some() {
            log.say("kubernetes: no such name here; `fallthrough` hands it on");
        }
        if self.behind == Some("rewrite") && log.seen().before.as_ref() != Some(question) {
            log.say(format!("rewrite: {} {} is asked in its place", question.name, Type(question.qtype)));
        }
        if let Some(why) = self.plugin.why_not(request) {
            log.say(format!("{}: {why}", self.name()));
        }
        match self.name() {
            "rewrite" => log.seen().before = Some(question.clone()),
            "autopath" => log.say("autopath: a pod's search list is walked here, if the name ends in its first domain"),
            "cache" => log.say("cache: an answer that is kept ends the way here"),
            "kubernetes" => self.block.explain(&question.name, log),
            _ => {}
        }
    }

    fn answered(&self, answer: &Message) {
        let own = answer.error.is_none() && (answer.by.is_empty() || answer.by == self.name());
        match self.name() {
            "kubernetes" if own => {
                // Those that it followed by itself.
                for alias in &answer.answers {
                    let Some(target) = alias.target().filter(|target| self.block.zone_of(target).is_some()) else { continue };
                    self.log.say(format!("an alias: on with {target}"));
                    self.block.explain(&target, &self.log);
                }
            }
            "kubernetes" | "forward" => {}
            "rutter" if own && answer.answers.first().is_some_and(|record| record.target().is_some()) => {
                self.log.say("rutter: a step of a search list, answered with where the list ends");
            }
            name if own && answer.dropped => self.log.say(format!("{name}: drops the question")),
            name if own => self.log.say(format!("{name}: answers {}", rcode_name(answer.rcode))),
            _ => {}
        }
    }
}

// === impl Block ===

impl Block {
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest(&self.options.as_ref()?.zones, name)
    }

    /// Says which object the name leads to, and what of it decides.
    fn explain(&self, name: &Name, log: &Log) {
        let (Some(zone), Some(options)) = (self.zone_of(name), &self.options) else { return };
        let front = name.split(zone).unwrap_or_default().to_ascii_lowercase();
        let text = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        let front: Vec<String> = labels(&front).map(text).collect();
        if zone.is_reverse() {
            log.say(format!("kubernetes: reverse zone {zone}: ClusterIPs first, then ready endpoints"));
            return;
        }
        match front.as_slice() {
            [.., namespace, kind] if kind == "pod" => {
                log.say(format!("kubernetes: a pod of namespace {namespace}; pods are {:?}", options.pods).to_lowercase());
            }
            [below @ .., service, namespace, kind] if kind == "svc" => {
                let name = ServiceName::new(namespace.as_str(), service.as_str());
                let exposed = options.namespaces.is_empty() || options.namespaces.contains(namespace);
                if !exposed {
                    log.say(format!("kubernetes: namespace {namespace} is not among `namespaces`"));
                }
                match self.names.services.get(&name) {
                    Some(service) => of_service(&name, service, below, options, log),
                    None if self.names.namespaces.get(&name.namespace).is_some() => {
                        let object = ObjectRef { kind: ObjectKind::Namespace, namespace: "".into(), name: name.namespace.clone() };
                        log.say_by(format!("kubernetes: there is no Service {name}"), object, "metadata.name");
                    }
                    None => log.say(format!("kubernetes: there is neither a Service {name} nor a namespace {namespace}")),
                }
            }
            [] => log.say(format!("kubernetes: zone {zone} itself")),
            [.., last] if ["svc", "pod", "dns", "dns-version"].contains(&last.as_str()) => {
                log.say(format!("kubernetes: a name of zone {zone} itself"));
            }
            [.., last] => log.say(format!("kubernetes: zone {zone} has nothing under {last}")),
        }
    }
}

fn of_service(name: &ServiceName, service: &NamedService, below: &[String], options: &Options, log: &Log) {
    let object = name.object();
    let ready = service.endpoints().map(|endpoint| endpoint.address).collect::<HashSet<IpAddr>>().len();
    match &service.kind {
        NamedKind::ExternalName(target) => {
            log.say_by(format!("Service {name} is an alias of {target}"), object, "spec.externalName");
        }
        NamedKind::Headless => {
            log.say_by(format!("Service {name} is headless: {ready} ready endpoint(s) have its name"), object, "spec.clusterIP");
        }
        NamedKind::ClusterIp(ips) => {
            let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
            log.say_by(format!("Service {name} has {}", ips.join(" and ")), object.clone(), "spec.clusterIPs");
            if (ready == 0 || options.no_endpoints) && options.ignore_empty_service {
                log.say_by("it has no ready endpoint, and `ignore empty_service` hides it", object, "spec.selector");
            }
        }
    }
    match below {
        [] => {}
        [port, protocol] => log.say_by(format!("the port {port} over {protocol}"), name.object(), "spec.ports"),
        below => log.say_by(format!("below it: {}", below.join(".")), name.object(), "spec.ports"),
    }
}

// === impl Forward ===

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        if !self.options.takes(&request.question.name) {
            return next.run(request);
        }
        let to: Vec<_> = self
            .options
            .to
            .iter()
            .map(|target| match target {
                Target::Address(address) => address.to_string(),
                Target::Tls(address, _) => format!("tls://{address}"),
                Target::ResolvConf(path) => format!("the servers of {}", path.display()),
            })
            .collect();
        let to = to.join(", ");
        let mut seen = self.log.seen();
        let of_list = seen.askers.iter().flatten().any(|plugin| ["rutter", "autopath"].contains(plugin));
        if of_list {
            let what = format!("{} {}: asked of {to}", request.question.name, Type(request.question.qtype));
            seen.trace.steps.push(Step { what, by: None });
        }
        seen.forwarded = Some(Forwarded { to, of_list });
        // As if it were not there: whoever goes on then shows where to.
        Box::pin(std::future::ready(Message::answer(request.question.clone(), rcode::NXDOMAIN)))
    }
}
