//! What `status`, `drift`, `compare` and `odd` know of hosts: what a host says of itself, and what would be deployed there
//! now. One play asks (`playbooks/survey.yml`); everything else is read out of its answers. Settings are compared by
//! fingerprints whose key is made anew each time, so none of their values leaves a host.

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use super::status::ask_with;
use crate::error::{Error, Result};
use crate::modules::env_file;
use crate::plan::Secret;
use crate::secrets::{Redactor, SecretKind, generate};
use crate::services::{Rendered, Rollout, Selection};

/// What a host says of itself.
#[derive(Default)]
pub struct Seen {
    /// Service → the record of its deployment.
    pub records: IndexMap<String, Value>,
    /// Compose files: path → SHA-256.
    pub files: IndexMap<String, String>,
    /// Service → the steps that were done by hand.
    pub steps: IndexMap<String, Value>,
    /// As `docker ps` shows them.
    pub containers: Vec<Value>,
    /// Project, image as the container was made from it, id of the image.
    pub runs: Vec<(String, String, String)>,
    /// Id of an image → digests that registries know it by.
    pub digests: IndexMap<String, Vec<String>>,
    /// Declared files, by path.
    pub looked: IndexMap<String, Looked>,
    pub inspected: Vec<Container>,
    /// Project, service → what Compose would mark a container with that it made now.
    pub hashes: IndexMap<(String, String), String>,
    /// Stack, service → in what the swarm has it otherwise than it was deployed.
    pub specs: IndexMap<(String, String), Vec<String>>,
    pub networks: IndexSet<String>,
    /// `name:tag` → id and digest.
    pub images: IndexMap<String, (String, String)>,
    pub facts: IndexMap<String, String>,
    pub packages: IndexMap<String, String>,
    /// Ports that listen on more than the loopback → the program.
    pub ports: IndexMap<String, String>,
}

/// A declared file as it is on the host.
#[derive(Debug, Default, PartialEq)]
pub struct Looked {
    pub there: There,
    /// Octal, as `stat` says it.
    pub mode: String,
    /// What it holds where it differs; of a `.env` file nothing.
    pub lines: Vec<String>,
    /// Of a `.env` file that differs: setting → fingerprint.
    pub keys: IndexMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum There {
    #[default]
    Missing,
    Same,
    Differs,
}

/// A container as `docker inspect` shows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Container {
    #[serde(deserialize_with = "without_slash")]
    pub name: String,
    pub state: String,
    pub image: String,
    pub image_id: String,
    #[serde(default)]
    pub hash: Option<String>,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    pub oneoff: Option<String>,
    #[serde(default)]
    stack: Option<String>,
    #[serde(default)]
    task: Option<String>,
    networks: String,
}

fn without_slash<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    Ok(String::deserialize(from)?.trim_start_matches('/').to_owned())
}

impl Container {
    /// The compose project or swarm stack that it is part of.
    pub fn project(&self) -> Option<&str> {
        [&self.project, &self.stack].into_iter().flatten().map(String::as_str).find(|name| !name.is_empty())
    }

    /// Its name in the stack: `web`.
    pub fn service(&self) -> Option<&str> {
        let of_task = self.task.as_deref().zip(self.stack.as_deref()).filter(|(task, _)| !task.is_empty());
        let short = of_task.map(|(task, stack)| task.strip_prefix(&format!("{stack}_")).unwrap_or(task));
        short.or(self.service.as_deref().filter(|name| !name.is_empty()))
    }

    pub fn networks(&self) -> impl Iterator<Item = &str> {
        self.networks.split_whitespace()
    }
}

/// What is declared for a host, or why that cannot be worked out here.
pub type Wanted = std::result::Result<IndexMap<String, Rendered>, Error>;

/// A host that answered.
pub struct Surveyed {
    pub seen: Seen,
    pub wanted: Wanted,
}

/// Many hosts, asked at once.
pub struct Survey {
    pub hosts: IndexMap<String, std::result::Result<Surveyed, String>>,
    key: Secret,
    redactor: Redactor,
}

