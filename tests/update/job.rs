//! Several controllers: a replicated job of Docker Swarm, whose tasks share the fleet, as docs/schedules.md has it.

use std::fs;
use std::process::{Command, Stdio};

use provision::lab::images;
use serde_json::Value;

use super::{REGISTRY, SCENE, stage};
use stage::{Stage, is};

/// Of the job's image, as docs/schedules.md has it; the lab's host image has ssh's client.
const DOCKERFILE: &str =
    "COPY provision /usr/local/bin/provision\nCOPY project /project\nWORKDIR /project\nENTRYPOINT []\n";

/// How often somebody has logged in.
const LOGINS: &str = "journalctl -q -o cat -t sshd -t sshd-session | grep -c '^Accepted publickey' || true";

/// The recipe as it stands in the documentation.
fn recipe() -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schedules.md")).unwrap();
    let start = text.find("docker secret create identity").unwrap();
    let block = text[start..].split("\n```").next().unwrap();
    block.replace("registry.example/fleet:42", "pv-fleet:1")
}

#[test]
fn a_swarm_job_does_each_client_in_one_task() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "a_swarm_job_does_each_client_in_one_task") else { return };
    let runs = stage.runs("shards");
    let hosts = ["u1", "u2", "u3"];
    stage.must(&runs, &["--all", "--yes", REGISTRY[0], REGISTRY[1], "-e", "{versions: {app: '1'}}"], 0);
    image(stage);
    swarm(stage);
    for (file, place) in [
        ("identity.txt", ".config/provision/identity.txt"),
        ("id_ed25519", ".ssh/id_ed25519"),
        ("known_hosts", ".ssh/known_hosts"),
    ] {
        let script = "docker exec -i \"$1\" sh -c 'mkdir -p \"$(dirname \"$1\")\" && cat >\"$1\"' sh \"/tmp/operator/$2\" <\"$3\"";
        stage::shell(script, &[&format!("{}-u3", SCENE.prefix), place, stage.options.dir.join(file).to_str().unwrap()]);
    }
    let logins = || hosts.map(|host| stage.inside(host, LOGINS).parse::<u32>().unwrap());
    let before = logins();

    stage.inside("u3", &format!("cd /tmp/operator && HOME=$PWD && exec >log 2>&1 && {}", recipe()));
    let log = stage.inside("u3", "cat /tmp/operator/log");
    // each client once, by one of the tasks, and the part that failed not a second time
    let journals = stage.inside("u3", "cat /var/lib/docker/volumes/runs/_data/*/events.jsonl");
    let events: Vec<Value> = journals.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let begun = events.iter().filter(|event| is(event, "run_started"));
    let mut begun: Vec<(String, String)> = begun
        .map(|event| {
            let words: Vec<&str> =
                event["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            (words[1..].join(" "), event["hosts"].to_string())
        })
        .collect();
    begun.sort();
    let whole = "update --all --yes".to_owned();
    let part = |number: u32| format!("{whole} --shard {number}/3");
    let hosts_of = |hosts: &[&str]| serde_json::json!(hosts).to_string();
    assert_eq!(
        begun,
        [
            (whole.clone(), hosts_of(&hosts)),
            (part(1), hosts_of(&["u1"])),
            (part(2), hosts_of(&["u2"])),
            (part(3), hosts_of(&["u3"]))
        ],
        "{log}"
    );
    assert_eq!(logins(), before.map(|number| number + 1), "one task came to each client: {log}");
    for (host, version, greeting) in [("u1", "2", "hola"), ("u2", "2", "for-u2-alone"), ("u3", "bad", "hola")] {
        let there = stage.inside(host, "cd /opt/ATS/VersatileHub/services/app; cat conf/app.conf; grep GREETING .env");
        assert_eq!(there, format!("version {version}\nGREETING={greeting}"), "{log}");
    }

    // one run of all of them, whose page has all clients and no secret
    let merged: Vec<&Value> =
        events.iter().skip_while(|event| event["command"].as_array().is_none_or(|words| words.len() != 4)).collect();
    let id = &merged[0]["run"];
    let ends = |host: &str, what: &str| {
        let mut ends =
            merged.iter().filter(|event| is(event, "host_finished") && event["host"] == host && &event["run"] == id);
        ends.next().unwrap()["counts"][what].as_u64().unwrap()
    };
    assert_eq!(hosts.map(|host| ends(host, "failed")), [0, 0, 1], "{log}");
    assert!(hosts.iter().all(|host| ends(host, "changed") > 0), "{log}");
    let end = merged.iter().find(|event| is(event, "run_finished") && &event["run"] == id).unwrap();
    assert_eq!((&end["status"], &end["exit_code"]), (&"failed".into(), &1.into()));
    let page = stage.inside("u3", "cat /tmp/operator/report.html");
    assert!(page.starts_with("<!") && hosts.iter().all(|host| page.contains(host)), "{page}");
    for text in [&page, &log, &journals] {
        assert!(!text.contains("for-u2-alone") && !text.contains("PRIVATE KEY"), "{text}");
    }

    stage.inside("u3", "docker swarm leave --force; docker volume rm runs; docker rmi pv-fleet:1; rm -r /tmp/operator");
}

