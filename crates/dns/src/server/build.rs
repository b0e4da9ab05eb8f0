//! From a Corefile to what serves it: plugins made, routes sorted, addresses chosen.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use super::chain::Plugin;
use super::metrics::Metrics;
use super::refresh::Refreshes;
use super::{Block, Fast, Route};
use crate::config::{Corefile, ServerBlock};
use crate::name::Name;
use crate::plugins::Spec;
use crate::plugins::acl::Acl;
use crate::plugins::autopath::Autopath;
use crate::plugins::cache::{Cache, Cap, Store};
use crate::plugins::errors::Errors;
use crate::plugins::forward::{self, Forward, Guard};
use crate::plugins::hosts::Hosts;
use crate::plugins::k8s_external::External;
use crate::plugins::kubernetes::{Current, Kubernetes, Options, Snapshot};
use crate::plugins::loadbalance::Loadbalance;
use crate::plugins::log::{Lines, Log};
use crate::plugins::metadata::Metadata;
use crate::plugins::rewrite::Rewrite;
use crate::plugins::rutter::local::Local;
use crate::plugins::rutter::search::Search;
use crate::plugins::template::Template;
use crate::plugins::transfer::Transfer;

/// What the plugins of all blocks share.
pub(crate) struct Parts<'a> {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<Store>,
    /// Where this server is found, loopback left out.
    pub(crate) local: Arc<[IpAddr]>,
    /// The same with ports, and what stands for all addresses as it is.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) refreshes: Refreshes,
    pub(crate) guard: Arc<Guard>,
    /// Snapshots that are kept up to date already.
    pub(crate) known: Vec<(Options, Current)>,
    /// The number of the first block: the cache keeps those of another Corefile apart.
    pub(crate) first_block: u32,
    /// The names hold the pods that ask: those of this node.
    pub(crate) own_pods: bool,
    /// Plugins may have tasks of their own: not where only answers are looked at.
    pub(crate) live: bool,
    pub(crate) onlooker: Option<&'a dyn Onlooker>,
}

/// Somebody who wants to see what becomes of questions, and has none leave the process.
pub(crate) trait Onlooker {
    /// In place of `forward`.
    fn forward(&self, options: &forward::Options) -> Box<dyn Plugin>;

    /// All plugins of a block, each so that it tells what it does.
    fn watch(&self, block: &ServerBlock, plugins: Vec<Box<dyn Plugin>>) -> Vec<Box<dyn Plugin>>;
}

/// A snapshot to be kept up to date.
pub(crate) struct Followed {
    pub(crate) options: Options,
    pub(crate) current: Current,
}

/// The addresses of each block: `listen` in place of what the Corefile says, if there is any.
pub(crate) fn addresses(corefile: &Corefile, listen: &[SocketAddr]) -> BTreeMap<SocketAddr, Vec<usize>> {
    let mut out: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
    for (at, block) in corefile.blocks.iter().enumerate() {
        let bound = block.bound();
        let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let ips = if bound.is_empty() { everywhere.to_vec() } else { bound };
        let ports = block.keys.iter().map(|key| key.port);
        let own: Vec<SocketAddr> = ports.flat_map(|port| ips.iter().map(move |ip| SocketAddr::new(*ip, port))).collect();
        for address in if listen.is_empty() { own } else { listen.to_vec() } {
            let blocks = out.entry(address).or_default();
            if !blocks.contains(&at) {
                blocks.push(at);
            }
        }
    }
    out
}

/// Makes the plugins of every block, and the snapshots that they read.
pub(crate) fn blocks(corefile: &Corefile, parts: &Parts<'_>) -> (Vec<Arc<Block>>, Vec<Followed>) {
    let mut followed = Vec::new();
    let blocks = corefile
        .blocks
        .iter()
        .zip(parts.first_block..)
        .map(|(block, n)| Arc::new_cyclic(|own| build(block, own, n, parts, &mut followed)))
        .collect();
    (blocks, followed)
}

