//! The plugins: one room each, all of the same shape, named as in the Corefile.
//!
//! A room holds `Options` (what its directive says), `parse` (a directive, or mistakes) and, if queries pass through it, a type with
//! [`crate::server::chain::Plugin`]. The table below is what exists and the order in which a query meets it; a new plugin is a room,
//! a variant and a line. No room knows another, save that `autopath`, `k8s_external`, `metadata` and `transfer` read the snapshot that `kubernetes`
//! keeps, and `transfer` the zones of `k8s_external`.

pub mod acl;
pub mod autopath;
pub mod bind;
pub mod bufsize;
pub mod cache;
pub mod errors;
pub mod forward;
pub mod health;
pub mod hosts;
pub mod k8s_external;
pub mod kubernetes;
pub mod loadbalance;
pub mod log;
pub mod loop_guard;
pub mod metadata;
pub mod prometheus;
pub mod ready;
pub mod reload;
pub mod rewrite;
pub mod rutter;
pub mod scope;
pub mod template;
pub mod transfer;

use crate::config::directive::{Directive, Mistakes};

/// What one directive of a server block asks for.
#[derive(Clone, Debug)]
pub enum Spec {
    Metadata(metadata::Options),
    Bind(bind::Options),
    Reload(reload::Options),
    Ready(ready::Options),
    Health(health::Options),
    Prometheus(prometheus::Options),
    Errors(errors::Options),
    Log(log::Options),
    Bufsize(bufsize::Options),
    Acl(acl::Options),
    Loadbalance(loadbalance::Options),
    Rewrite(rewrite::Options),
    Autopath(autopath::Options),
    Template(template::Options),
    Transfer(transfer::Options),
    Hosts(hosts::Options),
    Rutter(rutter::Options),
    K8sExternal(k8s_external::Options),
    Kubernetes(kubernetes::Options),
    Cache(cache::Options),
    Loop(loop_guard::Options),
    Forward(forward::Options),
}

struct Room {
    name: &'static str,
    parse: fn(&Directive, &mut Mistakes) -> Option<Spec>,
    /// Whether a server block may have several.
    repeats: bool,
}

/// In the order in which a query meets them: CoreDNS's (its `plugin.cfg`), except that `cache` stands behind the cluster's own
/// names instead of before them. They come from a snapshot that is always fresh, so caching them would only make them stale.
const ROOMS: &[Room] = &[
    Room { name: "metadata", parse: |d, m| metadata::parse(d, m).map(Spec::Metadata), repeats: false },
    Room { name: "bind", parse: |d, m| bind::parse(d, m).map(Spec::Bind), repeats: true },
    Room { name: "reload", parse: |d, m| reload::parse(d, m).map(Spec::Reload), repeats: false },
    Room { name: "ready", parse: |d, m| ready::parse(d, m).map(Spec::Ready), repeats: false },
    Room { name: "health", parse: |d, m| health::parse(d, m).map(Spec::Health), repeats: false },
    Room { name: "prometheus", parse: |d, m| prometheus::parse(d, m).map(Spec::Prometheus), repeats: false },
    Room { name: "errors", parse: |d, m| errors::parse(d, m).map(Spec::Errors), repeats: false },
    Room { name: "log", parse: |d, m| log::parse(d, m).map(Spec::Log), repeats: true },
    Room { name: "bufsize", parse: |d, m| bufsize::parse(d, m).map(Spec::Bufsize), repeats: false },
    Room { name: "loadbalance", parse: |d, m| loadbalance::parse(d, m).map(Spec::Loadbalance), repeats: false },
    Room { name: "rewrite", parse: |d, m| rewrite::parse(d, m).map(Spec::Rewrite), repeats: true },
    Room { name: "autopath", parse: |d, m| autopath::parse(d, m).map(Spec::Autopath), repeats: false },
    Room { name: "acl", parse: |d, m| acl::parse(d, m).map(Spec::Acl), repeats: true },
    Room { name: "template", parse: |d, m| template::parse(d, m).map(Spec::Template), repeats: true },
    Room { name: "transfer", parse: |d, m| transfer::parse(d, m).map(Spec::Transfer), repeats: true },
    Room { name: "hosts", parse: |d, m| hosts::parse(d, m).map(Spec::Hosts), repeats: false },
    Room { name: "rutter", parse: |d, m| rutter::parse(d, m).map(Spec::Rutter), repeats: false },
    Room { name: "k8s_external", parse: |d, m| k8s_external::parse(d, m).map(Spec::K8sExternal), repeats: false },
    Room { name: "kubernetes", parse: |d, m| kubernetes::parse(d, m).map(Spec::Kubernetes), repeats: false },
    Room { name: "cache", parse: |d, m| cache::parse(d, m).map(Spec::Cache), repeats: false },
    Room { name: "loop", parse: |d, m| loop_guard::parse(d, m).map(Spec::Loop), repeats: false },
    Room { name: "forward", parse: |d, m| forward::parse(d, m).map(Spec::Forward), repeats: true },
];

