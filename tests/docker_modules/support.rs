//! Carries plans out by a local `sh`, with the programs and against the engine of `machine.rs`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use provision::modules::{self, Build, Local, LocalKind};
use provision::plan::{
    Answer, Expect, Failure, FileKind, FileStat, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then,
};
use serde_json::Value;

use crate::machine::Engine;

/// What the environment of every script has besides this process's own.
type Env = [(&'static str, OsString)];

/// A compose project in a scratch folder; taken down at the end.
pub struct Project {
    pub name: String,
    pub folder: tempfile::TempDir,
    pub engine: &'static Engine,
}

impl Project {
    /// `IMAGE` in the text stands for the tiny image.
    pub fn new(engine: &'static Engine, compose: &str) -> Project {
        let project = Project { name: engine.unique("p"), folder: tempfile::tempdir().unwrap(), engine };
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
        let mut command = self.engine.docker();
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
pub fn settle(env: &Env, name: &str, args: Value) -> Result<Settled, Failure> {
    let Value::Object(args) = args else { panic!("arguments are a mapping") };
    let spec = modules::find(name).unwrap_or_else(|| panic!("no module {name}"));
    let facts = Object::new();
    let module = (spec.build)(args, &Build { local: &NoFiles, facts: &facts, check: false })?;
    let begin = Instant::now();
    let (mut more, mut changes, mut round_trips, mut diff) = (Vec::new(), 0, 1, Vec::new());
    let mut answers: Vec<Answer> = module.probe().iter().map(|query| answer(env, query)).collect();
    let done = |returned: Return, changes: usize, round_trips, diff| {
        let changed = returned.changed.unwrap_or(changes > 0);
        Ok(Settled { returned, changed, round_trips, diff })
    };
    loop {
        assert!(changes < 20, "{name} goes in circles");
        let look = match module.plan(&Observed { answers: &answers, more: &more, elapsed: begin.elapsed(), changes })? {
            Plan::Ask(queries) => {
                round_trips += 1;
                more.extend(queries.iter().map(|query| answer(env, query)));
                continue;
            }
            Plan::NoChange(returned) => return done(returned, changes, round_trips, diff),
            Plan::Wait { after, look, .. } => {
                std::thread::sleep(after);
                look
            }
            Plan::Change(change) => {
                diff.extend(change.diff.into_iter().map(|diff| diff.after));
                changes += 1;
                round_trips += 1;
                let outputs =
                    change.operations.iter().map(|operation| act(env, operation)).collect::<Result<Vec<_>, _>>()?;
                match change.then {
                    Then::Finish => return done(module.finish(&outputs)?, changes, round_trips, diff),
                    Then::Replan(look) => look,
                }
            }
        };
        round_trips += 1;
        more.clear();
        look.renew(&mut answers, look.of(module.probe()).iter().map(|query| answer(env, query)).collect());
    }
}

fn answer(env: &Env, query: &Query) -> Answer {
    match query {
        Query::Run(script) => Answer::Output(run(env, script)),
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

fn act(env: &Env, operation: &Operation) -> Result<Output, Failure> {
    match operation {
        Operation::Run { script, accept } => {
            let output = run(env, script);
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
fn run(env: &Env, script: &Script) -> Output {
    let mut command = Command::new("sh");
    command
        .envs(env.iter().cloned())
        .arg("-c")
        .arg(script.render())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
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