impl Survey {
    /// Services as the records have them: without profiles and aliases. What the registry does not know has to be installed on
    /// one of the hosts, as far as all have answered.
    pub fn services(&self, fleet: &Fleet, names: &[String]) -> Result<Vec<String>> {
        let answered = || self.hosts.values().filter_map(|host| host.as_ref().ok());
        let lost = answered().count() < self.hosts.len();
        let known = |name: &String| match fleet.catalogue.instance(name) {
            Ok(instance) => Ok(instance.to_string()),
            Err(_) if lost || answered().any(|host| host.seen.records.contains_key(name)) => Ok(name.clone()),
            Err(error) => Err(error),
        };
        fleet.catalogue.unfolded(names)?.iter().map(known).collect()
    }
}

/// Asks the hosts; `-K` asks for the sudo password before.
pub async fn survey(fleet: &Fleet, hosts: &[String], ask_become_pass: bool) -> Result<Survey> {
    fleet.sudo_password(ask_become_pass)?;
    // made anew each time and forgotten: a fingerprint says who shares a value, and nothing about the value
    let key = generate(&SecretKind::Hex, 32)?;
    let mut wants: IndexMap<&String, Wanted> = hosts.iter().map(|host| (host, wanted(fleet, host))).collect();
    let mut asked = serde_json::Map::new();
    for (host, wanted) in &wants {
        let services = || wanted.iter().flat_map(IndexMap::values);
        let mut files = Vec::new();
        for file in services().map(declared_files).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            files.push(json!({"path": file.path, "print": fingerprint(&key, &file.content), "kind": file.kind.word()}));
        }
        let compose = services().filter(|service| field(service, "runtime") == "compose");
        let projects: Vec<Value> =
            compose.map(|service| json!({"name": field(service, "project"), "root": field(service, "root")})).collect();
        let stacks = services().filter(|service| field(service, "runtime") == "swarm");
        let stacks: Vec<Value> =
            stacks.map(|service| json!({"id": service.id, "project": field(service, "project")})).collect();
        let about = json!({"key": key.reveal(), "files": files, "projects": projects, "stacks": stacks});
        asked.insert((*host).clone(), about);
    }
    let mut extra_vars = fleet.extra_vars.clone();
    extra_vars.insert("survey".to_owned(), Value::Object(asked));
    let cancel = CancellationToken::new();
    let mut answers = ask_with(fleet, hosts, "playbooks/survey.yml", extra_vars, cancel).await?;
    let mut found = IndexMap::new();
    for host in hosts {
        let answer = answers.shift_remove(host).unwrap_or_else(|| Err("no answer".to_owned()));
        let wanted = wants.shift_remove(host).unwrap_or_else(|| Ok(IndexMap::new()));
        found.insert(host.clone(), answer.map(|output| Surveyed { seen: parse(&output), wanted }));
    }
    Ok(Survey { hosts: found, key, redactor: fleet.redactor.clone() })
}

impl Survey {
    /// As the hosts make them of the settings in their `.env` files.
    pub fn fingerprint_of_setting(&self, key: &str, value: &Value) -> String {
        let written = env_file::render(&[(key.to_owned(), value.clone())].into_iter().collect()).unwrap_or_default();
        let written = written.trim_end_matches('\n').strip_prefix(&format!("{key}=")).unwrap_or_default();
        // what hosts say has been through the redactor: a short secret of digits may be found in any digest
        self.redactor.text(&fingerprint(&self.key, written)).into_owned()
    }
}

/// SHA-256 over the key and a text.
fn fingerprint(key: &Secret, text: &str) -> String {
    let digest = Sha256::new().chain_update(key.reveal()).chain_update(text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What would be deployed on a host now.
pub fn wanted(fleet: &Fleet, host: &str) -> Wanted {
    // a host without services wants none
    if crate::services::declared::services(&fleet.catalogue, &fleet.inventory, host)?.is_none() {
        return Ok(IndexMap::new());
    }
    let selection = Selection { services: None, with_dependencies: true, ..Selection::default() };
    let rollout = Rollout::prepare(&fleet.sources(), &[host.to_owned()], &selection)?;
    let services = rollout.hosts.into_values().flat_map(|host| host.services);
    Ok(services.map(|service| (service.id.clone(), service)).collect())
}

/// A file that a deployment would write.
pub struct Declared {
    pub path: String,
    pub content: String,
    /// Octal.
    pub mode: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A host may show what it holds.
    Text,
    /// The whole of it is a secret: all that a host says is whether it is another one.
    Secret,
    Folder,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Secret => "secret",
            Kind::Folder => "folder",
        }
    }
}

