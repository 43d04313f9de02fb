//! `wait_for`: not going on before something is so.
//!
//! ```yaml
//! - name: The database answers
//!   wait_for: {port: 5432, timeout: 60}
//!
//! - name: The first boot is over
//!   wait_for: {path: /var/log/boot-finished, search_regex: "done"}
//! ```
//!
//! The looking is done on the host, every `sleep` seconds; the waiting is not, so a long wait holds up nothing but its
//! own task. Leaves out `state: drained` and patterns in what a port says.

use std::time::Duration;

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::plan::{Failure, Look, Module, Object, Observed, Plan, Query, Return, Script};

use super::args;
use super::observed;
use super::pattern;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[Spec { name: "wait_for", aliases: &[], args: ARGS, free_form: None, build }];

const ARGS: &[&str] =
    &["host", "port", "path", "search_regex", "state", "delay", "sleep", "timeout", "connect_timeout", "msg"];

/// A pattern is looked for in files up to this size.
const LIMIT: u64 = 32 * 1024 * 1024;

#[derive(Deserialize)]
struct Args {
    #[serde(default = "localhost", deserialize_with = "args::text")]
    host: String,
    #[serde(default, deserialize_with = "args::opt_count")]
    port: Option<u64>,
    #[serde(default, deserialize_with = "args::opt_text")]
    path: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    search_regex: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::count")]
    delay: u64,
    #[serde(default = "one", deserialize_with = "args::count")]
    sleep: u64,
    #[serde(default = "five_minutes", deserialize_with = "args::count")]
    timeout: u64,
    #[serde(default = "five", deserialize_with = "args::count")]
    connect_timeout: u64,
    #[serde(default, deserialize_with = "args::opt_text")]
    msg: Option<String>,
}

fn localhost() -> String {
    "127.0.0.1".to_owned()
}

fn one() -> u64 {
    1
}

fn five() -> u64 {
    5
}

fn five_minutes() -> u64 {
    300
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    #[serde(alias = "present")]
    Started,
    #[serde(alias = "absent")]
    Stopped,
    Drained,
}

struct WaitFor {
    args: Args,
    regex: Option<Regex>,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(ARGS, args)?;
    if args.state == State::Drained {
        return Err(Failure::new("`state: drained` is not supported").hint("use `shell: ss -Htn …` with `until`"));
    }
    if args.port.is_some() && args.path.is_some() {
        return Err(Failure::new("`port` and `path` exclude each other"));
    }
    if args.search_regex.is_some() && args.path.is_none() {
        return Err(Failure::new("`search_regex` is supported with `path` only"));
    }
    if args.port.is_some_and(|port| port == 0 || port > 65535) {
        return Err(Failure::new("`port` is a number from 1 to 65535"));
    }
    args.path = args.path.map(|path| args::host_path(&path, build)).transpose()?;
    let regex = args.search_regex.as_deref().map(|text| pattern::compile(text, "m")).transpose()?;
    Ok(Box::new(WaitFor { args, regex }))
}

impl Module for WaitFor {
    fn probe(&self) -> Vec<Query> {
        match (&self.args.path, self.args.port, &self.regex) {
            (Some(path), _, Some(_)) => vec![Query::Read { path: path.clone(), limit: LIMIT }],
            (Some(path), _, None) => vec![Query::Stat { path: path.clone(), follow: true, checksum: false }],
            (None, Some(port), _) => vec![Query::Run(connect(&self.args.host, port, self.args.connect_timeout))],
            (None, None, _) => Vec::new(),
        }
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let args = &self.args;
        let wait = |after: Duration| {
            Ok(Plan::Wait { after, status: format!("waiting for {}", self.what()), look: Look::Everything })
        };
        let delay = Duration::from_secs(args.delay);
        if observed.elapsed < delay {
            return wait(delay - observed.elapsed);
        }
        let mut returned = Return::default().with("elapsed", observed.elapsed.as_secs()).with("state", self.state());
        let there = match (&args.path, args.port, &self.regex) {
            (Some(path), _, Some(regex)) => {
                let bytes = observed::bytes(observed.answers, 0, path)?;
                let text = bytes.map(String::from_utf8_lossy);
                match text.as_deref().map(|text| pattern::captures(regex, text)).transpose()?.flatten() {
                    Some(found) => {
                        let groups: Vec<Value> =
                            (1..found.len()).map(|at| found.get(at).map(|group| group.as_str()).into()).collect();
                        returned = returned.with("match_groups", groups);
                        true
                    }
                    None => false,
                }
            }
            (Some(path), _, None) => observed::stat(observed.answers, 0, path)?.is_some(),
            (None, Some(port), _) => {
                let output = observed::output(observed.answers, 0, "wait_for")?;
                match output.stdout_text().trim() {
                    "open" => true,
                    "closed" => false,
                    _ => {
                        return Err(Failure::new(format!("no way to connect to {}:{port} from the host", args.host))
                            .hint("install bash, netcat or curl there"));
                    }
                }
            }
            // nothing to look at: the time itself is what is waited for
            (None, None, _) => observed.elapsed >= Duration::from_secs(args.timeout),
        };
        for (name, value) in [("path", args.path.clone().map(Value::from)), ("port", args.port.map(Value::from))] {
            if let Some(value) = value {
                returned = returned.with(name, value);
            }
        }
        if there == (args.state == State::Started) {
            return Ok(Plan::NoChange(Return {
                msg: Some(format!("{} is {}", self.what(), self.state())),
                ..returned
            }));
        }
        let left = Duration::from_secs(args.timeout).saturating_sub(observed.elapsed);
        if left.is_zero() {
            let text = format!("timeout of {} s when waiting for {} to be {}", args.timeout, self.what(), self.state());
            let failure = Failure::new(args.msg.clone().unwrap_or(text));
            return Err(failure.with("elapsed", observed.elapsed.as_secs()));
        }
        wait(Duration::from_secs(args.sleep.max(1)).min(left))
    }

    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        Some("what would be waited for is not brought about in check mode")
    }
}

