//! `manifest.json`: what a registry package says about its service. The format starts from seed s0, whose example
//! parses byte for byte, and adds optional fields only.
//!
//! Nothing here is templated; strings that may hold `{{ … }}` are rendered in [`super::settings`] and
//! [`super::render`].

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::manifest_data::{Backup, BackupKind, Data};
use super::mode::{Mode, Modes};
use crate::modules::host_requirements;

/// One package's `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// For editors.
    #[serde(rename = "$schema", default)]
    pub schema: Option<String>,
    /// `[a-z0-9][a-z0-9_-]*`, the folder's name.
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub description: String,
    /// The image tag that templates use as `{{ version }}`.
    #[serde(default = "latest")]
    pub version: String,
    /// A file of `_defaults/` (without `.yml`) that lies under the stack.
    #[serde(default = "stack_base")]
    pub extends: Option<String>,
    /// Capabilities that dependencies of other packages may name instead of the id.
    #[serde(default)]
    pub provides: Vec<String>,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Below `deploy_root`; `services/<id>` if not given.
    #[serde(default)]
    pub root: Option<String>,
    /// Only one on a host, e.g. because it owns ports.
    #[serde(default)]
    pub single: bool,
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Packages, or what packages provide, that cannot be on the same host.
    #[serde(default)]
    pub conflicts: Vec<String>,
    #[serde(default)]
    pub databases: Vec<Database>,
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// What must hold of several settings together, beyond what each one's `validation` says.
    #[serde(default, rename = "assert")]
    pub asserts: Vec<Assertion>,
    #[serde(default)]
    pub secrets: Vec<SecretSpec>,
    #[serde(default)]
    pub network: Option<NetworkPrompt>,
    /// Created before the stack, external in it.
    #[serde(default)]
    pub networks: Vec<Network>,
    #[serde(default)]
    pub directories: Vec<Directory>,
    #[serde(default)]
    pub files: Vec<File>,
    /// Images that are built on the host instead of pulled.
    #[serde(default)]
    pub builds: Vec<ImageBuild>,
    #[serde(default)]
    pub health: Health,
    #[serde(default)]
    pub jobs: Vec<Job>,
    /// Maintenance that is run by name, on demand.
    #[serde(default)]
    pub actions: Vec<Action>,
    #[serde(default)]
    pub urls: Vec<Url>,
    /// What `provision verify` looks at; each is a [`crate::modules::check::Check`] once its templates are rendered.
    #[serde(default)]
    pub checks: Vec<Value>,
    /// Known trouble of this service, for `provision doctor`.
    #[serde(default)]
    pub doctor: Vec<Rule>,
    /// Addresses that people open, shown when the service is up.
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub modes: Modes,
    #[serde(default)]
    pub requirements: Requirements,
    #[serde(default, deserialize_with = "steps")]
    pub manual_steps: Vec<ManualStep>,
    /// What dependents may read as `exports.<id>.<KEY>`; values are templates over this service's settings.
    #[serde(default)]
    pub exports: Map<String, Value>,
    /// What is worth keeping, for people.
    #[serde(default)]
    pub data: Vec<Data>,
    /// What a backup of the service is made of, in this order: databases before the files that they speak of.
    #[serde(default)]
    pub backup: Vec<Backup>,
}

fn latest() -> String {
    "latest".to_owned()
}

fn stack_base() -> Option<String> {
    Some("stack-base".to_owned())
}

fn yes() -> bool {
    true
}

/// What only a person can do, once the service is up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualStep {
    /// Under which it is marked as done.
    pub id: String,
    /// A template.
    pub text: String,
    /// The service is of no use before it is done.
    #[serde(default)]
    pub critical: bool,
}

