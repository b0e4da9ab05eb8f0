//! The kubeconfig: how kubectl and other clients find the server and prove who they are.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::PkiError;

/// A client's certificate and key, in PEM.
pub(crate) struct Client {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The text of a kubeconfig with one cluster, one user and one context. JSON, which YAML includes.
pub(crate) fn kubeconfig(server: &str, ca: &str, client: &Client) -> String {
    let name = "rutter";
    let encode = |text: &str| BASE64.encode(text);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encode(ca)}}],
        "users": [{"name": "admin", "user": {"client-certificate-data": encode(&client.certificate), "client-key-data": encode(&client.key)}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
        "current-context": name,
    });
    format!("{config:#}\n")
}

/// Writes a file that only its owner can read; whoever looks finds the old content or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(new, path)
    };
    write().map_err(|source| PkiError::File { path: path.to_owned(), source })
}
