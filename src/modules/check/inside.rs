//! Looks that are a command: in a container, or on the host.

use fancy_regex::Regex;
use serde::Deserialize;

use super::super::docker_container::{Named, is_name};
use super::super::{args, pattern};
use super::{From, brief};
use crate::plan::{Failure, Object, Output, Return, Secret};

/// The exit code that means "no such container runs".
pub(super) const NO_CONTAINER: i32 = 86;

/// A command in a container of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    pub service: String,
    /// Read by the container's `sh`.
    pub command: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    pub user: Option<String>,
    /// Exported to it.
    #[serde(default)]
    pub env: Object,
    /// The exit code that is right.
    #[serde(default, deserialize_with = "args::int")]
    pub rc: i64,
    /// Must be in what it prints.
    #[serde(default)]
    pub stdout: Option<String>,
    /// A regular expression that must match what it prints.
    #[serde(default)]
    pub matches: Option<String>,
}

/// A `sh` script of the package; 0 is right. Its first argument is the base URL if one was given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub file: String,
    /// What the file holds; put in when the package is rendered.
    #[serde(default)]
    pub text: String,
    #[serde(default = "host")]
    pub from: From,
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    pub user: Option<String>,
    #[serde(default)]
    pub env: Object,
    #[serde(default, deserialize_with = "args::list")]
    pub args: Vec<String>,
}

fn host() -> From {
    From::Host
}

/// A port that must be open, or closed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// The host itself if not given.
    #[serde(default)]
    pub host: Option<String>,
    #[serde(deserialize_with = "args::count")]
    pub port: u64,
    #[serde(default)]
    pub from: From,
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pub open: bool,
}

fn yes() -> bool {
    true
}

/// Hands a text to `sh`: on the host, or inside a container of a service. Nothing of the text is in a process list.
pub(super) fn shell(
    place: Option<(&str, &str)>,
    user: Option<&str>,
    inner: crate::plan::Script,
) -> crate::plan::Script {
    let script = match place {
        None => crate::plan::Script::new().raw("exec sh -s"),
        Some((project, service)) => {
            let named = Named::Service { project: project.to_owned(), service: service.to_owned() };
            let missing = format!("no running {named}");
            let script = named.find().raw("[ -n \"$c\" ] || { echo").arg(missing).raw(">&2; exit 86; }\n");
            let script = script.raw("exec docker exec -i");
            let script = match user {
                Some(user) => script.raw("--user").arg(user),
                None => script,
            };
            script.raw("\"$c\" sh -s")
        }
    };
    script.stdin(inner.render().into_bytes())
}

/// Exports for a script; what is no name is left out, it was refused before.
pub(super) fn exports(env: &Object) -> crate::plan::Script {
    let mut script = crate::plan::Script::new();
    for (name, value) in env.iter().filter(|(name, _)| is_name(name)) {
        script = script.raw("export").secret(Secret::new(format!("{name}={}", args::as_text(value)))).raw("\n");
    }
    script
}

/// The whole text is read before anything of it runs, so that no command can eat the rest from standard input.
fn grouped(script: crate::plan::Script, text: &str) -> crate::plan::Script {
    script.raw("{\n").operator(text).raw("\n} </dev/null\n")
}

pub(super) fn pattern(text: Option<&str>) -> Result<Option<Regex>, String> {
    text.map(|text| pattern::compile(text, "m")).transpose().map_err(|failure| failure.msg)
}

/// 0 is right; what it printed last says why it is not.
pub fn ended_well(output: &Output) -> Result<Return, Failure> {
    let (stdout, stderr) = (output.stdout_text(), output.stderr_text());
    let last = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(brief);
    let said = if output.ok() { last(&stdout) } else { last(&stderr).or_else(|| last(&stdout)) };
    match output.ok() {
        true => Ok(Return::msg(said.unwrap_or_else(|| "exit code 0".to_owned()))),
        false => {
            let why = said.map(|said| format!(": {said}")).unwrap_or_default();
            Err(Failure::new(format!("exit code {}{why}", output.rc)).with("rc", output.rc))
        }
    }
}

