//! A real engine for the tests of the Docker modules: finds it, makes a tiny image, carries plans out by a local `sh`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use provision::modules::{self, Build, Local, LocalKind};
use provision::plan::{
    Answer, Expect, Failure, FileKind, FileStat, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then,
};
use serde_json::Value;

pub struct Engine {
    image: String,
}

/// The engine of this machine; None, with the reason printed, if the tests cannot run here.
pub fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    match ENGINE.get_or_init(find) {
        Ok(engine) => Some(engine),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
            println!("skipped: {why}");
            None
        }
    }
}

fn find() -> Result<Engine, String> {
    let said = |command: &str| {
        let output = Command::new("sh").arg("-c").arg(command).output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(format!("`{command}`: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    };
    said("docker info --format '{{.ServerVersion}}'")?;
    said("docker compose version --short")?;
    let busybox = said("command -v busybox")?;
    let image = "provision-test/busybox:1".to_owned();
    if said(&format!("docker image inspect {image}")).is_err() {
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = root.path().display();
        said(&format!(
            "mkdir -p {at}/bin {at}/tmp {at}/etc && cp {busybox} {at}/bin/busybox && chmod 1777 {at}/tmp && \
             for a in sh sleep cat test env touch true false echo base64 printf; do ln -s busybox {at}/bin/$a; done && \
             echo root:x:0:0::/tmp:/bin/sh >{at}/etc/passwd && \
             tar -C {at} -c . | docker import -c 'ENV PATH=/bin' -c 'CMD [\"sleep\", \"100000\"]' - {image}"
        ))?;
    }
    Ok(Engine { image })
}

impl Engine {
    pub fn image(&self) -> &str {
        &self.image
    }

    pub fn unique(&self, what: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        format!("pvtest-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A compose project in a scratch folder; taken down at the end.
pub struct Project {
    pub name: String,
    pub folder: tempfile::TempDir,
}

impl Project {
    /// `IMAGE` in the text stands for the tiny image.
    pub fn new(engine: &Engine, compose: &str) -> Project {
        let project = Project { name: engine.unique("p"), folder: tempfile::tempdir().unwrap() };
        project.write("compose.yaml", &compose.replace("IMAGE", engine.image()));
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn task(&self) -> Value {
        self.with(Value::Object(Object::new()))
    }

    pub fn with(&self, more: Value) -> Value {
        let mut task = serde_json::json!({"project_src": self.path(), "project_name": self.name});
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        task
    }

    pub fn compose(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.name]).args(args).current_dir(self.path());
        let output = command.output().unwrap();
        Output { rc: output.status.code().unwrap_or(255), stdout: output.stdout, stderr: output.stderr }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.compose(&["down", "-t", "0", "--volumes", "--remove-orphans"]);
    }
}

#[derive(Debug)]
pub struct Settled {
    pub returned: Return,
    pub changed: bool,
    pub round_trips: usize,
    /// What `--diff` shows as new.
    pub diff: Vec<String>,
}

struct NoFiles;

impl Local for NoFiles {
    fn find(&self, _: LocalKind, name: &str) -> Result<PathBuf, Failure> {
        Err(Failure::new(format!("no local file {name}")))
    }
    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        Err(Failure::new(format!("no local file {}", path.display())))
    }
    fn walk(&self, path: &Path) -> Result<Vec<(PathBuf, u32)>, Failure> {
        Err(Failure::new(format!("no local file {}", path.display())))
    }
    fn render(&self, text: &str, _: &Path) -> Result<String, Failure> {
        Ok(text.to_owned())
    }
}

/// Probe, plan and act until the module says that all is as wanted.
pub fn settle(name: &str, args: Value) -> Result<Settled, Failure> {
    let Value::Object(args) = args else { panic!("arguments are a mapping") };
    let spec = modules::find(name).unwrap_or_else(|| panic!("no module {name}"));
    let facts = Object::new();
    let module = (spec.build)(args, &Build { local: &NoFiles, facts: &facts, check: false })?;
    let begin = Instant::now();
    let (mut more, mut changes, mut round_trips, mut diff) = (Vec::new(), 0, 1, Vec::new());
    let mut answers: Vec<Answer> = module.probe().iter().map(answer).collect();
    let done = |returned: Return, changes: usize, round_trips, diff| {
        let changed = returned.changed.unwrap_or(changes > 0);
        Ok(Settled { returned, changed, round_trips, diff })
    };
    loop {
        assert!(changes < 20, "{name} goes in circles");
        match module.plan(&Observed { answers: &answers, more: &more, elapsed: begin.elapsed(), changes })? {
            Plan::Ask(queries) => {
                round_trips += 1;
                more.extend(queries.iter().map(answer));
                continue;
            }
            Plan::NoChange(returned) => return done(returned, changes, round_trips, diff),
            Plan::Wait { after, .. } => std::thread::sleep(after),
            Plan::Change(change) => {
                diff.extend(change.diff.into_iter().map(|diff| diff.after));
                changes += 1;
                round_trips += 1;
                let outputs = change.operations.iter().map(act).collect::<Result<Vec<_>, _>>()?;
                if change.then == Then::Finish {
                    return done(module.finish(&outputs)?, changes, round_trips, diff);
                }
            }
        }
        round_trips += 1;
        more.clear();
        answers = module.probe().iter().map(answer).collect();
    }
}

fn answer(query: &Query) -> Answer {
    match query {
        Query::Run(script) => Answer::Output(run(script)),
        Query::Read { path, .. } => Answer::Bytes(std::fs::read(path).ok()),
        Query::Stat { path, .. } => Answer::Stat(stat(path)),
    }
}

fn stat(path: &str) -> Option<FileStat> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(path).ok()?;
    let kind = match () {
        () if meta.is_dir() => FileKind::Directory,
        () if meta.is_symlink() => FileKind::Link,
        () if meta.is_file() => FileKind::File,
        () => FileKind::Other,
    };
    Some(FileStat {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        owner: meta.uid().to_string(),
        group: meta.gid().to_string(),
        size: meta.len(),
        mtime: meta.mtime(),
        inode: meta.ino(),
        device: meta.dev(),
        nlink: meta.nlink(),
        target: None,
        checksum: std::fs::read(path).ok().map(|bytes| modules::sha256(&bytes)),
    })
}

fn act(operation: &Operation) -> Result<Output, Failure> {
    match operation {
        Operation::Run { script, accept } => {
            let output = run(script);
            match accept.contains(&output.rc) {
                true => Ok(output),
                false => Err(Failure::of("failed", script, &output)),
            }
        }
        Operation::Write(write) => {
            use std::os::unix::fs::PermissionsExt;
            assert!(!(write.to.expect == Expect::Absent && Path::new(&write.to.path).exists()));
            std::fs::write(&write.to.path, &write.content).unwrap();
            if let Some(mode) = write.to.mode {
                std::fs::set_permissions(&write.to.path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            Ok(Output::default())
        }
        other => panic!("not for these tests: {other:?}"),
    }
}

/// As a lane does it, but with the script in an argument: these tests are not about secrets of the wire.
pub fn run(script: &Script) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script.render()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(cwd) = &script.cwd {
        if !Path::new(cwd).is_dir() {
            return Output { rc: 2, ..Output::default() };
        }
        command.current_dir(cwd);
    }
    for (name, value) in &script.env {
        // unquoted again: this environment is set without a shell
        let value = match value {
            provision::plan::Part::Quoted(text) => text.clone(),
            provision::plan::Part::Secret(secret) => secret.reveal().to_owned(),
            other => other.render(),
        };
        command.env(name, value);
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = script.stdin.clone().unwrap_or_default();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let limit = script.timeout.unwrap_or(Duration::from_secs(300));
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < limit, "took longer than it may: {}", script.shown());
    let _ = feeder.join();
    Output { rc: output.status.code().unwrap_or(255), stdout: output.stdout, stderr: output.stderr }
}
