//! MaravIA: one server with the orchestrator, in the guide's order: what it needs, its image, nginx and systemd as the other
//! way, its settings, the verification script, monitoring, scaling, backup and going back, maintenance.
//!
//! It is built on the host from a folder of this machine; two instances with one memory are behind the proxy.

use serde_json::Value;

use crate::stage::{Stage, counts, last_events};
use crate::{SCENE, site, tally};

const CHAT: &str = r#"{"message":"MESSAGE","session_id":"prueba","config":{"nombre_bot":"Test","id_empresa":1,"rol_bot":"t","tipo_bot":"t","objetivo_principal":"t"}}"#;

/// Through the proxy, as a visitor; → the body.
pub fn ask(stage: &Stage, more: &str, path: &str) -> String {
    let resolve = "--resolve api.tienda.example:443:127.0.0.1";
    stage.inside("a", &format!("curl -sk {resolve} {more} https://api.tienda.example{path}"))
}

pub fn chat(stage: &Stage, message: &str) -> Value {
    let body = provision::plan::quote(&CHAT.replace("MESSAGE", message));
    serde_json::from_str(&ask(stage, &format!("-H 'Content-Type: application/json' -d {body}"), "/api/agent/chat"))
        .unwrap()
}

const ONLY: [&str; 5] = ["--host", "a", "--services", "infrastructure,redis,maravia", "--yes"];

#[test]
fn the_seed_s3_from_top_to_bottom() {
    let Some((_turn, stage)) = crate::stage::enter(&SCENE, "the_seed_s3_from_top_to_bottom") else { return };
    it_comes_up_with_a_key_and_not_without(stage);
    it_was_built_here_and_runs_as_nobody(stage);
    site::an_application_under_systemd_behind_nginx(stage);
    it_answers_as_its_guide_says(stage);
    its_verification_passes(stage);
    an_agent_that_is_gone_opens_the_circuit(stage);
    two_instances_remember_one_conversation(stage);
    its_settings_are_backed_up(stage);
    another_source_is_another_image_and_the_old_one_stays(stage);
    its_maintenance_is_one_verb_each(stage);
}

/// Requirements and settings: what is missing is said before anything is touched; the same again changes nothing.
fn it_comes_up_with_a_key_and_not_without(stage: &Stage) {
    let runs = stage.runs("maravia");
    let before = stage.inside("a", "ls -A /opt /var/lib/provision 2>/dev/null | cksum");
    let missing = stage.must(&runs, &[&ONLY[..], &["-e", "OPENAI_API_KEY="]].concat(), 2).stderr;
    assert!(missing.contains("OPENAI_API_KEY"), "{missing}");
    assert_eq!(stage.inside("a", "ls -A /opt /var/lib/provision 2>/dev/null | cksum"), before, "nothing was touched");
    stage.must(&runs, &ONLY, 0);
    stage.must(&runs, &ONLY, 0);
    assert_eq!(counts(&last_events(&runs), "a", "changed"), 0);
}

/// The verification script: health, info, config, metrics, chat.
fn its_verification_passes(stage: &Stage) {
    let words = ["verify", "--host", "a", "--services", "maravia", "--full"];
    let said = stage.must(&stage.runs("verify"), &words, 0).stdout;
    for check in ["health", "info", "config", "metrics", "error rate", "latency p95", "chat", "not root"] {
        let line = |line: &str| line.starts_with("[OK]") && line.contains(&format!("maravia {check}:"));
        assert!(said.lines().any(line), "{check}: {said}");
    }
}

/// Backup: the settings, as an archive that is checked.
fn its_settings_are_backed_up(stage: &Stage) {
    let runs = stage.runs("copies");
    stage.must(&runs, &["backup", "--host", "a", "--services", "maravia", "--yes"], 0);
    let listed = stage.must(&runs, &["backup", "list", "--host", "a", "--services", "maravia"], 0).stdout;
    assert!(listed.contains("maravia") && listed.contains(".zip"), "{listed}");
    stage.must(&runs, &["backup", "check", "--host", "a", "--services", "maravia"], 0);
}