/// A step may be a text alone; its name then stays the same as long as the text does.
fn steps<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<ManualStep>, D::Error> {
    let step = |value: Value| match value {
        Value::String(text) => {
            let id = format!("step-{}", &crate::modules::sha256(text.as_bytes())[..6]);
            Ok(ManualStep { id, text, critical: false })
        }
        other => serde_json::from_value(other).map_err(serde::de::Error::custom),
    };
    Vec::<Value>::deserialize(from)?.into_iter().map(step).collect()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Another package's id, or something a package provides.
    pub service: String,
    /// false: only ordered after it if it is there.
    #[serde(default = "yes")]
    pub required: bool,
    /// Run on the host; rc 0 means that the dependency is met without deploying it.
    #[serde(default)]
    pub check_command: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// postgres, pgvector, mysql or mariadb.
    #[serde(rename = "type", deserialize_with = "engine")]
    pub engine: String,
    pub db_name_var: String,
    pub user_var: String,
    pub password_var: String,
    #[serde(default)]
    pub extensions: Vec<String>,
    /// The compose service of this stack that holds the server; none: the dependency that provides the engine.
    #[serde(default)]
    pub service: Option<String>,
    /// Setting that holds the server's administrator and its password.
    #[serde(default)]
    pub admin_user_var: Option<String>,
    #[serde(default)]
    pub admin_password_var: Option<String>,
}

/// The engines whose databases and users can be made. One that is only known on the host would fail there, half-way.
fn engine<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let engine = String::deserialize(from)?;
    match engine.as_str() {
        "postgres" | "pgvector" | "mysql" | "mariadb" => Ok(engine),
        other => Err(serde::de::Error::custom(format!(
            "databases of type `{other}` cannot be made: it is postgres, pgvector, mysql or mariadb; \
            let the stack bring its own server and a job make them"
        ))),
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub key: String,
    #[serde(default)]
    pub prompt: String,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub validation: Option<Value>,
    /// A value or a template over the host's variables and the other settings.
    #[serde(default)]
    pub default: Option<Value>,
    #[serde(default)]
    pub help: Option<String>,
    /// Its value is in the service's data as well, so the data is of use only where it is the same.
    #[serde(default)]
    pub in_data: bool,
    /// The operator's own secret (an API key): never generated, kept like one.
    #[serde(default)]
    pub secret: bool,
    /// `file`: a secret that containers read from a file. A template.
    #[serde(default)]
    pub mount: Option<String>,
    /// How to ask whether its value is valid, before anything is touched.
    #[serde(default)]
    pub live_check: Option<Live>,
}

/// Ansible's `assert`, over a client's settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// A condition.
    pub that: String,
    /// A template.
    pub fail_msg: String,
}

/// A request from the operator's side to who gave a key out. Nothing is asked while the setting is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// A template, without the key: addresses are logged everywhere.
    pub url: String,
    /// Templates; the key is in one of them.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// Statuses that say no.
    #[serde(default = "unauthorized")]
    pub refused: Vec<u16>,
}

fn unauthorized() -> Vec<u16> {
    vec![401, 403]
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    pub key: String,
    /// Bytes for hex and base64, characters for the others.
    #[serde(default = "thirty_two")]
    pub length: usize,
    #[serde(rename = "type", default = "base64url")]
    pub kind: String,
    /// One value for all of the client's services that declare it: kept in the host's `global.env.age`.
    #[serde(default)]
    pub shared: bool,
    /// `file`: containers read it from a file, `environment`: from there. A template.
    #[serde(default)]
    pub mount: Option<String>,
    /// What a new value needs besides new containers.
    #[serde(default)]
    pub rotate: Option<Rotate>,
}

/// How `provision secrets rotate` gives a secret a new value.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Rotate {
    /// It is the password of an administrator of a database server in this stack, who can change it.
    Database(Administrator),
    /// It cannot be changed from outside; the sentence says why, and what to do instead.
    Never(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    /// postgres, pgvector, mysql or mariadb.
    #[serde(rename = "type", deserialize_with = "engine")]
    pub engine: String,
    /// The compose service that holds the server.
    pub service: String,
    pub user: String,
}

fn thirty_two() -> usize {
    32
}

