//! What deletes data, at a real terminal: it begins when the hosts' names were typed, and only then.

use crate::project::{MANIFEST, Project};
use crate::terminal::{ENTER, Terminal};

/// A purge and an action that delete a file of the client, and a file to be deleted.
fn project() -> Project {
    let project = crate::stage::project();
    let play = "- name: Deletes\n  hosts: all\n  gather_facts: false\n  tasks:\n    - name: Data\n      file: {path: \"FOLDER/{{ inventory_hostname }}\", state: absent}\n";
    let play = play.replace("FOLDER", &project.path("data").display().to_string());
    project.file("playbooks/down.yml", &play);
    project.file("playbooks/action.yml", &play);
    let action = r#""actions": [{"name": "reset", "description": "Borra los pedidos", "run": "reset.sh", "mode": "debug", "confirm": "host", "backup_first": true}], "aliases""#;
    project.file("registry/shop/manifest.json", &MANIFEST.replacen("\"aliases\"", action, 1));
    project.file("registry/shop/reset.sh", "true\n");
    for host in ["ana", "beto"] {
        project.file(&format!("data/{host}"), "pedidos\n");
    }
    project
}

const PURGE: &[&str] = &["down", "--services", "shop", "--purge"];
const RESET: &[&str] = &["action", "shop", "reset"];

#[test]
fn a_name_that_is_not_the_hosts_deletes_nothing() {
    let project = project();
    for typed in ["", "anna", "s", "ANA", "ana beto"] {
        let mut terminal = Terminal::start(project.command(&[PURGE, &["--host", "ana"]].concat()));
        terminal.wait("se borrarán sus datos. Escriba el nombre del host (ana) para continuar:");
        terminal.press(&format!("{typed}{ENTER}"));
        // where the line is broken depends on the name
        terminal.wait("touched");
        assert_eq!(terminal.end(), 0, "{typed}");
    }
    // of two, each is asked for
    let mut terminal = Terminal::start(project.command(&[RESET, &["--all"]].concat()));
    terminal.wait("Borra los pedidos. Escriba el nombre del host (ana) para continuar:");
    terminal.press(&format!("ana{ENTER}"));
    terminal.wait("el nombre del host (beto)");
    terminal.press(&format!("ana{ENTER}"));
    terminal.wait("touched");
    assert_eq!(terminal.end(), 0);
    assert!(project.path("data/ana").exists() && project.path("data/beto").exists());
    assert!(!project.path("runs").exists(), "there was no run");
}

#[test]
fn the_hosts_name_lets_it_begin() {
    let project = project();
    for (words, host) in [(PURGE, "ana"), (RESET, "beto")] {
        let mut terminal = Terminal::start(project.command(&[words, &["--host", host]].concat()));
        terminal.wait(&format!("el nombre del host ({host})"));
        terminal.press(&format!("{host}{ENTER}"));
        terminal.wait("all well, 1 changed");
        assert_eq!(terminal.end(), 0);
        assert!(!project.path(&format!("data/{host}")).exists());
    }
}
