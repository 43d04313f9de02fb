//! `docker_stack`: a stack is deployed to the swarm, and its services run.
//!
//! ```yaml
//! - docker_stack:
//!     name: versatile-hub
//!     compose: [/opt/ATS/VersatileHub/services/hub/stack.yml]
//!     env: "{{ settings }}"
//!     prune: true
//!     wait_timeout: 900
//! ```
//!
//! `docker stack deploy` reads no `.env` file: `env` is exported to it, over standard input and never in an argument list.
//! Every service carries a digest of the files, what they refer to, and `env`; if all digests are right and all services
//! run, nothing is done. Images are pulled before anything stops.
//!
//! `env_files` are `.env` files of the host, as `env_file` writes them; `env` wins over them. With `start_first` a service
//! of which two may run at once gets its new task before the old one goes, unless its `update_config` says an order.
//! `redeploy` names services that are deployed although their digest is right: somebody changed them by hand, or a tag
//! means another image by now. A label `provision.drain` is warned of: a health check that fails ends a task of a swarm.
//!
//! Unlike Ansible's module it waits by default. Leaves out inline stacks in `compose` (write the file first).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::args::{self, State};
use super::compose_beside::DRAIN;
use super::docker::{ask, diff, docker, json as read_json, output, trouble};
use super::docker_container::{environment, exported};
use super::docker_wait::{Verdict, pause};
use super::swarm_files::Files;
use super::swarm_state::{DIGEST, Service, Task};
use super::{Build, Spec, observed, typed};
use crate::plan::{
    Answer, Change, Failure, Look, Module, Object, Observed, Operation, Plan, Query, Return, Script, Secret, Then,
    quote,
};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_stack",
    aliases: &["community.docker.docker_stack", "community.general.docker_stack"],
    args: &[
        "name",
        "compose",
        "env",
        "env_files",
        "start_first",
        "redeploy",
        "prune",
        "with_registry_auth",
        "resolve_image",
        "state",
        "wait",
        "wait_timeout",
        "pull",
        "absent_retries",
        "absent_retries_interval",
        "detach",
    ],
    free_form: None,
    build,
}];