fn base64url() -> String {
    "base64url".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPrompt {
    #[serde(default)]
    pub use_custom: bool,
    #[serde(default)]
    pub prompt_if_missing: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    #[serde(default)]
    pub internal: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Below the service's root.
    pub path: String,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub mode: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// In the package's folder.
    pub src: String,
    /// Below the service's root.
    pub dest: String,
    #[serde(default)]
    pub mode: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub template: bool,
}

/// An image of the stack that is built from source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageBuild {
    /// The stack's service that runs it.
    pub service: String,
    /// Its name, without a tag.
    pub image: String,
    /// A template: a folder of the package or of the operator's machine, or a git address with `#reference:folder`.
    /// Empty: the image is pulled.
    pub source: String,
    /// Below the source.
    #[serde(default)]
    pub context: String,
    /// Below the context.
    #[serde(default = "dockerfile")]
    pub dockerfile: String,
    /// A file of the package, for a source that brings no Dockerfile.
    #[serde(default)]
    pub default_dockerfile: Option<String>,
    /// Build arguments, templates. They can be read from the image, so no secrets.
    #[serde(default)]
    pub args: IndexMap<String, String>,
    #[serde(default)]
    pub target: Option<String>,
    /// A template; the digest of the source is put behind it. The version if not given.
    #[serde(default)]
    pub tag: Option<String>,
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Seconds until every container must be healthy or done.
    pub timeout: u64,
}

impl Default for Health {
    fn default() -> Self {
        // seed s1: 120 s
        Health { timeout: 120 }
    }
}

/// Work inside a container after the stack is healthy, with a check that makes it idempotent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub name: String,
    /// The stack's service in whose container it runs.
    pub service: String,
    /// A script of the package; rc 0 means that there is nothing to do.
    #[serde(default)]
    pub check: Option<String>,
    /// A script of the package.
    pub run: String,
    #[serde(default)]
    pub when: JobWhen,
    /// Take the service's backup before it runs, unless the update that it belongs to has taken one.
    #[serde(default)]
    pub backup_before: bool,
    /// Settings exported to both, over standard input.
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub user: Option<String>,
    /// Seconds.
    #[serde(default = "ten_minutes")]
    pub timeout: u64,
}

/// At which deployments a job is looked at; its check, if it has one, has the last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobWhen {
    /// At each, and the check decides.
    #[default]
    Check,
    /// The one that installs the service.
    First,
    /// Those that bring its container another image than the last good one had.
    ImageChanged,
    Each,
}

/// A named piece of maintenance: `provision action SERVICE NAME`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub name: String,
    /// One sentence, shown by `--list` and in the question.
    pub description: String,
    /// The stack's service in whose container it runs; none: on the host, in the service's folder.
    #[serde(default)]
    pub service: Option<String>,
    /// A script of the package.
    pub run: String,
    /// Settings exported to it, over standard input.
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub user: Option<String>,
    /// Seconds.
    #[serde(default = "ten_minutes")]
    pub timeout: u64,
    #[serde(default)]
    pub confirm: Confirm,
    /// Refused everywhere else.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// What the package declares as its backup is taken before.
    #[serde(default)]
    pub backup_first: bool,
    /// false: it only looks.
    #[serde(default = "yes")]
    pub changes: bool,
}

/// What is asked before an action runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Confirm {
    #[default]
    Nothing,
    /// Yes or no.
    Question,
    /// The host's name, for what deletes data.
    HostName,
}

impl TryFrom<Value> for Confirm {
    type Error = String;

    fn try_from(written: Value) -> Result<Confirm, String> {
        match written {
            Value::Bool(false) => Ok(Confirm::Nothing),
            Value::Bool(true) => Ok(Confirm::Question),
            Value::String(word) if word == "host" => Ok(Confirm::HostName),
            other => Err(format!("`confirm` is true, false or \"host\", not {other}")),
        }
    }
}

fn ten_minutes() -> u64 {
    600
}

