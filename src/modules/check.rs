//! `service_check`: is a service as its package says that it should be?
//!
//! ```yaml
//! - name: The API answers from the host
//!   service_check:
//!     project: versatile-shop
//!     check: {name: health, http: {url: "http://127.0.0.1:8000/health", from: host, json: {status: ok}}}
//!
//! - name: The application's user may read
//!   service_check:
//!     project: versatile-shop
//!     check: {name: orders, sql: {engine: postgres, service: db, user: shop, password: "{{ DB_PASSWORD }}", database: shop, query: "SELECT 1", value: 1}}
//! ```
//!
//! Looks from the host and from inside of containers; what is looked at from the operator's side is done by the action
//! `outside_check`, which reads the same descriptions ([`Check`]). What a look needs (passwords, headers, bodies)
//! travels on standard input, into the container too. A check with `side_effects` is an operation, everything else a
//! question, so check mode asks it. Leaves out waiting: a check says how things are now.

use serde::Deserialize;
use serde_json::Value;

use super::{Build, Spec, args, typed};
use crate::plan::{Answer, Change, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Then};

mod containers;
mod databases;
mod http;
mod inside;
mod logs;
mod mail;

pub use containers::Container;
pub use databases::{PgIsReady, RedisPing, Sql};
pub use http::{Answered, Http};
pub use inside::{Exec, Script, Tcp, ended_well};
pub use logs::Log;
pub use mail::Smtp;

pub const FAMILY: &[Spec] =
    &[Spec { name: "service_check", aliases: &[], args: &["check", "project"], free_form: None, build }];

/// One entry of a manifest's `checks`, with its templates rendered.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Check {
    pub name: String,
    /// The modes in which it is made; none: in all. `first`: by the deployment that installs the service, and never again.
    pub when: Vec<String>,
    pub severity: Severity,
    /// It changes something or costs something: made only when asked for.
    pub side_effects: bool,
    /// Seconds.
    pub timeout: u64,
    pub look: Look,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[default]
    Critical,
    /// Told, but the service counts as well.
    Warning,
}

/// Where a look is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    #[default]
    Operator,
    Host,
    /// Inside a container of `service`.
    Container,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Look {
    Http(Box<Http>),
    Tcp(Tcp),
    Exec(Exec),
    PgIsReady(PgIsReady),
    Sql(Sql),
    RedisPing(RedisPing),
    Container(Container),
    Log(Log),
    Smtp(Smtp),
    Script(Script),
    Cert(Cert),
    Dns(Dns),
}

/// A certificate as a visitor gets it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cert {
    pub host: String,
    #[serde(default = "https", deserialize_with = "args::count")]
    pub port: u64,
    /// Must be in the issuer's name.
    #[serde(default)]
    pub issuer: Option<String>,
    /// It must be good for this many days more.
    #[serde(default = "two_weeks", deserialize_with = "args::count")]
    pub days: u64,
    /// A name that it must be for; the host if not given.
    #[serde(default)]
    pub san: Option<String>,
    /// Connect here instead of where the name points.
    #[serde(default)]
    pub address: Option<String>,
}

/// A name must point to the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    pub name: String,
    /// One of the name's addresses; the host's own if not given.
    #[serde(default)]
    pub address: Option<String>,
}

fn https() -> u64 {
    443
}

fn two_weeks() -> u64 {
    14
}

/// As it is written: exactly one of the kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default, deserialize_with = "args::list")]
    when: Vec<String>,
    #[serde(default)]
    severity: Severity,
    #[serde(default, deserialize_with = "args::flag")]
    side_effects: bool,
    #[serde(default = "ten", deserialize_with = "args::count")]
    timeout: u64,
    http: Option<Http>,
    tcp: Option<Tcp>,
    exec: Option<Exec>,
    pg_isready: Option<PgIsReady>,
    sql: Option<Sql>,
    redis_ping: Option<RedisPing>,
    container: Option<Container>,
    log: Option<Log>,
    smtp: Option<Smtp>,
    script: Option<Script>,
    cert: Option<Cert>,
    dns: Option<Dns>,
}

fn ten() -> u64 {
    10
}

impl TryFrom<Written> for Check {
    type Error = String;

    fn try_from(written: Written) -> Result<Check, String> {
        let kinds = [
            written.http.map(|http| Look::Http(Box::new(http))),
            written.tcp.map(Look::Tcp),
            written.exec.map(Look::Exec),
            written.pg_isready.map(Look::PgIsReady),
            written.sql.map(Look::Sql),
            written.redis_ping.map(Look::RedisPing),
            written.container.map(Look::Container),
            written.log.map(Look::Log),
            written.smtp.map(Look::Smtp),
            written.script.map(Look::Script),
            written.cert.map(Look::Cert),
            written.dns.map(Look::Dns),
        ];
        let mut looks = kinds.into_iter().flatten();
        let (Some(look), None) = (looks.next(), looks.next()) else {
            return Err(
                "a check is of exactly one kind: http, tcp, exec, pg_isready, sql, redis_ping, container, log, \
                        smtp, script, cert or dns"
                    .to_owned(),
            );
        };
        look.validate()?;
        let Written { name, when, severity, side_effects, timeout, .. } = written;
        if name.trim().is_empty() {
            return Err("a check needs a name".to_owned());
        }
        Ok(Check { name, when, severity, side_effects, timeout: timeout.max(1), look })
    }
}

