//! What the verbs that start, stop and delete refuse before a host is called.

use crate::project::Project;

#[test]
fn data_is_deleted_only_for_who_says_so_in_so_many_words() {
    let project = Project::with_key();
    for verb in [vec!["down", "--purge"], vec!["terminar", "--limpiar-completo"], vec!["regen"], vec!["clean"]] {
        let run = |more: &[&str]| project.run(&[verb.as_slice(), &["--host", "ana"], more].concat());
        let habit = run(&["--yes"]);
        assert_eq!(habit.code, 2, "{verb:?}");
        assert!(habit.stderr.contains("--yes is not enough") && habit.stderr.contains("--yes-really"), "{verb:?}");
        let nobody = run(&[]);
        assert!(nobody.code == 2 && nobody.stderr.contains("no terminal to type the host's name on"), "{verb:?}");
    }
    assert!(!project.was_called());
    assert!(!project.path("inventory/vps_data").exists(), "going down makes no secrets");
}

#[test]
fn the_only_host_need_not_be_named() {
    let project = Project::with_key();
    let named = project.run(&["up", "--yes", "--check"]);
    assert!(named.code == 2 && named.stderr.contains("no client is named"), "{}", named.stderr);
    project.file("inventory/hosts.yml", "all: {hosts: {ana: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n");
    let only = project.run(&["up", "--check"]);
    assert!(only.code == 1 && only.stdout.contains("ana"), "{}{}", only.stdout, only.stderr);
}

#[test]
fn unknown_services_and_hosts_are_said_by_every_verb() {
    let project = Project::with_key();
    for verb in ["up", "down", "restart", "regen", "clean"] {
        let service = project.run(&[verb, "--host", "ana", "--services", "shpo", "--check"]);
        assert!(service.code == 2 && service.stderr.contains("did you mean `shop`"), "{verb}: {}", service.stderr);
        let host = project.run(&[verb, "--host", "anna", "--check"]);
        assert!(host.code == 2 && host.stderr.contains("anna"), "{verb}: {}", host.stderr);
    }
    assert!(!project.was_called());
}
