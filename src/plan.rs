//! The vocabulary between modules and lanes: what may be asked of a host, what may be done to it, and the plan
//! that a module makes of the answers.
//!
//! Nothing here runs anything. Modules (floor 2) produce these values, lanes (floor 4) carry them out, the engine
//! (floor 5) decides when.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::Context;

/// The value type of variables, arguments and returns. JSON with insertion order.
pub type Object = Map<String, Value>;

/// A read-only question to a host.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// What is at this path? `follow` looks through a final symbolic link; `checksum` adds the SHA-256 of a
    /// regular file (read on the host, only the digest travels).
    Stat { path: String, follow: bool, checksum: bool },
    /// The bytes of a file, at most `limit` of them. A larger file is answered by [`Answer::TooLarge`].
    Read { path: String, limit: u64 },
    /// A script that must not change the host.
    Run(Script),
}

/// The answer to the [`Query`] of the same position.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `Stat`: nothing is there, or this is.
    Stat(Option<FileStat>),
    /// To `Read`: nothing is there, or these bytes.
    Bytes(Option<Vec<u8>>),
    /// To `Read`: there is a file of this many bytes, more than the limit.
    TooLarge(u64),
    /// To `Run`.
    Output(Output),
    /// The host refused to answer (permission, not a directory, a directory where a file was to be read …).
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    File,
    Directory,
    Link,
    Other,
}

/// What `stat` says of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct FileStat {
    pub kind: FileKind,
    /// Permission bits including suid, sgid and sticky: 0o0000–0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Owner's name, or the number as text where the host has no name for it.
    pub owner: String,
    pub group: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    pub inode: u64,
    pub device: u64,
    pub nlink: u64,
    /// Where a symbolic link points, as written in it.
    pub target: Option<String>,
    /// SHA-256 of the content in lowercase hex, if it was asked for and could be read.
    pub checksum: Option<String>,
}

/// What a script left behind. `rc` above 128 means a signal, as shells count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    pub rc: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    pub fn ok(&self) -> bool {
        self.rc == 0
    }
}

/// Plaintext that must never be shown. Has no `Display`, `Serialize`, or telling `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }
    /// The plaintext. Every call is a place to look at in review.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// A shell script (POSIX `sh`; holds on dash, bash and busybox ash), quoted by construction.
///
/// Scripts run in a subshell with stdin from `/dev/null` (or `stdin`), `LC_ALL=C` for queries. They travel on the
/// lane's standard input, never in an argument vector, so a [`Part::Secret`] may stand in front of a shell builtin
/// (`printf`), but never as the argument of an external command.
#[derive(Clone, Default, PartialEq)]
pub struct Script {
    pub parts: Vec<Part>,
    /// Directory to change to first.
    pub cwd: Option<String>,
    /// Exported for this script only.
    pub env: Vec<(String, Part)>,
    pub umask: Option<u32>,
    /// Bytes for the script's standard input; `/dev/null` if none.
    pub stdin: Option<Vec<u8>>,
    /// After this long the script and what it started are killed; the lane's default (300 s) if none.
    pub timeout: Option<Duration>,
    /// How people are told what ran, where the script itself is longer than what matters of it. No secrets.
    pub title: Option<String>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("parts", &self.parts)
            .field("cwd", &self.cwd)
            .field("env", &self.env)
            .field("umask", &self.umask)
            // may be a secret
            .field("stdin", &self.stdin.as_ref().map(|bytes| format!("{} bytes", bytes.len())))
            .field("timeout", &self.timeout)
            .field("title", &self.title)
            .finish()
    }
}

#[derive(Clone, PartialEq)]
pub enum Part {
    /// Shell syntax, written by us.
    Raw(&'static str),
    /// One word of data, single-quoted on rendering.
    Quoted(String),
    /// One word of secret data, single-quoted on rendering; hidden in `Debug`.
    Secret(Secret),
    /// Shell syntax written by the operator (the text of a `shell` task).
    Operator(String),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Raw(text) => write!(f, "{text:?}"),
            Part::Quoted(text) => write!(f, "quoted {text:?}"),
            Part::Secret(_) => f.write_str("secret"),
            Part::Operator(text) => write!(f, "operator {text:?}"),
        }
    }
}

