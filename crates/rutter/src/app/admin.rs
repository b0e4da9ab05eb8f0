//! The admin socket: `/run/rutter/NAME-NETNS.sock`, for root alone, where a running process is asked what it decided.
//!
//! The inode of the network namespace is part of the name: two namespaces of one machine can each run their own.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use runtime::Drain;
use runtime::status::{self, Ask, Page, SlowPages};
use source::Inspector;
use tracing::{info, warn};

use crate::trace::{self, Parts, Question};

const FOLDER: &str = "/run/rutter";

/// Where the process called `name` of this network namespace answers.
pub fn socket(name: &str) -> PathBuf {
    let netns = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |netns| netns.ino());
    PathBuf::from(FOLDER).join(format!("{name}-{netns}.sock"))
}

/// Serves the admin pages. A process without them serves all the same.
pub async fn serve(name: &str, source: &source::Running, parts: Parts, drain: &Drain) {
    let path = socket(name);
    let pages = pages(source.inspector.clone(), parts);
    let folder = std::fs::create_dir_all(FOLDER);
    let served = match folder {
        Ok(()) => status::serve_unix(&path, pages, drain.clone()).await,
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => info!(path = %path.display(), "admin socket"),
        Err(error) => warn!(path = %path.display(), %error, "goes on without the admin socket"),
    }
}

fn pages(inspector: Inspector, parts: Parts) -> SlowPages {
    Arc::new(move |ask: &Ask<'_>| {
        let inspector = inspector.clone();
        let parts = parts.clone();
        let (path, query) = (ask.path.to_string(), ask.query.to_string());
        Box::pin(async move {
            match path.as_str() {
                "/issues" => {
                    let lines = inspector.ask(|model| {
                        let issues = model.views().issues.iter();
                        issues.map(|(object, issue)| format!("{object}: {issue}\n")).collect::<String>()
                    });
                    lines.await.map(|lines| Page::text(200, lines))
                }
                "/trace" => {
                    let Some(question) = Question::from_query(&query) else { return Some(Page::text(400, "no question\n")) };
                    let traced = trace::ask(&inspector, question, parts).await?;
                    Some(Page::json(200, serde_json::to_vec(&traced).unwrap_or_default()))
                }
                _ => None,
            }
        })
    })
}

/// Asks the process called `name` of this network namespace for a page.
pub async fn get(name: &str, target: &str) -> anyhow::Result<Bytes> {
    let stream = tokio::net::UnixStream::connect(socket(name)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().uri(target).header(HOST, "rutter").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status().is_success(), "{} {target}: {}", name, response.status());
    Ok(response.into_body().collect().await?.to_bytes())
}
