//! A lab that the tests of one program share, and how they run `provision` on it.
//!
//! The lab is made anew by the first test and goes when the test program ends, however it ends: a shell that waits
//! for that takes it down. A test program names its [`Scene`] once and enters it from each test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use provision::lab::{self, Options, System};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_provision");

/// What a test program needs.
pub struct Scene {
    /// Its containers are named after this; another one for each test program.
    pub prefix: &'static str,
    pub hosts: &'static [&'static str],
    /// Fresh where a test is about what a first rollout makes of a server; else with Docker, which saves its installation.
    pub system: System,
    /// Relative to the repository, under the lab's own inventory.
    pub inventory: &'static str,
    /// Names of images of `tests/images` that the lab's registry serves; none: all that a rollout may pull.
    pub images: &'static [&'static str],
}

pub struct Stage {
    scene: &'static Scene,
    pub options: Options,
    /// Outside of /tmp, so that what the tests keep is not taken for what the program left there.
    pub scratch: PathBuf,
    /// The program's own $XDG_RUNTIME_DIR: its control sockets, and nobody else's.
    pub runtime: PathBuf,
}

/// A run that has ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// A run that goes on.
pub struct Going {
    child: Child,
    output: PathBuf,
    runs: PathBuf,
    /// The journals that were there before.
    known: Vec<String>,
    began: Instant,
}

/// The lab, for one test at a time. None, with the reason printed, where there is no Docker engine.
pub fn enter(scene: &'static Scene, test: &str) -> Option<(MutexGuard<'static, ()>, &'static Stage)> {
    static TURN: Mutex<()> = Mutex::new(());
    static STAGE: OnceLock<Stage> = OnceLock::new();
    let said = Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]).output();
    if !said.is_ok_and(|said| said.status.success() && !said.stdout.trim_ascii().is_empty()) {
        println!("skipped: {test}: no Docker engine answers");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} may not be skipped under CI");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = STAGE.get_or_init(|| Stage::new(scene));
    Some((turn, stage))
}