impl Exec {
    pub(super) fn script(&self, project: &str) -> Option<crate::plan::Script> {
        let inner = grouped(exports(&self.env), &self.command);
        Some(shell(Some((project, &self.service)), self.user.as_deref(), inner))
    }

    pub(super) fn judge(&self, output: &Output) -> Result<Return, Failure> {
        let printed = output.stdout_text();
        if i64::from(output.rc) != self.rc {
            let said = if output.stderr.is_empty() { brief(&printed) } else { brief(&output.stderr_text()) };
            let text = format!("exit code {} instead of {}: {said}", output.rc, self.rc);
            return Err(Failure::new(text.trim_end_matches([':', ' '])).with("rc", output.rc));
        }
        let missing = self.stdout.as_deref().filter(|wanted| !printed.contains(*wanted));
        let wrong = missing.map(|wanted| format!("printed {:?}, without `{wanted}`", brief(&printed)));
        let wrong = match (wrong, pattern(self.matches.as_deref()).map_err(Failure::new)?) {
            (None, Some(regex)) if !pattern::search(&regex, &printed)? => {
                Some(format!("printed {:?}, which `{}` does not match", brief(&printed), regex.as_str()))
            }
            (wrong, _) => wrong,
        };
        match wrong {
            Some(wrong) => Err(Failure::new(wrong).with("rc", output.rc)),
            None => Ok(Return::msg(match brief(&printed).as_str() {
                "" => format!("exit code {}", output.rc),
                printed => printed.to_owned(),
            })),
        }
    }
}

impl Script {
    /// What `sh -s` reads: the settings, the arguments, the file.
    pub fn inner(&self) -> crate::plan::Script {
        let script = exports(&self.env).raw("set --").args(self.args.iter().cloned()).raw("\n");
        grouped(script, &self.text)
    }

    pub(super) fn script(&self, project: &str) -> Option<crate::plan::Script> {
        match (self.from, &self.service) {
            (From::Operator, _) => None,
            (From::Container, Some(service)) => {
                Some(shell(Some((project, service)), self.user.as_deref(), self.inner()))
            }
            (From::Host | From::Container, _) => Some(shell(None, None, self.inner())),
        }
    }
}

impl Tcp {
    /// `example.org:5432`
    fn target(&self) -> String {
        format!("{}:{}", self.host.as_deref().unwrap_or("127.0.0.1"), self.port)
    }

    pub(super) fn script(&self, project: &str, timeout: u64) -> Option<crate::plan::Script> {
        let host = self.host.as_deref().unwrap_or("127.0.0.1");
        let inner = super::super::net::connect(host, self.port, timeout);
        match (self.from, &self.service) {
            (From::Operator, _) => None,
            (From::Container, Some(service)) => Some(shell(Some((project, service)), None, inner)),
            (From::Host | From::Container, _) => Some(inner),
        }
    }

    pub(super) fn judge(&self, output: &Output) -> Result<Return, Failure> {
        match output.stdout_text().trim() {
            "open" => self.verdict(true, &self.target()),
            "closed" => self.verdict(false, &self.target()),
            _ => Err(Failure::new(format!("there is nothing to connect to {} with", self.target()))
                .hint("bash, nc or curl is needed where the check is made")),
        }
    }

    /// Open or closed, and whether that is right.
    pub fn verdict(&self, open: bool, target: &str) -> Result<Return, Failure> {
        let word = if open { "open" } else { "closed" };
        match open == self.open {
            true => Ok(Return::msg(format!("{target} is {word}"))),
            false if open => Err(Failure::new(format!("{target} is open, and should not be"))
                .hint("bind the port to 127.0.0.1 or take it out of `ports`: Docker publishes past the firewall")),
            false => Err(Failure::new(format!("{target} does not accept connections"))),
        }
    }
}
