//! `deb822_repository`: where apt gets packages from.
//!
//! ```yaml
//! - name: Docker's own packages
//!   deb822_repository:
//!     name: docker
//!     uris: https://download.docker.com/linux/debian
//!     suites: trixie
//!     components: stable
//!     signed_by: https://download.docker.com/linux/debian/gpg
//! ```
//!
//! A key given as URL is downloaded once, by the host, to `/etc/apt/keyrings`; as text, it is part of the file. Leaves
//! out refreshing the package lists: `apt: {update_cache: true}` does that.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Change, Failure, FileKind, FileStat, Look, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then,
};

use super::args::{self, Mode, State};
use super::attributes::Attributes;
use super::observed;
use super::place::{self, Content, Manner};
use super::{Build, Spec, http};

pub const FAMILY: &[Spec] = &[Spec { name: "deb822_repository", aliases: &[], args: ARGS, free_form: None, build }];

const ARGS: &[&str] = &[
    "name",
    "types",
    "uris",
    "suites",
    "components",
    "signed_by",
    "architectures",
    "enabled",
    "state",
    "mode",
    "trusted",
    "check_valid_until",
    "check_date",
    "date_max_future",
    "languages",
    "targets",
    "pdiffs",
    "by_hash",
    "inrelease_path",
    "allow_insecure",
    "allow_weak",
    "allow_downgrade_to_insecure",
    "include",
    "exclude",
    "install_python_debian",
];

/// Arguments that become a field of the file as they are: name, field.
const FIELDS: &[(&str, &str)] = &[
    ("types", "Types"),
    ("uris", "URIs"),
    ("suites", "Suites"),
    ("components", "Components"),
    ("architectures", "Architectures"),
    ("languages", "Languages"),
    ("targets", "Targets"),
    ("include", "Include"),
    ("exclude", "Exclude"),
    ("enabled", "Enabled"),
    ("trusted", "Trusted"),
    ("check_valid_until", "Check-Valid-Until"),
    ("check_date", "Check-Date"),
    ("date_max_future", "Date-Max-Future"),
    ("pdiffs", "PDiffs"),
    ("by_hash", "By-Hash"),
    ("inrelease_path", "InRelease-Path"),
    ("allow_insecure", "Allow-Insecure"),
    ("allow_weak", "Allow-Weak"),
    ("allow_downgrade_to_insecure", "Allow-Downgrade-To-Insecure"),
];

struct Repository {
    name: String,
    state: State,
    mode: Mode,
    /// The lines of the file up to the key.
    fields: String,
    key: Key,
    check: bool,
}

enum Key {
    None,
    Url(String),
    /// A path, a fingerprint, or the key itself.
    Given(String),
}

#[derive(Deserialize)]
struct Args {
    #[serde(deserialize_with = "args::text")]
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::opt_mode")]
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "args::opt_text")]
    signed_by: Option<String>,
    #[serde(flatten)]
    others: Object,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(ARGS, args)?;
    let name: String = args
        .name
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| if c == ' ' { '-' } else { c })
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    if name.is_empty() || name.starts_with('.') {
        return Err(Failure::new(format!("{:?} cannot be the name of a repository", args.name)));
    }
    let mut fields = format!("X-Repolib-Name: {}\n", args.name.trim());
    for (name, field) in FIELDS {
        let value = args.others.get(*name).map(|value| match value {
            Value::Bool(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
            Value::Array(items) => items.iter().map(args::as_text).collect::<Vec<_>>().join(" "),
            other => args::as_text(other).replace(',', " "),
        });
        let value =
            value.or_else(|| (*name == "types").then(|| "deb".to_owned())).filter(|value| !value.trim().is_empty());
        if let Some(value) = value {
            if value.contains('\n') {
                return Err(Failure::new(format!("argument `{name}` must be one line")));
            }
            fields.push_str(&format!("{field}: {value}\n"));
        }
    }
    let missing = ["uris", "suites"].into_iter().find(|name| !args.others.contains_key(*name));
    if let Some(missing) = missing.filter(|_| args.state == State::Present) {
        return Err(Failure::new(format!("argument `{missing}` is missing")));
    }
    let key = match args.signed_by {
        None => Key::None,
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Key::Url(url),
        Some(given) => Key::Given(given),
    };
    let mode = args.mode.unwrap_or(Mode::Octal(0o644));
    Ok(Box::new(Repository { name, state: args.state, mode, fields, key, check: build.check }))
}

