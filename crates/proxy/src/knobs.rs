//! What the kernel is told once at the start: connection tracking's limits and times, and who is killed last when memory runs out.
//!
//! All of it is best effort, and a failure is a warning: a container may see /proc/sys read-only, and the size of the connection table
//! belongs to the host alone. kube-proxy does this with `--init-only` in a privileged container before the unprivileged one runs.
//!
//! Source: kube-proxy's `conntrack.go` and `server_linux.go`.

use std::time::Duration;

use kernel::{Errno, sysctl};
use tracing::warn;

use crate::Config;

/// Sets the knobs that `config` names. Once per process, by programs that are a service proxy and nothing else: what they start
/// inherits the score.
pub fn prepare(config: &Config) {
    for (knob, value) in wanted(config, cores()) {
        if let Err(error) = sysctl::write(knob, &value) {
            warn!(knob, value, %error, "connection tracking stays as it is");
        }
    }
    if let Some(score) = config.oom_score_adj
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        warn!(score, %error, "oomScoreAdj stays as it is");
    }
    if let Err(error) = grow_hash_table(config) {
        warn!(%error, "the connection table's buckets stay as they are");
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

fn wanted(config: &Config, cores: u32) -> Vec<(&'static str, String)> {
    let conntrack = &config.conntrack;
    let mut knobs = Vec::new();
    if let Some(max) = max_connections(config, cores) {
        knobs.push(("net.netfilter.nf_conntrack_max", max.to_string()));
    }
    let times: [(&str, Duration); 4] = [
        ("net.netfilter.nf_conntrack_tcp_timeout_established", conntrack.tcp_established),
        ("net.netfilter.nf_conntrack_tcp_timeout_close_wait", conntrack.tcp_close_wait),
        ("net.netfilter.nf_conntrack_udp_timeout", conntrack.udp),
        ("net.netfilter.nf_conntrack_udp_timeout_stream", conntrack.udp_stream),
    ];
    knobs.extend(times.into_iter().filter(|(_, time)| !time.is_zero()).map(|(knob, time)| (knob, time.as_secs().max(1).to_string())));
    if conntrack.tcp_be_liberal {
        knobs.push(("net.netfilter.nf_conntrack_tcp_be_liberal", "1".to_owned()));
    }
    knobs
}

fn max_connections(config: &Config, cores: u32) -> Option<u64> {
    let conntrack = &config.conntrack;
    let scaled = u64::from(conntrack.max_per_core) * u64::from(cores);
    (conntrack.max_per_core > 0).then(|| scaled.max(conntrack.min.into()))
}

/// A table of N connections has N/4 buckets at least, else each look walks a long chain. Never shrinks it.
fn grow_hash_table(config: &Config) -> Result<(), Errno> {
    const HASH_SIZE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
    let Some(wanted) = max_connections(config, cores()).map(|max| max / 4) else { return Ok(()) };
    let Ok(now) = std::fs::read_to_string(HASH_SIZE) else { return Ok(()) };
    if now.trim().parse::<u64>().is_ok_and(|now| now >= wanted) {
        return Ok(());
    }
    Ok(std::fs::write(HASH_SIZE, wanted.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, cores: u32, expected: &[&str]) {
        let config = Config::parse(text).expect("a valid file");
        let said: Vec<String> = wanted(&config, cores).into_iter().map(|(knob, value)| format!("{knob}={value}")).collect();
        let short: Vec<&str> = said.iter().map(|line| line.trim_start_matches("net.netfilter.nf_conntrack_")).collect();
        assert_eq!(short, expected, "{text}");
    }

    #[test]
    fn an_empty_file_sets_what_kube_proxy_sets() {
        check("{}", 2, &["max=131072", "tcp_timeout_established=86400", "tcp_timeout_close_wait=3600"]);
        check("{}", 8, &["max=262144", "tcp_timeout_established=86400", "tcp_timeout_close_wait=3600"]);
    }

    #[test]
    fn nought_leaves_a_value_alone() {
        let text = "conntrack: {maxPerCore: 0, min: 5, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, tcpBeLiberal: true, udpTimeout: 10s, udpStreamTimeout: 2m}";
        check(text, 2, &["udp_timeout=10", "udp_timeout_stream=120", "tcp_be_liberal=1"]);
    }
}
