//! `provision drift`: where a client is not as it is declared, and how. Asks with `playbooks/survey.yml`; changes nothing.
//!
//! Leaves out: data, and whether services are well; `provision status` and `verify` tell that.

use std::collections::BTreeSet;

use clap::Args;
use fancy_regex::Regex;
use serde::Serialize;
use serde_json::Value;

use super::common::{Fleet, FleetFlags};
use super::survey::{
    Container, Declared, Kind, Looked, Seen, Surveyed, There, declared_files, field, listed_image, part, survey, text,
};
use crate::error::{Error, Result};
use crate::plan::{Diff, Object};
use crate::report::style::{bold, green, red};
use crate::report::summary::diff_text;
use crate::services::Rendered;
use crate::services::world::host_scope;

#[derive(Args)]
#[command(after_help = "Examples:
  provision drift                                every client
  provision drift --host clienteA --services hub
  provision drift --json | jq -r .host | sort -u  for programs: one object per difference

What is compared: compose file, configuration files and their modes (with a difference; secrets are blacked out), settings
and secrets that are files (names only), images, networks, containers that are missing, made by other means or of no declared
service. Nothing is touched. A difference that is meant is accepted with a reason in the client's variables:

  drift_waivers: {extra/portainer: the client's own}

Exit codes: 0 everything is as declared, 1 something differs or a client could not be reached, 2 wrong usage.")]
pub struct Flags {
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all", visible_alias = "hosts")]
    host: String,
    /// Only these services
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<String>>,
    /// One JSON object per difference
    #[arg(long)]
    json: bool,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// One difference.
#[derive(Debug, PartialEq, Serialize)]
struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    kind: &'static str,
    name: String,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diff: Vec<String>,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    let waivers = hosts.iter().map(|host| waivers(&fleet, host)).collect::<Result<Vec<Object>>>()?;
    let found = survey(&fleet, &hosts, flags.ask_become_pass).await?;
    let only = flags.services.as_ref().map(|names| found.services(&fleet, names)).transpose()?;
    let mask = Mask::new()?;
    let (mut differences, mut clients, mut accepted, mut lost) = (0, 0, 0, 0);
    for ((host, answer), waivers) in found.hosts.iter().zip(&waivers) {
        let surveyed = match answer {
            Ok(surveyed) => surveyed,
            Err(trouble) => {
                lost += 1;
                tell_trouble(&flags, host, &fleet.redactor.text(trouble));
                continue;
            }
        };
        let known = Known {
            print: &|key, value| found.fingerprint_of_setting(key, value),
            hide: &|text| fleet.redactor.text(text).into_owned(),
        };
        let mut findings = findings(surveyed, &known)?;
        let meant = |finding: &Finding| match (&only, &finding.service) {
            (None, _) => true,
            (Some(only), Some(service)) => only.contains(service),
            (Some(_), None) => false,
        };
        findings.retain(meant);
        let before = findings.len();
        findings.retain(|finding| !waivers.contains_key(&format!("{}/{}", finding.kind, finding.name)));
        accepted += before - findings.len();
        differences += findings.len();
        clients += usize::from(!findings.is_empty());
        for mut finding in findings {
            finding.text = fleet.redactor.text(&finding.text).into_owned();
            finding.diff = finding.diff.iter().map(|line| mask.line(&fleet.redactor.text(line))).collect();
            finding.tell(&flags, host);
        }
    }
    let accepted = if accepted > 0 { format!(", {accepted} accepted by drift_waivers") } else { String::new() };
    match (differences, lost) {
        (0, 0) => eprintln!("{}{accepted}", green("everything is as declared")),
        (0, _) => eprintln!("{lost} of {} clients could not be looked at", hosts.len()),
        _ => eprintln!("{differences} differences on {clients} of {} clients{accepted}", hosts.len()),
    }
    Ok(u8::from(differences + lost > 0))
}

fn tell_trouble(flags: &Flags, host: &str, trouble: &str) {
    if flags.json {
        println!("{}", serde_json::json!({"host": host, "error": trouble}));
    } else {
        println!("{} {}", bold(host), red(trouble));
    }
}

/// `drift_waivers` of a client: `<kind>/<name>` → the reason.
fn waivers(fleet: &Fleet, host: &str) -> Result<Object> {
    let scope = host_scope(&fleet.inventory, host, &fleet.extra_vars);
    let trouble = |text: &str| {
        Error::new(format!("host `{host}`: drift_waivers: {text}"))
            .hint("write `drift_waivers: {extra/portainer: \"the client's own\"}`: kind and name as drift shows them, and why")
    };
    match scope.get("drift_waivers").map_err(|fault| trouble(&fault.text))? {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(map)) if map.values().all(|why| why.as_str().is_some_and(|why| !why.is_empty())) => Ok(map),
        Some(_) => Err(trouble("not a mapping of differences to reasons")),
    }
}

