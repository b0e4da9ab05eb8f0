//! `-f`: objects of files that are created at the start, or brought to what the files say.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use client::{Client, Method};
use serde_json::Value;

/// Where objects of a kind live, by apiVersion and kind.
type Collections = HashMap<(String, String), Collection>;

#[derive(Clone)]
struct Collection {
    path: String,
    plural: String,
    namespaced: bool,
}

/// Applies a file, each `*.yaml`, `*.yml` and `*.json` of a folder, or (`-`) standard input.
pub async fn file(client: &Client, path: &Path) -> anyhow::Result<()> {
    let mut known = Collections::new();
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return documents(client, &text, &mut known).await;
    }
    if !path.is_dir() {
        return documents(client, &std::fs::read_to_string(path)?, &mut known).await;
    }
    let mut files: Vec<_> = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json"));
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        documents(client, &text, &mut known).await.with_context(|| file.display().to_string())?;
    }
    Ok(())
}

async fn documents(client: &Client, text: &str, known: &mut Collections) -> anyhow::Result<()> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("no YAML or JSON")?;
    for (n, document) in documents.into_iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let objects = match document["items"].as_array() {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
            _ => vec![document],
        };
        for object in objects {
            one(client, &object, known).await.with_context(|| format!("document {}", n + 1))?;
        }
    }
    Ok(())
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
    println!("{} {name} {done}", kind.to_lowercase());
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
