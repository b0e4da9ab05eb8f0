//! The file origin: `--objects PATH`, a file or a folder of them, followed as it changes.
//!
//! A thread waits for the file system and reads what changed; `contents` knows which file gave which object, `mirror` and
//! `default_class` add what a cluster would have added. A file that does not parse keeps what it gave before. A file that is being
//! written is read when it is closed; one that appears by rename or by a link, at once.

mod contents;
mod default_class;
mod mirror;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use model::Change;
use model::resolve::Want;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use runtime::Drain;
use tokio::sync::mpsc;
use tracing::warn;

use crate::Error;
use crate::task::{Batch, Told};
use contents::Contents;

/// Steps that wait for the model; the reader waits then.
const QUEUE: usize = 16;

/// How often to look without being told: network file systems, a link swapped farther up, a folder that was made anew.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A writer that keeps its file open is waited for no longer than this after its last write.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// What makes a file another: enough not to read what did not change. A file replaced by rename has another inode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What the file system tells, by the name of the file in its folder.
enum Seen {
    /// Somebody writes and has not closed it yet.
    Writing(OsString),
    /// As it is now, it is meant to be.
    Whole(OsString),
    /// Something else; look at everything.
    Something,
    Stop,
}

struct Reader {
    path: PathBuf,
    watcher: notify::RecommendedWatcher,
    /// The files that were read; `None` where the stamp does not count, since something is known to have happened.
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    /// Files that somebody is writing, with the time of the last write.
    writing: HashMap<OsString, Instant>,
    contents: Contents,
    is_folder: bool,
    /// The path itself could not be read.
    is_lost: bool,
}

