//! `--shard` and `report merge`: several controllers share a fleet, and what they did is one run.

use std::path::PathBuf;

use serde_json::Value;

use crate::project::Project;

const PLAY: &str = "- hosts: all\n  gather_facts: false\n  tasks:\n    - {name: Count, shell: \"echo {{ inventory_hostname }} >>{{ playbook_dir }}/out\"}\n    - {name: Breaks, command: 'false', when: inventory_hostname == bad}\n";

/// Runs one part of the play, and gives the folder of its journals.
fn part(project: &Project, shard: &str, bad: &str, code: i32) -> String {
    let runs = format!("runs-{}-{}", shard.replace('/', "-"), if bad.is_empty() { "well" } else { bad });
    let vars = format!("bad={bad}");
    let words =
        ["run", "play.yml", "--shard", shard, "-e", "ansible_connection=local", "-e", &vars, "--runs-dir", &runs];
    let run = project.run(&words);
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    runs
}

/// The one journal in a folder.
fn journal(project: &Project, runs: &str) -> PathBuf {
    let runs = std::fs::read_dir(project.path(runs)).unwrap().map(|entry| entry.unwrap().path());
    let [journal] = runs.map(|run| run.join("events.jsonl")).collect::<Vec<_>>().try_into().unwrap();
    journal
}

fn five() -> Project {
    let project = Project::with_key();
    project.file("inventory/hosts.yml", "all: {hosts: {e: , b: , a: , d: , c: }}\n");
    // all of them are this machine, and other tests' hosts, too; a folder that is not there would not be taken
    for host in ["a", "b", "c", "d", "e"] {
        std::fs::create_dir_all(project.path("locks").join(host)).unwrap();
    }
    let locks = format!("provision_lock_dir: {}/{{{{ inventory_hostname }}}}\n", project.path("locks").display());
    project.file("inventory/group_vars/all.yml", &locks);
    project.file("play.yml", PLAY);
    project
}

#[test]
fn parts_do_each_host_once_and_become_one_run() {
    let project = five();
    let parts = [("1/3", 0), ("2/3", 1), ("3/3", 0)].map(|(shard, code)| part(&project, shard, "b", code));
    let parts = parts.map(|runs| journal(&project, &runs).display().to_string());
    let out = std::fs::read_to_string(project.path("out")).unwrap();
    let mut done: Vec<&str> = out.lines().collect();
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c", "d", "e"], "each once");

    let parts = [0, 1, 2].map(|at: usize| parts[at].as_str());
    let lacking = project.run(&[&["report", "merge"], &parts[..2]].concat());
    assert!(lacking.code == 2 && lacking.stderr.contains("missing: 3/3"), "{}", lacking.stderr);
    let twice = project.run(&["report", "merge", parts[0], parts[0], "--partial"]);
    assert!(twice.code == 2 && twice.stderr.contains("have clients in common: a, d"), "{}", twice.stderr);
    assert!(!project.path("runs").exists(), "a refused merge writes nothing");

    let merged = project.run(&[&["report", "merge"], &parts[..]].concat());
    assert_eq!(merged.code, 1, "one part failed: {}", merged.stderr);
    let events = project.says(&["history", merged.stdout.trim(), "--json"]);
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        events.iter().enumerate().all(|(at, event)| event["seq"] == at + 1 && event["run"] == merged.stdout.trim())
    );
    assert_eq!(events[0]["hosts"], serde_json::json!(["a", "b", "c", "d", "e"]));
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("run_started"), count("run_finished"), count("host_finished")), (1, 1, 5));
    assert_eq!(events.last().unwrap()["status"], "failed");
    assert!(events.windows(2).all(|pair| pair[0]["at"].as_str() <= pair[1]["at"].as_str()), "in the order of time");

    let history = project.says(&["history"]);
    let line = history.lines().nth(1).unwrap();
    assert!(line.contains("failed") && line.contains("5 (1 failed)") && !line.contains("--shard"), "{history}");
    let last = project.says(&["history", "last"]);
    assert!(last.contains("provision run play.yml -e ansible_connection=local -e bad=b --limit b\n"), "{last}");
    let notes: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(["1/3", "2/3", "3/3"].iter().all(|part| notes.iter().any(|note| note.contains(part))), "{notes:?}");
    let hosts =
        project.run(&["run", "play.yml", "--limit", "@failed", "-e", "ansible_connection=local", "-e", "bad=none"]);
    assert!(hosts.code == 0 && hosts.stdout.contains('b') && !hosts.stdout.contains("a  "), "{}", hosts.stdout);
    project.says(&["report", merged.stdout.trim(), "--html", "page.html", "--junit", "junit.xml"]);
    let junit = std::fs::read_to_string(project.path("junit.xml")).unwrap();
    assert!(["a", "b", "c", "d", "e"].iter().all(|host| junit.contains(&format!("\"{host}\""))), "{junit}");
}

