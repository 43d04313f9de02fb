//! The other verbs, once each: what an operator sees.

use std::process::Stdio;

use serde_json::Value;

use crate::project::Project;

#[test]
fn the_inventory_is_shown() {
    let project = Project::new();
    let list = project.says(&["inventory", "list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.lines().nth(1).unwrap().starts_with("ana   127.0.0.1  clients  shop"), "{list}");
    let json: Value = serde_json::from_str(&project.says(&["inventory", "list", "ana", "--json"])).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{"host": "ana", "address": "127.0.0.1", "groups": ["clients"], "services": ["shop"], "profiles": []}])
    );
    assert!(project.says(&["inventory", "graph", "--color", "never"]).contains("clients ana, beto\n"));
    let vars = project.says(&["inventory", "-i", "inventory", "vars", "ana"]);
    assert!(vars.contains("# ana\n") && vars.contains("services:"), "{vars}");
    assert_eq!(project.says(&["inventario", "list"]), list);
}

#[test]
fn the_catalogue_is_shown() {
    let project = Project::with_key();
    assert!(project.says(&["registry", "list"]).lines().any(|line| line.starts_with("shop ")));
    let show = project.says(&["registry", "show", "tienda", "--color", "never"]);
    assert!(show.contains("SHOP_DOMAIN") && show.contains("generated hex (24)"), "{show}");
    let stack = project.says(&["registry", "render", "shop", "--host", "ana"]);
    assert!(stack.contains("# shop on ana") && stack.contains("image: example/shop:1.2"), "{stack}");
    assert!(stack.contains("domain: shop.ana.example") && stack.contains("${DB_PASSWORD}"), "{stack}");
    assert!(!project.path("inventory/vps_data").exists(), "render stores nothing");
}

#[test]
fn a_changed_file_is_a_changed_label_of_who_mounts_it() {
    let project = Project::with_key();
    let text = crate::project::MANIFEST
        .replace("\"aliases\"", "\"files\": [{\"src\": \"a.conf\", \"dest\": \"conf/a.conf\"}],\n  \"aliases\"");
    project.file("registry/shop/manifest.json", &text);
    let mounts = "    volumes: [\"{{ root }}/conf/a.conf:/etc/a.conf:ro\"]\n    labels:\n";
    let other = "  other:\n    image: example/other:1\n    healthcheck: {test: [\"CMD\", \"true\"]}\n";
    project.file(
        "registry/shop/stack.yml.j2",
        &format!("{}{other}", crate::project::STACK.replace("    labels:\n", mounts)),
    );
    let render = |content: &str| {
        project.file("registry/shop/a.conf", content);
        project.says(&["registry", "render", "shop", "--host", "ana"])
    };
    let (one, again, two) = (render("one"), render("one"), render("two"));
    assert_eq!(one, again);
    assert_eq!(one.matches("provision.files").count(), 1, "{one}");
    let differing: Vec<&str> = one.lines().zip(two.lines()).filter(|(a, b)| a != b).map(|(a, _)| a.trim()).collect();
    assert!(matches!(differing.as_slice(), [line] if line.starts_with("provision.files: ")), "{differing:?}");
}

#[test]
fn the_sudo_password_is_asked_for_where_a_verb_only_looks() {
    let project = Project::with_key();
    for verb in ["status", "attach"] {
        // a session without a terminal, whatever this test was started from
        let asked = project.command(&[verb, "-K"]);
        let mut command = std::process::Command::new("setsid");
        command.arg("--wait").arg(asked.get_program()).args(asked.get_args()).current_dir(project.path(""));
        command.env_clear().envs(asked.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = project.run_with(command, "");
        assert!(ended.code == 2 && ended.stderr.contains("there is no terminal to ask on"), "{verb}: {}", ended.stderr);
    }
    assert!(!project.was_called(), "the password comes before the first connection");
}

#[test]
fn runs_are_remembered() {
    let project = Project::with_key();
    assert_eq!(project.says(&["history"]).lines().count(), 1);
    let none = project.run(&["history", "last"]);
    assert!(none.code == 2 && none.stderr.contains("there is no run in `runs`"), "{}", none.stderr);
    // nobody listens on port 1
    let run = project.run(&["--host", "ana", "--yes", "-e", "ansible_port=1", "-e", "DB_PASSWORD=hunter2"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("ana") && run.stdout.contains("refuse"), "{}", run.stdout);
    let history = project.says(&["history", "--failed"]);
    let line = history.lines().nth(1).unwrap();
    assert!(
        line.contains("failed") && line.contains("DB_PASSWORD=********") && !history.contains("hunter2"),
        "{history}"
    );
    let last = project.says(&["history", "last"]);
    assert!(last.contains("refuse"), "{last}");
    let events = project.says(&["history", "last", "--json"]);
    assert!(events.lines().count() >= 3 && events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert!(!events.contains("hunter2"));
    let id = line.split_whitespace().next().unwrap();
    assert_eq!(project.says(&["historial", id]), last);
    let ended = project.run(&["history", &format!("{id}0")]);
    assert!(ended.stderr.contains("there is no run"), "{}", ended.stderr);
}

#[test]
fn made_secrets_are_there_before_a_host_needs_them() {
    let project = Project::with_key();
    let run = project.run(&["--host", "ana", "--yes", "-e", "ansible_port=1"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("secrets of ana/shop generated and stored"), "{}", run.stderr);
    let first = project.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]);
    assert_eq!(first.trim().len(), 48);
    project.run(&["--host", "ana", "--yes", "-e", "ansible_port=1"]);
    assert_eq!(project.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]), first);
}

