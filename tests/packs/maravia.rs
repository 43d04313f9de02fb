//! MaravIA, built on the host from a folder of this machine: two instances with one memory, behind the proxy.

use serde_json::Value;

use crate::stage::Stage;
use crate::{enter, tally};

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

#[test]
fn it_answers_as_its_guide_says() {
    let Some((_turn, stage)) = enter("maravia answers") else { return };
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

#[test]
fn two_instances_remember_one_conversation() {
    let Some((_turn, stage)) = enter("maravia's memory") else { return };
    ask(stage, "-X POST", "/memory/clear/prueba");
    let counts: Vec<u64> = (0..4).map(|_| chat(stage, "Hola")["messages"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 3, 4]);
    let logged = |n: u8| stage.inside("a", &format!("docker logs versatile-maravia-orquestador-{n} 2>/dev/null"));
    for n in [1, 2] {
        let lines = logged(n);
        let line = lines.lines().find(|line| line.contains("chat request")).unwrap_or_else(|| panic!("{n} was idle"));
        let line: Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["timestamp", "level", "logger", "message", "extra_fields"]);
        assert_eq!(line["extra_fields"]["session_id"], "prueba");
        assert!(!lines.contains("planted"), "the key is in the log");
    }
    assert_eq!(ask(stage, "-X POST", "/memory/clear/prueba"), r#"{"cleared":true}"#);
}

#[test]
fn an_agent_that_is_gone_opens_the_circuit() {
    let Some((_turn, stage)) = enter("maravia's circuit breaker") else { return };
    // each instance has a breaker of its own; one message is six attempts, the threshold is five
    for _ in 0..2 {
        assert_eq!(chat(stage, "una reserva")["agent_used"], Value::Null);
    }
    let metrics: Value = serde_json::from_str(&ask(stage, "", "/metrics")).unwrap();
    assert_eq!(metrics["circuit_breakers"]["reserva"]["state"], "open", "{metrics}");
    assert!(metrics["latency_p95_ms"].is_number() && metrics["errors_total"] == 0, "{metrics}");
}

#[test]
fn it_was_built_here_and_runs_as_nobody() {
    let Some((_turn, stage)) = enter("maravia's image") else { return };
    let inspect = "docker inspect -f '{{.Config.Image}} {{.Config.User}} {{.State.Health.Status}}' versatile-maravia-orquestador-1";
    let seen = stage.inside("a", inspect);
    assert!(seen.starts_with("maravia-orquestador:v0.2.0-") && seen.ends_with(" appuser healthy"), "{seen}");
    assert_eq!(stage.inside("a", "docker exec versatile-maravia-orquestador-1 id -u"), "10001");
    // what `.dockerignore` names stayed at home, and nothing of the stream is left
    assert_eq!(stage.inside("a", "docker exec versatile-maravia-orquestador-1 find /app -name '*.md'"), "");
    assert_eq!(stage.half_written("a"), "");
    assert_eq!(stage.inside("a", "stat -c %a /opt/ATS/VersatileHub/services/maravia/.env"), "600");
}

#[test]
fn another_source_is_another_image_and_the_old_one_stays() {
    let Some((_turn, stage)) = enter("maravia's next version") else { return };
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

    // settings baked into an image are refused before anything is touched
    std::fs::write(format!("{source}/Dockerfile"), "FROM python:3.11\nCOPY .env /app/.env\n").unwrap();
    let refused = stage.must(&runs, &deploy, 2);
    assert!(refused.stderr.contains("Dockerfile:2") && refused.stderr.contains("never sent"), "{}", refused.stderr);
}
