//! What node-cache is told, as Go's flag package takes it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::super::coredns::port;
use super::super::go_flags::GoFlags;
use crate::usage::Usage;

#[derive(Debug)]
pub struct Told {
    pub local_ips: Vec<IpAddr>,
    pub conf: PathBuf,
    pub base: PathBuf,
    /// The folder of the ConfigMap kube-dns; it need not exist.
    pub kube_dns: PathBuf,
    pub upstream_service: String,
    pub port: u16,
    pub health_port: u16,
    /// `None`: no page.
    pub metrics: Option<SocketAddr>,
    pub interface: String,
    pub set_up_interface: bool,
    pub set_up_rules: bool,
    pub skip_teardown: bool,
    pub pid_file: Option<PathBuf>,
    pub quiet: bool,
    pub version: bool,
    /// Flags that do nothing here, and why.
    pub warnings: Vec<String>,
}

const KNOWN: &str = "-localip, -conf, -corefile, -basecorefile, -kubednscm, -upstreamsvc, -dns.port, -p, -health-port, \
    -metrics-listen-address, -interfacename, -setupinterface, -setupiptables, -setupebtables, -skipteardown, -syncinterval, \
    -initialdelay, -reloadinterval, -pidfile, -quiet, -version";

impl Told {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, Usage> {
        // Upstream's defaults.
        let mut told = Self {
            local_ips: Vec::new(),
            conf: "/etc/Corefile".into(),
            base: "/etc/coredns/Corefile.base".into(),
            kube_dns: "/etc/kube-dns".into(),
            upstream_service: "kube-dns".into(),
            port: 53,
            health_port: 8080,
            metrics: Some(SocketAddr::from(([0, 0, 0, 0], 9353))),
            interface: "nodelocaldns".into(),
            set_up_interface: true,
            set_up_rules: true,
            skip_teardown: false,
            pid_file: None,
            quiet: false,
            version: false,
            warnings: Vec::new(),
        };
        let mut flags = GoFlags::new("node-cache", args);
        while let Some(flag) = flags.next()? {
            let name = flag.name.clone();
            match name.as_str() {
                "localip" => {
                    let text = flags.value(flag)?;
                    let ips: Result<_, _> = text.split(',').map(|ip| ip.trim().parse::<IpAddr>()).collect();
                    told.local_ips = ips.map_err(|_| Usage(format!("-localip {text}: not addresses with commas between them")))?;
                }
                "conf" | "corefile" => told.conf = flags.value(flag)?.into(),
                "basecorefile" => told.base = flags.value(flag)?.into(),
                "kubednscm" => told.kube_dns = flags.value(flag)?.into(),
                "upstreamsvc" => told.upstream_service = flags.value(flag)?,
                "dns.port" | "p" => told.port = port(&name, &flags.value(flag)?)?,
                "health-port" => told.health_port = port(&name, &flags.value(flag)?)?,
                "metrics-listen-address" => told.metrics = metrics_address(&flags.value(flag)?)?,
                "interfacename" => told.interface = flags.value(flag)?,
                "setupinterface" => told.set_up_interface = flag.is_on()?,
                "setupiptables" => told.set_up_rules = flag.is_on()?,
                "skipteardown" => told.skip_teardown = flag.is_on()?,
                "pidfile" => told.pid_file = Some(flags.value(flag)?.into()),
                "quiet" => told.quiet = flag.is_on()?,
                "version" => told.version = flag.is_on()?,
                "setupebtables" => {
                    if flag.is_on()? {
                        told.warnings.push("-setupebtables: bridges are left alone; pods reach the addresses by the node's routes".into());
                    }
                }
                // The rules are looked after every few seconds in any case.
                "syncinterval" | "initialdelay" | "reloadinterval" => _ = flags.value(flag)?,
                _ => return Err(Usage(format!("unknown flag: -{name}; known: {KNOWN}"))),
            }
        }
        if told.local_ips.is_empty() && !told.version {
            return Err(Usage("-localip: which addresses are to be answered here?".into()));
        }
        Ok(told)
    }
}

/// `HOST:PORT`, `:PORT`, or nothing for no page.
fn metrics_address(text: &str) -> Result<Option<SocketAddr>, Usage> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    if text.is_empty() {
        return Ok(None);
    }
    full.parse().map(Some).map_err(|_| Usage(format!("-metrics-listen-address {text}: not an address such as 0.0.0.0:9353")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &str) -> String {
        match Told::parse(args.split_whitespace().map(str::to_owned)) {
            Ok(told) => format!(
                "{:?} {} {} upstream={} port={} health={} metrics={:?} link={}/{} rules={} keep={} pid={:?} {}",
                told.local_ips,
                told.conf.display(),
                told.base.display(),
                told.upstream_service,
                told.port,
                told.health_port,
                told.metrics,
                told.interface,
                told.set_up_interface,
                told.set_up_rules,
                told.skip_teardown,
                told.pid_file,
                told.warnings.len()
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_manifests_flags_are_taken() {
        assert_eq!(
            check("-localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream -pidfile /tmp/pid"),
            "[169.254.20.10, 10.96.0.10] /etc/Corefile /etc/coredns/Corefile.base upstream=kube-dns-upstream port=53 health=8080 \
             metrics=Some(0.0.0.0:9353) link=nodelocaldns/true rules=true keep=false pid=Some(\"/tmp/pid\") 0"
        );
        assert_eq!(
            check(
                "--localip=fd00::a -setupiptables=false -setupinterface=false -skipteardown -metrics-listen-address :1 -health-port=2 \
                 -dns.port 3 -interfacename x -basecorefile b -syncinterval 60s -setupebtables"
            ),
            "[fd00::a] /etc/Corefile b upstream=kube-dns port=3 health=2 metrics=Some(0.0.0.0:1) link=x/false rules=false keep=true \
             pid=None 1"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (args, told) in [
            ("", "-localip: which addresses are to be answered here?"),
            ("-localip __PILLAR__LOCAL__DNS__", "-localip __PILLAR__LOCAL__DNS__: not addresses with commas between them"),
            ("-localip 10.0.0.1 -health-port http", "-health-port http: no port from 0 to 65535"),
            ("-setupiptables=maybe", "-setupiptables=maybe: neither true nor false"),
            ("-metrics-listen-address here", "-metrics-listen-address here: not an address such as 0.0.0.0:9353"),
            ("10.0.0.1", "10.0.0.1: node-cache takes flags only"),
        ] {
            assert_eq!(check(args), told);
        }
        assert!(check("-localips 10.0.0.1").starts_with("unknown flag: -localips; known: -localip, "));
    }
}
