//! Watches: the frames of a stream and the events in them.
//!
//! JSON: one object per line. Protobuf: frames of a 4-byte big-endian length and a bare `WatchEvent` {1: type, 2: RawExtension {1: bytes}}
//! whose object has an envelope again (apimachinery's `LengthDelimitedFramer` and raw serializer).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{DecodeError, Fault};
use crate::meta::ObjectMeta;
use crate::protobuf::{self, Field, Reader, Wire};
use crate::status::Status;
use crate::{Encoding, Object, json};

/// The largest frame that is believed; the server allows no object above 3 MiB (etcd's request limit with room to spare).
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// What a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<K> {
    Added(K),
    Modified(K),
    /// The last state, its resourceVersion that of the deletion.
    Deleted(K),
    /// Nothing happened up to this resourceVersion.
    Bookmark {
        resource_version: Box<str>,
        /// Whether the initial state of a watch that began with `sendInitialEvents` is complete.
        initial_events_end: bool,
    },
    Error(Status),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Frames {
    encoding: Encoding,
    buffer: Vec<u8>,
    start: usize,
    /// How far the buffer is known to hold no end of line.
    searched: usize,
}

/// A frame that no server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a watch frame is larger than {MAX_FRAME_BYTES} bytes")]
pub struct FrameTooLarge;

// === impl Frames ===

impl Frames {
    pub fn new(encoding: Encoding) -> Frames {
        Frames { encoding, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// Takes what came from the connection.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` until more bytes have been fed.
    ///
    /// # Errors
    /// The stream cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLarge> {
        let rest = &self.buffer[self.start..];
        let (head, length, tail) = match self.encoding {
            Encoding::Protobuf => {
                let Some((length, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                (4, usize::try_from(u32::from_be_bytes(*length)).map_err(|_| FrameTooLarge)?, 0)
            }
            Encoding::Json => match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(at) => (0, self.searched + at - self.start, 1),
                None => {
                    self.searched = self.buffer.len();
                    if rest.len() > MAX_FRAME_BYTES {
                        return Err(FrameTooLarge);
                    }
                    return Ok(None);
                }
            },
        };
        if length > MAX_FRAME_BYTES {
            return Err(FrameTooLarge);
        }
        if rest.len() < head + length {
            return Ok(None);
        }
        let from = self.start + head;
        self.start = from + length + tail;
        self.searched = self.start;
        Ok(Some(&self.buffer[from..from + length]))
    }
}

// === impl Event ===

#[derive(Deserialize)]
struct JsonEvent<'a> {
    #[serde(borrow, rename = "type")]
    event_type: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyMeta {
    metadata: ObjectMeta,
}

impl<K: Object> Event<K> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// The object or the frame cannot be read; the frames that follow still can.
    pub fn decode(encoding: Encoding, frame: &[u8]) -> Result<Event<K>, DecodeError> {
        let broken = |fault| DecodeError::new(K::KIND.kind, "", "", fault);
        match encoding {
            Encoding::Json => {
                let text = std::str::from_utf8(frame).map_err(|_| broken(Fault::new("not UTF-8")))?;
                let event: JsonEvent<'_> = serde_json::from_str(text).map_err(|error| broken(Fault::new(error.to_string())))?;
                let object = event.object.get();
                match &*event.event_type {
                    "ADDED" => K::decode_json(object).map(Event::Added),
                    "MODIFIED" => K::decode_json(object).map(Event::Modified),
                    "DELETED" => K::decode_json(object).map(Event::Deleted),
                    "BOOKMARK" => json::decode::<OnlyMeta>(K::KIND.kind, object).map(|object| bookmark(object.metadata)),
                    "ERROR" => json::decode("Status", object).map(Event::Error),
                    other => Err(broken(Fault::new(format!("unknown watch event {other:?}")))),
                }
            }
            Encoding::Protobuf => {
                let (event_type, object) = open_event(frame).map_err(broken)?;
                match event_type {
                    "ADDED" => K::decode_protobuf(object).map(Event::Added),
                    "MODIFIED" => K::decode_protobuf(object).map(Event::Modified),
                    "DELETED" => K::decode_protobuf(object).map(Event::Deleted),
                    "BOOKMARK" => meta_of(object).map(bookmark).map_err(broken),
                    "ERROR" => {
                        let mut status = Status::default();
                        status.merge(Wire::Bytes(object)).map_err(broken)?;
                        Ok(Event::Error(status))
                    }
                    other => Err(broken(Fault::new(format!("unknown watch event {other:?}")))),
                }
            }
        }
    }
}

impl Status {
    /// Decodes the body of a request that did not succeed.
    ///
    /// # Errors
    /// The body is no `Status`: an answer of something in front of the server, or of no server of Kubernetes.
    pub fn decode(encoding: Encoding, body: &[u8]) -> Result<Status, DecodeError> {
        let broken = |fault| DecodeError::new("Status", "", "", fault);
        match encoding {
            Encoding::Json => {
                let text = std::str::from_utf8(body).map_err(|_| broken(Fault::new("not UTF-8")))?;
                json::decode("Status", text)
            }
            Encoding::Protobuf => {
                let envelope = protobuf::open(body).map_err(broken)?;
                let mut status = Status::default();
                status.merge(Wire::Bytes(envelope.raw)).map_err(broken)?;
                Ok(status)
            }
        }
    }
}

fn bookmark<K>(meta: ObjectMeta) -> Event<K> {
    Event::Bookmark {
        initial_events_end: meta.annotations.get("k8s.io/initial-events-end").is_some_and(|value| &**value == "true"),
        resource_version: meta.resource_version,
    }
}

fn open_event(frame: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let (mut event_type, mut object): (&str, &[u8]) = ("", &[]);
    for entry in Reader::new(frame) {
        match entry? {
            (1, wire) => event_type = std::str::from_utf8(wire.bytes()?).map_err(|_| Fault::new("not UTF-8"))?,
            (2, wire) => {
                for entry in Reader::new(wire.bytes()?) {
                    if let (1, wire) = entry? {
                        object = protobuf::open(wire.bytes()?)?.raw;
                    }
                }
            }
            _ => {}
        }
    }
    Ok((event_type, object))
}

fn meta_of(object: &[u8]) -> Result<ObjectMeta, Fault> {
    let mut meta = ObjectMeta::default();
    for entry in Reader::new(object) {
        if let (1, wire) = entry? {
            meta.merge(wire)?;
        }
    }
    Ok(meta)
}

#[cfg(test)]
mod tests;
