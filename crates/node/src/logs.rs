//! Reading containers' logs back: what `kubectl logs` shows.
//!
//! A follower is woken by the shim that writes the log, and ends with it. Source: kubelet's `kuberuntime/logs/logs.go`; as there, the
//! newest lines are counted before the old ones are left out.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use runtime::time::Rfc3339Nanos;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::folder::Folder;
use crate::host::blocking;
use crate::log;
use crate::shim;

/// What is wanted of a log.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Go on until the container ends.
    pub follow: bool,
    /// Of the start before the last.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// The newest so many lines.
    pub tail_lines: Option<u64>,
    /// None from before.
    pub since: Option<SystemTime>,
    pub limit_bytes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its container waits for its first start, or its pod is not here.
    #[error("container {0} has not been started")]
    NotStarted(String),
    #[error("previous terminated container {0} not found")]
    NoPrevious(String),
    #[error("cannot read the log of container {container}: {error}")]
    Io { container: String, error: io::Error },
}

/// Parts that may wait for a slow reader.
const MAX_WAITING_PARTS: usize = 16;
/// About as much goes into one part.
const PART_BYTES: usize = 64 * 1024;

/// The log of a container of the pod `uid`, by parts, until it ends or the receiver is dropped.
///
/// # Errors
/// When there is nothing to read. What goes wrong later ends the log.
pub async fn read(data_dir: &Path, uid: &str, container: &str, options: Options) -> Result<Receiver<Bytes>, LogError> {
    let not_started = || LogError::NotStarted(container.to_string());
    let folder = Folder::of(data_dir, uid).filter(|_| is_name(container)).ok_or_else(not_started)?;
    let (of, name) = (folder.clone(), container.to_string());
    let starts = blocking(move || of.starts(&name)).await;
    let n = match (options.previous, starts.as_slice()) {
        (false, [.., last]) => *last,
        (false, []) => return Err(not_started()),
        (true, [.., previous, _]) => *previous,
        (true, _) => return Err(LogError::NoPrevious(container.to_string())),
    };
    let failed = |error| LogError::Io { container: container.to_string(), error };
    // Before the first look at the file: what comes after it wakes us.
    let wakes = if options.follow { shim::follow(&folder.shim(container, n)).await } else { None };
    let path = folder.log(container, n);
    let (path, tail) = (path, options.tail_lines);
    let (log, text) = blocking(move || Log::open(path, tail)).await.map_err(failed)?;
    let (parts, receiver) = mpsc::channel(MAX_WAITING_PARTS);
    tokio::spawn(send(log, text, Lines::new(&options), wakes, parts));
    Ok(receiver)
}

