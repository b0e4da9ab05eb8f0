//! Discovery: which groups, versions and resources there are, in the old form (one document per group and version) and the aggregated one.
//!
//! Made once from the table of kinds. Source: KEP-3352; metav1 APIResourceList, apidiscovery v2.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::kinds::{Kind, Kinds};
use crate::schema::Gvk;

/// The documents, ready to be sent.
pub(crate) struct Discovery {
    /// By path, without the slash at its end.
    documents: BTreeMap<String, Bytes>,
    /// `/api` and `/apis`.
    aggregated: BTreeMap<&'static str, (Bytes, String)>,
}

/// Order of the groups, where it matters to a client that takes the first of two.
const GROUPS: &[&str] = &[
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "apps",
    "networking.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
];

/// The kind of content in which aggregated documents are asked for and sent.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Discovery {
    /// `address` is where the server is, as `/api` tells.
    pub(crate) fn new(kinds: &Kinds, address: &str) -> Discovery {
        let mut groups: BTreeMap<(&str, &str), Vec<&Arc<Kind>>> = BTreeMap::new();
        for kind in kinds.iter() {
            groups.entry((&kind.gvk.group, &kind.gvk.version)).or_default().push(kind);
        }
        let mut documents = BTreeMap::new();
        let mut keep = |path: &str, value: &Value| documents.insert(path.to_owned(), Bytes::from(value.to_string()));
        let (mut list, mut core, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let rank = |group: &str| GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len());
        let mut names: Vec<(&str, &str)> = groups.keys().copied().collect();
        names.sort_by_key(|(group, _)| rank(group));
        for (group, version) in names {
            let kinds = &groups[&(group, version)];
            let group_version = Gvk::new(group, version, "").api_version();
            let mut resources: Vec<Value> = kinds.iter().flat_map(|kind| resources(kind)).collect();
            resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
            let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
            let aggregated = json!({"version": version, "freshness": "Current", "resources": kinds.iter().map(|kind| aggregated(kind)).collect::<Vec<_>>()});
            if group.is_empty() {
                keep("/api/v1", &document);
                core.push(json!({"metadata": {}, "versions": [aggregated]}));
                continue;
            }
            // Go's encoder leaves the version out of the oldest of these documents.
            document["apiVersion"] = "v1".into();
            keep(&format!("/apis/{group_version}"), &document);
            let this = json!({"groupVersion": group_version, "version": version});
            let entry = json!({"name": group, "versions": [this], "preferredVersion": this});
            let mut alone = entry.clone();
            alone["kind"] = "APIGroup".into();
            alone["apiVersion"] = "v1".into();
            keep(&format!("/apis/{group}"), &alone);
            list.push(entry);
            rest.push(json!({"metadata": {"name": group}, "versions": [aggregated]}));
        }
        let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
        keep("/api", &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}));
        keep("/apis", &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}));
        let whole = |items: Vec<Value>| {
            let value = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
            let text = value.to_string();
            let hash =
                digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<String>();
            (Bytes::from(text), hash)
        };
        Discovery { documents, aggregated: BTreeMap::from([("/api", whole(core)), ("/apis", whole(rest))]) }
    }

    /// None: there is no such document.
    pub(crate) fn get(&self, path: &str, accept: &str, known_hash: &str) -> Option<Answer> {
        let path = path.trim_end_matches('/');
        let wants = accept.split(',').map(|clause| clause.replace(' ', "")).find(|clause| clause.starts_with("application/json"));
        if let (Some((text, hash)), Some(wants)) = (self.aggregated.get(path), wants) {
            let ty = [AGGREGATED, AGGREGATED_BETA].into_iter().find(|ty| same_parameters(&wants, ty));
            if let Some(ty) = ty {
                let hash = format!("\"{hash}\"");
                let mut answer =
                    if known_hash == hash { Answer::bytes(304, ty, Bytes::new()) } else { Answer::bytes(200, ty, self.aged(text, ty)) };
                answer.headers = vec![("etag", hash), ("vary", "Accept".to_owned())];
                return Some(answer);
            }
        }
        let document = self.documents.get(path)?;
        let mut answer = Answer::bytes(200, "application/json", document.clone());
        answer.headers = vec![("vary", "Accept".to_owned())];
        Some(answer)
    }

    /// Whether the path is below a group that is served, so that what is missing is the resource and not the group.
    pub(crate) fn serves_below(&self, path: &str) -> bool {
        match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
            ["api", _, ..] => true,
            ["apis", group, _, ..] => self.documents.contains_key(&format!("/apis/{group}")),
            _ => false,
        }
    }

    fn aged(&self, text: &Bytes, ty: &str) -> Bytes {
        if ty == AGGREGATED {
            return text.clone();
        }
        let text = std::str::from_utf8(text).expect("BUG: a document is no UTF-8");
        text.replace("\"apidiscovery.k8s.io/v2\"", "\"apidiscovery.k8s.io/v2beta1\"").into()
    }
}

