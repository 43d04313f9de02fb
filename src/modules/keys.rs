//! `authorized_key`: who may log in with which key.
//!
//! ```yaml
//! - name: The operators' keys, and no others
//!   authorized_key:
//!     user: root
//!     exclusive: true
//!     key: |
//!       ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEdQ0Yk6C1n2wbrEMqcJ6oIZbS4mH4WnVJmIMkVQ4y9x ana@laptop
//!       ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1hQX6N9Wg4c2eZ8mYpF0dK3rTsUuVvWwXxYyZz0123 ben@desk
//! ```
//!
//! Comment lines of the file stay. Leaves out keys behind URLs.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Change, Destination, Diff, Expect, Failure, FileKind, Module, Object, Observed, Operation, Plan, Query, Return,
    Script, Then, Write,
};

use super::args::{self, State};
use super::attributes::parent;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] =
    &[Spec { name: "authorized_key", aliases: &["ansible.posix.authorized_key"], args: ARGS, free_form: None, build }];

const ARGS: &[&str] =
    &["user", "key", "state", "exclusive", "key_options", "comment", "manage_dir", "path", "follow", "validate_certs"];

const LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Args {
    #[serde(deserialize_with = "args::text")]
    user: String,
    key: Value,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::flag")]
    exclusive: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    key_options: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    comment: Option<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    manage_dir: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    path: Option<String>,
}

fn yes() -> bool {
    true
}

struct Task {
    args: Args,
    keys: Vec<Key>,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(ARGS, args)?;
    args.path = args.path.map(|path| args::host_path(&path, build)).transpose()?;
    let text = match &args.key {
        Value::Array(lines) => lines.iter().map(args::as_text).collect::<Vec<_>>().join("\n"),
        other => args::as_text(other),
    };
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(Failure::new("`key` is a URL, which is not fetched")
            .hint("keep the keys beside the inventory: \"{{ lookup('file', 'keys/ana.pub') }}\""));
    }
    let mut keys: Vec<Key> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(mut key) = Key::parse(line) else {
            let start: String = line.chars().take(20).collect();
            return Err(Failure::new(format!("{start:?}… is not a public key"))
                .hint("a public key starts with ssh-ed25519, ssh-rsa or the like"));
        };
        if let Some(options) = &args.key_options {
            key.options = options.clone();
        }
        if let Some(comment) = &args.comment {
            key.comment = comment.clone();
        }
        if !keys.iter().any(|other| other.is(&key)) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(Failure::new("`key` holds no key"));
    }
    Ok(Box::new(Task { args, keys }))
}

/// One line of authorized_keys.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    options: String,
    kind: String,
    blob: String,
    comment: String,
}

