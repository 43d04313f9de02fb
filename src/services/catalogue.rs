//! The registry: every folder below `registry/` that has a `manifest.json` is a package, shipped or the operator's
//! own (which wins). A broken package is kept as broken, so that one bad folder does not hide the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::instance::Instance;
use super::manifest::Manifest;
use super::parts;
use super::profile::Profile;
use super::traps::{self, Trap};
use crate::error::{Error, Place, Result};
use crate::shipped;

/// A service as data: its manifest, stack template, defaults and files.
#[derive(Clone, Debug)]
pub struct Package {
    pub id: String,
    /// On disk, or below [`shipped::ROOT`].
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// From `.env.example`.
    pub defaults: IndexMap<String, EnvDefault>,
    /// The manifest's text, to say on which line something stands.
    pub(super) text: String,
}

/// One line of `.env.example`: `KEY=value` is a default, `KEY=` alone means required.
#[derive(Clone, Debug)]
pub struct EnvDefault {
    pub value: String,
    /// The comment above the line.
    pub help: String,
    pub place: Place,
}

/// All packages, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub packages: IndexMap<String, Package>,
    pub broken: IndexMap<String, Error>,
    /// Sets of services, by name; a broken one is kept as such.
    pub profiles: IndexMap<String, Result<Profile>>,
    /// Defaults for every package that has a setting of the name, from `_global/.env.example`.
    pub globals: IndexMap<String, EnvDefault>,
    /// `_defaults/` folders, the operator's first.
    pub(super) bases: Bases,
    pub(super) traps: Vec<Trap>,
}

/// `_defaults/` folders, the operator's first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(Arc<Vec<PathBuf>>);

impl Bases {
    fn first(&mut self, dir: PathBuf) {
        if !self.0.contains(&dir) {
            Arc::make_mut(&mut self.0).insert(0, dir);
        }
    }

    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|dir| dir.join(name)).find(|path| shipped::exists(path))
    }
}

