//! `docker_stack` and `docker_swarm`, where the engine manages a swarm (`docker swarm init`); skipped otherwise.

use serde_json::{Value, json};

use crate::support::{Engine, Project, engine, settle};

fn swarm() -> Option<&'static Engine> {
    let engine = engine()?;
    let info = std::process::Command::new("docker").args(["info", "--format", "{{.Swarm.ControlAvailable}}"]).output();
    if info.is_ok_and(|output| output.stdout.starts_with(b"true")) {
        return Some(engine);
    }
    println!("skipped: the engine manages no swarm (`docker swarm init`)");
    None
}

struct Stack {
    files: Project,
}

impl Stack {
    fn new(engine: &Engine, text: &str) -> Stack {
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
        let _ = std::process::Command::new("docker").args(["stack", "rm", &self.files.name]).output();
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
    let first = settle("docker_stack", stack.task(env(value, "1"))).unwrap();
    assert!(first.changed);
    let again = settle("docker_stack", stack.task(env(value, "1"))).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 2), "{:?}", again.diff);

    // byte for byte
    let task = json!({"project": stack.files.name, "service": "web", "argv": ["sh", "-c", "printf %s \"$COLOUR\""],
        "strip_empty_ends": false});
    assert_eq!(settle("docker_container_exec", task).unwrap().returned.values["stdout"], value);

    // a file that became a config counts as well
    stack.files.write("c.conf", "two\n");
    let changed = settle("docker_stack", stack.task(env(value, "2"))).unwrap();
    assert!(changed.diff.concat().contains("configuration changed"));

    let gone =
        STACK.split("  job:").next().unwrap().to_owned() + "configs:\n" + STACK.split("configs:\n").nth(1).unwrap();
    stack.files.write("compose.yaml", &gone.replace("IMAGE", engine.image()).replace("NAME", &stack.files.name));
    let pruned = settle("docker_stack", stack.task(env(value, "2"))).unwrap();
    assert!(pruned.diff.concat().contains("_job: not in the file any more"), "{}", pruned.diff.concat());
    assert!(!settle("docker_stack", stack.task(env(value, "2"))).unwrap().changed);

    let absent = || json!({"name": stack.files.name, "state": "absent"});
    assert!(settle("docker_stack", absent()).unwrap().changed);
    assert!(!settle("docker_stack", absent()).unwrap().changed);
}

#[test]
fn a_rollback_is_a_failure_and_so_is_a_loop() {
    let Some(engine) = swarm() else { return };
    let text = "services:\n  web:\n    image: IMAGE\n    command: COMMAND\n    stop_grace_period: 0s\n    deploy: {endpoint_mode: dnsrr, restart_policy: {delay: 1s}, update_config: {failure_action: rollback, monitor: 4s}}\n";
    let stack = Stack::new(engine, &text.replace("COMMAND", "sleep 1000"));
    settle("docker_stack", stack.task(json!({}))).unwrap();
    let write = |command: &str| {
        stack.files.write("compose.yaml", &text.replace("IMAGE", engine.image()).replace("COMMAND", command));
    };
    write("sh -c 'echo out of luck; exit 3'");
    let failure = settle("docker_stack", stack.task(json!({}))).unwrap_err();
    assert!(failure.msg.contains("rolled back") || failure.msg.contains("tasks failed"), "{}", failure.msg);
    assert_eq!(failure.values["stderr"], "out of luck", "{failure:?}");

    let fresh = Stack::new(engine, &text.replace("COMMAND", "sh -c 'echo never; exit 3'"));
    let failure = settle("docker_stack", fresh.task(json!({}))).unwrap_err();
    assert!(failure.msg.contains("3 of its tasks failed"), "{}", failure.msg);
    assert_eq!(failure.values["rc"], 3);
}

#[test]
fn a_swarm_that_is_there_is_left_alone() {
    let Some(_) = swarm() else { return };
    assert!(!settle("docker_swarm", json!({"state": "present"})).unwrap().changed);
    let failure = settle("docker_swarm", json!({"state": "absent"})).unwrap_err();
    assert!(failure.msg.contains("ends the swarm's services"), "{}", failure.msg);
}