/// Compose file, settings, the package's own files, then secrets that are files and the folder that keeps others out.
pub fn declared_files(service: &Rendered) -> Result<Vec<Declared>> {
    let root = field(service, "root");
    let env = part(service, "env").and_then(Value::as_object).cloned().unwrap_or_default();
    let env = env_file::render(&env).map_err(|failure| Error::new(format!("{}: {}", service.id, failure.msg)))?;
    let stack = field(service, "stack").to_owned();
    let text = |path: String, content: String, mode: String| Declared { path, content, mode, kind: Kind::Text };
    let mut all = vec![
        text(format!("{root}/docker-compose.yml"), stack, "0644".to_owned()),
        text(format!("{root}/.env"), env, "0600".to_owned()),
    ];
    let files = |key: &str| part(service, key).and_then(Value::as_array).into_iter().flatten();
    let said = |file: &Value, key: &str| self::text(file, key).to_owned();
    all.extend(files("files").map(|file| text(said(file, "dest"), said(file, "content"), said(file, "mode"))));
    // modes as playbooks/services/deploy.yml gives them
    let mut secrets = files("secret_files").peekable();
    if secrets.peek().is_some() {
        let (path, mode) = (format!("{root}/.secrets"), "0700".to_owned());
        all.push(Declared { path, content: String::new(), mode, kind: Kind::Folder });
    }
    all.extend(secrets.map(|file| {
        let mode = "0444".to_owned();
        Declared { path: said(file, "dest"), content: said(file, "content"), mode, kind: Kind::Secret }
    }));
    Ok(all)
}

/// A field of the variable `service`.
pub fn part<'a>(service: &'a Rendered, key: &str) -> Option<&'a Value> {
    service.vars.get("service")?.get(key)
}

pub fn field<'a>(service: &'a Rendered, key: &str) -> &'a str {
    part(service, key).and_then(Value::as_str).unwrap_or_default()
}

pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The word of `provision status` for what became of a deployment.
pub fn drift(record: Option<&Value>, want: Option<&Rendered>, files: &IndexMap<String, String>) -> &'static str {
    let (record, want) = match (record, want) {
        (None, _) => return "-",
        (Some(_), None) => return "?",
        (Some(record), Some(want)) => (record, want),
    };
    if text(record, "digest") != want.digest {
        return "settings";
    }
    let digest = Sha256::digest(field(want, "stack"));
    let stack: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let there = files.get(&format!("{}/docker-compose.yml", text(record, "root")));
    if there.is_some_and(|checksum| *checksum != stack) { "edited" } else { "no" }
}

