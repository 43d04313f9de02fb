//! The controller's files and templates as a task's module sees them.

use std::path::{Path, PathBuf};

use crate::modules::{Local, LocalKind};
use crate::plan::Failure;
use crate::playbook::{Around, find_file};
use crate::shipped;
use crate::vars::Scope;

pub(super) struct TaskFiles<'t> {
    pub around: &'t Around,
    pub scope: &'t Scope,
}

impl Local for TaskFiles<'_> {
    fn find(&self, kind: LocalKind, name: &str) -> Result<PathBuf, Failure> {
        let subdir = match kind {
            LocalKind::Files => "files",
            LocalKind::Templates => "templates",
        };
        find_file(self.around, subdir, name).map_err(|error| Failure {
            msg: error.text,
            hint: error.hint,
            ..Failure::default()
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        shipped::read(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }

    fn walk(&self, dir: &Path) -> Result<Vec<(PathBuf, u32)>, Failure> {
        if !shipped::exists(dir) {
            return Err(Failure::new(format!("{}: no such folder", dir.display())));
        }
        Ok(shipped::walk(dir).into_iter().map(|path| (path.clone(), mode(&dir.join(path)))).collect())
    }

    fn render(&self, text: &str, path: &Path) -> Result<String, Failure> {
        self.scope.text(text, path).map_err(|fault| {
            let line = fault.line.map_or_else(String::new, |line| format!(":{line}"));
            Failure { msg: format!("{}{line}: {}", path.display(), fault.text), hint: fault.hint, ..Failure::default() }
        })
    }
}

/// Permission bits; files inside the binary have 0644.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).map_or(0o644, |meta| meta.permissions().mode() & 0o7777)
}
