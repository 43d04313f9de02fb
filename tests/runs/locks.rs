//! Two operators: real processes against real hosts.

use rustix::process::{Signal, kill_process};

use super::stage::{Going, counts, is, last_events};
use super::{Fleet, enter, until, version};

fn signal(going: &Going, signal: Signal) {
    kill_process(going.pid(), signal).unwrap();
}

/// A run that has begun and then stands still, as on a laptop that fell asleep.
fn asleep(fleet: &Fleet, words: &[&str]) -> Going {
    let mut going = fleet.start("ana", words);
    assert!(going.reaches(|event| is(event, "task_started")), "the run did not begin");
    signal(&going, Signal::STOP);
    going
}

fn free(fleet: &Fleet) -> bool {
    let status = fleet.must("eva", &["lock", "status"], 0).stdout;
    status.lines().skip(1).all(|line| line.contains("free"))
}

#[test]
fn a_hold_refuses_whoever_changes_something_and_says_why() {
    let Some(fleet) = enter("a_hold_refuses_whoever_changes_something_and_says_why") else { return };
    let hold = ["lock", "hold", "--host", "r2", "--services", "app", "--until", "1h", "--reason", "demo at noon"];
    let one = fleet.both();

    let mut check = hold.to_vec();
    check.push("--check");
    fleet.must("eva", &check, 0);
    assert!(free(&fleet), "--check holds nothing");
    fleet.must("eva", &hold, 0);
    let status = fleet.must("ana", &["lock", "status"], 0).stdout;
    let line = status.lines().find(|line| line.starts_with("r2 ")).unwrap().to_owned();
    assert!(line.contains(" app ") && line.contains("eva@") && line.ends_with("demo at noon"), "{status}");
    assert!(status.lines().any(|line| line.starts_with("r1 ") && line.contains("free")), "{status}");

    // all or none: the other host is not touched either
    for who in ["ana", "eva"] {
        let ran = fleet.must(who, &["up", "--all", "--yes", "-e", &version("2")], 1);
        assert!(
            ran.stdout.contains("app on r2 is held by eva@") && ran.stdout.contains(": demo at noon"),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("nothing was touched") && ran.stdout.contains("not begun: r1"), "{}", ran.stdout);
        let advice = if who == "ana" { "provision lock steal --host r2 --services app" } else { "add --held" };
        assert!(ran.stdout.contains(advice), "{}", ran.stdout);
        assert_eq!(fleet.both(), one);
    }
    // looking is free, and so is the other client; its keeper says that it is meant
    fleet.must("ana", &["status"], 0);
    fleet.must("ana", &["ps", "--host", "r2"], 0);
    fleet.must("ana", &["restart", "--host", "r1", "--yes"], 0);
    fleet.must("ana", &["restart", "--host", "r2", "--held", "--yes"], 1);
    fleet.must("eva", &["restart", "--host", "r2", "--held", "--yes"], 0);

    // the same again changes nothing; nobody but its keeper releases it, and once
    let ran = fleet.must("ana", &["lock", "release", "--host", "r2"], 1);
    assert!(ran.stdout.contains("app is held by eva@"), "{}", ran.stdout);
    let other = ["lock", "hold", "--all", "--until", "1h", "--reason", "mine"];
    assert!(fleet.must("ana", &other, 1).stdout.contains("held by eva@"), "a whole host meets the holds on it");
    fleet.must("eva", &["lock", "release", "--host", "r2", "--services", "app"], 0);
    assert_eq!(counts(&last_events(&fleet.runs), "r2", "changed"), 1);
    fleet.must("eva", &["lock", "release", "--host", "r2"], 0);
    assert_eq!(counts(&last_events(&fleet.runs), "r2", "changed"), 0);
    assert!(free(&fleet));

    // a hold ends by itself
    fleet.must("eva", &["lock", "hold", "--all", "--until", "12s", "--reason", "short"], 0);
    fleet.must("ana", &["restart", "--host", "r1", "--yes"], 1);
    until("the hold is over", 60, || free(&fleet));
    fleet.must("ana", &["restart", "--host", "r1", "--yes"], 0);
}

