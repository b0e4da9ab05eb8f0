//! `rutter trace`: what happens to a packet, a name or a URL, step by step, and by which object's which field.
//!
//! Reads facts and views, the same that the sinks are given; decides nothing itself. Each kind of target has a room.

mod name;
pub mod packet;
mod request;
mod sender;
pub mod target;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dns::config::Corefile;
use model::{Family, Model, ObjectRef};
use serde::{Deserialize, Serialize};
use source::Inspector;
use tokio::sync::watch;

pub use sender::Sender;
pub use target::Target;

/// What is asked, whole: so that a running process can be asked the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    pub target: Target,
    /// `None`: the node itself.
    pub from: Option<Sender>,
    /// The node that decides is another machine: what addresses it has, its Node says.
    pub elsewhere: bool,
    /// Also whether the kernel holds the rules that were decided.
    pub kernel: bool,
}

/// The whole answer; its last line is the outcome.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    pub steps: Vec<Step>,
    /// What the kernel holds other than it should; `None`: not asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<Vec<String>>,
    pub outcome: String,
}

/// One thing that was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub what: String,
    /// The object and the field that decided it; `None` where no object did (a default, a flag).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<By>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct By {
    pub object: String,
    pub field: String,
}

/// How the parts are configured whose decisions are followed; `None`: that part does not run.
#[derive(Clone, Default)]
pub struct Parts {
    pub proxy: Option<proxy::Config>,
    /// The one that is in force.
    pub corefile: Option<watch::Receiver<Arc<Corefile>>>,
}

/// Answers a question from what the model behind `inspector` holds; `None` once it is gone.
pub async fn ask(inspector: &Inspector, question: Question, parts: Parts) -> Option<Trace> {
    let view = inspector.ask(|model| model.views().node.clone()).await?;
    let own = match &view.node {
        Some(node) if question.elsewhere => [node.internal_ips.as_slice(), &node.external_ips].concat(),
        // Whoever may not ask the kernel is told of no node ports.
        _ => kernel::rtnl::addresses().unwrap_or_default().into_iter().map(|it| it.address).collect(),
    };
    let on_node = |proxy| proxy::node_port_addresses(proxy, view.node.as_deref(), &own);
    let node_ports = parts.proxy.as_ref().map(on_node).unwrap_or_default();
    let with_kernel = parts.proxy.clone().filter(|_| question.kernel);
    let mut trace = inspector.ask(move |model| answer(&question, model, &parts, node_ports)).await?;
    if let Some(config) = with_kernel {
        trace.kernel = Some(kernel_differences(inspector, config).await?);
    }
    Some(trace)
}

/// What two looks at the kernel both find: what is gone at the second was a change on its way.
async fn kernel_differences(inspector: &Inspector, config: proxy::Config) -> Option<Vec<String>> {
    let mut told: Option<Vec<String>> = None;
    for _ in 0..2 {
        let view = inspector.ask(|model| model.views().node.clone()).await?;
        let config = config.clone();
        let found = tokio::task::spawn_blocking(move || proxy::differences(&view, &config)).await.ok()?;
        let found: Vec<String> = match found {
            Ok(found) => found.iter().map(ToString::to_string).collect(),
            Err(error) => return Some(vec![format!("cannot be asked: {error}")]),
        };
        told = Some(match told {
            None => found,
            Some(before) => before.into_iter().filter(|difference| found.contains(difference)).collect(),
        });
        if told.as_ref().is_some_and(Vec::is_empty) {
            break;
        }
    }
    told
}

/// `node_ports` are the addresses that node ports are on.
fn answer(question: &Question, model: &Model, parts: &Parts, node_ports: Vec<IpAddr>) -> Trace {
    let proxy = parts.proxy.as_ref();
    match &question.target {
        Target::Packet { protocol, host, port } => {
            let mut trace = Trace::default();
            let address = match host {
                target::Host::Address(address) => *address,
                target::Host::Name(text) => match name::first_address(model, text, &mut trace) {
                    Some(address) => address,
                    None => return trace.end("no packet is sent: the name has no address here"),
                },
            };
            let from = match &question.from {
                None => packet::From::Node,
                Some(sender) => match sender.address(model.facts(), Some(Family::of(address)), &mut trace) {
                    Some(address) => packet::From::Address(address),
                    None => {
                        return trace.end(format!("no packet is sent: {sender} has no {} address that is known here", Family::of(address)));
                    }
                },
            };
            let place = place(model, proxy, node_ports);
            let followed = packet::trace(&place, (*protocol).into(), from, SocketAddr::new(address, *port));
            trace.steps.extend(followed.steps);
            trace.end(followed.outcome)
        }
        Target::Name { name, record_type } => {
            let mut trace = Trace::default();
            let asker = name::asker(model.facts(), question.from.as_ref(), &mut trace);
            let corefile = parts.corefile.as_ref().map(|corefile| corefile.borrow().clone());
            name::trace(&model.views().names, corefile.as_deref(), name, record_type, &asker, trace)
        }
        Target::Request { tls, host, port, target } => request::trace(model, *tls, host, *port, target),
    }
}

fn place<'a>(model: &'a Model, proxy: Option<&proxy::Config>, node_ports: Vec<IpAddr>) -> packet::Place<'a> {
    let view = &model.views().node;
    let of_node = || view.node.as_ref().map(|node| node.pod_cidrs.clone()).unwrap_or_default();
    let pod_cidrs = match proxy.map(|proxy| &proxy.detector) {
        Some(proxy::config::LocalDetector::ClusterCidr(cidrs)) => cidrs.clone(),
        Some(proxy::config::LocalDetector::None) => Vec::new(),
        // Detectors that go by interface cannot be told from an address: the node's own share is the best guess.
        Some(_) | None => of_node(),
    };
    packet::Place {
        facts: model.facts(),
        view,
        node_name: &model.config().node_name,
        node_port_addresses: node_ports,
        localhost_node_ports: proxy.map(|proxy| proxy.localhost_node_ports.clone()).unwrap_or_default(),
        pod_cidrs,
        masquerade_all: proxy.is_some_and(|proxy| proxy.masquerade_all),
    }
}

// === impl Question ===

impl Question {
    /// As a query string that needs no escaping.
    pub fn to_query(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        text.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn from_query(query: &str) -> Option<Self> {
        let pairs = query.as_bytes().chunks_exact(2);
        let text: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        serde_json::from_slice(&text?).ok()
    }
}

// === impl Trace ===

impl Trace {
    pub fn say(&mut self, what: impl Into<String>) {
        self.steps.push(Step { what: what.into(), by: None });
    }

    pub fn say_by(&mut self, what: impl Into<String>, object: &ObjectRef, field: impl Into<String>) {
        self.steps.push(Step { what: what.into(), by: Some(By { object: object.to_string(), field: field.into() }) });
    }

    #[must_use]
    pub fn end(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = outcome.into();
        self
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { what, by } in &self.steps {
            match by {
                Some(By { object, field }) => writeln!(f, "{what}  [{object}: {field}]")?,
                None => writeln!(f, "{what}")?,
            }
        }
        match self.kernel.as_deref() {
            None => {}
            Some([]) => writeln!(f, "kernel: holds what was decided, and nothing else")?,
            Some(differences) => differences.iter().try_for_each(|difference| writeln!(f, "kernel: {difference}"))?,
        }
        writeln!(f, "=> {}", self.outcome)
    }
}
