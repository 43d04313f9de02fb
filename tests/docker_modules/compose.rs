//! `docker_compose_v2`.

use serde_json::json;

use crate::machine::engine;
use crate::support::Project;

const SUITE: &str = r#"
services:
  db:
    image: IMAGE
    command: sh -c 'sleep 2; touch /tmp/ok; sleep 1000'
    stop_grace_period: 0s
    restart: unless-stopped
    healthcheck: {test: ["CMD", "test", "-f", "/tmp/ok"], interval: 1s, retries: 20}
  job:
    image: IMAGE
    command: sh -c 'echo prepared'
    restart: "no"
    depends_on: {db: {condition: service_healthy}}
  web:
    image: IMAGE
    command: sleep 1000
    stop_grace_period: 0s
    restart: unless-stopped
    environment: {COLOUR: "${COLOUR}", SIZE: "${SIZE:-1}"}
    depends_on: {job: {condition: service_completed_successfully}}
    deploy: {replicas: 2}
"#;

#[test]
fn a_project_comes_up_in_order_and_stays_as_it_is() {
    let Some(engine) = engine() else { return };
    let project = Project::new(engine, SUITE);
    project.write(".env", "COLOUR=red\n");
    let first = engine.settle("docker_compose_v2", project.task()).unwrap();
    assert!(first.changed);
    assert_eq!(first.returned.values["containers"].as_array().unwrap().len(), 4);

    // the hashes are Compose's own: it would recreate nothing either
    let again = engine.settle("docker_compose_v2", project.task()).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 1), "{:?}", again.diff);
    assert!(project.compose(&["up", "-d", "--dry-run"]).stderr_text().matches("Recreate").count() == 0);

    // one setting: only the service that has it, and the reason names it without the value
    project.write(".env", "COLOUR=hunter2\n");
    let changed = engine.settle("docker_compose_v2", project.task()).unwrap();
    let said = changed.diff.concat();
    assert_eq!(said.matches("recreate").count(), 2, "{said}");
    assert!(said.contains("configuration changed: COLOUR") && !said.contains("hunter2"), "{said}");
    assert!(!engine.settle("docker_compose_v2", project.task()).unwrap().changed);

    // what was stopped by hand is started, what ended well is not
    project.compose(&["kill", "db"]);
    let healed = engine.settle("docker_compose_v2", project.task()).unwrap();
    let said = healed.diff.concat();
    assert!(said.contains("start") && said.contains("had ended with code 137") && !said.contains("job"), "{said}");

    // a service that is gone from the file
    project.write(
        "compose.yaml",
        &SUITE.replace("IMAGE", engine.image()).replace("  db:", "  base:").replace("{db:", "{base:"),
    );
    assert!(
        engine.settle("docker_compose_v2", project.with(json!({"recreate": "never", "services": ["web"]}))).is_ok()
    );
    let tidied = engine.settle("docker_compose_v2", project.with(json!({"remove_orphans": true}))).unwrap();
    assert!(tidied.diff.concat().contains("remove"), "{}", tidied.diff.concat());
    assert!(!engine.settle("docker_compose_v2", project.with(json!({"remove_orphans": true}))).unwrap().changed);

    let restarted =
        engine.settle("docker_compose_v2", project.with(json!({"state": "restarted", "services": ["web"]}))).unwrap();
    assert!(restarted.diff.concat().contains("restart"));
    assert!(engine.settle("docker_compose_v2", project.with(json!({"recreate": "always"}))).unwrap().changed);

    assert!(engine.settle("docker_compose_v2", project.with(json!({"state": "stopped"}))).unwrap().changed);
    assert!(!engine.settle("docker_compose_v2", project.with(json!({"state": "stopped"}))).unwrap().changed);
    assert!(engine.settle("docker_compose_v2", project.with(json!({"state": "absent"}))).unwrap().changed);
    assert!(!engine.settle("docker_compose_v2", project.with(json!({"state": "absent"}))).unwrap().changed);
}

