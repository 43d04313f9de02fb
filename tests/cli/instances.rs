//! `chat` and `chat@tienda2` on one host: settings, versions and names of each its own.

use crate::project::Project;

fn project() -> Project {
    let project = Project::with_key();
    project.file(
        "registry/shop/stack.yml.j2",
        "services:\n  web:\n    image: example/shop:{{ version }}\n    container_name: {{ project }}-web\n    \
         healthcheck: {test: [\"CMD\", \"true\"]}\n    environment: {DB: \"{{ exports.stock.host }}\", PASSWORD: \"${DB_PASSWORD}\"}\n    \
         labels: {domain: \"{{ SHOP_DOMAIN }}\", root: \"{{ root }}\", of: \"{{ service_id }} {{ instance }}\"}\n",
    );
    let manifest = project.read("registry/shop/manifest.json");
    let manifest = manifest.replace("shop.{{ domain }}", "{{ service_slug }}.{{ domain }}").replace(
        "\"aliases\"",
        "\"dependencies\": [{\"service\": \"stock\"}], \"urls\": [{\"url\": \"http://{{ SHOP_DOMAIN }}/\"}], \"aliases\"",
    );
    project.file("registry/shop/manifest.json", &manifest);
    project.file(
        "registry/stock/manifest.json",
        r#"{"id": "stock", "name": "Stock", "version": "1", "extends": null, "exports": {"host": "{{ service_slug }}"}}"#,
    );
    project.file(
        "registry/stock/stack.yml.j2",
        "services:\n  {{ service_slug }}:\n    image: example/stock:1\n    healthcheck: {test: [\"CMD\", \"true\"]}\n",
    );
    project.file(
        "inventory/host_vars/ana.yml",
        "services: [shop, tienda@dos, stock, stock@dos]\nversions: {shop: v3, shop@dos: v4}\n\
         settings:\n  shop: {SHOP_OWNER: a@b.example, SHOP_PORT: 81}\n  tienda@dos: {SHOP_PORT: 82}\n",
    );
    project
}

#[test]
fn each_instance_has_names_settings_and_a_version_of_its_own() {
    let project = project();
    let one = project.says(&["registry", "render", "shop", "--host", "ana"]);
    let two = project.says(&["registry", "render", "shop@dos", "--host", "ana"]);
    for (text, wanted) in [
        (&one, ["example/shop:v3", "versatile-shop-web", "shop.ana.example", "services/shop\n", "DB: stock\n"]),
        (
            &two,
            [
                "example/shop:v4",
                "versatile-shop-dos-web",
                "shop-dos.ana.example",
                "services/shop-dos\n",
                "DB: stock-dos\n",
            ],
        ),
    ] {
        for word in wanted {
            assert!(text.contains(word), "{word}:\n{text}");
        }
    }
    let explained = |name: &str| project.says(&["explain", name, "--host", "ana", "--color", "never"]);
    assert!(explained("shop/SHOP_PORT").contains("ana shop SHOP_PORT = \"81\""));
    let second = explained("tienda@dos/SHOP_PORT");
    assert!(second.contains("ana shop@dos SHOP_PORT = \"82\"\n    from inventory/host_vars/ana.yml:5 "), "{second}");
    assert!(second.contains("over inventory/host_vars/ana.yml:4 "), "{second}");
    // what is said of the package holds for all of its instances
    assert!(explained("shop@dos/SHOP_OWNER").contains("= \"a@b.example\""));
}

#[test]
fn each_instance_has_secrets_of_its_own() {
    let project = project();
    let store = |name: &str, value: &str| {
        let ended = project.run_with(project.command(&["secrets", "set", name, "--host", "ana"]), value);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    store("shop/API_KEY", "sk-one");
    store("tienda@dos/API_KEY", "sk-two");
    assert!(project.path("inventory/vps_data/ana/shop@dos.env.age").exists());
    assert_eq!(project.says(&["secrets", "get", "shop/API_KEY", "--host", "ana"]), "sk-one\n");
    assert_eq!(project.says(&["secrets", "get", "shop@dos/API_KEY", "--host", "ana"]), "sk-two\n");
    let explained = project.says(&["explain", "shop@dos/API_KEY", "--host", "ana", "--color", "never"]);
    assert!(explained.contains("from inventory/vps_data/ana/shop@dos.env.age:"), "{explained}");
    assert!(explained.contains("API_KEY = ********"), "{explained}");
}

#[test]
fn what_two_instances_cannot_share_is_said_before_anything_is_touched() {
    let project = project();
    let host = project.read("inventory/host_vars/ana.yml");
    let refused = |vars: &str, services: &str, says: &str| {
        project.file("inventory/host_vars/ana.yml", vars);
        let ended = project.run(&["--host", "ana", "--services", services, "--yes"]);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{says}:\n{}", ended.stderr);
    };
    refused(&host, "shop@Dos", "`Dos` of `shop@Dos` cannot name an instance");
    refused(&host, "shpo@dos", "unknown service `shpo`");
    let same = host.replace("SHOP_PORT: 81", "SHOP_DOMAIN: one.example");
    refused(&same, "all", "host `ana`: `shop` and `shop@dos` would both answer at http://one.example");
    let slip = host.replace("tienda@dos: {", "tienda@tres: {");
    refused(&slip, "all", "host_vars/ana.yml:5: `settings`: no host declares `shop@tres`");
    let manifest = project.read("registry/stock/manifest.json");
    project.file("registry/stock/manifest.json", &manifest.replace("\"extends\"", "\"single\": true, \"extends\""));
    refused(&host, "all", "`stock@dos`: there can be only one `stock` on a host");
    assert!(!project.was_called());
}

#[test]
fn lint_says_what_a_second_instance_would_fight_over() {
    let project = project();
    assert_eq!(project.says(&["registry", "lint", "shop", "stock"]), "shop ok\nstock ok\n");
    let stack = project.read("registry/shop/stack.yml.j2");
    project.file("registry/shop/stack.yml.j2", &stack.replace("{{ project }}-web", "shop-web"));
    let ended = project.run(&["registry", "lint", "shop"]);
    assert_eq!(ended.code, 2);
    let says = "two instances would have the same container name `shop-web`";
    assert_eq!(ended.stdout.matches(says).count(), 1, "{}", ended.stdout);
}

#[test]
fn what_a_client_declares_is_wired_even_if_only_one_service_is_named() {
    let project = Project::with_key();
    project.file(
        "registry/cache/manifest.json",
        r#"{"id": "cache", "name": "Cache", "version": "1", "extends": null, "exports": {"url": "redis://cache"}}"#,
    );
    project.file(
        "registry/app/manifest.json",
        r#"{"id": "app", "name": "App", "version": "1", "extends": null, "dependencies": [{"service": "cache", "required": false}],
            "variables": [{"key": "MEMORY", "default": "{{ exports.cache.url | default('in memory') }}"}]}"#,
    );
    for name in ["cache", "app"] {
        project.file(&format!("registry/{name}/stack.yml.j2"), "services: {}\n");
    }
    let memory = |services: &str| {
        project.file("inventory/host_vars/ana.yml", &format!("services: {services}\n"));
        project.says(&["explain", "app/MEMORY", "--host", "ana"])
    };
    assert!(memory("[app, cache]").contains("\"redis://cache\""));
    assert!(memory("[app]").contains("\"in memory\""));
}
