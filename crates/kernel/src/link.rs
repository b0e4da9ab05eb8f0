//! Links: bridges, veth pairs, addresses and routes, changed through rtnetlink.
//!
//! Must not know what a pod is. Making what is there already is no error; the caller says how it shall be. Source: rtnetlink(7),
//! linux/if_link.h, linux/if_bridge.h.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Errno;
use crate::netlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, Socket, Writer};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;

const NLM_F_EXCL: u16 = 0x200;
const NLM_F_REPLACE: u16 = 0x100;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Addresses that we hand out are known to be free: IPv6 need not ask the neighbours first (and not be usable meanwhile).
const IFA_F_NODAD: u8 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// The link that every namespace has.
pub const LOOPBACK: &str = "lo";

/// In place of the number of a link that the kernel is to choose.
const NEW: [u8; 4] = [0; 4];

/// Changes links of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

// === impl Links ===

impl Links {
    pub fn open() -> Result<Self, Errno> {
        Ok(Self { socket: Socket::open(libc::NETLINK_ROUTE)? })
    }

    /// Makes a bridge with a hardware address of its own. Without one the kernel gives it the lowest of its ports', which changes as
    /// pods come and go, and whoever knows the old one sends into the void until it asks again.
    pub fn add_bridge(&mut self, name: &str, hardware: [u8; 6]) -> Result<(), Errno> {
        self.create(RTM_NEWLINK, NLM_F_EXCL, |w| {
            w.raw(&link_header(libc::AF_UNSPEC as u8, NEW, 0));
            w.str(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| w.str(IFLA_INFO_KIND, "bridge"));
        })?;
        let index = index(name)?;
        self.request(RTM_SETLINK, 0, |w| {
            w.raw(&link_header(libc::AF_UNSPEC as u8, index, 0));
            w.bytes(IFLA_ADDRESS, &hardware);
        })
    }

    /// Makes a link that leads nowhere: a place for addresses.
    ///
    /// # Errors
    /// EOPNOTSUPP where the kernel has no such links (module `dummy`).
    pub fn add_dummy(&mut self, name: &str) -> Result<(), Errno> {
        self.create(RTM_NEWLINK, NLM_F_EXCL, |w| {
            w.raw(&link_header(libc::AF_UNSPEC as u8, NEW, 0));
            w.str(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| w.str(IFLA_INFO_KIND, "dummy"));
        })
    }

