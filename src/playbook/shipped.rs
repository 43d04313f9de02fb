//! Files that may lie on the disk or inside the binary: the shipped playbooks and the shipped registry.
//!
//! A path that begins with [`INSIDE`] is inside the binary; every other path is on the disk. An operator's own file
//! under the same name wins. Writing is left out: what is inside cannot be changed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use rust_embed::Embed;

/// The root of paths inside the binary.
pub const INSIDE: &str = "/<provision>";

#[derive(Embed)]
#[folder = "playbooks/"]
#[allow_missing = true]
struct Playbooks;

#[derive(Embed)]
#[folder = "registry/"]
#[allow_missing = true]
struct Registry;

/// The operator's folders, and behind them what the binary brought along.
#[derive(Clone, Debug)]
pub struct Shipped {
    roots: Vec<PathBuf>,
}

impl Shipped {
    /// `roots` are folders that may hold `playbooks/` and `registry/`; the first that has a file wins.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Shipped { roots }
    }

    /// The path of `playbooks/…` or `registry/…`: the operator's if there is one, else the one inside.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let inside = Path::new(INSIDE).join(name);
        let own = self.roots.iter().map(|root| root.join(name));
        own.chain([inside]).find(|path| self.is_file(path) || self.is_dir(path))
    }

    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match inside(path) {
            None => std::fs::read(path),
            Some(name) => get(&name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    pub fn is_file(&self, path: &Path) -> bool {
        match inside(path) {
            None => path.is_file(),
            Some(name) => get(&name).is_some(),
        }
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        match inside(path) {
            None => path.is_dir(),
            Some(name) => {
                let prefix = format!("{name}/");
                names().any(|file| file.starts_with(&prefix))
            }
        }
    }

    /// Names of what is directly in a directory, sorted; empty if there is no such directory.
    pub fn list(&self, dir: &Path) -> Vec<String> {
        match inside(dir) {
            None => {
                let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
                let names: BTreeSet<String> =
                    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                names.into_iter().collect()
            }
            Some(name) => {
                let prefix = if name.is_empty() { name } else { format!("{name}/") };
                let below = names().filter_map(|file| {
                    let rest = file.strip_prefix(&prefix)?;
                    rest.split('/').next().map(str::to_owned)
                });
                below.collect::<BTreeSet<String>>().into_iter().collect()
            }
        }
    }

    /// Files below a directory, as paths relative to it, sorted, with permission bits (0644 for files inside).
    pub fn walk(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u32)>> {
        let mut files = Vec::new();
        self.walk_into(dir, Path::new(""), &mut files)?;
        files.sort();
        Ok(files)
    }

    fn walk_into(&self, dir: &Path, below: &Path, files: &mut Vec<(PathBuf, u32)>) -> io::Result<()> {
        for name in self.list(dir) {
            let (path, relative) = (dir.join(&name), below.join(&name));
            if self.is_dir(&path) {
                self.walk_into(&path, &relative, files)?;
            } else if self.is_file(&path) {
                files.push((relative, permissions(&path)?));
            }
        }
        Ok(())
    }
}

fn permissions(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    match inside(path) {
        Some(_) => Ok(0o644),
        None => Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777),
    }
}

/// The name below [`INSIDE`], with `.` and `..` resolved; `None` for a path on the disk.
fn inside(path: &Path) -> Option<String> {
    let rest = path.strip_prefix(INSIDE).ok()?;
    let mut names: Vec<&str> = Vec::new();
    for part in rest.components() {
        match part {
            Component::ParentDir => {
                names.pop();
            }
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(names.join("/"))
}

fn get(name: &str) -> Option<Vec<u8>> {
    let file = match name.split_once('/')? {
        ("playbooks", rest) => Playbooks::get(rest),
        ("registry", rest) => Registry::get(rest),
        _ => None,
    };
    file.map(|file| file.data.into_owned())
}

fn names() -> impl Iterator<Item = String> {
    let playbooks = Playbooks::iter().map(|name| format!("playbooks/{name}"));
    playbooks.chain(Registry::iter().map(|name| format!("registry/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_inside_are_resolved_and_paths_outside_are_not_touched() {
        assert_eq!(inside(Path::new("/<provision>/playbooks/a/../b.yml")), Some("playbooks/b.yml".to_owned()));
        assert_eq!(inside(Path::new("/etc/hosts")), None);
    }

    #[test]
    fn the_operators_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("playbooks")).unwrap();
        std::fs::write(dir.path().join("playbooks/own.yml"), "[]").unwrap();
        let shipped = Shipped::new(vec![dir.path().to_owned()]);
        assert_eq!(shipped.find("playbooks/own.yml"), Some(dir.path().join("playbooks/own.yml")));
        assert_eq!(shipped.find("playbooks/no-such.yml"), None);
    }
}