impl Catalogue {
    /// Reads `registry/` of the binary, then of the project, then the `extra` folders; later ones win.
    pub fn load(project: &Path, extra: &[PathBuf]) -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        let mut folders = vec![Path::new(shipped::ROOT).join("registry"), shipped::in_project(project, "registry")];
        for folder in extra {
            if !folder.is_dir() {
                return Err(Error::new(format!("registry folder `{}` does not exist", folder.display())));
            }
            folders.push(folder.clone());
        }
        for folder in folders {
            catalogue.read_folder(&folder)?;
        }
        catalogue.packages.sort_keys();
        catalogue.profiles.sort_keys();
        if let Some(path) = catalogue.base("traps.yml") {
            catalogue.traps = traps::read(&path)?;
        }
        Ok(catalogue)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        for file in shipped::walk(folder) {
            let mut parts = file.iter();
            let (Some(id), Some(name), None) = (parts.next(), parts.next(), parts.next()) else { continue };
            let id = id.to_string_lossy().into_owned();
            let dir = folder.join(&id);
            if id == "_defaults" {
                self.bases.first(dir);
            } else if id == "_global" && name == ".env.example" {
                let path = dir.join(name);
                let text = shipped::read_to_string(&path)
                    .map_err(|error| Error::at(&Place::file(path.clone()), format!("cannot read it: {error}")))?;
                self.globals.extend(parse_env_example(&path, &text)?);
            } else if id == "_profiles" && Path::new(name).extension().is_some_and(|end| end == "yml") {
                let set = Path::new(name).with_extension("").to_string_lossy().into_owned();
                self.profiles.insert(set, Profile::load(&dir.join(name)));
            } else if !id.starts_with(['_', '.']) && name == "manifest.json" {
                match Package::load(&dir, &id) {
                    Ok(package) => {
                        self.broken.shift_remove(&id);
                        self.packages.insert(id, package);
                    }
                    Err(error) => {
                        self.packages.shift_remove(&id);
                        self.broken.insert(id, error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The package of this id or alias, whatever instance of it is named.
    pub fn get(&self, name: &str) -> Result<&Package> {
        if let Some(error) = parts::refused(name) {
            return Err(error);
        }
        let name = name.split_once('@').map_or(name, |(package, _)| package);
        if let Some(error) = self.broken.get(name) {
            return Err(error.clone().context(format_args!("package `{name}` is broken")));
        }
        let by_alias = || self.packages.values().find(|package| package.manifest.aliases.iter().any(|a| a == name));
        self.packages.get(name).or_else(by_alias).ok_or_else(|| {
            Error::new(format!("unknown service `{name}`"))
                .hint(format!("the registry has: {}", self.ids().collect::<Vec<_>>().join(", ")))
                .did_you_mean(name, self.ids().chain(self.profiles.keys().map(String::as_str)))
        })
    }

    /// What a name means: `chatwoot@tienda2` is the instance `chat@tienda2`.
    pub fn instance(&self, name: &str) -> Result<Instance> {
        let package = self.get(name)?;
        let named = Instance::parse(name)?;
        if named.suffix.is_some() && package.manifest.single {
            return Err(Error::new(format!("`{name}`: there can be only one `{}` on a host", package.id))
                .hint("its manifest says `single`"));
        }
        Ok(Instance { package: package.id.clone(), ..named })
    }

    /// Is there a package of this id or alias? `None` if there is, but broken.
    pub(super) fn known(&self, name: &str) -> Result<Option<&Package>> {
        if self.broken.contains_key(name) {
            return Ok(None);
        }
        self.instance(name)?;
        self.get(name).map(Some)
    }

    /// The packages that a dependency name may mean: the id itself, or those that provide it.
    pub(super) fn providers(&self, name: &str) -> Vec<&Package> {
        let means = |package: &&Package| package.id == name || package.manifest.provides.iter().any(|p| p == name);
        self.packages.values().filter(means).collect()
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// A file of `_defaults/`, the operator's own first.
    pub fn base(&self, name: &str) -> Option<PathBuf> {
        self.bases.file(name)
    }

    /// The instances in an order in which everything comes after what it depends on.
    ///
    /// `with_dependencies` adds what the selection needs; without it only the selected ones are ordered. A cycle is an
    /// error that shows it.
    pub fn order(&self, selection: &[String], with_dependencies: bool) -> Result<Vec<String>> {
        self.order_among(selection, &[], with_dependencies)
    }

    /// The same; what a host declares is preferred where several packages or instances meet a dependency.
    pub fn order_among(
        &self,
        selection: &[String],
        declared: &[String],
        with_dependencies: bool,
    ) -> Result<Vec<String>> {
        let selected = self.unfolded(selection)?;
        let selected: Vec<Instance> = selected.iter().map(|name| self.instance(name)).collect::<Result<_>>()?;
        let wanted: Vec<String> = selected.iter().map(Instance::to_string).collect();
        let declared = declared.iter().map(|name| Ok(self.instance(name)?.to_string()));
        let known = wanted.iter().cloned().map(Ok).chain(declared).collect::<Result<Vec<String>>>()?;
        let mut walk =
            Walk { catalogue: self, wanted: &wanted, known: &known, with_dependencies, path: vec![], done: vec![] };
        for instance in &selected {
            walk.visit(instance)?;
        }
        Ok(walk.done)
    }

    /// What meets a dependency of `dependent`: of those on the host (`known`) the one with the same suffix, then the
    /// one without, then the first; else the package of that name, then any that provides it.
    pub fn provider(&self, dependency: &str, dependent: &Instance, known: &[String]) -> Option<Instance> {
        let providers = self.providers(dependency);
        let known = known.iter().filter_map(|name| Instance::parse(name).ok());
        let there = known.filter(|one| providers.iter().any(|package| package.id == one.package));
        let suffix = |one: &Instance| (one.suffix != dependent.suffix, one.suffix.is_some(), one.package != dependency);
        there.min_by_key(suffix).or_else(|| {
            let package = providers.iter().min_by_key(|package| package.id != dependency)?;
            Some(Instance::plain(&package.id))
        })
    }
}

struct Walk<'a> {
    catalogue: &'a Catalogue,
    wanted: &'a [String],
    /// What is wanted, and what is on the host anyway.
    known: &'a [String],
    with_dependencies: bool,
    path: Vec<String>,
    done: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, instance: &Instance) -> Result<()> {
        let name = instance.to_string();
        if self.done.contains(&name) {
            return Ok(());
        }
        let package = self.catalogue.get(&name)?;
        if let Some(start) = self.path.iter().position(|id| *id == name) {
            let cycle = [&self.path[start..], std::slice::from_ref(&name)].concat().join(" → ");
            return Err(Error {
                place: Some(package.place()),
                ..Error::new(format!("services depend on each other in a circle: {cycle}"))
            }
            .hint("remove one of these from `dependencies`"));
        }
        self.path.push(name.clone());
        for dependency in &package.manifest.dependencies {
            match self.catalogue.provider(&dependency.service, instance, self.known) {
                Some(provider)
                    if self.wanted.contains(&provider.to_string())
                        || (self.with_dependencies && dependency.required) =>
                {
                    self.visit(&provider)?;
                }
                Some(_) => {}
                None if dependency.required && dependency.check_command.is_none() && self.with_dependencies => {
                    return Err(Error {
                        place: Some(package.place()),
                        ..Error::new(format!(
                            "`{}` depends on `{}`, which no package provides",
                            package.id, dependency.service
                        ))
                    }
                    .did_you_mean(&dependency.service, self.catalogue.ids()));
                }
                None => {}
            }
        }
        self.path.pop();
        self.done.push(name);
        Ok(())
    }
}

impl Package {
    fn load(dir: &Path, id: &str) -> Result<Package> {
        let path = dir.join("manifest.json");
        let text = shipped::read_to_string(&path)
            .map_err(|error| Error::at(&Place::file(path.clone()), format!("cannot read the manifest: {error}")))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| json_error(&path, &text, &error))?;
        let place = Place::file(path.clone());
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if manifest.id != id {
            return Err(Error::at(&place, format!("the id is `{}` but the folder is `{id}`", manifest.id))
                .hint("they must be equal"));
        }
        if !manifest.id.chars().all(valid) || manifest.id.starts_with(['_', '-']) {
            return Err(
                Error::at(&place, format!("`{id}` is not a service id")).hint("lowercase letters, digits, `-` and `_`")
            );
        }
        let example = dir.join(".env.example");
        let defaults = match shipped::read_to_string(&example) {
            Ok(text) => parse_env_example(&example, &text)?,
            Err(_) => IndexMap::new(),
        };
        Ok(Package { id: id.to_owned(), dir: dir.to_owned(), manifest, defaults, text })
    }

    /// `manifest.json`, for messages.
    pub fn place(&self) -> Place {
        Place::file(self.dir.join("manifest.json"))
    }

    /// The line of the manifest on which a name is given, else the whole file.
    pub fn place_of(&self, name: &str) -> Place {
        let quoted = format!("\"{name}\"");
        let line = self.text.lines().position(|line| line.contains(&quoted)).map_or(0, |index| index + 1);
        Place::new(self.dir.join("manifest.json"), line, 0)
    }

    /// A file of the package as text.
    pub fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        shipped::read_to_string(&path)
            .map_err(|error| Error::at(&self.place(), format!("package `{}`: cannot read `{name}`: {error}", self.id)))
    }

    /// The stack template for a runtime: `compose.yml.j2` for compose where there is one, else `stack.yml.j2`.
    pub fn stack_template(&self, runtime: &str) -> PathBuf {
        let own = self.dir.join(format!("{}.yml.j2", if runtime == "swarm" { "stack" } else { "compose" }));
        if shipped::exists(&own) { own } else { self.dir.join("stack.yml.j2") }
    }

    /// SHA-256 over all files of the package, names and contents.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for file in shipped::walk(&self.dir) {
            hash.update(file.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(shipped::read(&self.dir.join(&file)).unwrap_or_default());
            hash.update([0]);
        }
        hex(&hash.finalize())
    }
}

/// Lowercase hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// serde_json's message with the line it speaks of and, for unknown fields, a suggestion.
fn json_error(path: &Path, text: &str, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    let result = Error {
        place: Some(Place::new(path, error.line(), error.column())),
        source_line: error.line().checked_sub(1).and_then(|line| text.lines().nth(line)).map(str::to_owned),
        ..Error::new(message.clone())
    };
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((word, candidates)) if message.starts_with("unknown field") => {
            result.did_you_mean(word, candidates.iter().copied())
        }
        _ => result,
    }
}

