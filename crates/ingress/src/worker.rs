//! Workers: one thread per core that accepts, serves and drains by itself.
//!
//! Owns the life of a core. Must not know what a request is.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::Revision;
use runtime::Drain;
use runtime::listen::BACKLOG;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::core::{Core, Shared};
use crate::listen::{Listening, Scheme};
use crate::{downstream, tls};

/// How often idle upstream connections are looked over.
const SWEEP: Duration = Duration::from_secs(5);

/// How long accepting rests when the process has no descriptor left: connections that end give some back.
const NO_DESCRIPTOR: Duration = Duration::from_millis(10);

/// Starts the thread of one core. It holds `drain` until its last connection is gone.
pub(crate) fn spawn(
    core: usize,
    listeners: Vec<Listening>,
    shared: Arc<Shared>,
    applied: watch::Receiver<Option<Revision>>,
    drain: Drain,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("ingress-{core}")).spawn(move || {
        let core = Rc::new(Core::new(shared));
        LocalSet::new().block_on(&runtime, run(core, listeners, applied, drain));
    })?;
    Ok(())
}

async fn run(core: Rc<Core>, listeners: Vec<Listening>, mut applied: watch::Receiver<Option<Revision>>, drain: Drain) {
    // Nobody is let in before there are routes; the backlog holds them until then.
    tokio::select! {
        biased;
        there = applied.wait_for(Option::is_some) => if there.is_err() { return },
        () = drain.started() => return,
    }
    let acceptor = TlsAcceptor::from(tls::server_config(core.shared.clone()));
    let mut accepting = tokio::task::JoinSet::new();
    for Listening { socket, scheme } in listeners {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                let acceptor = (scheme == Scheme::Https).then(|| acceptor.clone());
                accepting.spawn_local(accept(core.clone(), listener, acceptor, drain.clone()));
            }
            Err(error) => tracing::error!(%error, "a listener is lost"),
        }
    }
    let sweeping = tokio::task::spawn_local({
        let core = core.clone();
        async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                core.pool.sweep();
            }
        }
    });
    drain.started().await;
    // Told before the listeners close: whoever finds them closed finds every answer say so too.
    core.connections.drain();
    while accepting.join_next().await.is_some() {}
    if tokio::time::timeout(core.shared.config.timeouts.drain, core.connections.fewer_than(1)).await.is_err() {
        tracing::warn!(connections = core.connections.len(), "cut connections that did not end in time");
    }
    sweeping.abort();
    core.pool.clear();
}

/// Accepts until draining starts, however many come; then takes what the backlog still holds, since closing would reset it.
async fn accept(core: Rc<Core>, listener: TcpListener, acceptor: Option<TlsAcceptor>, drain: Drain) {
    let max = core.shared.config.limits.connections;
    let draining = drain.started();
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => break,
            accepted = async {
                core.connections.fewer_than(max).await;
                listener.accept().await
            } => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                core.shared.metrics.accepted.inc();
                serve(&core, stream, peer, acceptor.clone());
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    }
    // The kernel knows what waits; tokio learns of it only when it next asks.
    let Ok(listener) = listener.into_std() else { return };
    // No more than may have waited: those that go on coming would keep it from ever closing.
    for _ in 0..BACKLOG {
        if core.connections.len() >= max {
            break;
        }
        let Ok((stream, peer)) = listener.accept() else { break };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            core.shared.metrics.accepted.inc();
            serve(&core, stream, peer, acceptor.clone());
        }
    }
}

fn serve(core: &Rc<Core>, stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>) {
    let membership = core.member();
    core.shared.metrics.handled.inc();
    tokio::task::spawn_local(downstream::serve(core.clone(), membership, stream, peer, acceptor));
}

/// The connection was gone before it was accepted (accept(2)).
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}
