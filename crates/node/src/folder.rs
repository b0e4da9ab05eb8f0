//! Where a pod's files are: one folder for each pod, named by its UID.
//!
//! | below the folder | is |
//! |---|---|
//! | `place.json` | its network |
//! | `etc/` | hosts, hostname, resolv.conf |
//! | `volumes/NAME/` | its volumes |
//! | `containers/NAME/N/` | the N-th start of a container: a shim's folder |
//! | `containers/NAME/N.log` | its log |
//!
//! What stands here is all that a later process needs to take the pod over.

use std::io;
use std::path::{Path, PathBuf};

/// The folder of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

/// The folder that the pods' folders are in.
pub(crate) fn pods(data_dir: &Path) -> PathBuf {
    data_dir.join("pods")
}

/// The UIDs of the pods that have a folder.
pub(crate) fn all(data_dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(pods(data_dir)) {
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

// === impl Folder ===

impl Folder {
    /// `None`: the UID is no name of a folder. The API makes UIDs; whoever asks for logs might not.
    pub(crate) fn of(data_dir: &Path, uid: &str) -> Option<Self> {
        let is_plain = !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_plain.then(|| Self(pods(data_dir).join(uid)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.0.join("place.json")
    }

    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.0.join("etc").join(name)
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    pub(crate) fn container(&self, name: &str) -> PathBuf {
        self.0.join("containers").join(name)
    }

    /// The shim's folder of the `n`-th start.
    pub(crate) fn shim(&self, container: &str, n: u32) -> PathBuf {
        self.container(container).join(n.to_string())
    }

    pub(crate) fn log(&self, container: &str, n: u32) -> PathBuf {
        self.container(container).join(format!("{n}.log"))
    }

    /// The starts of a container that something is known of, in order.
    pub(crate) fn starts(&self, container: &str) -> Vec<u32> {
        let entries = std::fs::read_dir(self.container(container)).into_iter().flatten();
        let mut starts: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        starts.sort_unstable();
        starts
    }

    /// The shims' folders of all containers.
    pub(crate) fn shims(&self) -> Vec<PathBuf> {
        let containers = std::fs::read_dir(self.0.join("containers")).into_iter().flatten();
        let names = containers.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.flat_map(|name| self.starts(&name).into_iter().map(move |n| self.shim(&name, n)).collect::<Vec<_>>()).collect()
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
