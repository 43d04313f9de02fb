//! Docker Swarm: releases and their digests, updates that start the new task first, batches that go back as a whole with
//! their secrets, requests that are lost meanwhile, and changes by hand.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Signal, kill_process};

use super::{ASK, COUNT, REGISTRY, SCENE, stage, until_web};
use stage::Stage;

/// Stacks on swarms of one node each.
struct Fleet {
    stage: &'static Stage,
    runs: PathBuf,
    inventory: PathBuf,
}

/// The name that the swarm knows the service by.
const MOVES: &str = "versatile-moves-s_moves";
const IMAGE: &str = ".Spec.TaskTemplate.ContainerSpec.Image";

impl Fleet {
    fn verb(&self, words: &[&str], version: &str, code: i32) -> stage::Ran {
        let vars = serde_json::json!({"versions": {"moves": version}}).to_string();
        let inventory = stage::text(&self.inventory);
        let slice = ["-i", &inventory, "--host", "u3", "--services", "moves@s", "-e", &vars];
        self.stage.must(&self.runs, &[words, &slice, &REGISTRY].concat(), code)
    }

    fn yes(&self, words: &[&str], version: &str, code: i32) -> stage::Ran {
        self.verb(&[words, &["--yes"]].concat(), version, code)
    }

    /// The same for other hosts, with all that they have or the services that are named.
    fn wide(&self, words: &[&str], version: &str, token: &str) -> Vec<String> {
        let vars = serde_json::json!({"versions": {"moves": version, "web": version}, "TOKEN": token}).to_string();
        let inventory = stage::text(&self.inventory);
        let slice = ["-i", &inventory, "-e", &vars];
        [words, &slice, &REGISTRY].concat().into_iter().map(str::to_owned).collect()
    }

    fn on(&self, words: &[&str], version: &str, token: &str, code: i32) -> stage::Ran {
        let words = self.wide(words, version, token);
        self.stage.must(&self.runs, &words.iter().map(String::as_str).collect::<Vec<_>>(), code)
    }

    fn service_on(&self, host: &str, field: &str) -> String {
        self.stage.inside(host, &format!("docker service inspect --format '{{{{{field}}}}}' {MOVES}"))
    }

    fn service(&self, field: &str) -> String {
        self.service_on("u3", field)
    }

    fn image(&self) -> String {
        self.service(IMAGE)
    }

    /// What says what a host has of it: record, image, its secrets as the container and the swarm have them.
    fn state(&self, host: &str) -> [String; 4] {
        let running = format!("$(docker ps -q --filter health=healthy --filter name={MOVES} | head -n 1)");
        [
            self.stage.inside(host, "cd /var/lib/provision/services; cat moves@s.json; stat -c %Y moves@s.json"),
            self.service_on(host, IMAGE),
            self.stage.inside(host, &format!("docker exec {running} sh -c 'echo $TOKEN_FILE; cat $TOKEN_FILE'")),
            self.stage.inside(host, "docker secret ls --format '{{.Name}}'"),
        ]
    }

    /// Nothing of it is left, and nothing of the swarm.
    fn leave(&self, host: &str) {
        self.stage.inside(
            host,
            "docker swarm leave --force; cd /var/lib/provision; rm -r services/*@s.* releases/*@s; \
             rm -rf /opt/ATS/VersatileHub/services/*-s",
        );
    }

    fn containers(&self) -> String {
        self.stage.inside("u3", &format!("docker ps -q --filter health=healthy --filter name={MOVES}"))
    }

    fn changed(&self) -> u64 {
        stage::counts(&stage::last_events(&self.runs), "u3", "changed")
    }
}

