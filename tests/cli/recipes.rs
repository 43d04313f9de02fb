//! The recipes of docs/schedules.md for systems that start several controllers: the lines that stand there, run with the
//! variables that those systems set, on clients that are all this machine. Docker Swarm's is run by tests/update/job.rs.

use std::path::{Path, PathBuf};
use std::process::Command;

use provision::yaml;
use serde_json::{Value, json};

use crate::project::Project;

/// One client fails, so that it is seen how a part's failure comes through.
const CLIENTS: [&str; 5] = ["a", "b", "bad", "c", "d"];

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schedules.md")).unwrap()
}

/// The YAML block with such a key at its top; all of them must be YAML.
fn recipe(key: &str) -> Value {
    let text = document();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let blocks: Vec<Value> = blocks
        .map(|block| {
            let nodes = yaml::parse(block, Path::new("docs/schedules.md")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(nodes.len(), 1, "{block}");
            nodes[0].to_value()
        })
        .collect();
    let mut found = blocks.into_iter().filter(|block| block.get(key).is_some());
    found.next().unwrap_or_else(|| panic!("no recipe has `{key}`"))
}

fn texts(list: &Value) -> Vec<&str> {
    match list {
        Value::String(one) => vec![one],
        list => list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect(),
    }
}

/// The repository, and where its jobs work.
struct System {
    project: Project,
}

impl System {
    fn new() -> System {
        let project = Project::here(&CLIENTS);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_provision"), project.path("bin/provision")).unwrap();
        System { project }
    }

    /// A folder of a job's own.
    fn folder(&self, job: &str) -> PathBuf {
        let folder = self.project.path("jobs").join(job);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn checkout(&self, folder: &Path) {
        ["inventory", "registry", "playbooks"].iter().for_each(|part| copy(&self.project.path(part), folder));
    }

    /// Runs a command in a folder; its exit code and standard output.
    fn run(&self, folder: &Path, argv: &[&str], vars: &[(&str, String)]) -> (i32, String) {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new(argv[0])
            .args(&argv[1..])
            .current_dir(folder)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.project.path("bin").display()))
            .env("HOME", self.project.path("home"))
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        eprintln!("{argv:?} {vars:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    /// The newest run in a folder is all parts, each client once, and one of them failed.
    fn is_merged(&self, folder: &Path) {
        let (code, events) = self.run(folder, &["provision", "history", "last", "--json"], &[]);
        assert_eq!(code, 0);
        let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&events[0]["event"], &events[0]["hosts"]), (&json!("run_started"), &json!(CLIENTS)));
        assert_eq!(events[0]["command"], json!(["provision", "update", "--all", "--yes"]), "without the part");
        let ended = events.iter().filter(|event| event["event"] == "host_finished");
        let mut ended: Vec<(&str, bool)> =
            ended.map(|event| (event["host"].as_str().unwrap(), event["counts"]["failed"] != 0)).collect();
        ended.sort_unstable();
        assert_eq!(ended, CLIENTS.map(|client| (client, client == "bad")));
        assert_eq!(events.last().unwrap()["exit_code"], 1);
    }
}

fn copy(from: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    assert!(Command::new("cp").arg("-r").args([from, into]).status().unwrap().success(), "{}", from.display());
}

/// One part failed, the others are well.
fn one_failed(codes: &[i32]) {
    assert_eq!((codes.iter().filter(|code| **code == 1).count(), codes.iter().sum::<i32>()), (1, 1), "{codes:?}");
}

#[test]
fn an_indexed_job_does_each_client_once() {
    let system = System::new();
    let job = recipe("apiVersion");
    let (spec, pod) = (&job["spec"], &job["spec"]["template"]["spec"]);
    let container = &pod["containers"][0];
    assert_eq!((&job["kind"], &spec["completionMode"]), (&json!("Job"), &json!("Indexed")));
    assert_eq!(spec["completions"], spec["parallelism"], "parts that wait for another one's end have the older images");
    let text = document();
    let project = text.lines().find_map(|line| line.strip_prefix("WORKDIR ")).unwrap();
    let places = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(places(&container["volumeMounts"], "name"), places(&pod["volumes"], "name"));
    let wanted = [&format!("{project}/runs"), "/root/.config/provision", "/root/.ssh"];
    assert_eq!(places(&container["volumeMounts"], "mountPath"), wanted);
    // ssh takes no key that others can read
    assert!((1..3).all(|secret| pod["volumes"][secret]["secret"]["defaultMode"] == 0o400), "{pod:#}");

    // one volume for all pods
    let folder = system.folder("pods");
    system.checkout(&folder);
    let argv = texts(&container["command"]);
    let parts = 0..spec["completions"].as_u64().unwrap();
    let index = |part: u64| [("JOB_COMPLETION_INDEX", part.to_string())];
    one_failed(&parts.map(|part| system.run(&folder, &argv, &index(part)).0).collect::<Vec<_>>());
    let merge = text.split("A pod with the same volume then runs `").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(system.run(&folder, &["sh", "-c", merge], &[]).0, 1);
    system.is_merged(&folder);
}

