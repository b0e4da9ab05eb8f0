//! A DNS server of this node answers addresses that are otherwise the cluster's, without connection tracking.
//!
//! Owns where those addresses stand (on `lo`, or on a link of their own) and the rules that let their packets by before any
//! redirection: what is not tracked is not redirected either, so it reaches the server here, and no race between two questions of one
//! socket can lose one (kubernetes #56903). Must not know what answers there, nor whether it is well: it is told.
//!
//! The exempted addresses and ports are elements that live for [`LIFE`] and are written again meanwhile. Whoever is killed, hangs or is
//! told that the server is not well thus hands the traffic back to the Service's other endpoints; nothing has to be cleaned up for
//! that: the address itself stays while the process has it, since whoever redirects a Service's address does so before it is looked at
//! whose it is; where nobody redirects it, nobody but this server has it. Which addresses stand where is kept in the table too, so that the next start, or [`remove`], finds them.
//! An accept in this table would not overrule a drop in somebody else's, so in those that iptables made, and in no others, these
//! packets are accepted first: a firewall there lets in what it tracks, and these are not tracked. Others are told of ([`firewall`]). Nothing
//! of this is forwarded, so FORWARD chains never see it.
//!
//! Source: KEP-1024 (NodeLocal DNSCache), kubernetes/dns `cmd/node-cache`.

mod firewall;

use std::net::IpAddr;
use std::time::Duration;

use kernel::Errno;
use kernel::link::{LOOPBACK, Links};
use kernel::nft::{
    Accept, Batch, Chain, CommitError, Element, Family, Field, HookKind, HookPoint, Load, Nft, Op, Rule, Set, Statement, Table, Type,
};
use runtime::Drain;
use tokio::sync::watch;
use tracing::{info, warn};

const TABLE: &str = "rutter-node-local";
/// iptables' table of firewalls, and what our rules in it are known by.
const FILTER: &str = "filter";
const COMMENT: &str = "rutter node-local";
/// `NF_IP_PRI_RAW`: before connection tracking looks.
const RAW: i32 = -300;
/// The port that whoever looks whether the server is well has to ask from, at the address that is asked: these questions come to the
/// server here in any case. No other socket has it: the address is ours, and the port none that the kernel gives out by itself.
pub const PROBE_PORT: u16 = 10_053;
/// How long the kernel goes on exempting without being told to.
const LIFE: Duration = Duration::from_secs(15);
/// Two of these may be missed.
const EVERY: Duration = Duration::from_secs(5);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What is answered here.
#[derive(Clone, Debug)]
pub struct Config {
    pub addresses: Vec<IpAddr>,
    /// Of DNS, for UDP and TCP.
    pub port: u16,
    /// Of the server's health page on the same addresses: kubelet's probes are not tracked either.
    pub health_port: Option<u16>,
    /// The link to make for the addresses, `lo` being the place where the kernel has no such links. `None`: `lo`.
    pub interface: Option<String>,
    /// Whether the addresses are put there at all; otherwise somebody else does that.
    pub set_up_interface: bool,
    /// Whether packets are exempted from connection tracking.
    pub rules: bool,
}

