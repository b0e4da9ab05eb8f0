//! Watches: what happens to the objects of a collection, as a stream of events.
//!
//! A watcher is a place in its collection's history. It is woken when something happened, reads on from its place, and sends what its selectors
//! let through. It holds nothing but that place: one that is too slow finds its place forgotten and is sent away to list again, and no watcher
//! ever holds up the writer. An event's JSON is encoded once, by the first watcher that needs it.
//!
//! Source: apiserver's pkg/storage/cacher and pkg/endpoints/handlers/watch.go.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::answer::{self, Answer, PIECE_BYTES};
use crate::api_state::Api;
use crate::hooks;
use crate::media::{Format, Media, Shape};
use crate::names;
use crate::protobuf;
use crate::refusal::Refusal;
use crate::request::{Call, ListOptions};
use crate::selectors::Index;
use crate::store::{Event, Objects, Since, Stored, range};
use crate::table::{self, Include};

/// Kubernetes' --min-request-timeout: a watch without a limit lasts once to twice as long.
const MIN_WATCH_SECS: u64 = 1_800;

/// Kubernetes sends a bookmark a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// The last bookmark comes in time for the client to read it.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Events read from the history at once, and pieces that may wait for the client.
const BATCH: usize = 256;
const MAX_PIECES: usize = 4;

/// A watcher may send this often at once, and once more in every interval that passes. Under a steady stream of writes what happens in one
/// interval so leaves as one TLS record, which costs as much as an event does; what happens now and then is told at once.
const BURST: u32 = 16;
const SEND_EVERY: Duration = Duration::from_millis(5);

struct Watcher {
    api: Arc<Api>,
    call: Arc<Call>,
    options: ListOptions,
    include: Include,
    /// Everything up to here was sent.
    position: u64,
    /// Columns were told with the first Table.
    columns_sent: bool,
    pieces: mpsc::Sender<Bytes>,
}

/// The client is gone, or was told to go.
struct Closed;

/// What a watcher sees of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Added,
    Modified,
    Deleted,
}

pub(crate) fn open(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    let mut options = ListOptions::parse(&kind.gvk, &call.query, true)?;
    if !call.target.name.is_empty() {
        let name = format!("metadata.name={}", call.target.name);
        options.fields = crate::selectors::Fields::parse(&kind.gvk, &name).map_err(Refusal::bad_request)?;
    }
    let include = answer::include(&call.query)?;
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    let secs = options.timeout_secs.filter(|secs| *secs > 0);
    let secs = secs.unwrap_or_else(|| MIN_WATCH_SECS + u64::from(names::below(MIN_WATCH_SECS as u32)));
    // Subscribed before the first look, so that nothing falls between.
    let changed = api.store.subscribe(api.collection(kind));
    let watcher = Watcher { api: api.clone(), call: call.clone(), options, include, position: 0, columns_sent: false, pieces: sender };
    tokio::spawn(watcher.run(changed, Duration::from_secs(secs)));
    Ok(Answer::stream(content_type(call.media), receiver))
}

fn content_type(media: Media) -> &'static str {
    match media.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Json | Format::Yaml => "application/json",
    }
}

impl Watcher {
    async fn run(mut self, mut changed: watch::Receiver<u64>, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let drain = self.api.drain.clone();
        if self.begin().await.is_err() {
            return;
        }
        let mut next_bookmark = bookmark_after(Instant::now(), deadline);
        let mut pace = Pace { next: Instant::now() };
        loop {
            if self.catch_up().await.is_err() {
                return;
            }
            let bookmark_at = next_bookmark.min(deadline);
            tokio::select! {
                changed = changed.changed() => match changed {
                    Ok(()) => sleep_until(pace.turn(Instant::now())).await,
                    Err(_) => return,
                },
                () = sleep_until(bookmark_at), if self.options.bookmarks && bookmark_at < deadline => {
                    // Where nothing happens the watch comes further all the same.
                    if self.catch_up().await.is_err() || self.bookmark(false).await.is_err() {
                        return;
                    }
                    next_bookmark = bookmark_after(Instant::now(), deadline);
                }
                () = sleep_until(deadline) => return,
                () = drain.started() => return,
                () = self.pieces.closed() => return,
            }
        }
    }