impl Repository {
    fn file(&self) -> String {
        format!("/etc/apt/sources.list.d/{}.sources", self.name)
    }

    /// Armoured keys must be called `.asc`, binary ones `.gpg`.
    fn keys(&self) -> [String; 2] {
        ["asc", "gpg"].map(|end| format!("/etc/apt/keyrings/{}.{end}", self.name))
    }

    fn text(&self, key: Option<&str>) -> String {
        let mut text = self.fields.clone();
        match key {
            Some(key) if key.contains("-----BEGIN") => {
                text.push_str("Signed-By:\n");
                for line in key.trim().lines() {
                    text.push_str(&format!(" {}\n", if line.trim().is_empty() { "." } else { line.trim_end() }));
                }
            }
            Some(key) => text.push_str(&format!("Signed-By: {}\n", key.trim())),
            None => {}
        }
        text
    }

    fn download(&self, url: &str) -> Operation {
        let [armoured, binary] = self.keys();
        let script = Script::new()
            .raw("umask 022; mkdir -p /etc/apt/keyrings && t=$(mktemp /etc/apt/keyrings/.provision.XXXXXX)");
        let script = http::fetch(script.raw("&& trap 'rm -f \"$t\"' EXIT &&"), url, false);
        let script =
            script.raw("&& [ -s \"$t\" ] && chmod 0644 \"$t\" && if grep -q 'BEGIN PGP' \"$t\"; then mv -f \"$t\"");
        let mut script = script.arg(armoured).raw("; else mv -f \"$t\"").arg(binary).raw("; fi");
        script.stdin = Some(http::plain(url));
        Operation::run(script)
    }

    fn absent(&self, there: &[(String, Option<&FileStat>)]) -> Plan {
        let paths: Vec<&str> = there.iter().filter(|(_, stat)| stat.is_some()).map(|(path, _)| path.as_str()).collect();
        if paths.is_empty() {
            return Plan::NoChange(Return::msg("already absent"));
        }
        let diff = crate::plan::Diff {
            before_header: self.file(),
            after_header: self.file(),
            before: paths.iter().map(|path| format!("{path}\n")).collect(),
            after: String::new(),
        };
        let operations = vec![Operation::run(Script::new().raw("rm -f --").args(paths))];
        Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: Return::default() })
    }
}

