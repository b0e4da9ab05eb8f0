//! A pod's volumes as folders of the host: ConfigMaps, Secrets, projected tokens and downward fields written out, empty ones made.
//!
//! Files of one volume are swapped together by a link (`..data`), as kubelet does, so that a reader never sees half of a change.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use crate::env::{self, Facts};
use crate::spec::{ConfigMapVolume, DownwardVolume, KeyToPath, SecretVolume, TokenSource, Volume};

const DEFAULT_MODE: u32 = 0o644;

/// Bytes of ConfigMaps and Secrets, and tokens.
pub trait Contents {
    /// Text and binary data alike.
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
    fn token(&self, source: &TokenSource) -> Option<String>;
}

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What kubelet says while it waits for the object: the pod stays in ContainerCreating.
    #[error("{0} not found")]
    Missing(String),
    #[error("references non-existent config key: {0}")]
    NoKey(String),
    #[error("volume {0}: this kind of volume is not supported here")]
    Unsupported(String),
    #[error("path {0} leads out of the volume")]
    Outside(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct Entry {
    path: String,
    bytes: Vec<u8>,
    mode: u32,
}

/// Makes one volume below `dir` (writing only what changed) and gives the folder to be mounted.
pub fn prepare(volume: &Volume, dir: &Path, facts: &Facts<'_>, contents: &impl Contents) -> Result<PathBuf, VolumeError> {
    let folder = dir.join(&volume.name);
    // `medium: Memory` is a folder as well: a file system in memory would have to be mounted on the host to be shared by containers.
    if volume.empty_dir.is_some() {
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))?;
        return Ok(folder);
    }
    if let Some(host) = &volume.host_path {
        return Ok(PathBuf::from(&host.path));
    }
    let mut entries = Vec::new();
    if let Some(source) = &volume.config_map {
        config_map(source, DEFAULT_MODE, contents, &mut entries)?;
    } else if let Some(source) = &volume.secret {
        secret(source, DEFAULT_MODE, contents, &mut entries)?;
    } else if let Some(source) = &volume.downward_api {
        downward(source, DEFAULT_MODE, facts, &mut entries);
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in &projected.sources {
            if let Some(source) = &source.config_map {
                config_map(source, mode, contents, &mut entries)?;
            }
            if let Some(source) = &source.secret {
                secret(source, mode, contents, &mut entries)?;
            }
            if let Some(source) = &source.downward_api {
                downward(source, mode, facts, &mut entries);
            }
            if let Some(source) = &source.service_account_token {
                let token = contents.token(source).ok_or_else(|| VolumeError::Missing("token of the service account".to_string()))?;
                entries.push(Entry { path: source.path.clone(), bytes: token.into_bytes(), mode: mode & 0o644 });
            }
        }
    } else {
        return Err(VolumeError::Unsupported(volume.name.clone()));
    }
    write(&folder, &entries)?;
    Ok(folder)
}

fn config_map(source: &ConfigMapVolume, mode: u32, contents: &impl Contents, entries: &mut Vec<Entry>) -> Result<(), VolumeError> {
    let data = contents.config_map(&source.name);
    let what = format!("configmap \"{}\"", source.name);
    keys(data, &source.items, source.optional, source.default_mode.unwrap_or(mode), what, entries)
}

fn secret(source: &SecretVolume, mode: u32, contents: &impl Contents, entries: &mut Vec<Entry>) -> Result<(), VolumeError> {
    let data = contents.secret(&source.secret_name);
    let what = format!("secret \"{}\"", source.secret_name);
    keys(data, &source.items, source.optional, source.default_mode.unwrap_or(mode), what, entries)
}

fn keys(
    data: Option<BTreeMap<String, Vec<u8>>>,
    items: &[KeyToPath],
    optional: Option<bool>,
    mode: u32,
    what: String,
    entries: &mut Vec<Entry>,
) -> Result<(), VolumeError> {
    let optional = optional.unwrap_or(false);
    let Some(mut data) = data else {
        return if optional { Ok(()) } else { Err(VolumeError::Missing(what)) };
    };
    if items.is_empty() {
        entries.extend(data.into_iter().map(|(path, bytes)| Entry { path, bytes, mode }));
        return Ok(());
    }
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => entries.push(Entry { path: item.path.clone(), bytes, mode: item.mode.unwrap_or(mode) }),
            None if optional => {}
            None => return Err(VolumeError::NoKey(item.key.clone())),
        }
    }
    Ok(())
}

fn downward(source: &DownwardVolume, mode: u32, facts: &Facts<'_>, entries: &mut Vec<Entry>) {
    let mode = source.default_mode.unwrap_or(mode);
    for item in &source.items {
        let value = item.field_ref.as_ref().and_then(|field| env::field_value(facts, &field.field_path));
        entries.push(Entry { path: item.path.clone(), bytes: value.unwrap_or_default().into_bytes(), mode });
    }
}

