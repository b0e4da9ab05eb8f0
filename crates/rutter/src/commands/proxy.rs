//! `rutter proxy`: the service proxy of one node, in place of kube-proxy.
//!
//! Its flags are kube-proxy's, by the table of [`proxy::dialect`]; called as `kube-proxy` the same is done ([`super::kube_proxy`]).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use model::resolve::Want;
use proxy::dialect::{self, Flag, Invocation, Precedence};

use super::objects::ObjectsFlags;
use crate::app::{self, App};
use crate::usage::Usage;

/// Of these flags in the help of commands that have others besides.
pub const HEADING: &str = "Packets, as `rutter proxy`";

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub proxy: AllProxyFlags,
}

/// kube-proxy's flags that say how packets go: one that is given wins over the file.
#[derive(Clone, Debug, Default)]
pub struct ProxyFlags(Invocation);

/// All of kube-proxy's flags, for a process that is a service proxy and nothing else.
#[derive(Clone, Debug, Default)]
pub struct AllProxyFlags(Invocation);

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    obey(flags.proxy.0, flags.objects, Precedence::Flags).await
}

/// What of `-v` there is: kube-proxy says what it does to rules from 4 on.
pub fn log_level(verbosity: u8) -> &'static str {
    if verbosity >= 4 { "debug" } else { "info" }
}

/// Does what a command line asks for, and ends or goes on being a proxy.
pub async fn obey(told: Invocation, objects: ObjectsFlags, precedence: Precedence) -> anyhow::Result<()> {
    told.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if told.cleanup {
        return Ok(proxy::cleanup(proxy::Whose::OursAndKubeProxys)?);
    }
    if let Some(path) = &told.write_config_to {
        return std::fs::write(path, told.to_file()).with_context(|| format!("--write-config-to {path}"));
    }
    let config = read(&told, precedence)?;
    can_run(&config)?;
    if told.init_only {
        proxy::prepare(&config);
        return Ok(());
    }
    // What would be refused must not have turned any knob of the machine before.
    objects.origin(api(&config))?;
    proxy::prepare(&config);
    serve(config, objects, told.config_file.map(PathBuf::from)).await
}

/// The API that the configuration leads to.
pub fn api(config: &proxy::Config) -> Option<client::Origin> {
    config.kubeconfig.as_deref().filter(|path| !path.is_empty()).map(|path| client::Origin::Kubeconfig(path.into()))
}

/// Refuses what is not in this version, before anything of the machine is touched.
pub fn can_run(config: &proxy::Config) -> Result<(), Usage> {
    config.mode.available().map(drop).map_err(|error| Usage(error.to_string()))
}

/// The configuration that holds; all mistakes at once.
fn read(told: &Invocation, precedence: Precedence) -> anyhow::Result<proxy::Config> {
    let text = match &told.config_file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| Usage(format!("--config {path}: {error}")))?),
    };
    let config = told.config(text.as_deref(), precedence).map_err(|errors| {
        let (of_flags, of_file): (Vec<_>, Vec<_>) = errors.0.into_iter().partition(|error| error.starts_with("--"));
        let file = told.config_file.as_ref().filter(|_| !of_file.is_empty()).map(|path| format!("--config {path}: "));
        let of_file = format!("{}{}", file.unwrap_or_default(), of_file.join("\n"));
        Usage([of_flags, vec![of_file]].concat().join("\n").trim_end().to_owned())
    })?;
    Ok(config)
}

/// Runs the proxy until it is told to stop, or until `file`, which `config` was read from, says something else: whoever started it
/// starts it again, as with kube-proxy, and the rules stay meanwhile.
pub async fn serve(config: proxy::Config, objects: ObjectsFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let origin = objects.origin(api(&config))?;
    let model = model(&config, Want { packets: true, ..Want::default() })?;
    let mut app = App::new("proxy", model.into(), origin).await?;
    app.start_proxy(config)?;
    tokio::select! {
        done = app.run() => done,
        path = changed(file) => anyhow::bail!("{} was changed: ending, to be started with it", path.display()),
    }
}

