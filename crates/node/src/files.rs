//! The files that a pod's name resolution reads: /etc/resolv.conf, /etc/hosts, /etc/hostname. Pure texts.
//!
//! Source: kubelet's `network/dns/dns.go` and `kubelet_pods.go` (`ensureHostsFile`).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::spec::PodSpec;

/// glibc reads no more name servers (resolv.conf(5)).
const MAX_NAMESERVERS: usize = 3;

/// What the cluster gives its pods.
#[derive(Clone, Debug)]
pub struct ClusterDns {
    pub server: IpAddr,
    /// Without dots at the ends: `cluster.local`.
    pub domain: String,
}

/// /etc/resolv.conf of a pod of `namespace`; `host` is the node's own, for policy `Default`.
pub fn resolv_conf(spec: &PodSpec, namespace: &str, cluster: &ClusterDns, host: &str) -> String {
    let from_cluster = match spec.dns_policy.as_str() {
        "Default" => false,
        "None" => return custom(spec, Conf::default()),
        // With the host's network ClusterFirst means Default: the pod is to see what the host sees.
        "ClusterFirst" | "" => !spec.host_network,
        _ => true,
    };
    let mut conf = Conf::parse(host);
    if from_cluster {
        let domain = &cluster.domain;
        let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        searches.append(&mut conf.searches);
        conf = Conf { nameservers: vec![cluster.server.to_string()], searches, options: vec!["ndots:5".to_string()] };
    }
    custom(spec, conf)
}

/// Adds what `dnsConfig` says.
fn custom(spec: &PodSpec, mut conf: Conf) -> String {
    if let Some(config) = &spec.dns_config {
        conf.nameservers.extend(config.nameservers.iter().cloned());
        conf.searches.extend(config.searches.iter().cloned());
        for option in &config.options {
            conf.options.retain(|known| known.split(':').next() != Some(option.name.as_str()));
            conf.options.push(match &option.value {
                Some(value) => format!("{}:{value}", option.name),
                None => option.name.clone(),
            });
        }
    }
    conf.nameservers.truncate(MAX_NAMESERVERS);
    conf.to_string()
}

/// The host name of a pod and, with a subdomain, its full name.
pub fn hostname(spec: &PodSpec, pod_name: &str, namespace: &str, domain: &str) -> (String, Option<String>) {
    let hostname = if spec.hostname.is_empty() { pod_name } else { &spec.hostname };
    // A host name has at most 63 characters (RFC 1123); kubelet cuts longer pod names there.
    let hostname = hostname.get(..63).unwrap_or(hostname).trim_end_matches(['-', '.']).to_string();
    let full = (!spec.subdomain.is_empty()).then(|| format!("{hostname}.{}.{namespace}.svc.{domain}", spec.subdomain));
    (hostname, full)
}

/// /etc/hosts of a pod.
pub fn hosts(spec: &PodSpec, address: IpAddr, hostname: &str, full_name: Option<&str>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let names = full_name.map_or_else(|| hostname.to_string(), |full| format!("{full}\t{hostname}"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{address}\t{names}");
    for alias in &spec.host_aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
    text
}

#[derive(Debug, Default)]
struct Conf {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

// === impl Conf ===

impl Conf {
    /// Lines that glibc would not read either are left out.
    fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next().map(str::to_string)),
                Some("search" | "domain") => conf.searches = words.map(str::to_string).collect(),
                Some("options") => conf.options.extend(words.map(str::to_string)),
                _ => {}
            }
        }
        conf
    }
}

impl std::fmt::Display for Conf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\ndomain corp.test\nnameserver 192.0.2.53\noptions timeout:1\n";

    fn check(spec: &str) -> String {
        let spec: PodSpec = serde_json::from_str(spec).expect("a spec");
        let cluster = ClusterDns { server: "10.96.0.10".parse().expect("address"), domain: "cluster.local".to_string() };
        resolv_conf(&spec, "shop", &cluster, HOST)
    }

    #[test]
    fn the_cluster_comes_first_unless_the_pod_says_otherwise() {
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.test\nnameserver 10.96.0.10\noptions ndots:5\n";
        let host = "search corp.test\nnameserver 192.0.2.53\noptions timeout:1\n";
        assert_eq!(check("{}"), cluster);
        assert_eq!(check(r#"{"dnsPolicy":"ClusterFirst","hostNetwork":true}"#), host);
        assert_eq!(check(r#"{"dnsPolicy":"ClusterFirstWithHostNet","hostNetwork":true}"#), cluster);
        assert_eq!(check(r#"{"dnsPolicy":"Default"}"#), host);
    }

    #[test]
    fn dns_config_adds_and_replaces_options_by_name() {
        let config =
            r#""dnsConfig":{"nameservers":["192.0.2.1"],"searches":["x.test"],"options":[{"name":"ndots","value":"2"},{"name":"rotate"}]}"#;
        assert_eq!(check(&format!(r#"{{"dnsPolicy":"None",{config}}}"#)), "search x.test\nnameserver 192.0.2.1\noptions ndots:2 rotate\n");
        assert!(check(&format!("{{{config}}}")).ends_with("nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:2 rotate\n"));
    }

    #[test]
    fn a_pod_with_a_subdomain_knows_its_full_name() {
        let spec: PodSpec =
            serde_json::from_str(r#"{"hostname":"db","subdomain":"dbs","hostAliases":[{"ip":"192.0.2.9","hostnames":["a","b"]}]}"#)
                .expect("a spec");
        let (name, full) = hostname(&spec, "db-7", "shop", "cluster.local");
        assert_eq!(
            hosts(&spec, "10.244.0.5".parse().expect("address"), &name, full.as_deref()),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.244.0.5\tdb.dbs.shop.svc.cluster.local\tdb\n192.0.2.9\ta\tb\n"
        );
    }
}
