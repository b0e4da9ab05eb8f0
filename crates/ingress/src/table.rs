//! The table: from host and path to a route, compiled from a RouteView and immutable once published.
//!
//! Owns the matching. A change makes a new table that shares every host but the changed ones with the last (persistent maps), so it
//! costs that change. Endpoints are not in here: routes point to [`Upstream`](crate::upstream::Upstream)s, which are patched in
//! place. Must not know connections, nor what a filter does.

use std::sync::Arc;

use model::Text;
use model::route::HostPattern;
use rpds::HashTrieMapSync;
use rustls::sign::CertifiedKey;

use crate::tls::certificate::Certificate;

pub(crate) mod host;
pub(crate) mod path;
pub(crate) mod route;

pub(crate) use host::{Asked, VirtualHost};
pub(crate) use route::Route;

#[derive(Clone)]
pub(crate) struct Table {
    exact: HashTrieMapSync<Text, Arc<VirtualHost>>,
    /// By the suffix behind `*.`.
    wildcard: HashTrieMapSync<Text, Arc<VirtualHost>>,
    any: Option<Arc<VirtualHost>>,
    pub default_certificate: Arc<CertifiedKey>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(default_certificate: Arc<CertifiedKey>) -> Self {
        Self { exact: HashTrieMapSync::new_sync(), wildcard: HashTrieMapSync::new_sync(), any: None, default_certificate }
    }

    /// Puts the host in place of the one that was, or removes it.
    pub(crate) fn put(&mut self, pattern: &HostPattern, host: Option<Arc<VirtualHost>>) {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            HostPattern::Any => return self.any = host,
        };
        match host {
            Some(host) => map.insert_mut(name.clone(), host),
            None => {
                map.remove_mut(name);
            }
        }
    }

    /// The virtual host of a name in lower case: an exact one, else a wildcard of one label more, else the one for every name.
    /// Once it is chosen nothing falls through to a less special one.
    pub(crate) fn host(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        self.exact.get(name).or_else(|| self.wildcard(name)).or(self.any.as_ref())
    }

    /// The certificate for a name: its own, else that of the wildcard above it, else the default one. Unlike routes, certificates
    /// fall through: a host without one may well be covered by its neighbour's.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let own = [self.exact.get(name), self.wildcard(name)].into_iter().flatten().find_map(|host| host.certificates.first());
            own.or_else(|| self.any.as_ref()?.certificates.iter().find(|certificate| certificate.covers(name)))
        });
        found.map_or_else(|| self.default_certificate.clone(), Certificate::key)
    }

    fn wildcard(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

#[cfg(test)]
mod tests;