/// Looked at from the operator's side when everything is up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Url {
    #[serde(default)]
    pub name: String,
    pub url: String,
    #[serde(default = "ok_status")]
    pub status: Vec<u16>,
    /// Must be found in the body.
    #[serde(default)]
    pub contains: Option<String>,
    /// Seconds.
    #[serde(default = "two_minutes")]
    pub timeout: u64,
}

/// Asked on the host itself, so `localhost` in it is the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub name: String,
    /// `http://…`, `https://…`, or `tcp://host:port` for what speaks something else.
    pub url: String,
    #[serde(default)]
    pub description: String,
}

/// Trouble that a package knows: a script finds it, another may mend it; both run in a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Lowercase letters, digits and `-`.
    pub id: String,
    /// What should be so.
    pub title: String,
    /// The stack's service in whose container the scripts run.
    pub service: String,
    /// A script of the package; rc 0 is well, else its last line is the evidence.
    pub check: String,
    /// A script of the package that mends it without losing anything.
    #[serde(default)]
    pub fix: Option<String>,
    /// Settings exported to both.
    #[serde(default)]
    pub env: Vec<String>,
}

fn ok_status() -> Vec<u16> {
    vec![200]
}

fn two_minutes() -> u64 {
    120
}

/// What a server has to have for the service. `cpu`, `ram_mb` and `disk_gb` beside `min` are what is recommended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    #[serde(default)]
    pub cpu: Option<f64>,
    #[serde(default)]
    pub ram_mb: Option<u64>,
    #[serde(default)]
    pub disk_gb: Option<f64>,
    /// Below this a server is refused.
    #[serde(default)]
    pub min: Option<Amounts>,
    /// Below this the operator is warned.
    #[serde(default)]
    pub recommended: Option<Amounts>,
    /// Lowest version of the engine.
    #[serde(default)]
    pub docker: Option<String>,
    /// Lowest version of Compose.
    #[serde(default)]
    pub compose: Option<String>,
    /// Programs on the host itself and their versions, as `>=3.12`.
    #[serde(default, deserialize_with = "host_requirements::commands::checked")]
    pub commands: IndexMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<f64>,
}

impl Requirements {
    pub fn minimum(&self) -> Amounts {
        self.min.clone().unwrap_or_default()
    }

    pub fn recommended(&self) -> Amounts {
        let said = self.recommended.clone().unwrap_or_default();
        Amounts {
            cpu: said.cpu.or(self.cpu),
            ram_mb: said.ram_mb.or(self.ram_mb),
            disk_gb: said.disk_gb.or(self.disk_gb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_example_parses() {
        let seed = include_str!("../../tests/fixtures/seed-s0-manifest.json");
        let manifest: Manifest = serde_json::from_str(seed).unwrap();
        assert_eq!(manifest.id, "chatwoot");
        assert_eq!(manifest.dependencies[0].check_command.as_deref(), Some("docker ps | grep postgres"));
        assert_eq!(manifest.secrets[0].length, 32);
        assert_eq!(manifest.secrets[0].kind, "hex");
        assert!(manifest.network.as_ref().is_some_and(|network| network.use_custom));
    }

    #[test]
    fn what_cannot_be_made_is_refused_when_it_is_read() {
        let read = |more: &str| {
            let text = format!("{{\"id\": \"a\", \"name\": \"A\", {more}}}");
            serde_json::from_str::<Manifest>(&text).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let database = |engine: &str| {
            let keys = r#""db_name_var": "N", "user_var": "U", "password_var": "P""#;
            read(&format!("\"databases\": [{{\"type\": \"{engine}\", {keys}}}]"))
        };
        assert_eq!(database("mysql"), "");
        assert!(
            database("mongodb").contains("type `mongodb` cannot be made: it is postgres"),
            "{}",
            database("mongodb")
        );
        assert!(read(r#""requirements": {"commands": {"python3": "new"}}"#).contains("`new` is no version"));
        assert!(read(r#""requirements": {"commands": {"rm -rf": ""}}"#).contains("is not the name of a program"));
        assert_eq!(read(r#""requirements": {"commands": {"python3": ">=3.12"}}"#), "");
    }
}