impl Finding {
    fn new(service: Option<&str>, kind: &'static str, name: &str, text: impl Into<String>) -> Finding {
        let (service, name) = (service.map(str::to_owned), name.to_owned());
        Finding { service, kind, name, text: text.into(), diff: Vec::new() }
    }

    fn tell(&self, flags: &Flags, host: &str) {
        if flags.json {
            let mut line = serde_json::json!({"host": host});
            if let (Value::Object(line), Ok(Value::Object(more))) = (&mut line, serde_json::to_value(self)) {
                line.extend(more);
            }
            println!("{line}");
            return;
        }
        let place = self.service.as_ref().map(|service| format!("/{service}")).unwrap_or_default();
        println!("{} {} {}: {}", bold(&format!("{host}{place}")), self.kind, self.name, self.text);
        self.diff.iter().for_each(|line| println!("    {line}"));
    }
}

/// What makes declared things comparable with what a host says.
struct Known<'k> {
    /// The fingerprint of a setting.
    print: &'k dyn Fn(&str, &Value) -> String,
    /// A text without secrets, as the host's have come.
    hide: &'k dyn Fn(&str) -> String,
}

/// Everything in which a host is not as declared.
fn findings(surveyed: &Surveyed, known: &Known<'_>) -> Result<Vec<Finding>> {
    let Surveyed { seen, wanted } = surveyed;
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => {
            return Ok(vec![Finding::new(
                None,
                "unknown",
                "declared",
                format!("what is declared is not known here: {error}"),
            )]);
        }
    };
    let mut all = Vec::new();
    let installed = wanted.values().filter(|want| seen.records.contains_key(&want.id));
    if !seen.facts.contains_key("Docker") && !wanted.is_empty() {
        all.push(Finding::new(None, "docker", "engine", "it does not answer"));
    }
    for want in wanted.values().filter(|want| !seen.records.contains_key(&want.id)) {
        all.push(Finding::new(Some(&want.id), "service", &want.version, "declared, not installed"));
    }
    for want in installed {
        let record = seen.records.get(&want.id).unwrap_or(&Value::Null);
        all.extend(rollout(want, record));
        for file in declared_files(want)? {
            all.extend(file_findings(want, &file, seen.looked.get(&file.path), known));
        }
        let stack: Value = serde_yaml::from_str(field(want, "stack"))
            .map_err(|error| Error::new(format!("{}: the rendered stack is not YAML: {error}", want.id)))?;
        if seen.facts.contains_key("Docker") {
            all.extend(network_findings(want, seen));
            all.extend(container_findings(want, &stack, seen));
            all.extend(spec_findings(want, seen));
        }
    }
    for (service, record) in seen.records.iter().filter(|(service, _)| !wanted.contains_key(*service)) {
        all.push(Finding::new(Some(service), "service", text(record, "version"), "installed, not declared"));
    }
    let recorded: BTreeSet<&str> = seen.records.values().map(|record| text(record, "project")).collect();
    let planned: BTreeSet<&str> = wanted.values().map(|want| field(want, "project")).collect();
    all.extend(strangers(seen, |project| recorded.contains(project) || planned.contains(project)).map(|container| {
        let text = format!("in no declared service: {}, {}", container.image, container.state);
        Finding::new(None, "extra", &container.name, text)
    }));
    Ok(all)
}

/// Containers that belong to none of the projects.
pub fn strangers(seen: &Seen, ours: impl Fn(&str) -> bool) -> impl Iterator<Item = &Container> {
    seen.inspected.iter().filter(move |container| !container.project().is_some_and(&ours))
}

/// A newer declaration that waits for its rollout.
fn rollout(want: &Rendered, record: &Value) -> Option<Finding> {
    if text(record, "digest") == want.digest {
        return None;
    }
    let before = text(record, "version");
    let what = match before == want.version {
        true => "the settings, files or package declared now are not those of the last deployment".to_owned(),
        false => format!("{before} was deployed, {} is declared", want.version),
    };
    Some(Finding::new(Some(&want.id), "rollout", &want.version, what))
}

