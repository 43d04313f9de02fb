//! `env_file`: settings in a `.env` file that `docker compose` reads back byte for byte.
//!
//! ```yaml
//! - env_file:
//!     path: /opt/ATS/VersatileHub/services/hub/.env
//!     values: {HUB_DOMAIN: hub.cliente.com, DB_ROOT_PASSWORD: "{{ secrets.DB_ROOT_PASSWORD }}"}
//!     owner: root
//! ```
//!
//! The file is 0600 from its first byte on. The difference shows names, never values, and no value is returned.
//!
//! Leaves out reading settings back and keeping foreign lines: the file holds exactly `values`.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Mode;
use super::attributes::Attributes;
use super::docker_container::is_name;
use super::place::{Content, Manner, due};
use super::{Build, Spec, args, observed, typed};
use crate::plan::{Change, Diff, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Then};

pub const FAMILY: &[Spec] = &[Spec {
    name: "env_file",
    aliases: &[],
    args: &["path", "dest", "values", "owner", "group", "mode", "backup"],
    free_form: None,
    build,
}];

/// More than any file of settings has.
const LIMIT: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Arguments {
    #[serde(alias = "dest")]
    path: String,
    values: Object,
    #[serde(default, deserialize_with = "args::opt_mode")]
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "args::opt_text")]
    owner: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    group: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
}

#[derive(Debug)]
struct EnvFile {
    path: String,
    names: Vec<String>,
    content: Content,
    /// The same again, for the comparison by names.
    text: String,
    manner: Manner,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let text = render(&args.values)?;
    let attributes = Attributes { mode: args.mode.or(Some(Mode::Octal(0o600))), owner: args.owner, group: args.group };
    Ok(Box::new(EnvFile {
        path: args::host_path(&args.path, build)?,
        names: args.values.keys().cloned().collect(),
        content: Content::of(text.as_bytes()),
        text,
        manner: Manner { attributes, backup: args.backup, validate: None },
    }))
}

/// The text of the file. Errors: a name or value that no `.env` file can hold.
pub fn render(values: &Object) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, value) in values {
        if !is_name(name) {
            return Err(Failure::new(format!("`{name}` is not a name for a setting"))
                .hint("letters, digits and `_`, not starting with a digit"));
        }
        if name == "PATH" {
            return Err(Failure::new("`PATH` cannot come from a `.env` file")
                .hint("docker compose prefers its own environment; write it into the compose file"));
        }
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Failure::new(format!("the value of `{name}` is not a text"))
                    .hint("a setting is one text; `| to_json` makes one of a list or mapping"));
            }
        };
        if value.contains('\0') {
            return Err(Failure::new(format!("the value of `{name}` holds a NUL byte, which no environment can")));
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&quote(&value));
        text.push('\n');
    }
    Ok(text)
}

/// One value as Compose's parser reads it back. Between single quotes everything stands for itself, but there is no way
/// to write a single quote or a final backslash; between double quotes `\`, `"` and `$` need a backslash. A carriage
/// return is spelled out, since line ends may be normalised.
pub fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\r']) && !value.ends_with('\\') {
        return format!("'{value}'");
    }
    let mut quoted = String::with_capacity(value.len() + 8);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '\\' | '"' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Names and their values as written, quotes included: enough to tell which ones differ.
fn written(text: &str) -> IndexMap<&str, &str> {
    let mut found = IndexMap::new();
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n').or((!rest.is_empty()).then_some((rest, ""))) {
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| is_name(name)) else {
            rest = after;
            continue;
        };
        // a quoted value may go on over several lines
        let start = name.len() + 1;
        let end = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => closing(&rest[start..], quote).map_or(line.len(), |end| start + end),
            _ => line.len(),
        };
        found.insert(name, &rest[start..end]);
        rest = rest[end..].split_once('\n').map_or("", |(_, after)| after);
    }
    found
}

/// Settings and their values, of a text that [`render`] has made.
pub(super) fn read(text: &str) -> Vec<(&str, String)> {
    written(text).into_iter().map(|(name, value)| (name, unquote(value))).collect()
}

fn unquote(written: &str) -> String {
    let inner = |mark: char| written.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    let Some(escaped) = inner('"') else { return inner('\'').unwrap_or(written).to_owned() };
    let mut value = String::with_capacity(escaped.len());
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|c| match c {
                'n' => '\n',
                'r' => '\r',
                c => c,
            })),
            c => value.push(c),
        }
    }
    value
}

/// Where the value that starts with this quote ends.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Names only; a name whose value will be another is marked.
fn difference(path: &str, before: &str, after: &str) -> Diff {
    let (old, new) = (written(before), written(after));
    let line = |name: &str, mark: &str| format!("{name}{mark}\n");
    Diff {
        before_header: path.to_owned(),
        after_header: path.to_owned(),
        before: old.keys().map(|name| line(name, "")).collect(),
        after: new
            .iter()
            .map(|(name, value)| match old.get(name) {
                Some(was) if was != value => line(name, " (new value)"),
                _ => line(name, ""),
            })
            .collect(),
    }
}

