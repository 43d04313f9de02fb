//! `cron`: jobs that the host runs by the clock.
//!
//! ```yaml
//! - name: The nightly dump
//!   cron: {name: nightly dump, minute: 15, hour: 3, job: "/usr/local/bin/dump >/dev/null", user: root, cron_file: dump}
//! ```
//!
//! A job is found again by the comment line `#Ansible: name` above it. Leaves out the order of environment lines.

use serde::Deserialize;

use crate::plan::{
    Change, Diff, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then,
};

use super::args::{self, Mode, State};
use super::attributes::{Attributes, parent};
use super::observed;
use super::place::{self, Content, Manner};
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[Spec { name: "cron", aliases: &[], args: ARGS, free_form: None, build }];

const ARGS: &[&str] = &[
    "name",
    "job",
    "value",
    "minute",
    "hour",
    "day",
    "dom",
    "month",
    "weekday",
    "dow",
    "special_time",
    "user",
    "cron_file",
    "state",
    "env",
    "disabled",
    "backup",
];

#[derive(Deserialize)]
struct Args {
    #[serde(default, deserialize_with = "args::opt_text")]
    name: Option<String>,
    #[serde(default, alias = "value", deserialize_with = "args::opt_text")]
    job: Option<String>,
    #[serde(default = "star", deserialize_with = "args::text")]
    minute: String,
    #[serde(default = "star", deserialize_with = "args::text")]
    hour: String,
    #[serde(default = "star", alias = "dom", deserialize_with = "args::text")]
    day: String,
    #[serde(default = "star", deserialize_with = "args::text")]
    month: String,
    #[serde(default = "star", alias = "dow", deserialize_with = "args::text")]
    weekday: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    special_time: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    user: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    cron_file: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::flag")]
    env: bool,
    #[serde(default, deserialize_with = "args::flag")]
    disabled: bool,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
}

fn star() -> String {
    "*".to_owned()
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(ARGS, args)?;
    if let Some(file) = &args.cron_file {
        let path = if file.contains('/') { args::host_path(file, build)? } else { format!("/etc/cron.d/{file}") };
        args.cron_file = Some(path);
    } else if args.backup {
        return Err(Failure::new("`backup` goes with `cron_file` only"));
    }
    let whole_file = args.state == State::Absent && args.cron_file.is_some();
    if args.name.is_none() && !whole_file {
        return Err(Failure::new("argument `name` is missing"));
    }
    if args.state == State::Present && args.job.is_none() {
        return Err(Failure::new("argument `job` is missing"));
    }
    if args.cron_file.is_some() && args.user.is_none() && args.state == State::Present && !args.env {
        return Err(Failure::new("`cron_file` needs `user`: who the job runs as"));
    }
    let special = ["reboot", "yearly", "annually", "monthly", "weekly", "daily", "hourly"];
    if let Some(time) = args.special_time.as_deref().filter(|time| !special.contains(time)) {
        return Err(Failure::new(format!("`special_time` is one of {}, not {time:?}", special.join(", "))));
    }
    let lines = [args.name.as_deref(), args.job.as_deref().map(|job| job.trim_end_matches(['\r', '\n']))];
    if lines.into_iter().flatten().any(|text| text.contains('\n')) {
        return Err(Failure::new("`name` and `job` must be one line each"));
    }
    Ok(Box::new(args))
}

impl Args {
    fn marker(&self) -> String {
        format!("#Ansible: {}", self.name.as_deref().unwrap_or_default())
    }

    fn line(&self) -> String {
        let job = self.job.as_deref().unwrap_or_default().trim_end_matches(['\r', '\n']);
        if self.env {
            return format!("{}=\"{job}\"", self.name.as_deref().unwrap_or_default());
        }
        let off = if self.disabled { "#" } else { "" };
        let when = match &self.special_time {
            Some(time) => format!("@{time}"),
            None => [&self.minute, &self.hour, &self.day, &self.month, &self.weekday].map(String::as_str).join(" "),
        };
        let who = self.cron_file.as_ref().and(self.user.as_ref()).map(|user| format!(" {user}")).unwrap_or_default();
        format!("{off}{when}{who} {job}")
    }

