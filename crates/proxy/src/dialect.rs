//! kube-proxy's command line, for a binary that is called by its name.
//!
//! Owns the table of its flags and what each stands for: nearly all are fields of the configuration file, so a command line becomes
//! such a file, and with `--config` is ignored but for a few, as in kube-proxy. Retired flags are taken with a warning; unknown ones
//! are mistakes. Must not know how a program ends or where objects come from.
//!
//! Source: `kube-proxy --help` of 1.37 and `cmd/kube-proxy/app/options.go`; the retired ones from its history since 1.10.

use serde_json::{Map, Value};

use crate::{Config, ConfigErrors};

/// What a command line asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Invocation {
    /// `--config`.
    pub config_file: Option<String>,
    /// The configuration that the flags say, as a `KubeProxyConfiguration`.
    pub fields: Value,
    /// `--hostname-override`: wins over the file.
    pub hostname_override: Option<String>,
    /// `--kubeconfig`, unless a file is given.
    pub kubeconfig: Option<String>,
    /// `--bind-address-hard-fail`, where given: wins over the file.
    pub bind_hard_fail: Option<bool>,
    /// `--write-config-to`: writes the configuration there, and ends.
    pub write_config_to: Option<String>,
    /// Removes what any mode left in the kernel, and ends.
    pub cleanup: bool,
    /// Sets the kernel's knobs, and ends.
    pub init_only: bool,
    pub version: bool,
    pub help: bool,
    /// `-v`.
    pub verbosity: u8,
    pub warnings: Vec<String>,
}

/// All mistakes of a command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("\n"))]
pub struct UsageErrors(pub Vec<String>);

/// How a flag's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Without a value: true.
    Bool,
    Int,
    Float,
    Text,
    /// By commas, and by repetition.
    List,
    /// `Gate=true,Other=false`.
    Gates,
}

/// What a flag means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// A field of the configuration, by its path.
    Field(&'static str),
    /// Something of [`Invocation`], seen to by name.
    Own,
    /// Nothing any more.
    Retired,
}

use Kind::{Bool, Float, Gates, Int, List, Text};
use Means::{Field, Own, Retired};

