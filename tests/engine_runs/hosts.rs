//! Several hosts: what they do alone, what they wait for, and what one's failure means for the others.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Ran};
use provision::engine::{Job, Locks};
use provision::event::{Cause, Kind, RunStatus, Status};
use provision::plan::{Failure, Object};
use provision::services::{ServiceDeploy, Services};
use provision::vars::Scope;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn run_once_is_done_by_the_first_and_known_to_all() {
    let bench = Bench::new(&["a", "b", "c"]);
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: once, shell: "echo {{ inventory_hostname }} | tee -a {{ out }}/once", run_once: true, register: r}
    - {name: set, set_fact: {chosen: "{{ r.stdout }}!"}, run_once: true}
    - {name: known, assert: {that: [r.stdout == 'a', chosen == 'a!'], quiet: true}}
"#,
        )
        .await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    assert_eq!(bench.read("once"), "a\n");
}

#[tokio::test]
async fn a_failed_run_once_task_fails_all() {
    let bench = Bench::new(&["a", "b"]);
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: once, fail: {}, run_once: true}\n    - {name: never, debug: {msg: x}}\n";
    let ran = bench.run(play).await;
    assert_eq!(ran.summary.failed, ["a", "b"], "{}", ran.story());
    assert!(!ran.story().contains("never"));
}

/// With fewer places than hosts, one host is brought to its end before the next begins; those that wait for all give their
/// place away, or nobody would come.
#[tokio::test]
async fn a_host_is_finished_before_the_next_is_begun() {
    let bench = Bench::new(&["a", "b", "c"]);
    let alone = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, command: \"true\"}\n    - {name: u, command: \"true\"}\n";
    for before in [false, true] {
        let locks = Locks { before, ..Locks::default() };
        let ran = bench.run_job(Job { forks: 1, locks, ..bench.job(alone) }).await;
        let story = ran.story();
        let hosts: Vec<&str> = story.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(hosts, ["a", "a", "b", "b", "c", "c"], "{story}");
    }

    let meet = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: mine, set_fact: {mine: "{{ inventory_hostname }}"}}
    - {name: once, command: echo once, run_once: true, register: r}
    - {name: others, assert: {that: ["groups.all | map('extract', hostvars, 'mine') | list == ['a', 'b', 'c']", r.stdout == 'once'], quiet: true}}
- hosts: all
  gather_facts: false
  max_fail_percentage: 50
  tasks:
    - {name: fails, fail: {}, when: inventory_hostname == 'b'}
    - {name: goes on, command: "true"}
"#;
    let limit = Duration::from_secs(60);
    let ran = tokio::time::timeout(limit, bench.run_job(Job { forks: 1, ..bench.job(meet) })).await;
    let ran = ran.expect("hosts wait for each other for ever");
    assert_eq!(ran.summary.failed, ["b"], "{}", ran.story());
    assert_eq!(ran.story().matches("goes on [changed]").count(), 2, "{}", ran.story());
}

#[tokio::test]
async fn hostvars_are_looked_at_when_all_have_come_that_far() {
    let bench = Bench::new(&["slow", "fast"]);
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: wait, command: sleep 0.4, when: inventory_hostname == 'slow'}
    - {name: mine, set_fact: {mine: "{{ inventory_hostname }}"}}
    - {name: others, debug: {msg: "{{ groups.all | map('extract', hostvars, 'mine') | list }}"}}
    - {name: direct, debug: {msg: "{{ hostvars['slow'].mine }} {{ hostvars.fast['mine'] }}"}}
