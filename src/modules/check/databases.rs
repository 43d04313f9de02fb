//! Looks into databases and caches, with the client programs of their own containers.

use serde::Deserialize;
use serde_json::Value;

use super::super::args;
use super::{brief, inside, same};
use crate::plan::{Failure, Output, Return, Script, Secret};

/// Does the server accept connections?
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PgIsReady {
    pub service: String,
    #[serde(default = "loopback")]
    pub host: String,
    #[serde(default = "postgres", deserialize_with = "args::count")]
    pub port: u64,
    #[serde(default)]
    pub user: Option<String>,
}

/// A read-only statement as the application's user, over the network as the application does it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    #[serde(default)]
    pub engine: Engine,
    /// In whose container the client program is run.
    pub service: String,
    /// The server; the container's own address if not given.
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default, deserialize_with = "args::opt_count")]
    pub port: Option<u64>,
    pub user: String,
    #[serde(default, deserialize_with = "args::text")]
    pub password: String,
    pub database: String,
    pub query: String,
    /// The first column of the first row.
    #[serde(default)]
    pub value: Option<Value>,
    /// How many rows.
    #[serde(default, deserialize_with = "args::opt_count")]
    pub rows: Option<u64>,
    #[serde(default, deserialize_with = "args::opt_count")]
    pub min_rows: Option<u64>,
    #[serde(default, deserialize_with = "args::opt_count")]
    pub max_rows: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    #[default]
    #[serde(alias = "pgvector")]
    Postgres,
    #[serde(alias = "mysql")]
    Mariadb,
}

/// PONG?
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisPing {
    pub service: String,
    #[serde(default = "loopback")]
    pub host: String,
    #[serde(default = "redis", deserialize_with = "args::count")]
    pub port: u64,
    #[serde(default, deserialize_with = "args::text")]
    pub password: String,
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

fn postgres() -> u64 {
    5432
}

fn redis() -> u64 {
    6379
}

impl PgIsReady {
    pub(super) fn script(&self, project: &str) -> Option<Script> {
        let inner = Script::new().raw("exec pg_isready -h").arg(&self.host).raw("-p").arg(self.port.to_string());
        let inner = match &self.user {
            Some(user) => inner.raw("-U").arg(user),
            None => inner,
        };
        Some(inside::shell(Some((project, &self.service)), None, inner.raw("</dev/null")))
    }
}

impl Sql {
    pub(super) fn validate(&self) -> Result<(), String> {
        let word = self.query.split_whitespace().next().unwrap_or_default().to_lowercase();
        match ["select", "show", "with", "table", "values", "explain"].contains(&word.as_str()) {
            true => Ok(()),
            false => Err(format!("`query` only looks: it starts with SELECT, not `{word}`")),
        }
    }

    pub(super) fn script(&self, project: &str) -> Option<Script> {
        let inner = Script::new().raw("set --").arg(&self.user).arg(&self.database).arg(format!("{};", self.query));
        let inner = inner.arg(self.host.as_deref().unwrap_or_default()).raw("\nh=$4\n");
        // images trust their own loopback address, so it would prove nothing of the password
        let inner = inner
            .raw("[ -n \"$h\" ] || { h=$(hostname -i 2>/dev/null) && h=${h%% *}; }\n[ -n \"$h\" ] || h=127.0.0.1\n");
        let password = |name: &str| Secret::new(format!("{name}={}", self.password));
        let inner = match self.engine {
            Engine::Postgres => inner
                .raw("export PGCONNECT_TIMEOUT=5 PGOPTIONS='-c default_transaction_read_only=on'\nexport")
                .secret(password("PGPASSWORD"))
                .raw("\nprintf '%s\\n' \"$3\" | psql -X -q -A -t -w -v ON_ERROR_STOP=1 -h \"$h\" -p")
                .arg(self.port.unwrap_or(5432).to_string())
                .raw("-U \"$1\" -d \"$2\""),
            Engine::Mariadb => inner
                .raw("export")
                .secret(password("MYSQL_PWD"))
                .raw("\nm=mariadb; command -v mariadb >/dev/null 2>&1 || m=mysql\n")
                .raw("printf 'SET SESSION TRANSACTION READ ONLY; %s\\n' \"$3\" | \"$m\" --connect-timeout=5 -N -B -h \"$h\" -P")
                .arg(self.port.unwrap_or(3306).to_string())
                .raw("-u \"$1\" \"$2\""),
        };
        Some(inside::shell(Some((project, &self.service)), None, inner))
    }

    pub(super) fn judge(&self, output: &Output) -> Result<Return, Failure> {
        if !output.ok() {
            let why = output.stderr_text();
            return Err(Failure::new(format!("the statement failed: {}", brief(&why))).with("rc", output.rc));
        }
        let text = output.stdout_text();
        let rows: Vec<&str> = text.lines().collect();
        let count = rows.len() as u64;
        let first = rows.first().and_then(|row| row.split(['|', '\t']).next()).unwrap_or_default();
        let wrong = match &self.value {
            Some(wanted) if !same(wanted, &Value::from(first)) => {
                Some(format!("the value is {:?} instead of {:?}", brief(first), args::as_text(wanted)))
            }
            _ => None,
        };
        let wrong = wrong.or_else(|| {
            let right = self.rows.is_none_or(|rows| rows == count)
                && self.min_rows.is_none_or(|least| count >= least)
                && self.max_rows.is_none_or(|most| count <= most);
            (!right).then(|| match (self.rows, self.min_rows) {
                (Some(rows), _) => format!("{count} rows instead of {rows}"),
                (None, Some(least)) if count < least => format!("{count} rows, at least {least} are wanted"),
                _ => format!("{count} rows, at most {} are wanted", self.max_rows.unwrap_or_default()),
            })
        });
        match wrong {
            Some(wrong) => Err(Failure::new(wrong)),
            None if self.value.is_some() => Ok(Return::msg(format!("the value is {first}"))),
            None => Ok(Return::msg(format!("{count} rows"))),
        }
    }
}

impl RedisPing {
    pub(super) fn script(&self, project: &str) -> Option<Script> {
        let inner = match self.password.is_empty() {
            true => Script::new(),
            false => {
                let set = Secret::new(format!("REDISCLI_AUTH={}", self.password));
                Script::new().raw("export").secret(set).raw("\n")
            }
        };
        let inner = inner.raw("r=redis-cli; command -v redis-cli >/dev/null 2>&1 || r=valkey-cli\nexec \"$r\" -h");
        let inner = inner.arg(&self.host).raw("-p").arg(self.port.to_string()).raw("ping </dev/null");
        Some(inside::shell(Some((project, &self.service)), None, inner))
    }
}

pub(super) fn pong(output: &Output) -> Result<Return, Failure> {
    let said = output.stdout_text();
    if said.trim() == "PONG" {
        return Ok(Return::msg("PONG"));
    }
    let said = if said.trim().is_empty() { output.stderr_text() } else { said };
    Err(Failure::new(format!("no PONG: {}", brief(&said))).with("rc", output.rc))
}
