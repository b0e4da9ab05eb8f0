//! Lists: written piece by piece while they are sent, so that memory holds no second copy of a collection.
//!
//! Protobuf is the exception: it says how long a list is before its first item, so the items wait, encoded, until the last one is.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Answer, aged, dressed, include, meta_version, now, partial};
use crate::api_state::Api;
use crate::hooks;
use crate::kinds::Kind;
use crate::media::{Format, Shape};
use crate::protobuf::{self, list_head, put_item};
use crate::refusal::Refusal;
use crate::request::Call;
use crate::schema::{Gvk, Schema};
use crate::store::Stored;
use crate::table::{self, Include};

/// A piece is not much longer than this, be it of a list or of the state that a watch begins with. A list that is not, is sent whole.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Pieces that may wait for the client.
const MAX_PIECES: usize = 4;

/// Lists longer than this are encoded by several threads.
const MAX_INLINE: usize = 500;

/// A list's metadata.
#[derive(Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: u64,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
}

/// A list of stored objects in the form and shape that the call asks for.
pub(crate) async fn list(api: &Arc<Api>, call: &Arc<Call>, items: Vec<Arc<Stored>>, meta: &ListMeta) -> Result<Answer, Refusal> {
    let items: Arc<[Arc<Stored>]> = items.into();
    if (call.media.format, call.media.shape) == (Format::Protobuf, Shape::Object)
        && let Some(pieces) = encoded(api, &call.target.kind, items.clone(), meta).await?
    {
        return Ok(Answer::pieces(call.media.content_type(), &pieces));
    }
    let content_type = if call.media.format == Format::Yaml { "application/yaml" } else { "application/json" };
    let mut text = Text { api: api.clone(), call: call.clone(), items, next: 0, include: include(&call.query)?, now: now() };
    let mut first = BytesMut::from(&*text.head(meta));
    text.put_items(&mut first);
    if text.is_done() {
        return Ok(Answer::bytes(200, content_type, first.freeze()));
    }
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    tokio::spawn(async move {
        let mut piece = first;
        // A client that goes away ends it.
        while sender.send(piece.split().freeze()).await.is_ok() && !text.is_done() {
            text.put_items(&mut piece);
        }
    });
    Ok(Answer::stream(content_type, receiver))
}

/// A list on its way to text.
struct Text {
    api: Arc<Api>,
    call: Arc<Call>,
    items: Arc<[Arc<Stored>]>,
    next: usize,
    include: Include,
    now: i64,
}

// === impl Text ===

impl Text {
    /// Everything up to the first item.
    fn head(&self, meta: &ListMeta) -> String {
        let kind = &self.call.target.kind;
        let (head, items) = match self.call.media.shape {
            Shape::Object => (json!({"kind": kind.list_kind(), "apiVersion": kind.gvk.api_version()}), "items"),
            Shape::Table { beta } => (aged(table::head(&self.api.schema, &kind.collection), beta), "rows"),
            Shape::Partial { beta } => (json!({"kind": "PartialObjectMetadataList", "apiVersion": meta_version(beta)}), "items"),
        };
        let mut head = head;
        head["metadata"] = meta.render();
        let head = head.to_string();
        format!("{},\"{items}\":[", &head[..head.len() - 1])
    }

    fn is_done(&self) -> bool {
        self.next > self.items.len()
    }

    /// Adds items until the piece is long enough, and after the last one the end.
    fn put_items(&mut self, piece: &mut BytesMut) {
        while let Some(item) = self.items.get(self.next) {
            if piece.len() >= PIECE_BYTES {
                return;
            }
            if self.next > 0 {
                piece.put_u8(b',');
            }
            self.put(piece, item);
            self.next += 1;
        }
        piece.put_slice(b"]}");
        self.next += 1;
    }

    fn put(&self, piece: &mut BytesMut, item: &Stored) {
        let kind = &self.call.target.kind;
        let shown = match (self.call.media.shape, hooks::of(kind).outward) {
            (Shape::Object, None) => return piece.put_slice(&item.json),
            (Shape::Object, Some(outward)) => {
                let mut value = item.parse();
                outward(&mut value);
                value
            }
            (Shape::Table { .. }, _) => table::row(&kind.collection, &dressed(kind, item), self.include, self.now),
            (Shape::Partial { beta }, _) => partial(&item.parse(), beta),
        };
        piece.put_slice(shown.to_string().as_bytes());
    }
}

/// The pieces of a list in protobuf, encoded by as many threads as there are cores. None: some item cannot be written so.
async fn encoded(api: &Arc<Api>, kind: &Arc<Kind>, items: Arc<[Arc<Stored>]>, meta: &ListMeta) -> Result<Option<Vec<Bytes>>, Refusal> {
    let n_threads = if items.len() <= MAX_INLINE { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let size = items.len().div_ceil(n_threads).max(1);
    // All begin at once, the first one here if it is the only one.
    let others = (size..items.len()).step_by(size).map(|start| {
        let (api, kind, items) = (api.clone(), kind.clone(), items.clone());
        spawn_blocking(move || encoded_part(&api.schema, &kind, &items[start..items.len().min(start + size)]))
    });
    let others: Vec<_> = others.collect();
    let first = {
        let (api, kind, items) = (api.clone(), kind.clone(), items.clone());
        let part = move || encoded_part(&api.schema, &kind, &items[..items.len().min(size)]);
        if others.is_empty() { Ok(part()) } else { spawn_blocking(part).await }
    };
    let mut parts = vec![first];
    for other in others {
        parts.push(other.await);
    }
    let mut pieces = vec![Bytes::new()];
    for part in parts {
        match part.map_err(|_| Refusal::internal("the list could not be encoded"))? {
            Ok(part) => pieces.extend(part),
            Err(error) => return Ok(unwritten(&error)),
        }
    }
    let list = Gvk { kind: kind.list_kind(), ..kind.gvk.clone() };
    match list_head(&api.schema, &list, &meta.render(), pieces.iter().map(Bytes::len).sum()) {
        Ok(head) => pieces[0] = head.into(),
        Err(error) => return Ok(unwritten(&error)),
    }
    Ok(Some(pieces))
}

fn unwritten<T>(error: &protobuf::Error) -> Option<T> {
    tracing::warn!(%error, "a list could not be written as protobuf");
    None
}

fn encoded_part(schema: &Schema, kind: &Kind, items: &[Arc<Stored>]) -> Result<Vec<Bytes>, protobuf::Error> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let outward = hooks::of(kind).outward;
    for item in items {
        match outward {
            None => put_item(schema, &kind.gvk, &mut serde_json::Deserializer::from_slice(&item.json), &mut piece)?,
            Some(_) => put_item(schema, &kind.gvk, dressed(kind, item), &mut piece)?,
        }
        if piece.len() >= PIECE_BYTES {
            pieces.push(std::mem::take(&mut piece).into());
        }
    }
    pieces.push(piece.into());
    Ok(pieces)
}

// === impl ListMeta ===

impl ListMeta {
    fn render(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            meta["continue"] = self.continue_token.clone().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}
