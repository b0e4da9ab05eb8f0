//! Whether a server of this machine answers, as seen from outside of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::name::Name;
use crate::plugins::forward::random_u16;
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, MAX_TCP, MAX_UDP, flag, rcode, rtype, u16_at};

/// STATUS, which nobody implements: every server of ours says so at once, and none asks anybody else for it.
const STATUS: u16 = 2 << 11;
/// A server that takes longer for a word of its own is not well.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether `server` answers a question that is sent from `from_port` of its own address.
pub async fn answers(server: SocketAddr, from_port: u16) -> bool {
    let id = random_u16();
    let question = Question { name: Name::root(), qtype: rtype::TXT, qclass: CLASS_IN };
    let wire = Message { id, flags: STATUS, ..Message::answer(question, rcode::NOERROR) }.encode(MAX_TCP, None);
    let answered = async {
        let socket = UdpSocket::bind((server.ip(), from_port)).await?;
        socket.connect(server).await?;
        socket.send(&wire).await?;
        let mut buffer = [0; MAX_UDP];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // What is older comes from a probe that was given up.
            if length >= 4 && u16_at(&buffer, 0) == id && u16_at(&buffer, 2) & flag::QR != 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    matches!(timeout(PATIENCE, answered).await, Ok(Ok(())))
}
