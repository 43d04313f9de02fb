//! A package and its settings become what the deploy playbook works on: the stack's text, the environment, folders,
//! files, jobs and URLs. A pure function: the same input gives the same bytes.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::backup::{self, Choices};
use super::catalogue::{Catalogue, Package, hex};
use super::declared::Pin;
use super::instance::Instance;
use super::mode::Mode;
use super::settings::{Settings, known_keys, secret_names};
use super::{FleetLock, ServiceDeploy, checks, first_checks, fleet_lock, mounted, ports, secret_files, traps, wires};
use crate::error::{Error, Place, Result};
use crate::plan::{Object, quote};
use crate::shipped;
use crate::vars::{Fault, Scope};

/// A service ready to be deployed on a host.
#[derive(Clone)]
pub struct Rendered {
    /// The instance's name: `chat`, `chat@tienda2`.
    pub id: String,
    pub version: String,
    /// The variable `service` of the deploy playbook.
    pub vars: Object,
    /// SHA-256 over the stack, the environment and the files.
    pub digest: String,
    /// The first URL, for the matrix.
    pub url: Option<String>,
    pub requires: Vec<String>,
    /// Names of images that a registry can say a digest for.
    pub names: BTreeSet<String>,
    /// What the inventory says under `versions`, if it does.
    pub pin: Option<Pin>,
    /// Beside `vars`, for no template has to see them.
    pub live_checks: Vec<LiveCheck>,
}

/// A request that says whether a setting's value is valid.
#[derive(Clone)]
pub struct LiveCheck {
    /// The setting.
    pub key: String,
    pub url: String,
    /// The value of the setting is in one of them.
    pub headers: Object,
    pub refused: Vec<u16>,
}

impl Rendered {
    /// As `include_services` hands it to a task file.
    pub(super) fn deploy(&self) -> ServiceDeploy {
        let Rendered { id, version, vars, url, .. } = self.clone();
        ServiceDeploy { service: id, version, url, vars }
    }
}

/// What is common to all services of a host.
#[derive(Clone, Debug)]
pub struct HostPlace {
    pub host: String,
    pub runtime: String,
    pub deploy_root: String,
    pub mode: Mode,
    /// The operator's folder with this client's own versions of packages' files: `files/<host>/<service>/…`.
    pub own_files: PathBuf,
}

/// Variables that every template of a package may use besides its settings.
pub fn deploy_vars(package: &Package, instance: &Instance, host: &HostPlace, version: &str) -> Object {
    let root = root(package, instance, host);
    let project = instance.project();
    let vars = json!({
        "service_id": package.id,
        "service_slug": instance.slug(),
        "instance": instance.suffix.as_deref().unwrap_or_default(),
        "version": version,
        "project": project,
        "stack_name": project,
        "root": root,
        "data": format!("{root}/data"),
        "deploy_root": host.deploy_root,
        "runtime": host.runtime,
        "mode": host.mode.word(),
    });
    vars.as_object().cloned().unwrap_or_default()
}

/// The stack as it would be for an imagined host on which every setting has a made-up value; for lint.
pub fn sample(catalogue: &Catalogue, package: &Package, runtime: &str) -> Result<Value> {
    sample_in(catalogue, package, runtime, Mode::Produccion).map(|(stack, _)| stack)
}

/// The same in a mode, and the scope that it was rendered in.
pub fn sample_in(catalogue: &Catalogue, package: &Package, runtime: &str, mode: Mode) -> Result<(Value, Scope)> {
    sample_of(catalogue, package, &Instance::plain(&package.id), runtime, mode)
}

