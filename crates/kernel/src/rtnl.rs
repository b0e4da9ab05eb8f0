//! Addresses and links of this network namespace, and the news that addresses changed.
//!
//! Source: rtnetlink(7).

use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use crate::Errno;
use crate::netlink::{Attributes, NLM_F_DUMP, NLM_F_REQUEST, Socket, Writer, string};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub address: IpAddr,
    pub prefix: u8,
    /// The link's index.
    pub link: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
}

/// Hears that addresses of the namespace it was opened in came, went, or became usable. Its descriptor is readable when there is news.
#[derive(Debug)]
pub struct AddressNews {
    socket: Socket,
}

/// Every address of this namespace, both families, loopback included.
pub fn addresses() -> Result<Vec<Address>, Errno> {
    const IFADDRMSG: usize = 8;
    let found = dump(RTM_GETADDR, IFADDRMSG)?;
    Ok(found.iter().filter_map(|body| read_address(body, IFADDRMSG)).collect())
}

// === impl AddressNews ===

impl AddressNews {
    pub fn open() -> Result<Self, Errno> {
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        Ok(Self { socket: Socket::listen(libc::NETLINK_ROUTE, groups as u32)? })
    }

    /// Whether anything happened since this was last asked. Never waits.
    pub fn any(&mut self) -> Result<bool, Errno> {
        self.socket.heard()
    }
}

impl AsRawFd for AddressNews {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn read_address(body: &[u8], header: usize) -> Option<Address> {
    let attributes = Attributes::of(body.get(header..)?);
    // IFA_LOCAL is the own address of a point-to-point link, where IFA_ADDRESS is the peer's.
    let bytes = attributes.get(2).or_else(|| attributes.get(1))?;
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    let link = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    Some(Address { address, prefix: *body.get(1)?, link })
}

/// Every link of this namespace.
pub fn links() -> Result<Vec<Link>, Errno> {
    const IFINFOMSG: usize = 16;
    let found = dump(RTM_GETLINK, IFINFOMSG)?;
    let read = |body: &Vec<u8>| {
        let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
        let name = Attributes::of(body.get(IFINFOMSG..)?).get(3).map(string)?;
        Some(Link { index, name })
    };
    Ok(found.iter().filter_map(read).collect())
}

fn dump(kind: u16, header: usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut w = Writer::default();
    w.message(kind, NLM_F_REQUEST | NLM_F_DUMP, 1, |w| w.raw(&vec![0; header]));
    Ok(Socket::open(libc::NETLINK_ROUTE)?.dump(&w.finish())?.into_iter().map(|m| m.body).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn there_is_news_when_an_address_comes_or_goes() {
        let ns = Netns::new("kernel-address-news");
        let mut news = ns.run(|| AddressNews::open().expect("a socket"));
        assert_eq!(news.any(), Ok(false));
        for change in ["addr add 192.0.2.7/24 dev lo", "addr del 192.0.2.7/24 dev lo", "addr add 2001:db8::7/64 dev lo nodad"] {
            ns.ip(change);
            // The kernel tells before it lets ip(8) end.
            assert_eq!((news.any(), news.any()), (Ok(true), Ok(false)), "{change}");
        }
        ns.ip("link add other type bridge");
        assert_eq!(news.any(), Ok(false), "a link is no address");
    }

    #[test]
    fn lists_what_the_namespace_has() {
        let ns = Netns::new("kernel-rtnl");
        ns.ip("addr add 192.0.2.7/24 dev lo");
        ns.ip("addr add 2001:db8::7/64 dev lo nodad");
        ns.run(|| {
            let lo = links().expect("links").into_iter().find(|l| l.name == "lo").expect("lo");
            let mut of_lo: Vec<String> = addresses()
                .expect("addresses")
                .iter()
                .filter(|a| a.link == lo.index)
                .map(|a| format!("{}/{}", a.address, a.prefix))
                .collect();
            of_lo.sort();
            assert_eq!(of_lo, ["127.0.0.1/8", "192.0.2.7/24", "2001:db8::7/64", "::1/128"]);
        });
    }
}
