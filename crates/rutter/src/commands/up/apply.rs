//! `-f`: objects of files that are created at the start, or brought to what the files say.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use client::{Client, Method};
use serde_json::Value;

use crate::output;
use crate::usage::Usage;

/// Where objects of a kind live, by apiVersion and kind.
type Collections = HashMap<(String, String), Collection>;

#[derive(Clone)]
struct Collection {
    path: String,
    plural: String,
    namespaced: bool,
}

/// The objects that one `-f` names, each with the file and document that it stands in.
pub struct Manifest(Vec<(String, Value)>);

impl Manifest {
    /// Reads a file, each `*.yaml`, `*.yml` and `*.json` of a folder, or (`-`) standard input.
    ///
    /// # Errors
    /// A [`Usage`] that names what cannot be read.
    pub fn read(path: &Path) -> Result<Self, Usage> {
        let refuse = |file: &Path, why: String| Usage(format!("-f {}: {why}", file.display()));
        let mut texts = Vec::new();
        if path == Path::new("-") {
            texts.push((path.to_path_buf(), std::io::read_to_string(std::io::stdin())));
        } else if path.is_dir() {
            let files =
                std::fs::read_dir(path).and_then(|all| all.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
            let mut files = files.map_err(|error| refuse(path, error.to_string()))?;
            files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json"));
            files.sort();
            texts.extend(files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file))));
        } else {
            texts.push((path.to_path_buf(), std::fs::read_to_string(path)));
        }
        let mut objects = Vec::new();
        for (file, text) in texts {
            let text = text.map_err(|error| refuse(&file, error.to_string()))?;
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
                // The lines that follow the first draw the place.
                let said = error.to_string();
                refuse(&file, format!("no YAML or JSON: {}", said.lines().next().unwrap_or_default().trim_start_matches("error: ")))
            })?;
            for (n, document) in documents.into_iter().enumerate().filter(|(_, document)| !document.is_null()) {
                let all = match document["items"].as_array() {
                    Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
                    _ => vec![document],
                };
                objects.extend(all.into_iter().map(|object| (format!("-f {}: document {}", file.display(), n + 1), object)));
            }
        }
        Ok(Self(objects))
    }

    /// Creates each object, or brings it to what the file says.
    pub async fn apply(&self, client: &Client) -> anyhow::Result<()> {
        let mut known = Collections::new();
        for (place, object) in &self.0 {
            one(client, object, &mut known).await.with_context(|| place.clone())?;
        }
        Ok(())
    }
}

async fn one(client: &Client, object: &Value, known: &mut Collections) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_string();
    let (version, kind, name) = (text(&object["apiVersion"]), text(&object["kind"]), text(&object["metadata"]["name"]));
    let collection = find(client, &version, &kind, known).await?;
    let path = if collection.namespaced {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        format!("{}/namespaces/{namespace}/{}", collection.path, collection.plural)
    } else {
        format!("{}/{}", collection.path, collection.plural)
    };
    let done = match client.call(Method::POST, &path, Some(("application/json", object))).await {
        Ok(_) => "created",
        Err(error) if error.is_conflict() => {
            let patch = Some(("application/strategic-merge-patch+json", object));
            client.call(Method::PATCH, &format!("{path}/{name}"), patch).await.with_context(|| format!("{kind} {name}"))?;
            "configured"
        }
        Err(error) => return Err(error).with_context(|| format!("{kind} {name}")),
    };
    output::line(format_args!("{} {name} {done}", kind.to_lowercase()));
    Ok(())
}

async fn find(client: &Client, version: &str, kind: &str, known: &mut Collections) -> anyhow::Result<Collection> {
    let key = (version.to_string(), kind.to_string());
    if let Some(collection) = known.get(&key) {
        return Ok(collection.clone());
    }
    let path = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let list = client.call(Method::GET, &path, None).await.with_context(|| format!("no kind {kind} of {version:?}"))?;
    let mut resources = list["resources"].as_array().into_iter().flatten();
    let found = resources.find(|it| it["kind"] == kind && !it["name"].as_str().unwrap_or("/").contains('/'));
    let found = found.with_context(|| format!("no kind {kind} of {version:?}"))?;
    let plural = found["name"].as_str().unwrap_or("").to_string();
    let collection = Collection { path, plural, namespaced: found["namespaced"] == true };
    known.insert(key, collection.clone());
    Ok(collection)
}
