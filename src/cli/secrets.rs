//! `provision secrets`: the clients' encrypted settings. Values come from a prompt, standard input or `$EDITOR`, never
//! from the command line, and are shown only by `get`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use indexmap::IndexMap;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Place, Result};
use crate::plan::Secret;
use crate::report::style::table;
use crate::secrets::{EnvFile, SecretKind, generate};
use crate::services::backup;
use crate::services::settings::{env_path, recipients};

#[derive(Args)]
#[command(after_help = "Examples:
  provision secrets init                                   who may read: writes .age-recipients
  provision secrets list --host clienteA                   names, no values
  printf %s \"$KEY\" | provision secrets set agent/OPENAI_API_KEY --host clienteA
  provision secrets get hub/ADMIN_PASSWORD --host clienteA
  provision secrets edit hub --host clienteA               all of them in $EDITOR
  provision secrets generate hub/DB_PASSWORD --host clienteA
  provision secrets rotate hub/DB_ROOT_PASSWORD --host clienteA    a new value, and what uses it with it
  provision secrets offboard ana                           who leaves: key out, list of what to rotate
  provision secrets check                                  shared or guessable values
  provision secrets scan                                   secrets in clear in the project

Files: inventory/vps_data/<host>/<service>.env.age; `global` is for all services of a host,
`backup` for the places where its backups are kept. What messages need is notifications/KEY of --host controller.")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// Write .age-recipients beside the inventory
    #[command(after_help = "Examples:
  provision secrets init                          your own key: --identity, $PROVISION_IDENTITY, or your SSH key
  provision secrets init 'ssh-ed25519 AAAA…' age1…")]
    Init {
        /// Public keys (age1…, ssh-ed25519 …); none: the one of your own identity
        recipients: Vec<String>,
    },
    /// Names of stored settings
    #[command(after_help = "Example:\n  provision secrets list --host clienteA")]
    List {
        /// Clients
        #[arg(long, value_name = "PATTERN", default_value = "all")]
        host: String,
    },
    /// Show one value
    #[command(after_help = "Example:\n  provision secrets get hub/ADMIN_PASSWORD --host clienteA")]
    Get {
        /// service/KEY
        name: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
    },
    /// Store a value, from a prompt or standard input
    #[command(after_help = "Examples:
  provision secrets set agent/OPENAI_API_KEY --host clienteA
  printf %s \"$KEY\" | provision secrets set global/SMTP_PASSWORD --host clientes")]
    Set {
        /// service/KEY
        name: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
    },
    /// Change one client's settings of a service in $EDITOR
    #[command(after_help = "Examples:
  provision secrets edit hub --host clienteA
  EDITOR=nano provision secrets edit global --host clienteA")]
    Edit {
        /// A service, or `global`
        service: String,
        /// One client
        #[arg(long, value_name = "HOST")]
        host: String,
    },
    /// Store a new random value
    #[command(after_help = "Examples:
  provision secrets generate hub/DB_PASSWORD --host clienteA
  provision secrets generate hub/ADMIN_PASSWORD --kind password --length 20 --force --host clienteA")]
    Generate {
        /// service/KEY
        name: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
        /// hex, base64, base64url, alnum, password, digits, uuid, age, jwt, ssh-key
        #[arg(long, default_value = "base64url")]
        kind: String,
        /// Bytes for hex and base64, characters for the others
        #[arg(long, default_value_t = 32)]
        length: usize,
        /// Replace a value that is there
        #[arg(long)]
        force: bool,
    },
    /// A new value for what is running: databases, .env, containers; back if it fails
    Rotate(super::rotate::Rotate),
    /// Encrypt all files to those who are in .age-recipients now
    #[command(after_help = "Examples:
  provision secrets rekey --check                          which files would change
  provision secrets rekey                                  after a line was added to .age-recipients

All files are written beside the old ones first and put into place together.")]
    Rekey {
        /// Only say what would change
        #[arg(short = 'C', long)]
        check: bool,
    },
    /// Remove a person's key; what they could read, and how to change it
    #[command(after_help = "Examples:
  provision secrets offboard ana --check
  provision secrets offboard ana@laptop
  provision secrets offboard age1…

NAME is the comment of an SSH key, a comment line `# NAME` above a key, or the key itself.")]
    Offboard {
        /// Who leaves
        name: String,
        /// Only say what would change
        #[arg(short = 'C', long)]
        check: bool,
    },
    /// Values that two clients share or anybody would guess
    #[command(after_help = "Examples:
  provision secrets check
  provision secrets check --host prod
  provision secrets check --older 365                      also those that were stored more than a year ago