impl Module for EnvFile {
    fn probe(&self) -> Vec<Query> {
        vec![
            Query::Stat { path: self.path.clone(), follow: false, checksum: true },
            Query::Read { path: self.path.clone(), limit: LIMIT },
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let stat = observed::stat(observed.answers, 0, &self.path)?;
        let mut due = due(&self.path, &self.content, &self.manner, stat, None)?;
        let returned = self.returned();
        if due.operations.is_empty() {
            let msg = format!("{} has these {} settings", self.path, self.names.len());
            return Ok(Plan::NoChange(Return { msg: Some(msg), ..returned }));
        }
        if due.operations.iter().any(|operation| matches!(operation, Operation::Write(_))) {
            let before = observed::bytes(observed.answers, 1, &self.path)?.unwrap_or_default();
            due.diff = vec![difference(&self.path, &String::from_utf8_lossy(before), &self.text)];
        }
        Ok(Plan::Change(Change { diff: due.diff, operations: due.operations, then: Then::Finish, forecast: returned }))
    }

    fn finish(&self, _: &[Output]) -> Result<Return, Failure> {
        Ok(self.returned())
    }
}

impl EnvFile {
    fn returned(&self) -> Return {
        Return::default().with("path", self.path.as_str()).with("names", json!(self.names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Answer, FileKind, FileStat};
    use std::time::Duration;

    #[test]
    fn values_are_quoted_as_compose_reads_them() {
        for (value, wanted) in [
            ("", "''"),
            ("hub.cliente.com", "hub.cliente.com"),
            ("Cliente A S.A.", "'Cliente A S.A.'"),
            (" a ", "' a '"),
            ("pa$$word #1", "'pa$$word #1'"),
            ("it's $5", r#""it's \$5""#),
            ("two\nlines", "'two\nlines'"),
            ("it's\ntwo", r#""it's\ntwo""#),
            (r"end\", r#""end\\""#),
            (r"C:\new", r"'C:\new'"),
            ("dos\r\n", r#""dos\r\n""#),
        ] {
            assert_eq!(quote(value), wanted);
            let text = format!("A=1\nB={wanted}\nC=x\n");
            assert_eq!(read(&text)[1], ("B", value.to_owned()), "it is read back");
        }
    }

    #[test]
    fn what_cannot_be_a_setting_is_refused_by_name() {
        for (values, word) in [
            (json!({"A-B": "x"}), "A-B"),
            (json!({"A": ["hunter2"]}), "`A`"),
            (json!({"A": "hunter2\u{0}"}), "NUL"),
            (json!({"PATH": "/bin"}), "PATH"),
        ] {
            let Value::Object(values) = values else { unreachable!() };
            let failure = render(&values).unwrap_err();
            assert!(failure.msg.contains(word) && !failure.msg.contains("hunter2"), "{}", failure.msg);
        }
    }

    #[test]
    fn the_difference_shows_names_only() {
        let old = "A=1\nB='hunter2\nC=not a name of its own'\nD=4\n";
        let new = "A=1\nB=\"hunter3\\\"\nX=1\"\nE=5\n";
        let diff = difference(".env", old, new);
        assert_eq!(diff.before, "A\nB\nD\n");
        assert_eq!(diff.after, "A\nB (new value)\nE\n");
    }

    #[test]
    fn a_file_is_written_once_and_only_for_its_owner() {
        let Value::Object(values) = json!({"KEY": "hunter2", "N": 5}) else { unreachable!() };
        let text = render(&values).unwrap();
        let attributes = Attributes { mode: Some(Mode::Octal(0o600)), ..Attributes::default() };
        let file = EnvFile {
            path: "/srv/.env".to_owned(),
            names: vec!["KEY".to_owned(), "N".to_owned()],
            content: Content::of(text.as_bytes()),
            text: text.clone(),
            manner: Manner { attributes, ..Manner::default() },
        };
        let plan = |answers: &[Answer]| {
            file.plan(&Observed { answers, more: &[], elapsed: Duration::ZERO, changes: 0 }).unwrap()
        };
        let fresh = plan(&[Answer::Stat(None), Answer::Bytes(None)]);
        let Plan::Change(change) = &fresh else { panic!("{fresh:?}") };
        assert!(!format!("{change:?}").contains("hunter2"));
        let Operation::Write(write) = &change.operations[0] else { panic!("{change:?}") };
        assert_eq!((write.to.mode, write.content.as_slice()), (Some(0o600), "KEY=hunter2\nN=5\n".as_bytes()));

        let stat = |mode| FileStat {
            kind: FileKind::File,
            mode,
            uid: 0,
            gid: 0,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            size: text.len() as u64,
            mtime: 0,
            inode: 1,
            device: 1,
            nlink: 1,
            target: None,
            checksum: Some(crate::modules::sha256(text.as_bytes())),
        };
        let there = |mode| plan(&[Answer::Stat(Some(stat(mode))), Answer::Bytes(Some(text.clone().into_bytes()))]);
        assert!(matches!(there(0o600), Plan::NoChange(_)));
        assert!(matches!(there(0o644), Plan::Change(_)));
    }
}