#[test]
fn two_operators_never_work_between_each_others_lines() {
    let Some(fleet) = enter("two_operators_never_work_between_each_others_lines") else { return };
    let [two, three, four, five] = ["2", "3", "4", "5"].map(version);
    let up = |version| ["up", "--all", "--yes", "-e", version];

    // at the same moment: one of them, or one after the other, and never a mixture
    for _ in 0..3 {
        let pair = [fleet.start("ana", &up(&two)), fleet.start("eva", &up(&three))];
        let codes: Vec<_> = pair.into_iter().map(|going| going.end().code).collect();
        assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
        let (one, other) = fleet.both();
        assert_eq!(one, other, "a mixture");
        if codes == [Some(0), Some(1)] {
            assert_eq!(one, "version 2");
        }
        if codes == [Some(1), Some(0)] {
            assert_eq!(one, "version 3");
        }
    }

    // whoever comes second is told, and has touched nothing; the first goes on
    let first = asleep(&fleet, &up(&four));
    let before = fleet.both();
    let ran = fleet.must("eva", &up(&five), 1);
    assert!(ran.stdout.contains("another run is working on r1: ana@"), "{}", ran.stdout);
    assert!(ran.stdout.contains("provision lock status --host r1"), "{}", ran.stdout);
    assert!(fleet.must("eva", &["lock", "status"], 0).stdout.contains("  run  "), "it is shown");
    assert_eq!(fleet.both(), before);
    signal(&first, Signal::CONT);
    first.end().expect(0);
    assert_eq!(fleet.both(), ("version 4".to_owned(), "version 4".to_owned()));
}

#[test]
fn a_sleeping_laptop_loses_its_lock_and_its_lane() {
    let Some(fleet) = enter("a_sleeping_laptop_loses_its_lock_and_its_lane") else { return };
    let short = "provision_lock_expiry=4";
    let first = asleep(&fleet, &["up", "--all", "--yes", "-e", &version("6"), "-e", short]);
    until("the lock expires", 90, || free(&fleet));
    fleet.must("eva", &["up", "--all", "--yes", "-e", &version("7")], 0);
    signal(&first, Signal::CONT);
    let ran = first.end();
    ran.expect(1);
    assert!(ran.stdout.contains("connection lost"), "{}", ran.stdout);
    assert_eq!(fleet.both(), ("version 7".to_owned(), "version 7".to_owned()), "the sleeper changed something");

    // one that is awake keeps it for longer than that
    let mut awake = fleet
        .start("ana", &["update", "--all", "--yes", "--batch", "1", "--soak", "12", "-e", &version("8"), "-e", short]);
    assert!(awake.reaches(|event| is(event, "task_started") && event["task"]["name"] == "Soak"));
    fleet.must("eva", &["restart", "--host", "r1", "--yes"], 1);
    awake.end().expect(0);

    // or it is taken away by hand
    let first = asleep(&fleet, &["up", "--all", "--yes", "-e", &version("9")]);
    let ran = fleet.must("eva", &["lock", "steal", "--all", "--reason", "ana sleeps", "--yes"], 0);
    assert!(ran.stdout.contains("ana@"), "{}", ran.stdout);
    assert!(fleet.must("eva", &["lock", "status"], 0).stdout.matches("ana sleeps").count() == 2);
    signal(&first, Signal::CONT);
    first.end().expect(1);
    assert_eq!(fleet.both(), ("version 8".to_owned(), "version 8".to_owned()));
    fleet.must("eva", &["lock", "release", "--all"], 0);
    let left =
        fleet.stage.inside("r1", "ls /run/lock | grep '^provision.lock.by' || true; ls /var/lib/provision/holds");
    assert_eq!(left, "");
}
