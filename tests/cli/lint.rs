//! `provision registry lint`: each finding once, with its place and what to do; the shipped packages are without any, and
//! agree with the schema that editors use.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::project::{MANIFEST, Project, STACK};

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// What is wrong; manifest and stack, each with something replaced; what lint says.
type Finding =
    (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)], &'static str);

const FINDINGS: &[Finding] = &[
    ("schema", &[("\"version\"", "\"versoin\"")], &[], "manifest.json:4: unknown field `versoin`"),
    ("floating version", &[("\"1.2\"", "\"latest\"")], &[], "the version `latest` floats"),
    (
        "unknown dependency",
        &[("\"aliases\"", "\"dependencies\": [{\"service\": \"nope\"}], \"aliases\"")],
        &[],
        "`shop` depends on `nope`, which no package provides",
    ),
    (
        "unknown validation",
        &[("\"port\"", "\"prot\"")],
        &[],
        "variable `SHOP_PORT`: `prot` is not a kind of setting; did you mean `port`?",
    ),
    ("unknown kind of secret", &[("\"hex\"", "\"hexx\"")], &[], "secret `DB_PASSWORD`: `hexx` is not a kind of secret"),
    (
        "missing file",
        &[("\"aliases\"", "\"files\": [{\"src\": \"a.conf\", \"dest\": \"a.conf\"}], \"aliases\"")],
        &[],
        "`a.conf` is not in the package",
    ),
    (
        "path outside",
        &[("\"aliases\"", "\"directories\": [{\"path\": \"../x\"}], \"aliases\"")],
        &[],
        "`../x` leads out of the service's folder",
    ),
    (
        "unknown base",
        &[("\"extends\": null", "\"extends\": \"nope\"")],
        &[],
        "extends `nope`, but there is no _defaults/nope.yml",
    ),
    (
        "undeclared in the manifest",
        &[("shop.{{ domain }}", "shop.{{ domian }}")],
        &[],
        "manifest.json:8: the template uses `domian`, which nothing declares",
    ),
    (
        "undeclared in the stack",
        &[],
        &[("{{ SHOP_DOMAIN }}", "{{ SHOP_DOMAN }}")],
        "stack.yml.j2:8: the template uses `SHOP_DOMAN`, which nothing declares",
    ),
    (
        "undeclared in the environment",
        &[],
        &[("${DB_PASSWORD}", "${DB_PASWORD}")],
        "the stack takes `${DB_PASWORD}` from the environment, but the package has no setting",
    ),
    (
        "secret in the stack",
        &[],
        &[("\"${DB_PASSWORD}\"", "{{ DB_PASSWORD }}")],
        "the secret `DB_PASSWORD` is rendered into the stack",
    ),
    (
        "too early health check",
        &[],
        &[
            ("example/shop:{{ version }}", "n8nio/n8n:2.40.7"),
            ("\"CMD\", \"true\"", "\"CMD\", \"wget\", \"-qO-\", \"http://127.0.0.1:5678/healthz\""),
        ],
        "service `web`: the image `n8nio/n8n:2.40.7`: /healthz is 200 while it still migrates its database",
    ),
    (
        "image without the program of its health check",
        &[],
        &[
            ("example/shop:{{ version }}", "chatwoot/chatwoot:v4.17.1"),
            ("\"CMD\", \"true\"", "\"CMD\", \"curl\", \"-f\", \"http://127.0.0.1:3000/api\""),
        ],
        "service `web`: the image `chatwoot/chatwoot:v4.17.1`: there is no curl in it",
    ),
    ("syntax error", &[], &[("{{ version }}", "{{ version")], "stack.yml.j2:"),
    ("not YAML", &[], &[("services:", "services: [")], "the rendered stack is not YAML"),
    (
        "floating image",
        &[],
        &[("example/shop:{{ version }}", "example/shop")],
        "service `web`: the image `example/shop` is not pinned",
    ),
    (
        "latest image",
        &[],
        &[("{{ version }}", "latest")],
        "service `web`: the image `example/shop:latest` is not pinned",
    ),
    (
        "no health check",
        &[],
        &[("    healthcheck: {test: [\"CMD\", \"true\"]}\n", "")],
        "service `web` has no health check",
    ),
    (
        "open port",
        &[],
        &[("    labels:", "    ports: [\"5432:5432\"]\n    labels:")],
        "service `web` publishes port 5432 on every address, past the firewall",
    ),
    (
        "debugger",
        &[],
        &[("    labels:", "    ports: [\"127.0.0.1:15678:5678\"]\n    labels:")],
        "service `web` publishes port 15678, on which debuggers listen",
    ),
    (
        "mode with an unknown setting",
        &[("\"aliases\"", "\"modes\": {\"debug\": {\"settings\": {\"LOGLEVEL\": \"x\"}}}, \"aliases\"")],
        &[],
        "mode `debug` sets `LOGLEVEL`, which is no setting",
    ),
    (
        "mode without its template",
        &[("\"aliases\"", "\"modes\": {\"debug\": {\"stack\": [\"manifest.yml\"]}}, \"aliases\"")],
        &[],
        "manifest.yml: debug: cannot read the stack template",
    ),
    (
        "link to nowhere",
        &[("\"aliases\"", "\"links\": [{\"name\": \"db\", \"url\": \"localhost:5432\"}], \"aliases\"")],
        &[],
        "link `db`: `localhost:5432` is no address",
    ),
    (
        "job for nobody",
        &[(
            "\"aliases\"",
            "\"jobs\": [{\"name\": \"j\", \"service\": \"wbe\", \"check\": \"manifest.json\", \"run\": \"manifest.json\"}], \"aliases\"",
        )],
        &[],
        "job `j` is for the service `wbe`, which the stack does not have",
    ),
    (
        "job with an unknown setting",
        &[(
            "\"aliases\"",
            "\"jobs\": [{\"name\": \"j\", \"service\": \"web\", \"check\": \"manifest.json\", \"run\": \"manifest.json\", \"env\": [\"NOPE\"]}], \"aliases\"",
        )],
        &[],
        "job `j` wants `NOPE`, which is no setting",
    ),
    (
        "replicas with one name",
        &[],
        &[("    labels:", "    deploy: {replicas: 2}\n    container_name: \"{{ project }}-shop\"\n    labels:")],
        "service `web`: 2 replicas cannot all be named `versatile-shop-shop`",
    ),
    (
        "replicas with one port",
        &[],
        &[("    labels:", "    scale: 3\n    ports: [\"127.0.0.1:8080:80\"]\n    labels:")],
        "service `web`: 3 replicas cannot all hold port 8080",
    ),
    (
        "route without the proxy's network",
        &[],
        &[("    labels:\n", "    networks: [inside]\n    labels:\n      traefik.enable: true\n")],
        "service `web` has a route of the proxy, but is not on its network `web`",
    ),
    (
        "route on one of two networks",
        &[],
        &[(
            "    labels:\n",
            "    networks: [inside, \"{{ docker_network }}\"]\n    labels:\n      traefik.enable: true\n",
        )],
        "service `web` is on 2 networks, and its route does not say on which",
    ),
    (
        "localhost in production",
        &[],
        &[("      DB_PASSWORD", "      API_URL: http://localhost:8000\n      DB_PASSWORD")],
        "service `web`: `API_URL` leads to localhost, which is the container itself",
    ),
    (
        "address of nobody",
        &[],
        &[("      DB_PASSWORD", "      QUEUE: redis://queue:6379/0\n      DB_PASSWORD")],
        "service `web`: `QUEUE` leads to `queue`, which is neither in the stack nor a dependency",
    ),
    (
        "underscore in a host name",
        &[("\"aliases\"", "\"urls\": [{\"url\": \"https://my_{{ SHOP_DOMAIN }}\"}], \"aliases\"")],
        &[],
        "`my_shop.sample.example` has a `_`, which no host name may have",
    ),
    (
        "secret that nobody takes as it is",
        &[("\"length\": 24", "\"length\": 24, \"mount\": \"file\"")],
        &[("\"${DB_PASSWORD}\"", "\"x${DB_PASSWORD}\"")],
        "`DB_PASSWORD` is to be mounted, and no service takes it as it is",
    ),
    (
        "mounted and no secret",
        &[("\"validation\": \"email\"", "\"validation\": \"email\", \"mount\": \"file\"")],
        &[("DB_PASSWORD: \"${DB_PASSWORD}\"", "DB_PASSWORD: \"${DB_PASSWORD}\"\n      OWNER: \"${SHOP_OWNER}\"")],
        "variable `SHOP_OWNER` is to be mounted and is no secret",
    ),
    (
        "defaults that do not fit together",
        &[(
            "\"aliases\"",
            "\"assert\": [{\"that\": \"SHOP_PORT | int > 9000\", \"fail_msg\": \"{{ SHOP_PORT }} is too low\"}], \"aliases\"",
        )],
        &[],
        "8080 is too low",
    ),
    (
        "job that is never due",
        &[(
            "\"aliases\"",
            "\"jobs\": [{\"name\": \"move\", \"service\": \"web\", \"run\": \"stack.yml.j2\"}], \"aliases\"",
        )],
        &[],
        "nothing says when job `move` is due",
    ),
    (
        "backup that nobody can take",
        &[(
            "\"aliases\"",
            "\"jobs\": [{\"name\": \"move\", \"service\": \"web\", \"run\": \"stack.yml.j2\", \"when\": \"first\", \"backup_before\": true}], \"aliases\"",
        )],
        &[],
        "job `move` wants a backup before it, and the package has none",
    ),
    (
        "key in an address",
        &[(
            "\"validation\": {\"regex\": \"^sk-\"}",
            "\"live_check\": {\"url\": \"https://api.example/{{ API_KEY }}\"}",
        )],
        &[],
        "variable `API_KEY`: the secret `API_KEY` is in the address of its live check",
    ),
    (
        "key in the open",
        &[("\"validation\": {\"regex\": \"^sk-\"}", "\"live_check\": {\"url\": \"http://api.example/\"}")],
        &[],
        "variable `API_KEY`: `http://api.example/` would carry the key in the open",
    ),
    (
        "conflict with nobody",
        &[("\"aliases\"", "\"conflicts\": [\"nope\"], \"aliases\"")],
        &[],
        "it conflicts with `nope`, which no package is or provides",
    ),
    (
        "database in nobody",
        &[(
            "\"aliases\"",
            "\"databases\": [{\"type\": \"postgres\", \"db_name_var\": \"N\", \"user_var\": \"U\", \"password_var\": \"P\", \"service\": \"bd\"}], \"aliases\"",
        )],
        &[],
        "database `postgres` is for the service `bd`",
    ),
];

