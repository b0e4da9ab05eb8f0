//! A virtual host made ready: paths in an index that finds the first route in order without trying each.

use std::collections::HashMap;
use std::sync::Arc;

use model::Text;
use model::facts::PathMatch;
use model::route::{Host, HostPattern, Origin, UpstreamKey};
use regex::bytes::Regex;

use super::pattern::path_regex;
use super::route::{Asked, Origins, Route};
use crate::tls::certificate::Certificate;
use crate::upstream::Upstream;

pub(crate) struct VirtualHost {
    /// In the order in which the view wants them tried.
    routes: Vec<Arc<Route>>,
    index: Index,
    default: Option<Arc<Route>>,
    /// Those that cover this host (for `Any`: all that could be read), the preferred first.
    pub certificates: Vec<Certificate>,
    /// A `tls` section names this host: HTTPS answers carry HSTS.
    pub tls: bool,
    /// Routes that are left out, and why: their objects have to hear of it.
    pub broken: Vec<(Origin, String)>,
    /// Where `/` is redirected to, whichever route it would take (`app-root` belongs to the host in ingress-nginx).
    pub app_root: Option<Text>,
}

/// Positions in `routes` by what their path asks for; each list ascends.
#[derive(Default)]
struct Index {
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    /// Without trailing slashes; the empty one fits every path.
    prefix: HashMap<Box<[u8]>, Vec<usize>>,
    /// The lengths of the keys of `prefix`, the longest first: no other length has to be looked up.
    prefix_lengths: Vec<usize>,
    regex: Vec<(usize, Regex)>,
}

// === impl VirtualHost ===

impl VirtualHost {
    /// A route that cannot be compiled is left out and stands in `broken`.
    pub(crate) fn compile(
        pattern: &HostPattern,
        host: &Host,
        certificates: Vec<Certificate>,
        upstream: &mut dyn FnMut(&UpstreamKey) -> Arc<Upstream>,
    ) -> Self {
        let name = match pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
            HostPattern::Any => "_".to_owned(),
        };
        let mut routes = Vec::new();
        let mut index = Index::default();
        let mut broken = Vec::new();
        for route in &host.routes {
            let compiled = Route::compile(route, &name, host.tls, upstream);
            let added = compiled.and_then(|compiled| {
                index.add(&route.path, routes.len())?;
                routes.push(Arc::new(compiled));
                Ok(())
            });
            if let Err(error) = added {
                broken.push((route.origin.clone(), error.to_string()));
            }
        }
        index.prefix_lengths.sort_unstable_by(|a, b| b.cmp(a));
        index.prefix_lengths.dedup();
        let default = host.default_backend.as_ref().and_then(|route| Route::compile(route, &name, host.tls, upstream).ok()).map(Arc::new);
        let app_root = host.routes.iter().find_map(|route| route.options.app_root.clone());
        Self { routes, index, default, certificates, tls: host.tls, broken, app_root }
    }

    /// What its routes are counted under.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &Origins> {
        self.routes.iter().chain(&self.default).map(|route| &route.labels.of)
    }

    /// The first route in order that accepts the request, else the host's default.
    pub(crate) fn route(&self, asked: &Asked<'_>) -> Option<&Arc<Route>> {
        self.index.find(asked.path, |at| self.routes[at].accepts(asked)).map(|at| &self.routes[at]).or(self.default.as_ref())
    }
}

// === impl Index ===

impl Index {
    fn add(&mut self, path: &PathMatch, at: usize) -> Result<(), regex::Error> {
        match path {
            PathMatch::Exact(path) => self.exact.entry(path.as_bytes().into()).or_default().push(at),
            PathMatch::Prefix(path) => {
                let prefix = path.trim_end_matches('/').as_bytes();
                self.prefix_lengths.push(prefix.len());
                self.prefix.entry(prefix.into()).or_default().push(at);
            }
            PathMatch::Regex(path) => self.regex.push((at, path_regex(path)?)),
        }
        Ok(())
    }

    /// The lowest position whose path fits and that `accepts`.
    fn find(&self, path: &[u8], accepts: impl Fn(usize) -> bool) -> Option<usize> {
        let first = |candidates: Option<&Vec<usize>>| candidates.into_iter().flatten().copied().find(|at| accepts(*at));
        let mut best = if self.exact.is_empty() { None } else { first(self.exact.get(path)) };
        for &length in self.prefix_lengths.iter().filter(|length| **length <= path.len()) {
            let (prefix, rest) = path.split_at(length);
            if matches!(rest, [] | [b'/', ..]) {
                let found = first(self.prefix.get(prefix));
                best = [best, found].into_iter().flatten().min();
            }
        }
        let regex = self.regex.iter().take_while(|(at, _)| best.is_none_or(|best| *at < best));
        regex.into_iter().find(|(at, regex)| regex.is_match(path) && accepts(*at)).map(|(at, _)| *at).or(best)
    }
}
