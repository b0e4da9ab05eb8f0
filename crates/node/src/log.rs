//! Container logs on disk, in the format of the Container Runtime Interface, so that every log collector reads them.
//!
//! A line is `2026-11-24T18:14:20.000000001Z stdout F text`; `P` in place of `F` says that the line goes on in the next entry.
//! Source: kubernetes/design-proposals-archive, node/kubelet-cri-logging.md.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use runtime::time::Rfc3339Nanos;

/// Longer lines are cut into entries of this size, as containerd does.
const MAX_ENTRY_BYTES: usize = 16 * 1024;

/// A file is put aside at this size and the one put aside before it is gone: twice this is the most that a container's log takes.
/// 10 MiB: kubelet's default `containerLogMaxSize`.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Where the entries of both streams of one container go.
pub struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
    grew: Condvar,
}

struct Open {
    file: File,
    bytes: u64,
    /// Written since the start.
    n_entries: u64,
}

/// Where the entries go that were there before the newest ones.
pub fn put_aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

// === impl LogFile ===

impl LogFile {
    /// Opens `path` to add to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), open: Mutex::new(Open::at(path)?), grew: Condvar::new() })
    }

    /// Writes all that `input` gives, line by line, until it ends.
    pub fn pump(&self, stream: Stream, input: impl Read) -> io::Result<()> {
        let mut input = BufReader::with_capacity(MAX_ENTRY_BYTES, input);
        let mut entry = Vec::with_capacity(256);
        loop {
            entry.clear();
            let n = (&mut input).take(MAX_ENTRY_BYTES as u64).read_until(b'\n', &mut entry)?;
            if n == 0 {
                return Ok(());
            }
            let whole = entry.last() == Some(&b'\n') || n < MAX_ENTRY_BYTES;
            let text = entry.strip_suffix(b"\n").unwrap_or(&entry);
            self.write(stream, whole, text)?;
        }
    }

    /// Waits until more than `n_seen` entries were written; gives how many.
    pub fn wait_for_more(&self, n_seen: u64) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.grew.wait_while(open, |open| open.n_entries <= n_seen).unwrap_or_else(PoisonError::into_inner).n_entries
    }

    fn write(&self, stream: Stream, whole: bool, text: &[u8]) -> io::Result<()> {
        let tag = if whole { 'F' } else { 'P' };
        let mut line = format!("{} {} {tag} ", Rfc3339Nanos(SystemTime::now()), stream.as_str()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        // A panic elsewhere cannot leave the file half written: each entry is one write.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.bytes > 0 && open.bytes + line.len() as u64 > MAX_FILE_BYTES {
            std::fs::rename(&self.path, put_aside(&self.path))?;
            *open = Open { n_entries: open.n_entries, ..Open::at(&self.path)? };
        }
        open.file.write_all(&line)?;
        open.bytes += line.len() as u64;
        open.n_entries += 1;
        self.grew.notify_all();
        Ok(())
    }
}

// === impl Open ===

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, n_entries: 0 })
    }
}

// === impl Stream ===

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pumps `input` into a log and gives its entries without their time stamps.
    fn check(name: &str, input: &[u8]) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("rutter-log-{}-{name}", std::process::id()));
        LogFile::open(&path).expect("a file").pump(Stream::Stdout, input).expect("written");
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::remove_file(&path).expect("removed");
        text.lines().map(|line| line.split_once(' ').expect("a time stamp").1.to_string()).collect()
    }

    #[test]
    fn each_line_is_an_entry_and_the_last_needs_no_end() {
        assert_eq!(check("lines", b"one\n\ntwo"), ["stdout F one", "stdout F ", "stdout F two"]);
    }

    #[test]
    fn a_long_line_goes_on_in_the_next_entry() {
        let entries = check("long", &[vec![b'x'; MAX_ENTRY_BYTES + 5], b"\nnext\n".to_vec()].concat());
        let shapes: Vec<_> = entries.iter().map(|entry| (&entry[..8], entry.len() - 9)).collect();
        assert_eq!(shapes, [("stdout P", MAX_ENTRY_BYTES), ("stdout F", 5), ("stdout F", 4)]);
    }
}
