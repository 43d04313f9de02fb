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
    let ran = super::look(stage, &wrong, 1);
    stage.inside("a", "chmod 600 /opt/ATS/VersatileHub/services/lookout/.env");
    assert!(ran.stdout.contains("services/lookout/.env 644"), "{}", ran.stdout);
    assert!(has(&ran.stdout, "[FAIL] a/lookout logs-clean: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("/versatile-lookout-web-1: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("MAIL_PASSWORD is a default"), "{}", ran.stdout);
    assert!(has(&ran.stdout, "[FAIL] a/lookout cors: "), "{}", ran.stdout);
    for value in super::diagnose::secrets(stage) {
        assert!(!ran.stdout.contains(&value) && !ran.stderr.contains(&value));
    }
}
