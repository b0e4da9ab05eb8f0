//! IPVS, the kernel's own load balancer: forgetting all its virtual servers.
//!
//! Source: linux/ip_vs.h, linux/genetlink.h. A kernel without IPVS does not know the family, and has nothing to forget.

use crate::Errno;
use crate::netlink::{Attributes, Message, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Socket, Writer};

/// The family of generic netlink that knows all others (GENL_ID_CTRL), its list of them, and what is told of each.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// IPVS_GENL_NAME, IPVS_CMD_FLUSH, IPVS_GENL_VERSION.
const IPVS: &str = "IPVS";
const FLUSH: u8 = 17;
const VERSION: u8 = 1;

/// Deletes every virtual server of this network namespace; tells whether this kernel has IPVS.
pub fn flush() -> Result<bool, Errno> {
    let mut socket = Socket::open(libc::NETLINK_GENERIC)?;
    let families = socket.dump(&message(CONTROL, NLM_F_DUMP, GET_FAMILY))?;
    let Some(family) = families.iter().find_map(ipvs_family) else { return Ok(false) };
    socket.request(&message(family, NLM_F_ACK, FLUSH))?;
    Ok(true)
}

fn ipvs_family(told: &Message) -> Option<u16> {
    let attributes = Attributes::of(told.body.get(4..)?);
    let id = attributes.get(FAMILY_ID)?.try_into().ok()?;
    (attributes.str(FAMILY_NAME)? == IPVS).then(|| u16::from_ne_bytes(id))
}

fn message(family: u16, flags: u16, command: u8) -> Vec<u8> {
    let mut w = Writer::default();
    w.message(family, NLM_F_REQUEST | flags, 1, |w| w.raw(&[command, VERSION, 0, 0]));
    w.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::netns::Netns;

    #[test]
    fn a_flush_is_one_command_without_attributes() {
        // struct nlmsghdr: length, type, flags (REQUEST | ACK), sequence, port; struct genlmsghdr: command, version, reserved.
        let expected = [&20u32.to_ne_bytes()[..], &33u16.to_ne_bytes(), &5u16.to_ne_bytes(), &1u32.to_ne_bytes(), &[0; 4], &[17, 1, 0, 0]];
        assert_eq!(message(33, NLM_F_ACK, FLUSH), expected.concat());
    }

    #[test]
    fn virtual_servers_are_forgotten() {
        let ns = Netns::new("kernel-ipvs");
        if !ns.run(|| flush().expect("flushed, or nothing to flush")) {
            // Past the capture of tests that pass: what is skipped is named.
            let _ = writeln!(std::io::stderr(), "SKIPPED virtual_servers_are_forgotten: this kernel has no IPVS");
            return;
        }
        ns.output(&["ipvsadm", "-A", "-t", "192.0.2.1:80"]);
        assert!(ns.run(|| flush().expect("flushed")));
        assert!(!ns.output(&["ipvsadm", "-Ln"]).contains("192.0.2.1"));
    }
}