/// Maintenance: state, logs, restart.
fn its_maintenance_is_one_verb_each(stage: &Stage) {
    let runs = stage.runs("maintenance");
    let status = stage.must(&runs, &["status", "--host", "a"], 0).stdout;
    let line = status.lines().find(|line| line.contains(" maravia ")).unwrap_or_default();
    assert!(line.contains("healthy 2/2"), "{status}");
    // its containers are new since the other source
    assert!(chat(stage, "Hola")["messages"].is_u64());
    let words = ["logs", "maravia", "--host", "a", "--tail", "400", "--grep", "chat request"];
    assert!(stage.must(&runs, &words, 0).stdout.contains("chat request"));
    stage.must(&runs, &["restart", "--host", "a", "--services", "maravia", "--yes"], 0);
    assert_eq!(ask(stage, "", "/health"), r#"{"status":"ok","service":"orquestador"}"#);
}

fn it_answers_as_its_guide_says(stage: &Stage) {
    assert_eq!(ask(stage, "", "/health"), r#"{"status":"ok","service":"orquestador"}"#);
    let about: Value = serde_json::from_str(&ask(stage, "", "/")).unwrap();
    assert!(about["version"] == "0.2.0" && about["endpoints"].is_array(), "{about}");
    let config = ask(stage, "", "/config");
    assert!(config.contains(r#""openai_model":"gpt-4o-mini""#) && !config.contains("planted"), "{config}");
    // only the declared origins may call it from a browser
    let preflight = |origin: &str| {
        let headers = format!("-i -X OPTIONS -H 'Origin: {origin}' -H 'Access-Control-Request-Method: POST'");
        ask(stage, &headers, "/api/agent/chat").to_lowercase()
    };
    assert!(
        preflight("https://app.tienda.example").contains("access-control-allow-origin: https://app.tienda.example")
    );
    assert!(!preflight("https://evil.example").contains("access-control-allow-origin"));
}

fn two_instances_remember_one_conversation(stage: &Stage) {
    ask(stage, "-X POST", "/memory/clear/prueba");
    let counts: Vec<u64> = (0..4).map(|_| chat(stage, "Hola")["messages"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 3, 4]);
    let logged = |n: u8| stage.inside("a", &format!("docker logs versatile-maravia-orquestador-{n} 2>/dev/null"));
    for n in [1, 2] {
        let lines = logged(n);
        let of_this = |line: &&str| line.contains("chat request") && line.contains("prueba");
        let line = lines.lines().find(of_this).unwrap_or_else(|| panic!("{n} was idle"));
        let line: Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["timestamp", "level", "logger", "message", "extra_fields"]);
        assert_eq!(line["extra_fields"]["session_id"], "prueba");
        assert!(!lines.contains("planted"), "the key is in the log");
    }
    assert_eq!(ask(stage, "-X POST", "/memory/clear/prueba"), r#"{"cleared":true}"#);
}

fn an_agent_that_is_gone_opens_the_circuit(stage: &Stage) {
    // each instance has a breaker of its own; one message is six attempts, the threshold is five
    for _ in 0..2 {
        assert_eq!(chat(stage, "una reserva")["agent_used"], Value::Null);
    }
    let metrics: Value = serde_json::from_str(&ask(stage, "", "/metrics")).unwrap();
    assert_eq!(metrics["circuit_breakers"]["reserva"]["state"], "open", "{metrics}");
    assert!(metrics["latency_p95_ms"].is_number() && metrics["errors_total"] == 0, "{metrics}");
    let said = stage.must(&stage.runs("verify"), &["verify", "--host", "a", "--services", "maravia"], 1).stdout;
    assert!(said.lines().any(|line| line.starts_with("[FAIL]") && line.contains("circuit breakers closed")), "{said}");
}

fn it_was_built_here_and_runs_as_nobody(stage: &Stage) {
    let inspect = "docker inspect -f '{{.Config.Image}} {{.Config.User}} {{.State.Health.Status}}' versatile-maravia-orquestador-1";
    let seen = stage.inside("a", inspect);
    assert!(seen.starts_with("maravia-orquestador:v0.2.0-") && seen.ends_with(" appuser healthy"), "{seen}");
    assert_eq!(stage.inside("a", "docker exec versatile-maravia-orquestador-1 id -u"), "10001");
    // what `.dockerignore` names stayed at home, and nothing of the stream is left
    assert_eq!(stage.inside("a", "docker exec versatile-maravia-orquestador-1 find /app -name '*.md'"), "");
    assert_eq!(stage.half_written("a"), "");
    assert_eq!(stage.inside("a", "stat -c %a /opt/ATS/VersatileHub/services/maravia/.env"), "600");
}

fn another_source_is_another_image_and_the_old_one_stays(stage: &Stage) {
    let (runs, source) = (stage.runs("next"), stage.scratch.join("maravia"));
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/maravia");
    crate::stage::shell("rm -rf \"$2\"; cp -r \"$1\" \"$2\"", &[fixture, source.to_str().unwrap()]);
    std::fs::write(source.join(".env"), "OPENAI_API_KEY=sk-at-home").unwrap();
    std::fs::write(source.join("NOTES.md"), "changed, but ignored").unwrap();
    let source = source.to_str().unwrap();
    let settings = format!("MARAVIA_SOURCE={source}");
    let deploy = ["--host", "a", "--services", "redis,maravia", "--yes", "-e", &settings];
    // neither what is ignored nor a .env makes it another image
    stage.must(&runs, &deploy, 0);
    assert!(!tally(&runs, "Images built here", "changed") && !tally(&runs, "Containers", "changed"));

    std::fs::write(format!("{source}/src/orquestador/extra.py"), "X = 1\n").unwrap();
    stage.must(&runs, &deploy, 0);
    assert!(tally(&runs, "Images built here", "changed"), "it was built anew");
    assert_eq!(
        stage.inside("a", "docker exec versatile-maravia-orquestador-1 ls src/orquestador/extra.py"),
        "src/orquestador/extra.py"
    );
    assert_eq!(stage.inside("a", "docker exec versatile-maravia-orquestador-1 find /app -name '.env*'"), "");
    // going back is one run without a build
    stage.must(&runs, &["--host", "a", "--services", "redis,maravia", "--yes"], 0);
    assert!(!tally(&runs, "Images built here", "changed"), "the image of before was still there");
    assert_eq!(stage.inside("a", "docker images -q maravia-orquestador | wc -l"), "2");

    // `docker compose build --no-cache`, though nothing of the source differs; nobody looks for the image elsewhere
    let image = "docker inspect -f '{{.Image}}' versatile-maravia-orquestador-1";
    let before = stage.inside("a", image);
    let rebuild = ["up", "--host", "a", "--services", "maravia", "--no-deps", "--yes", "--rebuild"];
    stage.must(&runs, &rebuild, 0);
    assert!(tally(&runs, "Images built here", "changed") && stage.inside("a", image) != before);

    // settings baked into an image are refused before anything is touched
    std::fs::write(format!("{source}/Dockerfile"), "FROM python:3.11\nCOPY .env /app/.env\n").unwrap();
    let refused = stage.must(&runs, &deploy, 2);
    assert!(refused.stderr.contains("Dockerfile:2") && refused.stderr.contains("never sent"), "{}", refused.stderr);
}
