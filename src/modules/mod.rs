//! Modules: pure functions from templated arguments and observed state to a [`Plan`](crate::plan::Plan).
//!
//! One file per family. A family exports `pub const FAMILY: &[Spec]`; the table below is the whole catalogue. Control
//! actions (`assert`, `debug`, `set_fact`, `include_*`, `meta` …) are the engine's, not modules.

pub use compose_beside::DRAIN;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::plan::{Failure, Module, Object};

mod account;
mod apt;
pub mod args;
mod attributes;
pub mod check;
mod command;
mod compose;
mod compose_beside;
mod compose_call;
mod compose_state;
mod copy;
mod cron;
mod database;
mod database_mariadb;
mod database_postgres;
mod docker;
mod docker_container;
mod docker_image_build;
mod docker_image_pull;
mod docker_login;
mod docker_network;
mod docker_swarm;
mod docker_volume;
mod docker_wait;
mod edit;
pub mod env_file;
mod facts;
mod fetch;
mod file;
mod firewall;
pub mod host_requirements;
mod http;
mod keys;
mod link;
mod manual_steps;
mod net;
mod observed;
mod package;
pub mod pattern;
mod place;
mod port_holders;
mod repository;
mod stat;
mod swarm;
mod swarm_files;
mod swarm_state;
mod system;
mod systemd;
#[cfg(test)]
mod testing;

/// Makes a task's work for one host out of templated arguments.
pub type Builder = fn(Object, &Build<'_>) -> Result<Box<dyn Module>, Failure>;

/// One module as the catalogue knows it.
pub struct Spec {
    /// Short name, e.g. `copy`.
    pub name: &'static str,
    /// Other accepted names, e.g. `community.docker.docker_network`. `ansible.builtin.` and `ansible.legacy.` in front of
    /// the short name are always accepted.
    pub aliases: &'static [&'static str],
    /// All argument names with their aliases, for messages and for refusing unknown ones before a host is touched.
    pub args: &'static [&'static str],
    /// The argument that a free-form string goes to (`command: ls -l` → `_raw_params`), if there may be one.
    pub free_form: Option<&'static str>,
    /// Builds the task's work for one host from templated arguments.
    pub build: Builder,
}

/// What a module may use while it is built, besides its arguments.
pub struct Build<'a> {
    pub local: &'a dyn Local,
    /// The host's facts, without the `ansible_` prefix (`os_family`, `pkg_mgr`, `service_mgr`, `user_id` …): at least
    /// what the handshake brought, all of `setup` if that ran.
    pub facts: &'a Object,
    pub check: bool,
}

/// The controller's files and templates, as the task sees them.
pub trait Local {
    /// The path of a file along Ansible's search path (`files/` or `templates/` of the role, the task file's
    /// directory, the play's).
    fn find(&self, kind: LocalKind, name: &str) -> Result<PathBuf, Failure>;
    /// Reads a file found by `find`. Paths may lie inside the binary (the shipped registry), so never use `std::fs`.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure>;
    /// Files below a directory found by `find`, as paths relative to it, sorted; with permission bits.
    fn walk(&self, dir: &Path) -> Result<Vec<(PathBuf, u32)>, Failure>;
    /// Renders a Jinja2 template with the task's variables.
    fn render(&self, text: &str, path: &Path) -> Result<String, Failure>;
    /// What is at a path found by `find`. A file on disk is hashed piece by piece, so that large ones need no memory.
    fn look(&self, path: &Path) -> Result<Found, Failure> {
        let unreadable = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Ok(Found::Directory),
            Ok(meta) => {
                let mut file = std::fs::File::open(path).map_err(unreadable)?;
                let mut digest = Sha256::new();
                let mut piece = vec![0; 128 * 1024];
                loop {
                    match file.read(&mut piece).map_err(unreadable)? {
                        0 => break,
                        n => digest.update(&piece[..n]),
                    }
                }
                let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777;
                Ok(Found::File { size: meta.len(), checksum: hex(&digest.finalize()), mode, on_disk: true })
            }
            // inside the binary
            Err(_) => match self.read(path) {
                Ok(bytes) => {
                    Ok(Found::File { size: bytes.len() as u64, checksum: sha256(&bytes), mode: 0o644, on_disk: false })
                }
                Err(unread) => self.walk(path).map(|_| Found::Directory).map_err(|_| unread),
            },
        }
    }
}

