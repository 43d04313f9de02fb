//! `command`, `shell`, `raw` and `script`: the operator's own words, run on the host.
//!
//! ```yaml
//! - name: The site's first build
//!   command: {cmd: make site, chdir: /srv/site, creates: /srv/site/public}
//!
//! - name: How many are waiting
//!   shell: "ls /var/spool/app | wc -l"
//!   register: waiting
//!   changed_when: false
//!
//! - name: Whatever it takes on a small system
//!   raw: uname -a
//!
//! - name: Prepare the disk
//!   script: {cmd: prepare-disk.sh /dev/vdb, creates: /srv/data/lost+found}
//! ```
//!
//! The words travel on the lane's standard input and are evaluated in a subshell of their own, so a `shell` text is
//! in no process list. Leaves out `start`, `end` and `delta`: the host's clock is not asked.

use serde::Deserialize;

use crate::plan::{
    Change, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then, quote,
};

use super::args;
use super::attributes::{base_name, join};
use super::observed;
use super::{Build, LocalKind, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "command", aliases: &[], args: COMMAND, free_form: Some("_raw_params"), build: build_command },
    Spec { name: "shell", aliases: &[], args: SHELL, free_form: Some("_raw_params"), build: build_shell },
    Spec { name: "raw", aliases: &[], args: RAW, free_form: Some("_raw_params"), build: build_raw },
    Spec { name: "script", aliases: &[], args: SCRIPT, free_form: Some("_raw_params"), build: build_script },
];

const COMMAND: &[&str] = &[
    "_raw_params",
    "cmd",
    "argv",
    "chdir",
    "creates",
    "removes",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
    "expand_argument_vars",
    "warn",
];
const SHELL: &[&str] = &[
    "_raw_params",
    "cmd",
    "chdir",
    "creates",
    "removes",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
    "executable",
    "warn",
];
const RAW: &[&str] = &["_raw_params", "executable"];
const SCRIPT: &[&str] = &["_raw_params", "cmd", "chdir", "creates", "removes", "executable"];

/// A command may run this long unless the task says otherwise by `timeout`.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Ends a `shell` text that is handed to another shell than the lane's.
const END: &str = "PROVISION_END_OF_TEXT\n";

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "_raw_params", deserialize_with = "args::opt_text")]
    cmd: Option<String>,
    #[serde(default, deserialize_with = "args::opt_list")]
    argv: Option<Vec<String>>,
    #[serde(default, deserialize_with = "args::opt_text")]
    chdir: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    creates: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    removes: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    stdin: Option<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    stdin_add_newline: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    strip_empty_ends: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    expand_argument_vars: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    executable: Option<String>,
}

fn yes() -> bool {
    true
}

fn build_command(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(COMMAND, args)?;
    let words = match (args.cmd.take(), args.argv.take()) {
        (Some(_), Some(_)) => return Err(Failure::new("`cmd` and `argv` exclude each other")),
        (Some(cmd), None) => shlex::split(&cmd).ok_or_else(|| {
            Failure::new(format!("no command can be read out of {cmd:?}")).hint("is a quote left open?")
        })?,
        (None, argv) => argv.unwrap_or_default(),
    };
    if words.is_empty() {
        return Err(Failure::new("no command was given"));
    }
    // exec: the program of that name, never the shell's own builtin
    let mut script = Script::new().raw("exec");
    for word in &words {
        script = match args.expand_argument_vars && word.contains('$') {
            true => script.operator(expanding(word)),
            false => script.arg(word.as_str()),
        };
    }
    Ok(Box::new(Task::new(args, script, words.into(), build)?))
}

fn build_shell(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(SHELL, args)?;
    let Some(text) = args.cmd.take().filter(|text| !text.trim().is_empty()) else {
        return Err(Failure::new("no command was given"));
    };
    let script = evaluated(&text, args.executable.take());
    Ok(Box::new(Task::new(args, script, text.into(), build)?))
}

fn build_raw(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(RAW, args)?;
    let text = args.cmd.take().unwrap_or_default();
    let script = evaluated(&text, args.executable.take());
    Ok(Box::new(Task::new(args, script, text.into(), build)?))
}

fn build_script(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(SCRIPT, args)?;
    let text = args.cmd.take().unwrap_or_default();
    let words = shlex::split(&text).unwrap_or_default();
    let [name, rest @ ..] = words.as_slice() else { return Err(Failure::new("no script was named")) };
    let path = build.local.find(LocalKind::Files, name)?;
    let bytes = build.local.read(&path)?;
    let template = format!("/tmp/.provision-{}.XXXXXX", base_name(name));
    let mut script = Script::new().raw("umask 077; t=$(mktemp").arg(template);
    script = script.raw(") && trap 'rm -f \"$t\"' EXIT && cat > \"$t\" && chmod 700 \"$t\" && ");
    script = match args.executable.take() {
        Some(executable) => script.args(shlex::split(&executable).unwrap_or_default()),
        None => script,
    };
    script = script.raw("\"$t\"").args(rest).raw("</dev/null");
    script.stdin = Some(bytes);
    Ok(Box::new(Task::new(args, script, text.into(), build)?))
}

/// The operator's text in a subshell of the lane's shell, or handed to another shell without showing it in `ps`.
fn evaluated(text: &str, executable: Option<String>) -> Script {
    match executable {
        None => Script::new().operator(text),
        Some(executable) => Script::new()
            .raw("exec")
            .arg(executable)
            .raw("/dev/fd/3 3<<'PROVISION_END_OF_TEXT'\n")
            .operator(format!("{}\n", text.trim_end_matches('\n')))
            .operator(END),
    }
}

