//! `provision doctor`: trouble that was made on purpose is found, what can be mended is mended.

/// Rule, evidence.
fn found(stdout: &str, rule: &str, evidence: &str) {
    let told = |line: &str| line.starts_with("[FAIL] a") && line.contains(&format!(" {rule}: "));
    assert!(stdout.lines().any(told), "{rule}: {stdout}");
    assert!(stdout.contains(evidence), "{rule} ({evidence}): {stdout}");
}

#[test]
fn trouble_is_found_and_mended() {
    let Some((_turn, stage)) = super::enter("trouble_is_found_and_mended") else { return };
    let root = "/opt/ATS/VersatileHub/services/lookout";
    stage.inside("a", &format!("docker network rm lookout-spare; chown 0:0 {root}/data"));
    stage.inside("a", "docker exec versatile-lookout-web-1 rm -f /tmp/marker");
    let ran = super::look(stage, &["doctor"], 1);
    found(&ran.stdout, "network-missing", "lookout-spare is missing");
    found(&ran.stdout, "volume-owner", "data belongs to 0 instead of 1000");
    found(&ran.stdout, "marker", "there is no marker");
    let mended = super::look(stage, &["doctor", "--fix", "--yes"], 0);
    assert!(mended.stdout.contains("no trouble"), "{}", mended.stdout);
    let seen =
        stage.inside("a", &format!("stat -c %u {root}/data {root}/app.py; docker network inspect -f x lookout-spare"));
    assert_eq!(seen, "1000\n0\nx", "the folder, a file that is not the package's data, the network");
}

#[test]
fn settings_names_and_ports_are_compared_with_what_runs() {
    let Some((_turn, stage)) = super::enter("settings_names_and_ports_are_compared_with_what_runs") else { return };
    stage.inside(
        "a",
        "docker stop -t 1 versatile-lookout-cache-1; \
         docker run -d --name ghost --restart always --label com.docker.compose.project=versatile-lookout \
           --label com.docker.compose.service=ghost --label com.docker.compose.oneoff=False redis:8.0 sh -c 'echo boom; exit 3'; \
         until [ \"$(docker inspect -f '{{.RestartCount}}' ghost)\" -ge 3 ]; do sleep 0.2; done",
    );
    let args =
        ["doctor", "-e", "API_KEY=another-key-than-before", "-e", "PARTNER=lookout_db", "-e", "disk_used_most=0"];
    let ran = super::look(stage, &args, 1);
    stage.inside("a", "docker rm -f ghost");
    super::revive(stage, "cache");
    found(&ran.stdout, "env-not-in-container", "web: API_KEY has another value than the client's settings");
    found(&ran.stdout, "wrong-upstream-name", "did you mean lookout-db?");
    found(&ran.stdout, "redis-unreachable", "lookout-cache:6379 does not accept connections");
    found(&ran.stdout, "restart-loop", "boom");
    found(&ran.stdout, "disk-full", "% full");
    assert!(!ran.stdout.contains("another-key-than-before"));

    stage.inside(
        "a",
        "docker stop -t 1 versatile-lookout-web-1; docker run -d --name thief -p 18000:1 redis:8.0 sleep 600",
    );
    let stack = "/opt/ATS/VersatileHub/services/lookout/docker-compose.yml";
    stage.inside("a", &format!("mv {stack} {stack}.old"));
    let held = super::look(stage, &["doctor"], 1);
    stage.inside("a", &format!("mv {stack}.old {stack}"));
    stage.inside("a", "docker rm -f thief");
    super::revive(stage, "web");
    found(&held.stdout, "port-conflict", "18000 is held by container thief");
    found(&held.stdout, "compose-missing", "not in /opt/ATS/VersatileHub/services/lookout");
    found(&held.stdout, "not-responding", "versatile-lookout-web-1 is exited");
}

#[test]
fn an_engine_that_is_down_is_started() {
    let Some((_turn, stage)) = super::enter("an_engine_that_is_down_is_started") else { return };
    stage.inside("a", "systemctl stop docker.socket docker.service");
    let ran = super::look(stage, &["doctor"], 1);
    found(&ran.stdout, "docker-down", "systemctl start docker");
    let mended =
        stage.run(&stage.runs("look"), &[&["doctor", "--host", "a", "--fix", "--yes"], super::REGISTRY].concat());
    assert!(mended.stderr.contains("mended a: Start the engine"), "{}{}", mended.stderr, mended.stdout);
    for service in ["web", "db", "cache"] {
        super::revive(stage, service);
    }
    assert_eq!(stage.inside("a", "systemctl is-active docker"), "active");
}
