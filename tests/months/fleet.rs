//! The six clients: how they are updated and repaired, and what has to be so after each update.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;

use provision::event::{Event, Kind, Status};
use provision::lab::{Fault, faults};
use provision::report::{Tally, causes, journal};

use super::stage::{self, Going, Stage, shell};

pub const HOSTS: [&str; 6] = ["m1", "m2", "m3", "m4", "m5", "m6"];

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-months",
    hosts: &HOSTS,
    system: provision::lab::System::WithDocker,
    inventory: "tests/months/inventory",
    images: &["redis:8.0"],
};

const REGISTRY: [&str; 2] = ["--registry", "tests/months/registry"];

/// A small full disk in the place of a folder, with what is in it.
const FILL: &str = "set -e; mkdir -p \"$1\"; rm -rf /run/held; cp -a \"$1\" /run/held; \
    mount -t tmpfs -o size=$(($(du -sk \"$1\" | cut -f1) + 64))k,mode=$(stat -c %a \"$1\") lab-full \"$1\"; cp -a /run/held/. \"$1\" 2>/dev/null || true; \
    head -c 100000000 /dev/zero >\"$1/.full\" 2>/dev/null || true";

/// Room again; what was written, or half written, meanwhile stays.
const FREE: &str =
    "set -e; rm -f \"$1/.full\"; rm -rf /run/held; cp -a \"$1\" /run/held; umount -l \"$1\"; cp -a /run/held/. \"$1\"";

/// One line each: containers, state, version, record, file, lines, lines with a wrong number, digest of those known.
const LOOK: &str = r#"
    c=$(docker ps -aq --filter label=com.docker.compose.project=versatile-libro)
    echo $c | wc -w
    docker inspect -f '{{.State.Status}} {{.State.Health.Status}}' $c 2>/dev/null || echo none
    docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' $c 2>/dev/null | sed -n 's/^VERSION=//p'
    sed -n 's/^ *"version": "\([^"]*\)".*/\1/p' /var/lib/provision/services/libro.json
    sed -n 's/^version //p' /opt/ATS/VersatileHub/services/libro/conf/app.conf
    rows=/var/lib/docker/volumes/versatile-libro_data/_data/rows
    wc -l <$rows; head -n KNOWN $rows | awk '$1 != NR' | wc -l
    head -n KNOWN $rows | sha256sum | cut -d' ' -f1"#;

pub struct Fleet {
    pub stage: &'static Stage,
    pub runs: PathBuf,
    /// What each client has to run.
    pub at: Vec<String>,
    /// Days that the operators' clock is ahead of the hosts'.
    pub day: i64,
    /// Lines of each client that are there for good, and their digest.
    known: Vec<(u64, String)>,
    clock: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// An update that came to its end.
pub struct Update {
    pub failed: Vec<String>,
    pub stdout: String,
    tally: Tally,
}

impl Update {
    /// The command in backquotes that begins so.
    pub fn said_command(&self, begin: &str) -> String {
        let commands = self.stdout.split('`').skip(1).step_by(2);
        let found = commands.filter(|command| command.starts_with(begin)).last();
        found.unwrap_or_else(|| panic!("no `{begin}…` in:\n{}", self.stdout)).to_owned()
    }

    /// The command that the summary gives to go on with; one for all that failed.
    pub fn then(&self) -> String {
        let groups = causes::groups(&self.tally);
        let commands: Vec<&String> = groups
            .iter()
            .flat_map(|group| &group.fields)
            .filter(|(name, _)| *name == "then")
            .map(|(_, text)| text)
            .collect();
        let command = commands.first().unwrap_or_else(|| panic!("nothing to go on with:\n{}", self.stdout));
        assert!(commands.iter().all(|other| other == command), "{commands:?}");
        assert!(self.stdout.contains(command.as_str()), "{command} is not in:\n{}", self.stdout);
        (*command).clone()
    }
}

impl Fleet {
    pub fn enter(test: &str) -> Option<Fleet> {
        let library =
            std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
        let Some(clock) = library.into_iter().find(|file| file.is_file()) else {
            println!("skipped: {test}: no libfaketime on this machine (tests/lab/prepare.sh installs it)");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} may not be skipped under CI");
            return None;
        };
        let (turn, stage) = stage::enter(&SCENE, test)?;
        let at = vec!["0".to_owned(); HOSTS.len()];
        let known = vec![(0, String::new()); HOSTS.len()];
        let mut fleet = Fleet { stage, runs: stage.runs("months"), at, day: 0, known, clock, _turn: turn };
        let words = ["--all", "--yes", "-e", &version("0"), REGISTRY[0], REGISTRY[1]];
        stage.must(&fleet.runs, &words, 0);
        fleet.settled();
        Some(fleet)
    }