/// A DNS label, as the API demands of containers: no way out of the folder.
fn is_name(container: &str) -> bool {
    !container.is_empty() && container.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

async fn send(mut log: Log, mut text: Vec<u8>, mut lines: Lines, mut wakes: Option<UnixStream>, parts: Sender<Bytes>) {
    loop {
        for entries in text.chunks(PART_BYTES) {
            let part = lines.render(entries);
            if !part.is_empty() && parts.send(part.into()).await.is_err() {
                return;
            }
            if lines.is_full() {
                return;
            }
        }
        let Some(stream) = &mut wakes else { return };
        let mut bytes = [0; 256];
        let woken = tokio::select! {
            // Each byte says that there is more; those that came meanwhile are answered together.
            woken = stream.read(&mut bytes) => woken,
            () = parts.closed() => return,
        };
        if !matches!(woken, Ok(1..)) {
            wakes = None;
        }
        let Ok(more) = blocking(move || log.more().map(|text| (log, text))).await else { return };
        (log, text) = more;
    }
}

/// The file of a log, and where in it we are.
struct Log {
    path: PathBuf,
    file: File,
}

/// Makes lines of entries.
struct Lines {
    timestamps: bool,
    since: Option<String>,
    bytes_left: Option<u64>,
    /// An entry that has not come whole yet.
    rest: Vec<u8>,
    /// The last entry is to be gone on with: no time in front of the next.
    is_open: bool,
}

// === impl Log ===

impl Log {
    /// Opens a log and gives what is in it, the newest `tail` entries if so many are wanted.
    fn open(path: PathBuf, tail: Option<u64>) -> io::Result<(Self, Vec<u8>)> {
        let mut file = File::open(&path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let wanted = tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        if wanted.is_none_or(|wanted| tail_start(&text, wanted).is_none())
            && let Ok(mut older) = std::fs::read(log::put_aside(&path))
        {
            older.append(&mut text);
            text = older;
        }
        let start = wanted.and_then(|wanted| tail_start(&text, wanted)).unwrap_or(0);
        text.drain(..start);
        Ok((Self { path, file }, text))
    }

    /// What was added since.
    fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.file.read_to_end(&mut text)?;
        // Put aside meanwhile: it was read to its end, and the next one from its beginning.
        if std::fs::metadata(&self.path)?.ino() != self.file.metadata()?.ino() {
            self.file = File::open(&self.path)?;
            self.file.read_to_end(&mut text)?;
        }
        Ok(text)
    }
}

/// Where the last `n` entries begin; `None` if there are not more than those.
fn tail_start(text: &[u8], n: usize) -> Option<usize> {
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.into_iter().nth(n)
}

// === impl Lines ===

impl Lines {
    fn new(options: &Options) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since.map(|since| Rfc3339Nanos(since).to_string()),
            bytes_left: options.limit_bytes,
            rest: Vec::new(),
            is_open: false,
        }
    }

    fn is_full(&self) -> bool {
        self.bytes_left == Some(0)
    }

    /// The lines of all entries that are whole.
    fn render(&mut self, text: &[u8]) -> Vec<u8> {
        let mut entries = std::mem::take(&mut self.rest);
        entries.extend_from_slice(text);
        let end = entries.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = entries.split_off(end);
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries.split_inclusive(|byte| *byte == b'\n') {
            self.render_entry(&entry[..entry.len() - 1], &mut lines);
        }
        if let Some(left) = &mut self.bytes_left {
            lines.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= lines.len() as u64;
        }
        lines
    }

    fn render_entry(&mut self, entry: &[u8], lines: &mut Vec<u8>) {
        let mut fields = entry.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_stream), Some(tag), Some(text)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return;
        };
        // Both are written with the same number of digits: their order is that of their letters.
        if self.since.as_ref().is_some_and(|since| time < since.as_bytes()) {
            return;
        }
        if self.timestamps && !self.is_open {
            lines.extend_from_slice(time);
            lines.push(b' ');
        }
        lines.extend_from_slice(text);
        self.is_open = tag == b"P";
        if !self.is_open {
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const LOG: &str = "1970-01-01T00:00:01.000000000Z stdout F one\n1970-01-01T00:00:02.000000000Z stderr P tw\n\
                       1970-01-01T00:00:02.000000001Z stderr F o\n1970-01-01T00:00:03.000000000Z stdout F \n";

    /// What is shown of a log; `old` was put aside.
    async fn check(name: &str, old: &str, options: Options) -> String {
        let data = std::env::temp_dir().join(format!("rutter-logs-{}-{name}", std::process::id()));
        let folder = Folder::of(&data, "uid").expect("a UID");
        std::fs::create_dir_all(folder.shim("app", 0)).expect("a folder");
        std::fs::write(folder.log("app", 0), LOG).expect("a log");
        if !old.is_empty() {
            std::fs::write(log::put_aside(&folder.log("app", 0)), old).expect("an old log");
        }
        let mut text = Vec::new();
        let mut parts = read(&data, "uid", "app", options).await.expect("a log");
        while let Some(part) = parts.recv().await {
            text.extend_from_slice(&part);
        }
        std::fs::remove_dir_all(&data).expect("removed");
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn entries_become_lines_again() {
        assert_eq!(check("plain", "", Options::default()).await, "one\ntwo\n\n");
        assert_eq!(
            check("times", "", Options { timestamps: true, ..Options::default() }).await,
            "1970-01-01T00:00:01.000000000Z one\n1970-01-01T00:00:02.000000000Z two\n1970-01-01T00:00:03.000000000Z \n"
        );
    }

    #[tokio::test]
    async fn what_was_put_aside_comes_first_as_far_as_it_is_wanted() {
        let old = "1970-01-01T00:00:00.000000000Z stdout F zero\n";
        assert_eq!(check("old", old, Options::default()).await, "zero\none\ntwo\n\n");
        let tail = |n| Options { tail_lines: Some(n), ..Options::default() };
        assert_eq!(check("tail5", old, tail(5)).await, "zero\none\ntwo\n\n");
        assert_eq!(check("tail4", old, tail(4)).await, "one\ntwo\n\n");
        assert_eq!(check("tail1", old, tail(1)).await, "\n");
        assert_eq!(check("tail0", old, tail(0)).await, "");
    }

    #[tokio::test]
    async fn old_lines_and_too_many_bytes_are_left_out() {
        let since = UNIX_EPOCH + Duration::from_secs(2);
        assert_eq!(check("since", "", Options { since: Some(since), ..Options::default() }).await, "two\n\n");
        assert_eq!(check("limit", "", Options { limit_bytes: Some(5), ..Options::default() }).await, "one\nt");
    }

    #[tokio::test]
    async fn names_that_lead_elsewhere_are_refused() {
        let dir = std::env::temp_dir();
        for (uid, container) in [("../x", "app"), ("uid", "../app"), ("", "app"), ("uid", "")] {
            assert!(matches!(read(&dir, uid, container, Options::default()).await, Err(LogError::NotStarted(_))), "{uid} {container}");
        }
    }
}
