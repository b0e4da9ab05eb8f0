//! Upstreams by name. They are looked up once, when the Corefile is read, as CoreDNS does: whoever moves them has it read again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use super::exchange::random_u16;
use crate::name::Name;
use crate::wire::message::{Message, Question, Record};
use crate::wire::{CLASS_IN, MAX_TCP, flag, rtype};

/// For each question.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of a name, taken for absolute: as the first of `resolvers` says that has any, or the machine's own resolver where there are
/// none.
///
/// # Errors
/// Why there is none, as a sentence.
pub(super) fn lookup(host: &str, resolvers: &[SocketAddr]) -> Result<Vec<IpAddr>, String> {
    if resolvers.is_empty() {
        let absolute = format!("{}.", host.trim_end_matches('.'));
        let found = (absolute, 0).to_socket_addrs().map_err(|error| format!("no address of that name: {error}"))?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.dedup();
        return Ok(addresses);
    }
    let name = Name::parse(host).map_err(|error| error.to_string())?;
    let mut why = "no address of that name".to_owned();
    for resolver in resolvers {
        let found = [rtype::A, rtype::AAAA].map(|qtype| ask(&name, qtype, *resolver));
        let mut addresses: Vec<IpAddr> = found.iter().flatten().flatten().copied().collect();
        addresses.dedup();
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        if let Some(error) = found.into_iter().find_map(Result::err) {
            why = format!("no address of that name: {resolver}: {error}");
        }
    }
    Err(why)
}

fn ask(name: &Name, qtype: u16, resolver: SocketAddr) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(resolver)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = Question { name: name.clone(), qtype, qclass: CLASS_IN };
    let asked = Message { id: random_u16(), flags: flag::RD, ..Message::answer(question.clone(), 0) };
    socket.send(&asked.encode(MAX_TCP, None))?;
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer)?;
        // What answers another question is not worth an error.
        if let Some(answer) = Message::parse(&buffer[..length]).filter(|answer| answer.id == asked.id && answer.question == question) {
            return Ok(answer.answers.iter().filter_map(Record::ip).collect());
        }
    }
}
