//! A directive as its room reads it, and what it may find wrong.
//!
//! Owns the readings that rooms share: one argument, a duration, zones. Must not know any room.

use std::fmt;

use crate::name::Name;

/// A place in a Corefile or in what it imports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// Of the files in the order of reading; 0 is the Corefile itself.
    pub(super) file: u16,
    pub(super) number: usize,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file's path; `None` for text that came from no file.
    pub file: Option<String>,
    /// 0 where the whole file is meant.
    pub line: usize,
    pub message: String,
}

/// One line of a block, and the lines of its own block if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Directive {
    pub line: Line,
    pub name: String,
    pub args: Vec<String>,
    pub body: Vec<Directive>,
}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<(Line, String)>,
    /// Paths and texts of what was read; the path of a bare text is empty.
    files: Vec<(String, String)>,
}

// === impl Mistakes ===

impl Mistakes {
    pub(crate) fn add(&mut self, line: Line, message: impl Into<String>) {
        self.found.push((line, message.into()));
    }

    /// Notes one more file and gives the number that its lines are to have.
    pub(super) fn file(&mut self, path: String, text: String) -> u16 {
        // More files than that are refused by nobody, and then share the last number.
        let file = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push((path, text));
        file
    }

    /// The path of the file of a line; empty for a bare text.
    pub(super) fn path(&self, line: Line) -> &str {
        self.files.get(usize::from(line.file)).map_or("", |(path, _)| path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All text that was read.
    pub(super) fn text(&self) -> String {
        self.files.iter().flat_map(|(path, text)| [path.as_str(), "\0", text, "\0"]).collect()
    }

    /// All that was found, in the order of the files and their lines.
    pub(super) fn told(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|(line, _)| *line);
        let files = self.files;
        let path = |line: Line| files.get(usize::from(line.file)).map(|(path, _)| path.clone()).filter(|path| !path.is_empty());
        self.found.into_iter().map(|(line, message)| Mistake { file: path(line), line: line.number, message }).collect()
    }

    /// Refuses a property that the directive does not have.
    pub(crate) fn unknown(&mut self, property: &Directive, of: &str, known: &[&str]) {
        self.add(property.line, format!("{of} has no option `{}`; it has: {}", property.name, known.join(", ")));
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (None, 0) => {}
            (None, line) => write!(f, "line {line}: ")?,
            (Some(file), 0) => write!(f, "{file}: ")?,
            (Some(file), line) => write!(f, "{file}:{line}: ")?,
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number, f)
    }
}

// === impl Directive ===

impl Directive {
    /// The one argument, or a mistake.
    pub(crate) fn one(&self, mistakes: &mut Mistakes) -> Option<&str> {
        match self.args.as_slice() {
            [one] => Some(one),
            _ => {
                mistakes.add(self.line, format!("`{}` takes one argument", self.name));
                None
            }
        }
    }

    /// The one argument read as a `T`, or a mistake that says what was `wanted`.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, wanted: &str, mistakes: &mut Mistakes) -> Option<T> {
        let text = self.one(mistakes)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            mistakes.add(self.line, format!("`{} {text}`: not {wanted}", self.name));
        }
        parsed
    }

    /// The one argument as a duration, as Go writes it.
    pub(crate) fn duration(&self, mistakes: &mut Mistakes) -> Option<std::time::Duration> {
        let text = self.one(mistakes)?;
        let parsed = duration(text);
        if parsed.is_none() {
            mistakes.add(self.line, format!("`{} {text}`: not a duration such as 5s", self.name));
        }
        parsed
    }

    /// Refuses arguments.
    pub(crate) fn bare(&self, mistakes: &mut Mistakes) {
        if !self.args.is_empty() {
            mistakes.add(self.line, format!("`{}` takes no argument", self.name));
        }
    }

    /// Refuses a block.
    pub(crate) fn plain(&self, mistakes: &mut Mistakes) {
        if let Some(inner) = self.body.first() {
            mistakes.add(inner.line, format!("`{}` takes no block", self.name));
        }
    }

    /// All arguments as zones.
    pub(crate) fn zones(&self, mistakes: &mut Mistakes) -> Vec<Name> {
        self.args.iter().flat_map(|arg| zones(self.line, arg, mistakes)).collect()
    }
}

/// A duration as Go writes it: `1h2m3s`, `500ms`, `1.5s`; a bare number is none (but `0` is).
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    if text == "0" {
        return Some(std::time::Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(seconds).and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
}

/// A duration as Go shows it: `1m30s`, `500ms`.
pub(crate) fn duration_text(duration: std::time::Duration) -> String {
    let (secs, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let rest = secs % 60;
    match (secs / 3600, secs / 60 % 60) {
        (0, 0) if secs == 0 && nanos == 0 => "0s".to_owned(),
        (0, 0) if secs == 0 && nanos < 1_000 => format!("{nanos}ns"),
        (0, 0) if secs == 0 && nanos < 1_000_000 => format!("{}µs", f64::from(nanos) / 1e3),
        (0, 0) if secs == 0 => format!("{}ms", f64::from(nanos) / 1e6),
        (0, 0) => format!("{}s", duration.as_secs_f64()),
        (0, minutes) => format!("{minutes}m{}s", rest as f64 + f64::from(nanos) / 1e9),
        (hours, minutes) => format!("{hours}h{minutes}m{}s", rest as f64 + f64::from(nanos) / 1e9),
    }
}

/// Why a regular expression is none: the last of the lines that the regex crate says it in.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The zones that one word names: itself, or the reverse zones of a network (`10.0.0.0/8`), in lower case.
pub(crate) fn zones(line: Line, text: &str, mistakes: &mut Mistakes) -> Vec<Name> {
    let parsed = match reverse_zones(text) {
        Some(zones) => zones.iter().map(|zone| Name::parse(zone)).collect(),
        None => Name::parse(text).map(|name| vec![name.folded()]),
    };
    parsed.unwrap_or_else(|error| {
        mistakes.add(line, error.to_string());
        Vec::new()
    })
}

/// `10.0.0.0/23` -> `0.0.10.in-addr.arpa`, `1.0.10.in-addr.arpa`: a mask inside an octet (IPv6: a nibble) gives several zones.
fn reverse_zones(text: &str) -> Option<Vec<String>> {
    let (address, bits) = text.split_once('/')?;
    let bits: usize = bits.parse().ok()?;
    let (digits, unit, suffix): (Vec<usize>, usize, &str) = match address.parse().ok()? {
        std::net::IpAddr::V4(v4) => (v4.octets().map(usize::from).to_vec(), 8, "in-addr.arpa"),
        std::net::IpAddr::V6(v6) => {
            let nibbles = v6.octets().iter().flat_map(|&octet| [usize::from(octet >> 4), usize::from(octet & 15)]).collect();
            (nibbles, 4, "ip6.arpa")
        }
    };
    if bits > digits.len() * unit {
        return None;
    }
    let whole = bits.div_ceil(unit);
    let free = whole * unit - bits;
    let base = digits[..whole].split_last();
    let zone = |last: Option<usize>, rest: &[usize]| {
        let digit = |digit: &usize| if unit == 4 { format!("{digit:x}.") } else { format!("{digit}.") };
        last.iter().chain(rest.iter().rev()).map(digit).collect::<String>() + suffix
    };
    Some(match base {
        None => vec![zone(None, &[])],
        Some((last, rest)) => {
            let first = last >> free << free;
            (first..first + (1 << free)).map(|last| zone(Some(last), rest)).collect()
        }
    })
}