/// What [`Local::look`] sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Directory,
    /// `checksum` is SHA-256 in lowercase hex. Only a file `on_disk` can be streamed by an `Upload`.
    File {
        size: u64,
        checksum: String,
        mode: u32,
        on_disk: bool,
    },
}

/// SHA-256 in lowercase hex, as `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    Files,
    Templates,
}

/// Every family's modules: one line per file.
const FAMILIES: &[&[Spec]] = &[
    // of the host
    account::FAMILY,
    apt::FAMILY,
    command::FAMILY,
    copy::FAMILY,
    cron::FAMILY,
    edit::FAMILY,
    facts::FAMILY,
    fetch::FAMILY,
    file::FAMILY,
    firewall::FAMILY,
    host_requirements::FAMILY,
    http::FAMILY,
    keys::FAMILY,
    link::FAMILY,
    manual_steps::FAMILY,
    net::FAMILY,
    package::FAMILY,
    port_holders::FAMILY,
    repository::FAMILY,
    stat::FAMILY,
    system::FAMILY,
    systemd::FAMILY,
    // of containers
    check::FAMILY,
    compose::FAMILY,
    database::FAMILY,
    docker_container::FAMILY,
    docker_image_build::FAMILY,
    docker_image_pull::FAMILY,
    docker_login::FAMILY,
    docker_network::FAMILY,
    docker_swarm::FAMILY,
    docker_volume::FAMILY,
    env_file::FAMILY,
    swarm::FAMILY,
];

/// The module of this name, by any of its spellings.
pub fn find(name: &str) -> Option<&'static Spec> {
    let short = name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name);
    all().find(|spec| spec.name == short || spec.aliases.contains(&name))
}

/// The whole catalogue.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// What is wrong with an argument that the module does not take.
pub fn unknown_argument(spec_args: &[&str], name: &str) -> Failure {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Failure::new(format!("argument `{name}` is not supported: {why}"));
    }
    let failure = Failure::new(format!("unknown argument `{name}`"));
    match crate::error::nearest(name, spec_args.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("it takes: {}", spec_args.join(", "))),
    }
}

/// Arguments of Ansible's modules that mean something we do not do. Better refused by a sentence than ignored.
const REFUSED: &[(&str, &str)] = &[
    ("attributes", "file system attributes are not managed; use `command: chattr …`"),
    ("attr", "file system attributes are not managed; use `command: chattr …`"),
    ("seuser", "SELinux labels are not managed"),
    ("serole", "SELinux labels are not managed"),
    ("setype", "SELinux labels are not managed"),
    ("selevel", "SELinux labels are not managed"),
    ("generate_ssh_key", "keys of accounts are not generated; use `command: ssh-keygen …` with `creates`"),
    ("ssh_key_file", "keys of accounts are not generated; use `command: ssh-keygen …` with `creates`"),
    ("ssh_key_bits", "keys of accounts are not generated; use `command: ssh-keygen …` with `creates`"),
    ("unsafe_writes", "files are always replaced whole, never written in place"),
];

/// A helper for families: arguments into a typed struct, with "did you mean" for unknown ones. A null is an argument
/// that was not given.
pub fn typed<T: serde::de::DeserializeOwned>(spec_args: &[&str], mut args: Object) -> Result<T, Failure> {
    if let Some(unknown) = args.keys().find(|key| !spec_args.contains(&key.as_str())) {
        return Err(unknown_argument(spec_args, unknown));
    }
    args.retain(|_, value| !value.is_null());
    let parse = |args: Object| serde_json::from_value::<T>(Value::Object(args)).map_err(|error| error.to_string());
    let error = match parse(args.clone()) {
        Ok(typed) => return Ok(typed),
        Err(error) => error,
    };
    if let Some(missing) = error.strip_prefix("missing field ") {
        return Err(Failure::new(format!("argument {missing} is missing")));
    }
    // serde does not say which value it did not like: it is the one without which the complaint is another
    let culprit = args.keys().find(|key| {
        let mut rest = args.clone();
        rest.shift_remove(key.as_str());
        parse(rest).err().as_ref() != Some(&error)
    });
    Err(Failure::new(match culprit {
        Some(name) => format!("argument `{name}`: {error}"),
        None => format!("arguments: {error}"),
    }))
}
