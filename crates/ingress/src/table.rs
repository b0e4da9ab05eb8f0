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

pub(crate) mod canary;
pub(crate) mod host;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod route;

pub(crate) use host::VirtualHost;
pub(crate) use route::{Asked, Route};

#[derive(Clone)]
pub(crate) struct Table {
    exact: HashTrieMapSync<Text, Arc<VirtualHost>>,
    /// By the suffix behind `*.`.
    wildcard: HashTrieMapSync<Text, Arc<VirtualHost>>,
    any: Option<Arc<VirtualHost>>,
    /// Names that lead to a host of another name; hosts of their own come first.
    other_names: HashTrieMapSync<Text, OtherName>,
    pub default_certificate: Arc<CertifiedKey>,
}

/// What a name is that has no host of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OtherName {
    /// `server-alias`: served as that host.
    Alias(HostPattern),
    /// `from-to-www-redirect`: the client is sent to that name.
    Redirect(Text),
}

// === impl Table ===

impl Table {
    pub(crate) fn new(default_certificate: Arc<CertifiedKey>) -> Self {
        Self {
            exact: HashTrieMapSync::new_sync(),
            wildcard: HashTrieMapSync::new_sync(),
            any: None,
            other_names: HashTrieMapSync::new_sync(),
            default_certificate,
        }
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

    /// The host of exactly this pattern.
    pub(crate) fn get(&self, pattern: &HostPattern) -> Option<&Arc<VirtualHost>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// The virtual host of a name in lower case: an exact one, else a wildcard of one label more, else the one for every name.
    /// Once it is chosen nothing falls through to a less special one.
    pub(crate) fn host(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        self.named(name).or(self.any.as_ref())
    }

    /// Where the client of this name is sent to, if it is but another way to write a host's.
    pub(crate) fn redirect(&self, name: &str) -> Option<&Text> {
        match self.other_names.get(name) {
            Some(OtherName::Redirect(to)) if self.exact.get(name).is_none() => Some(to),
            _ => None,
        }
    }

    pub(crate) fn put_other_name(&mut self, name: Text, meaning: Option<OtherName>) {
        match meaning {
            Some(meaning) => self.other_names.insert_mut(name, meaning),
            None => {
                self.other_names.remove_mut(&name);
            }
        }
    }

    fn named(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        let alias = || match self.other_names.get(name)? {
            OtherName::Alias(pattern) => self.get(pattern),
            OtherName::Redirect(_) => None,
        };
        self.exact.get(name).or_else(alias).or_else(|| self.wildcard(name))
    }

    /// The certificate for a name: its own, else that of the wildcard above it, else the default one. Unlike routes, certificates
    /// fall through: a host without one may well be covered by its neighbour's.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let own = [self.exact.get(name), self.wildcard(name)].into_iter().flatten().find_map(|host| host.certificates.first());
            own.or_else(|| self.other_host(name)?.certificates.iter().find(|certificate| certificate.covers(name)))
                .or_else(|| self.any.as_ref()?.certificates.iter().find(|certificate| certificate.covers(name)))
        });
        found.map_or_else(|| self.default_certificate.clone(), Certificate::key)
    }

    /// The host that a name without one of its own leads to, by alias or redirect.
    fn other_host(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        match self.other_names.get(name)? {
            OtherName::Alias(_) => self.named(name),
            OtherName::Redirect(to) => self.exact.get(to),
        }
    }

    fn wildcard(&self, name: &str) -> Option<&Arc<VirtualHost>> {
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

#[cfg(test)]
mod tests;
