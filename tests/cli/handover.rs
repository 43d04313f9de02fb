//! `restore --to` another client: what it refuses before any host is called, and that nothing is written then.

use crate::project::{MANIFEST, Project};

fn project() -> Project {
    let project = Project::with_key();
    let manifest = MANIFEST
        .replace(r#""default": "shop.{{ domain }}"}"#, r#""default": "shop.{{ domain }}", "in_data": true}"#)
        .replace(r#""type": "hex"}]"#, r#""type": "hex"}], "backup": [{"kind": "config"}]"#);
    project.file("registry/shop/manifest.json", &manifest);
    set(&project, "ana", "shop/DB_PASSWORD", "Planted-4711");
    set(&project, "ana", "backup/BACKUP_PASSWORD", "Planted-0815");
    project
}

fn set(project: &Project, host: &str, name: &str, value: &str) {
    let ended = project.run_with(project.command(&["secrets", "set", name, "--host", host]), value);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn refused(project: &Project, more: &[&str], says: &[&str]) {
    let args = [&["restore", "--host", "ana", "--to", "beto", "--services", "tienda"], more].concat();
    let ended = project.run(&args);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    for word in says {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("Planted"), "{}", ended.stderr);
}

#[test]
fn settings_that_are_in_the_data_have_to_be_the_same() {
    let project = project();
    project.file("inventory/host_vars/ana.yml", "backup_repository: rest:http://u:Planted-rest@nas.example/\n");
    for more in [&["--yes-really"][..], &["--rehearse", "--yes"], &["--check"]] {
        refused(
            &project,
            more,
            &[
                "`beto` would not read the data of `ana`",
                "shop/SHOP_DOMAIN is `shop.beto.example`, there `shop.ana.example`",
                "backup_repository is not set, there `rest:http://u@nas.example/`",
                "write into host_vars/beto.yml: settings: {shop: {SHOP_DOMAIN: shop.ana.example}}",
            ],
        );
    }
    assert!(!project.path("inventory/vps_data/beto").exists(), "nothing was handed over");
    assert!(!project.was_called(), "no host was asked");
}

#[test]
fn secrets_that_are_not_in_an_age_file_are_compared_too() {
    let project = project();
    project.file("inventory/group_vars/all.yml", "services: [shop]\ndomain: same.example\nbackup_repository: /srv/r\n");
    // the source's comes from the inventory, the target would make one
    std::fs::remove_file(project.path("inventory/vps_data/ana/shop.env.age")).unwrap();
    project.file("inventory/host_vars/ana.yml", "settings: {shop: {DB_PASSWORD: Planted-plain}}\n");
    refused(&project, &["--yes-really"], &["shop/DB_PASSWORD (secret)", "the same secrets"]);
    // one of its own
    std::fs::remove_file(project.path("inventory/host_vars/ana.yml")).unwrap();
    set(&project, "ana", "shop/DB_PASSWORD", "Planted-4711");
    set(&project, "beto", "shop/DB_PASSWORD", "Planted-else");
    refused(&project, &["--yes-really"], &["host `beto` has secrets of its own for `shop`: DB_PASSWORD"]);
    assert!(!project.path("inventory/vps_data/beto/backup.env.age").exists());
    assert!(!project.was_called());
}

#[test]
fn archives_of_another_host_are_not_looked_for() {
    let project = project();
    project.file("inventory/group_vars/all.yml", "services: [shop]\ndomain: same.example\n");
    refused(&project, &["--yes-really"], &["`ana` has no backup_repository", "--pull"]);
    let loose = project.run(&["restore", "--host", "ana", "--overwrite", "--yes-really"]);
    assert_eq!(loose.code, 2, "{}", loose.stderr);
    assert!(!project.path("inventory/vps_data/beto").exists());
}
