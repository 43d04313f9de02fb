//! Many secrets at once in the operator's editor. The plaintext is in a file of this user alone, in a folder that is
//! in memory and not on a disk, and is removed together with whatever the editor left beside it.
//!
//! The form: `KEY=value`, the value as it is up to the end of the line. A value that has more lines, or spaces or
//! quotes at its ends, is written as a JSON string: `KEY="two\nlines"`.

use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use indexmap::IndexMap;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::plan::Secret;

/// What tmpfs calls itself (linux/magic.h).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Shows the settings in `$VISUAL` or `$EDITOR` and gives back what they became. `about` heads the file.
pub(super) fn edit(about: &str, settings: &IndexMap<String, Secret>) -> Result<IndexMap<String, Secret>> {
    let editor = editor()?;
    let trouble = |error: std::io::Error| Error::new(format!("cannot put the settings before the editor: {error}"));
    // Ctrl-C and a closed terminal are the editor's to handle: this program must stay to remove the file
    let _signals = keep_going()?;
    let folder = tempfile::Builder::new()
        .prefix("provision-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(memory_folder()?)
        .map_err(trouble)?;
    let path = folder.path().join("settings.env");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(trouble)?;
    file.write_all(written(about, settings).as_bytes()).map_err(trouble)?;
    drop(file);
    let edited = loop {
        run(&editor, &path)?;
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| {
            Error::new(format!("cannot read what the editor left: {error}")).hint("nothing was changed")
        })?);
        match parse(&text) {
            Ok(edited) => break edited,
            Err(error) if std::io::stdin().is_terminal() => {
                eprintln!("{error}");
                if !super::common::confirm("¿Volver al editor?")? {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    };
    folder.close().map_err(|error| Error::new(format!("cannot remove the edited file: {error}")))?;
    Ok(edited)
}

fn editor() -> Result<String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|editor| !editor.trim().is_empty()).ok_or_else(|| {
        Error::new("no editor is named").hint("set EDITOR, e.g. EDITOR=nano; or use `provision secrets set`")
    })
}

/// A folder that no disk ever sees.
fn memory_folder() -> Result<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let in_memory = |path: &PathBuf| rustix::fs::statfs(path).is_ok_and(|about| about.f_type == TMPFS);
    own.into_iter().chain([PathBuf::from("/dev/shm")]).find(in_memory).ok_or_else(|| {
        Error::new("there is no folder in memory to edit secrets in: neither $XDG_RUNTIME_DIR nor /dev/shm is a tmpfs")
            .hint("use `provision secrets set`, which needs no file")
    })
}

/// While this lives, signals of the terminal do not end the program.
fn keep_going() -> Result<tokio::runtime::Runtime> {
    use tokio::signal::unix::{SignalKind, signal};
    let trouble = |error: std::io::Error| Error::new(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(trouble)?;
    let guard = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup(), SignalKind::terminate()] {
        drop(signal(kind).map_err(trouble)?);
    }
    drop(guard);
    Ok(runtime)
}

fn run(editor: &str, path: &Path) -> Result<()> {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status()
        .map_err(|error| Error::new(format!("cannot start the editor: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(format!("the editor `{editor}` ended with {status}")).hint("nothing was changed")),
    }
}

fn written(about: &str, settings: &IndexMap<String, Secret>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!(
        "# {about}\n# KEY=value, as it is up to the end of the line; KEY=\"two\\nlines\" as in JSON. A line taken away forgets its key.\n"
    ));
    for (key, value) in settings {
        let value = value.reveal();
        let plain = value.trim() == value && !value.starts_with('"') && !value.chars().any(char::is_control);
        let _ = match plain {
            true => writeln!(*text, "{key}={value}"),
            false => writeln!(*text, "{key}={}", serde_json::Value::from(value)),
        };
    }
    text
}

/// Messages name lines and keys, never a value.
fn parse(text: &str) -> Result<IndexMap<String, Secret>> {
    let mut settings = IndexMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| {
            Error::new(format!("line {} of the edited file: {what}", index + 1)).hint("nothing was changed")
        };
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("this is not KEY=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let value =
            match value.starts_with('"') {
                false => Secret::new(value),
                true => Secret::new(serde_json::from_str::<String>(value).map_err(|_| {
                    wrong(&format!("the value of `{key}` begins with a quote, but is not a JSON string"))
                })?),
            };
        if settings.insert(key.to_owned(), value).is_some() {
            return Err(wrong(&format!("`{key}` stands in it twice")));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_file() {
        let values = ["plain", "", " a ", "two\nlines", "\"quoted\"", "a=b#c $x", "tab\there", "ñ 🦀", "back\\slash"];
        let settings: IndexMap<String, Secret> =
            values.iter().enumerate().map(|(index, value)| (format!("K{index}"), Secret::new(*value))).collect();
        assert!(parse(&written("x", &settings)).unwrap() == settings);
    }

    #[test]
    fn mistakes_name_the_line_and_no_value() {
        for (text, expected) in [
            ("# c\nhunter2\n", "line 2 of the edited file: this is not KEY=value"),
            ("A=1\nA=2\n", "line 2 of the edited file: `A` stands in it twice"),
            (
                "A=\"hunter2\n",
                "line 1 of the edited file: the value of `A` begins with a quote, but is not a JSON string",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().text, expected);
        }
    }
}
