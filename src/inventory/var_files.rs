//! `group_vars/` and `host_vars/`: for each group and host a file, or a folder of files that are read in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Host, NestedPlaces, VarLayer};
use crate::error::{Error, Place, Result, nearest};
use crate::plan::Object;
use crate::yaml::{self, Kind, Node};

/// The extensions of variable files, in the order in which they are looked for.
const EXTENSIONS: [&str; 4] = ["", "yml", "yaml", "json"];

/// All variable files of one folder.
#[derive(Clone, Debug)]
pub struct VarFiles {
    pub folder: PathBuf,
    pub groups: IndexMap<String, Vec<VarLayer>>,
    pub hosts: IndexMap<String, Vec<VarLayer>>,
}

impl VarFiles {
    /// Every file is read now, so that a mistake in one shows before anything is touched.
    pub fn load(
        folder: &Path,
        hosts: &IndexMap<String, Host>,
        groups: &IndexMap<String, Vec<String>>,
        warnings: &mut Vec<Error>,
    ) -> Result<VarFiles> {
        let mut errors = Vec::new();
        let mut read = |kind: &str, what: &str, known: &dyn Fn(&str) -> bool, names: &[&str]| {
            let mut found = IndexMap::new();
            for (name, path) in entries(&folder.join(kind), warnings)? {
                if !known(&name) {
                    let warning = Error::at(&Place::file(&*path), format!("there is no {what} `{name}`"));
                    warnings.push(match nearest(&name, names.iter().copied()) {
                        Some(near) => warning.hint(format!("did you mean `{near}`?")),
                        None => warning,
                    });
                    continue;
                }
                let mut layers = Vec::new();
                for file in files(&path)? {
                    let label = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
                    match layer(&file, label, warnings) {
                        Ok(layer) => layers.push(layer),
                        Err(error) => errors.push(error),
                    }
                }
                found.insert(name, layers);
            }
            Ok::<_, Error>(found)
        };
        let group_names: Vec<&str> = groups.keys().map(String::as_str).collect();
        let group_layers = read("group_vars", "group", &|name| groups.contains_key(name), &group_names)?;
        let host_names: Vec<&str> = hosts.keys().map(String::as_str).collect();
        let known_host = |name: &str| hosts.contains_key(name) || name == "localhost";
        let host_layers = read("host_vars", "host", &known_host, &host_names)?;
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(VarFiles { folder: folder.to_owned(), groups: group_layers, hosts: host_layers }),
        }
    }
}

/// Name of group or host → its file or folder. Of `x`, `x.yml` and `x.yaml` only the first counts, as in Ansible.
fn entries(folder: &Path, warnings: &mut Vec<Error>) -> Result<IndexMap<String, PathBuf>> {
    let mut found: IndexMap<String, (usize, PathBuf)> = IndexMap::new();
    for path in list(folder)? {
        let name = file_name(&path);
        if path.is_dir() && matches!(path.extension().and_then(|end| end.to_str()), Some("yml" | "yaml" | "json")) {
            continue;
        }
        let known = EXTENSIONS.iter().enumerate().skip(1).find_map(|(rank, extension)| {
            let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
            Some((rank, stem.to_owned()))
        });
        // A host's name may have dots, so only what is a variable file's extension is one.
        let other = OTHER_EXTENSIONS.iter().any(|extension| name.ends_with(extension));
        let (rank, entity) = match known {
            Some(found) => found,
            None if other => continue,
            None => (0, name),
        };
        match found.get(&entity) {
            Some((best, first)) => {
                let (used, unused) = if *best < rank { (first, &path) } else { (&path, first) };
                let text = format!("is not read, because {} exists, too", used.display());
                warnings.push(Error::at(&Place::file(&**unused), text).hint("merge the two"));
                if rank < *best {
                    found.insert(entity, (rank, path));
                }
            }
            None => {
                found.insert(entity, (rank, path));
            }
        }
    }
    Ok(found.into_iter().map(|(name, (_, path))| (name, path)).collect())
}

/// Not variables, whatever they are doing here.
const OTHER_EXTENSIONS: [&str; 8] = [".md", ".txt", ".bak", ".orig", ".swp", ".rej", ".age", ".j2"];

/// The file itself, or all files of the folder and its folders, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for path in list(path)? {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() && extension.is_empty() {
            found.extend(files(&path)?);
        } else if path.is_file() && EXTENSIONS.contains(&extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// What a folder holds, by name, without hidden files and backups; nothing if there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::at(&Place::file(folder), format!("cannot be read: {error}"));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable)?,
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable)).collect::<Result<_>>()?;
    paths.retain(|path| !file_name(path).starts_with('.') && !file_name(path).ends_with('~'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn layer(file: &Path, name: String, warnings: &mut Vec<Error>) -> Result<VarLayer> {
    let (node, more) = yaml::load_with_warnings(file)?;
    warnings.extend(more);
    check_plain(&node)?;
    if !node.is_null() && !matches!(node.kind, Kind::Map(_)) {
        let text = format!("variables are `name: value` lines, and this is {}", node.describe());
        return Err(Error::at(&node.place, text));
    }
    let vars: Object = node.entries().iter().map(|(key, value)| (key.key_text(), value.to_value())).collect();
    let places = node.entries().iter().map(|(key, _)| (key.key_text(), key.place.clone())).collect();
    let mut nested = NestedPlaces::new();
    for (key, value) in node.entries() {
        nested_places(value, &[key.key_text()], &mut nested);
    }
    Ok(VarLayer { name, vars: Arc::new(vars), places: Arc::new(places), nested: Arc::new(nested) })
}

/// The places of all keys of mappings in mappings.
pub fn nested_places(node: &Node, path: &[String], found: &mut NestedPlaces) {
    for (key, value) in node.entries() {
        let path = [path, &[key.key_text()]].concat();
        nested_places(value, &path, found);
        found.insert(path, key.place.clone());
    }
}

/// No part of the value is encrypted by ansible-vault, whose text would otherwise be used as if it were the value.
pub fn check_plain(node: &Node) -> Result<()> {
    match &node.kind {
        Kind::String(text)
            if matches!(node.tag.as_deref(), Some("vault" | "vault-encrypted"))
                || text.starts_with("$ANSIBLE_VAULT;") =>
        {
            Err(Error::at(&node.place, "this is encrypted by ansible-vault, which is not supported")
                .hint("decrypt it and keep it as a secret of the service (`provision secrets set`)"))
        }
        Kind::List(items) => items.iter().try_for_each(check_plain),
        Kind::Map(entries) => entries.iter().try_for_each(|(_, value)| check_plain(value)),
        _ => Ok(()),
    }
}
