//! Networks, volumes, logins, commands in containers.

use serde_json::json;

use crate::machine::engine;
use crate::support::Project;

#[test]
fn a_network_is_made_once_and_never_replaced_silently() {
    let Some(engine) = engine() else { return };
    let name = engine.unique("net");
    let task = || json!({"name": name, "labels": {"owner": "provision"}});
    assert!(engine.settle("docker_network", task()).unwrap().changed);
    let again = engine.settle("docker_network", task()).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 1));
    assert_eq!(again.returned.values["network"]["Driver"], "bridge");

    let other = json!({"name": name, "internal": true});
    let failure = engine.settle("docker_network", other.clone()).unwrap_err();
    assert!(failure.msg.contains("internal is false, not true"), "{}", failure.msg);
    let mut forced = other;
    forced["force"] = true.into();
    assert!(engine.settle("docker_network", forced).unwrap().changed);
    assert!(engine.settle("docker_network", json!({"name": name, "state": "absent"})).unwrap().changed);
    assert!(!engine.settle("docker_network", json!({"name": name, "state": "absent"})).unwrap().changed);
}

#[test]
fn a_volume_is_made_once() {
    let Some(engine) = engine() else { return };
    let name = engine.unique("vol");
    assert!(engine.settle("docker_volume", json!({"name": name})).unwrap().changed);
    assert!(!engine.settle("docker_volume", json!({"name": name})).unwrap().changed);
    assert!(engine.settle("docker_volume", json!({"name": name, "state": "absent"})).unwrap().changed);
}

#[test]
fn a_refused_login_says_so_and_shows_no_password() {
    let Some(engine) = engine() else { return };
    let task = json!({"registry_url": "127.0.0.1:9", "username": "u", "password": "hunter2hunter2"});
    let failure = engine.settle("docker_login", task).unwrap_err();
    assert!(failure.msg.contains("login to 127.0.0.1:9 failed"), "{}", failure.msg);
    assert!(!format!("{failure:?}").contains("hunter2"));
}

#[test]
fn commands_run_in_containers_with_their_environment() {
    let Some(engine) = engine() else { return };
    let project = Project::new(
        engine,
        "services:\n  a:\n    image: IMAGE\n    command: sleep 1000\n    stop_grace_period: 0s\n    restart: always\n",
    );
    engine.settle("docker_compose_v2", project.task()).unwrap();
    let task = json!({"project": project.name, "service": "a", "argv": ["sh", "-c", "cat; printf %s \"$KEY|$PATH|$HOME\"; exit 3"],
        "env": {"KEY": " a'b$c\n", "PATH": "/bin", "HOME": "/tmp"}, "stdin": "in"});
    let done = engine.settle("docker_container_exec", task).unwrap();
    assert_eq!(done.returned.values["stdout"], "in\n a'b$c\n|/bin|/tmp");
    assert_eq!(done.returned.values["rc"], 3);
    assert!(done.changed);
    let info = engine.settle("docker_container_info", json!({"name": format!("{}-a-1", project.name)})).unwrap();
    assert_eq!(info.returned.values["exists"], true);
    let info = engine.settle("docker_container_info", json!({"name": "no-such-container"})).unwrap();
    assert_eq!(info.returned.values["exists"], false);
    let failure = engine
        .settle("docker_container_exec", json!({"container": "no-such-container", "argv": ["true"], "wait_timeout": 0}))
        .unwrap_err();
    assert!(failure.msg.contains("no running container no-such-container"), "{}", failure.msg);
}