/// Reads everything once, then follows.
///
/// # Errors
/// A path that is not there, cannot be read, or cannot be watched.
pub(crate) async fn follow(path: PathBuf, want: Want, drain: Drain) -> Result<Told, Error> {
    let (batches, out) = mpsc::channel(QUEUE);
    let (wake, woken) = std::sync::mpsc::channel();
    let first = {
        let (path, wake) = (path.clone(), wake.clone());
        tokio::task::spawn_blocking(move || {
            let mut reader = Reader::new(path, want, wake)?;
            let told = reader.read().map_err(|source| Error::Files { path: reader.path.clone(), source })?;
            Ok::<_, Error>((reader, told))
        })
    };
    let (reader, told) = match first.await {
        Ok(read) => read?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    batches.try_send(told.into()).expect("BUG: a new channel is full");
    std::thread::Builder::new()
        .name("objects".to_string())
        .spawn(move || reader.run(&woken, &batches))
        .map_err(|source| Error::Files { path, source })?;
    tokio::spawn(async move {
        drain.started().await;
        // Fails only if the thread is gone already.
        let _ = wake.send(Seen::Stop);
    });
    Ok(Told { batches: out, missing: HashSet::new(), wanted_secrets: None, demand: None, freshness: Vec::new() })
}

// === impl Reader ===

impl Reader {
    /// Watches before the first reading, so that what changes meanwhile is seen.
    fn new(path: PathBuf, want: Want, wake: Sender<Seen>) -> Result<Self, Error> {
        let failed = |source| Error::Watch { path: path.clone(), source };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) => {
                for seen in seen(&event) {
                    let _ = wake.send(seen);
                }
            }
            Err(error) => {
                warn!(%error, "watching objects");
                let _ = wake.send(Seen::Something);
            }
        });
        let watcher = watcher.map_err(failed)?;
        let is_folder = match std::fs::metadata(&path) {
            Ok(found) => found.is_dir(),
            Err(source) => return Err(Error::Files { path, source }),
        };
        let contents = Contents::new(want);
        let mut reader = Self { path, watcher, stamps: BTreeMap::new(), writing: HashMap::new(), contents, is_folder, is_lost: false };
        match reader.watch() {
            Ok(()) => Ok(reader),
            Err(source) => Err(Error::Watch { path: reader.path, source }),
        }
    }

    /// Watches the folder: a file replaced by rename, or by the link that mounted ConfigMaps swap, is an event of its folder and not
    /// of itself.
    fn watch(&mut self) -> notify::Result<()> {
        let folder = if self.is_folder { Some(&*self.path) } else { self.path.parent() };
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }

    fn run(mut self, woken: &Receiver<Seen>, batches: &mpsc::Sender<Batch>) {
        loop {
            if !self.wait(woken) {
                return;
            }
            let told = self.read().unwrap_or_else(|error| self.lose(&error));
            if !told.is_empty() && batches.blocking_send(told.into()).is_err() {
                return;
            }
        }
    }

    /// Waits until there is something to read; `false` to stop.
    fn wait(&mut self, woken: &Receiver<Seen>) -> bool {
        let until = Instant::now() + LOOK_EVERY;
        let mut is_due = false;
        loop {
            // One reading serves all that happened so far.
            let rest = if is_due { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            match woken.recv_timeout(rest) {
                Ok(Seen::Writing(name)) => {
                    self.writing.insert(name, Instant::now());
                }
                Ok(Seen::Whole(name)) => {
                    // Two writes within one tick of the file system's clock look alike: its word counts, not the stamp.
                    self.stamps.iter_mut().filter(|(path, _)| path.file_name() == Some(&*name)).for_each(|(_, stamp)| *stamp = None);
                    self.writing.remove(&name);
                    is_due = true;
                }
                Ok(Seen::Something) => is_due = true,
                Ok(Seen::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    if !is_due {
                        // A folder that was made anew needs a new watch; the old one costs nothing to ask for again. If it
                        // cannot be watched, it is looked at.
                        let _ = self.watch();
                    }
                    self.writing.retain(|_, since| since.elapsed() < WRITER_PATIENCE);
                    return true;
                }
            }
        }
    }

    /// Reads the files that are new or changed and forgets those that are gone.
    fn read(&mut self) -> io::Result<Vec<Change>> {
        let found = self.list()?;
        let mut told = Vec::new();
        if std::mem::take(&mut self.is_lost) {
            told.push(Change::Issues(contents::file_object(&self.path), Vec::new()));
        }
        let gone: Vec<_> = self.stamps.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        for path in gone {
            self.stamps.remove(&path);
            self.contents.remove(&path, &mut told);
        }
        for (path, stamp) in found {
            let is_known = self.stamps.get(&path) == Some(&Some(stamp));
            if is_known || path.file_name().is_some_and(|name| self.writing.contains_key(name)) {
                continue;
            }
            match std::fs::read(&path) {
                Ok(bytes) => self.contents.put(&path, &bytes, &mut told),
                // Gone between listing and reading: the next event tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => self.contents.refuse(&path, &error, &mut told),
            }
            self.stamps.insert(path, Some(stamp));
        }
        self.contents.settle(&mut told);
        Ok(told)
    }

    /// The folder is away for a moment (a mount that is swapped), or for good: what is known is kept.
    fn lose(&mut self, error: &io::Error) -> Vec<Change> {
        if std::mem::replace(&mut self.is_lost, true) {
            return Vec::new();
        }
        let message = format!("cannot be read: {error}; all that it gave stays");
        let issue = model::Issue::new("", model::Reason::Undecodable, message);
        vec![Change::Issues(contents::file_object(&self.path), vec![issue])]
    }

    /// The files to be read: the path itself, or what a folder holds by the names `*.json`, `*.yaml`, `*.yml`.
    fn list(&mut self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        match std::fs::metadata(&self.path) {
            Ok(found) => self.is_folder = found.is_dir(),
            // A file that is deleted takes its objects along, a folder that goes is more likely a mount that comes back.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_folder => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        }
        if !self.is_folder {
            return Ok(BTreeMap::from([(self.path.clone(), Stamp::of(&self.path)?)]));
        }
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let known = path.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known));
            // Reading a pipe would wait for its writer.
            if hidden || !known || !path.is_file() {
                continue;
            }
            // One that vanishes meanwhile is not there.
            if let Ok(stamp) = Stamp::of(&path) {
                found.insert(path, stamp);
            }
        }
        Ok(found)
    }
}

/// What an event means for reading.
fn seen(event: &notify::Event) -> Vec<Seen> {
    let of_each =
        |seen: fn(OsString) -> Seen| event.paths.iter().filter_map(|path| path.file_name()).map(|name| seen(name.into())).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => of_each(Seen::Whole),
        // Our own reading is no news.
        EventKind::Access(_) => Vec::new(),
        EventKind::Modify(ModifyKind::Data(_)) => of_each(Seen::Writing),
        // A link is whole at once; a file that is created will be closed.
        EventKind::Create(CreateKind::File) => {
            let is_link = |path: &PathBuf| {
                use std::os::unix::fs::MetadataExt as _;
                std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink() || found.nlink() > 1)
            };
            of_each(if event.paths.iter().any(is_link) { Seen::Whole } else { Seen::Writing })
        }
        EventKind::Modify(ModifyKind::Name(_)) => of_each(Seen::Whole),
        _ => vec![Seen::Something],
    }
}

// === impl Stamp ===

impl Stamp {
    /// Of what a link leads to.
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path)?;
        Ok(Self {
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests;