/// Every flag; where `--config` is given those that mean a field are ignored.
const FLAGS: &[(&str, Kind, Means)] = &[
    ("bind-address", Text, Field("bindAddress")),
    ("bind-address-hard-fail", Bool, Own),
    ("cleanup", Bool, Own),
    ("cluster-cidr", Text, Field("clusterCIDR")),
    ("config", Text, Own),
    ("config-sync-period", Text, Field("configSyncPeriod")),
    ("conntrack-max-per-core", Int, Field("conntrack.maxPerCore")),
    ("conntrack-min", Int, Field("conntrack.min")),
    ("conntrack-tcp-be-liberal", Bool, Field("conntrack.tcpBeLiberal")),
    ("conntrack-tcp-timeout-close-wait", Text, Field("conntrack.tcpCloseWaitTimeout")),
    ("conntrack-tcp-timeout-established", Text, Field("conntrack.tcpEstablishedTimeout")),
    ("conntrack-udp-timeout", Text, Field("conntrack.udpTimeout")),
    ("conntrack-udp-timeout-stream", Text, Field("conntrack.udpStreamTimeout")),
    ("detect-local-mode", Text, Field("detectLocalMode")),
    ("feature-gates", Gates, Field("featureGates")),
    ("healthz-bind-address", Text, Field("healthzBindAddress")),
    ("help", Bool, Own),
    ("hostname-override", Text, Own),
    ("init-only", Bool, Own),
    ("iptables-localhost-nodeports", Bool, Field("iptables.localhostNodePorts")),
    ("iptables-masquerade-bit", Int, Field("iptables.masqueradeBit")),
    ("iptables-min-sync-period", Text, Field("iptables.minSyncPeriod")),
    ("iptables-sync-period", Text, Field("iptables.syncPeriod")),
    ("ipvs-exclude-cidrs", List, Field("ipvs.excludeCIDRs")),
    ("ipvs-min-sync-period", Text, Field("ipvs.minSyncPeriod")),
    ("ipvs-scheduler", Text, Field("ipvs.scheduler")),
    ("ipvs-strict-arp", Bool, Field("ipvs.strictARP")),
    ("ipvs-sync-period", Text, Field("ipvs.syncPeriod")),
    ("ipvs-tcp-timeout", Text, Field("ipvs.tcpTimeout")),
    ("ipvs-tcpfin-timeout", Text, Field("ipvs.tcpFinTimeout")),
    ("ipvs-udp-timeout", Text, Field("ipvs.udpTimeout")),
    ("kube-api-burst", Int, Field("clientConnection.burst")),
    ("kube-api-content-type", Text, Field("clientConnection.contentType")),
    ("kube-api-qps", Float, Field("clientConnection.qps")),
    ("kubeconfig", Text, Own),
    ("log-flush-frequency", Text, Field("logging.flushFrequency")),
    ("log-json-info-buffer-size", Text, Retired),
    ("log-json-split-stream", Bool, Retired),
    ("log-text-info-buffer-size", Text, Retired),
    ("log-text-split-stream", Bool, Retired),
    ("logging-format", Text, Field("logging.format")),
    ("masquerade-all", Bool, Field("iptables.masqueradeAll")),
    ("master", Text, Own),
    ("metrics-bind-address", Text, Field("metricsBindAddress")),
    ("nodeport-addresses", List, Field("nodePortAddresses")),
    ("oom-score-adj", Int, Field("oomScoreAdj")),
    ("pod-bridge-interface", Text, Field("detectLocal.bridgeInterface")),
    ("pod-interface-name-prefix", Text, Field("detectLocal.interfaceNamePrefix")),
    ("profiling", Bool, Field("enableProfiling")),
    ("proxy-mode", Text, Field("mode")),
    ("show-hidden-metrics-for-version", Text, Field("showHiddenMetricsForVersion")),
    ("v", Int, Own),
    ("version", Bool, Own),
    ("vmodule", Text, Field("logging.vmodule")),
    ("write-config-to", Text, Own),
    // Gone from kube-proxy, and still in many a manifest.
    ("alsologtostderr", Bool, Retired),
    ("boot-id-file", Text, Retired),
    ("cleanup-ipvs", Bool, Retired),
    ("cleanup-iptables", Bool, Retired),
    ("conntrack-max", Int, Retired),
    ("healthz-port", Int, Retired),
    ("log-backtrace-at", Text, Retired),
    ("log-dir", Text, Retired),
    ("log-file", Text, Retired),
    ("log-file-max-size", Int, Retired),
    ("logtostderr", Bool, Retired),
    ("machine-id-file", Text, Retired),
    ("metrics-port", Int, Retired),
    ("one-output", Bool, Retired),
    ("proxy-port-range", Text, Retired),
    ("resource-container", Text, Retired),
    ("skip-headers", Bool, Retired),
    ("skip-log-headers", Bool, Retired),
    ("stderrthreshold", Text, Retired),
    ("udp-timeout", Text, Retired),
];

/// The names of all flags that mean something, for `--help`.
pub fn flags() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().filter(|(_, _, means)| *means != Retired).map(|(name, ..)| *name)
}