fn file_findings(want: &Rendered, file: &Declared, looked: Option<&Looked>, known: &Known<'_>) -> Vec<Finding> {
    let Some(looked) = looked else { return Vec::new() };
    let (kind, name) = match file.kind {
        // by the setting's name
        Kind::Secret => ("secret", file.path.rsplit('/').next().unwrap_or_default()),
        Kind::Text | Kind::Folder => ("file", file.path.as_str()),
    };
    let say = |text: String| Finding::new(Some(&want.id), kind, name, text);
    let mut all = Vec::new();
    match looked.there {
        There::Missing if file.kind == Kind::Secret => return vec![say(format!("its file {} is missing", file.path))],
        There::Differs if file.kind == Kind::Secret => all.push(say(format!("another value in {}", file.path))),
        There::Missing => return vec![say("missing".to_owned())],
        There::Same => {}
        There::Differs if file.path.ends_with("/.env") => all.extend(env_findings(want, looked, known)),
        There::Differs => {
            all.push(Finding { diff: difference(file, &looked.lines, known), ..say("another content".to_owned()) })
        }
    }
    let octal = |mode: &str| u32::from_str_radix(mode, 8).ok();
    if octal(&file.mode).is_some_and(|mode| octal(&looked.mode) != Some(mode)) {
        all.push(say(format!("mode {} instead of {}", looked.mode, file.mode.trim_start_matches('0'))));
    }
    all
}

fn env_findings(want: &Rendered, looked: &Looked, known: &Known<'_>) -> Vec<Finding> {
    let empty = Object::new();
    let env = part(want, "env").and_then(Value::as_object).unwrap_or(&empty);
    let say = |key: &str, text: &str| Finding::new(Some(&want.id), "env", key, text);
    let declared = env.iter().filter_map(|(key, value)| match looked.keys.get(key) {
        None => Some(say(key, "missing on the host")),
        Some(there) if *there != (known.print)(key, value) => Some(say(key, "another value on the host")),
        Some(_) => None,
    });
    let more = looked.keys.keys().filter(|key| !env.contains_key(*key)).map(|key| say(key, "not declared"));
    let mut all: Vec<Finding> = declared.chain(more).collect();
    if all.is_empty() {
        all.push(say(".env", "the same settings, written in another way"));
    }
    all
}

/// From what is declared to what is there.
fn difference(file: &Declared, lines: &[String], known: &Known<'_>) -> Vec<String> {
    // the host cuts what is longer
    if file.content.len() > 65_000 {
        return Vec::new();
    }
    let after: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let ends = if file.content.ends_with('\n') || file.content.is_empty() { "" } else { "\n" };
    diff_text(&Diff {
        before_header: "declared".to_owned(),
        after_header: "on the host".to_owned(),
        before: (known.hide)(&format!("{}{ends}", file.content)),
        after,
    })
}

fn network_findings(want: &Rendered, seen: &Seen) -> Vec<Finding> {
    let declared = part(want, "networks").and_then(Value::as_array).into_iter().flatten();
    let names = declared.map(|network| text(network, "name"));
    let missing = names.filter(|name| !seen.networks.contains(*name));
    missing.map(|name| Finding::new(Some(&want.id), "network", name, "missing")).collect()
}