/// Waits until a file's content is another; for ever if there is none to look at. Looks once a second: the file is small, and a
/// ConfigMap's is behind two links that are swapped, which no watch of the file itself would see.
async fn changed(file: Option<PathBuf>) -> PathBuf {
    let Some(path) = file else { return std::future::pending().await };
    let first = tokio::fs::read(&path).await.ok();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = tokio::fs::read(&path).await.ok();
        // While it is gone it says nothing else.
        if now.is_some() && now != first {
            return path;
        }
    }
}

/// What is decided for this node, which is the one named, else the host's name, as kubelet registers it.
pub fn model(config: &proxy::Config, want: Want) -> anyhow::Result<model::Config> {
    let node_name = match &config.node_name {
        Some(name) => name.clone(),
        None => app::host_name()?,
    };
    Ok(model::Config {
        node_name: node_name.into(),
        want,
        ignore_node_hints: !config.gate("PreferSameTrafficDistribution", true),
        ..model::Config::default()
    })
}

// === Flags by the table ===

/// Flags that clap has itself, or that stand with [`ObjectsFlags`].
const ELSEWHERE: [&str; 3] = ["help", "kubeconfig", "version"];

/// Where `--help` of `rutter proxy` has the flags that kube-proxy's command lines bring along.
pub const IDLE: &str = "Taken as kube-proxy takes them, without effect";

/// Those that say how packets go.
fn is_of_configuration(flag: &&'static Flag) -> bool {
    flag.is_field() || ["bind-address-hard-fail", "config", "hostname-override"].contains(&flag.name)
}

fn is_clap_s(flag: &&'static Flag) -> bool {
    !ELSEWHERE.contains(&flag.name)
}

fn argument(flag: &'static Flag) -> Arg {
    // Given again, the last one holds, or adds to a list: the table knows.
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help).hide(flag.is_retired()).action(ArgAction::Append);
    let arg = match flag.name {
        "v" => arg.short('v'),
        "hostname-override" => arg.alias("node-name"),
        _ => arg,
    };
    match flag.is_switch() {
        true => arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true"),
        false => arg.value_name(flag.value).allow_hyphen_values(true),
    }
}

/// What was given of `flags`; all mistakes in values at once.
fn invocation(matches: &ArgMatches, flags: impl Iterator<Item = &'static Flag>) -> Result<Invocation, clap::Error> {
    let mut told = Invocation::default();
    let mut mistakes = Vec::new();
    for flag in flags {
        for value in matches.get_many::<String>(flag.name).into_iter().flatten() {
            mistakes.extend(told.give(flag, value).err());
        }
    }
    match mistakes.is_empty() {
        true => Ok(told),
        false => Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{}\n", mistakes.join("\n")))),
    }
}

// === impl Flags ===

impl Flags {
    pub fn log_level(&self) -> &'static str {
        log_level(self.proxy.0.verbosity)
    }
}

// === impl ProxyFlags ===

impl ProxyFlags {
    /// Flags as if they had been typed.
    ///
    /// # Errors
    /// What is wrong with a value.
    pub fn given<'a>(values: impl IntoIterator<Item = (&'a str, String)>) -> Result<Self, Usage> {
        let mut told = Invocation::default();
        for (name, value) in values {
            let flag = dialect::flags().find(|flag| flag.name == name).expect("BUG: no flag of the table");
            told.give(flag, &value).map_err(Usage)?;
        }
        Ok(Self(told))
    }

    /// The file's configuration with the flags over it; all mistakes at once.
    pub fn config(&self) -> anyhow::Result<proxy::Config> {
        read(&self.0, Precedence::Flags)
    }
}

impl Args for ProxyFlags {
    fn augment_args(command: Command) -> Command {
        // Those without effect are for command lines that were kube-proxy's.
        command.args(dialect::flags().filter(is_of_configuration).map(|flag| argument(flag).hide(flag.is_retired() || flag.is_idle())))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProxyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        invocation(matches, dialect::flags().filter(is_of_configuration)).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

// === impl AllProxyFlags ===

impl Args for AllProxyFlags {
    fn augment_args(command: Command) -> Command {
        let heading = |flag: &'static Flag| if flag.is_idle() { argument(flag).help_heading(IDLE) } else { argument(flag) };
        command.args(dialect::flags().filter(is_clap_s).map(heading))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AllProxyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        invocation(matches, dialect::flags().filter(is_clap_s)).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