fn build(block: &ServerBlock, own: &Weak<Block>, n: u32, parts: &Parts<'_>, followed: &mut Vec<Followed>) -> Block {
    let zones = block.zones();
    let rotate = block.plugins.iter().any(|plugin| matches!(plugin, Spec::Loadbalance(options) if options.weighted.is_none()));
    // The first zone's snapshot is made before the plugins in front of it, which read it as well.
    let kubernetes = block.plugins.iter().find_map(|plugin| match plugin {
        Spec::Kubernetes(options) => {
            let mut options = options.clone().or_zones_of(&zones);
            options.own_pods = parts.own_pods && completes_searches(&block.plugins);
            options.tells_clients = block.plugins.iter().any(|plugin| matches!(plugin, Spec::Metadata(_)));
            let known = parts.known.iter().find(|(known, _)| *known == options).map(|(_, current)| current.clone());
            let current = known.unwrap_or_else(|| Current::new(arc_swap::ArcSwap::from_pointee(Snapshot::unsynced())));
            followed.push(Followed { options: options.clone(), current: current.clone() });
            Some(Arc::new(Kubernetes::new(options, current, parts.local.clone(), rotate)))
        }
        _ => None,
    });
    let on = if block.bound().is_empty() { vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)] } else { block.bound() };
    for (key, ip) in block.keys.iter().flat_map(|key| on.iter().map(move |ip| (key, *ip))) {
        // As CoreDNS: those that questions pass through.
        let beside = |plugin: &&Spec| matches!(plugin, Spec::Bind(_) | Spec::Reload(_) | Spec::Ready(_) | Spec::Health(_));
        for plugin in block.plugins.iter().filter(|plugin| !beside(plugin)) {
            let labels = [&server_label(ip, key.port), &key.zone.to_string(), "", plugin.name()];
            parts.metrics.enabled.with_label_values(&labels).set(1);
        }
    }
    let mut plugins: Vec<Box<dyn Plugin>> = Vec::new();
    let (mut cache, mut max_udp) = (None, None);
    let (mut kubernetes_at, mut cache_at) = (None, None);
    let mut logs = Vec::new();
    let mut metadata = None;
    // The directives of these are one plugin together.
    let mut rules = all(block, |plugin| if let Spec::Rewrite(rule) = plugin { Some(rule) } else { None });
    let mut acls = all(block, |plugin| if let Spec::Acl(options) = plugin { Some(options) } else { None });
    let mut transfers = all(block, |plugin| if let Spec::Transfer(options) = plugin { Some(options) } else { None });
    let external = block.plugins.iter().find_map(|plugin| match (plugin, &kubernetes) {
        (Spec::K8sExternal(options), Some(kubernetes)) => Some(Arc::new(External::new(options.clone(), &zones, kubernetes.clone()))),
        _ => None,
    });
    let forwards = block.plugins.iter().filter_map(|plugin| if let Spec::Forward(options) = plugin { Some(&options.from) } else { None });
    let forwarded: Vec<Name> = forwards.flatten().cloned().collect();
    // Behind the cluster's names, and in front of the cache.
    let mut local = block.plugins.iter().find_map(|plugin| match plugin {
        Spec::Rutter(options) => Local::new(options, &parts.local, &forwarded),
        _ => None,
    });
    let guarded = block.plugins.iter().any(|plugin| matches!(plugin, Spec::Loop(_)));
    let lines = || Lines::to_stdout(parts.metrics.log_dropped.clone());
    let server: Arc<str> = server_label(on[0], block.keys.first().map_or(53, |key| key.port)).into();
    let mut cap = block.plugins.iter().find_map(|plugin| match plugin {
        Spec::Cache(options) => Cap::new(options, &block.plugins, &zones),
        _ => None,
    });
    for plugin in &block.plugins {
        if matches!(plugin, Spec::Template(_) | Spec::Hosts(_) | Spec::K8sExternal(_) | Spec::Kubernetes(_)) {
            plugins.extend(cap.take().map(|cap| Box::new(cap) as Box<dyn Plugin>));
        }
        if matches!(plugin, Spec::Cache(_) | Spec::Forward(_)) {
            plugins.extend(local.take().map(|local| Box::new(local) as Box<dyn Plugin>));
        }
        match plugin {
            Spec::Metadata(options) => metadata = Some(Metadata::new(options, &zones, kubernetes.clone())),
            Spec::Log(options) => logs.push(Log::new(options.clone(), lines())),
            Spec::Bufsize(options) => max_udp = Some(options.size),
            Spec::Rewrite(_) if !rules.is_empty() => plugins.push(Box::new(Rewrite::new(std::mem::take(&mut rules)))),
            Spec::Acl(_) if !acls.is_empty() => {
                plugins.push(Box::new(Acl::new(std::mem::take(&mut acls), &zones, parts.metrics.acl(&server))));
            }
            Spec::Rewrite(_) | Spec::Acl(_) => {}
            Spec::Autopath(options) => {
                plugins.push(Box::new(Autopath::new(options.clone(), &zones, kubernetes.clone(), parts.metrics.autopath(&server))));
            }
            Spec::Template(options) => plugins.push(Box::new(Template::new(options.clone(), &zones, parts.metrics.template(&server)))),
            Spec::Transfer(_) => {
                if let Some(kubernetes) = kubernetes.as_ref().filter(|_| !transfers.is_empty()) {
                    let rules = std::mem::take(&mut transfers);
                    plugins.push(Box::new(Transfer::new(rules, &zones, kubernetes.clone(), external.clone())));
                }
            }
            Spec::Hosts(options) => {
                let hosts = Arc::new(Hosts::new(options.clone(), &zones, &parts.metrics));
                if parts.live {
                    hosts.watch(parts.metrics.clone());
                }
                plugins.push(Box::new(Shared(hosts)));
            }
            Spec::Rutter(options) => {
                if let (Some(host), Some(kubernetes)) = (&options.search, &kubernetes) {
                    plugins.push(Box::new(Search::new(kubernetes.clone(), host.clone())));
                }
            }
            Spec::K8sExternal(_) => plugins.extend(external.clone().map(|external| Box::new(Shared(external)) as Box<dyn Plugin>)),
            Spec::Kubernetes(_) => {
                if let Some(kubernetes) = &kubernetes {
                    kubernetes_at = Some(plugins.len());
                    plugins.push(Box::new(Shared(kubernetes.clone())));
                }
            }
            Spec::Cache(options) => {
                let mut options = options.clone();
                if options.zones.is_empty() {
                    options.zones.clone_from(&zones);
                }
                let made = Arc::new(Cache::new(
                    options,
                    parts.store.clone(),
                    n,
                    &server,
                    &parts.metrics,
                    parts.refreshes.of(own, plugins.len()),
                    rotate,
                ));
                cache_at = Some(plugins.len());
                plugins.push(Box::new(Shared(made.clone())));
                cache = Some(made);
            }
            Spec::Forward(options) if let Some(onlooker) = parts.onlooker => plugins.push(onlooker.forward(options)),
            Spec::Forward(options) => {
                let guard = guarded.then(|| parts.guard.clone());
                let forward = Forward::new(options.clone(), &parts.listen, guard, parts.metrics.clone());
                if parts.live {
                    forward.watch_for_loops();
                }
                plugins.push(Box::new(forward));
            }
            // These say how the server is run; no question passes through them.
            Spec::Bind(_) | Spec::Reload(_) | Spec::Ready(_) | Spec::Health(_) | Spec::Prometheus(_) => {}
            Spec::Errors(options) if parts.live => plugins.push(Box::new(Errors::new(options.clone(), lines()))),
            Spec::Errors(_) | Spec::Loop(_) => {}
            Spec::Loadbalance(options) => plugins.push(Box::new(Loadbalance::new(options.clone(), parts.live))),
        }
    }
    plugins.extend(local.map(|local| Box::new(local) as Box<dyn Plugin>));
    if let Some(onlooker) = parts.onlooker {
        plugins = onlooker.watch(block, plugins);
    }
    let cache_at = cache_at.unwrap_or(plugins.len());
    let in_front = 0..kubernetes_at.unwrap_or(cache_at);
    let between = kubernetes_at.map_or(cache_at..cache_at, |at| at + 1..cache_at);
    // Where each question is logged there is no need for speed.
    let plain = logs.is_empty();
    let empty = block.plugins.iter().all(|plugin| matches!(plugin, Spec::Bind(_) | Spec::Reload(_) | Spec::Ready(_) | Spec::Health(_)));
    let all_classes = block.plugins.iter().any(|plugin| matches!(plugin, Spec::Forward(_)));
    Block { plugins, fast: plain.then_some(Fast { kubernetes, cache, in_front, between }), logs, metadata, max_udp, empty, all_classes }
}

