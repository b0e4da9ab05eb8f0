//! What a user got wrong before anything ran.

/// Bad usage or configuration (sysexits.h EX_USAGE).
pub const EXIT_CODE: u8 = 64;

/// A mistake in flags or configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
