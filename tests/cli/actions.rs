//! `provision action`: what a package offers, and what is said of one that it does not.

use crate::project::{MANIFEST, Project};

fn project(actions: &str) -> Project {
    let project = Project::with_key();
    project.file(
        "registry/shop/manifest.json",
        &MANIFEST.replace("\"aliases\"", &format!("\"actions\": [{actions}], \"aliases\"")),
    );
    project.file("registry/shop/count.sh", "echo 5\n");
    project
}

const COUNT: &str = r#"{"name": "count", "description": "Cuenta los pedidos", "service": "web", "run": "count.sh", "env": ["DB_PASSWORD"]}"#;

#[test]
fn actions_are_listed_and_a_wrong_name_is_said_before_anything_is_touched() {
    let project = project(COUNT);
    let list = project.says(&["action", "--list", "tienda"]);
    let last: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["shop", "count", "web", "Cuenta", "los", "pedidos"]);
    let all = project.says(&["action", "--list"]);
    assert!(all.lines().any(|line| line.starts_with("chat ") && line.contains("mail-test")), "{all}");
    for (args, says) in [
        (vec!["action", "shop", "cuont", "--host", "ana"], "service `shop` has no action `cuont`"),
        (vec!["action", "shpo", "count", "--host", "ana"], "unknown service `shpo`"),
        (vec!["action", "shop", "count"], "no client is named"),
        (vec!["action", "shop", "count", "--host", "ana", "--services", "shop"], "an action is of one service"),
        (vec!["action", "shop", "--host", "ana"], "required arguments were not provided"),
    ] {
        let ended = project.run(&args);
        assert!(ended.code == 2 && ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
    assert!(!project.was_called());
}

#[test]
fn one_that_is_to_be_confirmed_asks() {
    let project = project(&COUNT.replace("\"run\"", "\"confirm\": true, \"run\""));
    let ended = project.run(&["action", "shop", "count", "--host", "ana"]);
    assert!(ended.code == 2 && ended.stderr.contains("there is no terminal to confirm on"), "{}", ended.stderr);
    assert!(!project.was_called());
}

#[test]
fn lint_looks_at_the_script_the_settings_and_the_container() {
    let lint = |action: &str, says: &str| {
        let ended = project(action).run(&["registry", "lint", "shop"]);
        assert!(ended.code == 2 && ended.stdout.contains(says), "{says}: {}{}", ended.stdout, ended.stderr);
    };
    assert_eq!(project(COUNT).says(&["registry", "lint", "shop"]), "shop ok\n");
    lint(&COUNT.replace("count.sh", "cuont.sh"), "`cuont.sh` is not in the package");
    lint(&COUNT.replace("DB_PASSWORD", "NOPE"), "action `count` wants `NOPE`, which is no setting of the package");
    lint(
        &COUNT.replace("\"web\"", "\"wbe\""),
        "action `count` is for the service `wbe`, which the stack does not have",
    );
}
