//! What the directive says.

use std::path::PathBuf;
use std::time::Duration;

use super::Selector;
use crate::config::directive::{Directive, Line, Mistakes};
use crate::name::Name;
use crate::plugins::scope::{Fallthrough, zones_or};

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub zones: Vec<Name>,
    pub pods: Pods,
    /// An endpoint without a hostname is named after its pod.
    pub endpoint_pod_names: bool,
    /// Only these namespaces exist; empty: all.
    pub namespaces: Vec<String>,
    pub namespace_labels: Option<Selector>,
    pub labels: Option<Selector>,
    pub ttl_secs: u32,
    /// Headless Services and endpoints have no names.
    pub no_endpoints: bool,
    pub fallthrough: Fallthrough,
    /// A ClusterIP Service without ready endpoints has no name.
    pub ignore_empty_service: bool,
    /// Those of `zones` that show ServiceImports.
    pub multicluster: Vec<Name>,
    pub zonal: bool,
    /// How long the start waits for the objects before it serves without them.
    pub startup_timeout: Duration,
    /// The API that is followed, where the directive says one.
    pub api: Option<Api>,
    /// No option of the directive: pods are looked up though no name needs them, to know who asks.
    pub own_pods: bool,
    /// No option of the directive: `metadata` tells who asks.
    pub tells_clients: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    Disabled,
    Insecure,
    Verified,
}

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// A file, and one of its contexts in place of the current one.
    Kubeconfig {
        path: PathBuf,
        context: Option<String>,
    },
    Endpoint {
        url: String,
        tls: Option<Tls>,
    },
}

/// The files of `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// `ttl SECONDS`, 0 to 3600.
pub(crate) fn ttl(directive: &Directive, mistakes: &mut Mistakes) -> Option<u32> {
    let ttl = directive.parsed("a number of seconds", mistakes)?;
    if ttl > 3_600 {
        mistakes.add(directive.line, format!("`ttl {ttl}`: 3600 at the most"));
        return None;
    }
    Some(ttl)
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut options = Options {
        zones: directive.zones(mistakes),
        pods: Pods::Disabled,
        endpoint_pod_names: false,
        namespaces: Vec::new(),
        namespace_labels: None,
        labels: None,
        // 5 s: CoreDNS's default TTL, so swapping servers changes nothing.
        ttl_secs: 5,
        no_endpoints: false,
        fallthrough: Fallthrough::Never,
        ignore_empty_service: false,
        multicluster: Vec::new(),
        zonal: false,
        startup_timeout: Duration::from_secs(5),
        api: None,
        own_pods: false,
        tells_clients: false,
    };
    for property in &directive.body {
        property_of(&mut options, property, mistakes);
    }
    options.api = api(directive, mistakes);
    check(&options, directive.line, mistakes);
    Some(options)
}

fn property_of(options: &mut Options, property: &Directive, mistakes: &mut Mistakes) {
    const KNOWN: &[&str] = &[
        "pods",
        "endpoint_pod_names",
        "namespaces",
        "namespace_labels",
        "labels",
        "ttl",
        "noendpoints",
        "fallthrough",
        "ignore",
        "multicluster",
        "zonal",
        "startup_timeout",
        "kubeconfig",
        "endpoint",
        "tls",
        "apiserver_qps",
        "apiserver_burst",
        "apiserver_max_inflight",
    ];
    property.plain(mistakes);
    match property.name.as_str() {
        "pods" => match property.one(mistakes) {
            Some("disabled") => options.pods = Pods::Disabled,
            Some("insecure") => options.pods = Pods::Insecure,
            Some("verified") => options.pods = Pods::Verified,
            Some(other) => mistakes.add(property.line, format!("`pods {other}`: not disabled, insecure or verified")),
            None => {}
        },
        "endpoint_pod_names" => {
            property.bare(mistakes);
            options.endpoint_pod_names = true;
        }
        "namespaces" => {
            if property.args.is_empty() {
                mistakes.add(property.line, "`namespaces` names none");
            }
            options.namespaces.extend(property.args.iter().map(|name| name.to_ascii_lowercase()));
        }
        "namespace_labels" => options.namespace_labels = selector(property, mistakes),
        "labels" => options.labels = selector(property, mistakes),
        "ttl" => options.ttl_secs = ttl(property, mistakes).unwrap_or(options.ttl_secs),
        "noendpoints" => {
            property.bare(mistakes);
            options.no_endpoints = true;
        }
        "fallthrough" => options.fallthrough = Fallthrough::parse(property, mistakes),
        // As CoreDNS: what stands behind the first word is not looked at, and nothing may be ignored.
        "ignore" => match property.args.first().map(String::as_str) {
            Some("empty_service") => options.ignore_empty_service = true,
            Some(other) => mistakes.add(property.line, format!("`ignore {other}`: only empty_service can be ignored")),
            None => {}
        },
        "multicluster" => options.multicluster = property.zones(mistakes),
        "zonal" => {
            property.bare(mistakes);
            options.zonal = true;
        }
        "startup_timeout" => options.startup_timeout = property.duration(mistakes).unwrap_or(options.startup_timeout),
        // Read together, by `api`.
        "kubeconfig" | "endpoint" | "tls" => {}
        // Known to CoreDNS: how its own API client behaves. Ours has limits of its own.
        "apiserver_qps" => at_least_zero(property.parsed::<f32>("a number", mistakes), property, mistakes),
        "apiserver_burst" | "apiserver_max_inflight" => {
            at_least_zero(property.parsed::<i32>("a number", mistakes).map(|n| n as f32), property, mistakes);
        }
        _ => mistakes.unknown(property, "kubernetes", KNOWN),
    }
}

