//! One address: its sockets for both protocols, and the threads and tasks that serve them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use runtime::Trigger;
use runtime::listen::{self, BindError, Share};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::warn;

use super::metrics::Metrics;
use super::slow::Job;
use super::{Routes, tcp, udp};

/// Ports that are tried where any will do.
const MAX_TRIES: usize = 16;
/// UDP threads of one address at the most; more cores are others' to use.
const MAX_THREADS: usize = 16;

pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    /// As it was asked for, port 0 and all: the key of what it serves.
    pub(crate) wanted: SocketAddr,
    pub(crate) routes: Routes,
    udp: Vec<Arc<UdpSocket>>,
    tcp: Arc<TcpListener>,
    serving: Option<Serving>,
}

struct Serving {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    tcp: Trigger,
}

impl Listener {
    /// Binds both protocols; questions that come before it is served wait in the sockets. `beside`: those of ours that have the port on
    /// this address too, since one of the two has it on all; what is sent to the one address then comes to whoever names it.
    pub(crate) fn bind(wanted: SocketAddr, beside: &[&Listener]) -> Result<Self, BindError> {
        for listener in beside {
            listen::share(&listener.tcp).map_err(|source| BindError::new("tcp", listener.address, source))?;
        }
        let mut tries = if wanted.port() == 0 { MAX_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_both(wanted, !beside.is_empty()) {
                // The port that TCP was given is another's by UDP: the next one may be nobody's.
                Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }

    fn bind_both(wanted: SocketAddr, shared: bool) -> Result<Self, BindError> {
        // TCP alone tells of another server on the port: UDP is shared among our threads, and an upgrade's old and new process share both.
        let failed = |protocol, source| BindError::new(protocol, wanted, source);
        let tcp = listen::tcp(wanted, if shared { Share::Yes } else { Share::No })?;
        // Port 0 is one port for both protocols.
        let address = tcp.local_addr().map_err(|error| failed("tcp", error))?;
        let mut sockets = Vec::new();
        for n in 0..std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS) {
            if n == 0 && !shared {
                // Taken alone first: a stranger's socket on this port is told of here, and not shared with.
                drop(listen::udp(address, Share::No, 0)?);
            }
            let socket = listen::udp(address, Share::Yes, udp::RECEIVE_BUFFER)?;
            kernel::udp::grow_receive_buffer(&socket, udp::RECEIVE_BUFFER);
            socket.set_nonblocking(false).map_err(|error| failed("udp", error))?;
            if address.ip().is_unspecified() {
                kernel::udp::tell_local_address(&socket).map_err(|error| failed("udp", error))?;
            }
            sockets.push(Arc::new(socket));
        }
        let tcp = TcpListener::from_std(tcp).map_err(|error| failed("tcp", error))?;
        Ok(Self { address, wanted, routes: Arc::new(ArcSwap::from_pointee(Vec::new())), udp: sockets, tcp: Arc::new(tcp), serving: None })
    }

    /// Starts to answer; a second call changes nothing.
    pub(crate) fn serve(&mut self, later: &mpsc::Sender<Job>, bounds: &tcp::Bounds, metrics: &Arc<Metrics>) {
        if self.serving.is_some() {
            return;
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for socket in &self.udp {
            let work = udp::Loop {
                socket: socket.clone(),
                address: self.address,
                routes: self.routes.clone(),
                later: later.clone(),
                metrics: metrics.clone(),
                stopped: stopped.clone(),
            };
            match std::thread::Builder::new().name("dns-udp".to_owned()).spawn(move || work.run()) {
                Ok(thread) => threads.push(thread),
                Err(error) => warn!(address = %self.address, %error, "could not start a thread: one core less answers"),
            }
        }
        // TCP goes on accepting through the lame-duck time, so it has a drain of its own.
        let (trigger, stopping) = runtime::drain::channel();
        tokio::spawn(tcp::serve(self.tcp.clone(), self.routes.clone(), bounds.clone(), metrics.clone(), stopping));
        self.serving = Some(Serving { stopped, threads, tcp: trigger });
    }

    /// Stops to take questions; done when those that were taken are answered or with the slow path.
    pub(crate) async fn stop(self) {
        let Self { udp, tcp: listener, serving, .. } = self;
        let Some(Serving { stopped, threads, tcp }) = serving else { return };
        drop(listener);
        stopped.store(true, Ordering::Release);
        udp.iter().for_each(|socket| kernel::udp::wake(socket));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = joined.await;
        tcp.drain().await;
    }
}

/// A machine without IPv6 still has all of IPv4.
pub(crate) fn is_missing_family(error: &BindError) -> bool {
    error.source.raw_os_error() == Some(libc::EAFNOSUPPORT) || error.source.kind() == io::ErrorKind::AddrNotAvailable
}
