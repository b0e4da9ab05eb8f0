//! Answers: what goes back to a client, and how objects become that.
//!
//! Owns the forms (JSON, protobuf) and shapes (object, list, Table, metadata alone) of answers. Must not know how objects were found.

mod list;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::hooks;
use crate::kinds::Kind;
use crate::media::{Format, Media, Shape};
use crate::protobuf;
use crate::refusal::Refusal;
use crate::request::{Call, Query};
use crate::schema::{Gvk, Schema};
use crate::store::Stored;
use crate::table::{self, Include};
pub(crate) use list::{ListMeta, PIECE_BYTES, list};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Body,
    /// Texts of `Warning: 299` headers.
    pub(crate) warnings: Vec<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Full(Bytes),
    /// The same content, plain and gzipped: the client's encodings decide.
    Packed {
        plain: Bytes,
        gzip: Bytes,
    },
    /// Sent piece by piece as they come.
    Stream(mpsc::Receiver<Bytes>),
}

// === impl Answer ===

impl Answer {
    pub(crate) fn json(status: u16, value: &Value) -> Answer {
        Answer::bytes(status, "application/json", value.to_string().into())
    }

    pub(crate) fn text(status: u16, text: impl Into<String>) -> Answer {
        Answer::bytes(status, "text/plain; charset=utf-8", text.into().into())
    }

    pub(crate) fn bytes(status: u16, content_type: &'static str, body: Bytes) -> Answer {
        Answer { status, content_type, body: Body::Full(body), warnings: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn stream(content_type: &'static str, pieces: mpsc::Receiver<Bytes>) -> Answer {
        Answer { status: 200, content_type, body: Body::Stream(pieces), warnings: Vec::new(), headers: Vec::new() }
    }

    /// A body that is there already, in pieces that need not be copied into one.
    pub(crate) fn pieces(content_type: &'static str, pieces: &[Bytes]) -> Answer {
        if pieces.iter().map(Bytes::len).sum::<usize>() <= PIECE_BYTES {
            return Answer::bytes(200, content_type, pieces.concat().into());
        }
        let (sender, receiver) = mpsc::channel(pieces.len());
        for piece in pieces {
            // There is room for each.
            let _ = sender.try_send(piece.clone());
        }
        Answer::stream(content_type, receiver)
    }

    pub(crate) fn warn(mut self, warnings: Vec<String>) -> Answer {
        self.warnings.extend(warnings);
        self
    }

    /// A refusal in the client's form, if that is protobuf and nothing else will do.
    pub(crate) fn refuse(schema: &Schema, media: Media, refusal: &Refusal) -> Answer {
        if refusal.plain {
            let mut answer = Answer::text(refusal.code, refusal.message.clone());
            answer.headers.push(("x-content-type-options", "nosniff".to_owned()));
            return answer;
        }
        let mut answer = encode(schema, Media { shape: Shape::Object, ..media }, refusal.code, &refusal.status());
        if let Some(secs) = refusal.retry_after {
            answer.headers.push(("retry-after", secs.to_string()));
        }
        answer
    }
}

/// One stored object in the form and shape that the call asks for.
pub(crate) fn object(schema: &Schema, call: &Call, status: u16, stored: &Stored) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    match (call.media.shape, call.media.format) {
        (Shape::Object, Format::Json | Format::Yaml) => Ok(Answer::bytes(status, call.media.content_type(), line(kind, stored))),
        _ => value(schema, call, status, &kind.collection, dressed(kind, stored)),
    }
}

/// One object, not stored as it is (a Scale, a review).
pub(crate) fn value(schema: &Schema, call: &Call, status: u16, collection: &str, value: Value) -> Result<Answer, Refusal> {
    let shown = match call.media.shape {
        Shape::Object => value,
        Shape::Table { beta } => {
            let mut table = table::render(schema, collection, [&value], include(&call.query)?, now());
            table["metadata"] = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
            aged(table, beta)
        }
        Shape::Partial { beta } => partial(&value, beta),
    };
    Ok(encode(schema, call.media, status, &shown))
}

/// The object as JSON text with its `kind` and `apiVersion`.
pub(crate) fn line(kind: &Kind, stored: &Stored) -> Bytes {
    if hooks::of(kind).outward.is_some() {
        return dressed(kind, stored).to_string().into();
    }
    let mut text = BytesMut::with_capacity(stored.json.len() + 64);
    put_line(&mut text, &kind.gvk, &stored.json);
    text.freeze()
}

/// Writes `{"kind":..,"apiVersion":..,` and the rest of the stored bytes, which begin with `{`.
pub(crate) fn put_line(text: &mut BytesMut, gvk: &Gvk, json: &[u8]) {
    for part in ["{\"kind\":\"", &gvk.kind, "\",\"apiVersion\":\"", &gvk.api_version(), "\","] {
        text.put_slice(part.as_bytes());
    }
    text.put_slice(&json[1..]);
}

/// The object as a value with its `kind` and `apiVersion`, in the version of its kind.
pub(crate) fn dressed(kind: &Kind, stored: &Stored) -> Value {
    let mut value = stored.parse();
    if let Some(outward) = hooks::of(kind).outward {
        outward(&mut value);
    }
    value["kind"] = kind.gvk.kind.clone().into();
    value["apiVersion"] = kind.gvk.api_version().into();
    value
}

pub(crate) fn partial(value: &Value, beta: bool) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": meta_version(beta), "metadata": value["metadata"]})
}

/// What the rows of a Table carry.
pub(crate) fn include(query: &Query) -> Result<Include, Refusal> {
    match query.text("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "Object" => Ok(Include::Object),
        "None" => Ok(Include::None),
        other => {
            let text = format!("includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty");
            Err(Refusal::bad_request(format!("Unable to convert to Table as requested: {text}")))
        }
    }
}

/// A Table of the older version, if that was asked for.
pub(crate) fn aged(mut table: Value, beta: bool) -> Value {
    if beta {
        table["apiVersion"] = meta_version(true).into();
    }
    table
}

fn meta_version(beta: bool) -> &'static str {
    if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
}

fn encode(schema: &Schema, media: Media, status: u16, value: &Value) -> Answer {
    if media.format == Format::Protobuf {
        match protobuf::encode(schema, value) {
            Ok(bytes) => return Answer::bytes(status, media.content_type(), bytes.into()),
            Err(error) => tracing::warn!(%error, "an answer could not be written as protobuf"),
        }
        return Answer::json(status, value);
    }
    Answer::bytes(status, media.content_type(), value.to_string().into())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
