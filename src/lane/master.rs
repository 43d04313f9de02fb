//! ssh masters: one `ssh -M` per host, started by us with all of its options, found again by its control socket.
//!
//! The sockets live in a private directory with a short name (a socket's path has to fit into 104 bytes, and ssh
//! appends 17 to it). Nothing has to be cleaned by hand: a master without sessions ends by itself after
//! [`PERSIST`] seconds, and directories of programs that were killed are swept by the next one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openssh::Session;
use rustix::fs::FlockOperation;
use rustix::process::Resource;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::frame::token;
use super::trouble::of_ssh_log;
use super::{Target, Trouble};
use crate::event::Cause;

/// Seconds after which a master that nobody uses ends by itself.
const PERSIST: u32 = 20;
/// How often a host that turns us away unheard is tried.
const TRIES: u32 = 5;
/// Answers the questions of ssh that are about a password; `ssh-askpass`'s arguments, a file beside it.
const ASKPASS: &str = "#!/bin/sh\ncase $1 in *assword*) exec cat -- \"${0%.ask}.pw\" ;; esac\nexit 1\n";

/// The private directory of this program's run, and the limit on connecting at once.
pub struct Base {
    dir: PathBuf,
    _lock: File,
    next: AtomicU64,
    connects: Semaphore,
}

impl Base {
    pub fn new(connects_at_once: usize) -> Result<Arc<Self>, Trouble> {
        let roots = [std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("pv")), Some(fallback())];
        let mut last = String::new();
        for root in roots.into_iter().flatten() {
            match prepare(&root) {
                Ok((dir, lock)) => {
                    allow_many_files();
                    let connects = Semaphore::new(connects_at_once.max(1));
                    return Ok(Arc::new(Base { dir, _lock: lock, next: AtomicU64::new(1), connects }));
                }
                Err(why) => last = why,
            }
        }
        Err(Trouble::new(Cause::Local, format!("no private directory for control sockets: {last}"))
            .hint("set XDG_RUNTIME_DIR or TMPDIR to a short path that is yours"))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // the masters are gone or end by themselves; a failure here is swept by the next run
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn fallback() -> PathBuf {
    std::env::temp_dir().join(format!("pv-{}", rustix::process::getuid().as_raw()))
}

/// Makes the root if need be, sweeps it, and makes this run's directory in it.
fn prepare(root: &Path) -> Result<(PathBuf, File), String> {
    let tell = |error: std::io::Error| format!("{}: {error}", root.display());
    match DirBuilder::new().mode(0o700).create(root) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(tell(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(root).map_err(tell)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(format!("{} is not a private directory of ours", root.display()));
    }
    sweep(root);
    let name = token().map_err(|trouble| trouble.msg)?;
    let dir = root.join(&name[..8]);
    if dir.as_os_str().len() + "/999999".len() + 17 >= 104 {
        return Err(format!("{} is too long for a socket", dir.display()));
    }
    DirBuilder::new().mode(0o700).create(&dir).map_err(tell)?;
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("lock")).map_err(tell)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| tell(error.into()))?;
    Ok((dir, lock))
}

/// Removes directories whose program no longer runs.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Every host costs a few descriptors; the soft limit is often 1024.
fn allow_many_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// A running ssh master.
pub struct Master {
    pub session: Arc<Session>,
    socket: PathBuf,
    log: PathBuf,
    // the directory lives as long as a socket in it is used
    _base: Arc<Base>,
}

impl Master {
    /// Connects; tries again, later each time, while the host turns us away unheard.
    pub async fn open(base: &Arc<Base>, target: &Target, cancel: &CancellationToken) -> Result<Self, Trouble> {
        let mut tries = 0;
        loop {
            let result = tokio::select! {
                result = Self::once(base, target) => result,
                () = cancel.cancelled() => {
                    Err(Trouble::new(Cause::Interrupted, format!("interrupted while connecting to {}", target.shown())))
                }
            };
            tries += 1;
            match result {
                Err(trouble) if trouble.cause == Cause::Throttled && tries < TRIES => {
                    let pause = Duration::from_millis(150 << tries).mul_f64(0.5 + jitter());
                    tracing::debug!(host = target.name, tries, ?pause, "turned away, trying again");
                    tokio::select! { () = tokio::time::sleep(pause) => {} () = cancel.cancelled() => {} }
                }
                other => return other,
            }
        }
    }

