//! The verbs on a store of their own, without HTTP between.

mod deletion;
mod hostile;
mod lists;
mod services;
mod watches;
mod writes;

use std::sync::Arc;

use hyper::Method;
use runtime::drain::Trigger;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::answer::Body;
use crate::auth::{Tokens, User};
use crate::hooks::Cluster as Ranges;
use crate::indexer::ByKind;
use crate::kinds::Kinds;
use crate::media::Media;
use crate::request::{Query, Target};
use crate::schema::Schema;
use crate::store::Store;
use crate::testing::Folder;
use crate::value::Get;

/// An API server with the objects that every cluster has, and an account in `default`.
struct Server {
    api: Arc<Api>,
    _folder: Folder,
    _trigger: Trigger,
}

impl Server {
    async fn start(name: &str) -> Server {
        let folder = Folder::new(name);
        let kinds = Arc::new(Kinds::load());
        let (trigger, drain) = runtime::drain::channel();
        let api = Arc::new(Api {
            schema: Schema::load(),
            store: Store::open(folder.path(), kinds.collections(), ByKind::of(&kinds)).expect("a store"),
            kinds,
            cluster: Ranges { service_cidrs: vec!["10.96.0.0/24".parse().expect("a range")] },
            tokens: Tokens::open(folder.path(), "https://issuer".to_owned()).expect("a key"),
            kubelet: Arc::new(crate::kubelet::NoKubelet),
            drain,
        });
        let shared = api.clone();
        api.store.write(move |txn| crate::bootstrap::ensure(txn, &shared, 6443, None)).await.expect("the first objects");
        let server = Server { api, _folder: folder, _trigger: trigger };
        let account = json!({"metadata": {"name": "default"}});
        assert_eq!(server.ask("POST /api/v1/namespaces/default/serviceaccounts", account).await.0, 201);
        server
    }

    /// Sends `METHOD PATH` with a body (null: none) and gives status and answer. A patch is a merge patch.
    async fn ask(&self, request: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let content_type = if request.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
        match self.send(request, content_type, bytes).await {
            Ok(answer) => (answer.status, serde_json::from_slice(&whole(answer.body).await).unwrap_or_default()),
            Err(refusal) => (refusal.code, refusal.status()),
        }
    }

    async fn send(&self, request: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, Refusal> {
        self.send_for(Media::default(), request, content_type, body).await
    }

    async fn send_for(&self, media: Media, request: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, Refusal> {
        let (method, url) = request.split_once(' ').expect("METHOD PATH");
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let call = Call {
            target: Target::parse(&self.api.kinds, path).ok_or_else(Refusal::no_path)?,
            query: Query::parse(query),
            media,
            content_type: content_type.to_owned(),
            body: body.into(),
            user: User::default(),
            agent: "test".to_owned(),
        };
        serve(&self.api, &method.parse::<Method>().expect("a method"), call).await
    }

    /// Sends requests one after the other and compares what each is answered: the status, and some text of the answer.
    async fn check(&self, steps: &[(&str, Value, u16, &str)]) {
        for (request, body, status, text) in steps {
            let (got, answer) = self.ask(request, body.clone()).await;
            assert!(
                got == *status && answer.to_string().contains(text),
                "{request} {body}\n  expected {status} {text}\n  got {got} {answer}"
            );
        }
    }

    async fn watch(&self, url: &str) -> Watch {
        match self.send(&format!("GET {url}"), "", Vec::new()).await.map(|answer| answer.body) {
            Ok(Body::Stream(pieces)) => Watch { pieces, rest: String::new() },
            other => panic!("{url} is no watch: {other:?}"),
        }
    }
}

/// A body with all its pieces.
async fn whole(body: Body) -> Vec<u8> {
    match body {
        Body::Full(bytes) => bytes.to_vec(),
        Body::Packed { plain, .. } => plain.to_vec(),
        Body::Stream(mut pieces) => {
            let mut whole = Vec::new();
            while let Some(piece) = pieces.recv().await {
                whole.extend_from_slice(&piece);
            }
            whole
        }
    }
}

/// The events of a watch.
struct Watch {
    pieces: mpsc::Receiver<bytes::Bytes>,
    rest: String,
}

impl Watch {
    /// The next event as `TYPE name`; `end` if there is none.
    async fn next(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let event: Value = serde_json::from_str(line).expect("an event");
                let object = event.at("object");
                let name = if object.text("kind") == "Status" { object.text("message") } else { object["metadata"].text("name") };
                let text = format!("{} {name}", event.text("type"));
                self.rest = rest.to_owned();
                return text;
            }
            match self.pieces.recv().await {
                Some(piece) => self.rest.push_str(std::str::from_utf8(&piece).expect("UTF-8")),
                None => return "end".to_owned(),
            }
        }
    }

    async fn expect(&mut self, events: &[&str]) {
        for event in events {
            assert_eq!(self.next().await, *event);
        }
    }
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
