//! `provision secrets check` and `secrets scan`: what is wrong with the clients' secrets as a whole, and whether one of
//! them lies about in a file of the project. No value is ever shown.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fancy_regex::Regex;
use sha2::{Digest, Sha256};

use super::common::Fleet;
use crate::error::{Error, Place, Result};
use crate::plan::Secret;
use crate::secrets::{EnvFile, Redactor, SecretKind, generate};
use crate::services::Package;

/// Passwords that everybody tries first, in small letters.
const USUAL: &[&str] = &[
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "admin",
    "admin123",
    "administrator",
    "cambiame",
    "change-me",
    "change_me",
    "changeme",
    "clave",
    "contraseña",
    "default",
    "demo",
    "example",
    "guest",
    "letmein",
    "mysecret",
    "passw0rd",
    "password",
    "password1",
    "password123",
    "qwerty",
    "root",
    "secret",
    "secret123",
    "secreto",
    "super_secret",
    "supersecret",
    "test",
    "test123",
    "toor",
    "welcome",
    "your-secret-key",
    "your_password",
];

/// One stored value.
struct Kept {
    host: String,
    service: String,
    key: String,
    value: Secret,
    /// The day on which it was stored.
    since: Option<String>,
}

impl Kept {
    /// `clienteA shop/KEY`
    fn place(&self) -> String {
        format!("{} {}/{}", self.host, self.service, self.key)
    }

    /// An address or a port is stored here, too, and is no secret.
    fn is_secret(&self) -> bool {
        let key = self.key.to_uppercase();
        ["PASS", "SECRET", "TOKEN", "KEY", "SALT", "PWD", "CREDENTIAL"].iter().any(|word| key.contains(word))
    }

    /// Shorter ones are equal, or turn up somewhere, by chance.
    fn is_long(&self) -> bool {
        self.value.reveal().chars().count() >= 8
    }

    /// Why anybody could guess it.
    fn guessable(&self, package: Option<&Package>) -> Option<&'static str> {
        let value = self.value.reveal();
        let lower = value.to_lowercase();
        let default = |package: &Package| {
            let variables = package.manifest.variables.iter().filter(|variable| variable.key == self.key);
            let mut defaults = variables.filter_map(|variable| variable.default.as_ref()?.as_str());
            defaults.any(|default| default == value)
                || package.defaults.get(&self.key).is_some_and(|known| known.value == value)
        };
        let names = [&self.key, &self.service, &self.host].map(|name| name.to_lowercase());
        match () {
            () if value.is_empty() => None,
            () if USUAL.contains(&lower.as_str()) => Some("this is a password that everybody tries first"),
            () if names.contains(&lower) => Some("this is a name, not a secret"),
            () if package.is_some_and(default) => Some("this is the default that everybody can read in the package"),
            () if !self.is_long() => Some("this has fewer than 8 characters"),
            () => None,
        }
    }
}

/// Everything secret that is stored for these hosts.
fn kept(fleet: &Fleet, hosts: &[String]) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for host in hosts {
        for (service, path) in super::secrets::files(fleet, host) {
            let file = EnvFile::load(&path, &fleet.identities)?;
            found.extend(file.iter().map(|(key, value)| Kept {
                host: host.clone(),
                service: service.clone(),
                key: key.to_owned(),
                value: value.clone(),
                since: file.since(key).map(str::to_owned),
            }));
        }
    }
    found.retain(Kept::is_secret);
    Ok(found)
}

/// Values that two clients share, values that anybody would guess, and, if asked for, old ones.
pub fn check(fleet: &Fleet, pattern: &str, older: Option<u32>) -> Result<u8> {
    let hosts = fleet.select(pattern)?;
    let kept = kept(fleet, &hosts)?;
    let mut findings = Vec::new();
    for one in &kept {
        if let Some(why) = one.guessable(fleet.catalogue.get(&one.service).ok()) {
            let hint = format!("provision secrets generate {}/{} --force --host {}", one.service, one.key, one.host);
            findings.push(Error::new(format!("{}: {why}", one.place())).hint(hint));
        }
    }
    // the key is made anew each time and forgotten: a fingerprint says who shares a value, and nothing about the value
    let key = generate(&SecretKind::Hex, 32)?;
    let mut owners: BTreeMap<[u8; 32], Vec<&Kept>> = BTreeMap::new();
    for one in kept.iter().filter(|one| one.is_long()) {
        let mut hash = Sha256::new();
        hash.update(key.reveal().as_bytes());
        hash.update(one.value.reveal().as_bytes());
        owners.entry(hash.finalize().into()).or_default().push(one);
    }
    for shared in owners.into_values() {
        let hosts: BTreeSet<&str> = shared.iter().map(|one| one.host.as_str()).collect();
        if hosts.len() > 1 {
            let places: Vec<String> = shared.iter().map(|one| one.place()).collect();
            let text = format!("the same value is on {} clients: {}", hosts.len(), places.join(", "));
            let hint = "who gets into one of them gets into all: give each its own with `provision secrets generate`";
            findings.push(Error::new(text).hint(hint));
        } else if shared.len() > 1 {
            let places: Vec<String> = shared.iter().map(|one| one.place()).collect();
            println!("note: the same value twice on one client: {}", places.join(", "));
        }
    }
    findings.extend(older.into_iter().flat_map(|days| old(&kept, days)));
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} secrets of {} clients looked at", kept.len(), hosts.len());
    ended(findings.len())
}

