//! What a client's services have in common: secrets that are made once for all of them, and the registry's defaults.

use crate::project::Project;

fn project() -> Project {
    let project = Project::with_key();
    for id in ["door", "desk"] {
        project.file(
            &format!("registry/{id}/manifest.json"),
            &format!(
                r#"{{"id": "{id}", "name": "{id}", "version": "1", "extends": null,
                    "secrets": [{{"key": "INTERNAL_TOKEN", "type": "hex", "shared": true}}, {{"key": "OWN", "type": "hex"}}]}}"#
            ),
        );
        project.file(
            &format!("registry/{id}/stack.yml.j2"),
            "services:\n  web:\n    image: example/x:1\n    healthcheck: {test: [CMD, \"true\"]}\n    environment: {T: \"${INTERNAL_TOKEN}\", O: \"${OWN}\"}\n",
        );
    }
    project.file("inventory/host_vars/ana.yml", "services: [door, desk]\n");
    project
}

fn value(project: &Project, name: &str) -> String {
    project.says(&["secrets", "get", name, "--host", "ana"]).trim().to_owned()
}

#[test]
fn a_shared_secret_is_made_once_and_changed_in_one_place() {
    let project = project();
    // the rollout makes them before the host is called; that it cannot be reached does not matter here
    project.run(&["up", "--host", "ana", "--yes"]);
    let token = value(&project, "global/INTERNAL_TOKEN");
    assert_eq!(token.len(), 64);
    for service in ["door", "desk"] {
        assert!(!project.read(&format!("inventory/vps_data/ana/{service}.env.age")).contains("INTERNAL_TOKEN"));
    }
    assert_ne!(value(&project, "door/OWN"), value(&project, "desk/OWN"));
    let origin = project.says(&["explain", "desk/INTERNAL_TOKEN", "--host", "ana"]);
    assert!(origin.contains("global.env.age") && !origin.contains(&token), "{origin}");
    project.run(&["up", "--host", "ana", "--yes"]);
    assert_eq!(value(&project, "global/INTERNAL_TOKEN"), token, "never silently again");
    // one that a service has for itself would not be the common one
    let ended =
        project.run_with(project.command(&["secrets", "set", "door/INTERNAL_TOKEN", "--host", "ana"]), "other-value");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let refused = project.run(&["up", "--host", "ana", "--check"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("one secret for several services"), "{}", refused.stderr);
    assert!(refused.stderr.contains("secrets set global/INTERNAL_TOKEN"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("other-value"));
}

#[test]
fn the_registrys_defaults_are_linted() {
    let project = Project::new();
    project.file("registry/_global/.env.example", "SHOP_PROT=1\nDB_PASSWORD=geheim\nSHOP_PORT=81\n");
    let ended = project.run(&["registry", "lint"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stdout.contains("registry/_global/.env.example:1") && ended.stdout.contains("did you mean `SHOP_PORT`?"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("registry/_global/.env.example:2") && ended.stdout.contains("this file is in clear"),
        "{}",
        ended.stdout
    );
    project.file("registry/_global/.env.example", "no equals\n");
    let ended = project.run(&["registry", "list"]);
    assert!(ended.code == 2 && ended.stderr.contains("_global/.env.example:1"), "{}", ended.stderr);
}

/// `inventory/files/<host>/<service>/…`: a client's own logo instead of the package's.
#[test]
fn a_client_has_its_own_version_of_a_file() {
    let project = project();
    let manifest = project.read("registry/door/manifest.json").replace(
        "\"secrets\"",
        "\"files\": [{\"src\": \"files/logo.svg\", \"dest\": \"logo.svg\", \"template\": true}], \"secrets\"",
    );
    project.file("registry/door/manifest.json", &manifest);
    let stack = project.read("registry/door/stack.yml.j2");
    project.file(
        "registry/door/stack.yml.j2",
        &stack.replace("    environment", "    volumes: [\"./logo.svg:/logo.svg\"]\n    environment"),
    );
    project.file("registry/door/files/logo.svg", "<svg>ours</svg>\n");
    // the label that makes the container anew carries the digest of what it mounts
    let label = |host: &str| {
        let text = project.says(&["registry", "render", "door", "--host", host]);
        text.lines().find(|line| line.contains("provision.files")).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    project.file("inventory/host_vars/beto.yml", "services: [door]\n");
    assert_eq!(label("ana"), label("beto"));
    project.file("inventory/files/ana/door/files/logo.svg", "<svg>{{ domain }}</svg>\n");
    assert_ne!(label("ana"), label("beto"));
    project.file("inventory/files/ana/door/files/lgo.svg", "<svg/>\n");
    let refused = project.run(&["registry", "render", "door", "--host", "ana"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("inventory/files/ana/door/files/lgo.svg"), "{}", refused.stderr);
    assert!(refused.stderr.contains("did you mean `files/logo.svg`?"), "{}", refused.stderr);
}