#[test]
fn under_swarm_a_release_comes_back_with_its_digests() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "under_swarm_a_release_comes_back_with_its_digests") else {
        return;
    };
    let lock = stage.scratch.join("fleet.lock");
    let _ = fs::remove_file(&lock);
    let fleet = Fleet { stage, runs: stage.runs("swarm"), inventory: stage.scratch.join("swarm") };
    fs::create_dir_all(&fleet.inventory).unwrap();
    fs::write(
        fleet.inventory.join("hosts.yml"),
        "all: {hosts: {u3: {runtime: swarm, docker_network: swarm_net, services: [moves@s]}}}\n",
    )
    .unwrap();
    super::move_tag(stage, "1", "LABEL number=first");
    super::move_tag(stage, "9.9", "RUN touch /bad");
    fleet.yes(&[], "1", 0);
    let first = fleet.image();
    assert!(first.starts_with("pv-moves:1@sha256:"), "{first}");
    fleet.yes(&["up"], "1", 0);
    assert_eq!((fleet.changed(), fleet.image()), (0, first.clone()));

    // the tag moves: an update follows it, and the release before is what the tag meant then
    super::move_tag(stage, "1", "LABEL number=second");
    fleet.yes(&["update"], "1", 0);
    let second = fleet.image();
    assert!(second.starts_with("pv-moves:1@sha256:") && second != first, "{second}");
    assert_eq!(fleet.service(".Spec.UpdateConfig.Order"), "start-first");
    fleet.yes(&["update"], "1", 0);
    assert_eq!(fleet.changed(), 0);
    fleet.yes(&["rollback"], "1", 0);
    assert_eq!(fleet.image(), first, "although the tag means another image by now");
    fleet.yes(&["rollback", "--check"], "1", 1);
    let kept = stage.inside("u3", "ls /var/lib/provision/releases/moves@s");
    fleet.yes(&["rollback", "--to", kept.lines().last().unwrap()], "1", 0);
    assert_eq!(fleet.image(), second, "forward again");

    // a bad one goes back by itself, and what runs goes on meanwhile
    let before = fleet.containers();
    let ran = fleet.yes(&["update", "--on-fail", "rollback"], "9.9", 1);
    assert!(ran.stdout.contains("back on the release before"), "{}", ran.stdout);
    assert_eq!((fleet.image(), fleet.containers()), (second.clone(), before));

    // what is changed past the files is found, and gone with the next rollout
    fleet.verb(&["drift"], "1", 0);
    stage.inside("u3", &format!("docker service update -q --env-add MODE=hand {MOVES}"));
    let ran = fleet.verb(&["drift"], "1", 1);
    let wanted = "u3/moves@s stack moves: changed by hand since the deployment: settings\n";
    assert_eq!(ran.stdout, wanted, "{}", ran.stderr);
    fleet.yes(&["up"], "1", 0);
    fleet.verb(&["drift"], "1", 0);
    assert_eq!(fleet.service(".Spec.TaskTemplate.ContainerSpec.Env"), "[]");

    // with a fleet.lock the stack itself names the digest, whatever the tag comes to mean
    fleet.yes(&["update", "--lock"], "1", 0);
    let locked = fleet.image();
    let text = fs::read_to_string(&lock).unwrap();
    assert!(text.contains(locked.split('@').nth(1).unwrap()), "{text}");
    super::move_tag(stage, "1", "LABEL number=third");
    fleet.yes(&["up"], "1", 0);
    assert_eq!((fleet.changed(), fleet.image()), (0, locked.clone()));
    let file = stage.inside("u3", "cat /opt/ATS/VersatileHub/services/moves-s/docker-compose.yml");
    assert!(file.contains(&locked), "{file}");
    let inventory = stage::text(&fleet.inventory);
    let look = ["status", "-i", &inventory, "--host", "u3", "-e", "{versions: {moves: '1'}}", REGISTRY[0], REGISTRY[1]];
    let status = stage.must(&fleet.runs, &look, 0).stdout;
    let row = status.lines().find(|line| line.contains(" moves@s ")).unwrap_or_default();
    assert!(row.contains("same"), "{status}");

    fs::remove_file(&lock).unwrap();
    fleet.yes(&["down"], "1", 0);
    fleet.leave("u3");
    stage::shell("docker rmi pv-moves:1 pv-moves:9.9 >/dev/null", &[]);
}

