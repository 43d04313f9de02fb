//! `provision verify --security`: items that pass, fail and are waived, with their evidence and without any value.

const WAIVERS: &str = "{security_waivers: {ports-outside: tests, published: tests, backups: tests, rate-limit: tests, \
    non-root/lookout: the image is that of the tests, docker-group: tests, logs-clean: tests}}";

fn has(stdout: &str, start: &str) -> bool {
    stdout.lines().any(|line| line.starts_with(start))
}

#[test]
fn every_item_has_a_verdict_and_evidence() {
    let Some((_turn, stage)) = super::enter("every_item_has_a_verdict_and_evidence") else { return };
    let ran = super::look(stage, &["verify", "--security"], 1);
    for start in [
        "[OK] a/lookout credentials: ",
        "[OK] a credentials-own: ",
        "[FAIL] a ports-outside: ",
        "[OK] a env-private: ",
        "[SKIP] a acme-private: ",
        "[OK] a firewall: ",
        "[FAIL] a published: ",
        "[FAIL] a backups: ",
        "[FAIL] a/lookout non-root: ",
        "[OK] a/lookout cors: ",
        "[FAIL] a/lookout rate-limit: ",
    ] {
        assert!(has(&ran.stdout, start), "{start}: {}", ran.stdout);
    }
    let evidence = ["18000 is open", "lookout-web-1 publishes 18000", "versatile-lookout-web-1 runs as root"];
    assert!(evidence.iter().all(|line| ran.stdout.contains(line)), "{}", ran.stdout);

    let waived = super::look(stage, &["verify", "--security", "-e", WAIVERS], 0);
    assert!(has(&waived.stdout, "[WAIVED] a ports-outside: "), "{}", waived.stdout);
    assert!(waived.stdout.contains("accepted: the image is that of the tests"), "{}", waived.stdout);
}

#[test]
fn what_is_wrong_is_found_and_never_shown() {
    let Some((_turn, stage)) = super::enter("what_is_wrong_is_found_and_never_shown") else { return };
    stage.inside("a", "chmod 644 /opt/ATS/VersatileHub/services/lookout/.env");
    super::diagnose::tell_the_key(stage);
    let wrong = ["verify", "--security", "-e", "MAIL_PASSWORD=changeme", "-e", "WATCHED=config"];
    let sampler = super::processes::Sampler::start();
    let ran = super::look(stage, &wrong, 1);
    let (processes, looks) = sampler.end();
    stage.inside("a", "chmod 600 /opt/ATS/VersatileHub/services/lookout/.env");
    assert!(ran.stdout.contains("services/lookout/.env 644"), "{}", ran.stdout);
    assert!(has(&ran.stdout, "[FAIL] a/lookout logs-clean: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("versatile-lookout-web-1: API_KEY is in "), "{}", ran.stdout);
    let told = ran.stdout.lines().filter(|line| line.contains("versatile-lookout-") && line.contains(" is in "));
    assert_eq!(told.count(), 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("MAIL_PASSWORD is a default"), "{}", ran.stdout);
    assert!(has(&ran.stdout, "[FAIL] a/lookout cors: "), "{}", ran.stdout);
    for value in super::diagnose::secrets(stage) {
        assert!(!ran.stdout.contains(&value) && !ran.stderr.contains(&value));
        let holds = |line: &&Vec<u8>| String::from_utf8_lossy(line).contains(&value);
        assert!(!processes.iter().any(|line| holds(&line)), "a secret is in a process list, on one of both sides");
    }
    assert!(looks > 5, "{looks}");
}

/// What a visitor gets is looked at from here, at an address whose certificate and answers are of this test's making.
#[test]
fn what_visitors_get_is_looked_at() {
    let Some((_turn, stage)) = super::enter("what_visitors_get_is_looked_at") else { return };
    let look = |front: &super::front::Front| {
        let vars = format!("{{shown_at: 'https://shop.example:{}', url_check_address: 127.0.0.1}}", front.port);
        super::look(stage, &["verify", "--security", "-e", &vars], 1).stdout
    };
    let (Some(bad), Some(good)) = (super::front::Front::open(5, false), super::front::Front::open(30, true)) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "openssl may not be missing under CI");
        return;
    };
    let said = look(&bad);
    for start in [
        "[FAIL] a/lookout https-only: ",
        "[FAIL] a/lookout certificate: ",
        "[FAIL] a/lookout certificate-days: ",
        "[FAIL] a/lookout rate-limit: ",
    ] {
        assert!(has(&said, start), "{start}: {said}");
    }
    for evidence in ["answers 200 instead of 301 or 302", "ends in 4 days, before 14", "neither a ratelimit"] {
        assert!(said.contains(evidence), "{evidence}: {said}");
    }
    // a container of the service whose router is limited
    let limited = "docker run -d --name lookout-limited --label com.docker.compose.project=versatile-lookout \
        --label traefik.http.middlewares.lookout.ratelimit.average=100 \
        --entrypoint sleep \"$(docker inspect -f '{{.Image}}' versatile-lookout-web-1)\" 600 >/dev/null";
    stage.inside("a", limited);
    let said = look(&good);
    stage.inside("a", "docker rm -f lookout-limited >/dev/null");
    for start in [
        "[OK] a/lookout https-only: ",
        // in order, and signed by nobody whom a browser knows
        "[FAIL] a/lookout certificate: ",
        "[OK] a/lookout certificate-days: ",
        "[OK] a/lookout rate-limit: ",
    ] {
        assert!(has(&said, start), "{start}: {said}");
    }
    assert!(said.contains("ratelimit.average=100"), "{said}");
}
