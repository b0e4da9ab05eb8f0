//! Who has a port: what a second server is told, so that its operator need not look.
//!
//! Reads the tables of sockets of this thread's network namespace and then whose descriptors hold one. What may not be read, or lives in
//! another PID namespace, stays unknown. Source: proc_pid_net(5), proc_pid_fd(5).

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process by its id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    name: String,
}

/// `TCP_LISTEN`, and what an unconnected UDP socket is shown as.
const LISTENING: [&str; 2] = ["0A", "07"];

/// The process whose socket keeps others from binding `address`.
pub(super) fn of(protocol: &str, address: SocketAddr) -> Option<Holder> {
    let tables = [protocol.to_owned(), format!("{protocol}6")];
    let read = |table: &String| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let inode = tables.iter().find_map(|table| read(table).lines().find_map(|line| inode_on(line, address)))?;
    owner(&format!("socket:[{inode}]"))
}

/// The inode of the socket on a line of a table, if it stands in the way.
fn inode_on(line: &str, address: SocketAddr) -> Option<u64> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (ip, port) = words.get(1)?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != address.port() || !LISTENING.contains(words.get(3)?) {
        return None;
    }
    let ip = ip_of(ip)?;
    let collides = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    words.get(9)?.parse().ok().filter(|inode| collides && *inode != 0)
}

/// Words of 32 bits, each as this machine keeps it.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let octets: [u8; 16] = words.as_flattened().try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

fn owner(socket: &str) -> Option<Holder> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == socket))
    };
    let pid = processes.find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, name: name.trim().to_owned() })
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "   1: 0100007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x 100 0 0 10 0";
    const V6: &str = "   1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 x 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_socket_stands_in_the_way_of_its_address_and_of_all_addresses() {
        let connected = V4.replace(" 0A ", " 01 ");
        let check = |line: &str, address: &str| inode_on(line, address.parse().expect("an address"));
        assert_eq!(check(V4, "127.0.0.1:53"), Some(4711));
        assert_eq!(check(V4, "0.0.0.0:53"), Some(4711));
        assert_eq!(check(V4, "127.0.0.2:53"), None);
        assert_eq!(check(V4, "127.0.0.1:54"), None);
        assert_eq!(check(&connected, "127.0.0.1:53"), None, "a connection");
        assert_eq!(check(V6, "[::1]:53"), Some(4712));
        assert_eq!(check("  sl  local_address rem_address   st", "127.0.0.1:53"), None);
    }
}