/// The same for an instance with a suffix.
pub(super) fn sample_of(
    catalogue: &Catalogue,
    package: &Package,
    instance: &Instance,
    runtime: &str,
    mode: Mode,
) -> Result<(Value, Scope)> {
    let host = HostPlace {
        host: "sample".to_owned(),
        runtime: runtime.to_owned(),
        deploy_root: "/opt/sample".to_owned(),
        mode,
        own_files: PathBuf::new(),
    };
    let mut vars = deploy_vars(package, instance, &host, &package.manifest.version);
    for (key, value) in [
        ("docker_network", "web"),
        ("tls", "acme"),
        ("timezone", "UTC"),
        ("domain", "sample.example"),
        ("inventory_hostname", "sample"),
    ] {
        vars.insert(key.to_owned(), Value::from(value));
    }
    for key in secret_names(package) {
        vars.insert(key.clone(), Value::from(sample_secret(&key)));
    }
    vars.insert("exports".to_owned(), Value::Object(sample_exports(catalogue, package, instance)));
    for (key, value) in package.manifest.modes.of(mode).into_iter().flat_map(|variant| &variant.settings) {
        vars.insert(key.clone(), value.clone());
    }
    let variables = package.manifest.variables.iter();
    let defaults = variables.filter_map(|variable| Some((variable.key.clone(), variable.default.clone()?)));
    let examples = package.defaults.iter().map(|(key, default)| (key.clone(), Value::from(default.value.clone())));
    let numbers = package.manifest.variables.iter().filter(|variable| {
        variable.validation.as_ref().and_then(Value::as_str).is_some_and(|kind| ["port", "int"].contains(&kind))
    });
    let numbers = numbers.map(|variable| (variable.key.clone(), Value::from("1")));
    let others = numbers.chain(known_keys(package).map(|key| (key, Value::from("sample"))));
    for (key, value) in defaults.chain(examples).chain(others) {
        vars.entry(key).or_insert(value);
    }
    let mut scope = Scope::new(std::sync::Arc::new(super::world::PackageWorld::alone(catalogue, package)));
    scope.push(crate::vars::Layer::written(vars));
    let stack = stack(catalogue, package, &host, &scope, &instance.project())?;
    Ok((stack, scope))
}

/// What dependencies would export, by their ids and by the names under which they are depended on.
fn sample_exports(catalogue: &Catalogue, package: &Package, instance: &Instance) -> Object {
    let mut exports = Object::new();
    for dependency in &package.manifest.dependencies {
        let Some(provider) = catalogue.provider(&dependency.service, instance, &[]) else { continue };
        let Ok(provided) = catalogue.get(&provider.package) else { continue };
        let keys = provided.manifest.exports.keys();
        let values: Object = keys.map(|key| (key.clone(), Value::from(format!("{key}-of-{provider}")))).collect();
        exports.insert(dependency.service.clone(), Value::Object(values.clone()));
        exports.insert(provider.package, Value::Object(values));
    }
    exports
}

/// What stands for a secret in [`sample`], so that it can be found where it must not be.
pub(super) fn sample_secret(key: &str) -> String {
    format!("secret-of-{key}.")
}

fn root(package: &Package, instance: &Instance, host: &HostPlace) -> String {
    let below = package.manifest.root.clone().unwrap_or_else(|| format!("services/{}", package.id));
    let suffix = instance.suffix.as_ref().map(|suffix| format!("-{suffix}")).unwrap_or_default();
    format!("{}/{below}{suffix}", host.deploy_root.trim_end_matches('/'))
}

/// An instance of a package, in the version that a host gets.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub package: &'a Package,
    pub instance: &'a Instance,
    pub host: &'a HostPlace,
    pub version: &'a str,
}