/// A word in which the host's shell fills in `$NAME` and `${NAME}` and nothing else; unknown names stay as they are.
fn expanding(word: &str) -> String {
    let mut text = String::from("\"");
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '$' {
            if matches!(c, '"' | '\\' | '`') {
                text.push('\\');
            }
            text.push(c);
            continue;
        }
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None => rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())),
        };
        let variable = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match variable {
            true => {
                text.push_str(&format!("${{{name}-\\${name}}}"));
                rest = after;
            }
            false => text.push_str("\\$"),
        }
    }
    text.push('"');
    text
}

struct Task {
    script: Script,
    /// `cmd` as it is returned: a string for shells, the words for `command`.
    shown: serde_json::Value,
    creates: Option<String>,
    removes: Option<String>,
    strip: bool,
}

impl Task {
    fn new(args: Args, mut script: Script, shown: serde_json::Value, build: &Build<'_>) -> Result<Self, Failure> {
        let directory = args.chdir.map(|path| args::host_path(&path, build)).transpose()?;
        let from_directory = |path: String| -> Result<String, Failure> {
            let path = args::host_path(&path, build)?;
            Ok(match &directory {
                Some(directory) if !path.starts_with('/') => join(directory, &path),
                _ => path,
            })
        };
        let creates = args.creates.map(from_directory).transpose()?;
        let removes = args.removes.map(from_directory).transpose()?;
        script.cwd = directory;
        script.timeout = Some(PATIENCE);
        if let Some(mut stdin) = args.stdin {
            if args.stdin_add_newline {
                stdin.push('\n');
            }
            script.stdin = Some(stdin.into_bytes());
        }
        Ok(Task { script, shown, creates, removes, strip: args.strip_empty_ends })
    }

    fn not_run(&self, why: String) -> Plan {
        let returned = Return::default()
            .with("rc", 0)
            .with("cmd", self.shown.clone())
            .with("stdout", format!("skipped, since {why}"));
        Plan::NoChange(Return { msg: Some(format!("did not run the command since {why}")), ..returned })
    }
}

/// Is there a file of this name, or one that fits this pattern?
fn there(path: &str) -> Query {
    let pattern: String = path
        .split_inclusive(['*', '?', '[', ']'])
        .map(|piece| match piece.char_indices().next_back() {
            Some((at, c)) if "*?[]".contains(c) => {
                format!("{}{c}", if at > 0 { quote(&piece[..at]) } else { String::new() })
            }
            _ => quote(piece),
        })
        .collect();
    Query::Run(
        Script::new()
            .raw("for f in")
            .operator(pattern)
            .raw("; do [ -e \"$f\" ] || [ -L \"$f\" ] && echo yes && break; done; :"),
    )
}

impl Module for Task {
    fn probe(&self) -> Vec<Query> {
        self.creates.iter().chain(&self.removes).map(|path| there(path)).collect()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = |at| {
            Ok::<_, Failure>(observed::output(observed.answers, at, "creates/removes")?.stdout_text().contains("yes"))
        };
        if let Some(path) = &self.creates
            && found(0)?
        {
            return Ok(self.not_run(format!("{path} exists")));
        }
        if let Some(path) = &self.removes
            && !found(usize::from(self.creates.is_some()))?
        {
            return Ok(self.not_run(format!("{path} does not exist")));
        }
        Ok(Plan::Change(Change {
            diff: Vec::new(),
            // every exit code comes back as a result, so that `failed_when` can judge it
            operations: vec![Operation::Run { script: self.script.clone(), accept: (0..=255).collect() }],
            then: Then::Finish,
            forecast: Return { msg: Some("the command would run".to_owned()), ..Return::default() }
                .with("cmd", self.shown.clone())
                .with("rc", 0),
        }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let Some(output) = outputs.last() else { return Err(Failure::new("the command left no result")) };
        let strip = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            match self.strip {
                true => text.trim_end_matches(['\r', '\n']).to_owned(),
                false => text.into_owned(),
            }
        };
        let (stdout, stderr) = (strip(&output.stdout), strip(&output.stderr));
        let mut values = Object::new();
        values.insert("cmd".to_owned(), self.shown.clone());
        values.insert("rc".to_owned(), output.rc.into());
        values.insert("stdout_lines".to_owned(), lines(&stdout));
        values.insert("stderr_lines".to_owned(), lines(&stderr));
        values.insert("stdout".to_owned(), stdout.into());
        values.insert("stderr".to_owned(), stderr.into());
        match output.rc {
            0 => Ok(Return { values, msg: Some(String::new()), ..Return::default() }),
            rc => {
                values.insert("changed".to_owned(), true.into());
                Err(Failure { msg: "non-zero return code".to_owned(), hint: hint(rc), values })
            }
        }
    }

    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        match self.creates.is_none() && self.removes.is_none() {
            true => Some("a command would run, and what it does is not known beforehand"),
            false => None,
        }
    }
}

/// Python's `splitlines`.
fn lines(text: &str) -> serde_json::Value {
    text.lines().map(serde_json::Value::from).collect()
}

fn hint(rc: i32) -> Option<String> {
    match rc {
        126 => Some("126: it is there but cannot be executed".to_owned()),
        127 => Some("127: there is no such command on the host".to_owned()),
        129.. => Some(format!("{rc}: it was ended by signal {}", rc - 128)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_are_expanded() {
        assert_eq!(expanding("$HOME/a"), "\"${HOME-\\$HOME}/a\"");
        assert_eq!(expanding("${HOME}b"), "\"${HOME-\\$HOME}b\"");
        assert_eq!(expanding("$(id) `id` $5 a\"b\\"), "\"\\$(id) \\`id\\` \\$5 a\\\"b\\\\\"");
    }
}
