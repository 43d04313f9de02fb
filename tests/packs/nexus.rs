//! Nexus: a message from a signed webhook through Redis and the orchestrator into PostgreSQL; what is closed to visitors.

use serde_json::Value;

use crate::stage::Stage;
use crate::{enter, sql};

/// From outside of the host: status and body.
fn visit(stage: &Stage, host: &str, more: &str, path: &str) -> String {
    let resolve = format!("--resolve {host}:443:127.0.0.1");
    stage.inside("a", &format!("curl -sk -w ' %{{http_code}}' {resolve} {more} https://{host}{path}"))
}

/// A message as YCloud delivers it.
pub fn deliver(stage: &Stage, path: &str, id: &str, text: &str) -> String {
    let body = format!(r#"{{"id":"{id}","from":"+5491100000001","text":"{text}"}}"#);
    let script = format!(
        "body={}; t=1700000000
        s=$(printf %s.%s $t \"$body\" | openssl dgst -sha256 -hmac planted-webhook-secret -r | cut -d' ' -f1)
        curl -sk -w ' %{{http_code}}' --resolve wa.tienda.example:443:127.0.0.1 -H \"YCloud-Signature: t=$t,s=$s\" \
            -d \"$body\" https://wa.tienda.example{path}",
        provision::plan::quote(&body)
    );
    stage.inside("a", &script)
}

#[test]
fn a_message_arrives_once_and_is_answered() {
    let Some((_turn, stage)) = enter("nexus answers") else { return };
    for path in ["/webhook", "/webhook/ycloud"] {
        let unsigned = visit(stage, "wa.tienda.example", "-d '{\"id\":\"x\"}'", path);
        assert!(unsigned.ends_with(" 401"), "{path}: {unsigned}");
    }
    let id = crate::stage::lab_token();
    let count = || sql(stage, "nexus_db", "select count(*) from chat_messages").parse::<u32>().unwrap();
    let before = count();
    let answered = deliver(stage, "/webhook", &id, "hola");
    assert!(answered.contains("Cl\\u00ednica \\u00d1and\\u00fa: hola") && answered.ends_with(" 200"), "{answered}");
    // YCloud repeats what it is not sure of; the bot does not
    let again = deliver(stage, "/webhook/ycloud", &id, "hola");
    assert!(again.contains("duplicate"), "{again}");
    assert_eq!(count() - before, 2, "the message and its answer, once");
    // the trigger of the schema, a PL/pgSQL function, was imported whole
    assert_eq!(sql(stage, "nexus_db", "select count(*) from pg_proc where proname = 'touch_conversation'"), "1");
    assert_eq!(
        sql(stage, "nexus_db", "select store_name || ' ' || bot_phone_number from tenants"),
        "Clínica Ñandú +5491122334455"
    );
}

#[test]
fn only_webhooks_and_panel_are_public() {
    let Some((_turn, stage)) = enter("nexus exposure") else { return };
    let address = stage.inside("a", "hostname -I | cut -d' ' -f1");
    for port in [8000_u16, 8002, 5432, 6379] {
        let target = format!("{address}:{port}").parse().unwrap();
        let tried = std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_secs(1));
        assert!(tried.is_err(), "{port} is open from outside");
    }
    assert!(visit(stage, "orchestrator.tienda.example", "", "/health").ends_with(" 404"));
    assert!(visit(stage, "admin.tienda.example", "", "/").contains("<html"));
    // the panel works with the orchestrator's own token; both of its spellings are its name
    let body = r#"-d '{"name":"Dra. Paz","calendar_id":"paz@group.calendar.google.com"}'"#;
    assert!(visit(stage, "admin.tienda.example", body, "/api/admin/professionals").contains("Dra. Paz"));
    for name in ["orchestrator_service", "orchestrator-service"] {
        let script = format!("import urllib.request as u; print(u.urlopen('http://{name}:8000/ready').status)");
        assert_eq!(stage.inside("a", &format!("docker exec versatile-nexus-whatsapp python3 -c \"{script}\"")), "200");
    }
    let direct = "import urllib.request as u; u.urlopen(u.Request('http://orchestrator_service:8000/chat', b'{}'))";
    let refused =
        stage.inside("a", &format!("docker exec versatile-nexus-whatsapp python3 -c \"{direct}\" 2>&1 || true"));
    assert!(refused.contains("401"), "{refused}");
}

#[test]
fn trouble_is_in_the_log_and_in_the_database() {
    let Some((_turn, stage)) = enter("nexus in trouble") else { return };
    let logs = |name: &str| stage.inside("a", &format!("docker logs versatile-nexus-{name} 2>&1"));
    deliver(stage, "/webhook", &crate::stage::lab_token(), "quiero un humano");
    assert_ne!(sql(stage, "nexus_db", "select count(*) from system_events where event_type = 'smtp_failed'"), "0");
    assert!(logs("orchestrator").contains("smtp_failed"));
    // a database that goes: alive, but not ready
    let status = |path: &str| {
        let script =
            format!("import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000{path}', timeout=20).status)");
        stage.inside("a", &format!("docker exec versatile-nexus-orchestrator python3 -c \"{script}\" 2>&1 | tail -n1"))
    };
    stage.inside("a", "docker stop -t 10 versatile-postgres");
    let (alive, ready) = (status("/health"), status("/ready"));
    let failed = deliver(stage, "/webhook", &crate::stage::lab_token(), "hola");
    stage.inside("a", "docker start versatile-postgres; until [ $(docker inspect -f {{.State.Health.Status}} versatile-postgres) = healthy ]; do sleep 0.3; done");
    assert_eq!(alive, "200");
    assert!(ready.contains("503"), "{ready}");
    assert!(failed.ends_with(" 502") && logs("whatsapp").contains("request_failed"), "{failed}");
    for name in ["orchestrator", "whatsapp", "frontend"] {
        assert!(!logs(name).contains("planted") && !logs(name).contains("p W/x"), "a secret in the log of {name}");
    }
}

#[test]
fn what_its_packages_say_is_verified() {
    let Some((_turn, stage)) = enter("verify") else { return };
    let ran = stage.must(&stage.runs("verify"), &["verify", "--host", "a", "--full"], 0);
    for seen in [
        "maravia chat:",
        "maravia not root:",
        "nexus-whatsapp webhook without signature",
        "nexus-orchestrator 8000 is closed",
    ] {
        assert!(
            ran.stdout.lines().any(|line| line.starts_with("[OK]") && line.contains(seen)),
            "{seen}: {}",
            ran.stdout
        );
    }
}

#[test]
fn its_resources_are_bounded_and_its_data_kept() {
    let Some((_turn, stage)) = enter("nexus resources") else { return };
    let limits =
        "docker inspect -f '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}'";
    for (name, wanted) in [
        ("orchestrator", "1000000000 1073741824 unless-stopped"),
        ("whatsapp", "1000000000 536870912 unless-stopped"),
        ("frontend", "1000000000 268435456 unless-stopped"),
    ] {
        assert_eq!(stage.inside("a", &format!("{limits} versatile-nexus-{name}")), wanted, "{name}");
    }
    // a migration on a filled database overwrites nothing
    let rows = "select (select count(*) from tenants) || ' ' || (select count(*) from chat_messages)";
    let before = sql(stage, "nexus_db", rows);
    stage.inside("a", "docker restart -t 5 versatile-nexus-orchestrator versatile-nexus-orchestrator-schema");
    let ready = "until [ $(docker inspect -f '{{.State.Health.Status}}' versatile-nexus-orchestrator) = healthy ]; do sleep 0.3; done";
    stage.inside("a", ready);
    assert_eq!(sql(stage, "nexus_db", rows), before);
    let state: Value =
        serde_json::from_str(&stage.inside("a", "docker inspect versatile-nexus-orchestrator-schema")).unwrap();
    assert_eq!(state[0]["State"]["ExitCode"], 0);
}
