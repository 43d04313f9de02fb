//! A `docker-compose.yml` becomes a package: images keep their tags, settings of containers become variables or secrets,
//! volumes become folders below the service's root, the first web port goes behind the proxy. What a compose file can
//! say and a package cannot, or should not, is dropped and said.
//!
//! Leaves out building images, and values of secrets: those are made anew.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{
    Draft, ROUTER_LABELS, backup, check_id, domain_key, domain_variable, manifest, networks, pinned, pretty,
    router_head, url,
};
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::services::lint::{references, text};
use crate::yaml;

/// Of a service's keys, those that are taken over as they are.
const KEPT: &[&str] = &[
    "command",
    "entrypoint",
    "user",
    "working_dir",
    "healthcheck",
    "stop_grace_period",
    "stop_signal",
    "init",
    "tmpfs",
    "ulimits",
    "shm_size",
    "extra_hosts",
    "cap_add",
    "cap_drop",
    "devices",
    "read_only",
    "restart",
    "depends_on",
    "deploy",
    "sysctls",
    "tty",
    "stdin_open",
    "hostname",
    "security_opt",
    "privileged",
];
/// Those that something else is made of.
const USED: &[&str] =
    &["image", "environment", "env_file", "ports", "volumes", "labels", "build", "networks", "expose"];
/// Those that mean nothing in a package.
const MEANINGLESS: &[&str] = &["container_name", "logging", "pull_policy"];
/// Ports on which something other than HTTP usually is.
const NOT_WEB: &[u16] = &[22, 25, 53, 1433, 1521, 1883, 3306, 5432, 5672, 6379, 9042, 11211, 27017];

/// Settings of the new package while the services are gone through.
#[derive(Default)]
struct Settings {
    variables: IndexMap<String, Value>,
    secrets: IndexMap<String, Value>,
}

struct Import<'a> {
    id: &'a str,
    /// Beside which relative paths are.
    folder: &'a Path,
    settings: Settings,
    directories: IndexMap<String, Value>,
    files: Vec<(String, Vec<u8>)>,
    mounts: Vec<Value>,
    remarks: Vec<String>,
    /// Service and port behind the proxy.
    web: Option<(String, u16)>,
}

/// Reads the compose file and drafts the package of this id.
pub fn import(path: &Path, id: &str) -> Result<Draft> {
    check_id(id)?;
    let node = yaml::load(path)?;
    let compose = node.to_value();
    let services = compose.get("services").and_then(Value::as_object).filter(|services| !services.is_empty());
    let services = services.ok_or_else(|| {
        Error::at(&Place::file(path), "this is no compose file: it has no `services`").hint("name a docker-compose.yml")
    })?;
    let mut import = Import {
        id,
        folder: path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        settings: Settings::default(),
        directories: IndexMap::new(),
        files: Vec::new(),
        mounts: Vec::new(),
        remarks: Vec::new(),
        web: None,
    };
    import.web = web_port(services);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if let Some((line, found)) = text::double_encoded(&text) {
        import.say(format!("line {line} was encoded twice (`{found}`): save the file as UTF-8 once"));
    }
    for key in compose.as_object().into_iter().flat_map(Object::keys) {
        if !["services", "version", "name", "volumes", "networks"].contains(&key.as_str()) && !key.starts_with("x-") {
            import.say(format!("`{key}` at the top is not carried over"));
        }
    }
    // one image's tag is the package's version: that of the service behind the proxy, else the first
    let main = import.web.as_ref().map(|(service, _)| service.clone()).or_else(|| services.keys().next().cloned());
    let main = main.unwrap_or_default();
    let mut version = "0".to_owned();
    let mut stack = Object::new();
    for (name, service) in services {
        let drafted = import.service(name, service, (*name == main).then_some(&mut version));
        stack.insert(name.clone(), drafted);
    }
    Ok(import.draft(&version, stack))
}

