//! `provision verify`: what is right passes, what is wrong fails and says why, secrets stay where they are.

use serde_json::Value;

/// The kinds that need something real to look at.
const KINDS: [&str; 11] =
    ["http", "tcp", "exec", "pg_isready", "sql", "redis_ping", "container", "log", "dns", "smtp", "script"];

#[test]
fn every_kind_passes_and_fails_for_real() {
    let Some((_turn, stage)) = super::enter("every_kind_passes_and_fails_for_real") else { return };
    let well = super::look(stage, &["verify"], 0);
    for kind in KINDS {
        assert!(well.stdout.contains(&format!("[OK] a/lookout {kind}: ")), "{kind}: {}", well.stdout);
    }
    assert!(!well.stdout.contains("first exec"), "{}", well.stdout);
    assert!(!well.stdout.contains("[FAIL]") && !well.stdout.contains(" chat:"), "{}", well.stdout);
    assert!(well.stdout.lines().last().unwrap().starts_with("verified: "), "{}", well.stdout);

    let broken = super::look(stage, &["verify", "--mode", "debug"], 1);
    for (check, why) in [
        ("http", "`status` is \"ok\" instead of \"down\""),
        ("http path", "answers 404 instead of 200"),
        ("http from the host", "no answer: "),
        ("http from a container", "answers 401 instead of 200"),
        ("tcp", "does not accept connections"),
        ("tcp closed", "is open, and should not be"),
        ("tcp from the host", "127.0.0.1:2526 does not accept"),
        ("tcp from a container", "lookout-db:5433 does not accept"),
        ("exec", "exit code 3 instead of 0"),
        ("pg_isready", "no response"),
        ("sql password", "password authentication failed"),
        ("sql rows", "0 rows, at least 1"),
        ("sql writes", "read-only transaction"),
        ("redis_ping", "no PONG: NOAUTH"),
        ("container", "ghost has no container"),
        ("log", "match `^ready$`: ready"),
        ("dns", "localhost points to "),
        ("smtp", "does not let `bot` in"),
        ("smtp without TLS", "does not offer STARTTLS"),
        ("script", "exit code 4"),
        ("cert", "no TLS: "),
    ] {
        let line = broken.stdout.lines().find(|line| line.starts_with(&format!("[FAIL] a/lookout bad {check}: ")));
        assert!(line.is_some_and(|line| line.contains(why)), "{check} ({why}): {}", broken.stdout);
    }
    assert!(broken.stdout.contains("[WARN] a/lookout grumble: "), "{}", broken.stdout);
    assert!(broken.stdout.contains("[OK] a/lookout http: "), "all are made: {}", broken.stdout);
    // one that only grumbles does not count
    assert!(well.stdout.contains("[WARN] a/lookout grumble: "), "{}", well.stdout);

    for value in super::diagnose::secrets(stage) {
        assert!(![&well, &broken].iter().any(|ran| ran.stdout.contains(&value) || ran.stderr.contains(&value)));
    }
}

#[test]
fn what_has_side_effects_has_to_be_asked_for() {
    let Some((_turn, stage)) = super::enter("what_has_side_effects_has_to_be_asked_for") else { return };
    let count = || {
        stage
            .inside("a", "docker logs versatile-lookout-web-1 2>&1 | grep -c '^chat$' || true")
            .parse::<usize>()
            .unwrap()
    };
    let before = count();
    let ran = super::look(stage, &["verify", "--full", "--json"], 0);
    let chat =
        ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|row| row["check"] == "chat");
    assert_eq!(chat.expect("the check is made")["result"], "ok");
    // one of them inside the container, which is asked always
    assert_eq!(count() - before, 2);
}

#[test]
fn another_address_can_be_asked_and_the_first_failure_can_end_it() {
    let Some((_turn, stage)) = super::enter("another_address_can_be_asked") else { return };
    let ran = super::look(stage, &["verify", "--base-url", "http://127.0.0.1:1", "--fail-fast"], 1);
    let failed: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("[FAIL]")).collect();
    assert_eq!(failed.len(), 1, "{}", ran.stdout);
    assert!(failed[0].contains("http://127.0.0.1:1/health refuses the connection"), "{}", failed[0]);
    assert!(ran.stdout.contains("stopped at the first check that failed"), "{}", ran.stdout);
    let host = stage.inside("a", "ip -4 -o addr show eth0 | awk '{ sub(\"/.*\", \"\", $4); print $4 }'");
    super::look(stage, &["verify", "--base-url", &format!("http://{}:18000", host.trim())], 0);
}
