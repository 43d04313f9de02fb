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

/// Deletes data, and only where the service is worked on.
const RESET: &str = r#"{"name": "reset", "description": "Borra los pedidos", "run": "count.sh", "mode": "debug", "confirm": "host", "backup_first": true}"#;

#[test]
fn one_that_deletes_data_is_for_its_mode_and_wants_the_hosts_name() {
    let project = project(RESET);
    project.file("inventory/host_vars/beto.yml", "mode: debug\n");
    for (args, says) in [
        (&["--host", "ana", "--yes-really"][..], "action `reset` is only for the mode debug, in which ana is not"),
        (&["--host", "ana,beto", "--check"], "in which ana is not"),
        (&["--host", "beto", "--mode", "produccion", "--yes-really"], "in which beto is not"),
        (&["--host", "beto"], "there is no terminal to type the host's name on"),
        (&["--host", "beto", "--yes"], "this deletes data, for which --yes is not enough"),
    ] {
        let ended = project.run(&[&["action", "shop", "reset"], args].concat());
        assert!(ended.code == 2 && ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
    assert!(!project.was_called());
    // agreed to, it goes there
    assert_eq!(project.run(&["action", "shop", "reset", "--host", "beto", "--yes-really"]).code, 1);
    assert!(project.was_called());
}

#[test]
fn lint_looks_at_the_script_the_settings_and_the_container() {
    let lint = |action: &str, says: &str| {
        let ended = project(action).run(&["registry", "lint", "shop"]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(ended.code == 2 && said.contains(says), "{says}: {said}");
    };
    assert_eq!(project(COUNT).says(&["registry", "lint", "shop"]), "shop ok\n");
    lint(&COUNT.replace("count.sh", "cuont.sh"), "`cuont.sh` is not in the package");
    lint(&COUNT.replace("DB_PASSWORD", "NOPE"), "action `count` wants `NOPE`, which is no setting of the package");
    lint(RESET, "action `reset` wants a backup before it, and the package has none");
    lint(&RESET.replace(", \"backup_first\": true", ""), "action `reset` deletes data and takes no backup before");
    lint(&RESET.replace("\"host\"", "\"hots\""), "`confirm` is true, false or \"host\", not \"hots\"");
    lint(&RESET.replace("debug", "debgu"), "unknown variant `debgu`, expected `debug` or `produccion`");
    lint(
        &COUNT.replace("\"web\"", "\"wbe\""),
        "action `count` is for the service `wbe`, which the stack does not have",
    );
}