Compares stored passwords, keys and tokens by a fingerprint whose key is made anew each time; no value is shown.")]
    Check {
        /// Clients
        #[arg(long, value_name = "PATTERN", default_value = "all")]
        host: String,
        /// Also values that are older than this, or of unknown age
        #[arg(long, value_name = "DAYS")]
        older: Option<u32>,
    },
    /// Secrets in clear in files of the project
    #[command(after_help = "Examples:
  provision secrets scan                             the whole folder
  provision secrets scan registry inventory playbooks
  git diff --cached --name-only -z --diff-filter=d | xargs -0 -r provision secrets scan --     what is to be committed

Looks for the stored values of all clients that you can read (also as JSON, URLs and base64 show them), private keys and
well-known kinds of tokens. Passes over what .gitignore names, encrypted files and those of more than 5 MB. Ends with 1 if it
found something; says where and whose, never the value.")]
    Scan {
        /// Files and folders; none: the folder one is in
        paths: Vec<PathBuf>,
    },
    /// Forget a value
    #[command(after_help = "Example:\n  provision secrets remove hub/OLD_KEY --host clienteA")]
    Remove {
        /// service/KEY
        name: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
    },
}

pub fn main(flags: Flags) -> Result<u8> {
    let mut fleet = flags.fleet.load()?;
    match flags.verb {
        Verb::Init { recipients } => init(&fleet, recipients),
        Verb::List { host } => list(&fleet, &host),
        Verb::Get { name, host } => get(&fleet, &name, &host),
        Verb::Set { name, host } => {
            let value = read_value(&name)?;
            change(&fleet, &name, &host, |file, key| file.set(key, value.clone()).map(|()| "stored"))
        }
        Verb::Edit { service, host } => edit(&fleet, &service, &host),
        Verb::Generate { name, host, kind, length, force } => {
            let kind: SecretKind = kind.parse()?;
            change(&fleet, &name, &host, |file, key| {
                if file.get(key).is_some() && !force {
                    return Ok("kept (--force replaces it)");
                }
                file.set(key, generate(&kind, length)?).map(|()| "generated")
            })
        }
        Verb::Rotate(args) => super::block_on(super::rotate::main(&mut fleet, args)),
        Verb::Rekey { check } => super::readers::rekey(&fleet, check),
        Verb::Offboard { name, check } => super::readers::offboard(&fleet, &name, check),
        Verb::Check { host, older } => super::guard::check(&fleet, &host, older),
        Verb::Scan { paths } => super::guard::scan(&fleet, &paths),
        Verb::Remove { name, host } => {
            change(&fleet, &name, &host, |file, key| Ok(if file.remove(key) { "removed" } else { "was not there" }))
        }
    }
}