#[test]
fn completions_know_the_verbs() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.says(&["completions", shell]);
        assert!(script.contains("secrets") && script.contains("explain"), "{shell}");
    }
    let bash = project.file("complete.bash", &project.says(&["completions", "bash"]));
    let sound = std::process::Command::new("bash").arg("-n").arg(bash).status().unwrap();
    assert!(sound.success());
}

#[test]
fn a_reader_that_goes_ends_the_program_quietly() {
    let project = Project::with_key();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = project.command(&["registry", "list"]).stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.is_empty(), "{:?} {said}", ended.status);
    // how a run ended is told by its exit code even then
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = project.command(&["--host", "ana", "--yes", "-e", "ansible_port=1"]).stdout(writer).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_run_becomes_a_page_and_a_junit_file() {
    let project = Project::with_key();
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: 'Write <b>', copy: {content: \"uno\\n\", dest: \"{{ playbook_dir }}/out-{{ inventory_hostname }}\"}}\n    - {name: Breaks, command: 'false', when: inventory_hostname == 'beto'}\n";
    project.file("play.yml", play);
    // hosts that are this machine, where somebody else may be at work, each with a lock of its own
    for host in ["ana", "beto"] {
        let lock = project.path("locks").join(host);
        std::fs::create_dir_all(&lock).unwrap();
        project.file(&format!("inventory/host_vars/{host}.yml"), &format!("provision_lock_dir: {}\n", lock.display()));
    }
    let run = project.run(&["run", "play.yml", "-D", "-e", "ansible_connection=local"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    let path = project.says(&["report", "--junit", "junit.xml", "--html", "page.html"]);
    assert_eq!(path, "page.html\njunit.xml\n");
    let page = project.read("page.html");
    for part in ["<h1>1 of 2 hosts failed</h1>", "task failed: beto", "Write &lt;b&gt;", "class=\"add\">+uno</span>"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("<b>\n") && !page.contains("<script"), "nothing of a task's is markup");
    assert!(page.find("id=\"host-beto\"") < page.find("id=\"host-ana\""), "failures come first");
    assert!(project.read("junit.xml").contains("tests=\"4\" failures=\"1\""));
    let metrics: Value = serde_json::from_str(&project.says(&["metrics", "--json"])).unwrap();
    assert_eq!((&metrics["runs"], &metrics["tasks"][0]["times"]), (&1.into(), &2.into()), "{metrics}");
    let wrong = project.run(&["report", "nope"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("there is no run `nope`"), "{}", wrong.stderr);
}

/// `provision … | head`: what was begun comes to its end, and is on record.
#[test]
fn a_reader_who_has_seen_enough_ends_no_run() {
    let project = Project::here(&["a"]);
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: one, copy: {content: x, dest: \"{{ playbook_dir }}/one\"}}\n    - {name: two, copy: {content: x, dest: \"{{ playbook_dir }}/two\"}}\n";
    project.file("play.yml", play);
    for args in [
        &["run", "play.yml", "-v"][..],
        &["run", "play.yml", "--json"],
        &["registry", "list"],
        &["completions", "bash"],
    ] {
        let mut child = project.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
    assert!(project.path("two").exists());
    let history = project.run(&["history"]).stdout;
    assert_eq!(history.matches(" ok ").count(), 2, "{history}");
}
