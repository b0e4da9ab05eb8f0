//! Flags as Go's flag package takes them: one dash or two, a value behind `=` or a blank, `=` alone for what is on or off.

use std::iter::Peekable;

use crate::usage::Usage;

/// The words behind a program's name, flag by flag.
pub struct GoFlags<I: Iterator<Item = String>> {
    program: &'static str,
    args: Peekable<I>,
}

/// One flag; what stands behind its `=`, if it has one.
pub struct GoFlag {
    pub name: String,
    value: Option<String>,
}

impl<I: Iterator<Item = String>> GoFlags<I> {
    pub fn new(program: &'static str, args: I) -> Self {
        Self { program, args: args.peekable() }
    }

    /// The next flag, or nothing behind the last.
    ///
    /// # Errors
    /// A word that is none.
    pub fn next(&mut self) -> Result<Option<GoFlag>, Usage> {
        let Some(arg) = self.args.next() else { return Ok(None) };
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Err(Usage(format!("{arg}: {} takes flags only", self.program)));
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        Ok(Some(GoFlag { name: name.to_owned(), value }))
    }

    /// The value of `flag`.
    ///
    /// # Errors
    /// If there is none.
    pub fn value(&mut self, flag: GoFlag) -> Result<String, Usage> {
        flag.value.or_else(|| self.args.next()).ok_or_else(|| Usage(format!("-{}: a value is missing", flag.name)))
    }
}

impl GoFlag {
    /// Whether it is on.
    ///
    /// # Errors
    /// Another word than Go's for true and false.
    pub fn is_on(&self) -> Result<bool, Usage> {
        match self.value.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Usage(format!("-{}={other}: neither true nor false", self.name))),
        }
    }
}
