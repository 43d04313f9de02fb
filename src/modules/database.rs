//! `database`: a database, its owner and its extensions exist on a server that runs in a container.
//!
//! ```yaml
//! - database:
//!     engine: postgres            # postgres, pgvector, mysql or mariadb
//!     project: versatile-chat     # or container: NAME
//!     service: postgres
//!     name: chatwoot_production
//!     user: chatwoot
//!     password: "{{ secrets.POSTGRES_PASSWORD }}"
//!     admin_password: "{{ secrets.POSTGRES_ADMIN_PASSWORD }}"
//!     extensions: [vector, pg_trgm]
//! ```
//!
//! Waits until the server accepts connections over TCP: while an image sets its server up, it listens on its socket only.
//! What exists is kept: nothing is ever dropped, and a password is set only if the present one does not fit.
//! With `admin_password_before` (not in Ansible) the administrator's own password becomes `admin_password`; whichever of
//! the two is in force is used to log in.
//! SQL and passwords travel over standard input into the container; no argument list ever holds one.
//!
//! The dialects are in `database_postgres.rs` and `database_mariadb.rs`. Leaves out dumps and restores.

use std::time::Duration;

use serde::Deserialize;

use super::docker::{ask, diff, hint, output};
use super::docker_container::{Named, still_to_come};
use super::docker_wait::pause;
use super::{Build, Spec, args, database_mariadb, database_postgres, typed};
use crate::plan::{
    Change, Failure, Look, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Secret, Then,
};

pub const FAMILY: &[Spec] = &[Spec {
    name: "database",
    aliases: &[],
    args: &[
        "engine",
        "type",
        "container",
        "project",
        "service",
        "name",
        "db",
        "user",
        "password",
        "admin_user",
        "admin_password",
        "admin_password_before",
        "extensions",
        "encoding",
        "collation",
        "grants",
        "wait_timeout",
    ],
    free_form: None,
    build,
}];

/// Exit codes of the script that looks; no client uses them.
pub(super) const NO_CONTAINER: i32 = 240;
pub(super) const NOT_YET: i32 = 241;
pub(super) const REFUSED: i32 = 242;

#[derive(Deserialize)]
struct Arguments {
    #[serde(alias = "type")]
    engine: Engine,
    container: Option<String>,
    project: Option<String>,
    service: Option<String>,
    #[serde(alias = "db")]
    name: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    user: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    password: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    admin_user: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    admin_password: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    admin_password_before: Option<String>,
    #[serde(default, deserialize_with = "args::list")]
    extensions: Vec<String>,
    encoding: Option<String>,
    collation: Option<String>,
    #[serde(default, deserialize_with = "args::list")]
    grants: Vec<String>,
    #[serde(default, deserialize_with = "args::opt_count")]
    wait_timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    Postgres,
    Pgvector,
    Mysql,
    Mariadb,
}

/// What is wanted, without where.
#[derive(Debug)]
pub(super) struct Wanted {
    pub name: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub admin: String,
    pub admin_password: Option<Secret>,
    /// The administrator's password until now, if it is to become `admin_password`.
    pub admin_password_before: Option<Secret>,
    pub extensions: Vec<String>,
    pub encoding: Option<String>,
    pub collation: Option<String>,
    /// In capitals.
    pub grants: Vec<String>,
}

/// Statements that are still due.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Due {
    /// For people: without values.
    pub lines: Vec<String>,
    /// For the server: to be run while connected to no particular database, then to the one in question.
    pub server: Vec<Secret>,
    pub database: Vec<Secret>,
}

impl Due {
    pub(super) fn server(&mut self, line: impl Into<String>, sql: String) {
        self.lines.push(line.into());
        self.server.push(Secret::new(sql));
    }

    pub(super) fn database(&mut self, line: impl Into<String>, sql: String) {
        self.lines.push(line.into());
        self.database.push(Secret::new(sql));
    }
}

