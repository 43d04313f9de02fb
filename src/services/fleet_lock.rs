//! `fleet.lock`: the digests that the fleet's image names mean, resolved once and the same for every client.
//!
//! A file of the project, beside the inventory, for the team's repository. Where it names an image, stacks are rendered
//! with `name:tag@sha256:…`, so a tag that moves in its registry moves no client. No file: names stay names. Leaves out:
//! asking registries ([`super::image_registry`]), and when a digest may come in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Place, Result};
use crate::yaml::{self, Node};

const VERSION: i64 = 1;

const HEAD: &str =
    "# What the image names of this fleet mean. Written by provision, moved by `provision update`; commit it.\n";

/// Image names, as the stacks have them, and their digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetLock {
    images: BTreeMap<String, String>,
}

impl FleetLock {
    /// None where there is no such file; an empty one locks nothing yet.
    pub fn read(path: &Path) -> Result<Option<FleetLock>> {
        if !path.exists() {
            return Ok(None);
        }
        let (root, twice) = yaml::load_with_warnings(path).map_err(|error| unfinished_merge(path).unwrap_or(error))?;
        // which of two lines counts is not to be guessed
        if let Some(error) = Error::all(twice) {
            return Err(error.hint("keep one of them"));
        }
        let mut lock = FleetLock::default();
        let wrong = |node: &Node, text: String| Error::at(&node.place, text);
        if !matches!(root.kind, yaml::Kind::Map(_) | yaml::Kind::Null) {
            return Err(wrong(&root, format!("a fleet lock is a mapping, not {}", root.describe())));
        }
        for (key, value) in root.entries() {
            match key.as_str() {
                Some("version") if value.to_value() == VERSION => {}
                Some("version") => {
                    return Err(wrong(value, format!("this program reads version {VERSION} of the fleet lock"))
                        .hint("use the version of provision that the team uses"));
                }
                Some("images") if value.is_null() || matches!(value.kind, yaml::Kind::Map(_)) => {
                    for (name, digest) in value.entries() {
                        let image = name.as_str().ok_or_else(|| wrong(name, "an image's name is text".to_owned()))?;
                        let text = digest.as_str().filter(|text| is_digest(text)).ok_or_else(|| {
                            wrong(digest, format!("`{image}` has no digest: sha256: and 64 hexadecimal digits"))
                                .hint("remove the line; `provision update` resolves the name anew")
                        })?;
                        lock.images.insert(image.to_owned(), text.to_owned());
                    }
                }
                Some("images") => {
                    return Err(wrong(
                        value,
                        format!("`images` is a mapping of names to digests, not {}", value.describe()),
                    ));
                }
                other => {
                    let other = other.unwrap_or("?");
                    return Err(
                        wrong(key, format!("a fleet lock has no `{other}`")).did_you_mean(other, ["version", "images"])
                    );
                }
            }
        }
        Ok(Some(lock))
    }

    /// The file appears whole or not at all; one image is one line, in the order of their names.
    pub fn write(&self, path: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let trouble = |error: std::io::Error| Error::at(&Place::file(path), format!("cannot write the file: {error}"));
        let images = self.images.iter().map(|(name, digest)| (name.clone(), Value::from(digest.as_str()))).collect();
        let value = serde_json::json!({"version": VERSION, "images": Value::Object(images)});
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(trouble)?;
        let mode = std::fs::metadata(path).map_or(0o644, |known| known.permissions().mode() & 0o777);
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(trouble)?;
        write!(file, "{HEAD}{}", yaml::emit(&value)).map_err(trouble)?;
        file.as_file().sync_all().map_err(trouble)?;
        file.persist(path).map(drop).map_err(|error| trouble(error.error))
    }

    pub fn digest(&self, image: &str) -> Option<&str> {
        self.images.get(image).map(String::as_str)
    }

    pub fn set(&mut self, image: &str, digest: &str) {
        self.images.insert(image.to_owned(), digest.to_owned());
    }

    pub fn remove(&mut self, image: &str) {
        self.images.remove(image);
    }

    /// The images that have a digest.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.keys().map(String::as_str)
    }

    /// What is not as in `before`: image, digest there, digest here.
    pub fn moved<'a>(&'a self, before: &'a FleetLock) -> impl Iterator<Item = (&'a str, Option<&'a str>, &'a str)> {
        let all = self.images.iter().map(|(image, digest)| (image.as_str(), before.digest(image), digest.as_str()));
        all.filter(|(_, before, now)| *before != Some(*now))
    }

    /// The stack with the digests behind the names.
    pub(super) fn applied(&self, stack: &Value) -> Value {
        let mut stack = stack.clone();
        let services = stack.get_mut("services").and_then(Value::as_object_mut);
        for (_, service) in services.into_iter().flatten() {
            let Some(digest) = name(service).and_then(|image| self.digest(image)) else { continue };
            let locked = format!("{}@{digest}", name(service).unwrap_or_default());
            service["image"] = Value::from(locked);
        }
        stack
    }
}

