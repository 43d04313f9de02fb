//! `provision watch`: least, average and most of what was measured; a broken threshold is told and is exit code 1.

/// Nothing here is about how busy the machine of the tests is.
const PATIENT: &str =
    "watch --for 1s --every 1s --cpu 100 --memory 100 --iowait 100 --disk-free 0 --response 60s --errors 1000";

#[test]
fn thresholds_are_watched() {
    let Some((_turn, stage)) = super::enter("thresholds_are_watched") else { return };
    let patient: Vec<&str> = PATIENT.split(' ').collect();
    let well = super::look(stage, &patient, 0);
    for what in ["cpu", "memory", "disk-free", "lookout http: ms"] {
        let told = |line: &str| line.starts_with("a ") && line.contains(what);
        assert!(well.stdout.lines().any(told), "{what}: {}", well.stdout);
    }
    assert!(well.stdout.contains("no threshold was broken"), "{}", well.stdout);

    stage.inside("a", "docker stop -t 1 versatile-lookout-cache-1");
    let broken = super::look(stage, &patient, 1);
    super::revive(stage, "cache");
    assert!(broken.stdout.contains("over a lookout redis_ping: fails: 1 (at most 0)"), "{}", broken.stdout);
    let late = super::look(stage, &["watch", "--for", "1s", "--every", "1s", "--response", "0.001ms", "--json"], 1);
    let told = |line: &str| line.contains("http: ms") && line.contains("\"broken\":true");
    assert!(late.stdout.lines().any(told), "{}", late.stdout);
}
