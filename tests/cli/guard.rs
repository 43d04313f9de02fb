//! `credentials`, `secrets check` and `secrets scan`: who gets to see values, and what is wrong with them.

use std::os::unix::fs::PermissionsExt;

use crate::project::Project;

fn set(project: &Project, host: &str, name: &str, value: &str) {
    let ended = project.run_with(project.command(&["secrets", "set", name, "--host", host]), value);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn credentials_go_to_a_terminal_or_where_it_is_said() {
    let project = Project::with_key();
    set(&project, "ana", "shop/DB_PASSWORD", "Planted-4711");
    set(&project, "ana", "shop/API_KEY", "sk-planted");
    let ended = project.run(&["credentials", "--host", "ana"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("standard output is no terminal") && !ended.stdout.contains("Planted"));

    let shown = project.says(&["credenciales", "--host", "ana", "--show"]);
    assert!(shown.contains("ana · shop") && shown.contains("Planted-4711") && !shown.contains("sk-planted"), "{shown}");
    let every = project.says(&["credentials", "--host", "ana", "--services", "tienda", "--show", "--every"]);
    assert!(every.contains("sk-planted"), "{every}");
    // of a client that has nothing yet, nothing is made up
    let nothing = project.says(&["credentials", "--host", "beto", "--show"]);
    assert!(nothing.contains("made when it is first rolled out: DB_PASSWORD"), "{nothing}");
    assert!(!project.path("inventory/vps_data/beto").exists());

    let said = project.says(&["credentials", "--host", "ana,beto", "--sheet", "sheet.md"]);
    assert!(said.contains("wrote sheet.md") && !said.contains("Planted"), "{said}");
    let sheet = project.path("sheet.md");
    assert_eq!(std::fs::metadata(&sheet).unwrap().permissions().mode() & 0o777, 0o600);
    let text = project.read("sheet.md");
    assert!(text.contains("# Hoja de entrega") && text.contains("- DB_PASSWORD: `Planted-4711`"), "{text}");
    assert!(text.contains("todavía no existe"), "{text}");
    let again = project.run(&["credentials", "--host", "ana", "--sheet", "sheet.md"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("there already"), "{}", again.stderr);
    assert!(!project.path("runs").exists(), "there is no journal of it");
}

#[test]
fn a_value_with_its_user_is_shown_behind_it() {
    let project = Project::with_key();
    let manifest = project.read("registry/shop/manifest.json");
    let with_user = manifest.replace("SHOP_OWNER", "ADMIN_EMAIL").replace("DB_PASSWORD", "ADMIN_PASSWORD");
    project.file("registry/shop/manifest.json", &with_user);
    project.file(
        "registry/shop/stack.yml.j2",
        "services: {web: {image: \"a:1\", environment: {P: \"${ADMIN_PASSWORD}\"}}}\n",
    );
    project.file("inventory/host_vars/ana.yml", "settings: {shop: {ADMIN_EMAIL: ana@ana.example}}\n");
    set(&project, "ana", "shop/ADMIN_PASSWORD", "Planted-4711");
    let shown = project.says(&["credentials", "--host", "ana", "--show"]);
    let (user, password) = (shown.find("ana@ana.example").unwrap(), shown.find("Planted-4711").unwrap());
    assert!(user < password, "{shown}");
}

#[test]
fn shared_and_guessable_values_are_found_and_not_shown() {
    let project = Project::with_key();
    assert!(project.says(&["secrets", "check"]).contains("0 secrets of 2 clients"));
    set(&project, "ana", "shop/DB_PASSWORD", "the-same-for-both-4711");
    set(&project, "ana", "shop/API_KEY", "sk-changeme");
    assert_eq!(project.run(&["secrets", "check"]).code, 0);
    set(&project, "beto", "global/OTHER_PASSWORD", "the-same-for-both-4711");
    set(&project, "beto", "shop/API_KEY", "ChangeMe");
    set(&project, "beto", "shop/DB_PASSWORD", "short1");
    let ended = project.run(&["secrets", "check"]);
    assert_eq!(ended.code, 1);
    for piece in [
        "the same value is on 2 clients: ana shop/DB_PASSWORD, beto global/OTHER_PASSWORD",
        "beto shop/API_KEY: this is a password that everybody tries first",
        "beto shop/DB_PASSWORD: this has fewer than 8 characters",
        "provision secrets generate shop/DB_PASSWORD --force --host beto",
    ] {
        assert!(ended.stdout.contains(piece), "{piece}\n{}", ended.stdout);
    }
    assert!(ended.stderr.contains("3 findings"), "{}", ended.stderr);
    for value in ["the-same", "ChangeMe", "short1"] {
        assert!(!ended.stdout.contains(value) && !ended.stderr.contains(value));
    }
    assert_eq!(project.run(&["secrets", "check", "--host", "ana"]).code, 0);
}

#[test]
fn secrets_in_files_are_found_and_not_shown() {
    let project = Project::with_key();
    set(&project, "ana", "shop/DB_PASSWORD", "Planted/4711+x");
    let project_files = ["inventory", "registry", "playbooks"];
    project.file("playbooks/site.yml", "- hosts: all\n");
    let scan = |paths: &[&str]| project.run(&[&["secrets", "scan"], paths].concat());
    assert_eq!(scan(&project_files).code, 0);
    project.file("playbooks/site.yml", "- hosts: all\n  vars: {p: \"Planted/4711+x\"}\n");
    project.file("registry/shop/files/url", "postgres://u:Planted%2F4711%2Bx@db\n");
    project.file("inventory/notes.md", "-----BEGIN OPENSSH PRIVATE KEY-----\nsk-abcdefghijklmnopqrstuvwxyz12\n");
    let ended = scan(&project_files);
    assert_eq!(ended.code, 1);
    for piece in [
        "playbooks/site.yml:2: ana shop/DB_PASSWORD in clear",
        "registry/shop/files/url:1: ana shop/DB_PASSWORD in clear",
        "inventory/notes.md:1: a private key",
        "inventory/notes.md:2: an API key",
        "looked through for 1 stored secrets",
    ] {
        assert!(ended.stdout.contains(piece), "{piece}\n{}", ended.stdout);
    }
    assert!(ended.stderr.contains("4 findings") && !ended.stdout.contains("Planted"), "{}", ended.stderr);
    // of the whole folder: also the tester's own key, which lies in the home of this project
    let own_key = "home/.config/provision/identity.txt:1: an age identity";
    assert!(scan(&[]).stdout.contains(own_key));
    // git would not keep it; named itself, it is looked into all the same
    project.file(".gitignore", "home/\n*.md\n");
    let ended = scan(&[]);
    assert!(!ended.stdout.contains(own_key) && ended.stderr.contains("2 findings"), "{}", ended.stdout);
    assert_eq!(scan(&["inventory/notes.md"]).code, 1);
    assert_eq!(scan(&["inventory/hosts.yml"]).code, 0);
    assert_eq!(scan(&["nowhere"]).code, 2);
}

/// Who commits need not be able to read every client: what can be seen without the values is found.
#[test]
fn a_scan_says_whose_values_it_could_not_open() {
    let project = Project::with_key();
    set(&project, "ana", "shop/DB_PASSWORD", "Planted/4711+x");
    let key = format!("ghp_{}", "aB3".repeat(12));
    project.file("playbooks/site.yml", &format!("- hosts: all\n  vars: {{p: Planted/4711+x, q: {key}}}\n"));
    // a colleague's identity
    let (identity, _) = crate::project::key();
    project.file("home/.config/provision/identity.txt", &identity);
    let ended = project.run(&["secrets", "scan", "playbooks"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("note: the values of ana/shop are not looked for: "), "{}", ended.stderr);
    assert!(ended.stdout.contains("playbooks/site.yml:2: a GitHub token"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("Planted") && !ended.stdout.contains(&key), "{}", ended.stdout);
}