/// The first published port, or only exposed one, that is likely to be HTTP.
fn web_port(services: &Object) -> Option<(String, u16)> {
    let ports_of = |key: &str| {
        services.iter().find_map(|(name, service)| {
            let ports = service.get(key)?.as_array()?;
            let port = ports.iter().filter_map(container_port).find(|port| !NOT_WEB.contains(port))?;
            Some((name.clone(), port))
        })
    };
    ports_of("ports").or_else(|| ports_of("expose"))
}

fn container_port(port: &Value) -> Option<u16> {
    match port {
        Value::String(text) => text.split('/').next()?.rsplit(':').next()?.parse().ok(),
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::Object(map) => map.get("target").and_then(container_port),
        _ => None,
    }
}

/// Does a setting of this name hold something that nobody may see?
fn is_secret(key: &str) -> bool {
    let key = key.to_uppercase();
    let words: Vec<&str> = key.split('_').collect();
    let secret = ["PASSWORD", "PASSWD", "PASS", "SECRET", "TOKEN", "SALT", "PWD", "CREDENTIALS"];
    // a public key, or the name of one, is none
    let key_word = words.last() == Some(&"KEY") && !words.contains(&"PUBLIC");
    (words.iter().any(|word| secret.contains(word)) || key_word) && words.last() != Some(&"FILE")
}

