//! An API server that plays a script, one step per request, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// One answer.
pub struct Step {
    code: u16,
    chunks: Vec<String>,
    end: End,
}

/// What happens after the last chunk.
#[derive(Clone, Copy)]
pub enum End {
    Close,
    /// The connection breaks in the middle.
    Abort,
    /// Nothing, forever.
    Hold,
}

pub struct Server {
    port: u16,
    kubeconfig: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    /// The one token that is let in, where there is one.
    token: Arc<Mutex<Option<String>>>,
    n_left: watch::Receiver<usize>,
}

impl Step {
    pub fn new(code: u16, chunks: Vec<String>, end: End) -> Step {
        Step { code, chunks, end }
    }

    pub fn ok(body: &str) -> Step {
        Step::new(200, vec![body.to_owned()], End::Close)
    }

    pub fn watch(events: &[String], end: End) -> Step {
        Step::new(200, events.to_vec(), end)
    }
}

impl Server {
    pub fn start(script: Vec<Step>) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let kubeconfig = std::env::temp_dir().join(format!("rutter-client-{}-{port}", std::process::id()));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        std::fs::write(&kubeconfig, text).expect("a writable temporary directory");

        let requests = Arc::new(Mutex::new(Vec::new()));
        let token = Arc::new(Mutex::new(None::<String>));
        let valid = token.clone();
        let (left, n_left) = watch::channel(script.len());
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let log = requests.clone();
        tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let left = Arc::new(left);
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, left, valid) = (script.clone(), log.clone(), left.clone(), valid.clone());
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                    let valid = valid.lock().expect("no panic").as_ref().map(|token| format!("Bearer {token}"));
                    if valid.is_some() && shown != valid.as_deref() {
                        let refusal =
                            Step::new(401, vec![r#"{"kind":"Status","code":401,"message":"Unauthorized"}"#.to_owned()], End::Close);
                        return std::future::ready(Ok::<_, Infallible>(respond(Some(refusal))));
                    }
                    let step = script.lock().expect("no panic").pop_front();
                    if step.is_some() {
                        log.lock().expect("no panic").push(show(request.uri()));
                        left.send_modify(|n| *n -= 1);
                    }
                    std::future::ready(Ok::<_, Infallible>(respond(step)))
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Server { port, kubeconfig, requests, token, n_left }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn origin(&self) -> client::Origin {
        client::Origin::Kubeconfig(self.kubeconfig.clone())
    }

    /// From now on lets in who shows this token, and nobody else.
    pub fn let_in(&self, token: &str) {
        *self.token.lock().expect("no panic") = Some(token.to_owned());
    }

    /// Has clients read their token from this file.
    pub fn token_file(&self, path: &std::path::Path) {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("the kubeconfig");
        std::fs::write(&self.kubeconfig, text.replace("user: {}", &format!("user: {{tokenFile: {}}}", path.display()))).expect("written");
    }

    /// Waits until every step of the script was asked for.
    pub async fn all_played(&self) {
        let mut n_left = self.n_left.clone();
        let played = timeout(Duration::from_secs(5), n_left.wait_for(|n| *n == 0)).await;
        assert!(played.is_ok(), "only these requests came: {:?}", self.requests());
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// `list QUERY` or `watch VERSION&REST`.
fn show(uri: &hyper::Uri) -> String {
    let query = uri.query().unwrap_or("");
    match query.split_once("resourceVersion=") {
        Some((_, rest)) => format!("watch {rest}"),
        None => format!("list {query}"),
    }
}

fn respond(step: Option<Step>) -> Response<Scripted> {
    // Whoever asks for more than the script has waits.
    let step = step.unwrap_or(Step::new(200, Vec::new(), End::Hold));
    let is_text = step.chunks.first().is_some_and(|chunk| !chunk.starts_with('{'));
    let content_type = if is_text { "text/plain" } else { "application/json" };
    let body = Scripted { chunks: step.chunks.into_iter().map(Bytes::from).collect(), end: step.end, flushed: false };
    Response::builder().status(step.code).header("content-type", content_type).body(body).expect("a response")
}

struct Scripted {
    chunks: VecDeque<Bytes>,
    end: End,
    flushed: bool,
}

impl hyper::body::Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match (self.chunks.pop_front(), self.end) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, End::Close) => Poll::Ready(None),
            (None, End::Abort) if !self.flushed => {
                // hyper sends what it holds only once the body has nothing more to give.
                self.flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (None, End::Abort) => Poll::Ready(Some(Err(std::io::Error::other("aborted by the script")))),
            (None, End::Hold) => Poll::Pending,
        }
    }
}
