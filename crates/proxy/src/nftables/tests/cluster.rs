//! Views from short texts, and a mode at work on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::facts::Node;
use model::node::{NodeKey, NodeService, NodeServicePort, Verdict};
use model::{Family, NodePort, NodeView, Protocol, Revision, ServiceName};

use super::super::Nftables;
use crate::{Applied, Config, Mode};

pub(super) const CONFIG: &str = "{mode: nftables, clusterCIDR: '10.0.0.0/8,fd00:10::/32'}";

/// A view that changes line by line, and the mode that follows it.
pub(super) struct Cluster {
    pub(super) view: NodeView,
    mode: Nftables,
    last: Option<NodeView>,
}

impl Cluster {
    pub(super) fn new(config: &str) -> Self {
        let config = Arc::new(Config::parse(config).expect("a valid configuration"));
        let ips = ["192.168.0.2", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let node = Node { internal_ips: ips.to_vec(), ..Node::default() };
        let cidrs = ["10.96.0.0/12", "fd00:96::/112"].map(|cidr| cidr.parse().expect("a CIDR"));
        let view = NodeView {
            revision: Revision(1),
            node: Some(Arc::new(node)),
            service_cidrs: Arc::new(cidrs),
            globals_at: Revision(1),
            ..NodeView::default()
        };
        Self { view, mode: Nftables::new(config), last: None }
    }

    /// Changes Services, one in each line: `NAME IP tcp:PORT -> ENDPOINT ..|reject|drop; CLAUSE; ..`, or `NAME IP gone`.
    ///
    /// Clauses: `lb IP`, `external IP`, `nodeport N`, `affinity SECS`, `balance HOW`, `ranges CIDR ..`, `local ENDPOINT ..|reject|drop` (policy
    /// Local for external addresses). Everything counts as one revision.
    pub(super) fn set(&mut self, lines: &str) -> &mut Self {
        self.view.revision = Revision(self.view.revision.0 + 1);
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, service) = parse(line);
            self.view.services.put(self.view.revision, key, service.map(Arc::new));
        }
        self
    }

    /// Brings the kernel of this thread's namespace up to date.
    pub(super) fn sync(&mut self) -> Applied {
        let applied = self.mode.sync(&self.view, self.last.as_ref()).expect("sync");
        self.last = Some(self.view.clone());
        applied
    }

    /// Waits until nothing is due any more.
    pub(super) fn settle(&mut self) {
        while let Some(at) = self.sync().again_at {
            std::thread::sleep(at.saturating_duration_since(std::time::Instant::now()));
        }
    }

    /// As a new process over the rules of the old.
    pub(super) fn restart(&mut self, config: &str) -> Applied {
        self.mode = Nftables::new(Arc::new(Config::parse(config).expect("a valid configuration")));
        self.last = None;
        self.sync()
    }

    /// What is told about Services since it was last asked, one in each line.
    pub(super) fn issues(&mut self) -> String {
        let all = self.mode.take_issues();
        let line = |(key, issues): (NodeKey, Vec<model::Issue>)| {
            let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
            format!("{}: {}", key.service.name, issues.join("; "))
        };
        all.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What the kernel holds other than it should.
    pub(super) fn differences(&self, config: &str) -> String {
        let config = Arc::new(Config::parse(config).expect("a valid configuration"));
        let all = super::super::differences(&self.view, &config).expect("a listing");
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn intact(&mut self) -> bool {
        self.mode.intact().expect("a listing")
    }
}

fn parse(line: &str) -> (NodeKey, Option<NodeService>) {
    let mut clauses = line.split(';').map(str::trim);
    let words: Vec<&str> = clauses.next().unwrap_or_default().split_whitespace().collect();
    let [name, ip, port, rest @ ..] = &words[..] else { panic!("{line}") };
    let cluster_ip: IpAddr = ip.parse().expect(line);
    let key = NodeKey { service: ServiceName::new("default", *name), family: Family::of(cluster_ip) };
    if *port == "gone" {
        return (key, None);
    }
    let (protocol, number) = port.split_once(':').expect(line);
    let protocol = match protocol {
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    let mut port =
        NodeServicePort { name: "http".into(), ..NodeServicePort::new(protocol, number.parse().expect(line), verdict(&rest[1..])) };
    let mut service = NodeService::new(cluster_ip);
    let mut facts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for clause in clauses {
        let mut words = clause.split_whitespace();
        facts.entry(words.next().unwrap_or_default()).or_default().extend(words);
    }
    for (what, values) in facts {
        match what {
            "lb" => service.load_balancer_ips = values.iter().map(|v| v.parse().expect(line)).collect(),
            "external" => service.external_ips = values.iter().map(|v| v.parse().expect(line)).collect(),
            "nodeport" => port.node_port = Some(NodePort(values[0].parse().expect(line))),
            "affinity" => service.affinity = Some(Duration::from_secs(values[0].parse().expect(line))),
            "balance" => service.balance = Some(values[0].into()),
            "ranges" => service.source_ranges = Some(values.iter().map(|v| v.parse().expect(line)).collect()),
            "local" => {
                port.external = verdict(&values);
                service.masquerade_external = false;
            }
            other => panic!("{other} in {line}"),
        }
    }
    service.ports.push(port);
    (key, Some(service))
}

fn verdict(words: &[&str]) -> Verdict {
    match words {
        ["reject"] => Verdict::Reject,
        ["drop"] => Verdict::Drop,
        endpoints => Verdict::To(endpoints.iter().map(|e| e.parse::<SocketAddr>().expect("an endpoint")).collect()),
    }
}