impl Module for Repository {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: String| Query::Stat { path, follow: false, checksum: true };
        let [armoured, binary] = self.keys();
        vec![
            stat(self.file()),
            stat(armoured),
            stat(binary),
            Query::Read { path: self.file(), limit: 1024 * 1024 },
            stat("/etc/apt/sources.list.d".to_owned()),
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let path = self.file();
        let [armoured, binary] = self.keys();
        let stat = |at| observed::stat(observed.answers, at, &path);
        let (file, asc, gpg) = (stat(0)?, stat(1)?, stat(2)?);
        if self.state == State::Absent {
            return Ok(self.absent(&[(path, file), (armoured, asc), (binary, gpg)]));
        }
        if stat(4)?.is_none_or(|stat| stat.kind == FileKind::File) {
            return Err(Failure::new("this host has no /etc/apt/sources.list.d").hint("it does not use apt"));
        }
        let mut operations = Vec::new();
        let key = match (&self.key, asc, gpg) {
            (Key::None, ..) => None,
            (Key::Given(key), ..) => Some(key.clone()),
            (Key::Url(_), Some(_), _) => Some(armoured),
            (Key::Url(_), None, Some(_)) => Some(binary),
            // only the downloaded key tells which of the two it is; in check mode the usual one is assumed
            (Key::Url(url), None, None) if self.check => {
                operations.push(self.download(url));
                Some(armoured)
            }
            (Key::Url(url), None, None) => {
                let forecast = Return::msg("the key would be downloaded");
                let operations = vec![self.download(url)];
                return Ok(Plan::Change(Change {
                    diff: Vec::new(),
                    operations,
                    then: Then::Replan(Look::Everything),
                    forecast,
                }));
            }
        };
        let content = Content::of(self.text(key.as_deref()));
        let manner = Manner {
            attributes: Attributes { mode: Some(self.mode.clone()), ..Attributes::default() },
            ..Manner::default()
        };
        let before = observed::bytes(observed.answers, 3, &path)?;
        let mut due = place::due(&path, &content, &manner, file, before)?;
        operations.append(&mut due.operations);
        let mut returned = Return::default().with("dest", path).with("repo", self.text(key.as_deref()));
        if let Some(key) = key.filter(|_| matches!(self.key, Key::Url(_))) {
            returned = returned.with("key_filename", key);
        }
        if operations.is_empty() {
            return Ok(Plan::NoChange(Return { msg: Some("already as wanted".to_owned()), ..returned }));
        }
        Ok(Plan::Change(Change { diff: due.diff, operations, then: Then::Finish, forecast: returned }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{calls, file_stat};
    use crate::plan::Answer;
    use serde_json::json;

    #[test]
    fn files_and_keys() {
        let none = || Answer::Stat(None);
        let there = || Answer::Stat(Some(file_stat(FileKind::File)));
        let directory = || Answer::Stat(Some(file_stat(FileKind::Directory)));
        let fresh = [none(), none(), none(), Answer::Bytes(None), directory()];
        let args = json!({"name": "Docker", "uris": "https://x/debian", "suites": ["trixie"], "components": "stable,test",
            "architectures": "amd64", "enabled": true});
        let text = "X-Repolib-Name: Docker\nTypes: deb\nURIs: https://x/debian\nSuites: trixie\nComponents: stable test\nArchitectures: amd64\nEnabled: yes\n";
        let write = |text: &str| vec![format!("write /etc/apt/sources.list.d/docker.sources:\n{text}")];
        assert_eq!(calls("deb822_repository", args.clone(), &fresh, &[]), Ok(write(text)));
        let with = |key: &str| {
            let mut args = args.clone();
            args["signed_by"] = json!(key);
            args
        };
        let inline = calls("deb822_repository", with("-----BEGIN PGP\n\nabc\n-----END PGP\n"), &fresh, &[]).unwrap();
        assert_eq!(inline, write(&format!("{text}Signed-By:\n -----BEGIN PGP\n .\n abc\n -----END PGP\n")));
        let download = calls("deb822_repository", with("https://x/gpg"), &fresh, &[]).unwrap();
        assert!(
            download.len() == 1 && download[0].contains("mv -f \"$t\" /etc/apt/keyrings/docker.asc"),
            "{download:?}"
        );
        let keyed = [none(), none(), there(), Answer::Bytes(None), directory()];
        let written = calls("deb822_repository", with("https://x/gpg"), &keyed, &[]);
        assert_eq!(written, Ok(write(&format!("{text}Signed-By: /etc/apt/keyrings/docker.gpg\n"))));
        let gone = calls("deb822_repository", json!({"name": "docker", "state": "absent"}), &keyed, &[]);
        assert_eq!(gone, Ok(vec!["rm -f -- /etc/apt/keyrings/docker.gpg".to_owned()]));
        for wrong in [json!({"name": "/"}), json!({"name": "x"}), json!({"name": "x", "uris": "a\nb", "suites": "c"})] {
            assert!(calls("deb822_repository", wrong.clone(), &fresh, &[]).is_err(), "{wrong}");
        }
    }
}