    /// Sends the present state if the client has none.
    async fn begin(&mut self) -> Result<(), Closed> {
        let from = self.options.revision.unwrap_or_default();
        let wants_state = self.options.initial_events.unwrap_or(from == 0);
        let current = self.api.store.revision();
        if from > current {
            let refusal = Refusal::future_revision(from, current);
            return self.error(&refusal).await;
        }
        if !wants_state {
            // No state is wanted, and none is known: from now on.
            self.position = if from == 0 { current } else { from };
            return Ok(());
        }
        let (objects, revision) = self.api.store.snapshot(self.api.collection(&self.call.target.kind));
        self.position = revision;
        self.state(&objects).await?;
        if self.options.initial_events == Some(true) && self.options.bookmarks {
            self.bookmark(true).await?;
        }
        Ok(())
    }

    async fn state(&mut self, objects: &Objects) -> Result<(), Closed> {
        let namespace = self.call.target.namespace.clone();
        let mut piece = BytesMut::new();
        for (_, stored) in range(objects, &namespace, None) {
            if self.matches(stored) {
                self.put(&mut piece, Type::Added, stored, None);
            }
            if piece.len() >= PIECE_BYTES {
                self.send(piece.split().freeze()).await?;
            }
        }
        self.send(piece.freeze()).await
    }

    /// Sends everything that has happened since.
    async fn catch_up(&mut self) -> Result<(), Closed> {
        loop {
            let collection = self.api.collection(&self.call.target.kind);
            let (events, revision) = match self.api.store.since(collection, self.position, BATCH) {
                Since::Events { events, revision } => (events, revision),
                Since::Forgotten(oldest) => {
                    let text = format!("too old resource version: {} ({oldest})", self.position);
                    return self.error(&Refusal::expired(text)).await;
                }
            };
            let is_all = events.len() < BATCH;
            let mut piece = BytesMut::new();
            for event in &events {
                self.put_event(&mut piece, event);
            }
            self.send(piece.freeze()).await?;
            self.position = revision;
            if is_all {
                return Ok(());
            }
        }
    }

    fn matches(&self, stored: &Stored) -> bool {
        let namespace = &self.call.target.namespace;
        (namespace.is_empty() || stored.namespace() == namespace)
            && self.options.labels.matches(&stored.index)
            && self.options.fields.matches(&stored.index)
    }

    /// An object that starts to match is added, one that ceases to is deleted.
    fn put_event(&mut self, piece: &mut BytesMut, event: &Event) {
        let was = event.old.as_ref().filter(|old| self.matches(old));
        let is = !event.deleted && self.matches(&event.now);
        match (was, is) {
            (None, true) => self.put(piece, Type::Added, &event.now, Some(event)),
            (Some(_), true) => self.put(piece, Type::Modified, &event.now, Some(event)),
            (Some(_), false) if event.deleted => self.put(piece, Type::Deleted, &event.now, Some(event)),
            (Some(old), false) => {
                // What it was when it still matched, at the revision at which it ceased to.
                let mut last = old.parse();
                last["metadata"]["resourceVersion"] = event.revision.to_string().into();
                let last = Stored { revision: event.revision, json: last.to_string().into(), index: Index::default() };
                self.put(piece, Type::Deleted, &last, None);
            }
            (None, false) => {}
        }
    }

    /// Writes one event in the form and shape of the call. `event`: the one whose encoding may be kept.
    fn put(&mut self, piece: &mut BytesMut, ty: Type, stored: &Stored, event: Option<&Event>) {
        let kind = &self.call.target.kind;
        let media = self.call.media;
        if media.shape == Shape::Object && hooks::of(kind).outward.is_none() {
            if media.format != Format::Protobuf {
                return put_line(piece, ty.name(), |piece| answer::put_line(piece, &kind.gvk, &stored.json));
            }
            let encode = || match protobuf::encode_text(&self.api.schema, &kind.gvk, &stored.json) {
                Ok(bytes) => bytes.into(),
                Err(error) => {
                    tracing::warn!(%error, "a watch event could not be written as protobuf");
                    Bytes::new()
                }
            };
            let bytes = event.map_or_else(encode, |event| event.protobuf.get_or_init(encode).clone());
            if !bytes.is_empty() {
                put_message(piece, ty.name(), &bytes);
            }
            return;
        }
        let object = answer::dressed(kind, stored);
        let shown = match media.shape {
            Shape::Object => object,
            Shape::Table { beta } => {
                let mut table = table::render(&self.api.schema, &kind.collection, [&object], self.include, answer::now());
                table["metadata"] = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                if self.columns_sent {
                    table["columnDefinitions"] = Value::Null;
                }
                self.columns_sent = true;
                answer::aged(table, beta)
            }
            Shape::Partial { beta } => answer::partial(&object, beta),
        };
        self.put_value(piece, ty.name(), &shown);
    }

