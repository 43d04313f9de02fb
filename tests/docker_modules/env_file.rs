//! `env_file`: what is written is what Compose reads and what the container gets, byte for byte.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::machine::engine;
use crate::support::{Project, settle};

/// Texts made of everything that dotenv files, shells and YAML give a meaning to.
fn values() -> impl Strategy<Value = Vec<String>> {
    let odd = prop::sample::select(vec![
        " ", "\t", "\n", "\r", "\r\n", "$", "$$", "${", "${X}", "$X", "}", "#", " #", "'", "''", "\"", "\\", "\\\\",
        "\\n", "\\'", "\\\"", "\\$", "=", ":", ";", "`", "!", "%", "&", "*", "{{", "export ", "é", "ñ", "€", "😀",
        "\u{a0}",
    ]);
    let piece = prop_oneof![3 => odd.prop_map(str::to_owned), 2 => "[a-zA-Z0-9]{1,4}", 1 => "[^\u{0}]{1,3}"];
    let value = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    prop::collection::vec(value, 60)
}

/// Variables that the host's own environment has too: the file must win.
const NAMES: [&str; 6] = ["HOME", "TZ", "LANG", "LC_ALL", "USER", "PWD"];

fn project_of(names: &[String]) -> String {
    let settings: String = names.iter().map(|name| format!("      {name}: \"${{{name}}}\"\n")).collect();
    format!("services:\n  a:\n    image: IMAGE\n    command: cat /proc/self/environ\n    environment:\n{settings}")
}

fn names_of(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("KEY_{at}")).collect()
}

fn write(project: &Project, names: &[String], values: &[String]) {
    let values: serde_json::Map<String, Value> =
        names.iter().cloned().zip(values.iter().cloned().map(Value::String)).collect();
    let task = json!({"path": project.path().join(".env"), "values": values});
    project.engine.settle("env_file", task).unwrap();
}

#[test]
fn compose_reads_back_what_was_written() {
    let Some(engine) = engine() else { return };
    let names = names_of(60);
    let project = Project::new(engine, &project_of(&names));
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&values(), |values| {
        write(&project, &names, &values);
        let output = project.compose(&["config", "--format", "json"]);
        prop_assert!(output.ok(), "{}", output.stderr_text());
        let config: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (name, value) in names.iter().zip(&values) {
            // dollars are doubled in the answer, so that it could be read again
            let read = config["services"]["a"]["environment"][name].as_str().unwrap_or_default().replace("$$", "$");
            prop_assert_eq!(&read, value, "{}", name);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_container_gets_the_bytes() {
    let Some(engine) = engine() else { return };
    let mut names = names_of(60);
    names.extend(NAMES.map(str::to_owned));
    let project = Project::new(engine, &project_of(&names));
    let mut runner = TestRunner::new(Config { cases: 3, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&values(), |mut values| {
        values.extend(NAMES.map(|name| format!("own {name} $5")));
        write(&project, &names, &values);
        project
            .engine
            .settle("docker_compose_v2", project.task())
            .map_err(|failure| TestCaseError::fail(format!("{failure:?}")))?;
        let mut logs = engine.docker();
        let environ = logs.arg("logs").arg(format!("{}-a-1", project.name)).output().expect("docker runs").stdout;
        let got: Vec<&[u8]> = environ.split(|byte| *byte == 0).collect();
        for (name, value) in names.iter().zip(&values) {
            let wanted = format!("{name}={value}").into_bytes();
            prop_assert!(got.iter().any(|entry| **entry == wanted), "{name}: {value:?}");
        }
        project.compose(&["down", "-t", "0"]);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_second_run_writes_nothing_and_a_change_shows_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let task = |value: &str| json!({"path": path, "values": {"DB_PASSWORD": value, "PORT": 8000}});
    assert!(settle(&[], "env_file", task("hunter2 $x")).unwrap().changed);
    assert!(!settle(&[], "env_file", task("hunter2 $x")).unwrap().changed);
    let changed = settle(&[], "env_file", task("hunter3")).unwrap();
    assert_eq!(changed.diff.concat(), "DB_PASSWORD (new value)\nPORT\n");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
