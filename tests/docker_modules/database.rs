//! `database` against real servers, in the images of `tests/images`.

use serde_json::{Value, json};

use crate::machine::{engine, image};
use crate::support::Project;

fn task(project: &Project, more: Value) -> Value {
    let mut task =
        json!({"project": project.name, "service": "db", "name": "my_db", "user": "it's me", "wait_timeout": 90});
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

const PASSWORD: &str = "p'a\\ss \"$w\" # ñ;";

#[test]
fn postgres() {
    let Some(engine) = engine() else { return };
    let Some(image) = image("pgvector", "pgvector/pgvector:pg17") else { return };
    let text = format!(
        "services:\n  db:\n    image: {image}\n    stop_grace_period: 0s\n    restart: always\n    environment: {{POSTGRES_PASSWORD: 'root''s $$5'}}\n"
    );
    let project = Project::new(engine, &text);
    engine.settle("docker_compose_v2", project.with(json!({"wait": false}))).unwrap();
    let of = |more: Value| {
        let mut task =
            task(&project, json!({"engine": "pgvector", "password": PASSWORD, "admin_password": "root's $5"}));
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        engine.settle("database", task)
    };
    let first = of(json!({})).unwrap();
    assert_eq!(first.diff.concat(), "create role it's me\ncreate database my_db\ncreate extension vector\n");
    let again = of(json!({})).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 1), "{:?}", again.diff);

    // over the network, as a service would: not from inside, where every password is accepted
    let login = |password: &str| {
        let script = "ip=$(hostname -i); exec psql -w -h \"${ip%% *}\" -U \"it's me\" -d my_db -Atc 'create table if not exists t (v vector(3)); select 1'";
        let task = json!({"project": project.name, "service": "db", "argv": ["sh", "-c", script], "env": {"PGPASSWORD": password}});
        engine.settle("docker_container_exec", task).unwrap().returned.values["rc"].clone()
    };
    assert_eq!(login(PASSWORD), 0);
    assert_ne!(login("another"), 0);

    let changed = of(json!({"password": "another"})).unwrap();
    assert_eq!(changed.diff.concat(), "set the password of it's me\n");
    assert_eq!(login("another"), 0);
    assert_eq!(
        of(json!({"password": "another", "user": "second"})).unwrap().diff.concat(),
        "create role second\ngive database my_db to second (was it's me)\n"
    );
    let failure = of(json!({"extensions": ["nosuch"]})).unwrap_err();
    assert!(failure.msg.contains("nosuch"), "{}", failure.msg);
    assert!(
        of(json!({"name": "o\"dd 'name", "encoding": "UTF8", "collation": "C", "extensions": ["vector"]}))
            .unwrap()
            .changed
    );
    assert!(
        !of(json!({"name": "o\"dd 'name", "encoding": "utf-8", "collation": "C", "extensions": ["vector"]}))
            .unwrap()
            .changed
    );
    let failure = of(json!({"admin_user": "nobody"})).unwrap_err();
    assert!(failure.msg.contains("refuses the administrator `nobody`"), "{}", failure.msg);
    // the administrator's own, which is then the one to come in with
    let rotated = json!({"admin_password": "new's $6", "admin_password_before": "root's $5", "password": "another"});
    let first = of(rotated.clone()).unwrap();
    assert!(first.diff.concat().ends_with("set the password of the administrator postgres\n"), "{:?}", first.diff);
    assert!(!of(rotated).unwrap().changed);
    let script = "ip=$(hostname -i); exec psql -w -h \"${ip%% *}\" -U postgres -Atc 'select 1'";
    for (password, in_force) in [("new's $6", true), ("root's $5", false)] {
        let task = json!({"project": project.name, "service": "db", "argv": ["sh", "-c", script], "env": {"PGPASSWORD": password}});
        let rc = engine.settle("docker_container_exec", task).unwrap().returned.values["rc"].clone();
        assert_eq!(rc == 0, in_force, "{password}");
    }
    let logs = project.compose(&["logs", "db"]);
    assert!(!logs.stdout_text().contains("new's"), "{}", logs.stdout_text());
    assert!(!logs.stdout_text().contains("another"), "{}", logs.stdout_text());
}

#[test]
fn mariadb() {
    let Some(engine) = engine() else { return };
    let Some(image) = image("mariadb", "mariadb:11.8") else { return };
    let text = format!(
        "services:\n  db:\n    image: {image}\n    stop_grace_period: 0s\n    restart: always\n    environment: {{MARIADB_ROOT_PASSWORD: 'root''s $$5'}}\n"
    );
    let project = Project::new(engine, &text);
    engine.settle("docker_compose_v2", project.with(json!({"wait": false}))).unwrap();
    let of = |more: Value| {
        let mut task = task(
            &project,
            json!({"engine": "mariadb", "password": PASSWORD, "admin_password": "root's $5", "encoding": "utf8mb4",
                "collation": "utf8mb4_unicode_ci"}),
        );
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        engine.settle("database", task)
    };
    let first = of(json!({})).unwrap();
    assert_eq!(
        first.diff.concat(),
        "create database my_db\ncreate user it's me\ngrant all privileges on my_db to it's me\n"
    );
    let again = of(json!({})).unwrap();
    assert_eq!((again.changed, again.round_trips), (false, 1), "{:?}", again.diff);
    assert_eq!(of(json!({"password": "another"})).unwrap().diff.concat(), "set the password of it's me\n");
    assert!(!of(json!({"password": "another"})).unwrap().changed);
    assert!(of(json!({"collation": "utf8mb4_general_ci", "password": "another"})).unwrap().changed);
    assert!(!of(json!({"collation": "utf8mb4_general_ci", "password": "another"})).unwrap().changed);
    assert!(of(json!({"name": "o`dd", "user": "read", "grants": ["select", "show view"]})).unwrap().changed);
    assert!(!of(json!({"name": "o`dd", "user": "read", "grants": ["select", "show view"]})).unwrap().changed);
    // the administrator's own, from wherever they come
    let rotated = json!({"admin_password": "new's \\ $6", "admin_password_before": "root's $5", "password": "another",
        "collation": "utf8mb4_general_ci"});
    assert_eq!(of(rotated.clone()).unwrap().diff.concat(), "set the password of the administrator root\n");
    assert!(!of(rotated).unwrap().changed);
    for (password, host) in [
        ("new's \\ $6", "127.0.0.1"),
        ("new's \\ $6", "localhost"),
        ("root's $5", "127.0.0.1"),
        ("root's $5", "localhost"),
    ] {
        let task = json!({"project": project.name, "service": "db", "argv": ["mariadb", "-h", host, "-e", "select 1"], "env": {"MYSQL_PWD": password}});
        let rc = engine.settle("docker_container_exec", task).unwrap().returned.values["rc"].clone();
        assert_eq!(rc == 0, password.starts_with("new"), "{password} {host}");
    }
    let failure = of(json!({"admin_password": "wrong"})).unwrap_err();
    assert!(failure.msg.contains("refuses the administrator `root`"), "{}", failure.msg);
}
