//! Standard output. Whoever closed it (`rutter trace | head`) wants no more, and nothing that serves ends for it.

use std::fmt::Display;
use std::io::{self, Write as _};

pub fn line(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Lines that have their ends already.
pub fn lines(text: impl Display) {
    let _ = write!(io::stdout(), "{text}");
}