/// Where the API is: CoreDNS's order of what counts.
fn api(directive: &Directive, mistakes: &mut Mistakes) -> Option<Api> {
    let (mut kubeconfig, mut endpoint, mut tls) = (None, None, None);
    for property in &directive.body {
        match (property.name.as_str(), property.args.as_slice()) {
            ("kubeconfig", [path]) => kubeconfig = Some((path.into(), None)),
            ("kubeconfig", [path, context]) => kubeconfig = Some((path.into(), Some(context.clone()))),
            ("kubeconfig", _) => mistakes.add(property.line, "`kubeconfig` takes a path and a context"),
            // CoreDNS takes several and uses the first.
            ("endpoint", [url, ..]) => endpoint = Some(if url.contains("://") { url.clone() } else { format!("http://{url}") }),
            ("endpoint", []) => mistakes.add(property.line, "`endpoint` takes an address of the API server"),
            ("tls", [certificate, key, authority]) => {
                tls = Some(Tls { certificate: certificate.into(), key: key.into(), authority: authority.into() });
            }
            ("tls", _) => mistakes.add(property.line, "`tls` takes a certificate, its key and an authority"),
            _ => {}
        }
    }
    match (kubeconfig, endpoint) {
        (Some((path, context)), _) => Some(Api::Kubeconfig { path, context }),
        (None, Some(url)) => Some(Api::Endpoint { url, tls }),
        (None, None) => None,
    }
}

fn at_least_zero(number: Option<f32>, property: &Directive, mistakes: &mut Mistakes) {
    if number.is_some_and(|number| number < 0.0) {
        mistakes.add(property.line, format!("`{}` is not less than 0", property.name));
    }
}

fn selector(property: &Directive, mistakes: &mut Mistakes) -> Option<Selector> {
    // White space inside `a in (b, c)` has cut it into words.
    let text = property.args.join(" ");
    match Selector::parse(&text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            mistakes.add(property.line, format!("`{}`: {error}", property.name));
            None
        }
    }
}

/// What the options must not say together.
fn check(options: &Options, line: Line, mistakes: &mut Mistakes) {
    if !options.namespaces.is_empty() && options.namespace_labels.is_some() {
        mistakes.add(line, "`namespaces` and `namespace_labels` exclude each other");
    }
    if options.zonal && options.no_endpoints {
        mistakes.add(line, "`zonal` needs the endpoints that `noendpoints` leaves out");
    }
    if !options.zones.is_empty() && options.zones.iter().all(Name::is_reverse) {
        mistakes.add(line, "`kubernetes` needs a zone that is not a reverse one: PTR records point into it");
    }
    if let Some(zone) = options.multicluster.iter().find(|zone| !options.zones.contains(zone)) {
        mistakes.add(line, format!("`multicluster {zone}` is not among the zones of `kubernetes`"));
    }
}

/// The zones of a directive that names none are its block's.
impl Options {
    pub(crate) fn or_zones_of(mut self, block: &[Name]) -> Self {
        self.zones = zones_or(&self.zones, block);
        self
    }

    /// Whether there may be namespaces that do not exist under the zones.
    pub(crate) fn filters_namespaces(&self) -> bool {
        !self.namespaces.is_empty() || self.namespace_labels.is_some()
    }

    /// Zones as the Corefile would write them.
    pub fn zone_texts(&self) -> Vec<String> {
        self.zones.iter().map(Name::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::mistakes;

    #[test]
    fn what_coredns_takes_is_taken_and_what_it_refuses_is_not() {
        for (options, taken) in [
            ("endpoint http://a:9090 http://b:9091", true),
            ("endpoint", false),
            ("ignore empty_service and the rest", true),
            ("ignore the rest", false),
            ("multicluster", true),
            ("multicluster other.test", false),
            ("apiserver_qps 50.5\n apiserver_burst 100\n apiserver_max_inflight 25", true),
            ("apiserver_qps -10", false),
            ("apiserver_burst -5", false),
            ("apiserver_max_inflight x", false),
            ("tls cert key", false),
            ("tls cert key authority", true),
            ("kubeconfig file", true),
            ("kubeconfig file context more", false),
            ("resyncperiod 5m", false),
            ("zonal us-west-2a", false),
        ] {
            let told = mistakes(&format!("kubernetes cluster.local {{\n {options}\n}}"));
            assert_eq!(told.is_empty(), taken, "{options}: {told:?}");
        }
    }
}
