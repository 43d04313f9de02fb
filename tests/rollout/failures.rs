//! Hosts that fail in three ways, together with a healthy one.

use provision::lab::{Fault, faults};
use serde_json::Value;

use super::stage::{self, counts, is, starts};

const HOSTS: &str = "c,d,e,f";
const COMMAND: [&str; 5] = ["--host", HOSTS, "--services", "redis", "--yes"];

#[test]
fn one_host_is_killed_one_is_full_one_has_no_sudo_and_the_rest_finishes() {
    let Some((_turn, stage)) = super::enter("one_host_is_killed_one_is_full_one_has_no_sudo_and_the_rest_finishes")
    else {
        return;
    };
    let runs = stage.runs("failures");
    let full = Fault::DiskFull("/opt/ATS/VersatileHub".into());
    let inject = |host: &str, fault: &Fault| stage.block_on(faults::inject(&stage.options, host, fault)).unwrap();
    let heal = |host: &str, fault: &Fault| stage.block_on(faults::heal(&stage.options, host, fault)).unwrap();
    inject("d", &full);
    inject("e", &Fault::SudoBroken);
    let mut going = stage.start(&runs, &COMMAND);
    assert!(going.reaches(starts("c", "Docker")), "c was to be killed while it installs Docker");
    std::thread::sleep(std::time::Duration::from_secs(2));
    inject("c", &Fault::Killed);
    let ran = going.end();
    ran.expect(1);

    let events = stage::last_events(&runs);
    let finished = |host: &str| {
        let cells = events.iter().filter(|event| is(event, "service_finished") && event["host"] == host);
        cells.map(|cell| cell["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(finished("f"), ["changed"], "the healthy host goes on");
    assert_eq!(counts(&events, "f", "failed") + counts(&events, "f", "unreachable"), 0);
    let cause = |host: &str| {
        let failed = |event: &&Value| {
            is(event, "task_finished")
                && event["host"] == host
                && ["failed", "unreachable"].iter().any(|status| event["outcome"]["status"] == *status)
        };
        events.iter().rev().find(failed).map(|event| event["outcome"]["cause"].clone()).unwrap_or_default()
    };
    assert!(["lost", "timeout"].iter().any(|word| cause("c") == *word), "c: {}", cause("c"));
    assert_eq!(cause("d"), "disk_full");
    assert_eq!(cause("e"), "become");
    assert!(events.iter().any(|event| is(event, "run_finished") && event["exit_code"] == 1));

    // what the operator reads: three causes, each with what to do and the command to go on with
    assert!(ran.stdout.contains("3 of 4 hosts failed, 3 causes"), "{}", ran.stdout);
    for (words, host) in
        [(["disk full: d", ""], "d"), (["sudo refused: e", ""], "e"), (["connection lost: c", "no answer: c"], "c")]
    {
        let begin = words.iter().filter(|word| !word.is_empty()).find_map(|word| ran.stdout.find(word));
        let group = &ran.stdout[begin.unwrap_or_else(|| panic!("{words:?} is not in {}", ran.stdout))..];
        let group = group.split("\n\n").next().unwrap();
        assert!(group.lines().any(|line| line.trim_start().starts_with("do ")), "no hint: {group}");
        let then = group.lines().find(|line| line.trim_start().starts_with("then ")).unwrap_or_default();
        assert!(then.contains("provision") && then.ends_with(&format!("--host {host}")), "no next command: {group}");
        assert!(group.lines().any(|line| line.trim_start().starts_with("task ")), "no task: {group}");
    }
    let history = stage.must(&runs, &["history", "--failed"], 0);
    assert!(history.stdout.contains("4 (3 failed)"), "{}", history.stdout);

    heal("d", &full);
    heal("e", &Fault::SudoBroken);
    stage.up();
    stage.must(&runs, &["--host", "@failed", "--services", "redis", "--yes"], 0);
    let events = stage::last_events(&runs);
    let hosts: Vec<&str> = events
        .iter()
        .filter(|event| is(event, "service_finished"))
        .map(|event| event["host"].as_str().unwrap())
        .collect();
    let mut sorted = hosts.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["c", "d", "e"], "@failed are those that failed");

    stage.must(&runs, &COMMAND, 0);
    let events = stage::last_events(&runs);
    for host in ["c", "d", "e", "f"] {
        assert_eq!(counts(&events, host, "changed"), 0, "{host}");
        assert_eq!(stage.half_written(host), "", "{host}");
        assert_eq!(stage.inside(host, "docker ps -q --filter health=healthy | wc -l"), "1", "{host}");
    }
}