/// Reads what follows the program's name.
///
/// # Errors
/// Every mistake, each with its flag.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Invocation, UsageErrors> {
    let mut told = Invocation { fields: Value::Object(Map::new()), ..Invocation::default() };
    let mut errors = Vec::new();
    let mut fields_given: Vec<&str> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(written) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty()) else {
            errors.push(format!("{arg:?} is no flag, and kube-proxy takes nothing else"));
            continue;
        };
        let (name, value) = match written.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            // `-v5`
            None if !arg.starts_with("--") && written.len() > 1 && written.starts_with('v') => ("v", Some(written[1..].to_owned())),
            None => (written, None),
        };
        // kube-proxy takes underscores as well; -h is the one other short name.
        let name = if name == "h" { "help".to_owned() } else { name.replace('_', "-") };
        let Some((name, kind, means)) = FLAGS.iter().find(|(flag, ..)| *flag == name) else {
            errors.push(format!("unknown flag: --{name}"));
            continue;
        };
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Bool) => "true".to_owned(),
            (None, _) => match args.next() {
                Some(value) => value,
                None => {
                    errors.push(format!("--{name} needs a value"));
                    continue;
                }
            },
        };
        let value = match kind.read(&value) {
            Ok(value) => value,
            Err(wanted) => {
                errors.push(format!("--{name}: {value:?} is not {wanted}"));
                continue;
            }
        };
        match means {
            Field(path) => {
                fields_given.push(name);
                put(&mut told.fields, path, value);
            }
            Own => told.set(name, value),
            Retired => told.warnings.push(format!("--{name} is retired and changes nothing")),
        }
    }
    // One flag for the field of two sections.
    if let Some(value) = told.fields.pointer("/iptables/masqueradeAll").cloned() {
        put(&mut told.fields, "nftables.masqueradeAll", value);
    }
    if told.config_file.is_some() && !fields_given.is_empty() {
        told.warnings.push(format!("--config is given, so these are ignored: --{}", fields_given.join(", --")));
    }
    if errors.is_empty() { Ok(told) } else { Err(UsageErrors(errors)) }
}

// === impl Invocation ===

impl Invocation {
    /// The configuration that holds: `file`'s, the text behind `--config`, else the flags'.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn config(&self, file: Option<&str>) -> Result<Config, ConfigErrors> {
        let mut config = match file {
            Some(text) => Config::parse(text)?,
            None => Config::from_value(&self.fields)?,
        };
        if let Some(name) = &self.hostname_override {
            config.node_name = Some(name.trim().to_lowercase());
        }
        if file.is_none() {
            config.kubeconfig = self.kubeconfig.clone().or(config.kubeconfig);
        }
        config.bind_hard_fail = self.bind_hard_fail.unwrap_or(config.bind_hard_fail);
        Ok(config)
    }

    /// What `--write-config-to` writes: the flags as a file. JSON is YAML.
    pub fn to_file(&self) -> String {
        let mut file = self.fields.clone();
        put(&mut file, "apiVersion", crate::config::API_VERSION.into());
        put(&mut file, "kind", crate::config::KIND.into());
        if let Some(kubeconfig) = &self.kubeconfig {
            put(&mut file, "clientConnection.kubeconfig", kubeconfig.as_str().into());
        }
        if let Some(name) = &self.hostname_override {
            put(&mut file, "hostnameOverride", name.as_str().into());
        }
        if let Some(hard) = self.bind_hard_fail {
            put(&mut file, "bindAddressHardFail", hard.into());
        }
        format!("{file:#}\n")
    }

    fn set(&mut self, name: &str, value: Value) {
        let (on, text) = (value == Value::Bool(true), value.as_str().filter(|text| !text.is_empty()).map(str::to_owned));
        match name {
            "bind-address-hard-fail" => self.bind_hard_fail = Some(on),
            "cleanup" => self.cleanup = on,
            "config" => self.config_file = text,
            "help" => self.help = on,
            "hostname-override" => self.hostname_override = text,
            "init-only" => self.init_only = on,
            "kubeconfig" => self.kubeconfig = text,
            "master" => self.warnings.push("--master is not read: the kubeconfig names the server".to_owned()),
            "v" => self.verbosity = value.as_u64().unwrap_or(0).min(10) as u8,
            "version" => self.version = on,
            "write-config-to" => self.write_config_to = text,
            _ => unreachable!("BUG: a flag of the table that nobody sees to"),
        }
    }
}

impl Kind {
    /// The value as a file would have it; else what it should be.
    fn read(self, text: &str) -> Result<Value, &'static str> {
        // As Go's strconv.ParseBool reads it.
        let boolean = |text: &str| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        };
        let list = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match self {
            Bool => boolean(text).map(Value::from).ok_or("true or false"),
            Int => text.parse::<i64>().map(Value::from).map_err(|_| "a whole number"),
            Float => text.parse::<f64>().map(Value::from).map_err(|_| "a number"),
            Text => Ok(text.into()),
            List => Ok(list().map(Value::from).collect()),
            Gates => {
                let gate =
                    |part: &str| part.split_once('=').and_then(|(name, on)| Some((name.trim().to_owned(), boolean(on.trim())?.into())));
                list().map(gate).collect::<Option<Map<_, _>>>().map(Value::Object).ok_or("a list of NAME=true|false")
            }
        }
    }
}