/// Values that were stored more than so many days ago, or before their days were noted.
fn old(kept: &[Kept], days: u32) -> Vec<Error> {
    let limit = jiff::Zoned::now().date().saturating_sub(jiff::Span::new().days(i64::from(days))).to_string();
    let aged = kept.iter().filter(|one| one.since.as_ref().is_none_or(|since| *since < limit));
    let say = |one: &Kept| {
        let age = one.since.as_ref().map_or("of unknown age".to_owned(), |since| format!("stored on {since}"));
        let hint = format!("provision secrets rotate {}/{} --host {}", one.service, one.key, one.host);
        Error::new(format!("{}: {age}", one.place())).hint(hint)
    };
    aged.map(say).collect()
}

/// Kinds of secrets that give themselves away, whoever they belong to.
const PATTERNS: &[(&str, &str)] = &[
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("an age identity", r"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    ("an API key", r"\b(?:sk|pk|rk)[-_](?:live[-_]|proj-|ant-)?[A-Za-z0-9]{24,}"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
];

/// Stored values, and what looks like a secret, in the project's files.
pub fn scan(fleet: &Fleet, paths: &[PathBuf]) -> Result<u8> {
    let hosts: Vec<String> = fleet.inventory.hosts().map(|host| host.name.clone()).collect();
    let known = Redactor::new();
    let mut secrets = kept(fleet, &hosts)?;
    secrets.retain(Kept::is_long);
    secrets.iter().for_each(|one| known.add(one.value.reveal()));
    let patterns = PATTERNS.iter().map(|(what, pattern)| {
        Regex::new(pattern).map(|regex| (*what, regex)).map_err(|error| Error::new(format!("{what}: {error}")))
    });
    let patterns: Vec<(&str, Regex)> = patterns.collect::<Result<_>>()?;
    let mut files = Vec::new();
    let here = [PathBuf::from(".")];
    for path in if paths.is_empty() { &here[..] } else { paths } {
        collect(path, &mut files)?;
    }
    let mut findings = 0;
    for path in &files {
        // what is no text is not looked into: nobody writes secrets down there
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let looks = |(_, regex): &&(&str, Regex)| regex.is_match(line).unwrap_or(false);
            let what = match known.text(line) {
                Cow::Owned(_) => Some("a stored secret in clear"),
                Cow::Borrowed(_) => patterns.iter().find(looks).map(|(what, _)| *what),
            };
            if let Some(what) = what {
                findings += 1;
                println!("{}", Error { place: Some(Place::new(path.as_path(), index + 1, 0)), ..Error::new(what) });
            }
        }
    }
    println!("{} files looked through for {} stored secrets", files.len(), secrets.len());
    ended(findings)
}

/// Every file that people write; not those of tools, not encrypted ones, not those of more than 5 MB.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    const TOOLS: &[&str] = &[".git", "target", "node_modules", ".venv"];
    let trouble = |error: std::io::Error| Error::at(&Place::file(path), format!("cannot be read: {error}"));
    let about = std::fs::symlink_metadata(path).map_err(trouble)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if about.is_dir() && !TOOLS.contains(&name.as_str()) {
        let entries = std::fs::read_dir(path).map_err(trouble)?;
        let mut entries: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>().map_err(trouble)?;
        entries.sort();
        entries.iter().try_for_each(|entry| collect(entry, files))?;
    } else if about.is_file() && about.len() <= 5_000_000 && !name.ends_with(".age") {
        files.push(path.strip_prefix(".").unwrap_or(path).to_owned());
    }
    Ok(())
}

fn ended(findings: usize) -> Result<u8> {
    match findings {
        0 => Ok(0),
        1 => Err(Error::new("one finding")),
        _ => Err(Error::new(format!("{findings} findings"))),
    }
}