#[test]
fn each_finding_is_found_alone() {
    let project = Project::new();
    let clean = project.run(&["registry", "lint", "shop"]);
    assert_eq!((clean.code, clean.stdout.as_str()), (0, "shop ok\n"), "{}", clean.stderr);
    let mut wrong = String::new();
    for (what, manifest, stack, says) in FINDINGS {
        let text = manifest.iter().fold(MANIFEST.to_owned(), |text, (from, to)| replaced(&text, from, to));
        project.file("registry/shop/manifest.json", &text);
        let text = stack.iter().fold(STACK.to_owned(), |text, (from, to)| replaced(&text, from, to));
        project.file("registry/shop/stack.yml.j2", &text);
        let ended = project.run(&["registry", "lint"]);
        let of_shop: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("registry/shop/")).collect();
        // an undeclared variable is undefined as well, a floating version that of an image too, a port taken once
        let most = if [
            "which nothing declares",
            "floats",
            "all hold port",
            "all be named",
            "past the firewall",
            "debuggers listen",
        ]
        .iter()
        .any(|word| says.contains(word))
        {
            2
        } else {
            1
        };
        if ended.code != 2 || !ended.stdout.contains(says) || of_shop.len() > most {
            wrong.push_str(&format!("\n## {what}: exit {}\n{}\n{}", ended.code, of_shop.join("\n"), ended.stderr));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_shipped_packages_are_clean() {
    let project = Project::new();
    std::fs::remove_dir_all(project.path("registry")).unwrap();
    let ended = project.run(&["registry", "lint"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let packages = manifests().len();
    assert!(packages >= 8, "{packages}");
    let fine = |profile: bool| {
        ended.stdout.lines().filter(move |line| line.ends_with(" ok") && line.starts_with('@') == profile)
    };
    assert_eq!((fine(false).count(), fine(true).count() >= 5), (packages, true), "{}", ended.stdout);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json_file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema() -> Value {
    json_file(&root().join("registry/manifest.schema.json"))
}

/// The example's manifest besides the shipped ones.
#[test]
fn the_example_is_clean() {
    let project = Project::new();
    let examples = root().join("examples");
    let ended = project.run(&["registry", "lint", "vnm", "--registry", examples.to_str().unwrap()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "vnm ok\n"), "{}", ended.stderr);
    let schema = jsonschema::validator_for(&schema()).unwrap();
    assert!(schema.is_valid(&json_file(&examples.join("vnm/manifest.json"))));
}

fn manifests() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(root().join("registry")).unwrap().flatten();
    entries.map(|entry| entry.path().join("manifest.json")).filter(|path| path.exists()).collect()
}

#[test]
fn shipped_manifests_and_the_seed_follow_the_schema() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    for path in manifests().into_iter().chain([root().join("tests/fixtures/seed-s0-manifest.json")]) {
        let manifest = json_file(&path);
        let errors: Vec<String> = schema.iter_errors(&manifest).map(|error| format!("{error}")).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
    for wrong in [
        json!({"id": "x"}),
        json!({"id": "X", "name": "X"}),
        json!({"id": "x", "name": "X", "versoin": "1"}),
        json!({"id": "x", "name": "X", "variables": [{"key": "A", "validation": "prot"}]}),
        json!({"id": "x", "name": "X", "jobs": [{"name": "j"}]}),
    ] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}

/// The names that the program accepts at a place are those of the schema: it lists them when it meets another one.
#[test]
fn the_schema_and_the_program_know_the_same_fields() {
    let schema = schema();
    let mut places = vec![(schema.clone(), json!({"nope": 1}))];
    // read once their templates are rendered, by those who make them
    let checks = schema["properties"]["checks"]["items"].clone();
    for (field, about) in schema["properties"].as_object().unwrap().iter().filter(|(field, _)| *field != "checks") {
        if let Some(items) = about.get("items").filter(|items| items.get("properties").is_some()) {
            places.push((items.clone(), json!({field: [{"nope": 1}]})));
        } else if about.get("properties").is_some() {
            places.push((about.clone(), json!({field: {"nope": 1}})));
        } else if let Some(object) =
            about.get("anyOf").and_then(|all| all.get(0)).filter(|one| one.get("properties").is_some())
        {
            places.push((object.clone(), json!({field: {"nope": 1}})));
        }
    }
    assert!(places.len() >= 12, "{}", places.len());
    let same = |about: &Value, error: String, ours: &[&str]| {
        let accepted: BTreeSet<&str> =
            error.split('`').skip(3).step_by(2).filter(|name| !ours.contains(name)).collect();
        let named: BTreeSet<&str> = about["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(accepted, named, "{error}");
    };
    for (about, wrong) in places {
        let read = serde_json::from_value::<provision::services::manifest::Manifest>(wrong);
        same(&about, read.unwrap_err().to_string(), &[]);
    }
    let read =
        |wrong: Value| serde_json::from_value::<provision::modules::check::Check>(wrong).unwrap_err().to_string();
    same(&checks, read(json!({"nope": 1})), &[]);
    let kinds = checks["properties"].as_object().unwrap().iter().filter(|(_, about)| about["properties"].is_object());
    let kinds: Vec<(&String, &Value)> = kinds.collect();
    assert_eq!(kinds.len(), 12);
    for (kind, about) in kinds {
        // what a script holds is put in when it is read
        same(about, read(json!({"name": "x", kind: {"nope": 1}})), &["text"]);
    }
}

/// Nobody answers where a browser would look, and nothing was touched.
#[test]
fn a_blank_address_needs_the_pair_of_domains() {
    let project = Project::with_key();
    let host = |more: &str| {
        let settings =
            "settings:\n  nexus-orchestrator: {BOT_PHONE_NUMBER: \"+5491122334455\", OPENAI_API_KEY: sk-x}\n";
        project.file(
            "inventory/host_vars/ana.yml",
            &format!("services: [nexus-frontend]\n{settings}  nexus-frontend: {more}\n"),
        );
        project.run(&["registry", "render", "nexus-frontend", "--host", "ana"])
    };
    for (settings, guess) in [
        (
            "{ORCHESTRATOR_URL: '', ADMIN_DOMAIN: frontend-react.paz.example}",
            "guesses https://orchestrator-service.paz.example, and",
        ),
        ("{ORCHESTRATOR_URL: ''}", "guesses nothing (ADMIN_DOMAIN does not begin with `frontend-react.`)"),
    ] {
        let ended = host(settings);
        assert!(ended.code == 2 && ended.stderr.contains(guess), "{settings}: {}", ended.stderr);
        assert!(ended.stderr.contains("host `ana`: `nexus-frontend`: ORCHESTRATOR_URL is blank"), "{}", ended.stderr);
    }
    for settings in ["{ORCHESTRATOR_URL: 'https://api.example', ADMIN_DOMAIN: frontend-react.paz.example}", "{}"] {
        let ended = host(settings);
        assert_eq!(ended.code, 0, "{settings}: {}", ended.stderr);
    }
    assert!(!project.was_called());
}