/// Reads the lines of `playbooks/status.yml` and `playbooks/survey.yml`.
pub fn parse(output: &str) -> Seen {
    let mut seen = Seen::default();
    let mut file = String::new();
    for line in output.lines() {
        // what a file holds may look like anything
        if let Some(content) = line.strip_prefix("@+") {
            if let Some(looked) = seen.looked.get_mut(&file) {
                looked.lines.push(content.to_owned());
            }
            continue;
        }
        let Some((word, rest)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else { continue };
        match word {
            "record" => {
                if let Ok(record) = serde_json::from_str::<Value>(rest) {
                    seen.records.insert(text(&record, "service").to_owned(), record);
                }
            }
            "file" => seen.files.extend(rest.split_once("  ").map(|(sum, path)| (path.to_owned(), sum.to_owned()))),
            "container" => seen.containers.extend(serde_json::from_str::<Value>(rest).ok()),
            "steps" => {
                if let Some((service, done)) = rest.split_once(' ') {
                    seen.steps.insert(service.to_owned(), serde_json::from_str(done).unwrap_or_default());
                }
            }
            "runs" => {
                if let Some((id, rest)) = rest.split_once(' ') {
                    // of the two labels there is one, and perhaps none
                    let (image, project) = rest.split_once(' ').unwrap_or((rest, ""));
                    seen.runs.push((project.trim().to_owned(), image.to_owned(), id.to_owned()));
                }
            }
            "digests" => {
                if let Some((id, names)) = rest.split_once(' ') {
                    let names: Vec<String> = serde_json::from_str(names).unwrap_or_default();
                    let digests = names.iter().filter_map(|name| Some(name.split_once('@')?.1.to_owned()));
                    seen.digests.insert(id.to_owned(), digests.collect());
                }
            }
            "inspect" => seen.inspected.extend(serde_json::from_str::<Container>(rest).ok()),
            "missing" | "same" | "differs" => {
                let there = match word {
                    "missing" => There::Missing,
                    "same" => There::Same,
                    _ => There::Differs,
                };
                if let Some((mode, path)) = rest.split_once(' ') {
                    path.clone_into(&mut file);
                    let looked = Looked { there, mode: mode.to_owned(), ..Looked::default() };
                    seen.looked.insert(path.to_owned(), looked);
                }
            }
            "key" => {
                if let (Some(looked), Some((key, print))) = (seen.looked.get_mut(&file), rest.split_once(' ')) {
                    looked.keys.insert(key.to_owned(), print.to_owned());
                }
            }
            "hash" => {
                if let [project, service, hash] = rest.split_whitespace().collect::<Vec<_>>()[..] {
                    seen.hashes.insert((project.to_owned(), service.to_owned()), hash.to_owned());
                }
            }
            "spec" => {
                if let [stack, service, aspect] = rest.split_whitespace().collect::<Vec<_>>()[..] {
                    let place = (stack.to_owned(), service.to_owned());
                    seen.specs.entry(place).or_default().push(aspect.to_owned());
                }
            }
            "network" => drop(seen.networks.insert(rest.to_owned())),
            "image" => {
                if let [name, id, digest] = rest.split_whitespace().collect::<Vec<_>>()[..] {
                    seen.images.insert(name.to_owned(), (id.to_owned(), digest.to_owned()));
                }
            }
            "fact" => seen.facts.extend(pair(rest)),
            "package" => seen.packages.extend(pair(rest)),
            "port" => seen.ports.extend(pair(rest)),
            _ => {}
        }
    }
    seen
}

fn pair(text: &str) -> Option<(String, String)> {
    text.split_once('\t').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// An image's name as `docker images` lists it: `docker.io/library/redis` is `redis:latest`.
pub fn listed_image(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whatever_a_file_holds() {
        let seen = parse(
            "@differs 644 /x/docker-compose.yml\n@+@missing - /x/.env\n@+a: 1\n@differs 600 /x/.env\n@key A 01\n@key B 02\n\
             @same 644 /x/conf\n@fact OS\tDebian GNU/Linux 13\n@port 22\tsshd\n@hash p web abc\n@image redis:8 sha256:1 <none>\n\
             @inspect {\"name\":\"/p-web-1\",\"state\":\"running\",\"image\":\"redis:8\",\"image_id\":\"sha256:1\",\"hash\":\"abc\",\
             \"project\":\"p\",\"service\":\"web\",\"oneoff\":\"False\",\"stack\":\"\",\"task\":\"\",\"networks\":\"p_default web \"}",
        );
        assert_eq!(seen.looked["/x/docker-compose.yml"].lines, ["@missing - /x/.env", "a: 1"]);
        assert_eq!(seen.looked["/x/.env"].keys.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(seen.looked["/x/conf"].there, There::Same);
        assert_eq!(seen.facts["OS"], "Debian GNU/Linux 13");
        let container = &seen.inspected[0];
        assert_eq!(
            (container.name.as_str(), container.project(), container.service()),
            ("p-web-1", Some("p"), Some("web"))
        );
        assert_eq!(container.networks().collect::<Vec<_>>(), ["p_default", "web"]);
        assert_eq!(seen.hashes[&("p".to_owned(), "web".to_owned())], "abc");
    }

    #[test]
    fn images_are_called_as_docker_lists_them() {
        let named =
            ["docker.io/library/redis", "redis:8", "docker.io/n8nio/n8n:1", "localhost:5000/x"].map(listed_image);
        assert_eq!(named, ["redis:latest", "redis:8", "n8nio/n8n:1", "localhost:5000/x:latest"]);
    }
}
