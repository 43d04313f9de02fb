//! `registry new` and `registry import compose`: what comes out is a package that lint has nothing to say about, and what
//! could not be carried over is said.

use serde_json::Value;

use crate::project::Project;

fn json(project: &Project, name: &str) -> Value {
    serde_json::from_str(&project.read(name)).unwrap()
}

#[test]
fn a_new_package_passes_lint_and_renders_for_both_runtimes() {
    let project = Project::with_key();
    let said = project.says(&["registry", "new", "my-app", "--image", "example/app:1.4", "--port", "3000"]);
    assert!(said.contains("wrote registry/my-app: manifest.json, stack.yml.j2, .env.example"), "{said}");
    assert!(project.says(&["registry", "lint", "my-app"]).contains("my-app ok"));
    let compose = project.says(&["registry", "render", "my-app", "--host", "ana"]);
    for piece in
        ["image: example/app:1.4", "Host(`my-app.ana.example`)", "loadbalancer.server.port=3000", "127.0.0.1:3000"]
    {
        assert!(compose.contains(piece), "{piece}\n{compose}");
    }
    let swarm = project.says(&["registry", "render", "my-app", "--host", "ana", "-e", "runtime=swarm"]);
    assert!(swarm.contains("deploy:") && swarm.contains("traefik.swarm.network=web"), "{swarm}");
    assert!(project.says(&["registry", "list"]).contains("my-app"));
}

#[test]
fn nothing_is_overwritten_and_bad_input_is_named() {
    let project = Project::new();
    for (args, expected) in [
        (&["new", "shop", "--image", "a:1"][..], "registry/shop is there already"),
        (&["new", "Shop", "--image", "a:1"], "`Shop` is not a service id"),
        (&["new", "x", "--image", "a"], "the image `a` is not pinned"),
        (&["new", "x", "--image", "a:latest"], "the image `a:latest` is not pinned"),
        (&["import", "compose", "none.yml"], "none.yml"),
        (&["import", "compose", "inventory/hosts.yml", "--id", "x"], "it has no `services`"),
    ] {
        let before = project.snapshot();
        let ended = project.run(&[&["registry"], args].concat());
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
        assert!(project.snapshot() == before, "{args:?}");
    }
}

const COMPOSE: &str = r#"version: "3"
services:
  web:
    image: example/web:2.3
    container_name: web
    ports: ["8080:80", "9100:9100"]
    environment:
      - APP_NAME=Tienda {{ central }}
      - LEVEL=info
      - DATABASE_URL=postgres://app:${DB_PASSWORD}@db/app
      - APP_SECRET=planted-value
      - PRICE=5$$
      - REQUIRED
    env_file: web.env
    depends_on:
      db: {condition: service_healthy}
    volumes:
      - uploads:/srv/uploads
      - ./conf/web.conf:/etc/web.conf:ro
      - /var/run/docker.sock:/var/run/docker.sock
    healthcheck: {test: ["CMD", "true"]}
    labels: {traefik.enable: "true"}
    secrets: [x]
  db:
    image: example/db:16
    user: "999:998"
    environment: {DB_PASSWORD: "${DB_PASSWORD}", LEVEL: debug}
    volumes: ["db:/var/lib/db"]
    healthcheck: {test: ["CMD", "true"]}
  job:
    build: ./job
    restart: "no"
volumes: {uploads: {}, db: {}}
configs: {}
"#;