/// The names of all directives, in the order in which a query meets them (CoreDNS's `-plugins`).
pub fn names() -> impl Iterator<Item = &'static str> {
    ROOMS.iter().map(|room| room.name)
}

impl Spec {
    /// The directive's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Spec::Metadata(_) => "metadata",
            Spec::Bind(_) => "bind",
            Spec::Reload(_) => "reload",
            Spec::Ready(_) => "ready",
            Spec::Health(_) => "health",
            Spec::Prometheus(_) => "prometheus",
            Spec::Errors(_) => "errors",
            Spec::Log(_) => "log",
            Spec::Bufsize(_) => "bufsize",
            Spec::Acl(_) => "acl",
            Spec::Loadbalance(_) => "loadbalance",
            Spec::Rewrite(_) => "rewrite",
            Spec::Autopath(_) => "autopath",
            Spec::Template(_) => "template",
            Spec::Transfer(_) => "transfer",
            Spec::Hosts(_) => "hosts",
            Spec::Rutter(_) => "rutter",
            Spec::K8sExternal(_) => "k8s_external",
            Spec::Kubernetes(_) => "kubernetes",
            Spec::Cache(_) => "cache",
            Spec::Loop(_) => "loop",
            Spec::Forward(_) => "forward",
        }
    }
}

/// Reads the directives of one server block and puts them in the order of [`ROOMS`].
pub(crate) fn parse(directives: &[Directive], mistakes: &mut Mistakes) -> Vec<Spec> {
    let mut found: Vec<(usize, Spec)> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for directive in directives {
        let Some(at) = ROOMS.iter().position(|room| room.name == directive.name) else {
            let known: Vec<_> = names().collect();
            mistakes.add(directive.line, format!("unknown directive `{}`; this server has: {}", directive.name, known.join(", ")));
            continue;
        };
        if let Some(first) = seen.insert(at, directive.line)
            && !ROOMS[at].repeats
        {
            mistakes.add(directive.line, format!("`{}` stands in this block already, in line {first}", directive.name));
        }
        found.extend((ROOMS[at].parse)(directive, mistakes).map(|spec| (at, spec)));
    }
    let has = |kind: fn(&Spec) -> bool| found.iter().any(|(_, spec)| kind(spec));
    if !has(|spec| matches!(spec, Spec::Kubernetes(_))) {
        for directive in directives.iter().filter(|directive| needs_kubernetes(directive)) {
            mistakes
                .add(directive.line, format!("`{}` reads what `kubernetes` of the same block knows, and there is none", directive.name));
        }
    }
    // Stable: plugins that repeat keep the file's order.
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, spec)| spec).collect()
}

fn needs_kubernetes(directive: &Directive) -> bool {
    match directive.name.as_str() {
        "k8s_external" => true,
        "rutter" => directive.body.iter().any(|property| property.name == "search-completion"),
        "autopath" => directive.args.iter().any(|arg| arg.starts_with('@')),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