impl Stage {
    fn new(scene: &'static Scene) -> Stage {
        // two of these at once would take each other's hosts away
        let lock = File::create(std::env::temp_dir().join(format!("{}.lock", scene.prefix))).unwrap();
        lock.lock().unwrap();
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scene.prefix);
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).unwrap();
        // a socket's path must be short
        let runtime = tempfile::Builder::new().prefix("pvt").tempdir_in("/tmp").unwrap().keep();
        let options = Options {
            dir: scratch.join("lab"),
            prefix: scene.prefix.into(),
            names: scene.hosts.iter().map(|name| (*name).to_owned()).collect(),
            system: scene.system,
            images: scene.images.is_empty().then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")),
            ..Options::default()
        };
        let stage = Stage { scene, options, scratch, runtime };
        shell(REMOVE, &[scene.prefix]);
        // standard input is the lock: it is held until the hosts are gone
        let watch =
            "exec 3<&0; { while kill -0 \"$1\" 2>/dev/null; do sleep 0.5; done; rm -rf \"$2\"; eval \"$3\"; } <&3 &";
        Command::new("sh")
            .args(["-c", watch, "sh", &std::process::id().to_string()])
            .args([text(&stage.runtime), REMOVE.replace("$1", scene.prefix)])
            .stdin(lock)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        stage.up();
        if !scene.images.is_empty() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/build.sh");
            shell("exec \"$@\" >&2", &[&[script], scene.images].concat());
            let names: Vec<String> = scene.images.iter().map(|name| (*name).to_owned()).collect();
            let pushed = stage.block_on(lab::push(&stage.options, &names, &mut |step| eprintln!("  {step}")));
            pushed.unwrap_or_else(|e| panic!("{e}"));
        }
        stage
    }

    /// Brings back whatever is not running.
    pub fn up(&self) {
        let began = Instant::now();
        let made = self.block_on(lab::up(&self.options, &mut |step| eprintln!("  {step}")));
        made.unwrap_or_else(|e| panic!("{e}"));
        eprintln!("  the lab stands after {:?}", began.elapsed());
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    /// A folder for journals.
    pub fn runs(&self, name: &str) -> PathBuf {
        self.scratch.join("runs").join(name)
    }

    /// Where the hosts reach each other.
    pub fn address(&self, host: &str) -> String {
        let text = std::fs::read_to_string(self.options.dir.join(format!("host_vars/{host}.yml"))).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("ansible_host: ")).unwrap();
        line.trim_matches('"').to_owned()
    }

    /// A host is gone for good, and there is an empty server of that name.
    pub fn lose(&self, host: &str) {
        shell("docker rm -fv \"$1\" >/dev/null", &[&format!("{}-{host}", self.scene.prefix)]);
        self.up();
    }

    /// The program, with the fleet's flags where they belong: behind the verb if there is one.
    pub fn program(&self, runs: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let verbs = usize::from(args.first().is_some_and(|word| !word.starts_with('-')));
        command.args(&args[..verbs]);
        if args.first() == Some(&"history") {
            command.arg("--runs-dir").arg(runs);
        } else {
            command.args(["-i", self.scene.inventory, "-i"]).arg(&self.options.dir).arg("--runs-dir").arg(runs);
        }
        command.args(&args[verbs..]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("PROVISION_IDENTITY", self.options.dir.join("identity.txt"));
        command.env("XDG_RUNTIME_DIR", &self.runtime).env("NO_COLOR", "1").env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    pub fn start(&self, runs: &Path, args: &[&str]) -> Going {
        self.start_with(runs, args, |_| {})
    }

    pub fn start_with(&self, runs: &Path, args: &[&str], adjust: impl FnOnce(&mut Command)) -> Going {
        let mut command = self.program(runs, args);
        adjust(&mut command);
        let output = self.scratch.join(format!("output-{}", lab_token()));
        command.stdout(File::create(output.with_extension("out")).unwrap());
        command.stderr(File::create(output.with_extension("err")).unwrap());
        let known = provision::report::journal::list(runs);
        eprintln!("  $ provision {}", args.join(" "));
        Going { child: command.spawn().unwrap(), output, runs: runs.to_owned(), known, began: Instant::now() }
    }

    pub fn run(&self, runs: &Path, args: &[&str]) -> Ran {
        self.start(runs, args).end()
    }

    /// A run that must end with this code.
    pub fn must(&self, runs: &Path, args: &[&str], code: i32) -> Ran {
        let ran = self.run(runs, args);
        if ran.code != Some(code) {
            self.show_hosts();
        }
        ran.expect(code);
        ran
    }

    /// What the containers of each host and its proxy say, for whoever reads why a test failed.
    fn show_hosts(&self) {
        let look = "docker ps -a --format '{{.Names}} {{.Status}}'; uptime; \
            docker ps -aq --filter label=com.docker.compose.service=traefik | xargs -r -n1 docker logs --tail 15; true";
        for host in self.scene.hosts {
            let container = format!("{}-{host}", self.scene.prefix);
            let seen =
                Command::new("docker").args(["exec", &container, "sh", "-c", &format!("exec 2>&1; {look}")]).output();
            let seen = seen.map(|seen| String::from_utf8_lossy(&seen.stdout).into_owned()).unwrap_or_default();
            eprintln!("--- {host}\n{seen}");
        }
    }

    /// Hands a value to `secrets set`.
    pub fn set_secret(&self, host: &str, name: &str, value: &str, more: &[&str]) {
        let args = [&["secrets"], more, &["set", name, "--host", host]].concat();
        let mut child = self
            .program(&self.runs("secrets"), &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "secrets set {name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a script as root inside a host, past ssh; its stdout.
    pub fn inside(&self, host: &str, script: &str) -> String {
        let container = format!("{}-{host}", self.scene.prefix);
        shell("docker exec -i \"$1\" sh -c \"$2\" </dev/null", &[&container, script])
    }

    /// Every file that an interrupted write of the program would leave on a host.
    pub fn half_written(&self, host: &str) -> String {
        let script = "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/docker \\) -prune -o \
            \\( -name '.pv-*' -o -name '*.pv-tmp' \\) -print 2>/dev/null; true";
        self.inside(host, script)
    }
}

/// Containers, volumes and network of a lab; not its registry's images.
const REMOVE: &str = "docker ps -aq --filter label=provision.lab=$1 | xargs -r docker rm -fv >/dev/null; \
    docker volume ls -q --filter label=provision.lab=$1 | xargs -r docker volume rm >/dev/null; \
    docker network ls -q --filter label=provision.lab=$1 | xargs -r docker network rm >/dev/null";

impl Going {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// The id of this run, as soon as it has a journal.
    pub fn id(&self) -> Option<String> {
        provision::report::journal::list(&self.runs).into_iter().find(|id| !self.known.contains(id))
    }

    /// The events of this run so far.
    pub fn events(&self) -> Vec<Value> {
        self.id().map(|id| events(&self.runs, &id)).unwrap_or_default()
    }

    /// Waits until the journal has such an event; false if the run ended before.
    pub fn reaches(&mut self, wanted: impl Fn(&Value) -> bool) -> bool {
        loop {
            if self.events().iter().any(&wanted) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return self.events().iter().any(&wanted);
            }
            assert!(self.began.elapsed() < Duration::from_secs(400), "the run hangs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn end(mut self) -> Ran {
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.began.elapsed() > Duration::from_secs(600) {
                eprintln!("    took longer than 10 minutes");
                let _ = self.child.kill();
                break self.child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read =
            |end: &str| String::from_utf8_lossy(&std::fs::read(self.output.with_extension(end)).unwrap()).into_owned();
        let ran = Ran { code: status.code(), stdout: read("out"), stderr: read("err"), took: self.began.elapsed() };
        eprintln!("    ended with {:?} after {:.1} s", ran.code, ran.took.as_secs_f32());
        ran
    }
}

impl Ran {
    pub fn expect(&self, code: i32) {
        let talk = self.stderr.lines().filter(|line| ![" TRACE ", " DEBUG "].iter().any(|level| line.contains(level)));
        let tail: Vec<&str> = talk.rev().take(40).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        assert_eq!(self.code, Some(code), "stderr ends with:\n{tail}\nstdout:\n{}", self.stdout);
    }
}

/// A journal's events, without a last line that was cut.
pub fn events(runs: &Path, id: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(runs.join(id).join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The events of the newest run.
pub fn last_events(runs: &Path) -> Vec<Value> {
    events(runs, provision::report::journal::list(runs).last().unwrap())
}

pub fn is(event: &Value, kind: &str) -> bool {
    event["event"] == kind
}

/// `task_started` of a task on a host.
pub fn starts(host: &str, task: &str) -> impl Fn(&Value) -> bool {
    let (host, task) = (host.to_owned(), task.to_owned());
    move |event| is(event, "task_started") && event["host"] == host && event["task"]["name"] == task
}

/// `host_finished`: what a host's tasks came to.
pub fn counts(events: &[Value], host: &str, what: &str) -> u64 {
    let finished = events.iter().find(|event| is(event, "host_finished") && event["host"] == host);
    finished.unwrap_or_else(|| panic!("{host} did not finish"))["counts"][what].as_u64().unwrap()
}

/// Runs a shell script that must succeed; its stdout.
pub fn shell(script: &str, args: &[&str]) -> String {
    let output = Command::new("sh").args(["-c", script, "sh"]).args(args).output().unwrap();
    assert!(output.status.success(), "{script} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Different each time, also between test programs.
pub fn lab_token() -> String {
    let file = tempfile::Builder::new().prefix("").rand_bytes(12).make(|path| Ok(path.to_owned())).unwrap();
    file.path().file_name().unwrap().to_str().unwrap().to_owned()
}