fn init(fleet: &Fleet, given: Vec<String>) -> Result<u8> {
    let path = fleet.inventory.data_dir().join(".age-recipients");
    if path.exists() && given.is_empty() {
        println!("{} is there", path.display());
        return Ok(0);
    }
    let keys = if given.is_empty() { own_public_keys(fleet) } else { given };
    if keys.is_empty() {
        return Err(Error::new("there is no public key to encrypt to")
            .hint("make an SSH key (ssh-keygen -t ed25519), give --identity FILE, or name recipients: provision secrets init age1…"));
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = if before.is_empty() {
        "# Who may read the clients' secrets (vps_data/). One public key per line.\n".to_owned()
    } else {
        before.clone()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for key in keys.iter().filter(|key| !before.lines().any(|line| line.trim() == key.trim())) {
        text.push_str(key.trim());
        text.push('\n');
    }
    let trouble = |error: std::io::Error| Error::new(format!("cannot write `{}`: {error}", path.display()));
    let mut file = tempfile::NamedTempFile::new_in(fleet.inventory.data_dir()).map_err(trouble)?;
    file.write_all(text.as_bytes()).map_err(trouble)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(trouble)?;
    // looked at before it counts; a mistake is in the file that it would have become
    let there = |place: Place| Place { file: Arc::from(path.as_path()), ..place };
    crate::secrets::Recipients::load(file.path()).map_err(|error| Error { place: error.place.map(there), ..error })?;
    file.persist(&path).map_err(|error| trouble(error.error))?;
    println!("wrote {}", path.display());
    Ok(0)
}

/// Of the identity at work, else of an SSH key whose private half is elsewhere (an agent, a token).
fn own_public_keys(fleet: &Fleet) -> Vec<String> {
    if !fleet.identities.own_recipients().is_empty() {
        return fleet.identities.own_recipients().to_vec();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let read = |name: &str| std::fs::read_to_string(home.join(".ssh").join(name)).ok();
    let key = ["id_ed25519.pub", "id_rsa.pub"].into_iter().find_map(read);
    key.map(|text| text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).into_iter().collect()
}

/// The clients of a pattern; `controller` are the operator's own machines, for what messages need.
fn hosts_of(fleet: &Fleet, pattern: &str) -> Result<Vec<String>> {
    match pattern {
        super::notify::CONTROLLER => Ok(vec![pattern.to_owned()]),
        _ => fleet.select(pattern),
    }
}

/// A host's files of settings, by their services.
pub(super) fn files(fleet: &Fleet, host: &str) -> BTreeMap<String, PathBuf> {
    let folder = fleet.inventory.data_dir().join("vps_data").join(host);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let service = |name: &std::ffi::OsStr| Some(name.to_str()?.strip_suffix(".env.age")?.to_owned());
    entries.filter_map(|entry| Some((service(&entry.file_name())?, entry.path()))).collect()
}

fn list(fleet: &Fleet, pattern: &str) -> Result<u8> {
    let mut rows = vec![["HOST", "SERVICE", "KEYS"].map(str::to_owned).to_vec()];
    for host in hosts_of(fleet, pattern)? {
        for (service, path) in files(fleet, &host) {
            rows.push(vec![host.clone(), service, EnvFile::keys_of(&path)?.join(", ")]);
        }
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    Ok(0)
}

fn get(fleet: &Fleet, name: &str, pattern: &str) -> Result<u8> {
    let (service, key) = split(name)?;
    let service = service_id(fleet, service)?;
    let hosts = hosts_of(fleet, pattern)?;
    for host in &hosts {
        let file = EnvFile::load(&env_path(&fleet.inventory, host, &service), &fleet.identities)?;
        let value = file.get(key).ok_or_else(|| {
            Error::new(format!("host `{host}` has no stored `{name}`")).did_you_mean(key, file.keys())
        })?;
        match hosts.len() {
            1 => println!("{}", value.reveal()),
            _ => println!("{host} {}", value.reveal()),
        }
    }
    Ok(0)
}

fn change(
    fleet: &Fleet,
    name: &str,
    pattern: &str,
    edit: impl Fn(&mut EnvFile, &str) -> Result<&'static str>,
) -> Result<u8> {
    let (service, key) = split(name)?;
    let service = service_id(fleet, service)?;
    let recipients = recipients(&fleet.inventory)?;
    for host in hosts_of(fleet, pattern)? {
        let path = env_path(&fleet.inventory, &host, &service);
        let mut file = EnvFile::load(&path, &fleet.identities)?;
        let what = edit(&mut file, key)?;
        file.save(&path, &recipients)?;
        println!("{host} {name} {what}");
    }
    Ok(0)
}

/// The service's name, which is also that of its file; `global` is for all of them, `backup` for none.
pub(super) fn service_id(fleet: &Fleet, service: &str) -> Result<String> {
    match service {
        "global" | backup::SECRETS | super::notify::SECRETS => Ok(service.to_owned()),
        other => fleet.catalogue.instance(other).map(|instance| instance.to_string()),
    }
}

/// One client's file in the editor; only what was changed is encrypted anew.
fn edit(fleet: &Fleet, service: &str, pattern: &str) -> Result<u8> {
    let service = service_id(fleet, service)?;
    let hosts = hosts_of(fleet, pattern)?;
    let [host] = hosts.as_slice() else {
        return Err(Error::new(format!("`{pattern}` are {} hosts, and one is edited at a time", hosts.len()))
            .hint("`provision secrets set service/KEY --host …` sets one key on many"));
    };
    let recipients = recipients(&fleet.inventory)?;
    let path = env_path(&fleet.inventory, host, &service);
    let mut file = EnvFile::load(&path, &fleet.identities)?;
    let before: IndexMap<String, Secret> = file.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    let after = super::edit::edit(&format!("Settings of {service} on {host}"), &before)?;
    let mut changes = Vec::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        file.remove(key);
        changes.push(format!("{host} {service}/{key} removed"));
    }
    for (key, value) in &after {
        match before.get(key) {
            Some(old) if old == value => continue,
            Some(_) => changes.push(format!("{host} {service}/{key} changed")),
            None => changes.push(format!("{host} {service}/{key} added")),
        }
        file.set(key, value.clone())?;
    }
    file.save(&path, &recipients)?;
    match changes.is_empty() {
        true => println!("{host} {service}: nothing was changed"),
        false => changes.iter().for_each(|change| println!("{change}")),
    }
    Ok(0)
}

pub(super) fn split(name: &str) -> Result<(&str, &str)> {
    name.split_once('/').filter(|(service, key)| !service.is_empty() && !key.is_empty()).ok_or_else(|| {
        Error::new(format!("`{name}` is not of the form service/KEY")).hint("e.g. hub/ADMIN_PASSWORD, or global/KEY")
    })
}

pub(super) fn read_value(name: &str) -> Result<Secret> {
    let trouble = |error: std::io::Error| Error::new(format!("cannot read the value: {error}"));
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        return super::execute::ask_hidden(&format!("Valor de {name}"));
    }
    std::io::stdin().read_to_string(&mut text).map_err(trouble)?;
    if text.is_empty() {
        return Err(Error::new("the value is empty").hint("give it on standard input, or run this on a terminal"));
    }
    Ok(Secret::new(text))
}
