//! The pods' network: a bridge, a pair of links and an address for each pod, and masquerade for what leaves the cluster.
//!
//! Owns which address is whose. All of it stays when the process ends: a restart finds it, [`Network::tear_down`] removes it.
//! Source: what the CNI plugins `bridge` and `host-local` do.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use kernel::link::Links;
use kernel::nft::{Batch, Chain, Compare, Family, HookKind, HookPoint, Load, Nft, Op, Operand, Rule, Statement, Table};
use kernel::{Errno, netns, rtnl, sysctl};
use serde::{Deserialize, Serialize};

pub const BRIDGE: &str = "rutter0";
const TABLE: &str = "rutter-pods";
const INSIDE: &str = "eth0";

/// Source NAT priority, before whoever comes last.
const SRCNAT: i32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot {what}: {errno}")]
    Kernel { what: String, errno: Errno },
    #[error("no address is free in {0}")]
    Full(IpNet),
    #[error("masquerade for pods: {0}")]
    Masquerade(#[from] kernel::nft::CommitError),
}

/// The network of the pods of this node.
#[derive(Debug)]
pub struct Network {
    /// The node's share of the cluster's addresses, one for each family.
    cidrs: Vec<IpNet>,
    /// What is inside the cluster and needs no masquerade.
    cluster: Vec<IpNet>,
    folder: PathBuf,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    addresses: BTreeSet<IpAddr>,
    /// The newest of each family: the search goes on behind it, so that an address that was just let go, and that somebody may still
    /// send to, is the last to be used again.
    newest: Vec<IpAddr>,
}

/// Where a pod lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub netns: PathBuf,
    /// One for each family of the node.
    pub addresses: Vec<IpAddr>,
}

// === impl Network ===

impl Network {
    /// Makes (or finds) the bridge with the first address of each of `cidrs`, and masquerades what pods send out of `cluster`.
    /// Network namespaces are kept by files in `folder`.
    pub fn set_up(cidrs: Vec<IpNet>, cluster: Vec<IpNet>, folder: &Path) -> Result<Self, NetworkError> {
        std::fs::create_dir_all(folder).map_err(|error| failed("make the folder of the pods' namespaces", error.into()))?;
        let network = Self { cidrs, cluster, folder: folder.to_path_buf(), taken: Mutex::default() };
        let mut links = Links::open().map_err(|errno| failed("open rtnetlink", errno))?;
        links.add_bridge(BRIDGE, hardware_address(&network.gateways())).map_err(|errno| failed("make the bridge rutter0", errno))?;
        for cidr in &network.cidrs {
            let what = format!("give the bridge {}", gateway(cidr));
            links.add_address(BRIDGE, gateway(cidr), cidr.prefix_len()).map_err(|errno| failed(what, errno))?;
            let forwarding = if cidr.addr().is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
            sysctl::write(forwarding, "1").map_err(|errno| failed(format!("turn on {forwarding}"), errno))?;
        }
        links.set_up(BRIDGE).map_err(|errno| failed("set the bridge up", errno))?;
        links.set_loopback_up().map_err(|errno| failed("set the loopback up", errno))?;
        network.masquerade()?;
        Ok(network)
    }

