//! From a source, as given with `-i`, to the files in it and the format of each.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::{ini, names, yaml};
use crate::error::{Error, Place, Result};

/// Folders beside the inventory files that hold something else.
const OTHER_FOLDERS: [&str; 6] = ["host_vars", "group_vars", "vars_plugins", "vps_data", "keys", "files"];
/// What editors, people and runs leave in a folder of inventory files.
const OTHER_FILES: [&str; 18] = [
    "~", ".md", ".txt", ".rst", ".retry", ".orig", ".bak", ".swp", ".rej", ".cfg", ".pyc", ".pyo", ".rpm", ".age",
    ".pub", ".j2", ".log", ".lock",
];

/// Reads a source into the tree and says in which folder it lies.
pub fn read(source: &Path, tree: &mut Tree) -> Result<PathBuf> {
    let text = source.to_string_lossy();
    if text.contains(',') && !source.exists() {
        for pattern in text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()) {
            let (hosts, port) = names::expand(pattern).map_err(Error::new)?;
            for host in hosts {
                tree.add_host(&host, "ungrouped");
                if let Some(port) = port {
                    let place = Place::file(Path::new("-i"));
                    tree.set(super::tree::Owner::Host(&host), "ansible_port", port.into(), &place)?;
                }
            }
        }
        return Ok(PathBuf::from("."));
    }
    let kind = std::fs::metadata(source).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(format!("the inventory `{text}` does not exist"))
            .hint("name a file or a folder with -i; hosts on the command line end in a comma: -i a.example,"),
        _ => Error::new(format!("the inventory `{text}` cannot be read: {error}")),
    })?;
    if kind.is_dir() {
        read_folder(source, tree)?;
        return Ok(normal(source));
    }
    read_file(source, tree)?;
    Ok(normal(source.parent().unwrap_or(Path::new("."))))
}

/// The same folder always by the same path.
pub fn normal(folder: &Path) -> PathBuf {
    match folder.components().collect::<PathBuf>() {
        empty if empty.as_os_str().is_empty() => PathBuf::from("."),
        path => path,
    }
}

fn read_folder(folder: &Path, tree: &mut Tree) -> Result<()> {
    let unreadable = |error: std::io::Error| Error::new(format!("`{}` cannot be read: {error}", folder.display()));
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || OTHER_FILES.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        if path.is_dir() {
            if !OTHER_FOLDERS.contains(&name.as_str()) {
                read_folder(&path, tree)?;
            }
        } else if !beside_an_inventory(&path, &name) {
            read_file(&path, tree)?;
        }
    }
    Ok(())
}

/// Keys and the like that lie in the folder under names of their own.
fn beside_an_inventory(path: &Path, name: &str) -> bool {
    let private_key = || {
        let mut start = [0_u8; 10];
        let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
        read.is_ok() && (start.starts_with(b"-----BEGIN") || start.starts_with(b"AGE-SECRET"))
    };
    name.starts_with("known_hosts") || (!name.contains('.') && private_key())
}

fn read_file(path: &Path, tree: &mut Tree) -> Result<()> {
    let place = Place::file(path);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "yml" | "yaml" | "json" => return yaml::read(path, tree),
        "toml" => return Err(Error::at(&place, "TOML inventories are not supported").hint("use YAML or INI")),
        "py" | "sh" | "rb" => return Err(script(&place)),
        _ => {}
    }
    let bytes = std::fs::read(path).map_err(|error| Error::at(&place, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::at(&place, "is not UTF-8 text"))?;
    if text.starts_with("#!") {
        return Err(script(&place));
    }
    match extension != "ini" && looks_like_yaml(&text) {
        true => yaml::read(path, tree),
        false => ini::read(path, &text, tree),
    }
}

fn script(place: &Place) -> Error {
    Error::at(place, "inventory scripts are not supported").hint("save what it prints as a YAML or INI file")
}

/// In a file whose name does not tell: the first line that says something is `---`, `{`, or a key without a value.
fn looks_like_yaml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines.next().is_some_and(|line| {
        line == "---"
            || line.starts_with('{')
            || line.split('#').next().is_some_and(|code| code.trim_end().ends_with(':'))
    })
}
