//! Status pages: the small HTTP server behind `/healthz`, `/ready`, `/metrics` and the like.
//!
//! For pages that are ready at once and for few readers; never for users' traffic.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::drain::Drain;
use crate::listen::{self, BindError, Share};

/// How many connections a status server holds at once. One more ends the oldest: whoever holds them all would keep kubelet's probes out,
/// and have the process restarted.
const MAX_CONNECTIONS: usize = 64;

/// A probe that does not send its request within this time is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked: the path without the query, and the query as it came.
pub struct Ask<'a> {
    pub path: &'a str,
    pub query: &'a str,
}

pub struct Page {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// Gives the page for a request, or `None` for 404.
pub type Pages = Arc<dyn Fn(&Ask<'_>) -> Option<Page> + Send + Sync>;

/// The same for pages that have to be asked for elsewhere first.
pub type SlowPages = Arc<dyn Fn(&Ask<'_>) -> SlowPage + Send + Sync>;
pub type SlowPage = Pin<Box<dyn Future<Output = Option<Page>> + Send>>;

/// What `accept` needs of a listener.
trait Listen: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Page {
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: body.into() }
    }

    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self { content_type: "application/json", ..Self::text(status, body) }
    }

    /// A registry's families in the type that Prometheus asks for.
    pub fn metrics(registry: &crate::Registry) -> Self {
        Self { content_type: "text/plain; version=0.0.4; charset=utf-8", ..Self::text(200, registry.render()) }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Binds `address` and serves `pages` on a task of its own until `drain` starts. Gives the address that was really bound.
pub fn serve(address: SocketAddr, pages: Pages, drain: Drain) -> Result<SocketAddr, BindError> {
    let failed = |source| BindError::new("tcp", address, source);
    let listener = TcpListener::from_std(listen::tcp(address, Share::No)?).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let pages: SlowPages = Arc::new(move |ask| Box::pin(ready(pages(ask))));
    tokio::spawn(accept(listener, pages, drain));
    Ok(bound)
}

/// Serves `pages` on the Unix socket `path`, for its owner alone, until `drain` starts. A socket that a killed process left there is
/// taken over; one that somebody listens on is not.
///
/// # Errors
/// `AddrInUse` if a living process has the socket; else what the file system says.
pub async fn serve_unix(path: &Path, pages: SlowPages, drain: Drain) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let path = path.to_path_buf();
    tokio::spawn(async move {
        accept(listener, pages, drain).await;
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

impl Listen for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

async fn accept(listener: impl Listen, pages: SlowPages, drain: Drain) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let next = tokio::select! {
            next = listener.accept() => next,
            () = drain.started() => return,
        };
        let stream = match next {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only burn the core.
                warn!(%error, "status server could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() == MAX_CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let pages = pages.clone();
        let connection = tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, pages.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%error, "status connection ended");
            }
        });
        connections.push_back(connection.abort_handle());
    }
}

async fn answer(request: Request<Incoming>, pages: SlowPages) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri();
    let ask = Ask { path: uri.path(), query: uri.query().unwrap_or("") };
    let page = pages(&ask).await.unwrap_or_else(|| Page::text(404, "404 page not found\n"));
    let mut response = Response::builder().status(page.status).header("content-type", page.content_type);
    for (name, value) in page.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(page.body)).unwrap_or_else(|error| {
        warn!(%error, "a status page could not be sent");
        Response::new(Full::new(Bytes::new()))
    }))
}