/// Renders everything of one service.
pub fn render(
    catalogue: &Catalogue,
    placed: Placed<'_>,
    settings: &Settings,
    requires: Vec<String>,
    choices: &Choices,
    lock: Option<&FleetLock>,
) -> Result<Rendered> {
    let Placed { package, instance, host, version } = placed;
    let manifest = &package.manifest;
    let scope = &settings.scope;
    let root = root(package, instance, host);
    let (name, project) = (instance.to_string(), instance.project());
    let text = |template: &str| render_text(scope, template, package);
    let broken =
        broken(package, scope)?.into_iter().map(|error| error.context(format!("host `{}`: `{name}`", host.host)));
    if let Some(error) = Error::all(broken.collect()) {
        return Err(error);
    }
    let mut stack = stack(catalogue, package, host, scope, &project)?;
    let env: Object =
        settings.values.iter().map(|(key, setting)| (key.clone(), Value::from(setting.value.clone()))).collect();

    let own = own_files(package, instance, host)?;
    let mut files = Vec::new();
    for file in &manifest.files {
        let content = match own.get(&file.src) {
            Some(content) => content.clone(),
            None => package.read(&file.src)?,
        };
        let content = if file.template {
            let path = package.dir.join(&file.src);
            scope.text(&content, &path).map_err(|fault| template_error(fault, &path))?
        } else {
            content
        };
        files.push(json!({
            "dest": format!("{root}/{}", file.dest),
            "content": content,
            "mode": file.mode.clone().unwrap_or_else(|| "0644".to_owned()),
            "owner": file.owner, "group": file.group,
        }));
    }
    let mut builds = Vec::new();
    for build in &manifest.builds {
        builds.extend(super::build::prepare(package, build, version, text)?);
    }
    super::build::name_images(&mut stack, &builds, &host.runtime);
    mounted::label(&mut stack, &root, &files);
    let (keys, unmounted) = mounts(package, text)?;
    let at = secret_files::At { root: &root, project: &project, runtime: &host.runtime };
    let secret_files = secret_files::mount(&mut stack, &keys, &env, &at);
    let no_files: Vec<String> = unmounted.iter().map(|key| secret_files::path(&root, key)).collect();
    let refused = catalogue.traps.iter().filter(|trap| trap.refuse);
    let refused = traps::caught(refused, &stack, package.stack_template(&host.runtime));
    if let Some(error) = Error::all(refused.map(|error| error.context(format!("host `{}`", host.host))).collect()) {
        return Err(error);
    }
    let many = super::lint::one_of_many(&stack, &host.runtime).into_iter().map(|text| {
        let error = Error { place: Some(Place::file(package.stack_template(&host.runtime))), ..Error::new(text) };
        error.context(format!("host `{}`", host.host)).hint("one of them, or a package that names neither")
    });
    if let Some(error) = Error::all(many.collect()) {
        return Err(error);
    }
    let ports: Vec<Value> = ports::of_stack(&stack)
        .iter()
        .map(|port| json!({"address": port.address, "port": port.outside, "protocol": port.protocol}))
        .collect();
    let containers = stack;
    let services = || containers.get("services").and_then(Value::as_object).into_iter().flatten();
    let names: Vec<Value> = services().filter_map(|(_, service)| service.get("container_name").cloned()).collect();
    // what is deployed; what is said about the images goes by their names
    let locked = lock.map_or_else(|| containers.clone(), |lock| lock.applied(&containers));
    let record_images = images_by_service(&locked);
    let images: BTreeSet<&str> = record_images.values().filter_map(Value::as_str).collect();
    let stack = stack_text(package, &locked);
    let mut networks = Vec::new();
    for network in &manifest.networks {
        networks.push(json!({"name": text(&network.name)?, "internal": network.internal}));
    }
    let mut urls = Vec::new();
    for url in &manifest.urls {
        let contains = url.contains.as_deref().map(text).transpose()?;
        urls.push(json!({
            "name": if url.name.is_empty() { manifest.name.clone() } else { url.name.clone() },
            "url": text(&url.url)?, "status": url.status, "contains": contains, "timeout": url.timeout,
        }));
    }
    let checks = checks::render(package, scope, &containers, &urls, &env)?;
    let doctor = checks::rules(package, scope, &env)?;
    let secrets: Vec<&String> =
        settings.values.iter().filter(|(_, setting)| setting.secret).map(|(key, _)| key).collect();
    let mut links = Vec::new();
    let of_mode = manifest.modes.of(host.mode).into_iter().flat_map(|variant| &variant.links);
    for link in manifest.links.iter().chain(of_mode) {
        let url = text(&link.url)?;
        // one that there only sometimes is
        if !url.is_empty() {
            links.push(json!({"name": link.name, "url": url, "description": text(&link.description)?}));
        }
    }
    let mut jobs = Vec::new();
    for job in &manifest.jobs {
        let exports = exports(package, &format!("job `{}`", job.name), &job.env, &env)?;
        let check = job.check.as_ref().map(|file| package.read(file)).transpose()?;
        jobs.push(json!({
            "name": job.name, "service": job.service, "user": job.user, "timeout": job.timeout,
            "when": job.when, "backup_before": job.backup_before,
            "check": check.map(|text| script(&exports, &text)).unwrap_or_default(),
            "run": script(&exports, &package.read(&job.run)?),
        }));
    }
    let mut actions = Vec::new();
    for action in &manifest.actions {
        let place = format!("PROJECT={}; ROOT={}; export PROJECT ROOT\n", quote(&project), quote(&root));
        let settings = exports(package, &format!("action `{}`", action.name), &action.env, &env)?;
        actions.push(json!({
            "name": action.name, "service": action.service.clone().unwrap_or_default(), "user": action.user,
            "timeout": action.timeout, "backup_first": action.backup_first, "changes": action.changes,
            "mode": action.mode.map(Mode::word),
            "script": script(&format!("{place}{settings}"), &package.read(&action.run)?),
        }));
    }
    let mut databases = Vec::new();
    for database in &manifest.databases {
        let value = |key: &str| env.get(key).cloned().unwrap_or(Value::Null);
        let server = database.service.clone().map(|service| (project.clone(), service));
        let (db_project, db_service) = server.unwrap_or_else(|| {
            let provider = catalogue.provider(&database.engine, instance, &requires);
            let provider = provider.unwrap_or_else(|| Instance::plain(&database.engine));
            (provider.project(), provider.slug())
        });
        databases.push(json!({
            "engine": database.engine, "project": db_project, "service": db_service,
            "name": value(&database.db_name_var), "user": value(&database.user_var),
            "password": value(&database.password_var), "extensions": database.extensions,
            "admin_user": database.admin_user_var.as_deref().map(value),
            "admin_password": database.admin_password_var.as_deref().map(value),
            // a server in this stack can only be asked after the stack is up; a shared one before
            "own": database.service.is_some(),
        }));
    }
    let mut steps = Vec::new();
    for step in &manifest.manual_steps {
        steps.push(json!({"id": step.id, "text": text(&step.text)?, "critical": step.critical}));
    }
    // without their texts: the record is for whoever looks at the host
    let to_do = manifest.manual_steps.iter().map(|step| json!({"id": step.id, "critical": step.critical}));
    let directories: Vec<Value> = manifest
        .directories
        .iter()
        .map(|d| json!({"path": format!("{root}/{}", d.path), "owner": d.owner, "group": d.group, "mode": d.mode}))
        .collect();
    // what is written into `.env`
    let env_file: Object = env.iter().chain(&secret_files.digests).map(|(k, v)| (k.clone(), v.clone())).collect();
    let digest = digest(&stack, &env_file, &files);
    let backup = backup::render(placed, &root, &env, &databases, choices)?;
    let label = match host.runtime.as_str() {
        "swarm" => "com.docker.stack.namespace",
        _ => "com.docker.compose.project",
    };
    let url = urls.first().and_then(|url| url["url"].as_str()).map(origin_of);
    let needs = needs(catalogue, placed, &containers);
    let mut live_checks = Vec::new();
    // a client's variable, for those whose operator cannot reach the internet
    let wanted = scope.condition(&Value::from("live_check | default(true) | bool")).unwrap_or(true);
    for variable in manifest.variables.iter().filter(|_| wanted) {
        let Some(live) = &variable.live_check else { continue };
        if env.get(&variable.key).and_then(Value::as_str).is_none_or(str::is_empty) {
            continue;
        }
        let headers = live.headers.iter().map(|(name, value)| Ok((name.clone(), Value::from(text(value)?))));
        live_checks.push(LiveCheck {
            key: variable.key.clone(),
            url: text(&live.url)?,
            headers: headers.collect::<Result<_>>()?,
            refused: live.refused.clone(),
        });
    }
    // for the verbs that look
    let looks = json!({
        "checks": checks, "doctor": doctor, "secrets": secrets,
        "wires": wires::wires(&containers, &env), "upstreams": wires::upstreams(&containers, &env, &urls),
    });
    let record = json!({
        "service": name, "version": version, "digest": digest, "project": project, "root": root,
        "runtime": host.runtime, "mode": host.mode.word(), "urls": urls, "package": package.hash(),
        // for those who come later
        "min": needs["min"], "recommended": needs["recommended"], "conflicts": needs["conflicts"],
        "images": record_images, "steps": to_do.collect::<Vec<_>>(),
    });
    let mut service = json!({
        "id": name, "package": package.id, "name": manifest.name, "version": version, "project": project, "runtime": host.runtime,
        // what docker says is the project's carries it
        "label": format!("{label}={project}"),
        "root": root, "stack": stack, "env": env_file, "networks": networks, "directories": directories, "files": files, "builds": builds,
        "databases": databases, "jobs": jobs, "actions": actions, "urls": urls, "links": links, "ports": ports, "container_names": names, "images": images,
        // empty: all of it
        "parts": [],
        "secret_files": secret_files.files, "no_secret_files": no_files,
        "mode": host.mode.word(), "health_timeout": manifest.health.timeout,
        "requires": requires, "manual_steps": steps,
        "backup": backup,
        "dependency_checks": dependency_checks(catalogue, package, instance, &requires),
    });
    if let (Value::Object(service), Value::Object(looks)) = (&mut service, looks) {
        service.extend(looks);
        service.extend([("record".to_owned(), record), ("needs".to_owned(), needs)]);
    }
    let vars = Map::from_iter([("service".to_owned(), service)]);
    Ok(Rendered {
        id: name,
        version: version.to_owned(),
        vars,
        digest,
        url,
        requires,
        live_checks,
        names: fleet_lock::names(&containers),
        pin: None,
    })
}

