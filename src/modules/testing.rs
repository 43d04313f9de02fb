//! What the table tests of modules share: building a module without a controller behind it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Build, Local, LocalKind};
use crate::plan::{Answer, Failure, FileKind, FileStat, Module, Observed, Operation, Output, Plan};

/// A controller whose files are under `/tmp` of the test's own making; templates render as they are.
pub struct Plain(pub PathBuf);

impl Local for Plain {
    fn find(&self, _: LocalKind, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        if path.exists() { Ok(path) } else { Err(Failure::new(format!("could not find {name}"))) }
    }
    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        std::fs::read(path).map_err(|error| Failure::new(error.to_string()))
    }
    fn walk(&self, _: &Path) -> Result<Vec<(PathBuf, u32)>, Failure> {
        Ok(Vec::new())
    }
    fn render(&self, text: &str, _: &Path) -> Result<String, Failure> {
        Ok(text.to_owned())
    }
}

/// A module by its name, on a Debian host with systemd.
pub fn build(name: &str, args: Value) -> Result<Box<dyn Module>, Failure> {
    let facts = json!({"os_family": "Debian", "pkg_mgr": "apt", "service_mgr": "systemd", "user_dir": "/root"});
    build_with(name, args, facts, false)
}

/// As [`build`], with other facts, or in check mode.
pub fn build_with(name: &str, args: Value, facts: Value, check: bool) -> Result<Box<dyn Module>, Failure> {
    let (Value::Object(args), Value::Object(facts)) = (args, facts) else { panic!("arguments and facts are mappings") };
    let local = Plain(std::env::temp_dir());
    let spec = super::find(name).unwrap_or_else(|| panic!("no module {name}"));
    (spec.build)(args, &Build { local: &local, facts: &facts, check })
}

/// What a script that ended well said.
pub fn said(text: &str) -> Answer {
    Answer::Output(Output { rc: 0, stdout: text.into(), stderr: Vec::new() })
}

/// The commands of the plan that a module makes of these answers, `["?"]` if it asks on, none if nothing is to be
/// done; an error is its message.
pub fn calls(module: &str, args: Value, answers: &[Answer], more: &[Answer]) -> Result<Vec<String>, String> {
    let module = build(module, args).map_err(|failure| failure.msg)?;
    let observed = Observed { answers, more, elapsed: std::time::Duration::ZERO, changes: 0 };
    match module.plan(&observed).map_err(|failure| failure.msg)? {
        Plan::NoChange(_) => Ok(Vec::new()),
        Plan::Ask(_) => Ok(vec!["?".to_owned()]),
        Plan::Wait { status, .. } => Ok(vec![format!("wait: {status}")]),
        Plan::Change(change) => Ok(change.operations.iter().map(call).collect()),
    }
}

fn call(operation: &Operation) -> String {
    match operation {
        Operation::Run { script, .. } => script.shown(),
        Operation::Write(write) => {
            format!("write {}:\n{}", write.to.path, String::from_utf8_lossy(&write.content))
        }
        other => format!("{other:?}"),
    }
}

/// Something of root's with mode 0644.
pub fn file_stat(kind: FileKind) -> FileStat {
    FileStat {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        owner: "root".into(),
        group: "root".into(),
        size: 1,
        mtime: 1,
        inode: 1,
        device: 1,
        nlink: 1,
        target: None,
        checksum: None,
    }
}
