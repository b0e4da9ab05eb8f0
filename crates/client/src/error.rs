//! Why a request got no usable answer.

use std::time::Duration;

use api::{DecodeError, Status};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the server could be worked out.
    #[error("cannot use {origin}: {reason}")]
    Credentials { origin: String, reason: String },
    /// The server could not be reached, or hung up.
    #[error("the API server cannot be reached: {0}")]
    Transport(String),
    /// The server did not answer in time.
    #[error("no answer from the API server within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The server said no.
    #[error("the API server refused: {status}")]
    Refused { status: Box<Status>, retry_after: Option<Duration> },
    #[error("an answer that cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("an answer that cannot be read: {0}")]
    Unreadable(String),
}

impl Error {
    /// The HTTP code of a refusal.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Refused { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether someone else changed the object in between.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// What the server asked us to wait for at least.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the server may have worked for it as for an answer.
    pub(crate) fn is_dear(&self) -> bool {
        match self {
            Error::Refused { status, .. } => matches!(status.code, 500 | 504),
            Error::Transport(_) | Error::Credentials { .. } => false,
            Error::Timeout(_) | Error::Decode(_) | Error::Unreadable(_) => true,
        }
    }

    /// Whether the version that we go by is of no use any more: too old for the server, or, after its store was restored, too new.
    pub(crate) fn needs_new_list(&self) -> bool {
        match self {
            Error::Refused { status, .. } => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                status.is_expired() || causes.into_iter().any(|cause| &*cause.reason == "ResourceVersionTooLarge")
            }
            _ => false,
        }
    }
}