/// Writes `entries` as the whole content of `folder`; nothing if they are there already.
fn write(folder: &Path, entries: &[Entry]) -> Result<(), VolumeError> {
    std::fs::create_dir_all(folder)?;
    let data = folder.join("..data");
    if is_written(&data, entries) {
        return Ok(());
    }
    let old = std::fs::read_link(&data).ok();
    let n = old.as_ref().and_then(|old| old.to_str()?.strip_prefix("..v")?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let version = format!("..v{n}");
    let fresh = folder.join(&version);
    let _ = std::fs::remove_dir_all(&fresh);
    for entry in entries {
        let path = fresh.join(inside(&entry.path)?);
        std::fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        std::fs::write(&path, &entry.bytes)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode))?;
    }
    std::fs::create_dir_all(&fresh)?;
    let swapped = folder.join("..data_tmp");
    let _ = std::fs::remove_file(&swapped);
    symlink(&version, &swapped)?;
    std::fs::rename(&swapped, &data)?;
    let wanted: Vec<_> = entries.iter().filter_map(|entry| first(&entry.path)).collect();
    for name in std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if !name.starts_with("..") && !wanted.contains(&name.as_str()) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    for name in wanted {
        match symlink(Path::new("..data").join(name), folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

fn is_written(data: &Path, entries: &[Entry]) -> bool {
    let n_files = count_files(data);
    n_files == Some(entries.len())
        && entries.iter().all(|entry| std::fs::read(data.join(&entry.path)).is_ok_and(|bytes| bytes == entry.bytes))
}

fn count_files(folder: &Path) -> Option<usize> {
    let mut n = 0;
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        n += if path.is_dir() { count_files(&path)? } else { 1 };
    }
    Some(n)
}

fn first(path: &str) -> Option<&str> {
    path.split('/').find(|part| !part.is_empty())
}

/// A path that stays where it is put. The API refuses others; this is the second lock.
pub(crate) fn inside(path: &str) -> Result<&Path, VolumeError> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(VolumeError::Outside(path.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Pod;

    struct Store(BTreeMap<String, Vec<u8>>);

    impl Contents for Store {
        fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            (name == "conf").then(|| self.0.clone())
        }
        fn secret(&self, _: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            None
        }
        fn token(&self, _: &TokenSource) -> Option<String> {
            Some("jwt".to_string())
        }
    }

    struct Scene {
        dir: PathBuf,
        store: Store,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("rutter-volumes-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            Self { dir, store: Store(BTreeMap::from([("a.conf".to_string(), b"1".to_vec()), ("b.conf".to_string(), b"2".to_vec())])) }
        }

        /// Prepares a volume given as JSON; gives its files as `path=content`, or the error.
        fn check(&self, volume: &str) -> String {
            let volume: Volume = serde_json::from_str(volume).expect("a volume");
            let pod: Pod = serde_json::from_str(r#"{"metadata":{"name":"web-1","namespace":"shop"}}"#).expect("a pod");
            let facts = Facts { pod: &pod, pod_ip: "10.244.0.5", host_ip: "10.244.0.1", node_name: "n" };
            let folder = match prepare(&volume, &self.dir, &facts, &self.store) {
                Ok(folder) => folder,
                Err(error) => return error.to_string(),
            };
            let mut files = Vec::new();
            list(&folder, "", &mut files);
            files.sort();
            files.join(" ")
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("..") {
                continue;
            }
            if path.is_dir() {
                list(&path, &format!("{prefix}{name}/"), files);
            } else {
                files.push(format!("{prefix}{name}={}", std::fs::read_to_string(&path).expect("text")));
            }
        }
    }

    #[test]
    fn a_config_map_becomes_files_that_change_together() {
        let mut scene = Scene::new("config");
        let volume = r#"{"name":"v","configMap":{"name":"conf"}}"#;
        assert_eq!(scene.check(volume), "a.conf=1 b.conf=2");
        scene.store.0 = BTreeMap::from([("a.conf".to_string(), b"new".to_vec())]);
        assert_eq!(scene.check(volume), "a.conf=new");
        let version = std::fs::read_link(scene.dir.join("v/..data")).expect("a link");
        scene.check(volume);
        assert_eq!(std::fs::read_link(scene.dir.join("v/..data")).expect("a link"), version, "nothing changed, nothing is written");
    }

    #[test]
    fn items_choose_keys_and_paths() {
        let scene = Scene::new("items");
        let items = |key: &str, path: &str| {
            scene.check(&format!(r#"{{"name":"v","configMap":{{"name":"conf","items":[{{"key":"{key}","path":"{path}"}}]}}}}"#))
        };
        assert_eq!(items("a.conf", "deep/down/a"), "deep/down/a=1");
        assert_eq!(items("none", "x"), "references non-existent config key: none");
        assert_eq!(items("a.conf", "../../etc/passwd"), "path ../../etc/passwd leads out of the volume");
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        let scene = Scene::new("missing");
        assert_eq!(scene.check(r#"{"name":"v","secret":{"secretName":"s"}}"#), "secret \"s\" not found");
        assert_eq!(scene.check(r#"{"name":"v","secret":{"secretName":"s","optional":true}}"#), "");
        assert_eq!(scene.check(r#"{"name":"v","nfs":{}}"#), "volume v: this kind of volume is not supported here");
    }

    #[test]
    fn a_projected_volume_puts_its_sources_together() {
        let scene = Scene::new("projected");
        let sources = r#"[{"serviceAccountToken":{"path":"token"}},{"configMap":{"name":"conf","items":[{"key":"a.conf","path":"ca.crt"}]}},
            {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"fieldPath":"metadata.namespace"}}]}}]"#;
        assert_eq!(scene.check(&format!(r#"{{"name":"v","projected":{{"sources":{sources}}}}}"#)), "ca.crt=1 namespace=shop token=jwt");
    }

    #[test]
    fn an_empty_volume_is_for_everyone() {
        let scene = Scene::new("empty");
        assert_eq!(scene.check(r#"{"name":"v","emptyDir":{}}"#), "");
        let mode = std::fs::metadata(scene.dir.join("v")).expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
    }
}
