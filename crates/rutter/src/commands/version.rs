//! `rutter version`: what this is, and what of the kernel beneath it is there.

use clap::{Args, ValueEnum};
use kernel::probe::{self, Feature};
use serde_json::json;

use crate::output;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `unknown` where it was built from files alone.
const COMMIT: &str = env!("RUTTER_COMMIT");

/// What `rutter --version` says behind the name.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), ", commit ", env!("RUTTER_COMMIT"));

#[derive(Args, Debug)]
pub struct Flags {
    /// How to say it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let (release, features) = (probe::release()?, probe::features());
    match flags.output {
        Format::Text => output::lines(text(&release, &features)),
        Format::Json => output::line(format_args!("{:#}", json(&release, &features))),
    }
    Ok(())
}

/// Says what this is in one line, as the programs do that this one stands in for.
pub fn name() {
    output::line(format_args!("rutter {VERSION}"));
}

/// The first line of every server's log.
pub fn log() {
    tracing::info!(version = VERSION, commit = COMMIT, "rutter");
}

/// What the features are good for.
fn needed_by(feature: &str) -> &'static str {
    match feature {
        "nf_tables" => "--proxy-mode nftables",
        "ip_tables" => "removing what kube-proxy's iptables mode left, where it used iptables-legacy",
        "ipset" | "IPVS" => "removing what kube-proxy's ipvs mode left",
        "conntrack" => "every proxy mode",
        "IPv6" => "Services and pods of both families",
        "overlayfs" => "pods as processes",
        "cgroup v2" | "BPF" | "BTF" => "socket load balancing, which is not in this version",
        _ => "",
    }
}

fn text(release: &str, features: &[Feature]) -> String {
    let lines = features.iter().map(|feature| {
        let found = feature.missing.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}"));
        format!("  {:<10} {found}  ({})\n", feature.name, needed_by(feature.name))
    });
    format!("rutter {LONG}\nkernel {release}\n{}", lines.collect::<String>())
}

fn json(release: &str, features: &[Feature]) -> serde_json::Value {
    let features = features.iter().map(|feature| {
        json!({"name": feature.name, "found": feature.missing.is_none(), "reason": feature.missing, "neededBy": needed_by(feature.name)})
    });
    json!({"version": VERSION, "commit": COMMIT, "kernel": release, "features": features.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_reason_and_who_needs_it() {
        let missing = |name, missing: Option<&str>| Feature { name, missing: missing.map(str::to_owned) };
        let features = [missing("nf_tables", None), missing("IPVS", Some("load the module ip_vs"))];
        let said = text("6.1.0", &features);
        let lines: Vec<_> = said.lines().skip(1).collect();
        let ipvs = "  IPVS       no: load the module ip_vs  (removing what kube-proxy's ipvs mode left)";
        assert_eq!(lines, ["kernel 6.1.0", "  nf_tables  yes  (--proxy-mode nftables)", ipvs]);
        assert_eq!(json("6.1.0", &features)["features"][1]["found"], false);
    }

    #[test]
    fn every_feature_is_needed_by_somebody() {
        for feature in probe::features() {
            assert_ne!(needed_by(feature.name), "", "{}", feature.name);
        }
    }
}
