//! Backup and restore: all objects and the revision as one SQLite file, which is a store like any other.
//!
//! A running server is asked by a socket in its data folder, that only its own user may open, and answers with what its readers see at that
//! moment: a snapshot that holds no writer up. The store of a server that does not run is read from its file. Keys and certificates (`pki/`)
//! are no objects: they stay with the folder that made them.
//!
//! Source: etcdctl's `snapshot save` and `etcdutl snapshot restore`, whose `--bump-revision` this always does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::Drain;
use tracing::{debug, warn};

use crate::api_state::Api;
use crate::store::{Contents, Disk, StoreError, file_of};

/// In the data folder.
const SOCKET: &str = "backup.sock";

/// Who takes or gives nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);

/// What the revision is raised by: more than a server can have written since the backup, so that no client meets a revision again for
/// another state (etcd's own advice).
const BUMP: u64 = 1_000_000_000;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path} cannot be {verb}: {source}")]
    File { path: PathBuf, verb: &'static str, source: io::Error },
    #[error("there is no store in {0}")]
    NoStore(PathBuf),
    #[error("there are objects in {0} already; --overwrite puts the backup in their place")]
    HasObjects(PathBuf),
    #[error("the server on {0} ended before the backup was whole")]
    CutOff(PathBuf),
    #[error("{0} is no backup: {1}")]
    NoBackup(PathBuf, String),
}

/// Writes what the store of `data_dir` holds into `file`, whether its server runs or not. Afterwards the file is on the disk and whole; after
/// an error it is what it was.
///
/// # Errors
/// When there is no store, or it or the file cannot be read or written.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    let socket = data_dir.join(SOCKET);
    let running = match File::open(data_dir).and_then(|folder| UnixStream::connect(short(&folder))) {
        Ok(stream) => Some(stream),
        // What nobody listens on was left by a server that was killed.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => None,
        Err(error) => return Err(failed(&socket, "opened")(error)),
    };
    let temporary = beside(file);
    let written = match running {
        Some(mut stream) => receive(&mut stream, &temporary, data_dir),
        None if !file_of(data_dir).is_file() => return Err(BackupError::NoStore(data_dir.to_path_buf())),
        None => Disk::open(&file_of(data_dir))?.contents().map_err(BackupError::from).and_then(|found| write(&found, &temporary)),
    };
    let whole = written.and_then(|()| {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(&temporary).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&temporary, file));
        synced.and_then(|()| File::open(folder)?.sync_all()).map_err(failed(file, "written"))
    });
    if whole.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    whole
}

/// Puts the objects of `file`, a backup, in the place of those of `data_dir`, all or nothing. Every revision from then on is higher than any
/// that a client can have seen.
///
/// # Errors
/// When the file is no backup, when a server runs on `data_dir`, or when there are objects that are not to be overwritten.
pub fn restore(data_dir: &Path, file: &Path, overwrite: bool) -> Result<(), BackupError> {
    File::open(file).map_err(failed(file, "read"))?;
    let no_backup = |reason: String| BackupError::NoBackup(file.to_path_buf(), reason);
    let mut found = Disk::read(file).and_then(|disk| disk.contents()).map_err(|error| no_backup(error.to_string()))?;
    for object in &found.objects {
        let readable = serde_json::from_slice::<serde::de::IgnoredAny>(&object.json);
        readable.map_err(|error| no_backup(format!("{} {}: {error}", object.collection, object.key)))?;
    }
    std::fs::create_dir_all(data_dir).map_err(failed(data_dir, "made"))?;
    // Held until the end: no server can start meanwhile, and one that runs keeps us out.
    let disk = Disk::open(&file_of(data_dir))?;
    let known = disk.contents()?;
    if !known.objects.is_empty() && !overwrite {
        return Err(BackupError::HasObjects(data_dir.to_path_buf()));
    }
    found.revision = found.revision.max(known.revision).saturating_add(BUMP);
    Ok(disk.replace(&found)?)
}

/// Answers backups of a running server until draining starts, one at a time. A server that cannot is told in the log, and serves.
pub(crate) fn serve(api: Arc<Api>, data_dir: &Path, drain: Drain) {
    let (socket, data_dir) = (data_dir.join(SOCKET), data_dir.to_path_buf());
    let listen = || {
        // The store is locked: whoever left this runs no more.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(short(&File::open(&data_dir)?))?;
        std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    };
    let listener = match listen() {
        Ok(listener) => listener,
        Err(error) => return warn!(socket = %socket.display(), %error, "a backup has to wait until this server is stopped"),
    };
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.started() => break,
            };
            let (api, temporary) = (api.clone(), data_dir.join("backup.tmp"));
            let sent = accepted.and_then(|(stream, _)| stream.into_std());
            let done = tokio::task::spawn_blocking(move || send(&api, sent?, &temporary)).await;
            if let Ok(Err(error)) = done {
                warn!(%error, "a backup was not sent");
            }
        }
        let _ = std::fs::remove_file(&socket);
        debug!("no more backups");
    });
}

/// The length in 8 bytes (big endian), and the file.
fn send(api: &Api, mut stream: UnixStream, temporary: &Path) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(STALLED))?;
    let found = api.store.contents(api.kinds.collections());
    write(&found, temporary).map_err(io::Error::other)?;
    let mut file = File::open(temporary)?;
    // Nobody else needs the name.
    std::fs::remove_file(temporary)?;
    stream.write_all(&file.metadata()?.len().to_be_bytes())?;
    file.rewind()?;
    io::copy(&mut file, &mut stream).map(drop)
}

fn receive(stream: &mut UnixStream, to: &Path, data_dir: &Path) -> Result<(), BackupError> {
    let cut_off = |_| BackupError::CutOff(data_dir.to_path_buf());
    let mut length = [0; 8];
    stream.read_exact(&mut length).map_err(cut_off)?;
    let length = u64::from_be_bytes(length);
    let mut file = private(to).map_err(failed(to, "written"))?;
    let n_bytes = io::copy(&mut stream.take(length), &mut file).map_err(failed(to, "written"))?;
    if n_bytes == length { Ok(()) } else { Err(BackupError::CutOff(data_dir.to_path_buf())) }
}

fn write(found: &Contents, to: &Path) -> Result<(), BackupError> {
    private(to).map_err(failed(to, "written"))?;
    let disk = Disk::open(to)?;
    disk.replace(found)?;
    Ok(disk.into_file()?)
}

/// A new file that its owner alone may read: it holds Secrets.
fn private(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The name under which `file` is written before it is whole.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    file.with_file_name(name)
}

/// The socket of a data folder, by a path that is never too long for an address (unix(7): 108 bytes).
fn short(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

fn failed(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |source| BackupError::File { path, verb, source }
}

#[cfg(test)]
mod tests;
