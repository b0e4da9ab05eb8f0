//! `/openapi/v3`: the index and one document per group and version; `/openapi/v2`: one for all. Made when first asked for and kept compressed.
//!
//! Owns the documents' shape: the components of the embedded schema, and for each kind one path with a PATCH operation that takes
//! `fieldValidation` and a strategic merge patch, which is what tells kubectl that the server validates and merges. Must not know HTTP.
//!
//! Source: KEP-2896; kubectl's pkg/explain and validation code, which read no more than this.

mod v2;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::schema::{DISCOVERY, OPENAPI};
pub use v2::v2;

/// A document as it is sent.
#[derive(Debug)]
pub struct Document {
    pub plain: Vec<u8>,
    pub gzip: Vec<u8>,
    /// Of the content: part of the document's address, and its ETag.
    pub hash: String,
}

/// `descriptions.json`: by type and field, in our own words; field "" is the type itself, type "*" any type.
const DESCRIPTIONS: &str = include_str!("../schema/descriptions.json");

type Descriptions = HashMap<String, HashMap<String, String>>;

/// The forms of a patch.
const PATCHES: [&str; 3] = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// What of `discovery.json` makes a path.
#[derive(Deserialize)]
struct Resource {
    group: String,
    version: String,
    resource: String,
    #[serde(rename = "responseKind")]
    kind: ResponseKind,
    scope: String,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

static DOCUMENTS: LazyLock<HashMap<String, Document>> = LazyLock::new(documents);

static INDEX: LazyLock<Document> = LazyLock::new(|| {
    let address = |path: &String, document: &Document| format!("/openapi/v3/{path}?hash={}", document.hash);
    let paths = DOCUMENTS.iter().map(|(path, document)| (path.clone(), json!({"serverRelativeURL": address(path, document)})));
    Document::of(json!({"paths": paths.collect::<BTreeMap<_, _>>()}).to_string().into_bytes())
});

/// `/openapi/v3`: where the documents are.
pub fn index() -> &'static Document {
    &INDEX
}

/// `/openapi/v3/{path}`, with path `api/v1`, `apis/apps/v1`. None: there is no such group or version.
pub fn document(path: &str) -> Option<&'static Document> {
    DOCUMENTS.get(path)
}

impl Document {
    fn of(plain: Vec<u8>) -> Document {
        let mut hasher = DefaultHasher::new();
        plain.hash(&mut hasher);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
        Document { gzip: written.expect("BUG: memory takes any write"), hash: format!("{:016X}", hasher.finish()), plain }
    }
}

fn documents() -> HashMap<String, Document> {
    let data: Value = serde_json::from_str(OPENAPI).expect("BUG: the embedded schema is no JSON");
    let resources: Vec<Resource> = serde_json::from_str(DISCOVERY).expect("BUG: the embedded discovery is no JSON of its shape");
    let texts = texts();
    let groups = data["groups"].as_object().into_iter().flatten();
    let document = |(path, names): (&String, &Value)| {
        let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
        let schemas: Map<String, Value> =
            names.map(|name| (name.to_owned(), described(name, data["schemas"][name].clone(), &texts))).collect();
        let paths: Map<String, Value> = resources.iter().filter(|resource| resource.root() == *path).filter_map(Resource::path).collect();
        let info = json!({"title": "Kubernetes", "version": "v1.37.0"});
        let document = json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}});
        (path.clone(), Document::of(document.to_string().into_bytes()))
    };
    groups.map(document).collect()
}

fn texts() -> Descriptions {
    serde_json::from_str(DESCRIPTIONS).expect("BUG: the embedded descriptions are no JSON of their shape")
}