    async fn once(base: &Arc<Base>, target: &Target) -> Result<Self, Trouble> {
        let local = |what: &str, error: &dyn std::fmt::Display| {
            Trouble::new(Cause::Local, format!("{what} for {}: {error}", target.name))
        };
        let _turn = base.connects.acquire().await.map_err(|error| local("no turn to connect", &error))?;
        let number = base.next.fetch_add(1, Ordering::Relaxed);
        let socket = base.dir.join(number.to_string());
        let log = base.dir.join(format!("{number}.log"));
        let askpass = Askpass::new(&socket, target).map_err(|error| local("no file for the password", &error))?;
        let mut command = Command::new("ssh");
        command.args(arguments(target, &socket, &log));
        if let Some(askpass) = &askpass {
            command.env("SSH_ASKPASS", &askpass.program).env("SSH_ASKPASS_REQUIRE", "force");
        }
        // what ssh says before it has read its arguments goes to the same file
        let stderr = OpenOptions::new().append(true).create(true).mode(0o600).open(&log);
        let stderr = stderr.map_err(|error| local("no log file", &error))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            local("could not start `ssh`", &error).hint("install OpenSSH's client (openssh-client)")
        })?;
        // the connect timeout covers TCP and the greeting; key exchange and login get as much again and more
        let patience = target.connect_timeout.saturating_mul(2).saturating_add(Duration::from_secs(20));
        // the ssh in front ends when the login stands or failed
        let ended = tokio::time::timeout(patience, child.wait()).await;
        drop(askpass);
        match ended {
            Ok(Ok(status)) if status.success() => {
                let session = Session::resume_mux(socket.clone().into(), Some(log.clone().into()));
                Ok(Master { session: Arc::new(session), socket, log, _base: Arc::clone(base) })
            }
            Ok(Ok(_)) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let trouble = of_ssh_log(target, &said);
                tracing::debug!(host = target.name, said, "ssh did not connect");
                let _ = fs::remove_file(&log);
                Err(trouble)
            }
            Ok(Err(error)) => Err(local("could not wait for `ssh`", &error)),
            Err(_) => Err(of_ssh_log(target, "Connection timed out")),
        }
    }

    /// Whether the master still holds its connection.
    pub async fn is_alive(&self) -> bool {
        let check = tokio::time::timeout(Duration::from_secs(2), self.session.check()).await;
        matches!(check, Ok(Ok(())))
    }

    /// Ends the master and with it everything that goes over it.
    pub async fn stop(&self) {
        let mut command = Command::new("ssh");
        command.arg("-F/dev/null").arg("-S").arg(&self.socket).args(["-O", "exit", "pv"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        if let Ok(mut child) = command.spawn() {
            let _ = tokio::time::timeout(Duration::from_secs(3), child.wait()).await;
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// 0.0–1.0, so that hosts that were turned away together do not come back together.
fn jitter() -> f64 {
    let mut byte = [0u8; 1];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

fn arguments(target: &Target, socket: &Path, log: &Path) -> Vec<std::ffi::OsString> {
    let mut args: Vec<std::ffi::OsString> = ["-M", "-N", "-f", "-x", "-E"].map(Into::into).to_vec();
    args.push(log.into());
    args.push("-S".into());
    args.push(socket.into());
    if let Some(file) = &target.config_file {
        args.push("-F".into());
        args.push(file.into());
    }
    args.extend(target.ssh_args.iter().map(Into::into));
    for option in std::iter::once(format!("ControlPersist={PERSIST}")).chain(options(target)) {
        args.push("-o".into());
        args.push(option.into());
    }
    args.push("--".into());
    args.push(target.address.clone().into());
    args
}

/// What every call of ssh for this target is told.
pub(super) fn options(target: &Target) -> Vec<String> {
    let mut options = Vec::new();
    let mut option = |text: String| options.push(text);
    option(format!("ConnectTimeout={}", target.connect_timeout.as_secs().max(1)));
    option("ServerAliveInterval=10".to_owned());
    option("ServerAliveCountMax=3".to_owned());
    option("LogLevel=INFO".to_owned());
    // forwards of the user's configuration would be opened a second time
    option("ClearAllForwardings=yes".to_owned());
    option("PermitLocalCommand=no".to_owned());
    option(format!("StrictHostKeyChecking={}", if target.host_key_checking { "yes" } else { "no" }));
    if let Some(file) = &target.known_hosts {
        option(format!("UserKnownHostsFile={}", ssh_path(file)));
    }
    if target.password.is_some() {
        option("NumberOfPasswordPrompts=1".to_owned());
        option("PreferredAuthentications=publickey,password,keyboard-interactive".to_owned());
    } else {
        option("BatchMode=yes".to_owned());
    }
    if let Some(file) = &target.key_file {
        option(format!("IdentityFile={}", ssh_path(file)));
        option("IdentitiesOnly=yes".to_owned());
    }
    if let Some(port) = target.port {
        option(format!("Port={port}"));
    }
    if let Some(user) = &target.user {
        option(format!("User={user}"));
    }
    options
}

/// A path as ssh's option values want it: `%` is special to them, and blanks separate.
fn ssh_path(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%").replace('"', "\\\""))
}

/// The password for ssh, in a private file for as long as the login takes; never in an argument or a variable.
struct Askpass {
    program: PathBuf,
    secret: PathBuf,
}

impl Askpass {
    fn new(socket: &Path, target: &Target) -> std::io::Result<Option<Self>> {
        let Some(password) = &target.password else { return Ok(None) };
        let askpass = Askpass { program: socket.with_extension("ask"), secret: socket.with_extension("pw") };
        write_new(&askpass.secret, 0o600, &[password.reveal().as_bytes(), b"\n"])?;
        write_new(&askpass.program, 0o700, &[ASKPASS.as_bytes()])?;
        Ok(Some(askpass))
    }
}

impl Drop for Askpass {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.secret);
        let _ = fs::remove_file(&self.program);
    }
}

fn write_new(path: &Path, mode: u32, pieces: &[&[u8]]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_run_is_swept_and_a_running_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pv");
        let (alive, _lock) = prepare(&root).unwrap();
        let (dead, gone) = prepare(&root).unwrap();
        drop(gone);
        let (_third, _lock) = prepare(&root).unwrap();
        assert!(alive.exists() && !dead.exists());
    }

    #[test]
    fn the_operators_arguments_stand_in_front() {
        let target = Target {
            address: "h".into(),
            ssh_args: vec!["-o".into(), "StrictHostKeyChecking=accept-new".into()],
            ..Target::default()
        };
        let args = arguments(&target, Path::new("/s"), Path::new("/l"));
        let theirs = args.iter().position(|arg| arg == "StrictHostKeyChecking=accept-new");
        let ours = args.iter().position(|arg| arg == "StrictHostKeyChecking=yes");
        assert!(theirs < ours && theirs.is_some());
        assert!(args.iter().any(|arg| arg == "BatchMode=yes"));
    }
}
