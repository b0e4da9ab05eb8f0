//! The file origin: `--objects PATH`, a file or a folder of them, followed as it changes.
//!
//! A thread waits for the file system and reads what changed; `contents` knows which file gave which object. A file that does not
//! parse keeps what it gave before.

mod contents;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::Change;
use notify::{RecursiveMode, Watcher as _};
use runtime::Drain;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::Error;
use crate::task::Told;
use contents::Contents;

/// Steps that wait for the model; the reader waits then.
const QUEUE: usize = 16;

/// What makes a file another: enough not to read what did not change. A file replaced by rename has another inode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

struct Reader {
    path: PathBuf,
    stamps: BTreeMap<PathBuf, Stamp>,
    contents: Contents,
}

/// Reads everything once, then follows.
///
/// # Errors
/// A path that is not there, cannot be read, or cannot be watched.
pub(crate) async fn follow(path: PathBuf, drain: Drain) -> Result<Told, Error> {
    let (changes, out) = mpsc::channel(QUEUE);
    let (wake, woken) = std::sync::mpsc::channel();
    // Before the first reading: what changes meanwhile is seen.
    let watcher = watch_path(&path, wake.clone())?;
    let mut reader = Reader { path: path.clone(), stamps: BTreeMap::new(), contents: Contents::default() };
    let first = tokio::task::spawn_blocking(move || {
        let told = reader.read()?;
        Ok::<_, io::Error>((reader, told))
    });
    let (reader, told) = match first.await {
        Ok(read) => read.map_err(|source| Error::Files { path: path.clone(), source })?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    changes.try_send(told).expect("BUG: a new channel is full");
    std::thread::Builder::new()
        .name("objects".to_string())
        .spawn(move || reader.run(&woken, &changes))
        .map_err(|source| Error::Files { path, source })?;
    tokio::spawn(async move {
        drain.started().await;
        // Ends the thread: it holds the other ends.
        drop((watcher, wake));
    });
    let (_, synced) = watch::channel(true);
    Ok(Told { changes: out, synced, wanted_secrets: None })
}

/// Wakes the reader for everything that happens in the folder: a file replaced by rename, or by the link that mounted ConfigMaps
/// swap, is an event of its folder and not of itself.
fn watch_path(path: &Path, wake: std::sync::mpsc::Sender<()>) -> Result<notify::RecommendedWatcher, Error> {
    let failed = |source| Error::Watch { path: path.to_path_buf(), source };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        match event {
            // Our own reading is no news.
            Ok(event) if event.kind.is_access() => {}
            Ok(_) => {
                let _ = wake.send(());
            }
            Err(error) => warn!(%error, "watching objects"),
        }
    })
    .map_err(failed)?;
    let folder = if path.is_dir() { path } else { path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")) };
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
    Ok(watcher)
}

// === impl Reader ===

impl Reader {
    fn run(mut self, woken: &std::sync::mpsc::Receiver<()>, changes: &mpsc::Sender<Vec<Change>>) {
        while woken.recv().is_ok() {
            // One reading serves all that happened so far.
            while woken.try_recv().is_ok() {}
            match self.read() {
                Ok(told) if told.is_empty() => {}
                Ok(told) => {
                    if changes.blocking_send(told).is_err() {
                        return;
                    }
                }
                // The folder is away for a moment (a mount that is swapped), or for good: what is known is kept.
                Err(error) => warn!(path = %self.path.display(), %error, "kept the objects: their path cannot be read"),
            }
        }
    }

    /// Reads the files that are new or changed and forgets those that are gone.
    fn read(&mut self) -> io::Result<Vec<Change>> {
        let found = self.list()?;
        let mut told = Vec::new();
        let gone: Vec<_> = self.stamps.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        for path in gone {
            self.stamps.remove(&path);
            self.contents.remove(&path, &mut told);
        }
        for (path, stamp) in found {
            if self.stamps.get(&path) == Some(&stamp) {
                continue;
            }
            match std::fs::read(&path) {
                Ok(bytes) => {
                    self.contents.put(&path, &bytes, &mut told);
                    self.stamps.insert(path, stamp);
                }
                // Gone between listing and reading: the next event tells.
                Err(error) => warn!(path = %path.display(), %error, "kept what a file gave: it cannot be read"),
            }
        }
        self.contents.settle(&mut told);
        Ok(told)
    }

    /// The files to be read: the path itself, or what a folder holds by the names `*.json`, `*.yaml`, `*.yml`.
    fn list(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        if !self.path.is_dir() {
            let stamp = Stamp::of(&self.path)?;
            return Ok(BTreeMap::from([(self.path.clone(), stamp)]));
        }
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let known = path.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known));
            if hidden || !known || path.is_dir() {
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

// === impl Stamp ===

impl Stamp {
    /// Of what a link leads to.
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path)?;
        Ok(Self { inode: metadata.ino(), bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

#[cfg(test)]
mod tests;