    fn edited(&self, old: &str) -> String {
        let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
        let present = self.state == State::Present;
        if self.env {
            let start = format!("{}=", self.name.as_deref().unwrap_or_default());
            let at = lines.iter().position(|line| line.starts_with(&start));
            match (at, present) {
                (Some(at), true) => lines[at] = self.line(),
                (Some(at), false) => drop(lines.remove(at)),
                (None, true) => lines.insert(0, self.line()),
                (None, false) => {}
            }
        } else {
            let at = lines.iter().position(|line| *line == self.marker());
            match (at, present) {
                (Some(at), true) if at + 1 < lines.len() => lines[at + 1] = self.line(),
                (Some(_), true) => lines.push(self.line()),
                (Some(at), false) => drop(lines.drain(at..(at + 2).min(lines.len()))),
                (None, true) => lines.extend([self.marker(), self.line()]),
                (None, false) => {}
            }
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn crontab(&self, verb: &'static str) -> Script {
        match &self.user {
            Some(user) => Script::new().raw("crontab -u").arg(user.as_str()).raw(verb),
            None => Script::new().raw("crontab").raw(verb),
        }
    }
}

impl Module for Args {
    fn probe(&self) -> Vec<Query> {
        match &self.cron_file {
            Some(path) => vec![
                Query::Stat { path: path.clone(), follow: false, checksum: true },
                Query::Read { path: path.clone(), limit: 1024 * 1024 },
                Query::Stat { path: parent(path), follow: true, checksum: false },
            ],
            None => vec![Query::Run(self.crontab("-l"))],
        }
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let returned = Return::default();
        let change = |operations, diff| {
            Ok(Plan::Change(Change { diff, operations, then: Then::Finish, forecast: returned.clone() }))
        };
        let Some(path) = &self.cron_file else {
            let output = observed::output(observed.answers, 0, "crontab")?;
            if !output.ok()
                && !output.stderr_text().contains("no crontab")
                && !output.stderr_text().contains("can't open")
            {
                let why =
                    if output.rc == 127 { "cron is not installed on the host" } else { "the crontab cannot be read" };
                return Err(Failure::of(why, &self.crontab("-l"), output).hint("install the package cron first"));
            }
            let old = output.stdout_text();
            let new = self.edited(&old);
            if new == old {
                return Ok(Plan::NoChange(Return::msg("already as wanted")));
            }
            let script = self.crontab("-").stdin(new.clone());
            let name = format!("crontab of {}", self.user.as_deref().unwrap_or("the login user"));
            let diff = Diff { before_header: name.clone(), after_header: name, before: old, after: new };
            return change(vec![Operation::run(script)], vec![diff]);
        };
        let stat = observed::stat(observed.answers, 0, path)?;
        let bytes = observed::bytes(observed.answers, 1, path)?;
        if self.state == State::Absent && (self.name.is_none() || bytes.is_none()) {
            if stat.is_none() {
                return Ok(Plan::NoChange(Return::msg("already absent")));
            }
            return change(vec![Operation::run(Script::new().raw("rm -f --").arg(path.as_str()))], Vec::new());
        }
        place::need_directory(path, observed::stat(observed.answers, 2, path)?)?;
        let old = String::from_utf8_lossy(bytes.unwrap_or_default());
        let new = self.edited(&old);
        // cron ignores files that others may write
        let mode = stat.is_none().then_some(Mode::Octal(0o644));
        let attributes = Attributes { mode, ..Attributes::default() };
        let manner = Manner { attributes, backup: self.backup && stat.is_some(), validate: None };
        let due = place::due(path, &Content::of(new.as_str()), &manner, stat, bytes)?;
        match due.operations.is_empty() {
            true => Ok(Plan::NoChange(Return::msg("already as wanted"))),
            false => change(due.operations, due.diff),
        }
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        Ok(place::finished(outputs))
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::{build, calls, file_stat};
    use crate::plan::{Answer, FileKind, Operation, Output, Plan};
    use serde_json::{Value, json};

    /// The user's crontab after the change; `None` if there is none.
    fn crontab(args: Value, old: &str) -> Option<String> {
        let module = build("cron", args).unwrap();
        let output = match old {
            "" => Output { rc: 1, stdout: Vec::new(), stderr: b"no crontab for root".to_vec() },
            text => Output { rc: 0, stdout: text.into(), stderr: Vec::new() },
        };
        let answers = [Answer::Output(output)];
        let observed =
            crate::plan::Observed { answers: &answers, more: &[], elapsed: std::time::Duration::ZERO, changes: 0 };
        match module.plan(&observed).unwrap() {
            Plan::Change(change) => match &change.operations[0] {
                Operation::Run { script, .. } => Some(String::from_utf8(script.stdin.clone().unwrap()).unwrap()),
                other => panic!("{other:?}"),
            },
            _ => None,
        }
    }

    #[test]
    fn crontabs() {
        let job = json!({"name": "dump", "minute": "5", "job": "run it"});
        let line = "#Ansible: dump\n5 * * * * run it\n";
        assert_eq!(crontab(job.clone(), "").as_deref(), Some(line));
        assert_eq!(crontab(job.clone(), line), None);
        assert_eq!(
            crontab(job, "a\n#Ansible: dump\n0 * * * * old\nb\n").unwrap(),
            "a\n#Ansible: dump\n5 * * * * run it\nb\n"
        );
        assert_eq!(crontab(json!({"name": "dump", "state": "absent"}), line).as_deref(), Some(""));
        assert_eq!(
            crontab(json!({"name": "dump", "job": "x", "special_time": "daily", "disabled": true}), "").unwrap(),
            "#Ansible: dump\n#@daily x\n"
        );
        assert_eq!(
            crontab(json!({"name": "MAILTO", "env": true, "job": "me@x"}), "a\n").unwrap(),
            "MAILTO=\"me@x\"\na\n"
        );
        let folder = Answer::Stat(Some(file_stat(FileKind::Directory)));
        let file = [Answer::Stat(Some(file_stat(FileKind::File))), Answer::Bytes(Some(Vec::new())), folder];
        let args = json!({"name": "dump", "job": "x", "user": "root", "cron_file": "dump", "hour": 3});
        assert_eq!(
            calls("cron", args, &file, &[]).unwrap(),
            ["write /etc/cron.d/dump:\n#Ansible: dump\n* 3 * * * root x\n"]
        );
        assert_eq!(
            calls("cron", json!({"cron_file": "dump", "state": "absent"}), &file, &[]).unwrap(),
            ["rm -f -- /etc/cron.d/dump"]
        );
        for wrong in [
            json!({"name": "x"}),
            json!({"job": "x"}),
            json!({"name": "x", "job": "a\nb"}),
            json!({"name": "x", "job": "y", "special_time": "often"}),
        ] {
            assert!(build("cron", wrong.clone()).is_err(), "{wrong}");
        }
    }
}