/// What the block's directives of one kind say.
fn all<T: Clone>(block: &ServerBlock, kind: fn(&Spec) -> Option<&T>) -> Vec<T> {
    block.plugins.iter().filter_map(kind).cloned().collect()
}

/// A plugin that others know as well.
struct Shared<P>(Arc<P>);

impl<P: Plugin> Plugin for Shared<P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn answer<'a>(&'a self, request: &'a super::chain::Request, next: super::chain::Next<'a>) -> super::chain::Answering<'a> {
        self.0.answer(request, next)
    }

    fn knows_class(&self, class: u16) -> bool {
        self.0.knows_class(class)
    }

    fn passes(&self, query: &crate::wire::Query<'_>) -> bool {
        self.0.passes(query)
    }
}

/// Whether a block answers the first step of a search list with the last one's records.
pub(crate) fn completes_searches(plugins: &[Spec]) -> bool {
    plugins.iter().any(|plugin| matches!(plugin, Spec::Rutter(options) if options.search.is_some()))
}

/// The routes of one address, the longest zones first.
pub(crate) fn routes(corefile: &Corefile, blocks: &[Arc<Block>], on: &[usize], address: SocketAddr, overridden: bool) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for &at in on {
        for key in corefile.blocks[at].keys.iter().filter(|key| overridden || key.port == address.port()) {
            if routes.iter().any(|known| known.zone == key.zone) {
                continue;
            }
            routes.push(Route {
                n_labels: key.zone.n_labels(),
                label: key.zone.to_string().into(),
                server: server_label(if overridden { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { address.ip() }, key.port).into(),
                zone: key.zone.clone(),
                block: blocks[at].clone(),
            });
        }
    }
    routes.sort_by_key(|route| std::cmp::Reverse(route.n_labels));
    routes
}