#[derive(Debug)]
struct Database {
    engine: Engine,
    named: Named,
    wanted: Wanted,
    wait: Duration,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let postgres = matches!(args.engine, Engine::Postgres | Engine::Pgvector);
    if args.password.is_some() && args.user.is_none() {
        return Err(Failure::new("`password` needs a `user`"));
    }
    if args.admin_password_before.is_some() && args.admin_password.is_none() {
        return Err(Failure::new("`admin_password_before` needs `admin_password`: the new one"));
    }
    if !postgres && !args.extensions.is_empty() {
        return Err(Failure::new("`extensions` are a matter of PostgreSQL"));
    }
    let mut extensions = args.extensions;
    if args.engine == Engine::Pgvector && !extensions.iter().any(|extension| extension == "vector") {
        extensions.push("vector".to_owned());
    }
    let texts = [
        Some(&args.name),
        args.user.as_ref(),
        args.password.as_ref(),
        args.admin_password.as_ref(),
        args.admin_password_before.as_ref(),
    ];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return Err(Failure::new("a NUL byte can be in no name and no password"));
    }
    if args.name.is_empty() || args.user.as_deref() == Some("") {
        return Err(Failure::new("`name` and `user` must not be empty"));
    }
    let default_admin = if postgres { "postgres" } else { "root" };
    Ok(Box::new(Database {
        engine: args.engine,
        named: Named::new(args.container, args.project, args.service)?,
        wanted: Wanted {
            name: args.name,
            user: args.user,
            password: args.password.map(Secret::new),
            admin: args.admin_user.unwrap_or_else(|| default_admin.to_owned()),
            admin_password: args.admin_password.map(Secret::new),
            admin_password_before: args.admin_password_before.map(Secret::new),
            extensions,
            encoding: args.encoding,
            collation: args.collation,
            grants: args.grants.iter().map(|grant| grant.to_ascii_uppercase()).collect(),
        },
        wait: Duration::from_secs(args.wait_timeout.unwrap_or(120)),
    }))
}