"#,
        )
        .await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    for event in &ran.events {
        if let Kind::TaskFinished { task, outcome, .. } = &event.kind {
            match task.name.as_str() {
                "others" => assert_eq!(outcome.result["msg"], json!(["slow", "fast"])),
                "direct" => assert_eq!(outcome.result["msg"], json!("slow fast")),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn hosts_do_not_wait_for_a_slow_one() {
    let bench = Bench::new(&["slow", "fast"]);
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: wait, command: sleep 1, when: inventory_hostname == 'slow'}
    - {name: second, command: "true"}
    - {name: third, command: "true"}
"#,
        )
        .await;
    let story = ran.story();
    let at = |line: &str| story.find(line).unwrap_or_else(|| panic!("{line} in\n{story}"));
    assert!(at("fast: third") < at("slow: wait"), "{story}");
}

#[tokio::test]
async fn delegated_tasks_run_elsewhere_with_the_hosts_own_variables() {
    let bench = Bench::new(&["a", "b"]);
    let ran = bench
        .run(
            r#"
- hosts: a
  gather_facts: false
  vars: {who: "{{ inventory_hostname }}"}
  tasks:
    - {name: there, shell: "echo {{ who }}", delegate_to: b, register: r}
    - {name: here, shell: "echo {{ who }}", delegate_to: localhost, register: s}
    - {name: fact, set_fact: {f: 1}, delegate_to: b, delegate_facts: true}
    - {name: known, assert: {that: [r.stdout == 'a', s.stdout == 'a', hostvars.b.f == 1, f is not defined], quiet: true}}
    - {name: nowhere, command: "true", delegate_to: bb, ignore_errors: true}
"#,
        )
        .await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    assert_eq!(ran.outcome("nowhere").hint.as_deref(), Some("did you mean `b`?"));
}

#[tokio::test]
async fn serial_any_errors_fatal_and_max_fail_percentage() {
    // head of the play, hosts that see the second task
    let table: &[(&str, &[&str])] = &[
        ("", &["b", "c", "d"]),
        ("any_errors_fatal: true", &[]),
        ("max_fail_percentage: 20", &[]),
        ("max_fail_percentage: 30", &["b", "c", "d"]),
        ("serial: 1", &[]),
        ("serial: 2", &["b", "c", "d"]),
        ("{serial: 2, any_errors_fatal: true}", &[]),
    ];
    for (head, expected) in table {
        let bench = Bench::new(&["a", "b", "c", "d"]);
        let head = head.trim_matches(['{', '}']).split(", ").map(|line| format!("  {line}\n")).collect::<String>();
        let head = if head.trim().is_empty() { String::new() } else { head };
        let play = format!(
            "- hosts: all\n  gather_facts: false\n{head}  tasks:\n    - {{name: first, fail: {{}}, when: \"inventory_hostname == 'a'\"}}\n    - {{name: second, debug: {{msg: x}}}}\n"
        );
        let ran = bench.run(&play).await;
        let mut seen: Vec<&str> = Vec::new();
        for event in &ran.events {
            if let Kind::TaskFinished { task, host, .. } = &event.kind
                && task.name == "second"
            {
                seen.push(host);
            }
        }
        seen.sort();
        assert_eq!(seen, *expected, "{head}\n{}", ran.story());
        assert_eq!(ran.summary.exit_code, 1);
        let told = format!("{:?}", ran.events).contains("not tried, because of what failed before: b, c, d");
        assert_eq!(told, head.contains("serial: 1"), "{head}");
    }
}

#[tokio::test]
async fn an_unreachable_host_is_told_apart_and_does_not_hold_the_others() {
    let bench = Bench::new(&["well"]);
    bench.file(
        "hosts.yml",
        &format!(
            "all:\n  vars: {{out: {out}, provision_lock_dir: {lock}}}\n  hosts:\n    well: {{ansible_connection: local}}\n    gone: {{ansible_host: 127.0.0.1, ansible_port: 1, ansible_timeout: 2}}\n",
            out = bench.out("").display(),
            lock = bench.dir.path().join("lock").display()
        ),
    );
    let ran = bench
        .run("- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, command: \"true\"}\n    - {name: u, command: \"true\"}\n- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: v, command: \"true\"}\n")
        .await;
    assert_eq!(ran.summary.exit_code, 1, "{}", ran.story());
    assert_eq!(ran.summary.failed, ["gone"]);
    assert_eq!((ran.summary.hosts["gone"].unreachable, ran.summary.hosts["gone"].failed), (1, 0));
    assert_eq!(ran.summary.hosts["well"].changed, 3);
    let lost = ran.events.iter().find_map(|event| match &event.kind {
        Kind::TaskFinished { host, outcome, .. } if host == "gone" => Some(outcome.clone()),
        _ => None,
    });
    let lost = lost.unwrap();
    assert_eq!((lost.status, lost.cause), (Status::Unreachable, Some(Cause::Refused)));
}

#[tokio::test]
async fn a_lock_whose_folder_is_not_there_is_refused_and_nothing_is_touched() {
    let play =
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, copy: {content: x, dest: \"{{ out }}/t\"}}\n";
    for before in [false, true] {
        let bench = Bench::new(&["a"]);
        let dir = bench.dir.path().join("lock/a");
        std::fs::remove_dir(&dir).unwrap();
        bench.file(
            "hosts.yml",
            &format!(
                "all:\n  vars: {{ansible_connection: local, out: {}}}\n  hosts: {{a: {{provision_lock_dir: {}}}}}\n",
                bench.out("").display(),
                dir.display()
            ),
        );
        let job = || Job { locks: Locks { before, ..Locks::default() }, ..bench.job(play) };
        let ran = bench.run_job(job()).await;
        assert_eq!((ran.summary.exit_code, bench.exists("t")), (1, false), "{}", ran.story());
        let said = format!("{:?}", ran.events);
        let sentence = format!("the lock of a is to lie in {} (`provision_lock_dir`), and there is no", dir.display());
        assert!(said.contains(&sentence) && said.contains("install -d -m 1777"), "{said}");
        std::fs::create_dir(&dir).unwrap();
        let ran = bench.run_job(job()).await;
        assert_eq!((ran.summary.exit_code, bench.exists("t")), (0, true), "{}", ran.story());
    }
}

#[tokio::test]
async fn ctrl_c_ends_what_runs_and_starts_nothing_new() {
    let bench = Bench::new(&["a", "b"]);
    let cancel = bench.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        cancel.cancel();
    });
    let begin = Instant::now();
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: runs, shell: "sleep 1.5; touch {{ out }}/{{ inventory_hostname }}", when: inventory_hostname == 'a'}
    - {name: waits, command: "false", register: r, until: r.rc == 0, retries: 100, delay: 300, when: inventory_hostname == 'b'}
    - {name: never, command: "touch {{ out }}/never"}
