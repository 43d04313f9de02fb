//! `provision explain`: which layer wins, with its file and line, and what it beat.

use crate::project::{MANIFEST, Project};

/// Each layer in its turn, low to high: what it adds to the project or the command, and how it is named as the winner.
const LAYERS: &[(&str, fn(&Project), &str)] = &[
    (
        "default of the package",
        |project| {
            let text =
                MANIFEST.replace("\"validation\": \"port\", \"default\": \"8080\"", "\"default\": \"by-default\"");
            project.file("registry/shop/manifest.json", &text);
        },
        "registry/shop/manifest.json:10 (default of the package)",
    ),
    (
        ".env.example",
        |project| {
            project.file("registry/shop/.env.example", "# The port.\nSHOP_PORT=by-example\n");
        },
        "registry/shop/.env.example:2 (default of the package)",
    ),
    (
        "_global/.env.example",
        |project| {
            project.file("registry/_global/.env.example", "# For all.\nSHOP_PORT=by-registry\nNOBODY=has it\n");
        },
        "registry/_global/.env.example:2 (default of the registry)",
    ),
    (
        "a plain variable of all",
        |project| {
            let text = project.read("inventory/group_vars/all.yml");
            project.file("inventory/group_vars/all.yml", &format!("{text}SHOP_PORT: by-variable\n"));
        },
        "inventory/group_vars/all.yml:3 (group_vars/all.yml)",
    ),
    (
        "settings of all services for all hosts",
        |project| {
            let text = project.read("inventory/group_vars/all.yml");
            project.file("inventory/group_vars/all.yml", &format!("{text}settings:\n  all:\n    SHOP_PORT: by-all\n"));
        },
        "inventory/group_vars/all.yml:6 (group_vars/all.yml)",
    ),
    (
        "settings of a group",
        |project| {
            project.file(
                "inventory/group_vars/clients.yml",
                "settings:\n  shop:\n    SHOP_OWNER: a@b.example\n    SHOP_PORT: by-group\n",
            );
        },
        "inventory/group_vars/clients.yml:4 (group_vars/clients.yml)",
    ),
    (
        "settings of a host, by an alias",
        |project| {
            project.file("inventory/host_vars/ana.yml", "settings:\n  tienda: {SHOP_PORT: by-alias}\n");
        },
        "inventory/host_vars/ana.yml:2 (host_vars/ana.yml)",
    ),
    (
        "settings of a host",
        |project| {
            project.file(
                "inventory/host_vars/ana.yml",
                "# mine\n\nsettings:\n  tienda: {SHOP_PORT: by-alias}\n  shop:\n    SHOP_PORT: by-host\n",
            );
        },
        "inventory/host_vars/ana.yml:6 (host_vars/ana.yml)",
    ),
    (
        "the host's encrypted settings of all services",
        |project| store(project, "global/SHOP_PORT", "by-global"),
        "inventory/vps_data/ana/global.env.age:4 (vps_data/ana/global.env.age)",
    ),
    (
        "the host's encrypted settings of the service",
        |project| store(project, "shop/SHOP_PORT", "by-service"),
        "inventory/vps_data/ana/shop.env.age:4 (vps_data/ana/shop.env.age)",
    ),
];

fn store(project: &Project, name: &str, value: &str) {
    let ended = project.run_with(project.command(&["secrets", "set", name, "--host", "ana"]), value);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn each_layer_beats_the_ones_below_and_names_its_line() {
    let project = Project::with_key();
    let ask = ["explain", "shop/SHOP_PORT", "--host", "ana", "--color", "never"];
    let mut beaten: Vec<&str> = Vec::new();
    for (what, add, origin) in LAYERS {
        add(&project);
        let out = project.says(&ask);
        assert!(out.contains(&format!("    from {origin}\n")), "{what}:\n{out}");
        for (index, lower) in beaten.iter().enumerate() {
            // the alias' line moves when the host's file grows
            let alias = lower.starts_with("inventory/host_vars/ana.yml:2");
            assert!(alias || out.contains(&format!("    over {lower}\n")), "{what} over {index}:\n{out}");
        }
        beaten.push(origin);
    }
    let out = project.says(&[ask.as_slice(), &["-e", "SHOP_PORT=by-flag"]].concat());
    assert!(out.contains("ana shop SHOP_PORT = \"by-flag\"\n    from -e\n"), "{out}");
    assert_eq!(out.matches("    over ").count(), LAYERS.len(), "{out}");
    // encrypted values are not shown
    let out = project.says(&ask);
    assert!(out.contains("SHOP_PORT = ********") && !out.contains("by-service"), "{out}");
    // the other host has what is below its own layers
    let out = project.says(&["explain", "SHOP_PORT", "--host", "beto", "--color", "never"]);
    assert!(out.contains("beto shop SHOP_PORT = \"by-group\"\n    from inventory/group_vars/clients.yml:4 "), "{out}");
}

#[test]
fn secrets_templates_and_variables_are_explained() {
    let project = Project::with_key();
    let out = project.says(&["explain", "--host", "ana", "--color", "never"]);
    assert!(out.contains("ana shop SHOP_DOMAIN = \"shop.ana.example\""), "{out}");
    assert!(out.contains("ana shop DB_PASSWORD = ********\n    from generated\n"), "{out}");
    assert!(!project.path("inventory/vps_data").exists(), "explain stores nothing");
    let out = project.says(&["explain", "domain", "--host", "ana", "--color", "never"]);
    assert!(out.contains("    from inventory/group_vars/all.yml:2\n"), "{out}");
    let ended = project.run(&["explain", "NOTHING", "--host", "ana"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("nothing is called `NOTHING` on ana"), "{}", ended.stderr);
}
