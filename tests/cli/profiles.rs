//! Sets of services under one name: shipped ones, the operator's own, and what a client's declaration makes of them.

use crate::project::Project;

fn project() -> Project {
    let project = Project::with_key();
    project
        .file("registry/stock/manifest.json", r#"{"id": "stock", "name": "Stock", "version": "1", "extends": null}"#);
    project.file(
        "registry/stock/stack.yml.j2",
        "services:\n  stock: {image: \"example/stock:1\", healthcheck: {test: [CMD, \"true\"]}}\n",
    );
    project.file(
        "registry/_profiles/tiendas.yml",
        "name: Tiendas\ndescription: Tienda y almacén\nservices: [stock, tienda]\n",
    );
    project.file("registry/_profiles/grande.yml", "name: Grande\nservices: [\"@tiendas\", shop@dos]\n");
    // one of ours replaces the shipped one
    project.file("registry/_profiles/erp.yml", "name: Nuestro ERP\nservices: [stock]\n");
    project
}

#[test]
fn the_registry_lists_shows_and_lints_profiles() {
    let project = project();
    let listed = project.says(&["registry", "list", "--color", "never"]);
    let row = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(row("@completo ").contains("infrastructure, agent, chat, hub, flow"), "{listed}");
    assert!(row("@tiendas ").contains("stock, tienda") && row("@erp ").contains("Nuestro ERP"), "{listed}");
    let shown = project.says(&["registry", "show", "@completo"]);
    assert!(shown.contains("Suite completa") && shown.contains("hub"), "{shown}");
    project.file("registry/_profiles/mal.yml", "name: Mal\nservices: [stok]\n");
    let ended = project.run(&["registry", "lint", "@mal", "@tiendas"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stdout.contains("registry/_profiles/mal.yml") && ended.stdout.contains("did you mean `stock`"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("@tiendas ok"), "{}", ended.stdout);
}

#[test]
fn a_client_declares_a_profile_and_more() {
    let project = project();
    project.file(
        "inventory/host_vars/ana.yml",
        "profile: tiendas\nservices: [shop, shop@dos]\nsettings:\n  shop@dos: {SHOP_DOMAIN: dos.example}\n",
    );
    project.file("inventory/host_vars/beto.yml", "services: [\"@erp\"]\n");
    let list = project.says(&["inventory", "list"]);
    let of = |host: &str| list.lines().find(|line| line.starts_with(host)).unwrap_or_default().to_owned();
    assert!(of("ana").contains("stock, tienda, shop@dos") && of("ana").ends_with("tiendas"), "{list}");
    assert!(of("beto").contains("stock ") && of("beto").ends_with("erp"), "{list}");
    let explained = project.says(&["explain", "services", "--host", "ana", "--color", "never"]);
    assert!(explained.contains("ana runs stock, tienda, shop@dos"), "{explained}");
    assert!(explained.contains("profile tiendas (registry/_profiles/tiendas.yml): stock, tienda"), "{explained}");
    let rendered = project.says(&["registry", "render", "shop@dos", "--host", "ana"]);
    assert!(rendered.contains("dos.example"), "{rendered}");
}

#[test]
fn mistakes_in_a_declaration_have_their_place() {
    let project = project();
    project.file("inventory/host_vars/ana.yml", "domain: a.example\nprofile: tienda-grande\n");
    let refused = project.run(&["--host", "ana", "--check"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("inventory/host_vars/ana.yml:2"), "{}", refused.stderr);
    assert!(refused.stderr.contains("unknown profile `tienda-grande`"), "{}", refused.stderr);
    let refused = project.run(&["--host", "beto", "--services", "@tienda", "--check"]);
    assert!(refused.code == 2 && refused.stderr.contains("did you mean `tiendas`"), "{}", refused.stderr);
    project.file("inventory/host_vars/ana.yml", "services: [@erp]\n");
    let refused = project.run(&["inventory", "list"]);
    assert!(refused.code == 2 && refused.stderr.contains("quotes"), "{}", refused.stderr);
    assert!(!project.was_called());
}
