//! Operations → steps, and what a step that failed means. Without any input or output.

use super::frame::{Step, printed_size, printer, token};
use super::trouble::is_disk_full;
use super::{ActError, Trouble};
use crate::event::Cause;
use crate::plan::{Destination, Expect, Failure, Operation, Output, Write, quote};

/// Contents up to this size travel inside the request; larger ones on a channel of their own.
const IN_BAND: usize = 64 << 10;
/// A request is cut before it gets larger than this.
pub const REQUEST: usize = 1 << 20;

/// The operation as a step of a request; None if it needs more than a request.
pub fn step(operation: &Operation) -> Option<Result<Step, Failure>> {
    match operation {
        Operation::Run { script, accept } => {
            let any = (0..=255).all(|code| accept.contains(&code));
            let step = Step::of(script).map(|step| if any { step } else { step.accept(accept) });
            Some(step.map_err(Failure::new))
        }
        Operation::Write(write) if printed_size(&write.content) <= IN_BAND => Some(write_step(write)),
        _ => None,
    }
}

fn write_step(write: &Write) -> Result<Step, Failure> {
    let temporary = temporary_name().map_err(|trouble| Failure::new(trouble.msg))?;
    let call = install_call("_pv_write", &temporary, &write.to, None)?;
    let mut text = zeroize::Zeroizing::new(String::from("_pv_c() { "));
    text.push_str(&printer(&write.content));
    text.push_str("; }\n");
    text.push_str(&call);
    Ok(Step { text, ..Step::new("") }.accept(&[0]))
}

/// The step that puts a temporary file, which is there already, in its place.
pub fn install_step(temporary: &str, to: &Destination, checksum: &str) -> Result<Step, Failure> {
    Ok(Step::new(install_call("_pv_install", temporary, to, Some(checksum))?).accept(&[0]))
}

/// A name that nobody else has, for a file beside the destination.
pub fn temporary_name() -> Result<String, Trouble> {
    Ok(format!(".pv-{}.tmp", token()?))
}

fn install_call(function: &str, temporary: &str, to: &Destination, checksum: Option<&str>) -> Result<String, Failure> {
    if to.path.contains('\0') {
        return Err(Failure::new("a path cannot contain a NUL byte"));
    }
    let mut text = String::new();
    if let Some(validate) = &to.validate {
        let Some(words) = shlex::split(validate).filter(|words| !words.is_empty()) else {
            return Err(Failure::new(format!("`validate: {validate}` cannot be read as a command")));
        };
        if !validate.contains("%s") {
            return Err(Failure::new(format!("`validate: {validate}` must contain %s")));
        }
        let words: Vec<String> = words.iter().map(|word| validated_word(word)).collect();
        text.push_str(&format!("_pv_v() {{ ( {} ); }}\n", words.join(" ")));
    }
    let expect = match &to.expect {
        Expect::Anything => "any",
        Expect::Absent => "absent",
        Expect::Checksum(sum) => sum,
    };
    let mode = to.mode.map_or(String::new(), |mode| format!("{mode:04o}"));
    let backup = if to.backup { backup_suffix() } else { String::new() };
    let args = [
        temporary,
        &to.path,
        &mode,
        to.owner.as_deref().unwrap_or_default(),
        to.group.as_deref().unwrap_or_default(),
        expect,
        &backup,
        checksum.unwrap_or_default(),
    ];
    text.push_str(function);
    for arg in args {
        text.push(' ');
        text.push_str(&quote(arg));
    }
    Ok(text)
}

/// `%s` is the temporary file's path, which only the host knows.
fn validated_word(word: &str) -> String {
    word.split("%s").map(quote_all).collect::<Vec<_>>().join("\"$_pv_t\"")
}

fn quote_all(piece: &str) -> String {
    if piece.is_empty() { String::new() } else { quote(piece) }
}

fn backup_suffix() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!(".{now}.{}~", std::process::id())
}

/// What went wrong when a step's rc was not accepted.
pub fn failed(index: usize, operation: &Operation, output: &Output, done: Vec<Output>) -> ActError {
    let disk_full = is_disk_full(&output.stderr);
    let failure = match operation {
        Operation::Run { script, .. } => Failure::of("non-zero return code", script, output),
        Operation::Write(Write { to, .. }) => not_written(to, output),
        Operation::Upload(upload) => not_written(&upload.to, output),
        Operation::Fetch { path, .. } => Failure::new(format!("could not fetch {path}: {}", last_line(output))),
        Operation::Reconnect => Failure::new("could not reconnect"),
    };
    let failure = match (&failure.hint, disk_full) {
        (None, true) => failure.hint("the host's disk is full: look with `df -h` and `df -i`, then free some space"),
        _ => failure,
    };
    let cause = if disk_full { Cause::DiskFull } else { Cause::Task };
    ActError::Failed { index, failure, cause, done }
}

/// A step that took longer than it may.
pub fn timed_out(index: usize, operation: &Operation, seconds: u64, output: &Output, done: Vec<Output>) -> ActError {
    let failure = match operation {
        Operation::Run { script, .. } => {
            Failure::of(format!("timed out after {seconds} s and was ended"), script, output)
        }
        _ => Failure::new(format!("timed out after {seconds} s")),
    };
    ActError::Failed { index, failure, cause: Cause::Task, done }
}

fn not_written(to: &Destination, output: &Output) -> Failure {
    let path = &to.path;
    let stderr = output.stderr_text();
    let failure = Failure::new(format!("could not write {path}: {}", last_line(output)));
    let failure = match (output.rc, &to.validate) {
        (92, Some(validate)) => {
            failure.with("validate", validate.as_str()).hint("run the validation by hand; the old file is untouched")
        }
        (91, _) => failure.hint("somebody else writes this file too; run again"),
        _ => failure,
    };
    failure.with("rc", output.rc).with("stderr", stderr.trim_end())
}

fn last_line(output: &Output) -> String {
    let stderr = output.stderr_text();
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let last = lines.next().unwrap_or("no reason given").to_owned();
    // the last line is ours, the one before it the system's reason
    match lines.next().map(|line| line.rsplit(": ").next().unwrap_or(line)) {
        Some(reason) if output.rc > 90 => format!("{last} ({reason})"),
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_is_words_and_not_a_shell_line() {
        assert_eq!(validated_word("--file=%s"), "--file=\"$_pv_t\"");
        assert_eq!(validated_word("a;b"), "'a;b'");
        let to = Destination { path: "/x".into(), validate: Some("visudo -cf".into()), ..Destination::default() };
        assert!(install_call("f", "t", &to, None).is_err());
    }

    #[test]
    fn a_full_disk_is_named() {
        let output = Output {
            rc: 94,
            stderr: b"cat: write error: No space left on device\nours\n".to_vec(),
            ..Output::default()
        };
        let operation = Operation::Write(Write { to: Destination::default(), content: Vec::new() });
        let ActError::Failed { cause, failure, .. } = failed(0, &operation, &output, Vec::new()) else {
            panic!("not a failure")
        };
        assert_eq!(cause, Cause::DiskFull);
        assert!(failure.hint.unwrap_or_default().contains("df"));
    }
}
