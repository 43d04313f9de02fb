//! `docker_login`: the host's docker client is logged in to a registry.
//!
//! ```yaml
//! - docker_login: {registry_url: ghcr.io, username: robot, password: "{{ registry_token }}"}
//! - docker_login: {registry_url: ghcr.io, state: absent}
//! ```
//!
//! The client's own `config.json` says whether the same user and password are already stored; then nothing is done.
//! The password travels on standard input. Leaves out credential helpers: where one is configured, the stored password
//! cannot be compared, and the login is repeated.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::args::{self, State};
use super::docker::{ask, change, docker, json, output, succeeded};
use super::{Build, Spec, typed};
use crate::plan::{Failure, Module, Object, Observed, Output, Plan, Query, Return, Script, Secret};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_login",
    aliases: &["community.docker.docker_login", "community.general.docker_login"],
    args: &[
        "registry_url",
        "registry",
        "url",
        "username",
        "password",
        "config_path",
        "dockercfg_path",
        "reauthorize",
        "reauth",
        "state",
    ],
    free_form: None,
    build,
}];

/// Docker Hub, as the client names it in its configuration.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
struct Arguments {
    #[serde(alias = "registry", alias = "url")]
    registry_url: Option<String>,
    username: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    password: Option<String>,
    #[serde(alias = "dockercfg_path")]
    config_path: Option<String>,
    #[serde(default, alias = "reauth", deserialize_with = "args::flag")]
    reauthorize: bool,
    #[serde(default)]
    state: State,
}

struct Login {
    /// The key in `config.json`.
    registry: String,
    account: Option<(String, Secret)>,
    /// Directory of `config.json`, if it is not the user's.
    directory: Option<String>,
    again: bool,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let directory = match args.config_path.as_deref().map(|path| path.strip_suffix("/config.json")) {
        None => None,
        Some(Some(directory)) => Some(directory.to_owned()),
        Some(None) => return Err(Failure::new("config_path must be the path of a `config.json`")),
    };
    let account = match (args.state, args.username, args.password) {
        (State::Absent, ..) => None,
        (State::Present, Some(user), Some(password)) => Some((user, Secret::new(password))),
        (State::Present, ..) => return Err(Failure::new("`username` and `password` are both needed")),
    };
    let registry = key(args.registry_url.as_deref().unwrap_or(HUB));
    Ok(Box::new(Login { registry, account, directory, again: args.reauthorize }))
}

/// The name under which the client stores a registry.
fn key(url: &str) -> String {
    let bare = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    match bare.split('/').next().unwrap_or(bare) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "hub.docker.com" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

impl Module for Login {
    fn probe(&self) -> Vec<Query> {
        let script = match &self.directory {
            Some(directory) => Script::new().raw("set --").arg(directory).raw("\nf=$1/config.json"),
            None => Script::new().raw("f=${DOCKER_CONFIG:-$HOME/.docker}/config.json"),
        };
        vec![ask(script.raw("\nif [ -s \"$f\" ]; then cat \"$f\"; else echo '{}'; fi"))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        let config: Value = json("config.json of the docker client", &found.stdout)?;
        let stored = &config["auths"][&self.registry];
        let header = format!("login to {}", self.registry);
        let (before, after, script) = match &self.account {
            None if stored.is_null() => {
                return Ok(Plan::NoChange(Return::msg(format!("not logged in to {}", self.registry))));
            }
            None => ("stored\n".to_owned(), String::new(), self.logout()),
            Some((user, password)) => {
                let wanted = STANDARD.encode(format!("{user}:{}", password.reveal()));
                if stored["auth"].as_str() == Some(wanted.as_str()) && !self.again {
                    let msg = format!("already logged in to {} as {user}", self.registry);
                    return Ok(Plan::NoChange(Return::msg(msg)));
                }
                let before = if stored.is_null() { "" } else { "another user or password\n" };
                (before.to_owned(), format!("user {user}\n"), self.login(user, password))
            }
        };
        Ok(change(&header, before, after, script))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let Some((user, password)) = &self.account else {
            succeeded("docker logout failed", &self.logout(), outputs)?;
            return Ok(Return::msg(format!("logged out of {}", self.registry)));
        };
        succeeded(&format!("login to {} failed", self.registry), &self.login(user, password), outputs).map_err(
            |mut failure| {
                let said = failure.values.get("stderr").and_then(Value::as_str).unwrap_or_default();
                if said.contains("unauthorized") || said.contains("incorrect username or password") {
                    failure.hint = Some(format!("the registry does not accept this password of `{user}`"));
                }
                failure
            },
        )?;
        Ok(Return::msg(format!("logged in to {} as {user}", self.registry)))
    }
}

impl Login {
    fn client(&self) -> Script {
        match &self.directory {
            Some(directory) => Script::new().raw("docker --config").arg(directory),
            None => docker(),
        }
    }

    fn login(&self, user: &str, password: &Secret) -> Script {
        let script = self.client().raw("login --password-stdin --username").arg(user).arg(&self.registry);
        script.stdin(password.reveal().as_bytes())
    }

    fn logout(&self) -> Script {
        self.client().raw("logout").arg(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Answer, Operation};
    use std::time::Duration;

    #[test]
    fn registries_are_stored_under_these_names() {
        for (url, wanted) in [
            ("https://ghcr.io", "ghcr.io"),
            ("registry.example:5000/v2/", "registry.example:5000"),
            ("docker.io", HUB),
            ("https://index.docker.io/v1/", HUB),
        ] {
            assert_eq!(key(url), wanted);
        }
    }

    #[test]
    fn a_stored_login_is_not_repeated_and_the_password_is_never_an_argument() {
        let login = |again| Login {
            registry: "ghcr.io".to_owned(),
            account: Some(("robot".to_owned(), Secret::new("hunter2"))),
            directory: None,
            again,
        };
        let same = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{}"}}}}}}"#, STANDARD.encode("robot:hunter2"));
        let other = same.replace(&STANDARD.encode("robot:hunter2"), &STANDARD.encode("robot:old"));
        for (config, again, changes) in
            [(same.as_str(), false, false), (&same, true, true), (&other, false, true), ("{}", false, true)]
        {
            let answers = [Answer::Output(Output { stdout: config.into(), ..Output::default() })];
            let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
            let plan = login(again).plan(&observed).unwrap();
            match &plan {
                Plan::Change(change) => {
                    assert!(changes, "{config}");
                    let Operation::Run { script, .. } = &change.operations[0] else { panic!("{plan:?}") };
                    assert_eq!(script.render(), "docker login --password-stdin --username robot ghcr.io");
                    assert_eq!(script.stdin.as_deref(), Some("hunter2".as_bytes()));
                }
                Plan::NoChange(_) => assert!(!changes, "{config}"),
                other => panic!("{other:?}"),
            }
            assert!(!format!("{plan:?}").contains("hunter2"));
        }
    }
}
