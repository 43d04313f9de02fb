//! The program ends in the middle: killed, at several moments, and by Ctrl-C.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::stage::{self, Stage, counts, is, starts};

/// When the program is killed: a task's name, and how long after its start.
const MOMENTS: [(&str, u64); 6] = [
    ("Base packages", 400),
    ("Docker", 1500),
    ("Docker", 4000),
    ("Environment", 0),
    ("Containers", 800),
    ("Record what is installed", 0),
];

#[test]
fn a_killed_program_leaves_nothing_that_needs_a_hand() {
    let Some((_turn, stage)) = super::enter("a_killed_program_leaves_nothing_that_needs_a_hand") else { return };
    let runs = stage.runs("killed");
    let command = ["--host", "k", "--services", "redis,postgres", "--yes"];
    let mut killed = 0;
    for (task, after) in MOMENTS {
        let mut going = stage.start(&runs, &command);
        if !going.reaches(starts("k", task)) {
            // what it was to be killed in had already been done; but it must not have been refused
            going.end().expect(0);
            continue;
        }
        std::thread::sleep(Duration::from_millis(after));
        going.kill();
        let ran = going.end();
        if ran.code.is_none() {
            killed += 1;
        }
    }
    assert!(killed >= 4, "killed only {killed} times");

    // the same command, at once and without a hand
    stage.must(&runs, &command, 0);
    stage.must(&runs, &command, 0);
    assert_eq!(counts(&stage::last_events(&runs), "k", "changed"), 0);
    assert_eq!(stage.inside("k", "docker ps -q --filter health=healthy | wc -l"), "2");

    nothing_is_left(stage, "k");
    let history = stage.must(&runs, &["history"], 0);
    assert!(history.stdout.matches("killed").count() >= killed, "{}", history.stdout);
}

#[test]
fn ctrl_c_lets_what_runs_end_and_starts_nothing_new() {
    let Some((_turn, stage)) = super::enter("ctrl_c_lets_what_runs_end_and_starts_nothing_new") else { return };
    let runs = stage.runs("interrupted");
    let command = ["--host", "i", "--services", "redis", "--yes"];
    let mut going = stage.start(&runs, &command);
    assert!(going.reaches(starts("i", "Docker")));
    std::thread::sleep(Duration::from_millis(1000));
    let before = going.events().last().unwrap()["seq"].as_u64().unwrap();
    rustix::process::kill_process(going.pid(), rustix::process::Signal::INT).unwrap();
    let ran = going.end();
    ran.expect(130);
    assert!(ran.stdout.contains("interrupted"), "{}", ran.stdout);

    let events = stage::last_events(&runs);
    let after: Vec<&Value> = events.iter().filter(|event| event["seq"].as_u64().unwrap() > before).collect();
    assert!(!after.iter().any(|event| is(event, "task_started")), "something new was started: {after:?}");
    let ended = after.iter().find(|event| is(event, "task_finished") && event["task"]["name"] == "Docker");
    assert_eq!(ended.expect("what ran has no end")["outcome"]["status"], "changed", "it was let end");
    let started = events.iter().filter(|event| is(event, "task_started")).count();
    assert_eq!(events.iter().filter(|event| is(event, "task_finished")).count(), started, "each start has its end");
    let sequence: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=events.len() as u64).collect::<Vec<_>>(), "no gap in the journal");
    let last = events.last().unwrap();
    assert!(is(last, "run_finished") && last["status"] == "interrupted" && last["exit_code"] == 130, "{last}");
    assert_eq!(stage.inside("i", "pgrep -x 'apt-get|dpkg' || true"), "", "nothing goes on");
    assert_eq!(stage.inside("i", "dpkg --audit"), "");

    stage.must(&runs, &command, 0);
    stage.must(&runs, &command, 0);
    assert_eq!(counts(&stage::last_events(&runs), "i", "changed"), 0);
    nothing_is_left(stage, "i");
}

/// No temporary file, no lock and no process, here and there.
fn nothing_is_left(stage: &Stage, host: &str) {
    assert_eq!(stage.half_written(host), "");
    eventually("the host's lock is free", || stage.inside(host, "ls /run/lock | grep '^provision.lock.by' || true"));
    eventually("no process of ours is on the host", || {
        stage.inside(host, "pgrep -af '[p]rovision-lock|[_]pv_' || true")
    });
    eventually("the ssh masters are gone", || masters(stage).join("\n"));
    let data = stage.options.dir.join("vps_data");
    let left = stage::shell("find \"$1\" -name '.tmp*' -o -name '*.tmp'", &[&stage::text(&data)]);
    assert_eq!(left, "");
    let sockets = stage::shell("find \"$1\" -type s", &[&stage::text(&stage.runtime)]);
    assert_eq!(sockets, "");
}

/// A master without sessions ends by itself after 20 s.
fn eventually(what: &str, look: impl Fn() -> String) {
    let began = Instant::now();
    loop {
        let left = look();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "not true: {what}; there is still:\n{left}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The ssh masters that the program has started, and their helpers: pid and command line.
fn masters(stage: &Stage) -> Vec<String> {
    let runtime = stage::text(&stage.runtime);
    let mine = |line: &String| line.contains(&runtime) && line.contains("ssh");
    super::processes::lines().into_iter().filter(mine).collect()
}
