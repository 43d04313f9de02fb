//! Runs that did not come to their end, and are taken up again.

use serde_json::Value;

use super::stage::{is, last_events, starts, text};
use super::{Fleet, enter};

/// An update of one client after the other whose program is killed when it comes to the second.
fn killed(fleet: &Fleet, file: &str, version: &str) {
    std::fs::write(file.trim_start_matches('@'), super::version(version)).unwrap();
    let mut going = fleet.start("ana", &["update", "--all", "--yes", "--batch", "1", "-e", file]);
    assert!(going.reaches(starts("r2", "Compose file")), "the run did not come to r2");
    going.kill();
    assert_eq!(going.end().code, None);
    assert_eq!(fleet.app("r1"), format!("version {version}"));
}

fn hosts(events: &[Value]) -> Vec<&str> {
    events.iter().find(|event| is(event, "run_started")).unwrap()["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn a_killed_run_is_taken_up_where_it_ended() {
    let Some(fleet) = enter("a_killed_run_is_taken_up_where_it_ended") else { return };
    let file = format!("@{}", text(&fleet.stage.scratch.join("versions.yml")));
    killed(&fleet, &file, "21");
    let history = fleet.must("ana", &["history", "--limit", "1"], 0).stdout;
    assert!(history.contains("interrupted (killed)"), "{history}");

    // only what was left, with the run's own flags
    let ran = fleet.must("ana", &["--resume", "last", "--yes"], 0);
    assert!(ran.stderr.contains("takes up run "), "{}", ran.stderr);
    let events = last_events(&fleet.runs);
    assert_eq!(hosts(&events), ["r2"]);
    let command = events[0]["command"].as_array().unwrap();
    assert!(command.contains(&"update".into()) && command.contains(&"--batch".into()), "{command:?}");
    assert_eq!(fleet.both(), ("version 21".to_owned(), "version 21".to_owned()));
    let ran = fleet.must("ana", &["--resume", "last"], 2);
    assert!(ran.stderr.contains("ended well"), "{}", ran.stderr);

    // what it was made from has changed
    killed(&fleet, &file, "22");
    std::fs::write(file.trim_start_matches('@'), super::version("23")).unwrap();
    let ran = fleet.must("ana", &["--resume", "last", "--yes"], 2);
    assert!(ran.stderr.contains("-e versions: not as it was"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--even-if-changed"), "{}", ran.stderr);
    std::fs::write(file.trim_start_matches('@'), super::version("22")).unwrap();
    fleet.must("ana", &["--resume", "last", "--yes"], 0);
    assert_eq!(fleet.both(), ("version 22".to_owned(), "version 22".to_owned()));

    // a run that goes on is not taken up; clients that failed are a pattern
    let mut going = fleet.start("ana", &["update", "--all", "--yes", "--batch", "1", "--soak", "8", "-e", &file]);
    assert!(going.reaches(|event| is(event, "task_started")));
    let ran = fleet.must("ana", &["--resume", "last", "--yes"], 2);
    assert!(ran.stderr.contains("still goes on"), "{}", ran.stderr);
    assert!(fleet.must("ana", &["history", "--limit", "1"], 0).stdout.contains("running"));
    going.end().expect(0);
    fleet.must("eva", &["lock", "hold", "--host", "r2", "--until", "12s", "--reason", "short"], 0);
    fleet.must("ana", &["restart", "--all", "--yes"], 1);
    super::until("the hold is over", 60, || {
        fleet.start("ana", &["restart", "--host", "@failed", "--yes"]).end().code == Some(0)
    });
    assert_eq!(hosts(&last_events(&fleet.runs)), ["r2"]);
}