fn container_findings(want: &Rendered, stack: &Value, seen: &Seen) -> Vec<Finding> {
    let (project, runtime) = (field(want, "project"), field(want, "runtime"));
    let say = |kind, name: &str, text: String| Finding::new(Some(&want.id), kind, name, text);
    let empty = Object::new();
    let parts = stack.get("services").and_then(Value::as_object).unwrap_or(&empty);
    let mine = || seen.inspected.iter().filter(|container| container.project() == Some(project));
    let mine = || mine().filter(|container| container.oneoff.as_deref() != Some("True"));
    // a swarm keeps the containers of earlier tasks
    let mine = || mine().filter(|container| runtime == "compose" || container.state == "running");
    let mut all = Vec::new();
    for (name, about) in parts {
        let mut containers = mine().filter(|container| container.service() == Some(name)).peekable();
        // the other nodes of a swarm may have them
        if containers.peek().is_none() && runtime == "compose" && is_wanted(about) {
            all.push(say("container", name, "missing".to_owned()));
        }
        for container in containers {
            let image = image_text(about, container, seen);
            let made = seen.hashes.get(&(project.to_owned(), name.clone())).zip(container.hash.as_ref());
            let other = made.is_some_and(|(now, then)| now != then);
            match image {
                Some(text) => all.push(say("image", &container.name, text)),
                None if other => all.push(say(
                    "container",
                    &container.name,
                    "not made from the compose file and settings that are on the host now".to_owned(),
                )),
                None => {}
            }
            if runtime == "compose" {
                let networks = networks_text(stack, about, project, container);
                all.extend(networks.map(|text| say("network", &container.name, text)));
            }
        }
    }
    let others = mine().filter(|container| !container.service().is_some_and(|name| parts.contains_key(name)));
    all.extend(others.map(|container| {
        say("extra", &container.name, format!("no part of the service: {}, {}", container.image, container.state))
    }));
    all
}

/// What somebody changed in the swarm since the deployment, which no file shows.
fn spec_findings(want: &Rendered, seen: &Seen) -> Vec<Finding> {
    let mine = seen.specs.iter().filter(|((stack, _), _)| stack == field(want, "project"));
    let found = mine.map(|((_, name), aspects)| {
        // everything is part of it
        let named: Vec<&str> = aspects.iter().map(String::as_str).filter(|aspect| *aspect != "other").collect();
        let text = match named[..] {
            ["missing"] => "removed by hand since the deployment".to_owned(),
            ["extra"] => "no part of what was deployed".to_owned(),
            [] => "changed by hand since the deployment".to_owned(),
            _ => format!("changed by hand since the deployment: {}", named.join(", ")),
        };
        Finding::new(Some(&want.id), "stack", name, text)
    });
    found.collect()
}

/// Is a container to be expected? Parts of a profile, and those of which none is wanted, have none.
fn is_wanted(about: &Value) -> bool {
    let none = |value: Option<&Value>| value.and_then(Value::as_u64) == Some(0);
    let profiles = about.get("profiles").and_then(Value::as_array).is_some_and(|profiles| !profiles.is_empty());
    !profiles && !none(about.get("scale")) && !none(about.pointer("/deploy/replicas"))
}

fn image_text(about: &Value, container: &Container, seen: &Seen) -> Option<String> {
    let declared = about.get("image").and_then(Value::as_str).filter(|image| !image.contains('$'));
    // a swarm adds the digest
    let runs = container.image.split('@').next().unwrap_or_default();
    if let Some(declared) = declared.filter(|declared| declared.split('@').next() != Some(runs)) {
        return Some(format!("{} instead of {declared}", container.image));
    }
    let (id, _) = seen.images.get(&listed_image(&container.image))?;
    (*id != container.image_id).then(|| {
        format!(
            "{} means {} by now, the container was made from {}",
            container.image,
            short(id),
            short(&container.image_id)
        )
    })
}

/// Enough of an image's id to tell it.
pub fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