#[test]
fn under_swarm_a_batch_goes_back_as_a_whole() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "under_swarm_a_batch_goes_back_as_a_whole") else {
        return;
    };
    let fleet = Fleet { stage, runs: stage.runs("swarms"), inventory: stage.scratch.join("swarms") };
    fs::create_dir_all(&fleet.inventory).unwrap();
    let hosts = "u1: {services: [moves@s, proxy@s, web@s]}, u2: {services: [moves@s]}, u3: {services: [moves@s]}";
    let vars = "runtime: swarm, docker_network: swarm_net";
    fs::write(
        fleet.inventory.join("hosts.yml"),
        format!("all: {{children: {{swarms: {{vars: {{{vars}}}, hosts: {{{hosts}}}}}}}}}\n"),
    )
    .unwrap();
    super::move_tag(stage, "1", "LABEL number=first");
    super::move_tag(stage, "2", "LABEL number=second");
    let (alpha, beta) = ("alpha-token-of-before", "beta-token-of-after");
    // a check of the first deployment is made in a swarm, too, and once
    let made = || {
        let events = stage::last_events(&fleet.runs);
        let ends = |event: &&serde_json::Value| stage::is(event, "task_finished") && event["host"] == "u2";
        let first = events.iter().filter(ends).filter(|event| event["task"]["name"] == "nobody was here before");
        first.filter(|event| event["outcome"]["status"] == "ok").count()
    };
    fleet.on(&["--host", "u1,u2", "--yes"], "1", alpha, 0);
    assert_eq!(made(), 1);
    fleet.on(&["up", "--host", "u1,u2", "--services", "moves@s", "--yes"], "1", alpha, 0);
    let changed = |host: &str| stage::counts(&stage::last_events(&fleet.runs), host, "changed");
    assert_eq!((made(), changed("u1"), changed("u2")), (0, 0, 0));
    let before = ["u1", "u2"].map(|host| fleet.state(host));
    assert_eq!(before[0][2], format!("/run/secrets/TOKEN\n{alpha}"));
    assert_eq!(before[0][3].lines().count(), 1, "{:?}", before[0]);

    // both take it well; the one that is not well any more after the soak takes the other back, and nobody else begins. The
    // program is held meanwhile, so that none of this depends on who is faster
    let rules = ["--batch", "2,1", "--soak", "3", "--on-fail", "rollback-batch"];
    let words = [&["update", "--host", "u1,u2,u3", "--services", "moves@s", "--yes"][..], &rules].concat();
    let words = fleet.wide(&words, "2", beta);
    let mut going = stage.start(&fleet.runs, &words.iter().map(String::as_str).collect::<Vec<_>>());
    for host in ["u1", "u2"] {
        assert!(going.reaches(stage::starts(host, "Soak")), "{host} did not take it");
    }
    kill_process(going.pid(), Signal::STOP).unwrap();
    let after = ["u1", "u2"].map(|host| fleet.state(host));
    stage.inside(
        "u2",
        &format!(
            "touch /opt/ATS/VersatileHub/services/moves-s/state/bad-2; n=0; \
             until docker service ps {MOVES} --format '{{{{.CurrentState}}}} {{{{.Image}}}}' | grep '^Failed.*moves:2'; \
             do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.2; done"
        ),
    );
    kill_process(going.pid(), Signal::CONT).unwrap();
    let ran = going.end();
    ran.expect(1);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after[2], format!("/run/secrets/TOKEN\n{beta}"));
        assert_eq!(after[3].lines().count(), 1, "what nobody uses any more is gone: {after:?}");
        assert!((0..4).all(|at| before[at] != after[at]), "{before:?} {after:?}");
    }
    for told in ["not tried, because of what failed before: u3", "well by itself, but taken back with the others"] {
        assert!(ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    assert_eq!(["u1", "u2"].map(|host| fleet.state(host)), before, "{}", ran.stdout);
    assert_eq!(stage.inside("u3", "ls -A /var/lib/provision/services | grep @s || true"), "");
    // nothing of it says otherwise: neither the record, nor the files and secrets, nor the swarm
    let drift = fleet.on(&["drift", "--host", "u1,u2", "--services", "moves@s"], "1", alpha, 0);
    assert!(drift.stderr.contains("everything is as declared"), "{}", drift.stderr);
    let root = "/opt/ATS/VersatileHub/services/moves-s/.secrets";
    stage.inside("u2", &format!("printf hand >{root}/new; mv {root}/new {root}/TOKEN; chmod 444 {root}/TOKEN"));
    let drift = fleet.on(&["drift", "--host", "u2", "--services", "moves@s"], "1", alpha, 1);
    assert_eq!(drift.stdout, format!("u2/moves@s secret TOKEN: another value in {root}/TOKEN\n"));

    // what deletes data wants more than --yes in a swarm, too
    let wipe = |words: &[&str], code: i32| {
        let ran = fleet.on(&[&["action", "moves@s", "wipe", "--host", "u1"], words].concat(), "1", alpha, code);
        let wiped =
            format!("docker exec $(docker ps -q --filter name={MOVES}) sh -c 'ls /tmp/wiped 2>/dev/null || true'");
        (ran, stage.inside("u1", &wiped))
    };
    let (ran, wiped) = wipe(&["--yes"], 2);
    assert!(ran.stderr.contains("--yes is not enough") && wiped.is_empty(), "{}", ran.stderr);
    let (ran, wiped) = wipe(&["--yes-really"], 0);
    assert!(ran.stderr.contains("everything of versatile-moves-s is gone"), "{}", ran.stderr);
    assert_eq!(wiped, "/tmp/wiped");

    // a service without state is replaced without losing a request, as long as its proxy asks often enough
    stage.inside("u1", &until_web("version 1"));
    stage.inside("u1", ASK);
    let ran = fleet.on(&["update", "--host", "u1", "--services", "web@s", "--yes"], "2", alpha, 0);
    stage.inside("u1", &until_web("version 2"));
    let counted = stage.inside("u1", COUNT);
    let (well, lost) = counted.split_once(' ').unwrap();
    let codes = stage.inside("u1", "sort /tmp/codes | uniq -c");
    assert!(well.parse::<u32>().unwrap() > 50 && lost == "0", "{well} requests were answered, {lost} lost: {codes}");
    assert!(ran.stdout.contains("provision.drain of web does nothing in a swarm"), "{}", ran.stdout);

    fleet.on(&["down", "--host", "u1,u2", "--yes"], "1", alpha, 0);
    assert_eq!(stage.inside("u1", "docker secret ls -q"), "");
    ["u1", "u2"].iter().for_each(|host| fleet.leave(host));
    stage::shell("docker rmi pv-moves:1 pv-moves:2 >/dev/null", &[]);
}