"#,
        )
        .await;
    assert_eq!((ran.summary.status, ran.summary.exit_code), (RunStatus::Interrupted, 130));
    assert!(bench.exists("a"), "what ran came to its end");
    assert!(!bench.exists("never"));
    assert!(begin.elapsed() < Duration::from_secs(100), "{:?}", begin.elapsed());
    assert!(matches!(ran.events.last().unwrap().kind, Kind::RunFinished { exit_code: 130, .. }));
    assert_eq!(ran.outcome("waits").cause, Some(Cause::Interrupted));
}

#[tokio::test]
async fn after_ctrl_c_a_busy_host_is_left_to_its_work_and_to_its_lock() {
    let mut bench = Bench::new(&["a"]);
    bench.grace = Duration::from_secs(1);
    let cancel = bench.cancel.clone();
    let long = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: long, shell: \"touch {{ out }}/begun; sleep 10; touch {{ out }}/done\"}\n    - {name: never, command: \"touch {{ out }}/never\"}\n";
    let short = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: changes, copy: {content: x, dest: \"{{ out }}/f\"}}\n";
    let interrupt = async {
        while !bench.exists("begun") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cancel.cancel();
    };
    let (ran, ()) = tokio::join!(bench.run(long), interrupt);
    assert_eq!((ran.summary.status, ran.summary.exit_code), (RunStatus::Interrupted, 130));
    let outcome = ran.outcome("long");
    assert_eq!(outcome.cause, Some(Cause::Interrupted));
    assert!(outcome.text("msg").contains("still busy with this task"), "{outcome:?}");
    assert!(outcome.hint.as_deref().is_some_and(|hint| hint.contains("the next run waits for that")), "{outcome:?}");
    assert!(!bench.exists("done"));

    // another run of this program does not get in. (One of a new program waits, since the old one is gone.)
    bench.cancel = CancellationToken::new();
    let mut second = bench.job(short);
    second.run = "second".to_owned();
    let two = bench.run_job(second).await;
    assert_eq!(two.outcome("changes").cause, Some(Cause::Locked), "{}", two.story());
    let done = async {
        while !bench.exists("done") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("what ran was ended");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut third = bench.job(short);
    third.run = "third".to_owned();
    assert_eq!(bench.run_job(third).await.summary.exit_code, 0, "the lock went with what held it");
    assert!(!bench.exists("never"));
}

/// The program as it is started by hand, on this machine as a host.
fn start(bench: &Bench, play: &str) -> std::process::Child {
    let play = bench.file("by-hand.yml", play);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_provision"));
    command.arg("run").arg(play).arg("-i").arg(bench.dir.path().join("hosts.yml"));
    command.arg("--runs-dir").arg(bench.dir.path().join("runs")).env("NO_COLOR", "1").env("CI", "true");
    command.current_dir(bench.dir.path()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_an_interrupted_program_left_running_is_waited_for() {
    let bench = Bench::new(&["a"]);
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: long, shell: \"touch {{ out }}/begun; sleep 5; echo end >> {{ out }}/done\", args: {creates: \"{{ out }}/done\"}}\n    - {name: next, copy: {content: x, dest: \"{{ out }}/f\"}}\n";
    let mut first = start(&bench, play);
    let deadline = Instant::now() + Duration::from_secs(90);
    while !bench.exists("begun") {
        if first.try_wait().unwrap().is_some() || Instant::now() > deadline {
            let _ = first.kill();
            panic!("the first run does not begin: {:?}", first.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // the second Ctrl-C does not wait
    let pid = rustix::process::Pid::from_raw(first.id().cast_signed()).unwrap();
    for _ in 0..2 {
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130));
    assert!(!bench.exists("done"));
    let second = start(&bench, play).wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&second.stdout), String::from_utf8_lossy(&second.stderr));
    assert_eq!(second.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(bench.read("done"), "end\n", "it was done twice, or not at all");
    assert!(bench.exists("f"));
    assert!(err.contains("waiting for its end") || out.contains("waiting for its end"), "{out}\n{err}");
}

/// A shell for which `flock` is not there, though everything else is.
fn shell_without_flock(bench: &Bench) -> Value {
    let bin = bench.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for dir in ["/bin", "/usr/bin", "/usr/sbin"] {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.file_name() != "flock" {
                let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
            }
        }
    }
    let path = bin.display();
    let shell =
        bench.file("sh", &format!("#!/bin/sh\nPATH={path}:/usr/sbin:/sbin; export PATH\nexec /bin/sh \"$@\"\n"));
    std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755)).unwrap();
    json!(shell.display().to_string())
}

#[tokio::test]
async fn without_flock_a_directory_is_the_lock() {
    let mut bench = Bench::new(&["a"]);
    bench.extra = Object::from_iter([("ansible_shell_executable".to_owned(), shell_without_flock(&bench))]);
    let lock = bench.dir.path().join("lock/a/provision.lock.d");
    let looks = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: no flock, shell: command -v flock, failed_when: false, register: flock}\n    - {name: sure, assert: {that: flock.rc != 0, quiet: true}}\n";
    assert_eq!(bench.run(looks).await.summary.exit_code, 0, "the test has no ground");
    second_is_told(&bench).await;
    assert!(!lock.exists(), "the lock is left");

    // left by a holder that died, in this life of the machine and in an earlier one
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for holder in [format!("{dead} {}\n", boot.trim()), "1 another-boot\n".to_owned()] {
        std::fs::create_dir(&lock).unwrap();
        std::fs::write(lock.join("holder"), &holder).unwrap();
        let begin = Instant::now();
        let ran =
            bench.run("- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, command: \"true\"}\n").await;
        assert_eq!(ran.summary.exit_code, 0, "{holder}: {}", ran.story());
        assert!(begin.elapsed() < Duration::from_secs(20), "{holder}: {:?}", begin.elapsed());
        assert!(!lock.exists(), "{holder}");
    }
}

#[tokio::test]
async fn a_second_run_on_the_same_host_is_told_who_is_there() {
    second_is_told(&Bench::new(&["a"])).await;
}

/// Between taking a lock and leaving a note on it, and between taking the note away and giving it back, nobody is named.
#[tokio::test]
async fn a_lock_that_nobody_has_signed_is_looked_at_again() {
    let change = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, command: \"true\"}\n";
    for (signed, code) in [(true, 1), (false, 0)] {
        let bench = Bench::new(&["a"]);
        let lock = bench.dir.path().join("lock/a/provision.lock");
        let script = match signed {
            true => "sleep 4; printf 'owner=eva@desk\\nrun=1\\nsince=now\\n' >\"$1.by\"; sleep 6",
            false => "sleep 4",
        };
        let mut holder = std::process::Command::new("flock");
        let mut holder = holder.arg(&lock).args(["sh", "-c", script, "sh"]).arg(&lock).spawn().unwrap();
        while !lock.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = bench.run(change).await;
        assert_eq!(ran.summary.exit_code, code, "{}", ran.story());
        let said = format!("{:?}", ran.events);
        assert_eq!(said.contains("another run is working on a: eva@desk, run 1"), signed, "{said}");
        holder.wait().unwrap();
    }
}

async fn second_is_told(bench: &Bench) {
    let long = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, shell: \"touch {{ out }}/begun; until [ -e {{ out }}/told ]; do sleep 0.1; done\"}\n";
    let short = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: looks, stat: {path: /}}\n    - {name: changes, copy: {content: x, dest: \"{{ out }}/f\"}}\n";
    let first = bench.job(long);
    let mut second = bench.job(short);
    second.run = "second".to_owned();
    let (one, two) = tokio::join!(bench.run_job(first), async {
        let begins = async {
            while !bench.exists("begun") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), begins).await.expect("the first run begins");
        let two = bench.run_job(second).await;
        std::fs::write(bench.out("told"), "").unwrap();
        two
    });
    assert_eq!(one.summary.exit_code, 0);
    assert_eq!(two.summary.exit_code, 1, "{}", two.story());
    assert_eq!(two.outcome("looks").status, Status::Ok, "looking needs no lock");
    let outcome = two.outcome("changes");
    assert_eq!(outcome.cause, Some(Cause::Locked), "{outcome:?}");
    assert!(outcome.text("msg").contains("another run is working on a: "), "{outcome:?}");
    assert!(outcome.text("msg").contains("run test-"), "{outcome:?}");
    // and afterwards the way is free at once
    let begin = Instant::now();
    let mut third = bench.job(short);
    third.run = "third".to_owned();
    assert_eq!(bench.run_job(third).await.summary.exit_code, 0);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn check_mode_needs_no_lock() {
    let mut bench = Bench::new(&["a"]);
    bench.check = true;
    bench.run("- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: t, copy: {content: x, dest: \"{{ out }}/f\"}}\n").await;
    assert_eq!(std::fs::read_dir(bench.dir.path().join("lock/a")).unwrap().count(), 0);
}

/// Services out of a table: name, what it requires.
pub struct Shelf(pub Vec<(&'static str, &'static [&'static str])>);

impl Services for Shelf {
    fn expand(&self, host: &str, selection: &Value, _: &Scope) -> Result<Vec<ServiceDeploy>, Failure> {
        let wanted = selection.as_array().cloned().unwrap_or_default();
        let chosen = self.0.iter().filter(|(name, _)| wanted.contains(&json!(name)));
        Ok(chosen
            .map(|(name, requires)| ServiceDeploy {
                service: (*name).to_owned(),
                version: "v1".to_owned(),
                url: Some(format!("https://{name}.{host}")),
                vars: Object::from_iter([(
                    "service".to_owned(),
                    json!({"id": name, "requires": requires, "raw": "{{ not a template }}"}),
                )]),
            })
            .collect())
    }
}

/// How each service ended, in the order in which they did.
fn cells(ran: &Ran) -> Vec<(String, Status, Option<String>)> {
    let events = ran.events.iter();
    events
        .filter_map(|event| match &event.kind {
            Kind::ServiceFinished { service, status, msg, .. } => Some((service.clone(), *status, msg.clone())),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn services_are_deployed_in_order_and_fail_alone() {
    let bench = Bench::new(&["a"]);
    bench.file(
        "each.yml",
        "- {name: 'up {{ service.id }}', copy: {content: '{{ service.raw }}', dest: '{{ out }}/{{ service.id }}'}, when: service.id != 'broken'}\n- {name: 'up {{ service.id }}', fail: {msg: broken}, when: service.id == 'broken'}\n",
    );
    let mut job = bench.job(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: s, include_services: {services: [base, broken, needs, lone], tasks: each.yml}}\n    - {name: after, debug: {msg: x}}\n",
    );
    job.services =
        Some(Arc::new(Shelf(vec![("base", &[]), ("broken", &["base"]), ("needs", &["broken"]), ("lone", &[])])));
    let ran = bench.run_job(job).await;
    assert_eq!(
        cells(&ran),
        [
            ("base".to_owned(), Status::Changed, None),
            ("broken".to_owned(), Status::Failed, Some("broken".to_owned())),
            ("needs".to_owned(), Status::Skipped, Some("not tried: it needs broken, which failed".to_owned())),
            ("lone".to_owned(), Status::Changed, None),
        ],
        "{}",
        ran.story()
    );
    assert_eq!(ran.summary.exit_code, 1);
    assert!(!ran.story().contains("after"));
    assert_eq!(bench.read("base"), "{{ not a template }}");
    let tagged = ran.events.iter().any(|event| {
        matches!(&event.kind, Kind::TaskFinished { task, .. } if task.name == "up base" && task.service.as_deref() == Some("base"))
    });
    assert!(tagged);
}

#[tokio::test]
async fn in_reverse_order_what_something_still_needs_is_left_alone() {
    let bench = Bench::new(&["a"]);
    bench.file("down.yml", "- {name: down, command: 'true', failed_when: service.id == 'broken'}\n");
    let mut job = bench.job(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: s, include_services: {services: [base, broken, lone], tasks: down.yml, order: reverse}}\n",
    );
    job.services = Some(Arc::new(Shelf(vec![("base", &[]), ("broken", &["base"]), ("lone", &[])])));
    let ran = bench.run_job(job).await;
    let cells = cells(&ran);
    let names: Vec<&str> = cells.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["lone", "broken", "base"]);
    assert_eq!(
        cells[2],
        ("base".to_owned(), Status::Skipped, Some("not tried: broken needs it, and failed".to_owned()))
    );
    assert_eq!(ran.summary.exit_code, 1);

    let mut job = bench.job(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: s, include_services: {services: [base], tasks: down.yml, order: sideways}}\n",
    );
    job.services = Some(Arc::new(Shelf(vec![("base", &[])])));
    let ran = bench.run_job(job).await;
    assert!(format!("{:?}", ran.events).contains("`order` is `dependencies` or `reverse`"), "{:?}", ran.events);
}

#[tokio::test]
async fn throttle_lets_few_hosts_in_at_once() {
    let bench = Bench::new(&["a", "b", "c"]);
    let task =
        "set -C; until : > {{ out }}/in; do echo crowd >> {{ out }}/crowd; sleep 0.1; done; sleep 0.2; rm {{ out }}/in";
    let play =
        format!("- hosts: all\n  gather_facts: false\n  tasks:\n    - {{name: t, shell: \"{task}\", throttle: 1}}\n");
    let ran = bench.run(&play).await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    assert!(!bench.exists("crowd"), "two hosts were in at once");
}

#[tokio::test]
async fn a_task_that_takes_too_long_fails_and_the_host_goes_on() {
    let bench = Bench::new(&["a"]);
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: long, command: sleep 300, timeout: 1, ignore_errors: true}\n    - {name: next, command: echo fine}\n";
    let begin = Instant::now();
    let ran = bench.run(play).await;
    assert!(begin.elapsed() < Duration::from_secs(100), "{:?}", begin.elapsed());
    assert_eq!(ran.story(), "a: long [failed, ignored]\na: next [changed]", "{:?}", ran.outcome("long"));
}

#[tokio::test]
async fn mistakes_in_patterns_and_missing_prompts_touch_nothing() {
    let bench = Bench::new(&["web1"]);
    let marker = "  gather_facts: false\n  tasks:\n    - {name: t, command: \"touch {{ out }}/touched\"}\n";
    for (head, expected) in [
        ("- hosts: wbe1\n", "did you mean `web1`?"),
        ("- hosts: all\n  vars_prompt: [{name: answer}]\n", "add -e answer=…"),
    ] {
        let job = bench.job(&format!("- hosts: all\n{marker}{head}{marker}"));
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let error = provision::engine::run(job, sender, bench.cancel.clone()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!bench.exists("touched"));
    }
}

#[tokio::test]
async fn files_of_variables_and_precedence() {
    let mut bench = Bench::new(&["a"]);
    bench.file("group_vars/all.yml", "v: group\nw: group\nx: group\ny: group\nz: group\n");
    bench.file("host_vars/a.yml", "w: host\nx: host\ny: host\nz: host\n");
    bench.file("vars/more.yml", "y: file\nz: file\n");
    bench.extra = json!({"z": "extra"}).as_object().unwrap().clone();
    let play = "- hosts: all\n  gather_facts: false\n  vars: {x: play, y: play, z: play}\n  vars_files: [vars/more.yml]\n  tasks:\n    - {name: look, debug: {msg: '{{ v }} {{ w }} {{ x }} {{ y }} {{ z }}'}}\n";
    let ran = bench.run(play).await;
    assert_eq!(ran.msg("look"), json!("group host play file extra"), "{}", ran.story());
}

#[tokio::test]
async fn hosts_of_other_batches_are_part_of_the_play_until_they_fail() {
    let bench = Bench::new(&["a", "b", "c"]);
    let play = "- hosts: all\n  gather_facts: false\n  serial: [1, 2]\n  tasks:\n    - {name: seen, shell: \"echo '{{ ansible_play_hosts | join(',') }} {{ ansible_play_batch | join(',') }}' >> {{ out }}/{{ inventory_hostname }}\"}\n    - {name: fails, fail: {}, when: inventory_hostname == 'b'}\n    - {name: wait, command: sleep 0.2}\n    - {name: later, shell: \"echo '{{ ansible_play_hosts | join(',') }} {{ ansible_play_batch | join(',') }}' >> {{ out }}/{{ inventory_hostname }}\"}\n";
    bench.run(play).await;
    assert_eq!(bench.read("a"), "a,b,c a\na,b,c a\n");
    assert_eq!(bench.read("c"), "a,b,c b,c\na,c c\n");
}
