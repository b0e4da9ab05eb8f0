//! Called as `coredns`: its flags, and then `rutter dns`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use dns::config::Corefile;
use runtime::log::Format;

use super::go_flags::GoFlags;
use super::objects::ObjectsFlags;
use crate::usage::Usage;
use crate::{output, process};

const KNOWN: &str = "-conf, -dns.port, -log-format, -p, -pidfile, -plugins, -quiet, -version";

/// CoreDNS's own default.
const DNS_PORT: u16 = 53;

#[derive(Default)]
struct Told {
    conf: Option<PathBuf>,
    port: Option<u16>,
    quiet: bool,
    json: bool,
    pid_file: Option<PathBuf>,
    version: bool,
    plugins: bool,
}

/// Runs what `args`, the words behind the program's name, ask for. Mistakes are a [`Usage`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let told = Told::parse(args.into_iter().map(|arg| arg.to_string_lossy().into_owned()))?;
    if told.version {
        super::version::name();
        return Ok(());
    }
    if told.plugins {
        dns::plugins::names().for_each(output::line);
        return Ok(());
    }
    let format = if told.json { Format::Json } else { Format::Text };
    runtime::log::init(if told.quiet { "warn" } else { "info" }, format);
    super::version::log();
    if let Some(path) = &told.pid_file {
        std::fs::write(path, std::process::id().to_string()).with_context(|| format!("-pidfile {}", path.display()))?;
    }
    // CoreDNS reads ./Corefile if nobody says otherwise.
    let path = told.conf.unwrap_or_else(|| PathBuf::from("Corefile"));
    let corefile = Corefile::read_on(&path, told.port.unwrap_or(DNS_PORT)).map_err(super::dns::usage)?;
    process::block_on(super::dns::serve(corefile, &ObjectsFlags::default(), Vec::new(), None))
}

/// The value of a flag that names a port.
pub fn port(name: &str, text: &str) -> Result<u16, Usage> {
    text.parse().map_err(|_| Usage(format!("-{name} {text}: no port from 0 to 65535")))
}

// === impl Told ===

impl Told {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, Usage> {
        let mut told = Self::default();
        let mut flags = GoFlags::new("coredns", args);
        while let Some(flag) = flags.next()? {
            match flag.name.as_str() {
                "conf" => told.conf = Some(flags.value(flag)?.into()),
                "dns.port" | "p" => told.port = Some(port(&flag.name.clone(), &flags.value(flag)?)?),
                "pidfile" => told.pid_file = Some(flags.value(flag)?.into()),
                "log-format" => {
                    told.json = match flags.value(flag)?.as_str() {
                        "json" => true,
                        "text" => false,
                        other => return Err(Usage(format!("-log-format {other}: neither text nor json"))),
                    }
                }
                "quiet" => told.quiet = flag.is_on()?,
                "version" => told.version = flag.is_on()?,
                "plugins" => told.plugins = flag.is_on()?,
                name => {
                    return Err(Usage(format!("unknown flag: -{name}; known: {KNOWN}")));
                }
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> String {
        match Told::parse(args.iter().map(ToString::to_string)) {
            Ok(told) => format!("{:?} {:?} quiet={}", told.conf, told.port, told.quiet),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flags_are_taken_as_go_takes_them() {
        assert_eq!(check(&["-conf", "/etc/coredns/Corefile"]), "Some(\"/etc/coredns/Corefile\") None quiet=false");
        assert_eq!(check(&["--conf=C", "-dns.port=1053", "-quiet"]), "Some(\"C\") Some(1053) quiet=true");
        assert_eq!(check(&["-dns.port", "many"]), "-dns.port many: no port from 0 to 65535");
        assert_eq!(check(&["-conf"]), "-conf: a value is missing");
        assert_eq!(check(&["-log-format=xml"]), "-log-format xml: neither text nor json");
        assert_eq!(check(&["-pidfil", "x"]), format!("unknown flag: -pidfil; known: {KNOWN}"));
    }
}
