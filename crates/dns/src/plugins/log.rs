//! `log [ZONE...] [FORMAT] { class CLASS... }`: a line for each query.
//!
//! Owns the format and its placeholders. Lines go by a bounded queue to one thread that writes them: a disk that is full or a pipe
//! that nobody reads costs lines, which are counted, and never an answer. Source: CoreDNS's `log`.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use runtime::log::Format;
use runtime::metrics::IntCounter;
use runtime::time::Rfc3339Nanos;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::server::chain::Request;
use crate::wire::message::{Message, Question};
use crate::wire::{self, Query, Type, flag, rcode, rcode_name, rtype};

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

/// What an answer is, as CoreDNS types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Success,
    NameError,
    ServerError,
    NoData,
    Delegation,
    Meta,
    OtherError,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Field(Field),
    /// What `metadata` tells under this label.
    Metadata(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Type,
    Name,
    Class,
    Proto,
    Remote,
    Port,
    /// The address that was asked.
    Local,
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
    ("local", Field::Local),
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

/// The pieces of a format, or the name of a field that does not exist. A field ends with the first `}` and begins with the last `{` in
/// front of it, so that braces may stand around one.
fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('}') {
        match before.rsplit_once('{') {
            None => pieces.push(Piece::Text(format!("{before}}}"))),
            Some((text, name)) => {
                let known = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| Piece::Field(*field));
                let label = name.strip_prefix('/').map(|label| Piece::Metadata(label.to_owned()));
                pieces.push(Piece::Text(text.to_owned()));
                pieces.push(known.or(label).ok_or_else(|| name.to_owned())?);
            }
        }
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

/// A question and how it ended.
pub(crate) struct Noted<'a> {
    pub(crate) query: &'a Query<'a>,
    pub(crate) request: &'a Request,
    /// What was looked for, once `rewrite` had its say.
    pub(crate) asked: Question,
    pub(crate) kind: Kind,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) reply: Option<Replied>,
    /// Octets of all messages.
    pub(crate) size: usize,
    pub(crate) took: Duration,
}

pub(crate) struct Replied {
    pub(crate) code: u8,
    pub(crate) flags: u16,
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

    /// A queue of a few lines that nobody writes.
    #[cfg(test)]
    pub(crate) fn kept() -> (Self, Receiver<String>) {
        let (queue, waiting) = sync_channel(16);
        (Self { queue, dropped: runtime::Registry::default().counter("dropped", "Lines dropped.") }, waiting)
    }

    pub(crate) fn send(&self, line: String) {
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

    /// Whether lines about this name are its business.
    pub(crate) fn is_about(&self, name: &Name) -> bool {
        self.options.zones.is_empty() || self.options.zones.iter().any(|zone| name.is_under(zone))
    }

    pub(crate) fn note(&self, noted: &Noted<'_>) {
        if self.options.classes.is_empty() || self.options.classes.contains(&noted.kind.class()) {
            self.lines.send(self.line(noted));
        }
    }

    fn line(&self, noted: &Noted<'_>) -> String {
        match runtime::log::format() {
            Format::Text => format!("[INFO] {}\n", self.message(noted)),
            Format::Json => json_line("INFO", "log", &self.message(noted), &noted.json()),
        }
    }

    /// The line in the format of the directive.
    fn message(&self, noted: &Noted<'_>) -> String {
        let Noted { query, request, .. } = noted;
        let reply = noted.reply.as_ref();
        let nothing = || "-".to_owned();
        let mut line = String::new();
        for piece in &self.options.format {
            line += &match piece {
                Piece::Text(text) => text.clone(),
                Piece::Metadata(label) => noted.metadata(label).unwrap_or_else(nothing),
                Piece::Field(field) => match field {
                    Field::Type => Type(noted.asked.qtype).to_string(),
                    Field::Name => request.question.name.folded().to_string(),
                    Field::Class => wire::Class(noted.asked.qclass).to_string(),
                    Field::Proto => if request.tcp { "tcp" } else { "udp" }.to_owned(),
                    Field::Remote => bracketed(request.client.ip()),
                    Field::Port => request.client.port().to_string(),
                    Field::Local => bracketed(request.local.ip()),
                    Field::Size => query.bytes.len().to_string(),
                    Field::Rcode => reply.map_or_else(nothing, |reply| rcode_name(reply.code).to_owned()),
                    Field::Rsize => noted.size.to_string(),
                    Field::Duration => format!("{}s", noted.took.as_secs_f64()),
                    Field::Id => query.id().to_string(),
                    Field::Opcode => ((query.flags() & flag::OPCODE) >> 11).to_string(),
                    Field::Do => request.dnssec_ok.to_string(),
                    Field::Bufsize => bufsize(query, request.tcp).to_string(),
                    Field::Rflags => reply.map_or_else(nothing, |reply| rflags(reply.flags)),
                },
            };
        }
        line
    }
}

/// A line of CoreDNS's `-log-format=json`; `rest`: more fields, each with a comma in front.
pub(crate) fn json_line(level: &str, plugin: &str, message: &str, rest: &str) -> String {
    let (time, message) = (Rfc3339Nanos(SystemTime::now()), json_text(message));
    format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":{message},\"plugin\":\"{plugin}\"{rest}}}\n")
}