/// Writes a field by its dotted path; lists and gates given again are added to.
fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut().expect("BUG: made one above").entry(name).or_insert(Value::Null);
    }
    match (place, value) {
        (Value::Array(old), Value::Array(new)) => old.extend(new),
        (Value::Object(old), Value::Object(new)) => old.extend(new),
        (place, value) => *place = value,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(line: &str, expected: Expect) {
        let said = match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(told) => {
                let mut said = format!("{} config {:?} warnings {:?}", told.fields, told.config_file, told.warnings);
                for (name, on) in [("cleanup", told.cleanup), ("init", told.init_only), ("version", told.version), ("help", told.help)] {
                    said.push_str(if on { " " } else { "" });
                    said.push_str(if on { name } else { "" });
                }
                said
            }
            Err(errors) => errors.to_string(),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn flags_become_a_file() {
        check(
            "--cluster-cidr=10.0.0.0/8 --proxy-mode nftables --masquerade-all --conntrack_min=7 --nodeport-addresses=primary,10.0.0.0/8 --nodeport-addresses localhost --feature-gates=A=true,B=false -v=4",
            expect![[
                r#"{"clusterCIDR":"10.0.0.0/8","conntrack":{"min":7},"featureGates":{"A":true,"B":false},"iptables":{"masqueradeAll":true},"mode":"nftables","nftables":{"masqueradeAll":true},"nodePortAddresses":["primary","10.0.0.0/8","localhost"]} config None warnings []"#
            ]],
        );
    }

    #[test]
    fn a_file_beats_the_flags_that_it_could_say() {
        check(
            "--config=/etc/kp.conf --hostname-override=Node-1 --cluster-cidr 10.0.0.0/8 --profiling=false --logtostderr",
            expect![[
                r#"{"clusterCIDR":"10.0.0.0/8","enableProfiling":false} config Some("/etc/kp.conf") warnings ["--logtostderr is retired and changes nothing", "--config is given, so these are ignored: --cluster-cidr, --profiling"]"#
            ]],
        );
        let told = parse(["--config=x", "--hostname-override=Node-1", "--cluster-cidr=10.0.0.0/8"].map(str::to_owned)).expect("valid");
        let config = told.config(Some("{clusterCIDR: 10.1.0.0/16}")).expect("valid");
        assert_eq!(config.node_name.as_deref(), Some("node-1"));
        assert_eq!(format!("{:?}", config.detector), "ClusterCidr([10.1.0.0/16])");
    }

    #[test]
    fn every_mistake_is_told() {
        check(
            "--no-such --conntrack-min=many extra --feature-gates A --proxy-mode",
            expect![[r#"
                unknown flag: --no-such
                --conntrack-min: "many" is not a whole number
                "extra" is no flag, and kube-proxy takes nothing else
                --feature-gates: "A" is not a list of NAME=true|false
                --proxy-mode needs a value"#]],
        );
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let told = parse(["--cluster-cidr=10.0.0.0/8", "--kubeconfig=/k", "--oom-score-adj=-5"].map(str::to_owned)).expect("valid");
        assert_eq!(Config::parse(&told.to_file()), told.config(None));
    }

    #[test]
    fn every_field_of_the_table_is_one_of_the_file() {
        for (name, kind, means) in FLAGS {
            let text = match kind {
                Bool => "true",
                Int | Float => "3",
                Gates => "A=true",
                Text | List => "",
            };
            let Field(path) = means else { continue };
            let mut fields = Value::Object(Map::new());
            put(&mut fields, path, kind.read(text).expect("valid"));
            let said = Config::from_value(&fields).err().map(|errors| errors.to_string()).unwrap_or_default();
            assert!(!said.contains("unknown field"), "--{name}: {said}");
        }
    }
}