impl Script {
    pub fn new() -> Self {
        Script::default()
    }
    /// Appends shell syntax; a space is put between parts when rendering.
    pub fn raw(mut self, text: &'static str) -> Self {
        self.parts.push(Part::Raw(text));
        self
    }
    /// Appends one quoted word.
    pub fn arg(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Quoted(text.into()));
        self
    }
    /// Appends several quoted words.
    pub fn args<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.parts.extend(texts.into_iter().map(|text| Part::Quoted(text.into())));
        self
    }
    pub fn secret(mut self, secret: Secret) -> Self {
        self.parts.push(Part::Secret(secret));
        self
    }
    /// Appends the operator's own shell text.
    pub fn operator(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Operator(text.into()));
        self
    }
    pub fn cwd(mut self, path: impl Into<String>) -> Self {
        self.cwd = Some(path.into());
        self
    }
    pub fn env(mut self, name: impl Into<String>, value: Part) -> Self {
        self.env.push((name.into(), value));
        self
    }
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The body as `sh` reads it: parts joined by single spaces, without cwd, env, umask and stdin (the lane adds
    /// those). Contains plaintext secrets: for the wire only.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(&part.render());
        }
        text
    }

    /// The body as people may read it in a failure report: secrets as `********`. Or its title.
    pub fn shown(&self) -> String {
        if let Some(title) = &self.title {
            return title.clone();
        }
        let masked = self.parts.iter().map(|part| match part {
            Part::Secret(_) => "********".to_owned(),
            other => other.render(),
        });
        masked.collect::<Vec<_>>().join(" ")
    }
}

impl Part {
    /// This part as a piece of shell text. Plaintext for secrets.
    pub fn render(&self) -> String {
        match self {
            Part::Raw(text) => (*text).to_owned(),
            Part::Operator(text) => text.clone(),
            Part::Quoted(text) => quote(text),
            Part::Secret(secret) => quote(secret.reveal()),
        }
    }
}

/// One word for a POSIX shell: unchanged if it is plainly safe, single-quoted otherwise.
pub fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Something that changes a host.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Puts bytes at a path, whole or not at all: a temporary file in the same directory, created 0600 → chown →
    /// chmod → validate → compare with `expect` → rename.
    Write(Write),
    /// The same for a file of the controller that is too large to hold in memory twice; streamed on a second channel.
    Upload(Upload),
    /// Copies a file of the host to the controller.
    Fetch { path: String, to: PathBuf },
    /// A script that changes the host. An `rc` other than 0 fails the operation unless `accept` lists it.
    Run { script: Script, accept: Vec<i32> },
    /// Closes and reopens the connection, for new group memberships and reboots.
    Reconnect,
}

impl Operation {
    /// A script of which only `rc` 0 is success.
    pub fn run(script: Script) -> Self {
        Operation::Run { script, accept: vec![0] }
    }
}

/// Where a [`Write`] or [`Upload`] lands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Destination {
    pub path: String,
    /// 0o0000–0o7777. None: the existing file's mode, or 0644 with the host's umask for a new one.
    pub mode: Option<u32>,
    /// User name or number. None: keep the existing owner, or the lane's user.
    pub owner: Option<String>,
    pub group: Option<String>,
    /// What must still be at `path` when the new file takes its place; another content fails the operation.
    pub expect: Expect,
    /// A command in which `%s` is the temporary file's path; a non-zero rc keeps the old file.
    pub validate: Option<String>,
    /// Keep the old file as `path.<unix time>.<pid>~`, as Ansible's `backup: true`.
    pub backup: bool,
}

#[derive(Clone, PartialEq)]
pub struct Write {
    pub to: Destination,
    pub content: Vec<u8>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the content may be a secret
        write!(f, "Write {{ to: {:?}, content: {} bytes }}", self.to, self.content.len())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    pub to: Destination,
    pub from: Freight,
    /// SHA-256 in lowercase hex of what is sent; compared with what arrived.
    pub checksum: String,
}

/// What an [`Upload`] sends from the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum Freight {
    File(PathBuf),
    /// A folder as a tar stream.
    Folder(Context),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Expect {
    #[default]
    Anything,
    Absent,
    /// SHA-256 in lowercase hex.
    Checksum(String),
}

/// What a module decides after seeing the answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// A second round of questions, rarely; the answers are added to [`Observed::more`].
    Ask(Vec<Query>),
    /// The host is already as wanted.
    NoChange(Return),
    Change(Change),
    /// Not yet; look again after this long. `status` says what is being waited for. The module itself gives up by
    /// looking at [`Observed::elapsed`].
    Wait {
        after: Duration,
        status: String,
        look: Look,
    },
}

/// What to ask again before a module plans once more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Look {
    #[default]
    Everything,
    /// Only these questions of [`Module::probe`], by position: nothing that happened changes the other answers, and some
    /// are expensive.
    At(&'static [usize]),
}