fn json_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

// === impl Noted ===

impl Noted<'_> {
    /// The fields that CoreDNS has, whatever the format of the message says.
    fn json(&self) -> String {
        let Noted { query, request, asked, .. } = self;
        let text = |name: &str, value: &str| format!(",\"{name}\":{}", json_text(value));
        let number = |name: &str, value: &dyn std::fmt::Display| format!(",\"{name}\":{value}");
        let rcode = self.reply.as_ref().map_or("null".to_owned(), |reply| json_text(rcode_name(reply.code)));
        [
            text("client_ip", &request.client.ip().to_canonical().to_string()),
            number("client_port", &request.client.port()),
            text("qname", &request.question.name.folded().to_string()),
            text("qtype", &Type(asked.qtype).to_string()),
            text("qclass", &wire::Class(asked.qclass).to_string()),
            text("protocol", if request.tcp { "tcp" } else { "udp" }),
            number("id", &query.id()),
            number("opcode", &((query.flags() & flag::OPCODE) >> 11)),
            number("request_size", &query.bytes.len()),
            number("dnssec_ok", &request.dnssec_ok),
            number("bufsize", &bufsize(query, request.tcp)),
            number("rcode", &rcode),
            number("response_size", &self.size),
            number("duration_seconds", &self.took.as_secs_f64()),
        ]
        .concat()
    }

    /// What is known under a label once the answer is there; `None` without `metadata`, or where nobody tells it.
    fn metadata(&self, label: &str) -> Option<String> {
        let known = self.request.metadata.as_ref()?;
        match label {
            "log/class" => Some(self.kind.class().name().to_owned()),
            "log/type" => Some(self.kind.name().to_owned()),
            "forward/upstream" => Some(self.upstream?.to_string()),
            label => known.value(label),
        }
    }
}

// === impl Class ===

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
            Self::Error => "error",
        }
    }
}

// === impl Kind ===

impl Kind {
    /// CoreDNS's reading: a name without data is told by its SOA, and a transfer is no success, nor is what answers a NOTIFY.
    pub(crate) fn of(query: &Query<'_>, answer: &Message) -> Self {
        let has = |rtype| answer.authorities.iter().any(|record| record.rtype == rtype);
        match (answer.rcode, answer.answers.is_empty()) {
            _ if answer.dropped => Self::OtherError,
            _ if rtype::is_transfer(answer.question.qtype) || query.flags() & flag::OPCODE != 0 => Self::Meta,
            (rcode::NOERROR, false) => Self::Success,
            (rcode::NOERROR, true) if has(rtype::SOA) => Self::NoData,
            (rcode::NOERROR, true) if has(rtype::NS) => Self::Delegation,
            (rcode::NOERROR, true) => Self::Success,
            (rcode::NXDOMAIN, true) => Self::NameError,
            (rcode::SERVFAIL | rcode::NOTIMP, _) => Self::ServerError,
            _ => Self::OtherError,
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Success | Self::Delegation => Class::Success,
            Self::NameError | Self::NoData => Class::Denial,
            Self::ServerError | Self::Meta | Self::OtherError => Class::Error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Success => "NOERROR",
            Self::NameError => "NXDOMAIN",
            Self::ServerError => "SERVERERROR",
            Self::NoData => "NODATA",
            Self::Delegation => "DELEGATION",
            Self::Meta => "META",
            Self::OtherError => "OTHERERROR",
        }
    }
}

/// What the client takes at the most.
fn bufsize(query: &Query<'_>, tcp: bool) -> usize {
    if tcp { wire::MAX_TCP } else { query.edns.map_or(wire::MIN_UDP, |edns| wire::MIN_UDP.max(edns.size.into())) }
}

fn bracketed(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V6(v6) => format!("[{v6}]"),
        IpAddr::V4(v4) => v4.to_string(),
    }
}

fn rflags(flags: u16) -> String {
    let known =
        [(flag::QR, "qr"), (flag::AA, "aa"), (flag::TC, "tc"), (flag::RD, "rd"), (flag::RA, "ra"), (flag::AD, "ad"), (flag::CD, "cd")];
    known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