/// What a package asserts of its settings and is not so.
pub(super) fn broken(package: &Package, scope: &Scope) -> Result<Vec<Error>> {
    let mut errors = Vec::new();
    for assertion in &package.manifest.asserts {
        let place = package.place_of(&assertion.that);
        if !scope.condition(&Value::from(assertion.that.as_str())).map_err(|fault| fault.at(&place))? {
            let text = render_text(scope, &assertion.fail_msg, package)?;
            errors.push(Error { place: Some(place), ..Error::new(text) });
        }
    }
    Ok(errors)
}

/// The secrets that are to be mounted as files, and those that could be and are not.
fn mounts(package: &Package, text: impl Fn(&str) -> Result<String>) -> Result<(Vec<&str>, Vec<&str>)> {
    let manifest = &package.manifest;
    let variables = manifest.variables.iter().map(|variable| (variable.key.as_str(), variable.mount.as_deref()));
    let secrets = manifest.secrets.iter().map(|secret| (secret.key.as_str(), secret.mount.as_deref()));
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (key, mount) in variables.chain(secrets).filter_map(|(key, mount)| Some((key, mount?))) {
        match text(mount)?.as_str() {
            "file" => files.push(key),
            "environment" => others.push(key),
            other => {
                let error = Error::new(format!("`mount` of `{key}`: `{other}` is neither `file` nor `environment`"));
                return Err(Error { place: Some(package.place_of(key)), ..error });
            }
        }
    }
    Ok((files, others))
}