#[test]
fn a_compose_file_becomes_a_package() {
    let project = Project::with_key();
    project.file("theirs/docker-compose.yml", COMPOSE);
    project.file("theirs/web.env", "# of the container\nFROM_FILE='a $b'\nAPI_TOKEN=planted-token\n");
    project.file("theirs/conf/web.conf", "port 80\n");
    project.file("theirs/job/Dockerfile", "FROM a\nCOPY .env /app/.env\n");
    let ended = project.run(&["registry", "import", "compose", "theirs/docker-compose.yml", "--id", "store"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    for remark in [
        "service `web`: port 80 is reached through the proxy under STORE_DOMAIN",
        "service `web`: port 9100 is published on 127.0.0.1 only",
        "the value of `APP_SECRET` is left behind",
        "the value of `API_TOKEN` is left behind",
        "service `web` mounts `/var/run/docker.sock` of the host",
        "service `web`: 1 labels are not carried over",
        "service `web`: `secrets` is not carried over",
        "service `job`: `build` is not carried over",
        "service `job` is built and has no image",
        "theirs/job/Dockerfile:2: env-baked-in-image: `.env` is copied into the image",
        "`data/uploads` belongs to root",
        "`configs` at the top is not carried over",
    ] {
        assert!(ended.stdout.contains(remark), "{remark}\n{}", ended.stdout);
    }
    let manifest = json(&project, "registry/store/manifest.json");
    assert_eq!(manifest["version"], "2.3");
    let keys = |list: &str| -> Vec<String> {
        let entries = manifest[list].as_array().unwrap().iter();
        entries.map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("variables"), ["STORE_DOMAIN", "FROM_FILE", "APP_NAME", "LEVEL", "PRICE", "REQUIRED", "DB_LEVEL"]);
    assert_eq!(keys("secrets"), ["API_TOKEN", "DB_PASSWORD", "APP_SECRET"]);
    assert_eq!(manifest["directories"][1]["owner"], "999");
    assert_eq!(project.read("registry/store/files/conf/web.conf"), "port 80\n");
    for (path, content) in project.snapshot() {
        let text = String::from_utf8_lossy(&content).into_owned();
        assert!(!path.starts_with(project.path("registry")) || !text.contains("planted"), "{}", path.display());
    }

    let ended = project.run(&["registry", "lint", "store"]);
    let findings: Vec<&str> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(ended.code, 0, "{findings:#?}");
    let set = ["-e", "REQUIRED=yes", "--host", "ana"];
    let stack = project.says(&[&["registry", "render", "store"], &set[..]].concat());
    for piece in [
        "image: example/web:2.3",
        "postgres://app:${DB_PASSWORD}@db/app",
        "APP_NAME: '${APP_NAME}'",
        "LEVEL: '${DB_LEVEL}'",
        "/services/store/data/uploads:/srv/uploads",
        "/services/store/conf/web.conf:/etc/web.conf:ro",
        "127.0.0.1:9100:9100",
        "condition: service_healthy",
        "Host(`store.ana.example`)",
    ] {
        assert!(stack.contains(piece), "{piece}\n{stack}");
    }
    let swarm = project.says(&[&["registry", "render", "store", "-e", "runtime=swarm"], &set[..]].concat());
    assert!(!swarm.contains("condition: service_healthy") && swarm.contains("mode: replicated-job"), "{swarm}");
    let explained = project.says(&[&["explain", "store/APP_NAME"], &set[..]].concat());
    assert!(explained.contains("Tienda {{ central }}"), "{explained}");
}

#[test]
fn texts_and_images_are_linted() {
    let project = Project::new();
    project.file("registry/shop/.env.example", "# InstalaciÃ³n\nSHOP_OWNER=\n");
    project.file("registry/shop/files/Dockerfile", "FROM a\nCOPY .env /app/.env\n");
    let ended = project.run(&["registry", "lint", "shop"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stdout.contains("registry/shop/.env.example:1: `Ã³` was encoded twice"), "{}", ended.stdout);
    assert!(ended.stdout.contains("registry/shop/files/Dockerfile:2: env-baked-in-image: `.env`"), "{}", ended.stdout);
}

#[test]
fn a_drain_is_linted_where_a_swarm_would_ignore_it() {
    let project = Project::new();
    let stack = |labels: &str| {
        let text = format!("services:\n  web:\n    image: a:1\n    restart: \"no\"\n{labels}");
        project.file("registry/shop/stack.yml.j2", &text);
        let ended = project.run(&["registry", "lint", "shop"]);
        (ended.code, ended.stdout)
    };
    let label = "    labels: [\"provision.drain=touch /tmp/d\"]\n";
    let (code, said) = stack(label);
    assert!(code == 2 && said.contains("swarm: service `web`: `provision.drain` does nothing in a swarm"), "{said}");
    assert_eq!(said.matches("provision.drain").count(), 1, "{said}");
    let (code, said) = stack(&format!("{{% if runtime == 'compose' %}}\n{label}{{% endif %}}\n"));
    assert!(code == 0, "{said}");
}
