//! `docker_stack` and `docker_swarm`, on an engine of their own.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::machine::{Engine, engine_of_its_own};
use crate::support::Project;

/// An engine that manages a swarm since `docker_swarm` started one there; whether that was a change.
fn swarm_and_its_start() -> Option<(&'static Engine, bool)> {
    static STARTED: OnceLock<bool> = OnceLock::new();
    let engine = engine_of_its_own()?;
    let started = STARTED.get_or_init(|| engine.settle("docker_swarm", json!({"state": "present"})).unwrap().changed);
    Some((engine, *started))
}

fn swarm() -> Option<&'static Engine> {
    swarm_and_its_start().map(|(engine, _)| engine)
}

struct Stack {
    files: Project,
}

impl Stack {
    fn new(engine: &'static Engine, text: &str) -> Stack {
        Stack { files: Project::new(engine, text) }
    }
    fn task(&self, more: Value) -> Value {
        let file = self.files.path().join("compose.yaml");
        let mut task = json!({"name": self.files.name, "compose": file, "resolve_image": "never", "wait_timeout": 90});
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        task
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.files.engine.docker().args(["stack", "rm", &self.files.name]).output();
    }
}

const STACK: &str = r#"
version: "3.8"
services:
  web:
    image: IMAGE
    command: sleep 1000
    stop_grace_period: 0s
    environment: {COLOUR: "${COLOUR}"}
    configs: [{source: c, target: /c}]
    deploy: {replicas: 2, endpoint_mode: dnsrr, labels: ["a=b"], update_config: {failure_action: rollback, monitor: 3s}}
  job:
    image: IMAGE
    command: sh -c 'echo prepared'
    deploy: {mode: replicated-job, endpoint_mode: dnsrr, restart_policy: {condition: on-failure}}
configs:
  c: {file: ./c.conf, name: "NAME_c_${REVISION}"}
"#;

#[test]
fn a_stack_is_deployed_once() {
    let Some(engine) = swarm() else { return };
    let stack = Stack::new(engine, STACK);
    stack.files.write("compose.yaml", &STACK.replace("IMAGE", engine.image()).replace("NAME", &stack.files.name));
    stack.files.write("c.conf", "one\n");
    let value = " it's $5 \\ \"x\" # ñ\n ";
    let env = |value: &str, revision: &str| json!({"env": {"COLOUR": value, "REVISION": revision}, "prune": true});
    let first = engine.settle("docker_stack", stack.task(env(value, "1"))).unwrap();
    assert!(first.changed);
    let again = engine.settle("docker_stack", stack.task(env(value, "1"))).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 2), "{:?}", again.diff);

    // byte for byte
    let task = json!({"project": stack.files.name, "service": "web", "argv": ["sh", "-c", "printf %s \"$COLOUR\""],
        "strip_empty_ends": false});
    assert_eq!(engine.settle("docker_container_exec", task).unwrap().returned.values["stdout"], value);

    // a file that became a config counts as well
    stack.files.write("c.conf", "two\n");
    let changed = engine.settle("docker_stack", stack.task(env(value, "2"))).unwrap();
    assert!(changed.diff.concat().contains("configuration changed"));

    let gone =
        STACK.split("  job:").next().unwrap().to_owned() + "configs:\n" + STACK.split("configs:\n").nth(1).unwrap();
    stack.files.write("compose.yaml", &gone.replace("IMAGE", engine.image()).replace("NAME", &stack.files.name));
    let pruned = engine.settle("docker_stack", stack.task(env(value, "2"))).unwrap();
    assert!(pruned.diff.concat().contains("_job: not in the file any more"), "{}", pruned.diff.concat());
    assert!(!engine.settle("docker_stack", stack.task(env(value, "2"))).unwrap().changed);

    let absent = || json!({"name": stack.files.name, "state": "absent"});
    assert!(engine.settle("docker_stack", absent()).unwrap().changed);
    assert!(!engine.settle("docker_stack", absent()).unwrap().changed);
}

#[test]
fn a_rollback_is_a_failure_and_so_is_a_loop() {
    let Some(engine) = swarm() else { return };
    let text = "services:\n  web:\n    image: IMAGE\n    command: COMMAND\n    stop_grace_period: 0s\n    deploy: {endpoint_mode: dnsrr, restart_policy: {delay: 1s}, update_config: {failure_action: rollback, monitor: 4s}}\n";
    let stack = Stack::new(engine, &text.replace("COMMAND", "sleep 1000"));
    engine.settle("docker_stack", stack.task(json!({}))).unwrap();
    let write = |command: &str| {
        stack.files.write("compose.yaml", &text.replace("IMAGE", engine.image()).replace("COMMAND", command));
    };
    write("sh -c 'echo out of luck; exit 3'");
    let failure = engine.settle("docker_stack", stack.task(json!({}))).unwrap_err();
    assert!(failure.msg.contains("rolled back") || failure.msg.contains("tasks failed"), "{}", failure.msg);
    assert_eq!(failure.values["stderr"], "out of luck", "{failure:?}");

    let fresh = Stack::new(engine, &text.replace("COMMAND", "sh -c 'echo never; exit 3'"));
    let failure = engine.settle("docker_stack", fresh.task(json!({}))).unwrap_err();
    assert!(failure.msg.contains("3 of its tasks failed"), "{}", failure.msg);
    assert_eq!(failure.values["rc"], 3);
}

#[test]
fn a_swarm_is_started_once_and_left_alone_then() {
    let Some((engine, started)) = swarm_and_its_start() else { return };
    assert!(started);
    assert!(!engine.settle("docker_swarm", json!({"state": "present"})).unwrap().changed);
    let failure = engine.settle("docker_swarm", json!({"state": "absent"})).unwrap_err();
    assert!(failure.msg.contains("ends the swarm's services"), "{}", failure.msg);
}
