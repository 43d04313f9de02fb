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

/// `shop/web`: a part of a service where that makes sense, and a sentence where it does not.
#[test]
fn parts_of_a_service_are_taken_or_refused() {
    let project = Project::with_key();
    let stack = "services:\n  web: {image: \"example/shop:1\", healthcheck: {test: [CMD, \"true\"]}}\n  \
                 worker: {image: \"example/shop:1\", healthcheck: {test: [CMD, \"true\"]}}\n";
    project.file("registry/shop/stack.yml.j2", stack);
    project.file("registry/_profiles/todo.yml", "name: Todo\nservices: [shop]\n");
    for verb in [&["up"][..], &["restart"], &["down"]] {
        let ended = project.run(&[verb, &["--host", "ana", "--services", "shop/wroker", "--check"]].concat());
        assert_eq!(ended.code, 2, "{verb:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("`shop` has no part `wroker`"), "{verb:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("did you mean `worker`?"), "{verb:?}: {}", ended.stderr);
    }
    let ended = project.run(&["scale", "--host", "ana", "tienda/wroker=2", "--check"]);
    assert!(ended.code == 2 && ended.stderr.contains("has no part `wroker`"), "{}", ended.stderr);
    let whole: [&[&str]; 7] = [
        &["--host", "ana", "--services", "shop/web", "--check"],
        &["update", "--host", "ana", "--services", "shop/web", "--check"],
        &["rollback", "--host", "ana", "--services", "shop/web", "--check"],
        &["backup", "--host", "ana", "--services", "shop/web", "--check"],
        &["regen", "--host", "ana", "--services", "shop/web", "--check"],
        &["verify", "--host", "ana", "--services", "shop/web"],
        &["credentials", "--host", "ana", "--services", "shop/web", "--show"],
    ];
    for args in whole {
        let ended = project.run(args);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("`shop/web` is a part of a service"), "{args:?}: {}", ended.stderr);
    }
    let ended = project.run(&["down", "--host", "ana", "--services", "shop/web", "--purge", "--yes-really"]);
    assert!(ended.code == 2 && ended.stderr.contains("--purge deletes a whole service"), "{}", ended.stderr);
    let ended = project.run(&["up", "--host", "ana", "--services", "@todo/web", "--check"]);
    assert!(ended.code == 2 && ended.stderr.contains("a profile has services"), "{}", ended.stderr);
    project.file("inventory/host_vars/ana.yml", "runtime: swarm\n");
    let ended = project.run(&["up", "--host", "ana", "--services", "shop/web", "--check"]);
    assert!(ended.code == 2 && ended.stderr.contains("runs swarm"), "{}", ended.stderr);
    assert!(!project.was_called());
}
