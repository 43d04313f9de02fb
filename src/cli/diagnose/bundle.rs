//! The folder that goes to whoever is to help: each task of `playbooks/bundle.yml` is named after the file that its
//! output becomes. Events are redacted where they are born, so no known secret gets here.

use std::path::Path;

use super::super::look::{Effects, LookFlags, Looked, trouble};
use crate::error::Result;
use crate::event::Kind;
use crate::plan::Object;

pub(super) async fn collect(looked: Looked, flags: &LookFlags, folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    looked
        .play(flags, "playbooks/bundle.yml", Object::new(), Effects::None, |event, _| {
            let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
            if task.action == "shell" && !task.name.split('/').any(|part| part == "..") {
                files.push((folder.join(&host).join(&task.name), outcome.text("stdout").to_owned()));
            } else if let Some(trouble) = trouble(&outcome) {
                files.push((folder.join(&host).join("trouble.txt"), trouble));
            }
        })
        .await?;
    files.iter().try_for_each(|(path, text)| super::write(path, &format!("{text}\n")))
}