fn networks_text(stack: &Value, about: &Value, project: &str, container: &Container) -> Option<String> {
    if about.get("network_mode").is_some() {
        return None;
    }
    let declared: Vec<String> = match about.get("networks") {
        Some(Value::Object(map)) => map.keys().cloned().collect(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec!["default".to_owned()],
    };
    let full = |name: String| {
        let network = stack.get("networks").and_then(|networks| networks.get(&name));
        let called = network.and_then(|network| network.get("name")?.as_str()).map(str::to_owned);
        let external = network.and_then(|network| network.get("external")?.as_bool()) == Some(true);
        called.unwrap_or(if external { name } else { format!("{project}_{}", name) })
    };
    let declared: BTreeSet<String> = declared.into_iter().map(full).collect();
    if declared.iter().any(|name| name.contains('$')) {
        return None;
    }
    let there: BTreeSet<String> = container.networks().map(str::to_owned).collect();
    let list = |what: &str, from: &BTreeSet<String>, without: &BTreeSet<String>| {
        let names: Vec<&str> = from.difference(without).map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    };
    let said = [list("not in", &declared, &there), list("also in", &there, &declared)];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Blacks out what somebody wrote into a file by hand and the redactor cannot know.
struct Mask {
    named: Regex,
    address: Regex,
    /// The inside of a key.
    block: Regex,
}

impl Mask {
    fn new() -> Result<Mask> {
        let regex = |text: &str| Regex::new(text).map_err(|error| Error::new(error.to_string()));
        Ok(Mask {
            // a reference to a setting says nothing
            named: regex(
                r#"(?i)((?:pass|pwd|secret|token|key|credential|auth)[\w.-]*["']?\s*[:=]\s*)(?!["']?\$\{\w+[^}]*\}["']?\s*$)\S.*"#,
            )?,
            address: regex(r"(://[^\s:/@]*:)(?!\$\{)[^\s@/]+@")?,
            block: regex(r"^([ +-]?\s*)[A-Za-z0-9+/]{40,}={0,2}\s*$")?,
        })
    }

    fn line(&self, line: &str) -> String {
        let line = self.block.replace(line, "${1}********");
        let line = self.address.replace_all(&line, "${1}********@");
        self.named.replace_all(&line, "${1}********").into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::survey::parse;
    use serde_json::json;

    fn service() -> Rendered {
        let stack = "services:\n  web: {image: \"redis:8\", networks: [inside, web]}\n  db: {image: \"postgres:17\"}\n  spare: {image: x, profiles: [spare]}\n\
                     networks:\n  inside: {}\n  web: {external: true}\n";
        let vars = json!({"service": {"root": "/x", "project": "p", "runtime": "compose", "stack": stack, "env": {"A": "1", "B": "two words"},
            "networks": [{"name": "web"}], "files": [{"dest": "/x/conf", "content": "PASSWORD=geheim\nlevel: 1\n", "mode": "0640"}],
            "secret_files": [{"dest": "/x/.secrets/DB_PASSWORD", "content": "geheim", "name": "DB_PASSWORD_0"}]}});
        Rendered {
            id: "shop".to_owned(),
            version: "2".to_owned(),
            vars: vars.as_object().cloned().unwrap(),
            digest: "d".to_owned(),
            url: None,
            requires: Vec::new(),
            live_checks: Vec::new(),
            names: Default::default(),
            pin: None,
        }
    }

    /// `kind name: text` of each finding for what a host said.
    fn found(said: &str) -> Vec<String> {
        let wanted = Ok([("shop".to_owned(), service())].into_iter().collect());
        let surveyed = Surveyed { seen: parse(said), wanted };
        let known = Known {
            print: &|_, value| format!("f{}", value.as_str().unwrap_or_default().len()),
            hide: &|text| text.replace("geheim", "********"),
        };
        let findings = findings(&surveyed, &known).unwrap();
        findings
            .iter()
            .map(|f| format!("{} {}: {} {}", f.kind, f.name, f.text, f.diff.join("|")).trim().to_owned())
            .collect()
    }

    const WELL: &str = "@record {\"service\": \"shop\", \"digest\": \"d\", \"version\": \"2\", \"project\": \"p\", \"root\": \"/x\"}\n\
        @same 644 /x/docker-compose.yml\n@same 600 /x/.env\n@same 640 /x/conf\n@same 700 /x/.secrets\n@same 444 /x/.secrets/DB_PASSWORD\n@fact Docker\t28\n@network web\n\
        @image redis:8 sha256:1 <none>\n@image postgres:17 sha256:2 <none>\n@hash p web h1\n@hash p db h2\n\
        @inspect {\"name\":\"/p-web-1\",\"state\":\"running\",\"image\":\"redis:8\",\"image_id\":\"sha256:1\",\"mode\":\"\",\"hash\":\"h1\",\"project\":\"p\",\"service\":\"web\",\"networks\":\"p_inside web \"}\n\
        @inspect {\"name\":\"/p-db-1\",\"state\":\"running\",\"image\":\"postgres:17\",\"image_id\":\"sha256:2\",\"mode\":\"\",\"hash\":\"h2\",\"project\":\"p\",\"service\":\"db\",\"networks\":\"p_default \"}\n";

    #[test]
    fn what_is_as_declared_has_no_finding() {
        assert_eq!(found(WELL), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_told_alone() {
        let cases = [
            (
                "\"digest\": \"d\"",
                "\"digest\": \"e\"",
                "rollout 2: the settings, files or package declared now are not those of the last deployment",
            ),
            ("\"version\": \"2\"", "\"digest\": \"e\", \"version\": \"1\"", "rollout 2: 1 was deployed, 2 is declared"),
            ("@same 644 /x/docker", "@same 666 /x/docker", "file /x/docker-compose.yml: mode 666 instead of 644"),
            ("@same 600 /x/.env", "@missing - /x/.env", "file /x/.env: missing"),
            (
                "@same 600 /x/.env",
                "@differs 600 /x/.env\n@key A f1\n@key C f1",
                "env B: missing on the host\nenv C: not declared",
            ),
            ("@same 600 /x/.env", "@differs 600 /x/.env\n@key A f7\n@key B f9", "env A: another value on the host"),
            (
                "@same 640 /x/conf",
                "@differs 640 /x/conf\n@+PASSWORD=********\n@+level: 2",
                "file /x/conf: another content --- declared|+++ on the host|@@ -1,2 +1,2 @@| PASSWORD=********|-level: 1|+level: 2",
            ),
            (
                "@same 444 /x/.secrets/DB",
                "@differs 444 /x/.secrets/DB",
                "secret DB_PASSWORD: another value in /x/.secrets/DB_PASSWORD",
            ),
            (
                "@same 444 /x/.secrets/DB",
                "@missing - /x/.secrets/DB",
                "secret DB_PASSWORD: its file /x/.secrets/DB_PASSWORD is missing",
            ),
            ("@same 700 /x/.s", "@same 755 /x/.s", "file /x/.secrets: mode 755 instead of 700"),
            ("@network web\n", "", "network web: missing"),
            (
                "@image redis:8 sha256:1",
                "@image redis:8 sha256:9",
                "image p-web-1: redis:8 means 9 by now, the container was made from 1",
            ),
            (
                "\"image\":\"postgres:17\"",
                "\"image\":\"postgres:16\"",
                "image p-db-1: postgres:16 instead of postgres:17",
            ),
            (
                "\"h1\"",
                "\"old\"",
                "container p-web-1: not made from the compose file and settings that are on the host now",
            ),
            (
                "\"service\":\"db\"",
                "\"service\":\"dba\"",
                "container db: missing\nextra p-db-1: no part of the service: postgres:17, running",
            ),
            ("p_inside web ", "p_inside bridge ", "network p-web-1: not in web; also in bridge"),
            (
                "\"project\":\"p\",\"service\":\"db\"",
                "\"project\":null,\"service\":\"\"",
                "container db: missing\nextra p-db-1: in no declared service: postgres:17, running",
            ),
            (
                "@record {\"service\": \"shop\"",
                "@record {\"service\": \"old\"",
                "service 2: declared, not installed\nservice 2: installed, not declared",
            ),
            ("@fact Docker\t28\n", "", "docker engine: it does not answer"),
        ];
        for (was, is, says) in cases {
            assert!(WELL.contains(was), "{was}");
            assert_eq!(found(&WELL.replacen(was, is, 1)).join("\n"), says, "{is}");
        }
    }

    #[test]
    fn what_was_changed_in_a_swarm_is_told_by_service() {
        let said = format!(
            "{WELL}@spec p web other\n@spec p web settings\n@spec p web replicas\n@spec p db other\n@spec p gone missing\n\
             @spec p more extra\n@spec q web image\n"
        );
        let wanted = "stack web: changed by hand since the deployment: settings, replicas\n\
            stack db: changed by hand since the deployment\nstack gone: removed by hand since the deployment\n\
            stack more: no part of what was deployed";
        assert_eq!(found(&said).join("\n"), wanted);
    }

    #[test]
    fn secrets_written_by_hand_are_blacked_out() {
        let mask = Mask::new().unwrap();
        for (line, shown) in [
            ("+    POSTGRES_PASSWORD: hunter2 x", "+    POSTGRES_PASSWORD: ********"),
            ("+  - API_KEY=abc", "+  - API_KEY=********"),
            ("+  \"token\": \"abc\",", "+  \"token\": ********"),
            ("-    POSTGRES_PASSWORD: \"${DB_PASSWORD}\"", "-    POSTGRES_PASSWORD: \"${DB_PASSWORD}\""),
            ("+ url: postgres://u:hunter2@db/x", "+ url: postgres://u:********@db/x"),
            ("+ image: redis:8", "+ image: redis:8"),
            ("+MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ==", "+********"),
        ] {
            assert_eq!(mask.line(line), shown);
        }
    }
}