/// The client's own versions of the package's files (a logo, a style sheet), by the name that the manifest gives as `src`;
/// those of the instance win over those of the package.
fn own_files(package: &Package, instance: &Instance, host: &HostPlace) -> Result<HashMap<String, String>> {
    let mut own = HashMap::new();
    let (all, one) = (host.own_files.join(&package.id), host.own_files.join(instance.to_string()));
    let folders = if all == one { vec![all] } else { vec![all, one] };
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for name in shipped::walk(folder) {
            let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
            let known = || package.manifest.files.iter().map(|file| file.src.as_str());
            if !known().any(|src| src == name) {
                let text = format!("`{}` has no file `{name}` that a client could have its own of", package.id);
                let list = known().collect::<Vec<_>>().join(", ");
                let hint =
                    if list.is_empty() { "its manifest has no `files`".to_owned() } else { format!("it has: {list}") };
                return Err(Error::at(&Place::file(path), text).hint(hint).did_you_mean(&name, known()));
            }
            let content = shipped::read_to_string(&path)
                .map_err(|error| Error::at(&Place::file(path.clone()), format!("cannot read it as text: {error}")))?;
            own.insert(name, content);
        }
    }
    Ok(own)
}

/// What `host_requirements` compares with the server before anything is touched.
fn needs(catalogue: &Catalogue, placed: Placed<'_>, stack: &Value) -> Value {
    let Placed { package, instance, .. } = placed;
    let wants = &package.manifest.requirements;
    let foes: BTreeSet<&String> = package
        .manifest
        .conflicts
        .iter()
        .flat_map(|name| catalogue.providers(name))
        .map(|other| &other.id)
        .filter(|id| **id != package.id)
        .collect();
    json!({
        "service": instance.to_string(), "project": instance.project(),
        "min": wants.minimum(), "recommended": wants.recommended(),
        "docker": wants.docker, "compose": wants.compose, "commands": wants.commands, "conflicts": foes,
        "bound": traps::bound_to_a_version(&catalogue.traps, stack),
    })
}

