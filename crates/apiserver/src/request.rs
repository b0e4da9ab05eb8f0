//! A request as the API reads it: which kind, object and subresource its path names, and the options of its query.
//!
//! Owns the grammar of paths and the parsing of options with their error texts. Must not know how anything is carried out.
//!
//! Source: apiserver's pkg/endpoints/request/requestinfo.go; metav1 ListOptions and their validation.

mod options;
mod query;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::User;
use crate::kinds::{Kind, Kinds};
use crate::media::Media;

pub(crate) use options::{FieldValidation, ListOptions, WriteOptions, check_dry_run, revision};
pub(crate) use query::Query;

/// What the path of a resource names.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    /// Empty: all namespaces, or a kind outside them.
    pub(crate) namespace: String,
    /// Empty: the collection.
    pub(crate) name: String,
    /// Empty: the object itself.
    pub(crate) subresource: String,
    /// The path began with `watch/`, as it did long ago.
    pub(crate) watch: bool,
}

/// A request for a resource, with its body read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) media: Media,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) user: User,
    /// The program that asks, from its User-Agent: who owns the fields it writes.
    pub(crate) agent: String,
}

impl Target {
    /// Reads a path below `/api/` or `/apis/`. None: nothing is served there.
    pub(crate) fn parse(kinds: &Kinds, path: &str) -> Option<Target> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(query::decode).collect();
        let mut parts = parts.iter().map(String::as_str);
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut rest: Vec<&str> = parts.collect();
        let watch = rest.first() == Some(&"watch");
        if watch {
            rest.remove(0);
        }
        let (namespace, rest) = match *rest.as_slice() {
            // The subresources of a Namespace look like collections in it.
            ["namespaces", namespace, resource, ..] if !(rest.len() == 3 && matches!(resource, "status" | "finalize")) => {
                (namespace, &rest[2..])
            }
            _ => ("", &rest[..]),
        };
        let (resource, name, subresource) = match *rest {
            [resource] => (resource, "", ""),
            [resource, name] => (resource, name, ""),
            [resource, name, subresource] => (resource, name, subresource),
            _ => return None,
        };
        let kind = kinds.find(group, version, resource)?.clone();
        let misplaced = if kind.namespaced { namespace.is_empty() && !name.is_empty() } else { !namespace.is_empty() };
        if misplaced || !subresource.is_empty() && kind.subresource(subresource).is_none() {
            return None;
        }
        let [namespace, name, subresource] = [namespace, name, subresource].map(str::to_owned);
        Some(Target { kind, namespace, name, subresource, watch })
    }
}
