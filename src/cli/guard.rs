//! `provision secrets check` and `secrets scan`: what is wrong with the clients' secrets as a whole, and whether one of
//! them lies about in a file of the project. No value is ever shown.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fancy_regex::Regex;
use ignore::WalkBuilder;
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
    fn is_secret(&self, package: Option<&Package>) -> bool {
        let key = self.key.to_uppercase();
        let declared = |package: &Package| {
            package.manifest.secrets.iter().any(|secret| secret.key == self.key)
                || package.manifest.variables.iter().any(|variable| variable.secret && variable.key == self.key)
        };
        ["PASS", "SECRET", "TOKEN", "KEY", "SALT", "PWD", "CREDENTIAL"].iter().any(|word| key.contains(word))
            || package.is_some_and(declared)
    }

    /// `chat@two` is of the package `chat`.
    fn package<'f>(&self, fleet: &'f Fleet) -> Option<&'f Package> {
        fleet.catalogue.get(self.service.split('@').next()?).ok()
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

/// What is secret in a client's file of settings.
fn kept(fleet: &Fleet, host: &str, service: &str, file: &EnvFile) -> Vec<Kept> {
    let one = |(key, value): (&str, &Secret)| Kept {
        host: host.to_owned(),
        service: service.to_owned(),
        key: key.to_owned(),
        value: value.clone(),
        since: file.since(key).map(str::to_owned),
    };
    file.iter().map(one).filter(|one| one.is_secret(one.package(fleet))).collect()
}