fn images_by_service(stack: &Value) -> Object {
    let services = stack.get("services").and_then(Value::as_object).into_iter().flatten();
    services.filter_map(|(name, service)| Some((name.clone(), service.get("image")?.clone()))).collect()
}

/// Commands that say whether a dependency is met which is not part of the run.
fn dependency_checks(catalogue: &Catalogue, package: &Package, instance: &Instance, requires: &[String]) -> Vec<Value> {
    let in_run = |service: &str| {
        let provider = catalogue.provider(service, instance, requires);
        provider.is_some_and(|provider| requires.contains(&provider.to_string()))
    };
    let outside = package.manifest.dependencies.iter().filter(|dependency| !in_run(&dependency.service));
    outside
        .filter_map(|d| {
            let command = d.check_command.as_ref()?;
            Some(json!({"service": d.service, "required": d.required, "command": command}))
        })
        .collect()
}

/// The stack as it is written to the host.
fn stack_text(package: &Package, stack: &Value) -> String {
    format!(
        "# Rendered by provision from the package `{}`; edit the package or the client's settings instead.\n{}",
        package.id,
        crate::yaml::emit(stack)
    )
}

/// The rendered template over its base.
fn stack(catalogue: &Catalogue, package: &Package, host: &HostPlace, scope: &Scope, project: &str) -> Result<Value> {
    let path = package.stack_template(&host.runtime);
    let mut stack = stack_value(scope, &path)?;
    for name in package.manifest.modes.of(host.mode).into_iter().flat_map(|variant| &variant.stack) {
        stack = merge(stack, stack_value(scope, &package.dir.join(name))?);
    }
    if let Some(name) = &package.manifest.extends
        && let Some(base) = catalogue.base(&format!("{name}.yml"))
    {
        stack = lay_under(stack_value(scope, &base)?, stack);
    }
    if host.runtime == "compose" {
        let interval = scope.text(&format!("{{{{ {} | default('') }}}}", first_checks::VARIABLE), &path);
        first_checks::hasten(&mut stack, &interval.map_err(|fault| template_error(fault, &path))?)?;
    }
    if host.runtime == "compose"
        && let Value::Object(map) = &mut stack
    {
        map.shift_insert(0, "name".to_owned(), Value::from(project));
    }
    Ok(stack)
}

fn stack_value(scope: &Scope, path: &Path) -> Result<Value> {
    let template = shipped::read_to_string(path).map_err(|error| {
        Error::at(&Place::file(path.to_owned()), format!("cannot read the stack template: {error}"))
    })?;
    let text = scope.text(&template, path).map_err(|fault| template_error(fault, path))?;
    serde_yaml::from_str::<Option<Value>>(&text).map(|value| value.unwrap_or_else(|| json!({}))).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        Error {
            source_line: Some(source),
            place: Some(Place::new(path.to_owned(), line, 0)),
            ..Error::new(format!("the rendered stack is not YAML: {error}"))
        }
        .hint("the line is counted in the rendered text")
    })
}