    fn on_this_day(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        command.env("FAKETIME", format!("{:+}d", self.day));
    }

    pub fn start(&self, who: &str, new: &str, policy: &[&str]) -> Going {
        let version = version(new);
        let words = [&["update", "--all", "--yes", "-e", &version], policy, &REGISTRY].concat();
        self.stage.start_with(&self.runs, &words, |command| {
            command.env("USER", who);
            self.on_this_day(command);
        })
    }

    /// An update, and whether its journal tells what is so.
    pub fn update(&mut self, new: &str, policy: &[&str], code: i32) -> Update {
        let going = self.start("ana", new, policy);
        self.ended(going, new, code)
    }

    pub fn ended(&mut self, going: Going, new: &str, code: i32) -> Update {
        let known = going.id();
        let ran = going.end();
        ran.expect(code);
        let id = known.unwrap_or_else(|| journal::list(&self.runs).pop().unwrap());
        let events = journal::read(&self.runs, &id).unwrap();
        let tally = Tally::of(&events);
        assert_eq!(tally.end.as_ref().map(|end| end.exit_code), Some(code), "{}", ran.stdout);
        assert_eq!(tally.failed_hosts().is_empty(), code == 0, "{}", ran.stdout);
        self.is_true(&events, &tally, new);
        Update { failed: tally.failed_hosts(), stdout: ran.stdout, tally }
    }

    /// What the journal says of each client against what runs there.
    fn is_true(&self, events: &[Event], tally: &Tally, new: &str) {
        let failed = tally.failed_hosts();
        for (index, host) in HOSTS.iter().enumerate() {
            let seen = self.look(index, 0);
            // one that is gone cannot be asked
            let Some(seen) = seen else {
                assert!(failed.iter().any(|name| name == host), "{host} is gone, and the journal does not say so");
                continue;
            };
            let done = events.iter().any(|event| {
                matches!(&event.kind, Kind::ServiceFinished { host: name, status, version, .. }
                    if name == host && *status == Status::Changed && version == new)
            });
            let (old, now) = (self.at[index].as_str(), seen.version.as_str());
            let well = seen.state == "running healthy";
            match (failed.iter().any(|name| name == host), done) {
                (true, _) => assert!([old, new].contains(&now) || now.is_empty(), "{host} failed and runs {seen:?}"),
                (false, true) => assert!(well && now == new, "{host} was updated, the journal says: {seen:?}"),
                (false, false) => assert!(well && now == old, "{host} was not touched, the journal says: {seen:?}"),
            }
        }
    }

