//! Hosts that work alone.

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::stage::{is, last_events, text};
use super::{Fleet, enter, until, version};

/// Everything that a detached run may leave on a host.
fn left(fleet: &Fleet, host: &str) -> String {
    fleet.stage.inside(
        host,
        "ls -d /run/provision /var/lib/provision/detached 2>/dev/null; systemctl list-units --all --plain --no-legend 'provision-2*'; \
         pgrep -af '[d]etached/' || true; ls /run/lock /var/tmp/locks 2>/dev/null | grep '^provision.lock.by' || true",
    )
}

/// One of the hosts has its lock elsewhere.
const OWN: &str = "{provision_lock_dir: \"{{ '/var/tmp/locks' if inventory_hostname == 'r1' else '/run/lock' }}\"}";

#[test]
fn hosts_work_alone_and_whoever_has_the_key_hears_of_it() {
    let Some(mut fleet) = enter("hosts_work_alone_and_whoever_has_the_key_hears_of_it") else { return };
    let two = version("31");
    let plan = text(&fleet.stage.scratch.join("up.plan"));
    fleet.stage.inside("r1", "install -d -m 1777 /var/tmp/locks");
    fleet.must("ana", &["plan", "--all", "--of", "up", "-e", &two, "-e", OWN, "-o", &plan], 0);
    let mut going = fleet.start("ana", &["apply", &plan, "--yes", "--detach", "-e", &two, "-e", OWN]);
    // the laptop falls asleep as soon as both have begun, and dies: it says no run's id, and gives no lock back. Until its
    // end is noticed the hosts wait for it
    let begun = |host: &'static str| {
        move |event: &Value| is(event, "task_finished") && event["host"] == host && event["task"]["name"] == "Begin"
    };
    assert!(going.reaches(begun("r1")) && going.reaches(begun("r2")), "nothing was handed over");
    kill_process(going.pid(), Signal::STOP).unwrap();
    let kept = fleet.must("eva", &["lock", "status", "-e", OWN], 0).stdout;
    let awake = !kept.lines().any(|line| line.starts_with("r1 ") && line.contains("ana@"));
    let list = fleet.must("eva", &["attach"], 0).stdout;
    fleet.must("eva", &["lock", "status", "-e", OWN], 0);
    going.kill();
    let ran = going.end();
    assert!(ran.code.is_none() || (awake && ran.stdout.contains("goes on without this machine")), "{}", ran.stderr);
    let run = list.split_whitespace().nth(1).unwrap_or_else(|| panic!("{list}")).to_owned();
    assert_eq!(list.matches(run.as_str()).count(), 2, "{list}");
    until("both hosts are done", 180, || fleet.both() == ("version 31".to_owned(), "version 31".to_owned()));

    // from another folder of journals
    fleet.runs = fleet.stage.runs("attached");
    let ran = fleet.must("eva", &["attach", &run], 0);
    assert!(
        ran.stdout.contains("all well") && ran.stderr.contains("[app] Containers"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    let events = last_events(&fleet.runs);
    assert_eq!(events.iter().filter(|event| is(event, "run_started")).count(), 1);
    assert_eq!(events.iter().filter(|event| is(event, "service_finished")).count(), 2);
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(fleet.must("eva", &["history"], 0).stdout.contains(&run));
    for host in ["r1", "r2"] {
        assert_eq!(left(&fleet, host), "", "{host}");
    }
    let ran = fleet.must("eva", &["attach", &run], 2);
    assert!(ran.stderr.contains("no client has a run"), "{}", ran.stderr);

    // a failure is heard of as well, while it goes on
    let ran = fleet.must("ana", &["up", "--host", "r1", "--yes", "--detach", "-e", &version("bad")], 0);
    let run =
        ran.stdout.lines().find(|line| line.contains("goes on")).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let ran = fleet.must("ana", &["attach", &run, "--host", "r1"], 1);
    assert!(ran.stdout.contains("1 of 1 hosts failed"), "{}", ran.stdout);
    assert_eq!(left(&fleet, "r1"), "");

    // what a host cannot do alone is refused before anything is touched
    let ran = fleet.must("ana", &["update", "--all", "--yes", "--detach", "-e", &two], 2);
    assert!(ran.stderr.contains("are decided by this machine"), "{}", ran.stderr);
}