/// Deep merge with `top` winning: mappings merge, everything else replaces. The key `*` in the base's `services` lies
/// under every service of the stack.
fn lay_under(mut base: Value, top: Value) -> Value {
    let star = base.get_mut("services").and_then(Value::as_object_mut).and_then(|services| services.shift_remove("*"));
    let mut merged = merge(base, top);
    if let (Some(star), Some(services)) = (star, merged.get_mut("services").and_then(Value::as_object_mut)) {
        for service in services.values_mut() {
            *service = merge(star.clone(), service.take());
        }
    }
    merged
}

fn merge(base: Value, top: Value) -> Value {
    match (base, top) {
        (Value::Object(mut base), Value::Object(top)) => {
            for (key, value) in top {
                let merged = match base.shift_remove(&key) {
                    Some(under) => merge(under, value),
                    None => value,
                };
                base.insert(key, merged);
            }
            Value::Object(base)
        }
        (base, Value::Null) => base,
        (_, top) => top,
    }
}

/// `KEY='value'` lines in front of a job's script. The group makes the shell read all of it before it runs anything,
/// so that no command of the script can eat the rest from standard input.
pub(super) fn script(exports: &str, body: &str) -> String {
    format!("{exports}{{\n{body}\n}} </dev/null\n")
}

pub(super) fn exports(package: &Package, who: &str, keys: &[String], env: &Object) -> Result<String> {
    let mut text = String::new();
    for key in keys {
        let value = env.get(key).and_then(Value::as_str).ok_or_else(|| {
            Error {
                place: Some(package.place()),
                ..Error::new(format!("{who} wants `{key}`, which is no setting of `{}`", package.id))
            }
            .did_you_mean(key, env.keys().map(String::as_str))
        })?;
        text.push_str(&format!("{key}={}; export {key}\n", quote(value)));
    }
    Ok(text)
}

fn render_text(scope: &Scope, template: &str, package: &Package) -> Result<String> {
    let rendered = scope.value(&Value::from(template)).map_err(|fault| fault.at(&package.place()))?;
    Ok(match rendered {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

/// A fault inside a template file: template:line, the variable, what to do.
pub(super) fn template_error(fault: Fault, path: &Path) -> Error {
    let line = fault.line.unwrap_or(0);
    let mut error = Error { place: Some(Place::new(path.to_owned(), line, 0)), ..Error::new(fault.text) };
    error.source_line =
        shipped::read_to_string(path).ok().and_then(|text| text.lines().nth(line.checked_sub(1)?).map(str::to_owned));
    error.hint = fault.hint.or_else(|| {
        fault.undefined.map(|name| {
            format!("declare `{name}` in the package's manifest or .env.example, or define it for the host")
        })
    });
    error
}

fn digest(stack: &str, env: &Object, files: &[Value]) -> String {
    let mut hash = Sha256::new();
    hash.update(stack.as_bytes());
    for (key, value) in env {
        hash.update(format!("\0{key}={value}").as_bytes());
    }
    for file in files {
        hash.update(format!("\0{file}").as_bytes());
    }
    hex(&hash.finalize())
}

/// `https://x.example` of `https://x.example/api/ping?y`.
fn origin_of(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_lies_under_the_stack_and_the_star_under_every_service() {
        let base = json!({"networks": {"web": {"external": true}}, "services": {"*": {"restart": "always", "deploy": {"a": 1}}}});
        let top = json!({"services": {"x": {"image": "i", "deploy": {"b": 2}}, "once": {"restart": "no"}}});
        assert_eq!(
            lay_under(base, top),
            json!({
                "networks": {"web": {"external": true}},
                "services": {
                    "x": {"restart": "always", "deploy": {"a": 1, "b": 2}, "image": "i"},
                    "once": {"restart": "no", "deploy": {"a": 1}},
                }
            })
        );
    }

    #[test]
    fn a_job_cannot_eat_its_own_script() {
        let text = script("A='x y'; export A\n", "cat >/dev/null\nprintf %s \"$A\"\nexit 3");
        let mut child = std::process::Command::new("sh")
            .arg("-s")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"x y".as_slice()));
    }
}