    fn put_value(&self, piece: &mut BytesMut, ty: &str, object: &Value) {
        if self.call.media.format == Format::Protobuf {
            match protobuf::encode(&self.api.schema, object) {
                Ok(bytes) => put_message(piece, ty, &bytes),
                Err(error) => tracing::warn!(%error, "a watch event could not be written as protobuf"),
            }
            return;
        }
        put_line(piece, ty, |piece| piece.put_slice(object.to_string().as_bytes()));
    }

    /// Tells how far the watch has come, so that it can be resumed from there.
    async fn bookmark(&mut self, initial_events_end: bool) -> Result<(), Closed> {
        let kind = &self.call.target.kind;
        let mut metadata = json!({"resourceVersion": self.position.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        // A typed client sees the fields that its type always has.
        let mut object = json!({"kind": kind.gvk.kind, "apiVersion": kind.gvk.api_version(), "metadata": metadata});
        match self.call.media.shape {
            Shape::Object => {}
            Shape::Partial { beta } => object = answer::partial(&object, beta),
            Shape::Table { beta } => {
                let row = json!({"cells": [], "object": answer::partial(&object, beta)});
                let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": self.position.to_string()}, "columnDefinitions": null, "rows": [row]});
                object = answer::aged(table, beta);
            }
        }
        let mut piece = BytesMut::new();
        self.put_value(&mut piece, "BOOKMARK", &object);
        self.send(piece.freeze()).await
    }

    /// The last event of a watch that cannot go on.
    async fn error(&mut self, refusal: &Refusal) -> Result<(), Closed> {
        let mut piece = BytesMut::new();
        self.put_value(&mut piece, "ERROR", &refusal.status());
        self.send(piece.freeze()).await?;
        Err(Closed)
    }

    async fn send(&self, piece: Bytes) -> Result<(), Closed> {
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.send(piece).await.map_err(|_| Closed)
    }
}

/// Says when a watcher sends next: a bucket of [`BURST`] turns that fills by one in each [`SEND_EVERY`].
struct Pace {
    /// When the next turn is due if none is left from quiet times.
    next: Instant,
}

impl Pace {
    /// Takes a turn at `now` and says when it comes: in the past if at once.
    fn turn(&mut self, now: Instant) -> Instant {
        let turn = now.checked_sub(SEND_EVERY * BURST).map_or(self.next, |full| self.next.max(full));
        self.next = turn + SEND_EVERY;
        turn
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Added => "ADDED",
            Type::Modified => "MODIFIED",
            Type::Deleted => "DELETED",
        }
    }
}

/// When the next bookmark is due: every minute, and shortly before the end; no earlier than that if the end is near.
fn bookmark_after(now: Instant, deadline: Instant) -> Instant {
    let last = deadline.checked_sub(BOOKMARK_BEFORE_END).filter(|last| *last > now).unwrap_or(deadline);
    last.min(now + BOOKMARK_EVERY)
}

/// One event in JSON, on a line of its own.
fn put_line(piece: &mut BytesMut, ty: &str, put_object: impl FnOnce(&mut BytesMut)) {
    for part in ["{\"type\":\"", ty, "\",\"object\":"] {
        piece.put_slice(part.as_bytes());
    }
    put_object(piece);
    piece.put_slice(b"}\n");
}

/// One event in protobuf: its length in four bytes, then `WatchEvent {1: type, 2: RawExtension {1: object}}`.
fn put_message(piece: &mut BytesMut, ty: &str, object: &[u8]) {
    let mut raw = BytesMut::new();
    put_field(&mut raw, 1, object);
    let mut event = BytesMut::new();
    put_field(&mut event, 1, ty.as_bytes());
    put_field(&mut event, 2, &raw);
    // apimachinery's serializer wraps the event itself into no envelope.
    piece.put_u32(event.len() as u32);
    piece.put_slice(&event);
}

fn put_field(message: &mut BytesMut, number: u8, bytes: &[u8]) {
    message.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8(length as u8);
    message.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_a_stream_in_intervals() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut pace = Pace { next: start };
        // Quiet until now: a whole bucket of turns.
        let now = start + Duration::from_secs(1);
        let waits: Vec<_> = (0..BURST + 3).map(|_| pace.turn(now).saturating_duration_since(now)).collect();
        assert!(waits[..=BURST as usize].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(waits[BURST as usize + 1..], [SEND_EVERY, SEND_EVERY * 2]);
    }
}