impl WaitFor {
    fn state(&self) -> &'static str {
        if self.args.state == State::Started { "started" } else { "stopped" }
    }

    fn what(&self) -> String {
        match (&self.args.path, self.args.port, &self.args.search_regex) {
            (Some(path), _, Some(regex)) => format!("{regex:?} in {path}"),
            (Some(path), ..) => path.clone(),
            (None, Some(port), _) => format!("{}:{port}", self.args.host),
            (None, None, _) => format!("{} s", self.args.timeout),
        }
    }
}

/// Says `open`, `closed` or `unknown`, by whatever there is: bash, the kernel's table (for the host itself), nc or curl.
pub(super) fn connect(host: &str, port: u64, timeout: u64) -> Script {
    let (port, timeout) = (port.to_string(), timeout.max(1).to_string());
    let hex = format!("{:04X}", port.parse::<u16>().unwrap_or_default());
    Script::new()
        .raw("set --")
        .arg(host)
        .arg(port)
        .arg(timeout)
        .arg(hex)
        .raw("; h=$1 p=$2 t=$3 x=$4; say() { if [ \"$1\" = 0 ]; then echo open; else echo closed; fi; exit 0; }\n")
        .raw(CONNECT)
}

/// Ends the shell that runs it. `$h`, `$p`, `$t`, `$x`: host, port, seconds, port in hex; `say` is told 0 for open.
pub(super) const CONNECT: &str = "if command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; then
  timeout \"$t\" bash -c 'exec 3<>\"/dev/tcp/$0/$1\"' \"$h\" \"$p\" 2>/dev/null; say $?
fi
case $h in 127.*|localhost|::1|0.0.0.0) if [ -r /proc/net/tcp ]; then
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q \":$x [0-9A-F]*:0000 0A \"; say $?
fi;; esac
if command -v nc >/dev/null 2>&1; then nc -z -w \"$t\" \"$h\" \"$p\" </dev/null >/dev/null 2>&1; say $?; fi
if command -v curl >/dev/null 2>&1; then
  curl -q -s --connect-timeout \"$t\" --max-time \"$t\" \"telnet://$h:$p\" </dev/null >/dev/null 2>&1
  rc=$?; if [ $rc = 7 ] || [ $rc = 6 ]; then say 1; fi; say 0
fi
echo unknown";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{build, said};
    use crate::plan::Answer;
    use serde_json::json;

    fn plan(args: Value, answer: Option<Answer>, elapsed: u64) -> Result<String, String> {
        let module = build("wait_for", args).map_err(|failure| failure.msg)?;
        let answers: Vec<Answer> = answer.into_iter().collect();
        let observed = Observed { answers: &answers, more: &[], elapsed: Duration::from_secs(elapsed), changes: 0 };
        match module.plan(&observed).map_err(|failure| failure.msg)? {
            Plan::NoChange(_) => Ok("there".to_owned()),
            Plan::Wait { after, .. } => Ok(format!("wait {}", after.as_secs())),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn waits_until_it_is_so_or_too_late() {
        let port = json!({"port": "80", "timeout": 10});
        let gone = json!({"port": 80, "state": "stopped", "timeout": 10});
        let path = json!({"path": "/x", "search_regex": "^done$"});
        let table = [
            (port.clone(), Some(said("open\n")), 0, Ok("there")),
            (port.clone(), Some(said("closed\n")), 3, Ok("wait 1")),
            (port.clone(), Some(said("closed\n")), 10, Err("timeout of 10 s")),
            (port, Some(said("unknown\n")), 0, Err("no way to connect")),
            (gone.clone(), Some(said("closed\n")), 0, Ok("there")),
            (gone, Some(said("open\n")), 0, Ok("wait 1")),
            (json!({"port": 80, "delay": 5}), Some(said("open\n")), 2, Ok("wait 3")),
            (path.clone(), Some(Answer::Bytes(Some(b"a\ndone\n".to_vec()))), 0, Ok("there")),
            (path.clone(), Some(Answer::Bytes(Some(b"undone\n".to_vec()))), 0, Ok("wait 1")),
            (path, Some(Answer::Bytes(None)), 0, Ok("wait 1")),
            (json!({"path": "/x", "state": "absent"}), Some(Answer::Stat(None)), 0, Ok("there")),
            (json!({"timeout": 4}), None, 1, Ok("wait 1")),
            (json!({"timeout": 4}), None, 4, Ok("there")),
            (json!({"port": 1, "path": "/x"}), None, 0, Err("exclude")),
            (json!({"port": 1, "state": "drained"}), None, 0, Err("drained")),
        ];
        for (args, answer, elapsed, expected) in table {
            match (plan(args.clone(), answer, elapsed), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{args}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{args}: {found}"),
                (found, expected) => panic!("{args}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