/// Git's own mark is the place to look at, not what YAML makes of it.
fn unfinished_merge(path: &Path) -> Option<Error> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().position(|line| line.starts_with("<<<<<<<"))?;
    let error =
        Error::at(&Place::new(path, line + 1, 1), "two branches wrote this file, and their merge is not finished");
    Some(error.hint("keep either line of an image; `provision update` looks what it means now"))
}

/// The names in a stack that a registry can say a digest for: not what is built, and not what has one already.
pub(super) fn names(stack: &Value) -> BTreeSet<String> {
    let services = stack.get("services").and_then(Value::as_object).into_iter().flatten();
    services.filter_map(|(_, service)| name(service).map(str::to_owned)).collect()
}

fn name(service: &Value) -> Option<&str> {
    let made_here = service.get("build").is_some_and(|build| !build.is_null())
        || service
            .get("pull_policy")
            .and_then(Value::as_str)
            .is_some_and(|policy| ["never", "build"].contains(&policy));
    service.get("image")?.as_str().filter(|image| !made_here && !image.contains(['@', '$']) && !image.is_empty())
}

/// An image's name without the digest behind it.
pub fn without_digest(image: &str) -> &str {
    image.split_once('@').map_or(image, |(name, _)| name)
}

pub fn is_digest(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.chars().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn what_is_written_is_read_back_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.lock");
        assert_eq!(FleetLock::read(&path).unwrap(), None);
        let mut lock = FleetLock::default();
        lock.set("redis:8.0", &digest('b'));
        lock.set("ghcr.io/a/b:1", &digest('a'));
        lock.set("latest", &digest('c'));
        lock.write(&path).unwrap();
        assert_eq!(FleetLock::read(&path).unwrap().unwrap(), lock);
        let lines = std::fs::read_to_string(&path).unwrap();
        let at = |name: &str| lines.find(name).unwrap();
        assert!(at("ghcr.io") < at("latest") && at("latest") < at("redis:8.0"), "{lines}");
        assert_eq!(lines.lines().filter(|line| line.contains("sha256:")).count(), 3);
        // one that was moved is one line of a diff
        lock.set("redis:8.0", &digest('d'));
        let before = FleetLock::read(&path).unwrap().unwrap();
        let moved: Vec<_> = lock.moved(&before).map(|(image, ..)| image).collect();
        assert_eq!(moved, ["redis:8.0"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&path, "").unwrap();
        assert_eq!(FleetLock::read(&path).unwrap(), Some(FleetLock::default()));
    }

    #[test]
    fn a_broken_file_is_said_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.lock");
        let (a, b) = (digest('a'), digest('b'));
        for (text, line, says) in [
            ("version: 1\nimages:\n  redis:8.0: sha256:12\n".to_owned(), 3, "`redis:8.0` has no digest"),
            ("version: 2\n".to_owned(), 1, "reads version 1"),
            ("version: 1\nimage: {}\n".to_owned(), 2, "did you mean `images`?"),
            ("version: 1\nimages: [a]\n".to_owned(), 2, "is a mapping of names"),
            ("- a\n".to_owned(), 1, "is a mapping, not a list"),
            (format!("images:\n  a:1: {a}\n  a:1: {b}\n"), 3, "keep one of them"),
            (
                format!("images:\n<<<<<<< ours\n  a:1: {a}\n=======\n  a:1: {b}\n>>>>>>> theirs\n"),
                2,
                "their merge is not finished",
            ),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = FleetLock::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("fleet.lock:{line}: ")), "{text}: {error}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn digests_come_behind_names_that_a_registry_knows() {
        let mut lock = FleetLock::default();
        for image in ["a:1", "b:1", "c:1", "d:${TAG}"] {
            lock.set(image, &digest('a'));
        }
        let own = format!("e:1@{}", digest('b'));
        let stack = serde_json::json!({"services": {
            "a": {"image": "a:1"}, "b": {"image": "b:1", "build": "."}, "c": {"image": "c:1", "pull_policy": "never"},
            "d": {"image": "d:${TAG}"}, "e": {"image": own}, "f": {"image": "f:1"}, "g": {"build": "."},
        }});
        let applied = lock.applied(&stack);
        let image = |name: &str| applied["services"][name]["image"].as_str().unwrap_or_default().to_owned();
        assert_eq!(image("a"), format!("a:1@{}", digest('a')));
        assert_eq!(["b", "c", "d", "e", "f"].map(image), ["b:1", "c:1", "d:${TAG}", &own, "f:1"].map(str::to_owned));
        assert_eq!(names(&stack).into_iter().collect::<Vec<_>>(), ["a:1", "f:1"]);
        assert_eq!(without_digest(&own), "e:1");
    }
}
