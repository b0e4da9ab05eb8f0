//! `log [ZONE...] [FORMAT] { class CLASS... }`: a line for each query.
//!
//! Owns the format and its placeholders. Lines go by a bounded queue to one thread that writes them: a disk that is full or a pipe
//! that nobody reads costs lines, which are counted, and never an answer. Source: CoreDNS's `log`.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use runtime::metrics::IntCounter;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::server::chain::Request;
use crate::wire::{self, Query, Type, flag, rcode, rcode_name};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: everything that the block serves.
    pub zones: Vec<Name>,
    pub format: Vec<Piece>,
    /// Empty: all.
    pub classes: Vec<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Success,
    /// NXDOMAIN, and names without data.
    Denial,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Type,
    Name,
    Class,
    Proto,
    Remote,
    Port,
    Size,
    Rcode,
    Rsize,
    Duration,
    Id,
    Opcode,
    Do,
    Bufsize,
    Rflags,
}

const FIELDS: &[(&str, Field)] = &[
    ("type", Field::Type),
    ("name", Field::Name),
    ("class", Field::Class),
    ("proto", Field::Proto),
    ("remote", Field::Remote),
    ("port", Field::Port),
    ("size", Field::Size),
    ("rcode", Field::Rcode),
    ("rsize", Field::Rsize),
    ("duration", Field::Duration),
    (">id", Field::Id),
    (">opcode", Field::Opcode),
    (">do", Field::Do),
    (">bufsize", Field::Bufsize),
    (">rflags", Field::Rflags),
];

const COMMON: &str =
    r#"{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}"#;

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut zones = directive.args.as_slice();
    let mut format = COMMON.to_owned();
    if let Some((last, rest)) = zones.split_last()
        && last.contains('{')
    {
        format = last.replace("{common}", COMMON).replace("{combined}", &format!("{COMMON} \"{{>opcode}}\""));
        zones = rest;
    }
    let mut options = Options {
        zones: zones.iter().flat_map(|zone| crate::config::directive::zones(directive.line, zone, mistakes)).collect(),
        format: pieces(&format).unwrap_or_else(|field| {
            let known: Vec<_> = FIELDS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            mistakes.add(directive.line, format!("`log` knows no `{{{field}}}`; it knows: {}", known.join(", ")));
            Vec::new()
        }),
        classes: Vec::new(),
    };
    let mut all = false;
    for property in &directive.body {
        if property.name != "class" {
            mistakes.unknown(property, "log", &["class"]);
            continue;
        }
        for arg in &property.args {
            match arg.as_str() {
                "all" => all = true,
                "success" => options.classes.push(Class::Success),
                "denial" => options.classes.push(Class::Denial),
                "error" => options.classes.push(Class::Error),
                other => mistakes.add(property.line, format!("`class {other}`: not success, denial, error or all")),
            }
        }
    }
    if all {
        options.classes.clear();
    }
    Some(options)
}

/// The pieces of a format, or the name of a field that does not exist.
fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let (_, field) = FIELDS.iter().find(|(known, _)| *known == name).ok_or_else(|| name.to_owned())?;
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Field(*field));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

/// The plugin at work. No question passes through it: the server hands it each reply that went out.
pub(crate) struct Log {
    options: Options,
    lines: Lines,
}

/// Where lines go.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: SyncSender<String>,
    dropped: IntCounter,
}

/// Lines that wait for the disk: about a megabyte.
const MAX_WAITING: usize = 8_192;

impl Lines {
    /// The queue to standard output; its thread is started with the first `log` of the process.
    pub(crate) fn to_stdout(dropped: IntCounter) -> Self {
        static QUEUE: OnceLock<SyncSender<String>> = OnceLock::new();
        let queue = QUEUE.get_or_init(|| {
            let (queue, waiting) = sync_channel(MAX_WAITING);
            let dropped = dropped.clone();
            let write = move || write(&waiting, io::stdout(), &dropped);
            if let Err(error) = std::thread::Builder::new().name("dns-log".to_owned()).spawn(write) {
                tracing::warn!(%error, "no thread for the query log: queries are not logged");
            }
            queue
        });
        Self { queue: queue.clone(), dropped }
    }

    fn send(&self, line: String) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(line) {
            self.dropped.inc();
        }
    }
}

/// Writes until the queue is closed; what cannot be written is counted and let go.
fn write(waiting: &Receiver<String>, to: impl Write, dropped: &IntCounter) {
    let mut to = io::BufWriter::new(to);
    while let Ok(first) = waiting.recv() {
        let mut n = 0;
        let mut written = Ok(());
        for line in std::iter::once(first).chain(waiting.try_iter()) {
            n += 1;
            written = written.and(to.write_all(line.as_bytes()));
        }
        if written.and_then(|()| to.flush()).is_err() {
            dropped.inc_by(n);
        }
    }
}

impl Log {
    pub(crate) fn new(options: Options, lines: Lines) -> Self {
        Self { options, lines }
    }

    /// Writes of one reply, the last of which may be one of several (`size` is that of all).
    pub(crate) fn note(&self, query: &Query<'_>, reply: &[u8], size: usize, request: &Request, took: Duration) {
        if let Some(line) = self.line(query, reply, size, request, took) {
            self.lines.send(line);
        }
    }

    fn line(&self, query: &Query<'_>, reply: &[u8], size: usize, request: &Request, took: Duration) -> Option<String> {
        let name = &request.question.name;
        let flags = wire::u16_at(reply, 2);
        let code = (flags & 15) as u8;
        let class = match code {
            rcode::NXDOMAIN => Class::Denial,
            rcode::NOERROR if wire::u16_at(reply, 6) == 0 => Class::Denial,
            rcode::NOERROR => Class::Success,
            _ => Class::Error,
        };
        let zone = self.options.zones.is_empty() || self.options.zones.iter().any(|zone| name.is_under(zone));
        if !zone || !self.options.classes.is_empty() && !self.options.classes.contains(&class) {
            return None;
        }
        let mut line = "[INFO] ".to_owned();
        for piece in &self.options.format {
            line += &match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field(field) => match field {
                    Field::Type => Type(query.qtype).to_string(),
                    Field::Name => name.folded().to_string(),
                    Field::Class => wire::Class(query.qclass).to_string(),
                    Field::Proto => if request.tcp { "tcp" } else { "udp" }.to_owned(),
                    Field::Remote => match request.client.ip().to_canonical() {
                        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
                        std::net::IpAddr::V4(v4) => v4.to_string(),
                    },
                    Field::Port => request.client.port().to_string(),
                    Field::Size => query.bytes.len().to_string(),
                    Field::Rcode => rcode_name(code).to_owned(),
                    Field::Rsize => size.to_string(),
                    Field::Duration => format!("{:.9}s", took.as_secs_f64()),
                    Field::Id => query.id().to_string(),
                    Field::Opcode => ((query.flags() & flag::OPCODE) >> 11).to_string(),
                    Field::Do => request.dnssec_ok.to_string(),
                    Field::Bufsize if request.tcp => wire::MAX_TCP.to_string(),
                    Field::Bufsize => query.edns.map_or(wire::MIN_UDP, |edns| wire::MIN_UDP.max(edns.size.into())).to_string(),
                    Field::Rflags => rflags(flags),
                },
            };
        }
        Some(line + "\n")
    }
}

fn rflags(flags: u16) -> String {
    let known =
        [(flag::QR, "qr"), (flag::AA, "aa"), (flag::TC, "tc"), (flag::RD, "rd"), (flag::RA, "ra"), (flag::AD, "ad"), (flag::CD, "cd")];
    known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
