//! Nexus: one clinic by the name of a profile, in the guide's order: databases, the three services and what is open to whom,
//! the schema, the webhook, verification, what only people can do, trouble, resources.
//!
//! A message goes from a signed webhook through Redis and the orchestrator into PostgreSQL.

use serde_json::Value;

use crate::stage::{Stage, counts, last_events};
use crate::{SCENE, sql};

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

const ALL: &str = "nexus-orchestrator,nexus-whatsapp,nexus-frontend";
const ONLY: [&str; 5] = ["--host", "a", "--services", "@nexus", "--yes"];

#[test]
fn the_seed_s4_from_top_to_bottom() {
    let Some((_turn, stage)) = crate::stage::enter(&SCENE, "the_seed_s4_from_top_to_bottom") else { return };
    let runs = stage.runs("nexus");
    let deployed = stage.must(&runs, &ONLY, 0).stdout;
    stage.must(&runs, &ONLY, 0);
    assert_eq!(counts(&last_events(&runs), "a", "changed"), 0);
    a_message_arrives_once_and_is_answered(stage);
    only_webhooks_and_panel_are_public(stage);
    what_its_packages_say_is_verified(stage);
    what_only_people_can_do_is_pending_until_it_is_done(stage, &deployed);
    trouble_is_in_the_log_and_in_the_database(stage);
    its_resources_are_bounded_and_its_data_kept(stage);
    a_reset_is_for_the_mode_debug(stage);
}

