//! Flags that several verbs share, and what is loaded from them.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use clap::Args;
use serde_json::Value;

use super::execute::ask_hidden;
use crate::error::{Error, Place, Result};
use crate::inventory::Inventory;
use crate::plan::{Object, Secret};
use crate::report::{journal, style};
use crate::secrets::{Identities, Redactor};
use crate::services::settings::Sources;
use crate::services::{Catalogue, FleetLock};
use crate::yaml;

/// Where the fleet is described.
#[derive(Args, Clone)]
pub struct FleetFlags {
    /// Inventory file or folder; may be given several times, later ones win
    #[arg(
        short,
        long,
        value_name = "PATH",
        env = "PROVISION_INVENTORY",
        default_value = "inventory",
        value_delimiter = ',',
        value_parser = source
    )]
    pub inventory: Vec<PathBuf>,
    /// age or SSH private key that opens the clients' secrets; may be given several times
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Another folder of packages besides ./registry and the shipped ones
    #[arg(long, value_name = "DIR")]
    pub registry: Vec<PathBuf>,
    /// Set a variable: key=value, a YAML or JSON mapping, or @file.yml
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    pub extra_vars: Vec<String>,
    /// Where the journals are kept
    #[arg(long, value_name = "DIR", env = "PROVISION_RUNS", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    pub color: String,
}

/// What these flags name, loaded.
pub struct Fleet {
    pub inventory: Arc<Inventory>,
    pub catalogue: Catalogue,
    pub identities: Identities,
    pub extra_vars: Object,
    pub redactor: Redactor,
    pub runs: PathBuf,
    /// `fleet.lock`; this run may want others in it.
    pub lock: Option<FleetLock>,
    /// As the file has it.
    pub stored_lock: Option<FleetLock>,
    sudo: OnceLock<Secret>,
}

/// One redactor for the whole process: the program's own diagnostics pass through it as well.
pub fn redactor() -> &'static Redactor {
    static REDACTOR: OnceLock<Redactor> = OnceLock::new();
    REDACTOR.get_or_init(Redactor::new)
}

/// One of the sources of `-i a,b`. Ansible reads `-i host,` as a list of hosts.
fn source(text: &str) -> std::result::Result<PathBuf, String> {
    match text {
        "" => {
            Err("a list of hosts in place of a file is not read: write an inventory file, and choose among its hosts \
                   with --limit or --host"
                .to_owned())
        }
        path => Ok(PathBuf::from(path)),
    }
}

impl FleetFlags {
    pub fn load(&self) -> Result<Fleet> {
        style::set_colour(&self.color);
        for source in &self.inventory {
            if !source.exists() {
                return Err(Error::new(format!("there is no inventory `{}`", source.display()))
                    .hint("name one with -i, or make a folder `inventory` with a hosts.yml"));
            }
        }
        let inventory = Inventory::load(&self.inventory)?;
        let lock = FleetLock::read(&lock_path(&inventory))?;
        Ok(Fleet {
            lock: lock.clone(),
            stored_lock: lock,
            inventory: Arc::new(inventory),
            catalogue: Catalogue::load(Path::new("."), &self.registry)?,
            identities: Identities::discover(&self.identity)?,
            extra_vars: extra_vars(&self.extra_vars)?,
            redactor: redactor().clone(),
            runs: self.runs_dir.clone(),
            sudo: OnceLock::new(),
        })
    }
}

impl Fleet {
    /// The password for sudo: asked for once on the terminal if `-K` says so, and the same for whatever else this process
    /// does. Err: there is no terminal.
    pub fn sudo_password(&self, asked: bool) -> Result<Option<Secret>> {
        if asked && self.sudo.get().is_none() {
            let password = ask_hidden("Contraseña de sudo")?;
            self.redactor.add(password.reveal());
            return Ok(Some(self.sudo.get_or_init(|| password).clone()));
        }
        Ok(self.sudo.get().cloned())
    }

    /// What services' settings are made from.
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            catalogue: &self.catalogue,
            inventory: &self.inventory,
            identities: &self.identities,
            extra_vars: &self.extra_vars,
            redactor: &self.redactor,
            questions: None,
            replaced: None,
            lock: self.lock.as_ref(),
        }
    }

    /// Does this run want digests that the file does not have?
    pub fn lock_has_moved(&self) -> bool {
        let stored = self.stored_lock.clone().unwrap_or_default();
        self.lock.as_ref().is_some_and(|lock| lock.moved(&stored).next().is_some())
    }

    /// The hosts of a pattern; `@failed` are those of the last run.
    pub fn select(&self, pattern: &str) -> Result<Vec<String>> {
        let failed = if pattern.contains("@failed") { journal::last_failed(&self.runs) } else { Vec::new() };
        if pattern.trim() == "@failed" && failed.is_empty() {
            return Err(Error::new("no host failed in the last run").hint("`provision history` lists the runs"));
        }
        let hosts = self.inventory.select(pattern, &failed)?;
        if hosts.is_empty() {
            return Err(Error::new(format!("the pattern `{pattern}` selects no host"))
                .hint("`provision inventory list` shows them"));
        }
        Ok(hosts)
    }
}

