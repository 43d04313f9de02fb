//! What certain images do to people who do not know: `_defaults/traps.yml` names them, and this looks whether a rendered
//! stack falls into one. Knowledge about programs is data, like the packages; only how to compare is here.

use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::error::{Error, Place, Result};
use crate::shipped;

/// All that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trap {
    images: Vec<String>,
    /// The first version that it holds for, and the first that it no longer holds for.
    #[serde(default, deserialize_with = "numbers_of")]
    from: Option<Vec<u64>>,
    #[serde(default, deserialize_with = "numbers_of")]
    below: Option<Vec<u64>>,
    #[serde(default)]
    mount: Option<String>,
    #[serde(default, deserialize_with = "regex")]
    healthcheck: Option<Regex>,
    #[serde(default, deserialize_with = "regex")]
    command: Option<Regex>,
    says: String,
    hint: String,
    /// A rollout would do harm or never end well.
    #[serde(default)]
    pub(super) refuse: bool,
    /// It is no trap by itself: its data does not go along to another major version. Compared with what a host has.
    #[serde(default)]
    jump: Option<Jump>,
}

/// Which changes of the major version a program's data does not survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Jump {
    Any,
    Down,
}

/// The services of a stack that keep data which belongs to a major version, for `host_requirements`.
pub(super) fn bound_to_a_version(traps: &[Trap], stack: &Value) -> Vec<Value> {
    let services = stack.get("services").and_then(Value::as_object);
    let bound = services.into_iter().flatten().filter_map(|(name, service)| {
        let image = service.get("image").and_then(Value::as_str)?;
        let (program, tag) = split(image);
        let trap = traps.iter().find(|trap| trap.jump.is_some() && trap.images.iter().any(|one| one == program))?;
        let major = *numbers(tag)?.first()?;
        let down_only = trap.jump == Some(Jump::Down);
        Some(json!({"service": name, "image": image, "images": trap.images, "major": major, "down_only": down_only,
            "says": trap.says, "hint": trap.hint}))
    });
    bound.collect()
}

pub(super) fn read(path: &Path) -> Result<Vec<Trap>> {
    let text = shipped::read_to_string(path)
        .map_err(|error| Error::at(&Place::file(path.to_owned()), format!("cannot read it: {error}")))?;
    serde_yaml::from_str(&text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        Error {
            source_line: line.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned),
            ..Error::at(&Place::new(path.to_owned(), line, 0), error.to_string())
        }
    })
}

/// What a rendered stack falls into; the place is its template.
pub(super) fn caught<'s>(
    traps: impl Iterator<Item = &'s Trap> + Clone,
    stack: &'s Value,
    template: PathBuf,
) -> impl Iterator<Item = Error> {
    let services = stack.get("services").and_then(Value::as_object);
    let place = Place::file(template);
    services.into_iter().flatten().flat_map(move |(name, service)| {
        let (traps, place) = (traps.clone().filter(|trap| trap.catches(service)), place.clone());
        traps.map(move |trap| {
            let image = service.get("image").and_then(Value::as_str).unwrap_or_default();
            let text = format!("service `{name}`: the image `{image}`: {}", trap.says);
            Error::at(&place, text).hint(trap.hint.clone())
        })
    })
}

impl Trap {
    fn catches(&self, service: &Value) -> bool {
        let Some(image) = service.get("image").and_then(Value::as_str).filter(|_| self.jump.is_none()) else {
            return false;
        };
        let (name, tag) = split(image);
        let version = numbers(tag);
        let said = |part: Option<&Value>, wanted: &Regex| {
            part.is_some_and(|part| wanted.is_match(&words(part)).unwrap_or(false))
        };
        self.images.iter().any(|one| one == name)
            && self.from.as_ref().is_none_or(|from| version.as_ref().is_some_and(|version| !less(version, from)))
            && self.below.as_ref().is_none_or(|below| version.as_ref().is_some_and(|version| less(version, below)))
            && self.mount.as_ref().is_none_or(|path| mounts(service).any(|mount| mount == path))
            && self.healthcheck.as_ref().is_none_or(|wanted| said(service.pointer("/healthcheck/test"), wanted))
            && self.command.as_ref().is_none_or(|wanted| said(service.get("command"), wanted))
    }
}

/// Name and tag; Docker Hub's own prefixes are left out.
fn split(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or(image);
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    };
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    (name.strip_prefix("library/").unwrap_or(name), tag)
}