impl Look {
    /// The questions, out of all of a probe.
    pub fn of(self, queries: Vec<Query>) -> Vec<Query> {
        match self {
            Look::Everything => queries,
            Look::At(places) => places.iter().filter_map(|place| queries.get(*place).cloned()).collect(),
        }
    }

    /// Puts what was answered this time in its place.
    pub fn renew(self, answers: &mut Vec<Answer>, fresh: Vec<Answer>) {
        match self {
            Look::Everything => *answers = fresh,
            Look::At(places) => {
                for (place, answer) in places.iter().zip(fresh) {
                    if let Some(old) = answers.get_mut(*place) {
                        *old = answer;
                    }
                }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub diff: Vec<Diff>,
    /// Run in this order; the first failure stops.
    pub operations: Vec<Operation>,
    pub then: Then,
    /// What check mode returns. Otherwise the values of [`Module::finish`] are laid over these.
    pub forecast: Return,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Done: hand the operations' outputs to [`Module::finish`].
    Finish,
    /// Look and plan again (bounded by the engine); the task counts as changed.
    Replan(Look),
}

/// Before and after of one thing, for `--diff`. Text is shown as a unified diff.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    pub before_header: String,
    pub after_header: String,
    pub before: String,
    pub after: String,
}

/// What a module returns: Ansible's return values by their names, for `register`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Return {
    pub values: Object,
    /// Variables to add to the host's facts.
    pub facts: Object,
    /// Why nothing happened, or what did, in a few words.
    pub msg: Option<String>,
    /// Overrides `changed` (command-like modules); None: changed exactly if an operation ran.
    pub changed: Option<bool>,
}

impl Return {
    pub fn msg(text: impl Into<String>) -> Self {
        Return { msg: Some(text.into()), ..Return::default() }
    }
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }
    /// These values, and those of the forecast that are not among them. A forecast's message stays behind: it says
    /// what would be.
    pub fn over(mut self, forecast: Return) -> Self {
        for (key, value) in forecast.values {
            self.values.entry(key).or_insert(value);
        }
        for (key, value) in forecast.facts {
            self.facts.entry(key).or_insert(value);
        }
        self.changed = self.changed.or(forecast.changed);
        self
    }
}

/// A task's failure on a host, with everything needed to understand it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// Lowercase, names the thing.
    pub msg: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Return values that go with it: `rc`, `stdout`, `stderr`, `cmd` …
    pub values: Object,
}

impl Failure {
    pub fn new(msg: impl Into<String>) -> Self {
        Failure { msg: msg.into(), ..Failure::default() }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }
    /// A script's failure: `msg`, and `cmd`, `rc`, `stdout`, `stderr` as values.
    pub fn of(msg: impl Into<String>, script: &Script, output: &Output) -> Self {
        Failure::new(msg)
            .with("cmd", script.shown())
            .with("rc", output.rc)
            .with("stdout", output.stdout_text().trim_end())
            .with("stderr", output.stderr_text().trim_end())
    }
}

/// What a module sees when it plans.
pub struct Observed<'a> {
    /// Answers to [`Module::probe`], in its order.
    pub answers: &'a [Answer],
    /// Answers to all [`Plan::Ask`] rounds since the last probe, in order.
    pub more: &'a [Answer],
    /// Since the task's first probe on this host.
    pub elapsed: Duration,
    /// How many [`Change`]s this task has already carried out on this host (after [`Then::Replan`]).
    pub changes: usize,
}

/// One task's work on one host: pure, built from already templated arguments.
pub trait Module: Send + Sync {
    /// The questions to ask first. May be asked ahead of time and thrown away.
    fn probe(&self) -> Vec<Query>;

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure>;

    /// Makes the return value out of the operations' outputs (one per operation; `Write` and friends give an empty
    /// one). Called after [`Then::Finish`].
    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let _ = outputs;
        Ok(Return::default())
    }

    /// Command-like modules have no state to compare with: check mode skips them with this reason.
    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_they_must_be() {
        assert_eq!(quote("a/b-c.d"), "a/b-c.d");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's $5"), r"'it'\''s $5'");
    }

    #[test]
    fn a_secret_is_on_the_wire_but_not_in_reports() {
        let script = Script::new().raw("printf %s").secret(Secret::new("hunter2")).raw("| tee").arg("a b");
        assert_eq!(script.render(), "printf %s hunter2 | tee 'a b'");
        assert_eq!(script.shown(), "printf %s ******** | tee 'a b'");
        let script = script.stdin("hunter2");
        let shown = format!("{script:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
    }
}