/// The routes of port 53 (or of the first one that there is) without any socket, to see what plugins answer together.
pub(crate) fn routes_to_look_at(
    corefile: &Corefile,
    local: Arc<[IpAddr]>,
    own_pods: bool,
    onlooker: Option<&dyn Onlooker>,
) -> (Vec<Route>, Vec<Followed>) {
    let metrics = Metrics::new(&runtime::Registry::default());
    let parts = Parts {
        metrics,
        store: Arc::new(Store::new()),
        local,
        listen: Vec::new(),
        refreshes: Refreshes::nowhere(),
        guard: Arc::default(),
        known: Vec::new(),
        first_block: 0,
        own_pods,
        live: false,
        onlooker,
    };
    let (blocks, followed) = blocks(corefile, &parts);
    let on: Vec<usize> = (0..blocks.len()).collect();
    let mut ports = corefile.blocks.iter().flat_map(|block| &block.keys).map(|key| key.port);
    let first = ports.clone().next().unwrap_or(corefile.port);
    let port = ports.find(|port| *port == 53).unwrap_or(first);
    (routes(corefile, &blocks, &on, SocketAddr::from(([0, 0, 0, 0], port)), false), followed)
}

/// A listener as CoreDNS's metrics name it: without an address where it has all.
fn server_label(ip: IpAddr, port: u16) -> String {
    if ip.is_unspecified() { format!("dns://:{port}") } else { format!("dns://{}", SocketAddr::new(ip, port)) }
}

/// Where this server can be reached: its listeners' addresses, or all of the machine's where one stands for all. Loopback and
/// link-local addresses are nobody else's way here.
pub(crate) fn local_addresses(listen: impl Iterator<Item = SocketAddr>) -> Arc<[IpAddr]> {
    let mut all = Vec::new();
    for address in listen {
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => all.extend(v4_of(&read("/proc/net/fib_trie"))),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => all.extend(v6_of(&read("/proc/net/if_inet6"))),
            ip => all.push(ip),
        }
    }
    all.retain(|ip| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    });
    all.sort();
    all.dedup();
    all.into()
}

/// The listeners, and each address that one of them has as one of all.
pub(crate) fn with_local(listening: &[SocketAddr], local: &[IpAddr]) -> Vec<SocketAddr> {
    let everywhere = listening.iter().filter(|address| address.ip().is_unspecified());
    let each =
        everywhere.flat_map(|all| local.iter().filter(|ip| ip.is_ipv4() == all.is_ipv4()).map(|ip| SocketAddr::new(*ip, all.port())));
    listening.iter().copied().chain(each).collect()
}

fn read(path: &str) -> String {
    // Without /proc the zones' name servers are unknown, and nothing else.
    std::fs::read_to_string(path).unwrap_or_default()
}

/// `|-- 10.0.0.2` before a line `/32 host LOCAL`.
fn v4_of(trie: &str) -> Vec<IpAddr> {
    let mut last: Option<IpAddr> = None;
    let mut found = Vec::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// 32 hexadecimal digits at the start of each line.
fn v6_of(table: &str) -> Vec<IpAddr> {
    let digits = table.lines().filter_map(|line| line.split_whitespace().next());
    digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(|bits| IpAddr::from(Ipv6Addr::from(bits))).collect()
}
