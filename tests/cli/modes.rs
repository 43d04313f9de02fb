//! A package in two modes: what is rendered, which values win, who is in which mode.

use crate::project::{MANIFEST, Project, STACK};

fn project() -> Project {
    let project = Project::with_key();
    let modes = r#""modes": {
    "debug": {"stack": ["debug.yml.j2"], "settings": {"SHOP_PORT": "9000", "SHOP_OWNER": "dev@example.com"}},
    "produccion": {"settings": {"SHOP_OWNER": "it@example.com"}}
  },
  "aliases"#;
    project.file("registry/shop/manifest.json", &MANIFEST.replacen("\"aliases", modes, 1));
    project.file("registry/shop/stack.yml.j2", &STACK.replacen("services:", "# {{ mode }}\nservices:", 1));
    let debug = "services:\n  web:\n    container_name: shop_debug\n    ports: [\"127.0.0.1:{{ SHOP_PORT }}:80\"]\n";
    project.file("registry/shop/debug.yml.j2", debug);
    project
}

#[test]
fn a_client_is_in_production_and_this_machine_is_not() {
    let project = project();
    let of_client = project.says(&["registry", "render", "shop", "--host", "ana"]);
    assert!(!of_client.contains("shop_debug") && !of_client.contains("ports"), "{of_client}");
    assert!(of_client.contains("image: example/shop:1.2"), "the overlay is the only difference: {of_client}");
    let of_this = project.says(&["registry", "render", "shop", "--host", "ana", "-e", "ansible_connection=local"]);
    assert!(of_this.contains("container_name: shop_debug") && of_this.contains("127.0.0.1:9000:80"), "{of_this}");
    assert!(of_this.contains("image: example/shop:1.2"), "{of_this}");
    project.file("inventory/host_vars/ana.yml", "mode: debug\n");
    assert!(project.says(&["registry", "render", "shop", "--host", "ana"]).contains("shop_debug"));
    let wrong = project.run(&["registry", "render", "shop", "--host", "ana", "-e", "mode=prod"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("unknown mode `prod`") && wrong.stderr.contains("debug or produccion"));
}

#[test]
fn values_of_a_mode_lie_between_the_package_and_the_client() {
    let project = project();
    let explain = |more: &[&str]| project.says(&[&["explain", "shop/SHOP_OWNER", "--host", "ana"], more].concat());
    let produccion = explain(&[]);
    assert!(produccion.contains("\"it@example.com\""), "{produccion}");
    assert!(produccion.contains("manifest.json:") && produccion.contains("mode produccion of the package"));
    assert!(explain(&["-e", "mode=debug"]).contains("\"dev@example.com\""));
    project.file("inventory/host_vars/ana.yml", "settings: {shop: {SHOP_OWNER: ana@example.com}}\n");
    let own = explain(&["-e", "mode=debug"]);
    assert!(own.contains("\"ana@example.com\"") && own.contains("over "), "{own}");
}

#[test]
fn the_mode_is_a_flag_of_the_verbs() {
    let project = project();
    let wrong = project.run(&["up", "--host", "ana", "--mode", "prod", "--yes"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("debug, produccion"), "{}", wrong.stderr);
    assert!(!project.was_called());
    let spanish = project.run(&["iniciar", "--host", "ana", "--modo", "debug"]);
    assert!(spanish.code == 2 && spanish.stderr.contains("no terminal to confirm on"), "{}", spanish.stderr);
}