    /// The bridge's addresses: the node, as pods see it.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.cidrs.iter().map(gateway).collect()
    }

    /// Takes note of a pod that an earlier process placed.
    pub fn keep(&self, place: &Place) {
        if self.is_ours(place) {
            place.addresses.iter().for_each(|address| self.taken().take(*address));
        }
    }

    /// Makes a namespace with an address of each family, reached by way of the bridge.
    pub fn add(&self, id: &str) -> Result<Place, NetworkError> {
        let mut place = Place { netns: self.folder.join(id), addresses: Vec::new() };
        for cidr in &self.cidrs {
            match self.taken().free(cidr) {
                Some(address) => place.addresses.push(address),
                None => {
                    self.remove(id, &place);
                    return Err(NetworkError::Full(*cidr));
                }
            }
        }
        if let Err(error) = self.connect(id, &place) {
            self.remove(id, &place);
            return Err(error);
        }
        Ok(place)
    }

    /// Makes sure that a pod that was placed before is reached again: after a restart of the machine nothing of it is left. `pid` is one
    /// of its processes that still runs: where we have mounts of our own (`ip netns exec`) only those know the namespace by then.
    pub fn restore(&self, id: &str, place: &Place, pid: Option<u32>) -> Result<(), NetworkError> {
        if !self.is_ours(place) {
            return Ok(());
        }
        let links = rtnl::links().map_err(|errno| failed("list the links", errno))?;
        let here = link_name(id);
        if let Some(pid) = pid.filter(|_| !is_namespace(&place.netns)) {
            netns::attach(&place.netns, pid).map_err(|errno| failed(format!("keep the namespace of pod {id}"), errno))?;
        }
        if is_namespace(&place.netns) && links.iter().any(|link| link.name == here) { Ok(()) } else { self.connect(id, place) }
    }

    /// Removes what `add` made. What is gone already is no error.
    pub fn remove(&self, id: &str, place: &Place) {
        if !self.is_ours(place) {
            return;
        }
        self.disconnect(id, place);
        let mut taken = self.taken();
        for address in &place.addresses {
            taken.addresses.remove(address);
        }
    }

    /// Removes the namespaces that are kept in `folder` and the links that lead to them.
    pub fn remove_namespaces(folder: &Path) -> Result<(), NetworkError> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        let mut links = Links::open().map_err(|errno| failed("open rtnetlink", errno))?;
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            links.delete(&link_name(&name)).map_err(|errno| failed(format!("remove the link of pod {name}"), errno))?;
            netns::remove(&folder.join(&name)).map_err(|errno| failed(format!("remove the namespace of pod {name}"), errno))?;
        }
        Ok(())
    }

    /// Removes bridge and rules, for good.
    pub fn tear_down() -> Result<(), NetworkError> {
        let mut links = Links::open().map_err(|errno| failed("open rtnetlink", errno))?;
        links.delete(BRIDGE).map_err(|errno| failed("remove the bridge rutter0", errno))?;
        let mut nft = Nft::open()?;
        for family in [Family::Ip, Family::Ip6] {
            if nft.tables(family)?.iter().any(|table| table == TABLE) {
                let mut batch = Batch::new(Table::new(family, TABLE));
                batch.push(Op::DeleteTable);
                nft.commit(&batch)?;
            }
        }
        Ok(())
    }

    /// Pods that live in the node's own network are not.
    fn is_ours(&self, place: &Place) -> bool {
        place.netns.starts_with(&self.folder)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        // Each change is whole before the lock is let go.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, id: &str, place: &Place) -> Result<(), NetworkError> {
        let step = |what: &'static str| move |errno: Errno| failed(format!("{what} of pod {id}"), errno);
        let here = link_name(id);
        netns::remove(&place.netns).map_err(step("remove the old namespace"))?;
        netns::create(&place.netns).map_err(step("make the network namespace"))?;
        let inside = File::open(&place.netns).map_err(|error| failed(format!("open the namespace of pod {id}"), error.into()))?;
        let mut links = Links::open().map_err(step("open rtnetlink"))?;
        links.delete(&here).map_err(step("remove the old link"))?;
        links.add_veth(&here, INSIDE, inside.as_fd()).map_err(step("make the links"))?;
        links.attach(&here, BRIDGE).map_err(step("attach the link"))?;
        links.set_up(&here).map_err(step("set up the link"))?;
        netns::run_in(&place.netns, || {
            let mut links = Links::open()?;
            links.set_loopback_up()?;
            for (cidr, address) in self.cidrs.iter().zip(&place.addresses) {
                links.add_address(INSIDE, *address, cidr.prefix_len())?;
            }
            links.set_up(INSIDE)?;
            self.cidrs.iter().try_for_each(|cidr| links.add_default_route(INSIDE, gateway(cidr)))
        })
        .map_err(step("configure the inside"))
    }

    fn disconnect(&self, id: &str, place: &Place) {
        // Whatever cannot be removed is found again under the same name.
        if let Ok(mut links) = Links::open() {
            let _ = links.delete(&link_name(id));
        }
        let _ = netns::remove(&place.netns);
    }

    fn masquerade(&self) -> Result<(), NetworkError> {
        let mut nft = Nft::open()?;
        for cidr in &self.cidrs {
            nft.commit(&masquerade(cidr, &self.cluster))?;
        }
        Ok(())
    }
}

// === impl Taken ===

impl Taken {
    fn take(&mut self, address: IpAddr) {
        self.addresses.insert(address);
        self.newest.retain(|known| known.is_ipv4() != address.is_ipv4());
        self.newest.push(address);
    }

    /// Takes the next free address of `cidr`.
    fn free(&mut self, cidr: &IpNet) -> Option<IpAddr> {
        let newest = self.newest.iter().copied().find(|known| cidr.contains(known));
        // The first is the bridge's. 65,536: as far as anybody fills a node.
        let hosts = || cidr.hosts().take(65_536).filter(|address| *address != gateway(cidr));
        let behind = hosts().filter(|address| newest.is_none_or(|newest| *address > newest));
        let address = behind.chain(hosts()).find(|address| !self.addresses.contains(address))?;
        self.take(address);
        Some(address)
    }
}

/// A file that keeps a namespace is a mount: it is on another file system than its folder.
fn is_namespace(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(path).is_some_and(|own| path.parent().and_then(device) != Some(own))
}

