//! IP sets (ipset(8)): listing their names and destroying them.
//!
//! Source: linux/netfilter/ipset/ip_set.h.

use crate::Errno;
use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Socket, Writer};

const NFNL_SUBSYS_IPSET: u16 = 6;
const DESTROY: u16 = 3;
const LIST: u16 = 7;
const ATTR_PROTOCOL: u16 = 1;
const ATTR_SETNAME: u16 = 2;
const ATTR_FLAGS: u16 = 6;
/// Names and headers without the members.
const LIST_HEADER: u32 = 1 << 2;
/// 6 is understood by every kernel since 2.6.39.
const PROTOCOL: u8 = 6;

/// The names of all sets of this network namespace; none if the kernel has no ipset.
pub fn names() -> Result<Vec<String>, Errno> {
    let list = message(LIST, NLM_F_DUMP, |w| {
        let flags = LIST_HEADER.to_be_bytes();
        w.bytes(ATTR_FLAGS | NET_BYTE_ORDER, &flags);
    });
    match Socket::open(libc::NETLINK_NETFILTER)?.dump(&list) {
        Ok(found) => {
            let mut names: Vec<String> = found.iter().filter_map(|m| Attributes::of(m.body.get(4..)?).str(ATTR_SETNAME)).collect();
            names.dedup();
            Ok(names)
        }
        // No such subsystem: the module is not there, and neither is a set.
        Err(Errno(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

/// Refused while a rule uses it.
pub fn destroy(name: &str) -> Result<(), Errno> {
    Socket::open(libc::NETLINK_NETFILTER)?.request(&message(DESTROY, NLM_F_ACK, |w| w.str(ATTR_SETNAME, name)))
}

const NET_BYTE_ORDER: u16 = 0x4000;

fn message(kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    w.message(NFNL_SUBSYS_IPSET << 8 | kind, NLM_F_REQUEST | flags, 1, |w| {
        w.raw(&[libc::AF_INET as u8, 0, 0, 0]);
        w.bytes(ATTR_PROTOCOL, &[PROTOCOL]);
        body(w);
    });
    w.finish()
}

#[cfg(test)]
mod tests {
    use crate::netns::Netns;

    #[test]
    fn sets_are_listed_and_destroyed() {
        let ns = Netns::new("kernel-ipset");
        ns.run(|| assert_eq!(super::names().expect("a list"), [""; 0]));
        ns.output(&["ipset", "create", "KUBE-CLUSTER-IP", "hash:ip,port"]);
        ns.output(&["ipset", "create", "theirs", "hash:ip"]);
        ns.output(&["ipset", "add", "theirs", "192.0.2.1"]);
        ns.run(|| {
            let mut names = super::names().expect("a list");
            names.sort();
            assert_eq!(names, ["KUBE-CLUSTER-IP", "theirs"]);
            super::destroy("KUBE-CLUSTER-IP").expect("destroyed");
            assert_eq!(super::names().expect("a list"), ["theirs"]);
        });
    }
}