impl Key {
    /// `[options] type base64 [comment]`; options may hold spaces within quotes.
    fn parse(line: &str) -> Option<Key> {
        let mut start = 0;
        let mut quoted = false;
        let mut words = Vec::new();
        for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
            match c {
                '"' if !line[..at].ends_with('\\') => quoted = !quoted,
                ' ' | '\t' if !quoted => {
                    if at > start {
                        words.push((start, &line[start..at]));
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        let at = words.iter().position(|(_, word)| is_key_type(word))?;
        let (_, blob) = words.get(at + 1)?;
        let plausible = blob.len() > 16 && blob.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
        plausible.then(|| Key {
            options: line[..words[at].0].trim().to_owned(),
            kind: words[at].1.to_owned(),
            blob: (*blob).to_owned(),
            comment: words.get(at + 2).map_or("", |(from, _)| line[*from..].trim_end()).to_owned(),
        })
    }

    /// The same key, whatever its options and comment are.
    fn is(&self, other: &Key) -> bool {
        self.kind == other.kind && self.blob == other.blob
    }

    fn line(&self) -> String {
        let words = [&self.options, &self.kind, &self.blob, &self.comment];
        words.into_iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

fn is_key_type(word: &str) -> bool {
    matches!(word, "ssh-ed25519" | "ssh-rsa" | "ssh-dss")
        || word.starts_with("ecdsa-sha2-nistp")
        || (word.starts_with("sk-") && word.contains("@openssh.com"))
        || word.ends_with("-cert-v01@openssh.com")
}

impl Task {
    fn edited(&self, old: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut placed = vec![false; self.keys.len()];
        for line in old.lines() {
            let Some(existing) = Key::parse(line.trim()).filter(|_| !line.trim_start().starts_with('#')) else {
                lines.push(line.to_owned());
                continue;
            };
            match (self.keys.iter().position(|key| key.is(&existing)), self.args.state) {
                (Some(_), State::Absent) => {}
                (Some(at), State::Present) if !placed[at] => {
                    placed[at] = true;
                    let same = self.keys[at] == existing;
                    lines.push(if same { line.to_owned() } else { self.keys[at].line() });
                }
                // a second line for the same key
                (Some(_), State::Present) => {}
                (None, State::Present) if self.args.exclusive => {}
                (None, _) => lines.push(line.to_owned()),
            }
        }
        if self.args.state == State::Present {
            let missing = self.keys.iter().zip(placed).filter(|(_, placed)| !placed);
            lines.extend(missing.map(|(key, _)| key.line()));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Module for Task {
    fn probe(&self) -> Vec<Query> {
        let user = self.args.user.as_str();
        let script = Script::new().raw("getent passwd").arg(user).raw("|| grep").arg(format!("^{user}:"));
        vec![Query::Run(script.raw("/etc/passwd || :"))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let text = observed::output(observed.answers, 0, &self.args.user)?.stdout_text();
        let fields: Vec<&str> = text.trim().split(':').collect();
        let [name, _, _, group, _, home, ..] = fields[..] else {
            return Err(Failure::new(format!("there is no user {} on the host", self.args.user)));
        };
        let path =
            self.args.path.clone().unwrap_or_else(|| format!("{}/.ssh/authorized_keys", home.trim_end_matches('/')));
        let directory = parent(&path);
        if observed.more.is_empty() {
            return Ok(Plan::Ask(vec![
                Query::Stat { path: path.clone(), follow: true, checksum: false },
                Query::Read { path, limit: LIMIT },
                Query::Stat { path: directory, follow: true, checksum: false },
            ]));
        }
        let file = observed::stat(observed.more, 0, &path)?;
        let bytes = observed::bytes(observed.more, 1, &path)?;
        let folder = observed::stat(observed.more, 2, &directory)?;
        let old = String::from_utf8_lossy(bytes.unwrap_or_default());
        let new = self.edited(&old);
        let returned = Return::default()
            .with("user", name)
            .with("keyfile", path.as_str())
            .with("exclusive", self.args.exclusive)
            .with("state", if self.args.state == State::Present { "present" } else { "absent" });
        if new == old || (old.trim_end() == new.trim_end() && self.keys_unchanged(&old)) {
            let msg = if self.args.state == State::Present { "the keys are there" } else { "the keys are not there" };
            return Ok(Plan::NoChange(Return { msg: Some(msg.to_owned()), ..returned }));
        }
        let mut operations = Vec::new();
        match folder.map(|stat| stat.kind) {
            Some(FileKind::Directory) => {}
            Some(_) => return Err(Failure::new(format!("{directory} is not a directory"))),
            None if !self.args.manage_dir => {
                return Err(Failure::new(format!("the directory {directory} does not exist"))
                    .hint("`manage_dir: true` makes it"));
            }
            None => {
                let script = Script::new().raw("mkdir -p -m 0700").arg(directory.as_str());
                let script = script.raw("&& chmod 0700").arg(directory.as_str());
                operations.push(Operation::run(
                    script.raw("&& chown").arg(format!("{name}:{group}")).arg(directory.as_str()),
                ));
            }
        }
        let to = Destination {
            path: path.clone(),
            mode: file.is_none().then_some(0o600),
            owner: file.is_none().then(|| name.to_owned()),
            group: file.is_none().then(|| group.to_owned()),
            expect: bytes.map_or(Expect::Absent, |bytes| Expect::Checksum(super::sha256(bytes))),
            validate: None,
            backup: false,
        };
        let diff =
            Diff { before_header: path.clone(), after_header: path, before: old.into_owned(), after: new.clone() };
        operations.push(Operation::Write(Write { to, content: new.into_bytes() }));
        Ok(Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: returned }))
    }
}

impl Task {
    /// Nothing but the end of the last line would change.
    fn keys_unchanged(&self, old: &str) -> bool {
        self.edited(old).lines().eq(old.lines())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{calls, file_stat, said};
    use crate::plan::Answer;
    use serde_json::json;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEdQ0Yk6";
    const B: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7";

    #[test]
    fn lines() {
        let line = format!("command=\"echo \\\"a b\\\"\",no-pty {A} ana and co");
        let key = Key::parse(&line).unwrap();
        assert_eq!((key.options.as_str(), key.comment.as_str()), ("command=\"echo \\\"a b\\\"\",no-pty", "ana and co"));
        assert_eq!(key.line(), line);
        for wrong in ["", "ssh-ed25519", "ssh-ed25519 short", "hello world"] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files() {
        let table = [
            (json!({"key": format!("{A} ana")}), format!("{A} ana\n"), None),
            (json!({"key": format!("{A} ana")}), format!("{A} ana"), None),
            (json!({"key": format!("{A} ana")}), String::new(), Some(format!("{A} ana\n"))),
            (json!({"key": format!("{A} ana")}), format!("# c\n{A} old\n{B}\n"), Some(format!("# c\n{A} ana\n{B}\n"))),
            (json!({"key": A, "key_options": "no-pty"}), format!("{A}\n"), Some(format!("no-pty {A}\n"))),
            (json!({"key": A, "exclusive": true}), format!("# c\n{B}\n"), Some(format!("# c\n{A}\n"))),
            (json!({"key": format!("{A}\n# x\n{B}")}), format!("{B}\n"), Some(format!("{B}\n{A}\n"))),
            (json!({"key": [A, B]}), format!("{B}\n{A}\n"), None),
            (json!({"key": A, "state": "absent"}), format!("{A} any\n{B}\n"), Some(format!("{B}\n"))),
            (json!({"key": A, "state": "absent"}), format!("{B}\n"), None),
        ];
        for (mut args, before, after) in table {
            args["user"] = json!("ana");
            let passwd = said("ana:x:1000:1001::/home/ana:/bin/sh\n");
            let more = [
                Answer::Stat(Some(file_stat(FileKind::File))),
                Answer::Bytes(Some(before.clone().into_bytes())),
                Answer::Stat(Some(file_stat(FileKind::Directory))),
            ];
            let expected: Vec<String> =
                after.iter().map(|text| format!("write /home/ana/.ssh/authorized_keys:\n{text}")).collect();
            assert_eq!(calls("authorized_key", args.clone(), &[passwd], &more), Ok(expected), "{args} on {before:?}");
        }
        let fresh = [Answer::Stat(None), Answer::Bytes(None), Answer::Stat(None)];
        let passwd = [said("ana:x:1000:1001::/home/ana:/bin/sh\n")];
        let made = calls("authorized_key", json!({"user": "ana", "key": A}), &passwd, &fresh).unwrap();
        assert!(made[0].ends_with("chown ana:1001 /home/ana/.ssh"), "{made:?}");
        assert!(
            calls("authorized_key", json!({"user": "ana", "key": A, "manage_dir": false}), &passwd, &fresh).is_err()
        );
        assert!(
            calls("authorized_key", json!({"user": "zed", "key": A}), &[said("")], &[])
                .unwrap_err()
                .contains("no user")
        );
        for wrong in [
            json!({"user": "a", "key": "nonsense"}),
            json!({"user": "a", "key": "https://x/a.keys"}),
            json!({"user": "a"}),
        ] {
            assert!(calls("authorized_key", wrong.clone(), &passwd, &fresh).is_err(), "{wrong}");
        }
    }
}
