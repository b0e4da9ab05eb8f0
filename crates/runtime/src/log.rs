//! Logging: one subscriber for the process, fields not prose.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: one line, fields behind the message.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// What logging was started with: for lines that are no events, such as those of a query log.
pub fn format() -> Format {
    FORMAT.get().copied().unwrap_or_default()
}

/// Starts logging to standard error. `RUTTER_LOG` (as `proxy=debug,info`) wins over `level`.
pub fn init(level: &str, format: Format) {
    let filter = EnvFilter::try_from_env("RUTTER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // Where the log's disk is full, a second line about it would not be written either, and the attempt panics.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call (a test that starts two parts) keeps the first subscriber.
    FORMAT.get_or_init(|| format);
    let _ = match format {
        Format::Text => builder.with_ansi(ansi).try_init(),
        Format::Json => builder.json().try_init(),
    };
}
