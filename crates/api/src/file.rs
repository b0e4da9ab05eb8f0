//! Files of objects: one JSON object, a JSON `List`, several JSON texts, or many YAML documents.
//!
//! Reading has two steps, so that a file of 50,000 objects in which one changed costs one decoding: [`documents`] cuts the file into texts
//! that can be compared ([`Document::raw`]), [`Document::entries`] decodes one. Text that starts with `{` is JSON and never meets
//! the YAML parser. Kinds that we do not read are told as skipped: such files hold Deployments and the like.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{DecodeError, Fault};
use crate::{AnyObject, json};

/// One text of a file. The items of a JSON list are documents of their own; a YAML document may hold a list.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    pub place: Place,
    text: Text<'a>,
    /// What the list around it says of its items: `ServiceList` makes an item without a kind a Service.
    of_list: Option<(Box<str>, Box<str>)>,
}

/// Where in a file something stands. Shown as `document 3 (line 41)` or `document 1, items[4]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub document: usize,
    /// The document's first line, from 1.
    pub line: usize,
    /// Which item of a list, from 0.
    pub item: Option<usize>,
}

/// One object of a file, or what stands in its place.
#[derive(Debug, Clone)]
pub struct Entry {
    pub place: Place,
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// With the defaults of the API server filled in.
    Object(AnyObject),
    /// A kind, or a version of it, that we do not read.
    Skipped,
    Broken(DecodeError),
}

#[derive(Debug, Clone)]
enum Text<'a> {
    Json(&'a str),
    Yaml(&'a str),
    /// Not even cut into documents; why.
    Broken(&'a str, String),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Head<'a> {
    #[serde(borrow, rename = "apiVersion", default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Cuts a file into its documents. Comments and empty documents vanish; what cannot be cut is one last, broken document.
pub fn documents(file: &[u8]) -> Vec<Document<'_>> {
    let text = match std::str::from_utf8(file) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let place = Place { document: 1, line: 1, item: None };
            let reason = format!("not UTF-8 at byte {}", error.valid_up_to());
            return vec![Document { place, text: Text::Broken("", reason), of_list: None }];
        }
    };
    if text.trim_start().starts_with('{') { json_documents(text) } else { yaml_documents(text) }
}

fn json_documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let (mut line, mut counted) = (1, 0);
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for document in 1.. {
        let start = stream.byte_offset();
        let Some(value) = stream.next() else { break };
        let blank = text[start..].len() - text[start..].trim_start().len();
        line += text[counted..start + blank].matches('\n').count();
        counted = start + blank;
        let place = Place { document, line, item: None };
        match value.map(RawValue::get) {
            Ok(raw) => match list_items(raw) {
                Some((of_list, items)) => found.extend(items.into_iter().enumerate().map(|(item, raw)| Document {
                    place: Place { item: Some(item), ..place },
                    text: Text::Json(raw.get()),
                    of_list: of_list.clone(),
                })),
                None => found.push(Document { place, text: Text::Json(raw), of_list: None }),
            },
            Err(error) => {
                let text = Text::Broken(&text[start..], error.to_string());
                found.push(Document { place, text, of_list: None });
                break;
            }
        }
    }
    found
}

type ListItems<'a> = (Option<(Box<str>, Box<str>)>, Vec<&'a RawValue>);

fn list_items(raw: &str) -> Option<ListItems<'_>> {
    let head: Head<'_> = serde_json::from_str(raw).ok()?;
    let kind = head.kind?;
    let item_kind = kind.strip_suffix("List")?;
    let items: Items<'_> = serde_json::from_str(raw).ok()?;
    Some((kind_of_items(&head.api_version.unwrap_or_default(), item_kind), items.items.unwrap_or_default()))
}

/// `v1 List` says nothing of its items, `v1 ServiceList` does.
fn kind_of_items(api_version: &str, item_kind: &str) -> Option<(Box<str>, Box<str>)> {
    (!item_kind.is_empty()).then(|| (api_version.into(), item_kind.into()))
}

/// YAML's documents end where a line starts with `---`; no indented or quoted text can hold one there.
fn yaml_documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    let mut push = |from: usize, to: usize, line: usize| {
        let chunk = &text[from..to];
        let says_nothing = |line: &str| matches!(line.trim_start().as_bytes().first(), None | Some(b'#' | b'%'));
        if !chunk.lines().all(|line| says_nothing(line) || line.trim_end() == "...") {
            let place = Place { document: found.len() + 1, line, item: None };
            found.push(Document { place, text: Text::Yaml(chunk), of_list: None });
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            push(start, at, start_line);
            (start, start_line) = (at + 3, index + 1);
        }
        at += line.len();
    }
    push(start, text.len(), start_line);
    found
}

