//! An update of everything, of clients that are all this machine: which lines of fleet.lock go with it, and what is said once.

use crate::project::{Ended, Project};

const IMAGE: &str = "localhost:1/shop:1.2";

/// An update of all; nobody answers at the registry, so digests stay.
fn update(project: &Project) -> (Ended, String) {
    let digest = "sha256:".to_owned() + &"a".repeat(64);
    project.file("fleet.lock", &format!("version: 1\nimages:\n  {IMAGE}: {digest}\n  gone:1: {digest}\n"));
    let ended = project.run(&["update", "--all", "--yes"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let lock = project.read("fleet.lock");
    assert!(lock.contains(&format!("{IMAGE}: {digest}")), "{lock}");
    (ended, lock)
}

#[test]
fn a_line_goes_only_if_every_client_has_said_what_it_has() {
    let project = Project::here(&["ana", "beto"]);
    let (ended, lock) = update(&project);
    assert!(ended.stderr.contains("fleet.lock: taken out, nobody has it any more: gone:1"), "{}", ended.stderr);
    assert!(!lock.contains("gone:1"), "{lock}");
    // a playbook of the project's own that does not ask
    let play = "- name: Update\n  hosts: all\n  gather_facts: false\n  tasks:\n    - include_services: {services: [], tasks: services/update.yml}\n";
    project.file("playbooks/update.yml", play);
    let (ended, lock) = update(&project);
    let why = "fleet.lock: kept, not known whether it is still installed on ana, beto: gone:1";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    assert!(lock.contains("gone:1"), "{lock}");
}

#[test]
fn what_a_server_lacks_is_said_once() {
    let project = Project::here(&["ana", "beto"]);
    let wants =
        r#"{"id": "shop", "name": "Shop", "version": "1.2", "requirements": {"recommended": {"ram_mb": 99999999}}}"#;
    project.file("registry/shop/manifest.json", wants);
    let said = |ended: &Ended| {
        let all = format!("{}{}", ended.stdout, ended.stderr);
        let warning = "the server has less than is recommended for";
        (all.matches(warning).count(), all.matches(&format!("ana, beto: {warning}")).count())
    };
    let (ended, _) = update(&project);
    assert_eq!(said(&ended), (1, 1), "{}{}", ended.stdout, ended.stderr);
    // also where two tasks come to the same
    let task = "{host_requirements: {services: [{service: shop, recommended: {ram_mb: 99999999}}]}}";
    project.file("twice.yml", &format!("- hosts: all\n  gather_facts: false\n  tasks:\n    - {task}\n    - {task}\n"));
    assert_eq!(said(&project.run(&["run", "twice.yml"])), (1, 1));
    assert_eq!(said(&project.run(&["history", "last"])), (1, 1));
}
