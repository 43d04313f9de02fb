//! `docker_container_info` and `docker_container_exec`: look at a running container, run a command in it.
//!
//! ```yaml
//! - docker_container_info: {name: hub-db-1}
//! - docker_container_exec: {container: hub-db-1, command: healthcheck.sh --connect}
//! - docker_container_exec: {project: versatile-hub, service: backend, argv: [bench, --site, all, list-apps], user: frappe}
//! ```
//!
//! A container is named by `container`, or (not in Ansible) by `project` and `service`: found by its labels, under
//! Compose and under swarm alike. `env` reaches the command through the client's environment, never an argument list.
//! As in Ansible the command's exit code does not fail the task: say `failed_when: result.rc != 0`.
//!
//! Leaves out `tty`; creating single containers is what compose files are for.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::docker::{ask, docker, hint, json, output, trouble};
use super::docker_wait::pause;
use super::{Build, Spec, args, typed};
use crate::plan::{
    Change, Failure, Look, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Secret, Then,
    quote,
};

pub const FAMILY: &[Spec] = &[
    Spec {
        name: "docker_container_info",
        aliases: &["community.docker.docker_container_info", "community.general.docker_container_info"],
        args: &["name", "project", "service"],
        free_form: None,
        build: |args, _| Ok(Box::new(typed::<Info>(FAMILY[0].args, args)?)),
    },
    Spec {
        name: "docker_container_exec",
        aliases: &["community.docker.docker_container_exec"],
        args: &[
            "container",
            "project",
            "service",
            "argv",
            "command",
            "chdir",
            "user",
            "env",
            "stdin",
            "stdin_add_newline",
            "strip_empty_ends",
            "detach",
            "wait_timeout",
            "timeout",
        ],
        free_form: None,
        build: build_exec,
    },
];

/// How a task names a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Named {
    Container(String),
    Service { project: String, service: String },
}

impl Named {
    pub(super) fn new(
        container: Option<String>,
        project: Option<String>,
        service: Option<String>,
    ) -> Result<Named, Failure> {
        match (container, project, service) {
            (Some(container), None, None) => Ok(Named::Container(container)),
            (None, Some(project), Some(service)) => Ok(Named::Service { project, service }),
            _ => Err(Failure::new("name the container: either by its name, or by `project` and `service`")),
        }
    }