    /// Makes a pair of links: `name` here, `peer` in the network namespace `peer_netns`.
    pub fn add_veth(&mut self, name: &str, peer: &str, peer_netns: BorrowedFd<'_>) -> Result<(), Errno> {
        self.create(RTM_NEWLINK, NLM_F_EXCL, |w| {
            w.raw(&link_header(libc::AF_UNSPEC as u8, NEW, 0));
            w.str(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| {
                w.str(IFLA_INFO_KIND, "veth");
                w.nest(IFLA_INFO_DATA, |w| {
                    w.nest(VETH_INFO_PEER, |w| {
                        w.raw(&link_header(libc::AF_UNSPEC as u8, NEW, 0));
                        w.str(IFLA_IFNAME, peer);
                        w.bytes(IFLA_NET_NS_FD, &peer_netns.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        })
    }

    /// Makes `name` a port of the bridge `master`, and lets packets leave by the port they came from: what a pod that reaches
    /// itself through a Service needs.
    pub fn attach(&mut self, name: &str, master: &str) -> Result<(), Errno> {
        let (index, master) = (index(name)?, index(master)?);
        self.request(RTM_SETLINK, 0, |w| {
            w.raw(&link_header(libc::AF_UNSPEC as u8, index, 0));
            w.bytes(IFLA_MASTER, &master);
        })?;
        self.request(RTM_SETLINK, 0, |w| {
            w.raw(&link_header(libc::AF_BRIDGE as u8, index, 0));
            w.nest(IFLA_PROTINFO, |w| w.bytes(IFLA_BRPORT_MODE, &[1]));
        })
    }

    pub fn set_up(&mut self, name: &str) -> Result<(), Errno> {
        let index = index(name)?;
        self.request(RTM_NEWLINK, 0, |w| w.raw(&link_header(libc::AF_UNSPEC as u8, index, libc::IFF_UP as u32)))
    }

    pub fn set_loopback_up(&mut self) -> Result<(), Errno> {
        self.set_up(LOOPBACK)
    }

    /// Gives `name` an address with the length of its network's prefix.
    pub fn add_address(&mut self, name: &str, address: IpAddr, prefix: u8) -> Result<(), Errno> {
        let index = index(name)?;
        self.create(RTM_NEWADDR, NLM_F_REPLACE, |w| {
            w.raw(&[family(address), prefix, IFA_F_NODAD, 0, index[0], index[1], index[2], index[3]]);
            w.bytes(IFA_LOCAL, &octets(address));
            w.bytes(IFA_ADDRESS, &octets(address));
        })
    }

    /// Takes an address from `name`. One that is not there is no error.
    pub fn delete_address(&mut self, name: &str, address: IpAddr, prefix: u8) -> Result<(), Errno> {
        let Ok(index) = index(name) else { return Ok(()) };
        let deleted = self.request(RTM_DELADDR, 0, |w| {
            w.raw(&[family(address), prefix, 0, 0, index[0], index[1], index[2], index[3]]);
            w.bytes(IFA_LOCAL, &octets(address));
        });
        match deleted {
            Err(Errno(libc::EADDRNOTAVAIL)) => Ok(()),
            done => done,
        }
    }

    /// Sends everything of the gateway's family that has no better route to `gateway`, by way of `name`.
    pub fn add_default_route(&mut self, name: &str, gateway: IpAddr) -> Result<(), Errno> {
        let index = index(name)?;
        self.create(RTM_NEWROUTE, NLM_F_REPLACE, |w| {
            // Family, lengths of destination and source (none: the default route), TOS, table main, static, universe, unicast, flags.
            w.raw(&[family(gateway), 0, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, 0, libc::RTN_UNICAST, 0, 0, 0, 0]);
            w.bytes(RTA_GATEWAY, &octets(gateway));
            w.bytes(RTA_OIF, &index);
        })
    }

    /// Sends what is for a network by way of `name`, whoever there may answer.
    pub fn add_route(&mut self, name: &str, network: IpAddr, prefix: u8) -> Result<(), Errno> {
        let index = index(name)?;
        self.create(RTM_NEWROUTE, NLM_F_REPLACE, |w| {
            w.raw(&[
                family(network),
                prefix,
                0,
                0,
                libc::RT_TABLE_MAIN,
                libc::RTPROT_STATIC,
                libc::RT_SCOPE_LINK,
                libc::RTN_UNICAST,
                0,
                0,
                0,
                0,
            ]);
            w.bytes(RTA_DST, &octets(network));
            w.bytes(RTA_OIF, &index);
        })
    }

    /// Removes a link, and with one end of a pair the other. One that is not there is no error.
    pub fn delete(&mut self, name: &str) -> Result<(), Errno> {
        let Ok(index) = index(name) else { return Ok(()) };
        self.request(RTM_DELLINK, 0, |w| w.raw(&link_header(libc::AF_UNSPEC as u8, index, 0)))
    }

    fn create(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> Result<(), Errno> {
        match self.request(kind, NLM_F_CREATE | flags, body) {
            Err(Errno::EEXIST) => Ok(()),
            done => done,
        }
    }

    fn request(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> Result<(), Errno> {
        let mut writer = Writer::default();
        writer.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, body);
        self.socket.request(&writer.finish())
    }
}

/// The number of a link of this thread's network namespace, as the kernel wants it in messages.
fn index(name: &str) -> Result<[u8; 4], Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: a C string that lives across the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Errno::last()),
        index => Ok(index.to_ne_bytes()),
    }
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags are meant.
fn link_header(family: u8, index: [u8; 4], flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index);
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::netns::{self, Netns};

    #[test]
    fn a_pod_on_a_bridge_is_reached_and_reaches_itself_through_it() {
        let node = Netns::new("link-node");
        let pod = std::env::temp_dir().join(format!("rutter-link-pod-{}", std::process::id()));
        netns::create(&pod).expect("a namespace");
        node.run(|| {
            let file = File::open(&pod).expect("open");
            let mut links = Links::open().expect("a socket");
            for _twice in 0..2 {
                links.add_bridge("br0", [0x0a, 0x58, 10, 244, 0, 1]).expect("a bridge");
                links.add_address("br0", [10, 244, 0, 1].into(), 24).expect("an address");
                links.set_up("br0").expect("up");
            }
            links.add_veth("pod1", "eth0", file.as_fd()).expect("a pair");
            links.attach("pod1", "br0").expect("a port");
            links.set_up("pod1").expect("up");
        });
        netns::run_in(&pod, || {
            let mut links = Links::open()?;
            links.set_loopback_up()?;
            links.add_address("eth0", [10, 244, 0, 5].into(), 24)?;
            links.set_up("eth0")?;
            links.add_default_route("eth0", [10, 244, 0, 1].into())
        })
        .expect("configured");
        let listener = netns::run_in(&pod, || Ok(std::net::TcpListener::bind("10.244.0.5:80")?)).expect("a listener");
        node.run(|| std::net::TcpStream::connect("10.244.0.5:80").expect("reached"));
        listener.accept().expect("accepted");
        let port = node.output(&["ip", "-d", "link", "show", "pod1"]);
        node.run(|| Links::open().expect("a socket").delete("pod1").expect("deleted"));
        netns::remove(&pod).expect("removed");
        netns::remove(&pod).expect("removing what is gone is no error");
        assert!(port.contains("hairpin on"), "{port}");
    }

    #[test]
    fn an_address_goes_as_it_came() {
        let ns = Netns::new("link-address");
        ns.run(|| {
            let mut links = Links::open().expect("a socket");
            for (address, prefix) in [("192.0.2.7", 32), ("2001:db8::7", 128)] {
                let address = address.parse().expect("an address");
                let has = || crate::rtnl::addresses().expect("addresses").iter().any(|there| there.address == address);
                links.add_address(LOOPBACK, address, prefix).expect("added");
                assert!(has());
                links.delete_address(LOOPBACK, address, prefix).expect("deleted");
                assert!(!has());
                links.delete_address(LOOPBACK, address, prefix).expect("what is gone is no error");
            }
            links.delete_address("nowhere", [192, 0, 2, 7].into(), 32).expect("a link that is gone neither");
        });
    }
}