impl Look {
    /// What serde cannot say.
    fn validate(&self) -> Result<(), String> {
        let needs = |from: From, service: &Option<String>| match (from, service) {
            (From::Container, None) => {
                Err("`from: container` needs `service`, the stack's service in whose container it is".to_owned())
            }
            _ => Ok(()),
        };
        match self {
            Look::Http(http) => needs(http.from, &http.service).and_then(|()| http.validate()),
            Look::Tcp(tcp) => needs(tcp.from, &tcp.service),
            Look::Script(script) => needs(script.from, &script.service),
            Look::Log(log) => log.validate(),
            Look::Exec(exec) => inside::pattern(exec.matches.as_deref()).map(drop),
            Look::Sql(sql) => sql.validate(),
            Look::PgIsReady(_)
            | Look::RedisPing(_)
            | Look::Container(_)
            | Look::Smtp(_)
            | Look::Cert(_)
            | Look::Dns(_) => Ok(()),
        }
    }

    /// Is it taken from the operator's side?
    pub fn is_outside(&self) -> bool {
        match self {
            Look::Http(http) => http.from == From::Operator,
            Look::Tcp(tcp) => tcp.from == From::Operator,
            Look::Script(script) => script.from == From::Operator,
            Look::Cert(_) | Look::Dns(_) => true,
            Look::Exec(_)
            | Look::PgIsReady(_)
            | Look::Sql(_)
            | Look::RedisPing(_)
            | Look::Container(_)
            | Look::Log(_)
            | Look::Smtp(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct Args {
    check: Check,
    project: String,
}

struct ServiceCheck {
    check: Check,
    script: crate::plan::Script,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let Args { check, project } = typed(FAMILY[0].args, args)?;
    let timeout = std::time::Duration::from_secs(check.timeout);
    let script = match &check.look {
        Look::Http(http) => http.script(&project, check.timeout),
        Look::Tcp(tcp) => tcp.script(&project, check.timeout),
        Look::Exec(exec) => exec.script(&project),
        Look::Script(script) => script.script(&project),
        Look::PgIsReady(ready) => ready.script(&project),
        Look::Sql(sql) => sql.script(&project),
        Look::RedisPing(ping) => ping.script(&project),
        Look::Container(container) => container.script(&project),
        Look::Log(log) => log.script(&project),
        Look::Smtp(smtp) => smtp.script(check.timeout),
        Look::Cert(_) | Look::Dns(_) => None,
    };
    let Some(script) = script else {
        return Err(Failure::new(format!("check `{}` is looked at from the operator's side", check.name))
            .hint("use `outside_check`"));
    };
    let script = script.title(format!("check `{}`", check.name)).timeout(timeout + std::time::Duration::from_secs(5));
    Ok(Box::new(ServiceCheck { check, script }))
}

impl ServiceCheck {
    fn judge(&self, output: &Output, more: &[Answer]) -> Result<Return, Failure> {
        if output.rc == inside::NO_CONTAINER {
            return Err(
                Failure::new(output.stderr_text().trim().to_owned()).hint("`provision diagnose` shows what runs")
            );
        }
        let judged = match &self.check.look {
            Look::Http(http) => Answered::read(output).and_then(|answered| http.judge(&answered)),
            Look::Tcp(tcp) => tcp.judge(output),
            Look::Exec(exec) => exec.judge(output),
            Look::Script(_) => inside::ended_well(output),
            Look::PgIsReady(_) => inside::ended_well(output),
            Look::Sql(sql) => sql.judge(output),
            Look::RedisPing(_) => databases::pong(output),
            Look::Container(container) => container.judge(output, more),
            Look::Log(log) => log.judge(output),
            Look::Smtp(smtp) => smtp.judge(output),
            Look::Cert(_) | Look::Dns(_) => Err(Failure::new("looked at from the operator's side")),
        };
        judged.map(|returned| Return { changed: Some(false), ..returned })
    }
}

impl Module for ServiceCheck {
    fn probe(&self) -> Vec<Query> {
        // never ahead of time: what is looked at may only be so after the task before
        Vec::new()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        if self.check.side_effects {
            return Ok(Plan::Change(Change {
                diff: Vec::new(),
                operations: vec![Operation::Run { script: self.script.clone(), accept: (0..=255).collect() }],
                then: Then::Finish,
                forecast: Return { changed: Some(false), ..Return::default() },
            }));
        }
        if observed.more.is_empty() {
            return Ok(Plan::Ask(vec![Query::Run(self.script.clone())]));
        }
        let output = super::observed::output(observed.more, 0, &self.check.name)?;
        if let (Look::Container(container), 1) = (&self.check.look, observed.more.len()) {
            let connections = container.connections(output);
            if !connections.is_empty() {
                return Ok(Plan::Ask(connections));
            }
        }
        self.judge(output, &observed.more[1..]).map(Plan::NoChange)
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        outputs.last().ok_or_else(|| Failure::new("nothing ran")).and_then(|output| self.judge(output, &[]))
    }

    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        self.check.side_effects.then_some("the check has side effects")
    }
}

/// The beginning of a text on one line, for messages.
fn brief(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A value of the manifest beside one that a service gave: numbers and their texts are equal.
fn same(wanted: &Value, found: &Value) -> bool {
    wanted == found || (!found.is_object() && !found.is_array() && args::as_text(wanted) == args::as_text(found))
}

#[cfg(test)]
mod tests;