impl Import<'_> {
    fn say(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    fn service(&mut self, name: &str, service: &Value, version: Option<&mut String>) -> Value {
        let mut drafted = Object::new();
        drafted.insert("image".to_owned(), Value::from(self.image(name, service, version)));
        for (key, value) in service.as_object().into_iter().flatten() {
            match key.as_str() {
                known if USED.contains(&known) || MEANINGLESS.contains(&known) => {}
                known if KEPT.contains(&known) => {
                    self.interpolated(value);
                    drafted.insert(key.clone(), value.clone());
                }
                _ => self.say(format!("service `{name}`: `{key}` is not carried over")),
            }
        }
        for danger in ["privileged", "cap_add", "devices"] {
            if drafted.contains_key(danger) {
                self.say(format!("service `{name}` asks for `{danger}`: make sure that it has to"));
            }
        }
        let environment = self.environment(name, service);
        if !environment.is_empty() {
            drafted.insert("environment".to_owned(), Value::Object(environment));
        }
        let volumes = self.volumes(name, service);
        if !volumes.is_empty() {
            drafted.insert("volumes".to_owned(), Value::Array(volumes));
        }
        let ports = self.ports(name, service);
        if !ports.is_empty() {
            drafted.insert("ports".to_owned(), Value::Array(ports));
        }
        self.labels(name, service);
        let web = self.web.as_ref().is_some_and(|(web, _)| web == name);
        let network = if web { json!({"default": {}, "{{ docker_network }}": {}}) } else { json!({"default": {}}) };
        drafted.insert("networks".to_owned(), network);
        Value::Object(drafted)
    }

    fn image(&mut self, name: &str, service: &Value, version: Option<&mut String>) -> String {
        if service.get("build").is_some() {
            self.build(name, service);
        }
        let Some(image) = service.get("image").and_then(Value::as_str) else {
            self.say(format!(
                "service `{name}` is built and has no image: push one and write its name into stack.yml.j2"
            ));
            return format!("registry.invalid/{}/{name}:0", self.id);
        };
        match (pinned(image), version) {
            (Ok((image, tag)), Some(version)) => {
                tag.clone_into(version);
                format!("{image}:{{{{ version }}}}")
            }
            (Ok(_), None) => image.to_owned(),
            (Err(_), _) => {
                self.say(format!("service `{name}`: the image `{image}` is not pinned: write a tag into stack.yml.j2"));
                image.to_owned()
            }
        }
    }

    fn build(&mut self, name: &str, service: &Value) {
        self.say(format!("service `{name}`: `build` is not carried over; see `builds` in docs/registry.md"));
        let build = service.get("build").cloned().unwrap_or_default();
        let part = |key: &str| build.get(key).and_then(Value::as_str);
        let context = build.as_str().or_else(|| part("context")).unwrap_or(".");
        let path = self.folder.join(context).join(part("dockerfile").unwrap_or("Dockerfile"));
        let path: PathBuf = path.components().collect();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (line, what) in text::baked(&text) {
            self.say(format!("{}:{line}: env-baked-in-image: {what}", path.display()));
        }
    }

    /// Literal values become settings of the package, `${NAME}` a setting of that name.
    fn environment(&mut self, name: &str, service: &Value) -> Object {
        let mut values: IndexMap<String, Option<String>> = IndexMap::new();
        let files = match service.get("env_file") {
            Some(Value::Array(files)) => files.iter().map(|file| file.get("path").unwrap_or(file).clone()).collect(),
            Some(file) => vec![file.clone()],
            None => Vec::new(),
        };
        for file in files.iter().filter_map(Value::as_str) {
            match std::fs::read_to_string(self.folder.join(file)) {
                Ok(text) => {
                    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
                    values.extend(lines.filter_map(|line| line.split_once('=')).map(|(key, value)| {
                        let value = value.trim();
                        let bare = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
                        // no interpolation happens in there
                        (key.trim().to_owned(), Some(bare.unwrap_or(value).replace('$', "$$")))
                    }));
                }
                Err(error) => self.say(format!("service `{name}`: env_file `{file}` cannot be read: {error}")),
            }
        }
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        match service.get("environment") {
            Some(Value::Object(map)) => values.extend(map.iter().map(|(key, value)| (key.clone(), text(value)))),
            Some(Value::Array(items)) => values.extend(items.iter().filter_map(Value::as_str).map(|item| {
                item.split_once('=')
                    .map_or((item.to_owned(), None), |(key, value)| (key.to_owned(), Some(value.to_owned())))
            })),
            _ => {}
        }
        let mut environment = Object::new();
        for (key, value) in values {
            let text = self.setting(name, &key, value.as_deref());
            environment.insert(key, Value::from(text));
        }
        environment
    }

    /// Declares what a container's variable needs; gives back what stands for it in the stack.
    fn setting(&mut self, service: &str, key: &str, value: Option<&str>) -> String {
        if let Some(value) = value.filter(|value| value.replace("$$", "").contains('$')) {
            if value.contains("://") && value.contains('@') && !value.contains("${") {
                self.say(format!("service `{service}`: `{key}` may hold a password"));
            }
            self.interpolated(&Value::from(value));
            return value.to_owned();
        }
        let value = value.map(|value| value.replace("$$", "$"));
        let name = self.name_for(service, key, value.as_deref());
        if is_secret(key) {
            if value.as_deref().is_some_and(|value| !value.is_empty()) {
                self.say(format!(
                    "the value of `{key}` is left behind; a new one is made, or keep it: provision secrets set {}/{name} --host …",
                    self.id
                ));
            }
            let kind = if key.to_uppercase().contains("PASS") { "password" } else { "hex" };
            self.settings.secrets.insert(name.clone(), json!({"key": name, "length": 32, "type": kind}));
        } else {
            let variable = json!({"key": name, "prompt": format!("{key} de {service}"), "required": value.is_none(), "default": value.as_deref().map(untemplated)});
            self.settings.variables.insert(name.clone(), variable);
        }
        format!("${{{name}}}")
    }

    /// The setting's name: the container's, unless another service already gives it another value.
    fn name_for(&self, service: &str, key: &str, value: Option<&str>) -> String {
        let other = self
            .settings
            .variables
            .get(key)
            .is_some_and(|known| known.get("default").and_then(Value::as_str) != value.map(untemplated).as_deref());
        match other {
            true => format!("{}_{key}", service.to_uppercase().replace(['-', '.'], "_")),
            false => key.to_owned(),
        }
    }

    /// Every `${NAME}`, `${NAME:-default}` and `$NAME` in a value is declared.
    fn interpolated(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.interpolated(item)),
            Value::Object(map) => map.values().for_each(|item| self.interpolated(item)),
            Value::String(text) => {
                for (name, default) in references(text) {
                    if self.settings.variables.contains_key(&name) || self.settings.secrets.contains_key(&name) {
                        continue;
                    }
                    if is_secret(&name) {
                        let kind = if name.to_uppercase().contains("PASS") { "password" } else { "hex" };
                        self.settings.secrets.insert(name.clone(), json!({"key": name, "length": 32, "type": kind}));
                    } else {
                        let variable = json!({"key": name, "prompt": name, "required": default.is_none(), "default": default.as_deref().map(untemplated)});
                        self.settings.variables.insert(name, variable);
                    }
                }
            }
            _ => {}
        }
    }

    fn volumes(&mut self, name: &str, service: &Value) -> Vec<Value> {
        let mut mounts = Vec::new();
        let owner = service.get("user").map(|user| user.as_str().map_or_else(|| user.to_string(), str::to_owned));
        let owner = owner.filter(|user| user.split(':').all(|part| part.parse::<u32>().is_ok()));
        for volume in service.get("volumes").and_then(Value::as_array).into_iter().flatten() {
            let (source, target, mode) = match volume {
                Value::String(text) => {
                    let mut parts = text.splitn(3, ':');
                    match (parts.next(), parts.next(), parts.next()) {
                        (Some(source), Some(target), mode) => {
                            (source.to_owned(), target.to_owned(), mode.map(str::to_owned))
                        }
                        _ => (String::new(), text.clone(), None),
                    }
                }
                _ => {
                    let part = |key: &str| volume.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let read_only = volume.get("read_only").and_then(Value::as_bool) == Some(true);
                    (part("source"), part("target"), read_only.then(|| "ro".to_owned()))
                }
            };
            let source = match self.source(name, &source, &target, owner.as_deref()) {
                Some(source) => source,
                None => continue,
            };
            let mode = mode.map(|mode| format!(":{mode}")).unwrap_or_default();
            mounts.push(Value::from(format!("{source}:{target}{mode}")));
        }
        mounts
    }

    /// Where a volume's content is on the host.
    fn source(&mut self, name: &str, source: &str, target: &str, owner: Option<&str>) -> Option<String> {
        if source.starts_with('/') || source.starts_with('~') || source.contains('$') {
            self.say(format!("service `{name}` mounts `{source}` of the host: nothing creates it there"));
            self.interpolated(&Value::from(source));
            return Some(source.to_owned());
        }
        if source.starts_with('.') {
            return self.own_file(name, source);
        }
        let named = if source.is_empty() { target.trim_matches('/').replace('/', "-") } else { source.to_owned() };
        let path = format!("data/{named}");
        if owner.is_none() && !self.directories.contains_key(&path) {
            self.say(format!(
                "`{path}` belongs to root: give it an `owner` in the manifest if `{name}` runs as somebody else"
            ));
        }
        let mut directory = json!({"path": path});
        if let Some(owner) = owner {
            let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
            directory["owner"] = Value::from(user);
            directory["group"] = Value::from(group);
        }
        self.directories.entry(path).or_insert(directory);
        Some(format!("{{{{ data }}}}/{named}"))
    }

    /// A file or folder beside the compose file comes along in the package.
    fn own_file(&mut self, name: &str, source: &str) -> Option<String> {
        let inside =
            Path::new(source).components().all(|part| matches!(part, Component::CurDir | Component::Normal(_)));
        let bare = source.trim_start_matches("./").trim_end_matches('/').to_owned();
        let path = self.folder.join(&bare);
        if !inside || bare.is_empty() {
            self.say(format!(
                "service `{name}` mounts `{source}`, which is not below the compose file: not carried over"
            ));
            return None;
        }
        let files: Vec<PathBuf> = match path.is_dir() {
            true => crate::shipped::walk(&path),
            false => vec![PathBuf::new()],
        };
        for file in files {
            let from = if file.as_os_str().is_empty() { path.clone() } else { path.join(&file) };
            let dest = Path::new(&bare).join(&file).display().to_string().trim_end_matches('/').to_owned();
            let read = std::fs::read(&from).map_err(|error| error.to_string());
            match read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())) {
                Ok(text) => {
                    if self.files.iter().all(|(known, _)| *known != format!("files/{dest}")) {
                        self.files.push((format!("files/{dest}"), text.into_bytes()));
                        self.mounts.push(json!({"src": format!("files/{dest}"), "dest": dest}));
                    }
                }
                Err(why) => {
                    self.say(format!("service `{name}` mounts `{}`, which is not carried over: {why}", from.display()))
                }
            }
        }
        Some(format!("{{{{ root }}}}/{bare}"))
    }

    /// Published ports, but the one behind the proxy, on the loopback address only.
    fn ports(&mut self, name: &str, service: &Value) -> Vec<Value> {
        let mut kept = Vec::new();
        for port in service.get("ports").and_then(Value::as_array).into_iter().flatten() {
            let Some(inside) = container_port(port) else {
                self.say(format!("service `{name}`: the port {port} is not carried over"));
                continue;
            };
            if self.web.as_ref().is_some_and(|(web, number)| web == name && *number == inside) {
                self.say(format!(
                    "service `{name}`: port {inside} is reached through the proxy under {}",
                    domain_key(self.id)
                ));
                continue;
            }
            let published = match port {
                Value::String(text) => {
                    text.split('/').next().and_then(|text| text.rsplit(':').nth(1)).map(str::to_owned)
                }
                Value::Object(map) => {
                    map.get("published").map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned))
                }
                _ => None,
            };
            let Some(published) = published else { continue };
            let protocol =
                port.as_str().and_then(|text| text.split_once('/')).map(|(_, protocol)| format!("/{protocol}"));
            self.interpolated(&Value::from(published.clone()));
            self.say(format!("service `{name}`: port {published} is published on 127.0.0.1 only"));
            kept.push(Value::from(format!("127.0.0.1:{published}:{inside}{}", protocol.unwrap_or_default())));
        }
        kept
    }

    fn labels(&mut self, name: &str, service: &Value) {
        let count = match service.get("labels") {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        };
        if count > 0 {
            self.say(format!("service `{name}`: {count} labels are not carried over; the proxy's are made anew"));
        }
    }

    fn draft(mut self, version: &str, services: Object) -> Draft {
        let title = self.id.to_owned();
        let key = domain_key(self.id);
        let mut variables: Vec<Value> = self.settings.variables.into_values().collect();
        if self.web.is_some() {
            variables.retain(|variable| variable.get("key").and_then(Value::as_str) != Some(key.as_str()));
            variables.insert(0, domain_variable(self.id, &title));
        }
        let data: Vec<Value> = self.directories.keys().map(|path| json!({"path": path, "class": "critical"})).collect();
        let paths: Vec<&String> = self.directories.keys().collect();
        let backup = if paths.is_empty() { json!([]) } else { backup(&paths) };
        let web = self.web.clone();
        let fields = vec![
            ("$schema", json!("../manifest.schema.json")),
            ("id", json!(self.id)),
            ("name", json!(title)),
            ("category", json!("Otros")),
            ("description", json!("")),
            ("version", json!(version)),
            // a port of the host can be had once
            (
                "single",
                if services.values().any(|service| service.get("ports").is_some()) { json!(true) } else { json!([]) },
            ),
            ("dependencies", if web.is_some() { json!([{"service": "proxy", "required": true}]) } else { json!([]) }),
            ("variables", Value::Array(variables)),
            ("secrets", Value::Array(self.settings.secrets.into_values().collect())),
            ("networks", networks()),
            ("directories", Value::Array(self.directories.into_values().collect())),
            ("files", Value::Array(self.mounts)),
            ("urls", if web.is_some() { json!([url(&key)]) } else { json!([]) }),
            ("data", Value::Array(data)),
            ("backup", backup),
        ];
        let head = web.as_ref().map(|(_, port)| router_head(&key, *port)).unwrap_or_default();
        let mut stack = format!("{head}services:\n");
        for (name, mut service) in services {
            let web_service = web.as_ref().is_some_and(|(web, _)| *web == name);
            let (compose, swarm) = by_runtime(&mut service, web_service);
            stack.push_str(&indented(&json!({ name.clone(): service }), 2));
            if !compose.is_empty() {
                stack.push_str("{% if runtime != 'swarm' %}\n");
                stack.push_str(&indented(&Value::Object(compose), 4));
                if !swarm.is_empty() {
                    stack.push_str("{% else %}\n");
                    stack.push_str(&indented(&Value::Object(swarm), 4));
                }
                stack.push_str("{% endif %}\n");
            }
            if web_service {
                stack.push_str(ROUTER_LABELS);
            }
        }
        let mut files = vec![
            ("manifest.json".to_owned(), pretty(&manifest(fields))),
            ("stack.yml.j2".to_owned(), stack.into_bytes()),
        ];
        files.append(&mut self.files);
        let mut seen = BTreeSet::new();
        self.remarks.retain(|remark| seen.insert(remark.clone()));
        Draft { id: self.id.to_owned(), files, remarks: self.remarks }
    }
}