/// More than any stack file has.
const LIMIT: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Arguments {
    name: String,
    #[serde(default, deserialize_with = "args::list")]
    compose: Vec<String>,
    #[serde(default)]
    env: Object,
    #[serde(default, deserialize_with = "args::list")]
    env_files: Vec<String>,
    #[serde(default, deserialize_with = "args::flag")]
    start_first: bool,
    #[serde(default, deserialize_with = "args::list")]
    redeploy: Vec<String>,
    #[serde(default, deserialize_with = "args::flag")]
    prune: bool,
    #[serde(default, deserialize_with = "args::flag")]
    with_registry_auth: bool,
    resolve_image: Option<Resolve>,
    #[serde(default)]
    state: State,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    wait: bool,
    #[serde(default, deserialize_with = "args::opt_count")]
    wait_timeout: Option<u64>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pull: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resolve {
    Always,
    Changed,
    Never,
}

/// Names, and assignments as a shell would be given them.
type Env = Vec<(String, Secret)>;

struct Stack {
    name: String,
    files: Vec<String>,
    env: Env,
    env_files: Vec<String>,
    start_first: bool,
    redeploy: Vec<String>,
    prune: bool,
    registry_auth: bool,
    resolve: Option<Resolve>,
    state: State,
    wait: bool,
    limit: Duration,
    pull: bool,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    // `detach` and the retries of `absent` are about Ansible's own waiting
    let args: Arguments = typed(FAMILY[0].args, args)?;
    if args.compose.is_empty() && args.state == State::Present {
        return Err(Failure::new("`compose` is needed: the path of a stack file, or a list of them"));
    }
    let paths = |files: &[String]| files.iter().map(|file| args::host_path(file, build)).collect::<Result<Vec<_>, _>>();
    Ok(Box::new(Stack {
        name: args.name,
        files: paths(&args.compose)?,
        env: environment(&args.env)?,
        env_files: paths(&args.env_files)?,
        start_first: args.start_first,
        redeploy: args.redeploy,
        prune: args.prune,
        registry_auth: args.with_registry_auth,
        resolve: args.resolve_image,
        state: args.state,
        wait: args.wait,
        limit: Duration::from_secs(args.wait_timeout.unwrap_or(120)),
        pull: args.pull,
    }))
}

impl Module for Stack {
    fn probe(&self) -> Vec<Query> {
        let of_stack = || {
            Script::new()
                .raw("set --")
                .arg(format!("label=com.docker.stack.namespace={}", self.name))
                .raw("\nids=$(docker service ls -q --filter \"$1\") || exit\n")
        };
        let services =
            of_stack().raw("date +%s\nif [ -n \"$ids\" ]; then docker service inspect $ids; else echo '[]'; fi");
        let tasks = of_stack()
            .raw("[ -z \"$ids\" ] || ids=$(docker service ps -q --no-trunc $ids) || exit\n")
            .raw("if [ -n \"$ids\" ]; then docker inspect --type task $ids; else echo '[]'; fi");
        let leftovers =
            of_stack().raw("printf %s \"$ids\"; docker ps -aq --filter \"$1\"; docker network ls -q --filter \"$1\"");
        match self.state {
            State::Absent => vec![ask(leftovers)],
            State::Present => {
                let files = self.files.iter().chain(&self.env_files);
                let files = files.map(|path| Query::Read { path: path.clone(), limit: LIMIT });
                [ask(services), ask(tasks)].into_iter().chain(files).collect()
            }
        }
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        match self.state {
            State::Absent => self.remove(observed),
            State::Present => self.converge(observed),
        }
    }
}

impl Stack {
    fn converge(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let (now, services, tasks) = self.seen(observed.answers)?;
        let mut texts = Vec::new();
        for (at, path) in self.files.iter().enumerate() {
            let text = observed::bytes(observed.answers, at + 2, path)?;
            texts.push(text.ok_or_else(|| Failure::new(format!("the stack file {path} does not exist")))?);
        }
        let directory =
            self.files.first().and_then(|file| file.rsplit_once('/')).map_or("", |(directory, _)| directory);
        let files = Files::read(&texts, directory)?;
        if observed.more.len() < files.referred.len() {
            let stat = |path: &String| Query::Stat { path: path.clone(), follow: true, checksum: true };
            return Ok(Plan::Ask(files.referred.iter().map(stat).collect()));
        }
        let (referred, more) = observed.more.split_at(files.referred.len());
        let env = self.settings(observed.answers)?;
        let digest = self.digest(&texts, referred, &env);

        let full = |name: &str| format!("{}_{name}", self.name);
        let mut reasons = Vec::new();
        for name in &files.services {
            match services.iter().find(|service| service.name() == full(name)) {
                None => reasons.push(format!("create {}", full(name))),
                Some(service) if service.digest() == digest => {
                    if observed.changes == 0 && self.redeploy.contains(name) {
                        reasons.push(format!("update {}: as its files say", service.name()));
                    }
                }
                Some(service) if service.digest().is_empty() => {
                    reasons.push(format!("update {}: not deployed by provision", service.name()));
                }
                Some(service) => {
                    let gap = files.orders.get(name).filter(|_| self.start_first).and_then(|order| order.gap.as_ref());
                    let gap = gap.map(|gap| format!("; it stops first: {gap}")).unwrap_or_default();
                    reasons.push(format!("update {}: configuration changed{gap}", service.name()));
                }
            }
        }
        let known: BTreeSet<String> = files.services.iter().map(|name| full(name)).collect();
        let strangers: Vec<&Service> = services.iter().filter(|service| !known.contains(service.name())).collect();
        if self.prune {
            reasons
                .extend(strangers.iter().map(|service| format!("remove {}: not in the file any more", service.name())));
        }
        let mine: Vec<&Service> = services.iter().filter(|service| known.contains(service.name())).collect();
        if observed.changes == 0 {
            let paused = mine.iter().filter(|service| service.paused().is_some() && service.digest() == digest);
            let again: Vec<String> = paused.map(|service| service.name().to_owned()).collect();
            reasons.extend(again.iter().map(|name| format!("update {name}: its last update was paused")));
            if !reasons.is_empty() {
                return Ok(self.deploy(&files, &env, &digest, &reasons, &again));
            }
        } else if let Some(service) = mine.iter().find(|service| service.digest() != digest) {
            let text = match service.rolled_back() {
                Some(message) => format!("{} was rolled back to its old version: {message}", service.name()),
                None => format!("{} was changed by somebody else while it was deployed", service.name()),
            };
            return give_up(text, service, &tasks, more);
        }
        let plan = match self.wait {
            true => self.watch(observed, &mine, &tasks, now, more)?,
            false => Plan::NoChange(self.report(&mine, &tasks)),
        };
        Ok(match plan {
            Plan::NoChange(done) if observed.changes > 0 => Plan::NoChange(self.warned(done, &files)),
            plan => plan,
        })
    }

    /// With a warning of labels that mean something under Compose only.
    fn warned(&self, done: Return, files: &Files) -> Return {
        if !self.start_first || files.drained.is_empty() {
            return done;
        }
        let names = files.drained.iter().cloned().collect::<Vec<_>>().join(", ");
        let text = format!(
            "{DRAIN} of {names} does nothing in a swarm, which would end a task whose health check fails; it leaves the old task \
             two seconds in which the proxy has to forget it"
        );
        done.with("warnings", vec![text])
    }

    fn seen(&self, answers: &[Answer]) -> Result<(i64, Vec<Service>, Vec<Task>), Failure> {
        let found = output(answers, 0)?;
        let text = found.stdout_text();
        let (date, rest) = text.split_once('\n').unwrap_or((&text, ""));
        if !found.ok() && !rest.trim_end().ends_with(']') {
            return Err(trouble("docker service ls failed", &docker().raw("service ls"), found));
        }
        let tasks = output(answers, 1)?;
        if !tasks.ok() && !tasks.stdout.trim_ascii_end().ends_with(b"]") {
            return Err(trouble("docker service ps failed", &docker().raw("service ps"), tasks));
        }
        let now = date.trim().parse::<i64>().map_or(0, |seconds| seconds * 1000);
        Ok((now, read_json("docker service inspect", rest.as_bytes())?, read_json("docker inspect", &tasks.stdout)?))
    }

    /// Those of the host's files, and over them those that were given.
    fn settings(&self, answers: &[Answer]) -> Result<Env, Failure> {
        let mut read = Object::new();
        for (at, path) in self.env_files.iter().enumerate() {
            let text = observed::bytes(answers, at + 2 + self.files.len(), path)?;
            let text = text.ok_or_else(|| Failure::new(format!("the file of settings {path} does not exist")))?;
            let text = String::from_utf8_lossy(text);
            read.extend(super::env_file::read(&text).into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        }
        read.retain(|name, _| self.env.iter().all(|(given, _)| given != name));
        let mut all = environment(&read)?;
        all.extend(self.env.iter().cloned());
        Ok(all)
    }

    /// Of everything that the services come from. It is public, but made of all values together.
    fn digest(&self, texts: &[&[u8]], referred: &[Answer], env: &Env) -> String {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        add(self.name.as_bytes());
        for text in texts {
            add(text);
        }
        for answer in referred {
            let checksum = match answer {
                Answer::Stat(Some(stat)) => stat.checksum.clone(),
                _ => None,
            };
            add(checksum.unwrap_or_default().as_bytes());
        }
        let mut env: Vec<&(String, Secret)> = env.iter().collect();
        env.sort_by_key(|(name, _)| name);
        for (_, assignment) in env {
            add(assignment.reveal().as_bytes());
        }
        digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn deploy(&self, files: &Files, env: &Env, digest: &str, reasons: &[String], again: &[String]) -> Plan {
        let added_to = |name: &String| {
            let mut deploy = json!({"labels": {DIGEST: digest}});
            if let Some(order) = files.orders.get(name).filter(|_| self.start_first) {
                let mut rules = order.rules.as_object().cloned().unwrap_or_default();
                let word = if order.gap.is_none() { "start-first" } else { "stop-first" };
                rules.insert("order".to_owned(), word.into());
                deploy["update_config"] = Value::Object(rules);
            }
            json!({ "deploy": deploy })
        };
        let mut added = Object::new();
        if let Some(version) = &files.version {
            added.insert("version".to_owned(), version.clone());
        }
        let services: Object = files.services.iter().map(|name| (name.clone(), added_to(name))).collect();
        added.insert("services".to_owned(), Value::Object(services));

        let files_said: Vec<String> = self.files.iter().map(|file| quote(file)).collect();
        let mut deploy = exported(env)
            .title(format!(
                "docker stack deploy --compose-file {} {}",
                files_said.join(" --compose-file "),
                quote(&self.name)
            ))
            // newer clients wait by themselves unless told not to, older ones do not know the word
            .raw("set --; case $(\"$d\" stack deploy --help) in *--detach*) set -- --detach=true ;; esac\n")
            .raw("\"$d\" stack deploy \"$@\"");
        if self.prune {
            deploy = deploy.raw("--prune");
        }
        if self.registry_auth {
            deploy = deploy.raw("--with-registry-auth");
        }
        match self.resolve {
            None => {}
            Some(Resolve::Always) => deploy = deploy.raw("--resolve-image always"),
            Some(Resolve::Changed) => deploy = deploy.raw("--resolve-image changed"),
            Some(Resolve::Never) => deploy = deploy.raw("--resolve-image never"),
        }
        for file in &self.files {
            deploy = deploy.raw("--compose-file").arg(file);
        }
        // JSON is YAML
        deploy = deploy.raw("--compose-file /dev/stdin").arg(&self.name).stdin(Value::Object(added).to_string());

        let mut operations = Vec::new();
        if self.pull && !files.images.is_empty() {
            let pull = Script::new()
                .raw("set --")
                .args(files.images.iter())
                .raw("\nfor i; do docker image inspect \"$i\" >/dev/null 2>&1 && continue\n")
                .raw("n=1\nuntil e=$(docker pull -q \"$i\" 2>&1); do\n")
                .raw("case $e in *'manifest unknown'*|*'not found'*|*denied*|*'no such host'*) n=3 ;; esac\n")
                .raw("[ $n -lt 3 ] || { printf '%s\\n' \"$e\" >&2; exit 1; }\nsleep $((n * 5)); n=$((n + 1)); done; done");
            let images: Vec<&str> = files.images.iter().map(String::as_str).collect();
            let title = format!("docker pull {}", images.join(" "));
            operations.push(Operation::run(pull.title(title).timeout(Duration::from_secs(3600))));
        }
        operations.push(Operation::run(deploy.timeout(Duration::from_secs(600))));
        for name in again {
            operations.push(Operation::run(docker().raw("service update --detach --force --quiet").arg(name)));
        }
        let lines: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
        let forecast = self.warned(Return::msg(reasons.join("; ")).with("actions", json!(reasons)), files);
        let diff = vec![diff(&format!("stack {}", self.name), "", lines)];
        Plan::Change(Change { diff, operations, then: Then::Replan(Look::Everything), forecast })
    }

    fn watch(
        &self,
        observed: &Observed<'_>,
        services: &[&Service],
        tasks: &[Task],
        now: i64,
        more: &[Answer],
    ) -> Result<Plan, Failure> {
        let judge =
            |patient: bool| services.iter().map(move |service| (*service, service.verdict(tasks, now, patient)));
        // without patience first: who is still on the way, not counting those that fail?
        let starting = judge(false).any(|(_, verdict)| matches!(verdict, Verdict::Waiting(_)));
        let patient = starting && observed.elapsed < Duration::from_secs(120);
        let (mut failed, mut waiting) = (Vec::new(), Vec::new());
        for (service, verdict) in judge(patient) {
            match verdict {
                Verdict::Failed(why) => failed.push((service, why)),
                Verdict::Waiting(why) => waiting.push((service, why)),
                Verdict::Done | Verdict::Ready => {}
            }
        }
        let told = |found: &[(&Service, String)]| {
            found.iter().map(|(service, why)| format!("{} {why}", service.name())).collect::<Vec<_>>().join("; ")
        };
        if let Some((first, _)) = failed.first() {
            return give_up(told(&failed), first, tasks, more);
        }
        let Some((first, _)) = waiting.first() else {
            return Ok(Plan::NoChange(self.report(services, tasks)));
        };
        if observed.elapsed >= self.limit {
            let text = format!("not ready after {} s: {}", self.limit.as_secs(), told(&waiting));
            return give_up(text, first, tasks, more);
        }
        Ok(Plan::Wait { after: pause(observed.elapsed), status: told(&waiting), look: Look::Everything })
    }

    fn report(&self, services: &[&Service], tasks: &[Task]) -> Return {
        let each = services.iter().map(|service| {
            json!({"name": service.name(), "id": service.id, "image": service.image(), "tasks": service.count(tasks)})
        });
        let noun = if services.len() == 1 { "service" } else { "services" };
        let state = if self.wait { "as wanted and ready" } else { "as wanted" };
        Return::msg(format!("{} {noun} of {} {state}", services.len(), self.name))
            .with("services", each.collect::<Vec<_>>())
    }

    fn remove(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble("docker service ls failed", &docker().raw("service ls"), found));
        }
        if found.stdout.trim_ascii().is_empty() {
            return Ok(Plan::NoChange(Return::msg(format!("there is no stack {}", self.name))));
        }
        if observed.changes == 0 {
            return Ok(Plan::Change(Change {
                diff: vec![diff(&format!("stack {}", self.name), "deployed\n", "")],
                operations: vec![Operation::run(docker().raw("stack rm").arg(&self.name))],
                then: Then::Replan(Look::Everything),
                forecast: Return::default(),
            }));
        }
        if observed.elapsed >= self.limit {
            return Err(Failure::new(format!(
                "parts of {} are still there after {} s",
                self.name,
                self.limit.as_secs()
            ))
            .hint("`docker ps -a` and `docker network ls` on the host show them"));
        }
        // containers and networks go a while after the services
        let status = format!("{} is being removed", self.name);
        Ok(Plan::Wait { after: pause(observed.elapsed), status, look: Look::Everything })
    }
}

/// A failure with the last lines of the service's last task.
fn give_up(text: String, service: &Service, tasks: &[Task], more: &[Answer]) -> Result<Plan, Failure> {
    let Some(task) = service.witness(tasks) else {
        let show = format!("docker service ps --no-trunc {}", service.name());
        return Err(Failure::new(text).hint(format!("`{show}` on the host shows more")));
    };
    let Some(answer) = more.first() else {
        let logs = Script::new().raw("docker service logs --raw --tail 20").arg(&task.id).raw("2>&1");
        return Ok(Plan::Ask(vec![ask(logs.timeout(Duration::from_secs(20)))]));
    };
    let logs = match answer {
        Answer::Output(output) => output.stdout_text(),
        _ => String::new(),
    };
    Err(Failure::new(text)
        .with("cmd", format!("docker service logs --raw --tail 20 {}", task.id))
        .with("rc", task.exit_code())
        .with("stdout", "")
        .with("stderr", logs.trim_end())
        .with("service", service.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(env: Value) -> Stack {
        let Value::Object(env) = env else { unreachable!() };
        Stack {
            name: "st".to_owned(),
            files: vec!["/srv/stack.yml".to_owned()],
            env: environment(&env).unwrap(),
            env_files: Vec::new(),
            start_first: false,
            redeploy: Vec::new(),
            prune: true,
            registry_auth: false,
            resolve: None,
            state: State::Present,
            wait: true,
            limit: Duration::from_secs(120),
            pull: true,
        }
    }

    #[test]
    fn the_digest_changes_with_everything_that_matters() {
        let digest = |env: Value, texts: &[&[u8]], referred: &[Answer]| {
            let stack = stack(env);
            stack.digest(texts, referred, &stack.env)
        };
        let base = digest(json!({"A": "1", "B": "2"}), &[b"x"], &[]);
        assert_eq!(base, digest(json!({"B": "2", "A": "1"}), &[b"x"], &[]));
        assert_ne!(base, digest(json!({"A": "1", "B": "3"}), &[b"x"], &[]));
        assert_ne!(base, digest(json!({"A": "1", "B": "2"}), &[b"y"], &[]));
        assert_ne!(base, digest(json!({"A": "1", "B": "2"}), &[b"x"], &[Answer::Stat(None)]));
    }

    #[test]
    fn settings_of_a_file_count_as_given_ones() {
        let answers = [
            Answer::Bytes(None),
            Answer::Bytes(None),
            Answer::Bytes(None),
            Answer::Bytes(Some(b"A=1\nB='two words'\n".to_vec())),
        ];
        let given = stack(json!({"A": "1", "B": "two words"}));
        let from_file =
            |env: Value| Stack { env_files: vec!["/srv/.env".to_owned()], ..stack(env) }.settings(&answers).unwrap();
        assert_eq!(given.digest(&[], &[], &given.env), given.digest(&[], &[], &from_file(json!({}))));
        let over = stack(json!({"A": "1", "B": "3"}));
        assert_eq!(over.digest(&[], &[], &over.env), over.digest(&[], &[], &from_file(json!({"B": "3"}))));
        let lost = Stack { env_files: vec!["/srv/.env".to_owned()], ..stack(json!({})) }.settings(&answers[..3]);
        assert!(lost.is_err());
    }

    #[test]
    fn the_order_of_an_update_is_added_where_the_file_says_none() {
        let text = b"services:\n  a: {image: x, healthcheck: {test: [CMD, ok]}, deploy: {update_config: {monitor: 3s}}}\n  \
            b: {image: x, deploy: {update_config: {order: start-first}}}\n  c: {image: x}\n  j: {image: x, deploy: {mode: replicated-job}}\n";
        let files = Files::read(&[text], "/srv").unwrap();
        let stack = Stack { start_first: true, ..stack(json!({})) };
        let Plan::Change(change) = stack.deploy(&files, &Vec::new(), "d", &[], &[]) else { panic!() };
        let Operation::Run { script, .. } = &change.operations[1] else { panic!("{change:?}") };
        let added: Value = serde_json::from_slice(script.stdin.as_ref().unwrap()).unwrap();
        let rules = |name: &str| added["services"][name]["deploy"]["update_config"].clone();
        assert_eq!(rules("a"), json!({"monitor": "3s", "order": "start-first"}));
        assert_eq!(rules("c"), json!({"order": "stop-first"}));
        assert_eq!((rules("b"), rules("j")), (Value::Null, Value::Null));
    }

    #[test]
    fn a_drain_that_does_nothing_is_told_before_an_update() {
        let warned = |text: &[u8], start_first: bool| {
            let files = Files::read(&[text], "/srv").unwrap();
            let stack = Stack { start_first, ..stack(json!({})) };
            let Plan::Change(change) = stack.deploy(&files, &Vec::new(), "d", &[], &[]) else { panic!() };
            change.forecast.values.get("warnings").map(|all| all[0].as_str().unwrap_or_default().to_owned())
        };
        let drained = b"services:\n  a: {image: x, labels: {provision.drain: touch /d}}\n  b: {image: x}\n";
        let told = warned(drained, true).unwrap();
        assert!(told.starts_with("provision.drain of a does nothing in a swarm"), "{told}");
        assert_eq!(warned(drained, false), None);
        assert_eq!(warned(b"services:\n  b: {image: x}\n", true), None);
    }

    #[test]
    fn secrets_are_exported_and_never_arguments() {
        let file = b"services:\n  web: {image: 'a:1'}\n".to_vec();
        let none =
            |text: &str| Answer::Output(crate::plan::Output { stdout: text.as_bytes().to_vec(), ..Default::default() });
        let answers = [none("1795436400\n[]"), none("[]"), Answer::Bytes(Some(file))];
        let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
        let plan = stack(json!({"DB_PASSWORD": "hunter2 $x"})).plan(&observed).unwrap();
        assert!(!format!("{plan:?}").contains("hunter2"));
        let Plan::Change(change) = plan else { panic!("{plan:?}") };
        assert_eq!(change.forecast.msg.as_deref(), Some("create st_web"));
        let Operation::Run { script, .. } = &change.operations[1] else { panic!("{change:?}") };
        let text = script.render();
        assert!(text.contains("export 'DB_PASSWORD=hunter2 $x'"), "{text}");
        assert!(text.ends_with("--prune --compose-file /srv/stack.yml --compose-file /dev/stdin st"), "{text}");
        let added = String::from_utf8(script.stdin.clone().unwrap()).unwrap();
        assert!(added.contains(r#""web":{"deploy":{"labels":{"io.provision.digest":"#), "{added}");
    }
}
