//! Docker Swarm: releases and their digests, updates that start the new task first, and changes by hand.

use std::fs;
use std::path::PathBuf;

use super::{REGISTRY, SCENE, stage};
use stage::Stage;

/// A stack of one service, on the third host.
struct Fleet {
    stage: &'static Stage,
    runs: PathBuf,
    inventory: PathBuf,
}

/// The name that the swarm knows the service by.
const MOVES: &str = "versatile-moves-s_moves";

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

    fn service(&self, field: &str) -> String {
        self.stage.inside("u3", &format!("docker service inspect --format '{{{{{field}}}}}' {MOVES}"))
    }

    fn image(&self) -> String {
        self.service(".Spec.TaskTemplate.ContainerSpec.Image")
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
    stage.inside(
        "u3",
        "docker swarm leave --force; rm -r /var/lib/provision/services/moves@s.* /var/lib/provision/releases/moves@s",
    );
    stage::shell("docker rmi pv-moves:1 pv-moves:9.9 >/dev/null", &[]);
}