/// `fleet.lock` beside the inventory's folder.
pub fn lock_path(inventory: &Inventory) -> PathBuf {
    inventory.data_dir().parent().unwrap_or(Path::new("")).join("fleet.lock")
}

/// `-e` as Ansible reads it: later ones win; `key=value` values stay text.
fn extra_vars(words: &[String]) -> Result<Object> {
    let mut vars = Object::new();
    for word in words {
        let trimmed = word.trim();
        if let Some(file) = trimmed.strip_prefix('@') {
            vars.extend(mapping(&yaml::load(Path::new(file))?)?);
        } else if trimmed.starts_with(['{', '[']) {
            // its source line is what was typed, maybe with a password in it
            let documents = yaml::parse(trimmed, Path::new("-e")).map_err(|error| {
                Error { source_line: None, ..error }.hint("write -e '{key: value}' or -e @file.yml")
            })?;
            for document in &documents {
                vars.extend(mapping(document)?);
            }
        } else {
            let first = trimmed.split_once('=').map(|(key, _)| format!("{key}=…"));
            let shown = first.as_deref().unwrap_or(trimmed);
            let pairs = shlex::split(trimmed).ok_or_else(|| {
                Error::new(format!("-e {shown}: a quote is opened and not closed"))
                    .hint("a value with quotes in it is best given as -e '{\"key\": \"value\"}' or -e @file.yml")
            })?;
            for pair in pairs {
                // a word without `=` behind a pair is the rest of that pair's value, and may be secret
                let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                    let hint = match &first {
                        None => "write -e key=value, -e '{key: value}' or -e @file.yml",
                        Some(_) => "put a value with spaces in quotes of its own: -e 'key=\"two words\"'",
                    };
                    Error::new(format!("-e {shown}: neither key=value nor a mapping")).hint(hint)
                })?;
                vars.insert(key.to_owned(), Value::from(value));
            }
        }
    }
    Ok(vars)
}

fn mapping(node: &yaml::Node) -> Result<Object> {
    match node.to_value() {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Object::new()),
        _ => Err(Error::at(
            &Place { ..node.place.clone() },
            format!("extra variables must be a mapping, not {}", node.describe()),
        )),
    }
}

/// Asks a question in the users' language; no terminal, no answer.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new("there is no terminal to confirm on")
            .hint("add --yes to go on without asking, or --check to only look"));
    }
    Ok(["s", "si", "sí", "y", "yes"].contains(&answer(&format!("{question} [s/N]"))?.as_str()))
}

/// A line from the terminal, in lower case and without blanks around it.
pub fn answer(question: &str) -> Result<String> {
    eprint!("{question} ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Error::new(format!("cannot read the answer: {error}")))?;
    Ok(answer.trim().to_lowercase())
}

/// Lets the operator write a host's name before something of it is overwritten.
pub fn confirm_by_name(what: &str, host: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new("there is no terminal on which the host's name could be asked for")
            .hint("add --yes-really to overwrite without being asked, or --check to only look"));
    }
    eprint!("{what} Escriba el nombre del host para continuar ({host}): ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Error::new(format!("cannot read the answer: {error}")))?;
    Ok(answer.trim() == host)
}

/// The command that the menu runs in this process instead of the one that the process was started with.
static SPOKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on the journal shows this as the command line.
pub fn speak_as(words: &[String]) {
    *SPOKEN.lock().unwrap_or_else(PoisonError::into_inner) = words.to_vec();
}

/// The command line for the journal: values of `-e` that look secret are left out.
pub fn command_line() -> Vec<String> {
    let secret: HashSet<&str> = ["password", "passwd", "secret", "token", "key"].into();
    let looks_secret = |word: &str| {
        let name = word.split_once('=').map(|(name, _)| name.to_lowercase()).unwrap_or_default();
        secret.iter().any(|part| name.contains(part))
    };
    let spoken = SPOKEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let words = if spoken.is_empty() { std::env::args().collect() } else { spoken };
    words
        .into_iter()
        .enumerate()
        .map(|(index, word)| match word.split_once('=') {
            _ if index == 0 => "provision".to_owned(),
            Some((name, _)) if looks_secret(&word) && !name.starts_with("--") => format!("{name}=********"),
            _ => redactor().text(&word).into_owned(),
        })
        .collect()
}

/// Standard error behind the redactor, for the program's own diagnostics.
#[derive(Clone, Copy)]
pub struct RedactingStderr;

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for RedactingStderr {
    type Writer = RedactingWriter;
    fn make_writer(&'a self) -> RedactingWriter {
        RedactingWriter
    }
}

/// Writes whole records, so a secret is never cut in two.
pub struct RedactingWriter;

impl Write for RedactingWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        std::io::stderr().write_all(redactor().text(&text).as_bytes())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