#[test]
fn what_cannot_come_up_fails_soon_and_says_why() {
    let Some(engine) = engine() else { return };
    let health = "healthcheck: {test: [CMD, 'false'], interval: 1s, retries: 2, timeout: 1s}";
    // a program that the image lacks, in both spellings; no other check will find it
    let lacking = [
        "command: sleep 100\n    stop_grace_period: 0s\n    healthcheck: {test: [CMD, curl, -f, http://127.0.0.1], interval: 1s, retries: 99}",
        "command: sleep 100\n    stop_grace_period: 0s\n    healthcheck: {test: 'curl -f http://127.0.0.1 || exit 1', interval: 1s, retries: 99}",
    ];
    let table = [
        ("command: sh -c 'echo out of luck >&2; exit 3'\n    restart: always", "restarts in a loop", "out of luck"),
        ("command: sh -c 'echo no such site; exit 4'\n    restart: 'no'", "exited with code 4", "no such site"),
        (&format!("command: sleep 100\n    stop_grace_period: 0s\n    {health}"), "checks failed in a row", ""),
        (lacking[0], "a health check that its image cannot run", ""),
        (lacking[1], "a health check that its image cannot run", ""),
    ];
    for (service, why, line) in table {
        let text = format!(
            "services:\n  a:\n    image: IMAGE\n    {service}\n  b:\n    image: IMAGE\n    command: sleep 100\n    stop_grace_period: 0s\n    depends_on: {{a: {{condition: service_healthy}}}}\n"
        );
        let text = if service.contains("healthcheck") { text } else { text.split("  b:").next().unwrap().to_owned() };
        let project = Project::new(engine, &text);
        let failure = engine.settle("docker_compose_v2", project.task()).unwrap_err();
        assert!(failure.msg.contains(why), "{service}: {}", failure.msg);
        assert!(failure.values["stderr"].as_str().unwrap().contains(line), "{service}: {:?}", failure.values);
        project.compose(&["down", "-t", "0"]);
    }
}

#[test]
fn waiting_ends_and_says_who_waits_for_whom() {
    let Some(engine) = engine() else { return };
    let text = "services:\n  slow:\n    image: IMAGE\n    command: sleep 100\n    stop_grace_period: 0s\n    healthcheck: {test: [CMD, 'false'], interval: 1s, start_period: 100s}\n  b:\n    image: IMAGE\n    command: sleep 100\n    depends_on: {slow: {condition: service_healthy}}\n";
    let project = Project::new(engine, text);
    let failure = engine.settle("docker_compose_v2", project.with(json!({"wait_timeout": 4}))).unwrap_err();
    assert!(
        failure.msg.contains("not ready 4 s after") && failure.msg.contains("b-1 waits for slow to be healthy"),
        "{}",
        failure.msg
    );
    assert!(!failure.values["health_log"].as_array().unwrap().is_empty());
}

#[test]
fn mistakes_are_named() {
    let Some(engine) = engine() else { return };
    let project = Project::new(engine, "services:\n  web:\n    image: IMAGE\n    comand: x\n");
    let failure = engine.settle("docker_compose_v2", project.task()).unwrap_err();
    assert!(failure.values["stderr"].as_str().unwrap().contains("comand"), "{:?}", failure.values);

    let project = Project::new(engine, "services:\n  web:\n    image: provision-test/none:1\n    pull_policy: never\n");
    let failure = engine.settle("docker_compose_v2", project.task()).unwrap_err();
    assert!(failure.msg.contains("provision-test/none:1 of service `web` is not on the host"), "{}", failure.msg);
    let failure = engine.settle("docker_compose_v2", project.with(json!({"services": ["webb"]}))).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("did you mean `web`?"));
    let failure =
        engine.settle("docker_compose_v2", json!({"project_src": "/no/such", "project_name": "x"})).unwrap_err();
    assert_eq!(failure.msg, "project_src /no/such does not exist");
}
