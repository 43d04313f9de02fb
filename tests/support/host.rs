//! A real host for the tests of the host modules, reached by a real lane: this machine, or a container.

use std::path::{Path, PathBuf};
use std::time::Instant;

use provision::lane::{ActError, Connection, Connections, Target};
use provision::modules::{self, Build, Local, LocalKind};
use provision::plan::{Failure, Module, Object, Observed, Plan, Return, Then};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub struct Host {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    pub facts: Object,
    /// Where `src` is looked for.
    pub files: PathBuf,
}

#[derive(Debug)]
pub struct Settled {
    pub returned: Return,
    pub changed: bool,
}

impl Host {
    /// The host behind a target; the local machine's by [`Target::local`].
    pub fn at(target: Target, files: &Path) -> Host {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connection = runtime.block_on(async {
            let connections = Connections::new(1).unwrap();
            connections.open(&target, &CancellationToken::new()).await.unwrap()
        });
        let facts = runtime.block_on(connection.hello(None)).unwrap().facts();
        Host { runtime, connection, facts, files: files.to_owned() }
    }

    pub fn module(&self, name: &str, args: Value, check: bool) -> Result<Box<dyn Module>, Failure> {
        let Value::Object(args) = args else { panic!("arguments are a mapping") };
        let spec = modules::find(name).unwrap_or_else(|| panic!("no module {name}"));
        (spec.build)(args, &Build { local: &Files(self.files.clone()), facts: &self.facts, check })
    }

    /// Probe, plan and act, as the engine does.
    pub fn run(&self, name: &str, args: Value, check: bool) -> Result<Settled, Failure> {
        let module = self.module(name, args, check)?;
        let begin = Instant::now();
        let (mut more, mut changed, mut changes) = (Vec::new(), false, 0);
        let ask = |queries: &[_]| self.runtime.block_on(self.connection.ask(None, queries)).unwrap();
        let mut answers = ask(&module.probe());
        let end = |returned: Return, changed: bool| Settled { changed: returned.changed.unwrap_or(changed), returned };
        for _ in 0..200 {
            let observed = Observed { answers: &answers, more: &more, elapsed: begin.elapsed(), changes };
            match module.plan(&observed)? {
                Plan::Ask(queries) => more.extend(ask(&queries)),
                Plan::NoChange(returned) => return Ok(end(returned, changed)),
                Plan::Wait { after, look, .. } => {
                    std::thread::sleep(after);
                    look.renew(&mut answers, ask(&look.of(module.probe())));
                    more.clear();
                }
                Plan::Change(change) => {
                    changed = true;
                    if check {
                        return Ok(end(change.forecast, changed));
                    }
                    let outputs = match self.runtime.block_on(self.connection.act(None, &change.operations)) {
                        Ok(outputs) => outputs,
                        Err(ActError::Failed { failure, .. }) => return Err(failure),
                        Err(ActError::Trouble(trouble)) => panic!("{}", trouble.msg),
                    };
                    changes += 1;
                    match change.then {
                        Then::Finish => return Ok(end(module.finish(&outputs)?.over(change.forecast), changed)),
                        Then::Replan(look) => look.renew(&mut answers, ask(&look.of(module.probe()))),
                    }
                    more.clear();
                }
            }
        }
        panic!("{name} goes in circles")
    }

    /// Check mode says there will be a change, the run makes it, check mode and a second run find nothing to do.
    pub fn converges(&self, name: &str, args: Value) -> Return {
        let told = |what: &str, failure: Failure| panic!("{name} {args}, {what}: {failure:?}");
        let run = |what: &str, check| self.run(name, args.clone(), check).unwrap_or_else(|failure| told(what, failure));
        assert!(run("check", true).changed, "{name} {args}: check mode foresees no change");
        let first = run("first run", false);
        assert!(first.changed, "{name} {args}: the first run changes nothing");
        let again = run("second check", true);
        assert!(!again.changed, "{name} {args}: check mode still foresees a change: {:?}", again.returned);
        let again = run("second run", false);
        assert!(!again.changed, "{name} {args}: the second run changes something: {:?}", again.returned);
        first.returned
    }

    /// Nothing to do, in check mode and without.
    pub fn rests(&self, name: &str, args: Value) -> Return {
        for check in [true, false] {
            let settled =
                self.run(name, args.clone(), check).unwrap_or_else(|failure| panic!("{name} {args}: {failure:?}"));
            assert!(!settled.changed, "{name} {args}: {:?}", settled.returned);
            if !check {
                return settled.returned;
            }
        }
        Return::default()
    }

    /// The message of a failure.
    pub fn fails(&self, name: &str, args: Value) -> String {
        match self.run(name, args.clone(), false) {
            Err(failure) => failure.msg,
            Ok(settled) => panic!("{name} {args} did not fail: {settled:?}"),
        }
    }
}

/// Files of one folder; templates are rendered with no variables.
struct Files(PathBuf);

impl Local for Files {
    fn find(&self, _: LocalKind, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        if path.exists() { Ok(path) } else { Err(Failure::new(format!("could not find {name}"))) }
    }
    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        std::fs::read(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }
    fn walk(&self, dir: &Path) -> Result<Vec<(PathBuf, u32)>, Failure> {
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| Failure::new(error.to_string()))? {
                let path = entry.map_err(|error| Failure::new(error.to_string()))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.strip_prefix(dir).unwrap().to_owned(), 0o644));
                }
            }
        }
        found.sort();
        Ok(found)
    }
    fn render(&self, text: &str, _: &Path) -> Result<String, Failure> {
        Ok(text.to_owned())
    }
}