/// `v3.6.2` is 3 6 2, `pg17-trixie` is 17, `latest` is none.
fn numbers(tag: &str) -> Option<Vec<u64>> {
    let start = tag.find(|c: char| c.is_ascii_digit())?;
    let end = tag[start..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(tag.len(), |end| start + end);
    tag[start..end].split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

/// A tag that says less than the limit floats: `v3` is the newest of them, so it is not less than 3.6.2.
fn less(version: &[u64], limit: &[u64]) -> bool {
    let both = version.len().min(limit.len());
    version[..both] < limit[..both]
}

/// The paths in the container that something is mounted at.
fn mounts(service: &Value) -> impl Iterator<Item = &str> {
    service.get("volumes").and_then(Value::as_array).into_iter().flatten().filter_map(|volume| match volume {
        Value::String(text) => text.split(':').nth(usize::from(text.contains(':'))),
        other => other.get("target").and_then(Value::as_str),
    })
}

/// A command is a text or a list of words.
fn words(part: &Value) -> String {
    match part {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn numbers_of<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u64>>, D::Error> {
    let text = String::deserialize(from)?;
    let found = numbers(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no version")))?;
    Ok(Some(found))
}

fn regex<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(from)?;
    Regex::new(&format!("(?s){text}")).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_ones() -> Vec<Trap> {
        read(&Path::new(shipped::ROOT).join("registry/_defaults/traps.yml")).unwrap()
    }

    #[test]
    fn who_falls_into_what() {
        let traps = shipped_ones();
        let data = json!({"volumes": ["/srv/db:/var/lib/postgresql/data"]});
        let probe = |test: &str| json!({"healthcheck": {"test": ["CMD-SHELL", test]}});
        let table = [
            ("traefik:v3.5.3", json!({}), "Docker 29"),
            ("docker.io/library/traefik:v2.11", json!({}), "Docker 29"),
            ("traefik:v3.6.2", json!({}), ""),
            ("traefik:v3", json!({}), ""),
            ("example/traefik:v3.5.3", json!({}), ""),
            ("postgres:18-alpine3.22", data.clone(), "its data is elsewhere"),
            ("pgvector/pgvector:pg18", data.clone(), "its data is elsewhere"),
            (
                "postgres:18",
                json!({"volumes": [{"type": "bind", "source": "/x", "target": "/var/lib/postgresql/data"}]}),
                "its data",
            ),
            ("postgres:18", json!({"volumes": ["/srv/db:/var/lib/postgresql:rw"]}), ""),
            ("postgres:17.6", data, ""),
            ("chatwoot/chatwoot:v4.17.1", probe("curl -f http://127.0.0.1:3000/api"), "no curl in it"),
            ("chatwoot/chatwoot:v4.17.1", probe("wget -qO- http://127.0.0.1:3000/api"), ""),
            ("n8nio/n8n:2.40.7", probe("wget -qO- http://127.0.0.1:5678/healthz >/dev/null"), "still migrates"),
            ("n8nio/n8n:2.40.7", probe("wget -qO- http://127.0.0.1:5678/healthz/readiness"), ""),
            ("openclaw/openclaw:2026.9.6", probe("wget -qO- http://127.0.0.1:18789/healthz"), "ask /startupz"),
            ("postgres:17", probe("pg_isready -U me"), "on the socket"),
            ("postgres:17", probe("pg_isready -h 127.0.0.1 -U me"), ""),
            ("redis:8.0", json!({"command": ["redis-server", "--requirepass", "${P}"]}), "every process list"),
            ("redis", json!({"command": "redis-server --appendonly yes"}), ""),
        ];
        for (image, mut service, expected) in table {
            service["image"] = json!(image);
            let stack = json!({"services": {"x": service}});
            let found: Vec<Error> = caught(traps.iter(), &stack, "stack.yml.j2".into()).collect();
            let said = found.iter().map(Error::to_string).collect::<String>();
            match expected {
                "" => assert_eq!(said, "", "{image}"),
                expected => assert!(said.contains(expected) && found.len() == 1, "{image}: {said}"),
            }
        }
    }

    #[test]
    fn data_that_belongs_to_a_major_version_is_known() {
        let stack = json!({"services": {
            "db": {"image": "docker.io/library/postgres:17.6-trixie"}, "vectors": {"image": "pgvector/pgvector:pg16"},
            "maria": {"image": "mariadb:11.8"}, "web": {"image": "example/postgres:3"}, "any": {"image": "postgres"},
        }});
        let told: Vec<String> = bound_to_a_version(&shipped_ones(), &stack)
            .iter()
            .map(|one| format!("{} {} {}", one["service"].as_str().unwrap(), one["major"], one["down_only"]))
            .collect();
        assert_eq!(told, ["db 17 false", "vectors 16 false", "maria 11 true"]);
    }

    #[test]
    fn a_slip_in_the_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("traps.yml");
        std::fs::write(&path, "- images: [a]\n  below: none\n  says: x\n  hint: y\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("traps.yml:") && error.contains("`none` is no version"), "{error}");
    }
}
