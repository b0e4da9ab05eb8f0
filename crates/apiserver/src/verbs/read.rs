//! get and list.
//!
//! Everything is answered from the latest state, which is "not older than" anything asked for; only a page after the first, and
//! `resourceVersionMatch=Exact`, look at an older one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::answer::{self, Answer, ListMeta};
use crate::api_state::Api;
use crate::media::Shape;
use crate::refusal::Refusal;
use crate::request::{self, Call, ListOptions};
use crate::store::{Objects, Stored, key, range};

/// Where a list goes on. Source: apiserver's pkg/storage/continue.go.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    /// -1: wherever the store is by then.
    rv: i64,
    /// The key to start from; ends in a zero byte, so that the key itself is not meant.
    start: String,
}

pub(super) fn get(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    if let Some(revision) = request::revision(call.query.text("resourceVersion"))? {
        reached(api, revision)?;
    }
    answer::object(&api.schema, call, 200, &*find(api, call)?)
}

/// The object that the path names.
pub(super) fn find(api: &Api, call: &Call) -> Result<Arc<Stored>, Refusal> {
    let target = &call.target;
    let found = api.store.get(api.collection(&target.kind), &key(&target.namespace, &target.name));
    found.ok_or_else(|| Refusal::not_found(&target.kind, &target.name))
}

pub(super) async fn list(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    let options = ListOptions::parse(&kind.gvk, &call.query, false)?;
    if matches!(call.media.shape, Shape::Table { .. }) {
        answer::include(&call.query)?;
    }
    let (objects, revision, start) = snapshot(api, call, &options)?;
    let (items, meta) = page(&objects, &call.target.namespace, start.as_deref(), &options, revision);
    answer::list(api, call, items, &meta).await
}

/// The objects that a list looks at, the revision it is of, and the key it starts from.
fn snapshot(api: &Api, call: &Call, options: &ListOptions) -> Result<(Objects, u64, Option<String>), Refusal> {
    let collection = api.collection(&call.target.kind);
    if !options.continue_token.is_empty() {
        let token = Continue::parse(&options.continue_token)?;
        let Ok(revision) = u64::try_from(token.rv) else {
            let (objects, revision) = api.store.snapshot(collection);
            return Ok((objects, revision, Some(token.start)));
        };
        return match api.store.snapshot_at(collection, revision) {
            Some(objects) => Ok((objects, revision, Some(token.start))),
            None => Err(Refusal::expired_list(Continue { rv: -1, ..token }.render())),
        };
    }
    match options.revision {
        Some(revision) if revision > 0 => {
            reached(api, revision)?;
            if options.exact {
                let objects = api.store.snapshot_at(collection, revision);
                let objects = objects.ok_or_else(|| Refusal::expired("The resourceVersion for the provided list is too old."))?;
                return Ok((objects, revision, None));
            }
        }
        _ => {}
    }
    let (objects, revision) = api.store.snapshot(collection);
    Ok((objects, revision, None))
}

fn reached(api: &Api, revision: u64) -> Result<(), Refusal> {
    let current = api.store.revision();
    if revision > current { Err(Refusal::future_revision(revision, current)) } else { Ok(()) }
}

fn page(objects: &Objects, namespace: &str, start: Option<&str>, options: &ListOptions, revision: u64) -> (Vec<Arc<Stored>>, ListMeta) {
    let everything = options.labels.is_everything() && options.fields.is_everything();
    let matches = |stored: &Stored| everything || options.labels.matches(&stored.index) && options.fields.matches(&stored.index);
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    let mut items = Vec::new();
    // One name in one namespace: no need to look at others.
    if let (Some(name), true) = (options.fields.name(), !namespace.is_empty() && start.is_none()) {
        items.extend(objects.get(&*key(namespace, name)).filter(|stored| matches(stored)).cloned());
        return (items, meta);
    }
    let mut rest = range(objects, namespace, start);
    let mut last = None;
    while let Some((key, stored)) = rest.next() {
        if !matches(stored) {
            continue;
        }
        if options.limit > 0 && items.len() == options.limit {
            let start: &str = last.unwrap_or_default();
            meta.continue_token = Continue { v: "meta.k8s.io/v1".to_owned(), rv: revision as i64, start: format!("{start}\0") }.render();
            // Behind a selector the number is not known without looking.
            meta.remaining = everything.then(|| rest.count() + 1);
            break;
        }
        last = Some(&**key);
        items.push(stored.clone());
    }
    (items, meta)
}

/// The objects of a call's collection that its selectors choose.
pub(super) fn selected(objects: &Objects, namespace: &str, options: &ListOptions) -> Vec<Arc<Stored>> {
    let all = range(objects, namespace, None).map(|(_, stored)| stored);
    all.filter(|stored| options.labels.matches(&stored.index) && options.fields.matches(&stored.index)).cloned().collect()
}

impl Continue {
    fn parse(text: &str) -> Result<Continue, Refusal> {
        let refuse = || Refusal::bad_request("invalid continue token: continue key is not valid: it cannot be read");
        let bytes = BASE64.decode(text).map_err(|_| refuse())?;
        let token: Continue = serde_json::from_slice(&bytes).map_err(|_| refuse())?;
        if token.v != "meta.k8s.io/v1" || token.start.is_empty() { Err(refuse()) } else { Ok(token) }
    }

    fn render(&self) -> String {
        BASE64.encode(serde_json::to_vec(self).expect("BUG: a token cannot be written as JSON"))
    }
}