/// The third host manages a swarm of its own.
fn swarm(stage: &Stage) {
    let address = stage.address("u3");
    stage.inside("u3", &format!("docker swarm init --advertise-addr {address} >/dev/null"));
}

/// The program, and a project that knows nothing of this machine's paths, in the lab's registry.
fn image(stage: &Stage) {
    let context = stage.scratch.join("fleet");
    let project = context.join("project");
    let _ = fs::remove_dir_all(&context);
    fs::create_dir_all(project.join("inventory/host_vars")).unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    stage::shell(
        "cd \"$1\" && cp -r playbooks \"$2/\" && cp -r tests/update/registry \"$2/registry\" && cp -r tests/update/inventory/. \"$2/inventory\" && \
         strip -o \"$2/../provision\" \"$3\"",
        &[here, project.to_str().unwrap(), env!("CARGO_BIN_EXE_provision")],
    );
    let lab = &stage.options.dir;
    for host in SCENE.hosts {
        let vars = fs::read_to_string(lab.join(format!("host_vars/{host}.yml"))).unwrap();
        // where the key and the known hosts are is said by ssh's own defaults there
        let own = |line: &&str| !line.starts_with("ansible_ssh_");
        let vars: String = vars.lines().filter(own).map(|line| format!("{line}\n")).collect();
        // one of them fails
        let version = if *host == "u3" { "versions: {app: bad}\n" } else { "versions: {app: '2'}\n" };
        fs::write(project.join(format!("inventory/host_vars/{host}.yml")), vars + version).unwrap();
    }
    fs::copy(lab.join(".age-recipients"), project.join("inventory/.age-recipients")).unwrap();
    // one that only the identity opens
    let mut set = Command::new(env!("CARGO_BIN_EXE_provision"))
        .args(["secrets", "set", "app/GREETING", "--host", "u2"])
        .current_dir(&project)
        .env("PROVISION_IDENTITY", lab.join("identity.txt"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut set.stdin.take().unwrap(), b"for-u2-alone").unwrap();
    assert!(set.wait().unwrap().success());
    let base = stage.block_on(images::host(stage.options.system, &stage.options.cache, &mut |_| {})).unwrap();
    fs::write(context.join("Dockerfile"), format!("FROM {base}\n{DOCKERFILE}")).unwrap();
    stage::shell("DOCKER_BUILDKIT=0 docker build -q -t pv-fleet:1 \"$1\" >/dev/null", &[context.to_str().unwrap()]);
    stage.block_on(provision::lab::push(&stage.options, &["pv-fleet:1".to_owned()], &mut |_| {})).unwrap();
    stage::shell("docker rmi pv-fleet:1 >/dev/null", &[]);
}
