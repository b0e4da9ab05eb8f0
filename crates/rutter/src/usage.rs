//! What a user got wrong before anything ran.

/// Bad usage or configuration (sysexits.h EX_USAGE).
pub const EXIT_CODE: u8 = 64;

/// A mistake in flags or configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Whether an error is a mistake in what was given: flags, configuration, and the files that they name.
pub fn is_mistake(error: &anyhow::Error) -> bool {
    let of_client = |error: &client::Error| matches!(error, client::Error::Credentials { .. });
    let of_source = |error: &source::Error| match error {
        source::Error::Files { .. } => true,
        source::Error::Watch { .. } => false,
        source::Error::Client(error) => of_client(error),
    };
    error.is::<Usage>() || error.downcast_ref().is_some_and(of_source) || error.downcast_ref().is_some_and(of_client)
}