/// Takes out of a service what only one of the runtimes understands: for compose, for swarm.
fn by_runtime(service: &mut Value, web: bool) -> (Object, Object) {
    let (mut compose, mut swarm) = (Object::new(), Object::new());
    let Some(service) = service.as_object_mut() else { return (compose, swarm) };
    // the proxy's labels are under the same key
    let keys = if web { &["depends_on", "restart", "deploy"][..] } else { &["depends_on", "restart"] };
    for key in keys {
        compose.extend(service.shift_remove(*key).map(|value| ((*key).to_owned(), value)));
    }
    let once = compose.get("restart").and_then(Value::as_str).is_some_and(|restart| restart == "no");
    if once && !web && !service.contains_key("deploy") {
        swarm.insert("deploy".to_owned(), json!({"mode": "replicated-job", "restart_policy": {"condition": "none"}}));
    }
    (compose, swarm)
}

/// As YAML of the template, moved to the right.
fn indented(value: &Value, columns: usize) -> String {
    let margin = " ".repeat(columns);
    let text = escaped(&yaml::emit(value));
    text.lines().map(|line| format!("{margin}{line}\n")).collect()
}

/// A value that the package's templates must not touch.
fn untemplated(value: &str) -> String {
    match value.contains("{{") || value.contains("{%") || value.contains("{#") {
        true => format!("{{% raw %}}{value}{{% endraw %}}"),
        false => value.to_owned(),
    }
}

/// Braces of the compose file as text, those that were put in by the import as templates.
fn escaped(text: &str) -> String {
    const OURS: [&str; 4] = ["{{ version }}", "{{ data }}", "{{ root }}", "{{ docker_network }}"];
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{").or_else(|| rest.find("{%")) {
        out.push_str(&rest[..at]);
        match OURS.iter().find(|ours| rest[at..].starts_with(**ours)) {
            Some(ours) => {
                out.push_str(ours);
                rest = &rest[at + ours.len()..];
            }
            None => {
                out.push_str(&format!("{{{{ '{}' }}}}", &rest[at..at + 2]));
                rest = &rest[at + 2..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_secret() {
        for key in ["DB_PASSWORD", "SECRET_KEY_BASE", "API_KEY", "TOKEN", "JWT_SALT", "mysql_pwd"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["PUBLIC_KEY", "KEYBOARD", "PASSENGERS", "DB_PASSWORD_FILE", "KEY_COUNT", "URL"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn templates_of_others_are_text() {
        assert_eq!(escaped("a {{ version }} {{ x }} {% y %}"), "a {{ version }} {{ '{{' }} x }} {{ '{%' }} y %}");
    }
}
