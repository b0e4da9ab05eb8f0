//! One service proxy in a network namespace: two would undo each other's rules for ever.
//!
//! The claim is an abstract Unix socket: its name is the network namespace's own, needs no file system that can be written, and is let
//! go by the kernel however its holder ends. Source: unix(7), network_namespaces(7).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::StartError;

const NAME: &str = "rutter/proxy";

/// The right to write the rules of this network namespace, until it is dropped.
#[derive(Debug)]
pub(crate) struct Alone {
    _listener: UnixListener,
}

impl Alone {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If another process has it, with its id, or if no socket can be had.
    pub(crate) fn claim() -> Result<Self, StartError> {
        let name = SocketAddr::from_abstract_name(NAME).map_err(StartError::Claim)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self { _listener: listener }),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(StartError::Another(Other(holder(&name)))),
            Err(error) => Err(StartError::Claim(error)),
        }
    }
}

/// The id of the process that has a claim; `None` if it has just ended, or lives where its id cannot be told.
fn holder(name: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(name).ok()?;
    stream.set_nonblocking(true).ok()?;
    let pid = tokio::net::UnixStream::from_std(stream).ok()?.peer_cred().ok()?.pid()?;
    (pid > 0).then_some(pid)
}

/// Whoever has the claim.
#[derive(Debug)]
pub struct Other(pub Option<i32>);

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::netns::Netns;

    use super::*;

    #[test]
    fn a_namespace_has_one_proxy_and_another_namespace_its_own() {
        let (one, two) = (Netns::new("proxy-alone"), Netns::new("proxy-alone"));
        let claim = |ns: &Netns| {
            ns.run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async { Alone::claim() })
            })
        };
        let first = claim(&one).expect("nobody else is there");
        let error = claim(&one).expect_err("taken").to_string();
        assert_eq!(error, format!("process {} is the service proxy of this network namespace already: stop it first", std::process::id()));
        drop(claim(&two).expect("its own"));
        drop(first);
        claim(&one).expect("let go");
    }
}