/// Values that two clients share, values that anybody would guess, and, if asked for, old ones.
pub fn check(fleet: &Fleet, pattern: &str, older: Option<u32>) -> Result<u8> {
    let hosts = fleet.select(pattern)?;
    let mut kept = Vec::new();
    for host in &hosts {
        for (service, path) in super::secrets::files(fleet, host) {
            kept.extend(self::kept(fleet, host, &service, &EnvFile::load(&path, &fleet.identities)?));
        }
    }
    let mut findings = Vec::new();
    for one in &kept {
        if let Some(why) = one.guessable(one.package(fleet)) {
            // what somebody else gave out cannot be made here
            let given =
                one.package(fleet).is_some_and(|package| package.manifest.variables.iter().any(|v| v.key == one.key));
            let (verb, flag) = if given { ("set", "") } else { ("generate", " --force") };
            let hint = format!("provision secrets {verb} {}/{}{flag} --host {}", one.service, one.key, one.host);
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
    Ok(ended(findings.len()))
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
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("an age identity", r"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    ("an API key", r"\b(?:sk|pk|rk)[-_](?:live[-_]|test[-_])?[A-Za-z0-9]{24,}"),
    ("an API key", r"\bsk-(?:proj|svcacct|admin|ant-[a-z0-9]+|or-v1|lf)-[A-Za-z0-9_-]{20,}"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("an AWS secret key", r#"(?i)aws_?secret_?(?:access_?)?key["']?\s*[=:]\s*["']?[A-Za-z0-9/+]{40}\b"#),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("a Google API key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
];

fn patterns() -> Result<Vec<(&'static str, Regex)>> {
    let regex = |(what, pattern): &(&'static str, &str)| {
        Regex::new(pattern).map(|regex| (*what, regex)).map_err(|error| Error::new(format!("{what}: {error}")))
    };
    PATTERNS.iter().map(regex).collect()
}

/// Stored values, and what looks like a secret, in the project's files. Values that cannot be opened here are not looked
/// for, which is said: who commits need not be able to read every client.
pub fn scan(fleet: &Fleet, paths: &[PathBuf]) -> Result<u8> {
    let files = files(paths)?;
    let mut secrets = Vec::new();
    for path in super::readers::all_files(fleet) {
        let name = super::readers::short(&path);
        let (host, service) = name.split_once('/').unwrap_or_default();
        match EnvFile::load(&path, &fleet.identities) {
            Ok(file) => secrets.extend(kept(fleet, host, service, &file)),
            Err(error) => eprintln!("note: the values of {name} are not looked for: {}", error.text),
        }
    }
    secrets.retain(Kept::is_long);
    let known = Redactor::new();
    secrets.iter().for_each(|one| known.add(one.value.reveal()));
    let patterns = patterns()?;
    let mut findings = 0;
    for path in &files {
        // what is no text is not looked into: nobody writes secrets down there
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let looks = |(_, regex): &&(&str, Regex)| regex.is_match(line).unwrap_or(false);
            let what = match known.text(line) {
                Cow::Owned(_) => Some(format!("{} in clear", owners(&secrets, line))),
                Cow::Borrowed(_) => patterns.iter().find(looks).map(|(what, _)| (*what).to_owned()),
            };
            if let Some(what) = what {
                findings += 1;
                println!("{}", Error { place: Some(Place::new(path.as_path(), index + 1, 0)), ..Error::new(what) });
            }
        }
    }
    println!("{} files looked through for {} stored secrets", files.len(), secrets.len());
    Ok(ended(findings))
}

/// Whose stored values stand in a line: `clienteA shop/DB_PASSWORD`.
fn owners(secrets: &[Kept], line: &str) -> String {
    let stands = |one: &&Kept| {
        let alone = Redactor::new();
        alone.add(one.value.reveal());
        matches!(alone.text(line), Cow::Owned(_))
    };
    secrets.iter().filter(stands).map(Kept::place).collect::<Vec<_>>().join(", ")
}

/// Every file that people write and git would keep; not those of tools, not encrypted ones, not those of more than 5 MB.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    const TOOLS: &[&str] = &[".git", "target", "node_modules", ".venv"];
    let here = [PathBuf::from(".")];
    let mut files = Vec::new();
    for path in if paths.is_empty() { &here[..] } else { paths } {
        // a hidden file is none less likely to be committed; a .gitignore counts before `git init` as well
        let walk = WalkBuilder::new(path)
            .hidden(false)
            .ignore(false)
            .require_git(false)
            .sort_by_file_path(Ord::cmp)
            .filter_entry(|entry| entry.depth() == 0 || !TOOLS.contains(&&*entry.file_name().to_string_lossy()))
            .build();
        for entry in walk {
            let trouble = |error: ignore::Error| Error::new(format!("{}: cannot be read: {error}", path.display()));
            let entry = entry.map_err(trouble)?;
            let about = entry.metadata().map_err(trouble)?;
            let sealed = entry.path().extension().is_some_and(|extension| extension == "age");
            if about.is_file() && about.len() <= 5_000_000 && !sealed {
                files.push(entry.path().strip_prefix(".").unwrap_or(entry.path()).to_owned());
            }
        }
    }
    Ok(files)
}

/// 1 as soon as there is a finding, as with `drift`.
fn ended(findings: usize) -> u8 {
    match findings {
        0 => {}
        1 => eprintln!("one finding"),
        _ => eprintln!("{findings} findings"),
    }
    u8::from(findings > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_keys_give_themselves_away() {
        let patterns = patterns().unwrap();
        let kind = |line: &str| patterns.iter().find(|(_, regex)| regex.is_match(line).unwrap()).map(|(what, _)| *what);
        // put together here: whoever looks through these sources is not to find keys either
        let made = |start: &str, length: usize| format!("k: \"{start}{}\"", "aB3".repeat(length).split_at(length).0);
        for (line, expected) in [
            (made("sk-", 40), Some("an API key")),
            (made("sk-proj-a_b-", 40), Some("an API key")),
            (made("sk-ant-api03-", 40), Some("an API key")),
            (made("sk_live_", 24), Some("an API key")),
            (format!("id = AKIA{}", "A1".repeat(8)), Some("an AWS access key")),
            (made("x\", \"aws_secret_access_key\": \"", 40), Some("an AWS secret key")),
            (made("ghp_", 36), Some("a GitHub token")),
            (made("glpat-", 20), Some("a GitLab token")),
            (made("AIza", 35), Some("a Google API key")),
            (made("xoxb-", 24), Some("a Slack token")),
            (format!("-----BEGIN {}PRIVATE KEY-----", "RSA "), Some("a private key")),
            (made("sk-", 8), None),
            ("task-management-and-other-long-words-in-a-row".to_owned(), None),
            ("ssk-abcdefghijklmnopqrstuvwxyz123".to_owned(), None),
            ("-----BEGIN PUBLIC KEY-----".to_owned(), None),
            ("OPENAI_API_KEY: \"{{ OPENAI_API_KEY }}\"".to_owned(), None),
        ] {
            assert_eq!(kind(&line), expected, "{line}");
        }
    }
}
