//! Files that the binary carries: the shipped catalogue (`registry/`) and playbooks (`playbooks/`).
//!
//! They have paths like any other file, below the imaginary folder `<shipped>`, so that places in messages, relative
//! includes and search paths work alike. An operator's own file of the same name in the project folder wins.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use rust_embed::RustEmbed;

/// The imaginary folder in which carried files lie.
pub const ROOT: &str = "<shipped>";

#[derive(RustEmbed)]
#[folder = "registry/"]
#[prefix = "registry/"]
struct Registry;

#[derive(RustEmbed)]
#[folder = "playbooks/"]
#[prefix = "playbooks/"]
struct Playbooks;

/// Where `name` (e.g. `playbooks/rollout.yml`) is: in the project folder if it is there, else in the binary.
pub fn locate(project: &Path, name: &str) -> Option<PathBuf> {
    let own = in_project(project, name);
    if own.exists() {
        return Some(own);
    }
    let carried = Path::new(ROOT).join(name);
    exists(&carried).then_some(carried)
}

/// A path in the project folder, as an operator would write it: without `./` in front.
pub fn in_project(project: &Path, name: &str) -> PathBuf {
    if project == Path::new(".") { PathBuf::from(name) } else { project.join(name) }
}

/// The bytes of a file, on disk or carried.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    match carried_name(path) {
        None => std::fs::read(path),
        Some(name) => carried(&name)
            .map(Cow::into_owned)
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "no such file among the shipped ones")),
    }
}

/// The same as text.
pub fn read_to_string(path: &Path) -> std::io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// Whether a file or folder is there, on disk or carried.
pub fn exists(path: &Path) -> bool {
    match carried_name(path) {
        None => path.exists(),
        Some(name) => {
            let folder = format!("{name}/");
            names().any(|file| file == name.as_str() || file.starts_with(&folder))
        }
    }
}

/// Files below a folder, as paths relative to it, sorted. Nothing if the folder is not there.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    match carried_name(dir) {
        Some(name) => {
            let folder = format!("{name}/");
            found.extend(names().filter_map(|file| file.strip_prefix(&folder).map(PathBuf::from)));
        }
        None => walk_disk(dir, Path::new(""), &mut found),
    }
    found.sort();
    found
}

fn walk_disk(dir: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        if dir.join(&path).is_dir() {
            walk_disk(dir, &path, found);
        } else {
            found.push(path);
        }
    }
}

fn names() -> impl Iterator<Item = Cow<'static, str>> {
    Registry::iter().chain(Playbooks::iter())
}

fn carried(name: &str) -> Option<Cow<'static, [u8]>> {
    Registry::get(name).or_else(|| Playbooks::get(name)).map(|file| file.data)
}

/// `registry/x` for `<shipped>/playbooks/../registry/x`; None for a path on disk.
fn carried_name(path: &Path) -> Option<String> {
    let inner = path.strip_prefix(ROOT).ok()?;
    let mut parts: Vec<String> = Vec::new();
    for component in inner.components() {
        match component {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    Some(parts.join("/"))
}
