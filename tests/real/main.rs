//! n8n itself on a lab host, rolled out by the real program: what its stand-in claims is asked of the original.
//!
//! Eight minutes and 3 GB of npm, so only `make test-real` runs it. Left out: other services that stand in for the
//! originals; those are not to be had from a package registry.

#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

use serde_json::Value;
use stage::{Stage, counts, shell};

const BUILT: &str = "provision-lab-n8n-real:2.40.7";
const SERVED: &str = "n8nio/n8n:2.40.7";

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-real",
    hosts: &["clienteB"],
    system: provision::lab::System::Fresh,
    inventory: "inventory",
    images: &["traefik:v3.7.9", "postgres:17"],
};

#[test]
#[ignore = "installs n8n from npm: 8 minutes, 3 GB; `make test-real` runs it"]
fn n8n_itself_is_rolled_out() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "n8n_itself_is_rolled_out") else { return };
    serve_the_real_one(stage);
    let runs = stage.runs("real");
    let arguments = ["--host", "clienteB", "--services", "flow", "--yes"];
    stage.must(&runs, &arguments, 0);
    assert_eq!(stage.inside("clienteB", "docker exec versatile-flow-n8n n8n --version"), "2.40.7");

    let migrations = "docker exec versatile-flow-postgres psql -U n8n -d n8n -Atc 'select count(*) from migrations'";
    let migrations: u32 = stage.inside("clienteB", migrations).parse().unwrap();
    assert!(migrations > 200, "{migrations} migrations: that is the stand-in's database");
    let settings = ask(stage, "/rest/settings", "GET", "");
    assert_eq!(settings["data"]["userManagement"]["showSetupOnFirstLoad"], false, "it has its owner");
    let password = stage.must(&runs, &["secrets", "get", "flow/FLOW_OWNER_PASSWORD", "--host", "clienteB"], 0).stdout;
    let login = serde_json::json!({"emailOrLdapLoginId": "admin@clienteB.example", "password": password.trim_end()});
    let said = ask(stage, "/rest/login", "POST", &login.to_string());
    assert_eq!(said["data"]["email"], "admin@clienteb.example", "{said}");
    let other =
        serde_json::json!({"email": "a@b.example", "firstName": "A", "lastName": "B", "password": "Visitor123"});
    let said = ask(stage, "/rest/owner/setup", "POST", &other.to_string());
    assert!(said["data"].is_null(), "nobody else becomes the owner: {said}");

    stage.must(&runs, &arguments, 0);
    assert_eq!(counts(&stage::last_events(&runs), "clienteB", "changed"), 0);
}

/// Puts n8n into the lab's registry under the name that the package asks for; here it keeps its own.
fn serve_the_real_one(stage: &Stage) {
    let script = "set -e
        \"$1\" n8n-real >&2
        port=$(docker port \"$2-registry\" 5000/tcp | sed -n '1s/.*://p')
        docker tag \"$3\" \"localhost:$port/$4\"
        docker push --quiet \"localhost:$port/$4\" >&2
        docker rmi --no-prune \"localhost:$port/$4\" >&2";
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/build.sh");
    shell(script, &[build, &stage.options.prefix, BUILT, SERVED]);
}

/// Asks n8n inside its own container; the body comes back whatever the status.
fn ask(stage: &Stage, path: &str, method: &str, body: &str) -> Value {
    let body = if body.is_empty() { "undefined".to_owned() } else { serde_json::to_string(body).unwrap() };
    let program = format!(
        "fetch('http://127.0.0.1:5678{path}', {{method: '{method}', body: {body}, headers: \
         {{'content-type': 'application/json'}}}}).then(r => r.text()).then(text => console.log(text))"
    );
    let script =
        format!("docker exec -i versatile-flow-n8n node --input-type=module - <<'PROGRAM'\n{program}\nPROGRAM");
    let said = stage.inside("clienteB", &script);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{path}: {e}: {said}"))
}