    /// A command that the program gave, as an operator types it.
    pub fn repair(&mut self, command: &str) {
        let words = shlex::split(command).unwrap();
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        // with or without the fleet's own flags, which an operator has in the environment or in the folder
        let mut given = if words.contains(&"--runs-dir") {
            let mut plain = self.stage.program(&self.runs, &[]);
            plain = bare(&plain);
            plain.args(&words);
            plain
        } else {
            let more: &[&str] = if words.contains(&"--resume") { &[] } else { &REGISTRY };
            self.stage.program(&self.runs, &[&words[..], more].concat())
        };
        if !words.contains(&"--yes") {
            given.arg("--yes");
        }
        self.on_this_day(&mut given);
        eprintln!("  repair: {command}");
        let ended = given.output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            ended.status.success(),
            "`{command}` did not repair it:\n{}{}",
            said(&ended.stdout),
            said(&ended.stderr)
        );
    }

    pub fn all_at(&mut self, version: &str) {
        self.at.iter_mut().for_each(|at| version.clone_into(at));
    }

    /// While one client has failed: the others have the new version, and it has the old one.
    pub fn only_others_at(&self, new: &str, host: &str) {
        for (index, name) in HOSTS.iter().enumerate() {
            let seen = self.look(index, 0).unwrap();
            let wanted = if *name == host { &self.at[index] } else { new };
            assert!(seen.version == wanted && seen.state == "running healthy", "{name}: {seen:?}, not {wanted}");
        }
    }

    /// All clients run what they have to, nobody holds a lock, nothing is half written, no line is lost.
    pub fn settled(&mut self) {
        let this: &Fleet = self;
        let known = std::thread::scope(|scope| {
            let looks: Vec<_> = (0..HOSTS.len()).map(|index| scope.spawn(move || this.well(index))).collect();
            looks.into_iter().map(|look| look.join().unwrap()).collect()
        });
        self.known = known;
        let status = self.stage.must(&self.runs, &["lock", "status"], 0).stdout;
        assert!(status.lines().skip(1).all(|line| line.contains("free")), "{status}");
    }

    /// One client is as it has to be; how many lines there are now, and their digest.
    fn well(&self, index: usize) -> (u64, String) {
        let (host, wanted) = (HOSTS[index], &self.at[index]);
        let (known, digest) = &self.known[index];
        let seen = self.look(index, *known).unwrap_or_else(|| panic!("{host} does not answer"));
        let is = (seen.containers.as_str(), seen.state.as_str(), &seen.version, &seen.record, &seen.file);
        assert_eq!(is, ("1", "running healthy", wanted, wanted, wanted), "{host}");
        assert!(seen.lines > *known, "{host}: {} lines, there were {known}", seen.lines);
        assert!(*known == 0 || seen.digest == *digest, "{host}: the first {known} lines are not what they were");
        let now = self.look(index, seen.lines).unwrap();
        assert_eq!(now.wrong, 0, "{host}: lines are lost or written twice");
        assert_eq!(self.stage.half_written(host), "", "{host}");
        (seen.lines, now.digest)
    }

    /// What `provision history` says of the newest run.
    pub fn last_is(&self, status: &str) {
        let text = self.stage.must(&self.runs, &["history", "--limit", "1"], 0).stdout;
        assert!(text.lines().nth(1).unwrap_or_default().contains(&format!("  {status}  ")), "not {status}: {text}");
    }

    /// At the end: all runs are there, in the order in which they were, the backups are whole, and one comes back.
    pub fn looks_back(&mut self) {
        let ids = journal::list(&self.runs);
        let table = self.stage.must(&self.runs, &["history", "--limit", "1000"], 0).stdout;
        assert_eq!(table.lines().count(), ids.len() + 1, "{table}");
        for id in &ids {
            assert!(table.contains(id.as_str()), "{id} is not in the history");
        }
        let fleet = ["--all", REGISTRY[0], REGISTRY[1]];
        self.stage.must(&self.runs, &[&["backup", "check"], &fleet[..]].concat(), 0);
        let restore = ["restore", "--host", "m1", "--services", "libro", "--yes-really", REGISTRY[0], REGISTRY[1]];
        self.stage.must(&self.runs, &restore, 0);
        let script = "cd /var/lib/docker/volumes/versatile-libro_data/_data; n=$(wc -l <rows.restored); \
            [ $n -gt 0 ] && head -n $n rows | cmp - rows.restored && echo same";
        assert_eq!(self.stage.inside("m1", script), "same");
    }

    pub fn inject(&self, host: &str, fault: &Fault) {
        self.stage.block_on(faults::inject(&self.stage.options, host, fault)).unwrap();
    }

    /// A host that was killed comes back, with its containers.
    pub fn boot(&self, host: &str) {
        self.stage.block_on(faults::heal(&self.stage.options, host, &Fault::Killed)).unwrap();
        self.stage.up();
        let up = "n=0; until docker info >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.2; done";
        self.stage.inside(host, up);
    }

    pub fn fill(&self, host: &str, folder: &str) {
        self.script(host, FILL, folder);
    }

    pub fn free(&self, host: &str, folder: &str) {
        self.script(host, FREE, folder);
    }

    fn script(&self, host: &str, script: &str, folder: &str) {
        self.stage.inside(host, &format!("set -- '{folder}'; {script}"));
    }

    /// None if the host is not running.
    fn look(&self, index: usize, known: u64) -> Option<Seen> {
        let container = format!("{}-{}", SCENE.prefix, HOSTS[index]);
        if shell("docker inspect -f '{{.State.Running}}' \"$1\"", &[&container]) != "true" {
            return None;
        }
        let text = self.stage.inside(HOSTS[index], &LOOK.replace("KNOWN", &known.to_string()));
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Some(Seen {
            containers: next(),
            state: next(),
            version: next(),
            record: next(),
            file: next(),
            lines: next().trim().parse().unwrap_or_else(|_| panic!("{}: {text}", HOSTS[index])),
            wrong: next().trim().parse().unwrap(),
            digest: next(),
        })
    }
}

#[derive(Debug)]
struct Seen {
    containers: String,
    state: String,
    version: String,
    record: String,
    file: String,
    lines: u64,
    wrong: u64,
    digest: String,
}

fn version(version: &str) -> String {
    serde_json::json!({"versions": {"libro": version}}).to_string()
}

/// The same program, folder and environment, without arguments.
fn bare(command: &Command) -> Command {
    let mut plain = Command::new(command.get_program());
    plain.current_dir(command.get_current_dir().unwrap_or(Path::new("."))).stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => plain.env(name, value),
            None => plain.env_remove(name),
        };
    }
    plain
}

/// SplitMix64: the same story for the same seed, on every machine.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.next() % list.len() as u64).unwrap()]
    }

    pub fn shuffled<T: Clone>(&mut self, list: &[T]) -> Vec<T> {
        let mut list = list.to_vec();
        for at in (1..list.len()).rev() {
            list.swap(at, usize::try_from(self.next() % (at as u64 + 1)).unwrap());
        }
        list
    }
}
