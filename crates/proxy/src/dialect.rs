//! kube-proxy's flags: for `rutter proxy`, and for a binary that is called `kube-proxy`.
//!
//! Owns the table of them ([`flags`]) and what each stands for: nearly all are fields of the configuration file, so a command line
//! becomes such a file. Retired flags are taken with a warning; unknown ones are mistakes. Must not know how a program ends or where
//! objects come from.

mod table;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::{Config, ConfigErrors};
pub use table::Flag;
use table::{FLAGS, Means};

/// What a command line asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocation {
    /// `--config`.
    pub config_file: Option<String>,
    /// The configuration that the flags say, as a `KubeProxyConfiguration`.
    fields: Value,
    /// The flags that said it.
    fields_by: Vec<&'static Flag>,
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

/// Whose word holds where the file of `--config` and a flag say the same field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// The file's, and flags that mean a field are not read at all: kube-proxy's way.
    File,
    /// The flag's.
    Flags,
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

use Kind::{Bool, Float, Gates, Int, List, Text};

/// Every flag, by name.
pub fn flags() -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter()
}

/// Reads what follows the program's name as kube-proxy does.
///
/// # Errors
/// Every mistake, each with its flag.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Invocation, UsageErrors> {
    let mut told = Invocation::default();
    let mut errors = Vec::new();
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
        let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
            errors.push(format!("unknown flag: --{name}"));
            continue;
        };
        let value = match value {
            Some(value) => value,
            None if flag.is_switch() => "true".to_owned(),
            None => match args.next() {
                Some(value) => value,
                None => {
                    errors.push(format!("--{name} needs a value"));
                    continue;
                }
            },
        };
        if let Err(error) = told.give(flag, &value) {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(told) } else { Err(UsageErrors(errors)) }
}

// === impl Invocation ===

impl Invocation {
    /// Takes one flag with its value as written.
    ///
    /// # Errors
    /// What is wrong with the value, with the flag's name.
    pub fn give(&mut self, flag: &'static Flag, value: &str) -> Result<(), String> {
        let value = flag.kind.read(value).map_err(|wanted| format!("--{}: {value:?} is not {wanted}", flag.name))?;
        match flag.means {
            Means::Fields(paths) => {
                paths.iter().for_each(|path| put(&mut self.fields, path, value.clone()));
                self.fields_by.push(flag);
            }
            Means::Own => self.set(flag.name, value),
            Means::Retired => self.warnings.push(format!("--{} is retired and changes nothing", flag.name)),
        }
        Ok(())
    }

    /// The configuration that holds: `file` is the text behind `--config`.
    ///
    /// # Errors
    /// As [`Config::parse`]; what a flag said is told by its name.
    pub fn config(&self, file: Option<&str>, precedence: Precedence) -> Result<Config, ConfigErrors> {
        let mut value = match file {
            Some(text) => Config::read_text(text)?,
            None => Value::Null,
        };
        let mut ignored = None;
        if file.is_none() || precedence == Precedence::Flags {
            overlay(&mut value, &self.fields);
        } else if !self.fields_by.is_empty() {
            let names: Vec<String> = self.fields_by.iter().map(|flag| format!("--{}", flag.name)).collect();
            ignored = Some(format!("--config is given, so these are ignored: {}", names.join(", ")));
        }
        let mut config = Config::from_value(&value).map_err(|errors| match precedence {
            Precedence::File if file.is_some() => errors,
            _ => ConfigErrors(errors.0.into_iter().map(|error| self.by_flag(error)).collect()),
        })?;
        config.warnings.extend(ignored);
        if let Some(name) = &self.hostname_override {
            config.node_name = Some(name.trim().to_lowercase());
        }
        if file.is_none() || precedence == Precedence::Flags {
            config.kubeconfig = self.kubeconfig.clone().or(config.kubeconfig);
        }
        config.bind_hard_fail = self.bind_hard_fail.unwrap_or(config.bind_hard_fail);
        Ok(config)
    }

    /// A mistake in a field that a flag gave, with the flag's name in place of the field's.
    fn by_flag(&self, error: String) -> String {
        let given = self.fields_by.iter().flat_map(|flag| match flag.means {
            Means::Fields(paths) => paths.iter().map(|path| (flag.name, *path)).collect(),
            _ => Vec::new(),
        });
        let mut of_it = given.filter_map(|(name, path)| Some((name, error.strip_prefix(path)?.strip_prefix(": ")?)));
        of_it.next().map(|(name, why)| format!("--{name}: {why}")).unwrap_or(error)
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

/// Writes `over` over an object: field by field where both are objects.
fn overlay(object: &mut Value, over: &Value) {
    match (object, over) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(over)) => {
            over.iter().for_each(|(name, value)| overlay(fields.entry(name.clone()).or_insert(Value::Null), value));
        }
        (object, over) => *object = over.clone(),
    }
}