#[test]
fn what_is_no_part_of_the_same_run_is_refused() {
    let project = five();
    let other = |from: &str| journal(&project, from).display().to_string();
    let one = other(&part(&project, "1/2", "", 0));
    let two = other(&part(&project, "2/2", "b", 1));
    let ran = project.run(&["report", "merge", &one, &two]);
    assert!(ran.code == 2 && ran.stderr.contains(" ran `"), "another command: {}", ran.stderr);
    let third = other(&part(&project, "2/3", "", 0));
    let ran = project.run(&["report", "merge", &one, &third]);
    assert!(ran.code == 2 && ran.stderr.contains("1/2 and 2/3 are parts of different wholes"), "{}", ran.stderr);
    let ran = project.run(&["report", "merge", "nowhere"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no run `nowhere`"), "{}", ran.stderr);
    project.file("broken.jsonl", "{\"event\": 1}\n{}\n");
    let ran = project.run(&["report", "merge", "broken.jsonl"]);
    assert!(ran.code == 2 && ran.stderr.contains("broken.jsonl:1: not an event"), "{}", ran.stderr);
}

#[test]
fn runs_of_one_folder_are_merged_and_not_counted_twice() {
    let project = five();
    for shard in ["1/2", "2/2"] {
        let run =
            project.run(&["run", "play.yml", "--shard", shard, "-e", "ansible_connection=local", "-e", "bad=none"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let ids = project.says(&["history"]);
    let ids: Vec<&str> = ids.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(project.says(&["metrics"]).starts_with("2 runs"));
    project.says(&[&["report", "merge"], &ids[..]].concat());
    assert!(project.says(&["metrics"]).starts_with("1 runs"), "{}", project.says(&["metrics"]));
    assert_eq!(project.says(&["history"]).lines().count(), 4, "the parts are still there");
}

#[test]
fn a_verb_works_on_its_part_alone() {
    let project = Project::with_key();
    let run = |shard: &str| project.run(&["up", "--all", "--yes", "--shard", shard, "-e", "ansible_port=1"]);
    let second = run("2/2");
    assert_eq!(second.code, 1, "nobody listens there: {}", second.stderr);
    assert!(second.stderr.contains("part 2/2: 1 of 2 clients"), "{}", second.stderr);
    assert!(second.stdout.contains("beto") && !second.stdout.contains("ana"), "{}", second.stdout);
    assert!(!second.stdout.contains("--shard"), "what to do again names the client: {}", second.stdout);
    let third = run("3/3");
    assert_eq!(third.code, 0, "more parts than clients is no failure: {}", third.stderr);
    assert!(third.stderr.contains("part 3/3: 0 of 2 clients") && !third.stderr.contains("error"), "{}", third.stderr);
    for words in [&["up", "--all", "--check"][..], &["run", "play.yml"], &["update", "--all", "--check", "--json"]] {
        project.file("play.yml", PLAY);
        let runs = || std::fs::read_dir(project.path("runs")).unwrap().count();
        let before = runs();
        let ended = project.run(&[words, &["--shard", "3/3"]].concat());
        assert_eq!((ended.code, ended.stdout.as_str(), runs()), (0, "", before), "{words:?}");
        assert_eq!(ended.stderr, "part 3/3: 0 of 2 clients\n", "{words:?}");
    }
    for (shard, why) in [("0/3", "counted from 1"), ("4/3", "no part 4 of 3"), ("x", "write it as 2/3")] {
        let wrong = run(shard);
        assert!(wrong.code == 2 && wrong.stderr.contains(why), "{}", wrong.stderr);
    }
}