// === impl Document ===

impl<'a> Document<'a> {
    /// The text, for comparing: equal texts (of equal lists) decode to equal entries.
    pub fn raw(&self) -> &'a str {
        match &self.text {
            Text::Json(raw) | Text::Yaml(raw) | Text::Broken(raw, _) => raw,
        }
    }

    /// Decodes the document: one entry, or one per item of a YAML list. Never empty, unless such a list is.
    pub fn entries(&self) -> Vec<Entry> {
        match &self.text {
            Text::Json(raw) => vec![self.json_entry(raw)],
            Text::Yaml(text) => self.yaml_entries(text),
            Text::Broken(_, reason) => vec![self.broken("", "", Fault::new(reason.as_str()))],
        }
    }

    fn json_entry(&self, raw: &str) -> Entry {
        let head: Head<'_> = match serde_json::from_str(raw) {
            Ok(head) => head,
            Err(error) => return self.broken("", "", Fault::new(error.to_string())),
        };
        let (api_version, kind) = self.kind_of(head.api_version.as_deref(), head.kind.as_deref());
        let decoded = AnyObject::from_json(api_version, kind, raw);
        let tree = || serde_json::from_str(raw).unwrap_or(Value::Null);
        entry(self.place, api_version, kind, decoded, tree)
    }

    fn yaml_entries(&self, text: &str) -> Vec<Entry> {
        let tree: Value = match serde_saphyr::from_str_with_options(text, yaml_options()) {
            Ok(tree) => tree,
            Err(error) => return vec![self.broken("", "", Fault::new(first_line(&error.to_string())))],
        };
        let kind = tree.get("kind").and_then(Value::as_str).unwrap_or("");
        let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), tree.get("items")) else {
            return vec![self.tree_entry(&tree)];
        };
        let api_version = tree.get("apiVersion").and_then(Value::as_str).unwrap_or("");
        let of_list = kind_of_items(api_version, item_kind);
        let items = items.as_array().into_iter().flatten().enumerate().map(|(item, tree)| {
            let place = Place { item: Some(item), ..self.place };
            Document { place, text: Text::Yaml(text), of_list: of_list.clone() }.tree_entry(tree)
        });
        items.collect()
    }

    fn tree_entry(&self, tree: &Value) -> Entry {
        let text = |field| tree.get(field).and_then(Value::as_str);
        let (api_version, kind) = self.kind_of(text("apiVersion"), text("kind"));
        entry(self.place, api_version, kind, AnyObject::from_tree(api_version, kind, tree), || tree.clone())
    }

    fn kind_of<'b>(&'b self, api_version: Option<&'b str>, kind: Option<&'b str>) -> (&'b str, &'b str) {
        match (&self.of_list, kind) {
            (Some((api_version, kind)), None) => (api_version, kind),
            (_, kind) => (api_version.unwrap_or(""), kind.unwrap_or("")),
        }
    }

    fn broken(&self, api_version: &str, kind: &str, fault: Fault) -> Entry {
        let error = DecodeError::new(kind, "", "", fault);
        Entry { place: self.place, api_version: api_version.into(), kind: kind.into(), content: Content::Broken(error) }
    }
}

/// `tree` is asked only for the name of what has no kind.
fn entry(place: Place, api_version: &str, kind: &str, decoded: Option<Result<AnyObject, DecodeError>>, tree: impl Fn() -> Value) -> Entry {
    let content = match decoded {
        Some(Ok(mut object)) => {
            object.set_defaults();
            Content::Object(object)
        }
        Some(Err(error)) => Content::Broken(error),
        None if kind.is_empty() || api_version.is_empty() => {
            let field = if kind.is_empty() { "kind" } else { "apiVersion" };
            let fault = Fault { path: field.to_owned(), reason: "required".to_owned() };
            Content::Broken(json::error_in_tree(kind, &tree(), fault))
        }
        None => Content::Skipped,
    };
    Entry { place, api_version: api_version.into(), kind: kind.into(), content }
}

/// These files are the operator's own and a list in them may be long: only depth and expansion stay limited.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
        with_snippet: false,
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        match self.item {
            Some(item) => write!(f, ", items[{item}]"),
            None => write!(f, " (line {})", self.line),
        }
    }
}

#[cfg(test)]
mod tests;