fn same_parameters(a: &str, b: &str) -> bool {
    let sorted = |text: &str| {
        let mut parts: Vec<String> = text.split(';').map(str::to_owned).collect();
        parts.sort();
        parts
    };
    sorted(a) == sorted(b)
}

/// A kind and its subresources, in the old form.
fn resources(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.gvk.kind,
        "verbs": kind.verbs,
    });
    for (name, values) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !values.is_empty() {
            resource[name] = json!(values);
        }
    }
    if kind.stored.is_some() {
        resource["storageVersionHash"] = storage_hash(&kind.gvk).into();
    }
    let mut all = vec![resource];
    all.extend(kind.subresources.iter().map(|sub| {
        let mut resource = json!({
            "name": format!("{}/{}", kind.resource, sub.name),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.gvk.kind,
            "verbs": sub.verbs,
        });
        if (&sub.gvk.group, &sub.gvk.version) != (&kind.gvk.group, &kind.gvk.version) {
            resource["group"] = sub.gvk.group.clone().into();
            resource["version"] = sub.gvk.version.clone().into();
        }
        resource
    }));
    all
}

fn aggregated(kind: &Kind) -> Value {
    let gvk = |gvk: &Gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
    let subresources: Vec<Value> =
        kind.subresources.iter().map(|sub| json!({"subresource": sub.name, "responseKind": gvk(&sub.gvk), "verbs": sub.verbs})).collect();
    let mut resource = json!({
        "resource": kind.resource,
        "responseKind": gvk(&kind.gvk),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    for (name, values) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !values.is_empty() {
            resource[name] = json!(values);
        }
    }
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// Tells clients when the stored version changes. Source: apiserver's pkg/endpoints/discovery/storageversionhash.go.
fn storage_hash(gvk: &Gvk) -> String {
    // Both kinds of Event are stored as the core one.
    let group = if gvk.kind == "Event" { "" } else { &gvk.group };
    let hash = digest::digest(&digest::SHA256, format!("{group}/{}/{}", gvk.version, gvk.kind).as_bytes());
    BASE64.encode(&hash.as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, accept: &str) -> Option<(&'static str, Value)> {
        let answer = Discovery::new(&Kinds::load(), "127.0.0.1:6443").get(path, accept, "")?;
        let crate::answer::Body::Full(body) = answer.body else { panic!("a document is whole") };
        Some((answer.content_type, serde_json::from_slice(&body).expect("JSON")))
    }

    #[test]
    fn old_and_aggregated_documents_say_the_same() {
        let (ty, groups) = get("/apis", &format!("{AGGREGATED},{AGGREGATED_BETA},application/json")).expect("a document");
        assert_eq!(ty, AGGREGATED);
        for group in groups["items"].as_array().expect("groups") {
            let path = format!("/apis/{}/v1", group["metadata"]["name"].as_str().expect("a name"));
            let (_, old) = get(&path, "application/json").expect("a document");
            let count = |list: &Value| list.as_array().map_or(0, Vec::len);
            let resources = &group["versions"][0]["resources"];
            let subresources: usize = resources.as_array().into_iter().flatten().map(|resource| count(&resource["subresources"])).sum();
            assert_eq!(count(resources) + subresources, count(&old["resources"]), "{path}");
        }
    }

    #[test]
    fn hashes_are_those_of_kubernetes() {
        assert_eq!(storage_hash(&Gvk::new("", "v1", "ConfigMap")), "qFsyl6wFWjQ=");
        assert_eq!(storage_hash(&Gvk::new("apps", "v1", "Deployment")), "8aSe+NMegvE=");
        assert_eq!(storage_hash(&Gvk::new("events.k8s.io", "v1", "Event")), "r2yiGXH7wu8=");
    }

    #[test]
    fn a_group_that_is_not_served_has_no_document() {
        assert!(get("/apis/bogus.io", "").is_none());
        assert!(get("/apis/apps", "").is_some());
    }
}