/// Adds what is said about a type and its fields, for `kubectl explain`.
fn described(name: &str, mut component: Value, texts: &Descriptions) -> Value {
    let own = texts.get(name);
    let about = |field: &str| own.and_then(|own| own.get(field)).or_else(|| texts.get("*")?.get(field).filter(|_| !field.is_empty()));
    let fields = component.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (field, property) in fields {
        if let (Some(text), Some(property)) = (about(field), property.as_object_mut()) {
            property.insert("description".to_owned(), text.as_str().into());
        }
    }
    if let (Some(text), Some(component)) = (about(""), component.as_object_mut()) {
        component.insert("description".to_owned(), text.as_str().into());
    }
    component
}

impl Resource {
    /// `api/v1`, `apis/apps/v1`.
    fn root(&self) -> String {
        if self.group.is_empty() { format!("api/{}", self.version) } else { format!("apis/{}/{}", self.group, self.version) }
    }

    /// The one path of the kind, if it can be patched.
    fn path(&self) -> Option<(String, Value)> {
        if !self.verbs.iter().any(|verb| verb == "patch") {
            return None;
        }
        let namespace = if self.scope == "Namespaced" { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{}{namespace}/{}/{{name}}", self.root(), self.resource);
        let body = |ty: &str| (ty.to_owned(), json!({"schema": {"type": "object"}}));
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        let operation = json!({
            "operationId": format!("patch{}", self.kind.kind),
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "requestBody": {"content": PATCHES.map(body).into_iter().collect::<Map<_, _>>(), "required": true},
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": self.group, "version": self.version, "kind": self.kind.kind},
        });
        Some((path, json!({"patch": operation})))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_index_leads_to_documents_that_know_their_kinds() {
        let index: Value = serde_json::from_slice(&index().plain).expect("JSON");
        for (path, pointer) in [
            ("api/v1", "/paths/~1api~1v1~1namespaces~1{namespace}~1services~1{name}/patch"),
            ("api/v1", "/paths/~1api~1v1~1nodes~1{name}/patch"),
            ("apis/apps/v1", "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}/patch"),
            ("apis/discovery.k8s.io/v1", "/paths/~1apis~1discovery.k8s.io~1v1~1namespaces~1{namespace}~1endpointslices~1{name}/patch"),
        ] {
            let found = document(path).expect("a document");
            assert_eq!(index["paths"][path]["serverRelativeURL"], format!("/openapi/v3/{path}?hash={}", found.hash));
            let json: Value = serde_json::from_slice(&found.plain).expect("JSON");
            let operation = json.pointer(pointer).expect("a PATCH");
            assert!(operation["parameters"].as_array().expect("a list").iter().any(|parameter| parameter["name"] == "fieldValidation"));
            assert!(operation["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
        }
        assert!(document("apis/bogus/v1").is_none());
    }

    #[test]
    fn every_reference_stays_within_its_document() {
        for (path, found) in &*DOCUMENTS {
            let text = std::str::from_utf8(&found.plain).expect("UTF-8");
            let json: Value = serde_json::from_str(text).expect("JSON");
            for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(json["components"]["schemas"].get(reference).is_some(), "{path}: {reference}");
            }
        }
    }

    #[test]
    fn descriptions_name_types_and_fields_that_exist() {
        let data: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let texts: Descriptions = serde_json::from_str(DESCRIPTIONS).expect("JSON");
        for (name, fields) in texts.iter().filter(|(name, _)| *name != "*") {
            for field in fields.keys().filter(|field| !field.is_empty()) {
                assert!(data["schemas"][name]["properties"].get(field).is_some(), "{name}.{field}");
            }
        }
        let found: Value = serde_json::from_slice(&document("api/v1").expect("a document").plain).expect("JSON");
        let service = &found["components"]["schemas"]["io.k8s.api.core.v1.Service"];
        assert!(service["description"].is_string() && service["properties"]["spec"]["description"].is_string());
    }

    #[test]
    fn compressed_documents_unpack_to_the_plain_ones() {
        let found = document("api/v1").expect("a document");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*found.gzip).read_to_end(&mut plain).expect("unpacks");
        assert_eq!(plain, found.plain);
        assert!(found.gzip.len() * 5 < found.plain.len());
    }
}
