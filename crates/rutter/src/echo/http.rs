//! HTTP: every request is answered 200 (or what `?status=N` asks, after `?delay=500ms`) with what came.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, REFERER, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use runtime::time::CommonLog;
use tokio::net::{TcpListener, TcpStream};

use super::{Echo, websocket};

use crate::output;

/// The longest `?delay=`: a test that asks for more means something else.
const MAX_DELAY: Duration = Duration::from_secs(300);

pub async fn serve(address: SocketAddr, echo: Arc<Echo>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, remote)) = listener.accept().await else {
                // Out of descriptors: give the others time to close theirs.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            echo.heard();
            tokio::spawn(connection(stream, remote, echo.clone()));
        }
    });
    Ok(())
}

async fn connection(stream: TcpStream, remote: SocketAddr, echo: Arc<Echo>) {
    let Ok(local) = stream.local_addr() else { return };
    let mut stopping = echo.stopping.subscribe();
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = asked.clone();
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        let echo = echo.clone();
        async move { Ok::<_, Infallible>(answer(request, local, remote, &echo).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // An error is the client's way of leaving.
        _ = &mut connection => return,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    // An idle connection is closed, a request in flight is answered first. A connection that is new still has its first request on the
    // way; its answer says that it is the last.
    if was_asked.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
    }
    let _ = connection.await;
}

async fn answer(mut request: Request<Incoming>, local: SocketAddr, remote: SocketAddr, echo: &Echo) -> Response<Full<Bytes>> {
    if websocket::is_asked(&request) {
        return websocket::accept(&mut request);
    }
    let (head, body) = request.into_parts();
    let body_bytes = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let wish = Wish::parse(head.uri.query().unwrap_or(""));
    tokio::time::sleep(wish.delay).await;

    let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
    let mut report = echo.report(local, remote, body_bytes);
    report["method"] = head.method.as_str().into();
    report["path"] = target.clone().into();
    report["host"] = text(&head.headers, &HOST).or_else(|| head.uri.host().map(str::to_string)).unwrap_or_default().into();
    report["headers"] = serde_json::json!(all(&head.headers));
    let mut body = report.to_string();
    body.push('\n');

    log(&head, remote, &target, wish.status, body.len());
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = wish.status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    if echo.is_stopping() {
        response.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    }
    response
}

/// One line on standard output as nginx's image writes it: the combined format and the forwarded client behind it.
fn log(head: &hyper::http::request::Parts, remote: SocketAddr, target: &str, status: StatusCode, bytes: usize) {
    let header = |name: HeaderName| text(&head.headers, &name).unwrap_or_else(|| "-".to_string());
    output::line(format_args!(
        "{} - - [{}] \"{} {target} {:?}\" {} {bytes} \"{}\" \"{}\" \"{}\"",
        remote.ip(),
        CommonLog(SystemTime::now()),
        head.method,
        head.version,
        status.as_u16(),
        header(REFERER),
        header(USER_AGENT),
        header(HeaderName::from_static("x-forwarded-for")),
    ));
}

/// Header names in lower case with their values in order.
fn all(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers {
        all.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    all
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What the query asks of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    status: StatusCode,
    delay: Duration,
}

// === impl Wish ===

impl Wish {
    /// What cannot be read is not wished.
    fn parse(query: &str) -> Self {
        let mut wish = Self { status: StatusCode::OK, delay: Duration::ZERO };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "status" => wish.status = value.parse().ok().filter(|status: &StatusCode| status.as_u16() >= 200).unwrap_or(wish.status),
                "delay" => wish.delay = duration(value).unwrap_or(wish.delay).min(MAX_DELAY),
                _ => {}
            }
        }
        wish
    }
}

/// `500ms` or `2s`.
fn duration(text: &str) -> Option<Duration> {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s').and_then(|secs| secs.parse().ok()).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_asks_for_status_and_delay() {
        let wish = |query| {
            let Wish { status, delay } = Wish::parse(query);
            (status.as_u16(), delay.as_millis())
        };
        assert_eq!(wish("a=1&status=503&delay=500ms"), (503, 500));
        assert_eq!(wish("delay=2s"), (200, 2_000));
        assert_eq!(wish("status=99999&delay=soon"), (200, 0));
        assert_eq!(wish("status=101"), (200, 0), "an answer is no interim answer");
        assert_eq!(wish("delay=9000s"), (200, 300_000));
    }
}