    /// Shell text that puts the id of the running container into `$c`: empty if there is none.
    pub(super) fn find(&self) -> Script {
        match self {
            Named::Container(name) => Script::new()
                .raw("set --")
                .arg(name)
                .raw("\nc=$(docker container inspect --format '{{if .State.Running}}{{.Id}}{{end}}' \"$1\" 2>/dev/null)\n"),
            Named::Service { project, service } => Script::new()
                .raw("set --")
                .arg(format!("label=com.docker.compose.project={project}"))
                .arg(format!("label=com.docker.compose.service={service}"))
                .arg(format!("label=com.docker.swarm.service.name={project}_{service}"))
                .raw("\nc=$(docker ps -q --no-trunc --filter status=running --filter label=com.docker.compose.oneoff=False --filter \"$1\" --filter \"$2\") || exit\n")
                .raw("[ -n \"$c\" ] || c=$(docker ps -q --no-trunc --filter status=running --filter \"$3\") || exit\n")
                .raw("c=${c%%[!0-9a-f]*}\n"),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Named::Container(name) => write!(f, "container {name}"),
            Named::Service { project, service } => write!(f, "container of {project}/{service}"),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Info {
    name: Option<String>,
    project: Option<String>,
    service: Option<String>,
}

impl Module for Info {
    fn probe(&self) -> Vec<Query> {
        let script = match (&self.name, &self.project, &self.service) {
            (Some(name), ..) => Script::new().raw("set --").arg(name).raw("\nids=$1\n"),
            (None, project, service) => Script::new()
                .raw("set --")
                .arg(format!("label=com.docker.compose.project={}", project.as_deref().unwrap_or_default()))
                .arg(format!("label=com.docker.compose.service={}", service.as_deref().unwrap_or_default()))
                .raw("\nids=$(docker ps -aq --no-trunc --filter \"$1\" --filter \"$2\") || exit\n"),
        };
        // asking for the version first tells an absent container from an absent engine
        vec![ask(script.raw(
            "docker version >/dev/null || exit\n[ -n \"$ids\" ] && docker container inspect $ids 2>/dev/null || echo '[]'",
        ))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        if self.name.is_none() && (self.project.is_none() || self.service.is_none()) {
            return Err(Failure::new("name the container: either by `name`, or by `project` and `service`"));
        }
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble("docker container inspect failed", &docker().raw("container inspect"), found));
        }
        // a failed inspect prints `[]` by itself; the last array counts
        let text = found.stdout_text();
        let last = text.trim_end().rfind("\n[").map_or(text.as_str(), |start| &text[start..]);
        let containers: Vec<Value> = json("docker container inspect", last.as_bytes())?;
        let container = containers.into_iter().next();
        let exists = container.is_some();
        let msg = if exists { "the container exists" } else { "there is no such container" };
        let found = Return::msg(msg).with("exists", exists).with("container", container.unwrap_or_default());
        Ok(Plan::NoChange(found))
    }
}

#[derive(Deserialize)]
struct ExecArgs {
    container: Option<String>,
    project: Option<String>,
    service: Option<String>,
    #[serde(default, deserialize_with = "args::opt_list")]
    argv: Option<Vec<String>>,
    command: Option<String>,
    chdir: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    user: Option<String>,
    #[serde(default)]
    env: Object,
    #[serde(default, deserialize_with = "args::opt_text")]
    stdin: Option<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    stdin_add_newline: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    strip_empty_ends: bool,
    #[serde(default, deserialize_with = "args::flag")]
    detach: bool,
    /// Seconds to wait for such a container to run.
    #[serde(default, deserialize_with = "args::opt_count")]
    wait_timeout: Option<u64>,
    /// Seconds that the command may take.
    #[serde(default, deserialize_with = "args::opt_count")]
    timeout: Option<u64>,
}

fn yes() -> bool {
    true
}

struct Exec {
    named: Named,
    argv: Vec<String>,
    options: Vec<String>,
    /// `NAME=value`
    env: Vec<(String, Secret)>,
    stdin: Option<Vec<u8>>,
    strip: bool,
    wait: Duration,
    timeout: Option<Duration>,
}

fn build_exec(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    Ok(Box::new(Exec::new(typed(FAMILY[1].args, args)?)?))
}

impl Exec {
    fn new(args: ExecArgs) -> Result<Exec, Failure> {
        let named = Named::new(args.container, args.project, args.service)?;
        let argv = match (args.argv, args.command) {
            (Some(argv), None) => argv,
            (None, Some(command)) => shlex::split(&command)
                .ok_or_else(|| Failure::new("`command` has an open quote").hint("use `argv`, a list of words"))?,
            _ => return Err(Failure::new("either `argv` or `command` is needed")),
        };
        if argv.is_empty() {
            return Err(Failure::new("the command is empty"));
        }
        let mut options = Vec::new();
        for (flag, value) in [("--workdir", args.chdir), ("--user", args.user)] {
            options.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        if args.detach {
            options.push("--detach".to_owned());
        }
        let env = environment(&args.env)?;
        let stdin = args.stdin.map(|mut text| {
            if args.stdin_add_newline && !text.ends_with('\n') {
                text.push('\n');
            }
            text.into_bytes()
        });
        Ok(Exec {
            named,
            argv,
            options,
            env,
            stdin,
            strip: args.strip_empty_ends,
            wait: Duration::from_secs(args.wait_timeout.unwrap_or(60)),
            timeout: args.timeout.map(Duration::from_secs),
        })
    }
}

/// Variables for a process that docker starts, as `NAME=value`.
pub(super) fn environment(values: &Object) -> Result<Vec<(String, Secret)>, Failure> {
    let mut env = Vec::new();
    for (name, value) in values {
        if !is_name(name) || name.starts_with("DOCKER_") {
            return Err(Failure::new(format!("`{name}` cannot be given as an environment variable here"))
                .hint("names are letters, digits and `_`; names that start with `DOCKER_` steer docker itself"));
        }
        let value = match value {
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            other => args::as_text(other),
        };
        env.push((name.clone(), Secret::new(format!("{name}={value}"))));
    }
    Ok(env)
}

/// A script that starts by exporting variables. They may be named as those that the client itself uses, so `$d` is the
/// client's path and its configuration is settled before.
pub(super) fn exported(env: &[(String, Secret)]) -> Script {
    let mut script = Script::new()
        .raw("d=$(command -v docker) || exit 127\n")
        .raw("DOCKER_CONFIG=${DOCKER_CONFIG:-$HOME/.docker}; export DOCKER_CONFIG\n");
    for (_, assignment) in env {
        script = script.raw("export").secret(assignment.clone()).raw("\n");
    }
    script
}

/// What a shell accepts as a variable's name.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Module for Exec {
    fn probe(&self) -> Vec<Query> {
        vec![ask(self.named.find().raw("docker version >/dev/null || exit\nprintf %s \"$c\""))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble("docker ps failed", &docker().raw("ps"), found));
        }
        let id = found.stdout_text();
        if id.is_empty() {
            return still_to_come(&self.named, observed.elapsed, self.wait);
        }
        Ok(Plan::Change(Change {
            diff: Vec::new(),
            operations: vec![Operation::Run { script: self.script(&id), accept: (0..=255).collect() }],
            then: Then::Finish,
            forecast: Return::default(),
        }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let output = outputs.last().ok_or_else(|| Failure::new("nothing ran"))?;
        let known = hint(output.rc, &output.stderr_text());
        if output.rc == 125 || (output.rc == 1 && known.is_some_and(|hint| hint.contains("engine"))) {
            return Err(trouble("docker exec failed", &self.script("CONTAINER"), output));
        }
        let tidy = |text: String| if self.strip { text.trim_end_matches(['\r', '\n']).to_owned() } else { text };
        let mut done = Return::msg(format!("ran in the {}, exit code {}", self.named, output.rc))
            .with("stdout", tidy(output.stdout_text()))
            .with("stderr", tidy(output.stderr_text()))
            .with("rc", output.rc);
        done.changed = Some(true);
        Ok(done)
    }

    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        Some("a command in a container has no state to compare with")
    }
}

/// Waits for a container, up to a limit.
pub(super) fn still_to_come(named: &Named, elapsed: Duration, limit: Duration) -> Result<Plan, Failure> {
    if elapsed >= limit {
        let text = format!("no running {named} after {} s", limit.as_secs());
        return Err(Failure::new(text).hint("`docker ps -a` on the host shows what there is"));
    }
    let status = format!("waiting for a running {named}");
    Ok(Plan::Wait { after: pause(elapsed), status, look: Look::Everything })
}

impl Exec {
    fn script(&self, id: &str) -> Script {
        let words = self.options.iter().cloned().chain([self.named.to_string()]).chain(self.argv.iter().cloned());
        let said: Vec<String> = words.map(|word| quote(&word)).collect();
        let mut script = exported(&self.env).title(format!("docker exec {}", said.join(" "))).raw("\"$d\" exec");
        if self.stdin.is_some() {
            script = script.raw("-i");
        }
        script = script.args(self.options.iter().cloned());
        for (name, _) in &self.env {
            script = script.raw("-e").arg(name);
        }
        script = script.arg(id).args(self.argv.iter().cloned());
        if let Some(stdin) = &self.stdin {
            script = script.stdin(stdin.clone());
        }
        match self.timeout {
            Some(timeout) => script.timeout(timeout),
            None => script,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn exec(task: Value) -> Result<Exec, Failure> {
        let Value::Object(task) = task else { unreachable!() };
        Exec::new(typed(FAMILY[1].args, task)?)
    }

    #[test]
    fn commands_are_built_without_values_in_arguments() {
        let task = json!({"container": "db", "argv": ["psql", "-c", "select 1"], "user": "postgres",
            "env": {"PGPASSWORD": "hunter2"}, "stdin": "x"});
        let script = exec(task).unwrap().script("abc");
        let text = script.render();
        let last = text.lines().last().unwrap();
        assert_eq!(last, "\"$d\" exec -i --user postgres -e PGPASSWORD abc psql -c 'select 1'");
        assert!(text.contains("export PGPASSWORD=hunter2") && !script.shown().contains("hunter2"), "{text}");
        assert_eq!(script.stdin.as_deref(), Some("x\n".as_bytes()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (task, word) in [
            (json!({"container": "a"}), "argv"),
            (json!({"argv": ["a"]}), "project"),
            (json!({"container": "a", "project": "p", "service": "s", "argv": ["a"]}), "project"),
            (json!({"container": "a", "command": "echo 'x"}), "quote"),
            (json!({"container": "a", "argv": ["a"], "env": {"DOCKER_HOST": "x"}}), "DOCKER_HOST"),
        ] {
            let failure = exec(task.clone()).err().expect("refused");
            assert!(failure.msg.contains(word), "{task}: {}", failure.msg);
        }
    }

    #[test]
    fn a_container_is_waited_for_but_not_forever() {
        let named = Named::new(None, Some("p".to_owned()), Some("s".to_owned())).unwrap();
        let minute = Duration::from_secs(60);
        assert!(matches!(still_to_come(&named, Duration::ZERO, minute), Ok(Plan::Wait { .. })));
        let failure = still_to_come(&named, minute, minute).unwrap_err();
        assert_eq!(failure.msg, "no running container of p/s after 60 s");
    }
}