impl Module for Database {
    fn probe(&self) -> Vec<Query> {
        let look = match self.engine {
            Engine::Postgres | Engine::Pgvector => database_postgres::look(&self.wanted),
            Engine::Mysql | Engine::Mariadb => database_mariadb::look(&self.wanted),
        };
        vec![ask(self.inside(look))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        let wanted = &self.wanted;
        let what = format!("database {}", wanted.name);
        match found.rc {
            0 => {}
            NO_CONTAINER => return still_to_come(&self.named, observed.elapsed, self.wait),
            NOT_YET if observed.elapsed >= self.wait => {
                let text =
                    format!("the server in the {} accepts no connection after {} s", self.named, self.wait.as_secs());
                return Err(self.failure(&text, found).hint("`docker logs` of the container says why"));
            }
            NOT_YET => {
                let status = format!("waiting for the server in the {} to accept connections", self.named);
                return Ok(Plan::Wait { after: pause(observed.elapsed), status, look: Look::Everything });
            }
            REFUSED => {
                let text = format!("the server in the {} refuses the administrator `{}`", self.named, wanted.admin);
                return Err(self.failure(&text, found).hint(
                    "an image takes its administrator's password only when its data directory is empty; it may hold an older one",
                ));
            }
            rc => {
                let failure =
                    self.failure(&format!("{what}: the server in the {} could not be asked", self.named), found);
                return Err(match hint(rc, &found.stderr_text()) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
        }
        let text = found.stdout_text();
        let again = observed.changes > 0;
        let due = match self.engine {
            Engine::Postgres | Engine::Pgvector => database_postgres::due(wanted, &text, again)?,
            Engine::Mysql | Engine::Mariadb => database_mariadb::due(wanted, &text)?,
        };
        if due.lines.is_empty() {
            let owner = wanted.user.as_ref().map_or(String::new(), |user| format!(" for {user}"));
            return Ok(Plan::NoChange(Return::msg(format!("{what} is there{owner}")).with("db", wanted.name.as_str())));
        }
        if again {
            return Err(Failure::new(format!("{what}: still due after it was done: {}", due.lines.join(", "))));
        }
        let carry_out = match self.engine {
            Engine::Postgres | Engine::Pgvector => database_postgres::carry_out(wanted, &due),
            Engine::Mysql | Engine::Mariadb => database_mariadb::carry_out(wanted, &due),
        };
        let lines: String = due.lines.iter().map(|line| format!("{line}\n")).collect();
        Ok(Plan::Change(Change {
            diff: vec![diff(&what, "", lines)],
            operations: vec![Operation::run(self.inside(carry_out))],
            then: Then::Replan(Look::Everything),
            forecast: Return::msg(due.lines.join(", ")).with("db", wanted.name.as_str()),
        }))
    }
}

impl Database {
    /// A script of the host that runs this one inside the container. It travels on standard input.
    fn inside(&self, script: Secret) -> Script {
        let find = self.named.find();
        find.raw("[ -n \"$c\" ] || { docker version >/dev/null && exit 240; exit; }\ndocker exec -i \"$c\" sh -s")
            .stdin(script.reveal().as_bytes())
            .title(format!("docker exec -i ({}) sh -s", self.named))
            .timeout(Duration::from_secs(120))
    }

    fn failure(&self, text: &str, output: &Output) -> Failure {
        Failure::new(text).with("rc", output.rc).with("stderr", output.stderr_text().trim_end())
    }
}

/// A here-document with SQL, and what follows on the line of the command. The end mark is made from the text, so that
/// the text cannot hold it.
pub(super) fn here(sql: &str, after: &str) -> String {
    let digest = super::sha256(sql.as_bytes());
    let mark = format!("SQL_{}", digest.get(..24).unwrap_or(&digest));
    format!("<<'{mark}' {after}\n{sql}\n{mark}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        struct Nothing;
        impl super::super::Local for Nothing {
            fn find(&self, _: super::super::LocalKind, name: &str) -> Result<std::path::PathBuf, Failure> {
                Err(Failure::new(name))
            }
            fn read(&self, _: &std::path::Path) -> Result<Vec<u8>, Failure> {
                Err(Failure::new("no"))
            }
            fn walk(&self, _: &std::path::Path) -> Result<Vec<(std::path::PathBuf, u32)>, Failure> {
                Err(Failure::new("no"))
            }
            fn render(&self, text: &str, _: &std::path::Path) -> Result<String, Failure> {
                Ok(text.to_owned())
            }
        }
        for (task, word) in [
            (json!({"engine": "oracle", "container": "c", "name": "x"}), "oracle"),
            (json!({"engine": "postgres", "name": "x"}), "project"),
            (json!({"engine": "postgres", "container": "c", "name": ""}), "empty"),
            (json!({"engine": "mariadb", "container": "c", "name": "x", "extensions": ["vector"]}), "PostgreSQL"),
            (json!({"engine": "postgres", "container": "c", "name": "x", "password": "p"}), "`user`"),
            (json!({"engine": "postgres", "container": "c", "name": "x", "admin_password_before": "p"}), "the new one"),
            (json!({"engine": "postgres", "container": "c", "nam": "x"}), "nam"),
        ] {
            let Value::Object(task) = task else { unreachable!() };
            let facts = Object::new();
            let failure = build(task, &Build { local: &Nothing, facts: &facts, check: false }).err().expect("refused");
            assert!(failure.msg.contains(word), "{}", failure.msg);
        }
    }

    #[test]
    fn the_end_mark_is_not_in_the_text() {
        let text = here("select 1;", "|| exit");
        let mark = text.lines().last().unwrap();
        assert!(mark.starts_with("SQL_") && !"select 1;".contains(mark));
    }
}