#[test]
fn gitlabs_parallel_jobs_do_each_client_once() {
    let system = System::new();
    let jobs = recipe("rollout");
    let (rollout, report) = (&jobs["rollout"], &jobs["report"]);
    let run = |job: &Value, folder: &Path, vars: &[(&str, String)]| {
        system.run(folder, &["sh", "-ec", &texts(&job["script"]).join("\n")], vars)
    };
    let parts = rollout["parallel"].as_u64().unwrap();
    let kept = system.folder("artifacts");
    let mut codes = Vec::new();
    for part in 1..=parts {
        let folder = system.folder(&format!("rollout-{part}"));
        system.checkout(&folder);
        let vars = [("CI_NODE_INDEX", part.to_string()), ("CI_NODE_TOTAL", parts.to_string())];
        codes.push(run(rollout, &folder, &vars).0);
        assert_eq!(rollout["artifacts"]["when"], "always", "a part that failed leaves its journal, too");
        texts(&rollout["artifacts"]["paths"]).iter().for_each(|path| copy(&folder.join(path), &kept));
    }
    one_failed(&codes);
    assert_eq!((&report["needs"], &report["when"]), (&json!(["rollout"]), &json!("always")));
    let folder = system.folder("report");
    system.checkout(&folder);
    copy(&kept.join("."), &folder);
    let (code, said) = run(report, &folder, &[]);
    assert_eq!(code, 1, "red as well, with the page");
    let page = folder.join(said.lines().last().unwrap());
    assert!(page.ends_with("report.html") && page.is_file(), "{said}");
    assert!(texts(&report["artifacts"]["paths"]).iter().any(|path| page.starts_with(folder.join(path))));
    system.is_merged(&folder);
}

/// One job of a workflow of GitHub's: its steps in a folder, one after the other. False: one of them failed.
fn steps(system: &System, job: &Value, folder: &Path, known: &[(&str, String)]) -> bool {
    let said = |text: &Value| {
        let mut text = text.as_str().unwrap_or_default().to_owned();
        known.iter().for_each(|(name, value)| text = text.replace(&format!("${{{{ {name} }}}}"), value));
        assert!(!text.contains("${{"), "{text}");
        text
    };
    let kept = system.folder("artifacts");
    let mut well = true;
    for step in job["steps"].as_array().unwrap() {
        if !well && step["if"] != "always()" {
            continue;
        }
        let with = &step["with"];
        match (step["uses"].as_str(), step["run"].as_str()) {
            (None, Some(_)) => well &= system.run(folder, &["bash", "-ec", &said(&step["run"])], &[]).0 == 0,
            (Some("actions/checkout@v4"), None) => system.checkout(folder),
            // what lies in the folder, without the folder
            (Some("actions/upload-artifact@v4"), None) => {
                copy(&folder.join(said(&with["path"])).join("."), &kept.join(said(&with["name"])))
            }
            (Some("actions/download-artifact@v4"), None) => {
                assert_eq!(with["merge-multiple"], true, "else each artifact is a folder of its own");
                let pattern = said(&with["pattern"]);
                let start = pattern.strip_suffix('*').unwrap();
                for entry in std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap()) {
                    if entry.file_name().to_str().unwrap().starts_with(start) {
                        copy(&entry.path().join("."), &folder.join(said(&with["path"])));
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    well
}

#[test]
fn githubs_matrix_does_each_client_once() {
    let system = System::new();
    let jobs = &recipe("jobs")["jobs"];
    let (rollout, report) = (&jobs["rollout"], &jobs["report"]);
    assert_eq!(rollout["strategy"]["fail-fast"], false, "a part that fails does not end the others");
    let parts = rollout["strategy"]["matrix"]["part"].as_array().unwrap();
    let run = |part: &Value| {
        let known = [("matrix.part", part.to_string()), ("strategy.job-total", parts.len().to_string())];
        i32::from(!steps(&system, rollout, &system.folder(&format!("rollout-{part}")), &known))
    };
    one_failed(&parts.iter().map(run).collect::<Vec<_>>());
    assert_eq!((&report["needs"], &report["if"]), (&json!("rollout"), &json!("always()")));
    let folder = system.folder("report");
    assert!(!steps(&system, report, &folder, &[]), "red as well");
    system.is_merged(&folder);
}