/// What pods of `cidr` send to anywhere but `cluster` leaves under the node's address. Written anew as a whole each time: it is small.
fn masquerade(cidr: &IpNet, cluster: &[IpNet]) -> Batch {
    let family = if cidr.addr().is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut batch = Batch::new(Table::new(family, TABLE));
    batch.push(Op::AddTable);
    batch.push(Op::DeleteTable);
    batch.push(Op::AddTable);
    batch.push(Op::AddChain(Chain::base("postrouting", HookKind::Nat, HookPoint::Postrouting, SRCNAT)));
    let net = |net: &IpNet| Operand::Net(net.network(), net.prefix_len());
    let mut statements = vec![Statement::Match(Load::Source, Compare::Equal, net(cidr))];
    for other in cluster.iter().filter(|other| other.addr().is_ipv4() == cidr.addr().is_ipv4()) {
        statements.push(Statement::Match(Load::Destination, Compare::NotEqual, net(other)));
    }
    statements.push(Statement::Masquerade);
    batch.push(Op::AddRule(Rule::new("postrouting", statements).comment("pods to outside the cluster")));
    batch
}

/// What CNI's bridge plugin gives: locally administered, made of the first address, so that every start gives the same.
fn hardware_address(gateways: &[IpAddr]) -> [u8; 6] {
    let tail = match gateways.first() {
        Some(IpAddr::V4(ip)) => ip.octets(),
        Some(IpAddr::V6(ip)) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
        None => [0; 4],
    };
    let [a, b, c, d] = tail;
    [0x0a, 0x58, a, b, c, d]
}

/// The first address of a network: the bridge has it.
fn gateway(cidr: &IpNet) -> IpAddr {
    cidr.hosts().next().unwrap_or(cidr.addr())
}

/// A link's name has at most 15 characters: enough of the UID to be alone.
fn link_name(id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(11).collect();
    format!("veth{id}")
}

fn failed(what: impl Into<String>, errno: Errno) -> NetworkError {
    NetworkError::Kernel { what: what.into(), errno }
}

#[cfg(test)]
mod tests {
    use kernel::netns::Netns;

    use super::*;

    fn cidr(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    #[test]
    fn pods_reach_each_other_and_find_their_places_again() {
        let node = Netns::new("node-network");
        let folder = std::env::temp_dir().join(format!("rutter-network-{}", std::process::id()));
        node.run(|| {
            let cidrs = || vec![cidr("10.244.0.0/24"), cidr("fd00:244::/64")];
            let network = Network::set_up(cidrs(), cidrs(), &folder).expect("a network");
            let (a, b) = (network.add("uid-a").expect("a place"), network.add("uid-b").expect("a place"));
            assert_eq!(a.addresses[0].to_string(), "10.244.0.2");

            let again = Network::set_up(cidrs(), cidrs(), &folder).expect("found again");
            again.keep(&a);
            again.keep(&b);
            // Where mounts are gone with the process that made them, who lives inside leads back.
            let (inside, tid, leave) = inhabit(&a.netns);
            netns::remove(&a.netns).expect("let go");
            again.restore("uid-a", &a, Some(tid)).expect("kept again");
            drop(leave);
            inside.join().expect("left");
            let listener = netns::run_in(&a.netns, || Ok(std::net::TcpListener::bind((a.addresses[0], 80))?)).expect("a listener");
            netns::run_in(&b.netns, || Ok(std::net::TcpStream::connect((a.addresses[0], 80))?)).expect("reached");
            let (_, from) = listener.accept().expect("accepted");
            assert_eq!(from.ip(), b.addresses[0], "not masqueraded inside the cluster");

            again.remove("uid-a", &a);
            let c = again.add("uid-c").expect("a place");
            assert_eq!(c.addresses[0].to_string(), "10.244.0.4", "the address that was let go last is used last");
            again.remove("uid-b", &b);
            again.remove("uid-c", &c);
            Network::tear_down().expect("removed");
        });
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// A thread that lives in a namespace until the sender is dropped, and its number.
    fn inhabit(path: &Path) -> (std::thread::JoinHandle<()>, u32, std::sync::mpsc::Sender<()>) {
        let (path, (tell, told), (leave, left)) = (path.to_path_buf(), std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            netns::enter(&path).expect("entered");
            let own = std::fs::read_link("/proc/thread-self").expect("a thread");
            let tid = own.file_name().and_then(|tid| tid.to_str()?.parse().ok()).expect("a number");
            tell.send(tid).expect("told");
            let _ = left.recv();
        });
        (thread, told.recv().expect("a number"), leave)
    }

    #[test]
    fn masquerades_what_leaves_the_cluster() {
        let text = masquerade(&cidr("10.244.0.0/24"), &[cidr("10.244.0.0/16"), cidr("fd00::/8")]).to_string();
        let rule = text.lines().last().expect("a rule");
        assert_eq!(
            rule,
            "add rule ip rutter-pods postrouting ip saddr 10.244.0.0/24 ip daddr != 10.244.0.0/16 masquerade fully-random comment \"pods to outside the cluster\""
        );
    }
}