impl Config {
    /// Nothing is asked of the kernel then, which it may not allow (CAP_NET_ADMIN).
    fn is_all_off(&self) -> bool {
        !self.set_up_interface && !self.rules
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NodeLocalError {
    #[error(transparent)]
    Nft(#[from] CommitError),
    #[error("making the link {link}: {source}")]
    Link {
        link: String,
        #[source]
        source: Errno,
    },
    #[error("putting {address} on {link}: {source}")]
    Address {
        address: IpAddr,
        link: String,
        #[source]
        source: Errno,
    },
    #[error("listing addresses: {0}")]
    Addresses(#[source] Errno),
}

/// The addresses at their place, from [`NodeLocal::place`] on until this is dropped.
#[derive(Debug)]
pub struct NodeLocal {
    here: Here,
    keep: bool,
}

/// What stands where.
#[derive(Clone, Debug)]
struct Here {
    config: Config,
    link: String,
    /// Those that were put there by us.
    placed: Vec<IpAddr>,
}

impl NodeLocal {
    /// Puts the addresses in place, behind whatever a process that was killed left of them. Nothing is exempted yet, so a Service's
    /// address still leads to its endpoints.
    ///
    /// # Errors
    /// If the kernel refuses; nothing is left then.
    pub fn place(config: Config) -> Result<Self, NodeLocalError> {
        if config.is_all_off() {
            return Ok(Self { here: Here { config, link: LOOPBACK.to_owned(), placed: Vec::new() }, keep: true });
        }
        remove()?;
        let link = match &config.interface {
            Some(link) if config.set_up_interface => make_link(link)?,
            _ => LOOPBACK.to_owned(),
        };
        let mut placed = Vec::new();
        if config.set_up_interface {
            let taken = kernel::rtnl::addresses().map_err(NodeLocalError::Addresses)?;
            placed = config.addresses.clone();
            placed.retain(|address| !taken.iter().any(|there| there.address == *address));
        }
        let this = Self { here: Here { config, link, placed }, keep: false };
        // What is to be done is written down first: whoever is killed in between can be cleaned up after.
        this.here.write_tables()?;
        this.here.put_addresses()?;
        if let Err(error) = this.here.accept() {
            warn!(%error, "a firewall of iptables on this node may drop DNS");
        }
        if this.here.config.rules {
            this.here.tell_firewalls();
        }
        Ok(this)
    }

    /// Leaves everything when this is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Exempts nothing any more: the addresses lead to the Service's other endpoints again. What was asked here is still answered from
    /// them, until this is dropped.
    pub fn hand_back(&self) {
        self.here.hand_back();
    }

    /// Exempts the packets of these addresses while `healthy` says so, until `drain` starts. `failed` hears of each try that the kernel
    /// refused; the next comes five seconds later.
    pub async fn run(&self, mut healthy: watch::Receiver<bool>, drain: Drain, failed: impl Fn()) {
        let mut was = false;
        let mut every = tokio::time::interval(EVERY);
        loop {
            let now = *healthy.borrow_and_update();
            if now || was {
                let here = self.here.clone();
                match tokio::task::spawn_blocking(move || here.exempt(now)).await {
                    Ok(Ok(())) if now != was => match now {
                        true => info!(addresses = ?self.here.config.addresses, link = self.here.link, "answered on this node from now on"),
                        false => warn!(addresses = ?self.here.config.addresses, "no longer answered on this node"),
                    },
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(%error, "whether these addresses are answered on this node could not be told to the kernel");
                        failed();
                    }
                    Err(_) => failed(),
                }
                was = now;
            }
            tokio::select! {
                () = drain.started() => break,
                changed = healthy.changed() => if changed.is_err() { break },
                _ = every.tick() => {}
            }
        }
        let here = self.here.clone();
        // The thread goes on to its end even if nobody waits for it.
        let _ = tokio::task::spawn_blocking(move || here.hand_back()).await;
    }
}

impl Drop for NodeLocal {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove()
        {
            warn!(%error, "the addresses of this node could not be removed: `rutter cleanup` does it");
        }
    }
}

// === impl Here ===

impl Here {
    fn of(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.config.addresses.iter().copied().filter(move |address| address.is_ipv4() == (family == Family::Ip))
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        [Family::Ip, Family::Ip6].into_iter().filter(|family| self.of(*family).next().is_some())
    }

    fn write_tables(&self) -> Result<(), NodeLocalError> {
        let mut nft = Nft::open()?;
        self.families().try_for_each(|family| nft.commit(&self.table(family)))?;
        Ok(())
    }

    /// The whole table with nothing exempted; in place of one that is there.
    fn table(&self, family: Family) -> Batch {
        let mut batch = Batch::new(Table::new(family, TABLE));
        batch.ops.extend([
            Op::AddTable,
            Op::DeleteTable,
            Op::AddTable,
            Op::AddSet(addresses(family)),
            Op::AddSet(exempted(family)),
            Op::AddSet(probes()),
        ]);
        let to = [Load::Destination, Load::L4Proto, Load::DestinationPort];
        let from = [Load::Source, Load::L4Proto, Load::SourcePort];
        for (chain, point) in [("prerouting", HookPoint::Prerouting), ("output", HookPoint::Output)] {
            batch.push(Op::AddChain(Chain::base(chain, HookKind::Filter, point, RAW)));
            let is_probe = vec![
                Statement::is_in([Load::Source], addresses(family).name),
                Statement::is_in([Load::Destination], addresses(family).name),
                Statement::is_in([Load::SourcePort, Load::DestinationPort], probes().name),
            ];
            let is_exempted = |key: &[Load]| vec![Statement::is_in(key, exempted(family).name)];
            let rules =
                [(is_probe, "whoever looks whether the server is well"), (is_exempted(&to), "questions"), (is_exempted(&from), "answers")];
            for (mut statements, why) in rules {
                statements.push(Statement::Notrack);
                batch.push(Op::AddRule(Rule::new(chain, statements).comment(why)));
            }
        }
        let recorded = self.of(family).map(|address| {
            let element = Element::new([Field::ip(address)]);
            // By the comment it is known whose place it is to clear.
            if self.placed.contains(&address) { element.comment(&self.link) } else { element }
        });
        batch.push(Op::AddElements(addresses(family), recorded.collect()));
        let (probe, dns) = (Field::Port(PROBE_PORT), Field::Port(self.config.port));
        batch.push(Op::AddElements(probes(), vec![Element::new([probe, dns]), Element::new([dns, probe])]));
        batch
    }

    fn put_addresses(&self) -> Result<(), NodeLocalError> {
        let mut links = Links::open().map_err(NodeLocalError::Addresses)?;
        for address in self.placed.iter().copied() {
            let failed = |source| NodeLocalError::Address { address, link: self.link.clone(), source };
            links.add_address(&self.link, address, whole(address)).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets a firewall of iptables accept what it cannot track.
    fn accept(&self) -> Result<(), NodeLocalError> {
        if !self.config.rules {
            return Ok(());
        }
        let mut nft = Nft::open()?;
        for family in self.families() {
            for (chain, from) in [("INPUT", false), ("OUTPUT", true)] {
                let of = |address| [UDP, TCP].map(|protocol| Accept { address, protocol, port: self.config.port, from });
                let accepts: Vec<Accept> = self.of(family).flat_map(of).collect();
                nft.put_accepts(&Table::new(family, FILTER), chain, &accepts, COMMENT)?;
            }
        }
        Ok(())
    }

    /// Tells of firewalls that have to let in what they cannot track, and that only their operator can open.
    fn tell_firewalls(&self) {
        let (addresses, port) = (&self.config.addresses, self.config.port);
        match firewall::closed() {
            Ok(closed) => closed.iter().for_each(|firewall| {
                warn!(
                    firewall,
                    ?addresses,
                    port,
                    "this firewall may drop DNS on this node: let it accept these addresses and this port by UDP and TCP, untracked as they are"
                );
            }),
            Err(error) => warn!(%error, "could not look for firewalls that may drop DNS"),
        }
    }

    /// Exempts all for [`LIFE`], or nothing from now on. What others removed meanwhile is put back.
    fn exempt(&self, all: bool) -> Result<(), NodeLocalError> {
        if self.config.is_all_off() {
            return Ok(());
        }
        let mut nft = Nft::open()?;
        if all {
            self.put_addresses()?;
            // Whoever writes the firewall anew (iptables-restore) knows nothing of these. That it failed was told at the start.
            let _ = self.accept();
        }
        for family in self.families() {
            let batch = self.exemptions(family, all);
            match nft.commit(&batch) {
                Err(error) if error.errno() == Errno::ENOENT => {
                    warn!(table = TABLE, "somebody removed the rules of this node: they are written again");
                    nft.commit(&self.table(family))?;
                    nft.commit(&batch)?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    fn hand_back(&self) {
        if let Err(error) = self.exempt(false) {
            warn!(%error, "these addresses are answered on this node for some seconds more");
        }
    }

    fn exemptions(&self, family: Family, all: bool) -> Batch {
        let set = exempted(family);
        let mut batch = Batch::new(Table::new(family, TABLE));
        batch.push(Op::FlushSet(set.name.clone()));
        if all && self.config.rules {
            let ports = [(UDP, Some(self.config.port)), (TCP, Some(self.config.port)), (TCP, self.config.health_port)];
            let keys = self.of(family).flat_map(|address| {
                let element = move |protocol, port| Element::new([Field::ip(address), Field::Proto(protocol), Field::Port(port)]);
                ports.into_iter().filter_map(move |(protocol, port)| Some(element(protocol, port?)))
            });
            batch.push(Op::AddElements(set, keys.collect()));
        }
        batch
    }
}

/// The addresses of this table; the comment is the link that one was put on.
fn addresses(family: Family) -> Set {
    Set::new("addresses", [family.address()])
}

fn exempted(family: Family) -> Set {
    Set::new("exempted", [family.address(), Type::InetProto, Type::InetService]).dynamic(LIFE, 1_024)
}

/// The ports of a probe, there and back.
fn probes() -> Set {
    Set::new("probes", [Type::InetService, Type::InetService])
}

/// The length of an address as a prefix.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A link of its own for the addresses, or `lo` where there are none of that kind.
fn make_link(name: &str) -> Result<String, NodeLocalError> {
    let failed = |source| NodeLocalError::Link { link: name.to_owned(), source };
    let mut links = Links::open().map_err(failed)?;
    match links.add_dummy(name).and_then(|()| links.set_up(name)) {
        Ok(()) => Ok(name.to_owned()),
        Err(Errno::EOPNOTSUPP) => {
            info!(link = name, "this kernel has no dummy links: the addresses go on {LOOPBACK}");
            Ok(LOOPBACK.to_owned())
        }
        Err(source) => Err(failed(source)),
    }
}

/// Removes the rules, and the addresses that were put anywhere for them. What is not there is no error.
pub(crate) fn remove() -> Result<(), NodeLocalError> {
    let mut nft = Nft::open()?;
    for family in [Family::Ip, Family::Ip6] {
        nft.remove_commented(&Table::new(family, FILTER), COMMENT)?;
        if !nft.tables(family)?.iter().any(|name| name == TABLE) {
            continue;
        }
        let table = Table::new(family, TABLE);
        let mut links = Links::open().map_err(NodeLocalError::Addresses)?;
        for Element { key, comment, .. } in nft.elements(&table, &addresses(family))? {
            let (Some(address), Some(link)) = (key.first().and_then(|key| key.as_ip()), comment) else { continue };
            let failed = |source| NodeLocalError::Address { address, link: link.clone(), source };
            links.delete_address(&link, address, whole(address)).map_err(failed)?;
            if link != LOOPBACK {
                links.delete(&link).map_err(failed)?;
            }
        }
        let mut batch = Batch::new(table);
        batch.push(Op::DeleteTable);
        nft.commit(&batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
