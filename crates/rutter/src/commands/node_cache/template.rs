//! From `Corefile.base` to a Corefile: the variables that only the node knows, and the stub domains of the ConfigMap kube-dns.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What a Corefile is made of.
pub struct Template {
    pub base: PathBuf,
    pub local: Vec<IpAddr>,
    /// Of the stub domains' blocks.
    pub port: u16,
    /// The address of the Service that the cluster's names are asked of.
    pub cluster_dns: Option<IpAddr>,
    /// The variable that it comes from.
    pub variable: String,
}

/// The ConfigMap kube-dns, one file for each key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KubeDns {
    stub_domains: BTreeMap<String, Vec<String>>,
    upstreams: Vec<String>,
}

/// kube-dns's own.
const STUB_TTL: u32 = 30;
const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";
const LOCAL: &str = "__PILLAR__LOCAL__DNS__";
const SERVER: &str = "__PILLAR__DNS__SERVER__";
const UPSTREAMS: &str = "__PILLAR__UPSTREAM__SERVERS__";

/// The variable that every pod has of a Service older than itself.
pub fn variable_of(service: &str) -> String {
    format!("{}_SERVICE_HOST", service.replace('-', "_").to_ascii_uppercase())
}

impl KubeDns {
    /// Reads the folder; what is not there says nothing.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        fn key<T: serde::de::DeserializeOwned + Default>(folder: &Path, name: &str) -> anyhow::Result<T> {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) if text.trim().is_empty() => Ok(T::default()),
                Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", path.display())),
                Err(_) => Ok(T::default()),
            }
        }
        Ok(Self { stub_domains: key(folder, "stubDomains")?, upstreams: key(folder, "upstreamNameservers")? })
    }
}

impl Template {
    /// The Corefile, or what is missing for it.
    pub fn render(&self, kube_dns: &KubeDns) -> Result<String, String> {
        let base = std::fs::read_to_string(&self.base).map_err(|error| format!("-basecorefile {}: {error}", self.base.display()))?;
        self.fill(&base, kube_dns)
    }

    fn fill(&self, base: &str, kube_dns: &KubeDns) -> Result<String, String> {
        let all: Vec<String> = self.local.iter().map(ToString::to_string).collect();
        let all = all.join(" ");
        let mut text = base.to_owned();
        if let Some(first) = self.local.first() {
            // Behind `health` stands one address and its port.
            let one = if first.is_ipv4() { first.to_string() } else { format!("[{first}]") };
            text = text.replace(&format!("{LOCAL}:"), &format!("{one}:"));
        }
        text = text.replace(LOCAL, &all).replace(SERVER, "");
        text = match kube_dns.upstreams.as_slice() {
            [] => text.replace(UPSTREAMS, "/etc/resolv.conf"),
            // Servers that the operator names are asked by UDP, whatever the template does with those of the node.
            own => without_tcp(&text).replace(UPSTREAMS, &own.join(" ")),
        };
        if text.contains(CLUSTER_DNS) {
            let Some(ip) = self.cluster_dns else {
                return Err(format!("{CLUSTER_DNS}: no address in {} (is the Service older than this pod?)", self.variable));
            };
            text = text.replace(CLUSTER_DNS, &ip.to_string());
        }
        for (domain, servers) in &kube_dns.stub_domains {
            text += &format!(
                "\n{domain}:{} {{\n    errors\n    cache {STUB_TTL}\n    bind {all}\n    forward . {}\n}}\n",
                self.port,
                servers.join(" ")
            );
        }
        Ok(text)
    }
}

/// The template with `force_tcp` taken from the block of its upstreams.
fn without_tcp(text: &str) -> String {
    let Some(at) = text.find(UPSTREAMS).map(|at| at + UPSTREAMS.len()) else { return text.to_owned() };
    let (before, behind) = text.split_at(at);
    match behind.trim_start_matches(' ').strip_prefix('{').and_then(|body| body.split_once('}')) {
        Some((body, rest)) => format!("{before} {{{}}}{rest}", body.replace("force_tcp", "")),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, kube_dns: KubeDns) -> String {
        let local = ["169.254.20.10", "10.96.0.10"].map(|ip| ip.parse().expect("an address")).to_vec();
        let cluster_dns = Some("10.96.7.7".parse().expect("an address"));
        let template = Template { base: PathBuf::new(), local, port: 53, cluster_dns, variable: variable_of("kube-dns-upstream") };
        template.fill(base, &kube_dns).unwrap_or_else(|error| error)
    }

    #[test]
    fn variables_become_what_the_node_knows() {
        for (base, filled) in [
            ("bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__\n", "bind 169.254.20.10 10.96.0.10 \n"),
            ("health __PILLAR__LOCAL__DNS__:8080", "health 169.254.20.10:8080"),
            ("forward . __PILLAR__CLUSTER__DNS__ {\n force_tcp\n}", "forward . 10.96.7.7 {\n force_tcp\n}"),
            ("forward . __PILLAR__UPSTREAM__SERVERS__", "forward . /etc/resolv.conf"),
            ("cache 30", "cache 30"),
        ] {
            assert_eq!(check(base, KubeDns::default()), filled);
        }
    }

    #[test]
    fn the_operators_servers_and_stub_domains_are_taken_up() {
        let kube_dns = || KubeDns {
            stub_domains: [("acme.local".to_owned(), vec!["1.2.3.4".to_owned(), "5.6.7.8".to_owned()])].into(),
            upstreams: vec!["8.8.8.8".to_owned()],
        };
        let stub = "\nacme.local:53 {\n    errors\n    cache 30\n    bind 169.254.20.10 10.96.0.10\n    forward . 1.2.3.4 5.6.7.8\n}\n";
        for (base, filled) in [
            ("forward . __PILLAR__UPSTREAM__SERVERS__", "forward . 8.8.8.8"),
            ("forward . __PILLAR__UPSTREAM__SERVERS__ {\n force_tcp\n}\n}", "forward . 8.8.8.8 {\n \n}\n}"),
        ] {
            assert_eq!(check(base, kube_dns()), format!("{filled}{stub}"));
        }
    }

    #[test]
    fn a_service_that_the_pod_does_not_know_is_named() {
        let template =
            Template { base: PathBuf::new(), local: Vec::new(), port: 53, cluster_dns: None, variable: variable_of("kube-dns-upstream") };
        let told = template.fill("forward . __PILLAR__CLUSTER__DNS__", &KubeDns::default()).expect_err("no address");
        assert!(told.contains("KUBE_DNS_UPSTREAM_SERVICE_HOST"), "{told}");
    }
}