/// `.env.example`: `KEY=value` with the comments above as help. No shell, no interpolation; quotes around a value are
/// taken off.
fn parse_env_example(path: &Path, text: &str) -> Result<IndexMap<String, EnvDefault>> {
    let mut defaults = IndexMap::new();
    let mut help: Vec<&str> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            help.clear();
        } else if let Some(comment) = line.strip_prefix('#') {
            help.push(comment.trim());
        } else {
            let place = Place::new(path, index + 1, 1);
            let error = || Error {
                source_line: Some(line.to_owned()),
                place: Some(place.clone()),
                ..Error::new("not a line of the form KEY=value")
            };
            let (key, value) = line.split_once('=').ok_or_else(error)?;
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if key.is_empty() || !key.chars().all(valid) {
                return Err(error());
            }
            let value = value.trim();
            let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
            defaults.insert(
                key.to_owned(),
                EnvDefault { value: unquoted.to_owned(), help: help.join(" "), place: place.clone() },
            );
            help.clear();
        }
    }
    Ok(defaults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(packages: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (id, manifest) in packages {
            std::fs::create_dir_all(dir.path().join(id)).unwrap();
            std::fs::write(dir.path().join(id).join("manifest.json"), manifest).unwrap();
        }
        dir
    }

    fn load(packages: &[(&str, &str)]) -> Catalogue {
        let dir = registry(packages);
        Catalogue::load(Path::new("/nonexistent"), &[dir.path().to_owned()]).unwrap()
    }

    #[test]
    fn dependencies_come_first_and_only_when_wanted() {
        let catalogue = load(&[
            ("proxy-x", r#"{"id":"proxy-x","name":"P"}"#),
            ("db-x", r#"{"id":"db-x","name":"D","provides":["sql-x"]}"#),
            ("app-x", r#"{"id":"app-x","name":"A","dependencies":[{"service":"sql-x"},{"service":"proxy-x"}]}"#),
        ]);
        let app = ["app-x".to_owned()];
        assert_eq!(catalogue.order(&app, true).unwrap(), ["db-x", "proxy-x", "app-x"]);
        assert_eq!(catalogue.order(&app, false).unwrap(), ["app-x"]);
        let both = ["app-x".to_owned(), "proxy-x".to_owned()];
        assert_eq!(catalogue.order(&both, false).unwrap(), ["proxy-x", "app-x"]);
    }

    #[test]
    fn an_instance_prefers_what_has_its_own_suffix() {
        let catalogue = load(&[
            ("db-x", r#"{"id":"db-x","name":"D","aliases":["sql"],"provides":["data"]}"#),
            ("app-x", r#"{"id":"app-x","name":"A","dependencies":[{"service":"data"}]}"#),
            ("door-x", r#"{"id":"door-x","name":"P","single":true}"#),
        ]);
        let order = |names: &[&str], declared: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            catalogue.order_among(&list(names), &list(declared), true)
        };
        assert_eq!(order(&["app-x@b", "sql@b"], &[]).unwrap(), ["db-x@b", "app-x@b"]);
        assert_eq!(order(&["app-x@b", "app-x"], &[]).unwrap(), ["db-x", "app-x@b", "app-x"]);
        assert_eq!(order(&["app-x"], &["db-x@c"]).unwrap(), ["db-x@c", "app-x"]);
        assert_eq!(order(&["app-x@b"], &["db-x@c", "db-x"]).unwrap(), ["db-x", "app-x@b"]);
        let error = order(&["door-x@b"], &[]).unwrap_err();
        assert!(error.text.contains("there can be only one `door-x`"), "{error}");
        assert!(order(&["app-x@B"], &[]).unwrap_err().text.contains("cannot name an instance"));
    }

    #[test]
    fn a_cycle_is_shown() {
        let catalogue = load(&[
            ("a-x", r#"{"id":"a-x","name":"A","dependencies":[{"service":"b-x"}]}"#),
            ("b-x", r#"{"id":"b-x","name":"B","dependencies":[{"service":"a-x"}]}"#),
        ]);
        let error = catalogue.order(&["a-x".to_owned()], true).unwrap_err();
        assert!(error.text.ends_with("a-x → b-x → a-x"), "{error}");
    }

    #[test]
    fn a_broken_package_is_listed_and_does_not_hide_the_others() {
        let catalogue = load(&[
            ("good-x", r#"{"id":"good-x","name":"G"}"#),
            ("bad-x", "{\"id\":\"bad-x\",\n\"name\":\"B\",\n\"dependancies\":[]}"),
        ]);
        assert!(catalogue.get("good-x").is_ok());
        let error = catalogue.get("bad-x").unwrap_err();
        assert!(error.to_string().contains("manifest.json:3"), "{error}");
        assert!(error.to_string().contains("did you mean `dependencies`?"), "{error}");
    }

    #[test]
    fn env_example_has_help_defaults_and_required_keys() {
        let text = "# The site's name,\n# as people type it\nSITE=\"a b\"\n\nKEY=\n";
        let defaults = parse_env_example(Path::new("x"), text).unwrap();
        assert_eq!(defaults["SITE"].value, "a b");
        assert_eq!(defaults["SITE"].help, "The site's name, as people type it");
        assert_eq!(defaults["KEY"].value, "");
        assert!(parse_env_example(Path::new("x"), "no equals").is_err());
    }
}