fn a_message_arrives_once_and_is_answered(stage: &Stage) {
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

fn only_webhooks_and_panel_are_public(stage: &Stage) {
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

fn trouble_is_in_the_log_and_in_the_database(stage: &Stage) {
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

fn what_its_packages_say_is_verified(stage: &Stage) {
    let words =
        ["verify", "--host", "a", "--services", "nexus-whatsapp,nexus-orchestrator,nexus-frontend,postgres,redis"];
    let said = stage.must(&stage.runs("verify"), &words, 0).stdout;
    for seen in [
        "nexus-whatsapp webhook without signature",
        "nexus-whatsapp orchestrator is reached",
        "nexus-whatsapp whatsapp_service answers in the internal network",
        "nexus-orchestrator tables and a tenant",
        "nexus-orchestrator ready",
        "nexus-orchestrator 8000 is closed",
        "postgres login",
        "redis ping",
    ] {
        assert!(said.lines().any(|line| line.starts_with("[OK]") && line.contains(seen)), "{seen}: {said}");
    }
    sql(stage, "nexus_db", "alter table professionals rename to away");
    let said = stage.must(&stage.runs("verify"), &words, 1).stdout;
    sql(stage, "nexus_db", "alter table away rename to professionals");
    let found = |line: &str| line.starts_with("[FAIL]") && line.contains("no table professionals");
    assert!(said.lines().any(found), "{said}");
}

/// Three critical steps are pending until somebody says that they are done; who it was stays.
fn what_only_people_can_do_is_pending_until_it_is_done(stage: &Stage, deployed: &str) {
    let runs = stage.runs("steps");
    assert!(deployed.contains("BY HAND") && deployed.contains("share-calendars"), "{deployed}");
    assert!(deployed.contains("https://wa.tienda.example/webhook/ycloud"), "with the client's values: {deployed}");
    let state = || {
        let said = stage.must(&runs, &["status", "--host", "a", "--json"], 0).stdout;
        let mut rows = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.find(|row| row["service"] == "nexus-orchestrator").unwrap()["pending"].clone()
    };
    let critical = |id: &str| serde_json::json!({"step": id, "critical": true});
    assert_eq!(state(), serde_json::json!(["service-account", "share-calendars", "calendar-ids"].map(critical)));
    let done = |note: &str, more: &[&str]| {
        let words = ["steps", "done", "nexus-orchestrator", "service-account", "share-calendars", "--host", "a"];
        stage.must(&runs, &[&words[..], &["--note", note], more].concat(), 0);
        counts(&last_events(&runs), "a", "changed")
    };
    let kept = "cat /var/lib/provision/steps/nexus-orchestrator.json 2>/dev/null";
    done("", &["--check"]);
    assert_eq!(stage.inside("a", &format!("{kept} || echo nothing")), "nothing");
    assert_eq!(done("Dra. Paz", &[]), 1);
    let before = stage.inside("a", kept);
    assert_eq!(done("another", &[]), 0, "who was first stays");
    assert_eq!(stage.inside("a", kept), before);
    assert_eq!(stage.inside("a", "stat -c '%a %U' /var/lib/provision/steps/nexus-orchestrator.json"), "600 root");
    assert_eq!(state(), serde_json::json!([critical("calendar-ids")]));
    let listed = stage.must(&runs, &["steps", "list", "--host", "a", "--services", "nexus-orchestrator"], 0).stdout;
    let line = listed.lines().find(|line| line.contains("share-calendars")).unwrap_or_default();
    assert!(line.contains("done by ") && line.contains("Dra. Paz"), "{listed}");
    assert!(listed.lines().any(|line| line.contains("calendar-ids") && line.contains("pending, critical")), "{listed}");
    stage.must(&runs, &["steps", "reopen", "nexus-orchestrator", "share-calendars", "--host", "a"], 0);
    assert_eq!(state(), serde_json::json!([critical("share-calendars"), critical("calendar-ids")]));
}

fn its_resources_are_bounded_and_its_data_kept(stage: &Stage) {
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

/// What is in use is never reset, whatever the operator believes of its mode; what is worked on is, after a backup.
fn a_reset_is_for_the_mode_debug(stage: &Stage) {
    let runs = stage.runs("reset");
    let reset = ["action", "nexus-orchestrator", "reset-db", "--host", "a", "--yes-really"];
    let rows = || {
        sql(stage, "nexus_db", "select (select count(*) from tenants) || ' ' || (select count(*) from chat_messages)")
    };
    let backups = || stage.inside("a", "ls /opt/ATS/VersatileHub/services/nexus-orchestrator/database/backups | wc -l");
    let (before, kept) = (rows(), backups());
    assert!(!before.ends_with(" 0"), "{before}");
    let refused = stage.must(&runs, &reset, 2).stderr;
    assert!(refused.contains("is only for the mode debug, in which a is not"), "{refused}");
    let refused = stage.must(&runs, &[&reset[..], &["--mode", "debug"]].concat(), 1);
    assert!(
        refused.stderr.contains("nexus-orchestrator was deployed in produccion; nothing was touched"),
        "{}",
        refused.stderr
    );
    assert_eq!((rows(), backups()), (before, kept.clone()));
    let debug = |words: &[&str]| stage.must(&runs, &[words, &["--mode", "debug"]].concat(), 0);
    let links = debug(&["up", "--host", "a", "--services", ALL, "--no-deps", "--yes"]).stdout;
    what_is_worked_on_is_open_on_this_machine_alone(stage, &links);
    let done = debug(&reset);
    assert!(done.stderr.contains("are new and empty"), "{}", done.stderr);
    assert_eq!(rows(), "1 0", "the tenant stays, the conversations do not");
    assert_ne!(backups(), kept);
    // the tables are the application's own again
    let id = crate::stage::lab_token();
    assert!(deliver(stage, "/webhook", &id, "hola").ends_with(" 200"));
    assert_eq!(rows(), "1 2");
    the_tables_of_a_new_client_are_empty(stage);
}

fn what_is_worked_on_is_open_on_this_machine_alone(stage: &Stage, links: &str) {
    let address = stage.inside("a", "hostname -I | cut -d' ' -f1");
    for (port, path) in [(8000_u16, "/ready"), (8002, "/health"), (5173, "/")] {
        let url = format!("http://localhost:{port}{path}");
        assert!(links.lines().any(|line| line.contains(&url) && line.contains("200")), "{url}: {links}");
        assert_eq!(
            stage.inside("a", &format!("curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}{path}")),
            "200"
        );
        let target = format!("{address}:{port}").parse().unwrap();
        let tried = std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_secs(1));
        assert!(tried.is_err(), "{port} is open from outside");
    }
}

/// The deployment that installs the orchestrator says what it finds there, and no later one looks.
fn the_tables_of_a_new_client_are_empty(stage: &Stage) {
    let runs = stage.runs("first");
    let up = || {
        stage.must(&runs, &["up", "--host", "a", "--services", ALL, "--no-deps", "--yes"], 0);
        let mut events = last_events(&runs).into_iter();
        events.find(|event| {
            crate::stage::is(event, "task_finished")
                && event["task"]["name"] == "no conversations yet"
                && event["outcome"]["status"] != "skipped"
        })
    };
    assert_eq!(up(), None);
    // the record gone, the client is as new
    stage.inside("a", "rm /var/lib/provision/services/nexus-orchestrator.json");
    let looked = up().expect("it is looked at");
    assert_eq!(looked["outcome"]["status"], "failed");
    assert!(looked.to_string().contains("chat_conversations has 1 rows already"), "{looked}");
    assert_eq!(up(), None);
}
