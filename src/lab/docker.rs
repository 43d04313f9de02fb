//! The Docker command line of this machine, and what to do when it does not answer.
//!
//! The command line and not the API: it finds the engine as the operator's own `docker` does (contexts, groups).

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::Progress;
use crate::error::{Error, Result};

/// What the lab must know of the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub cgroup: Cgroup,
    /// Bytes.
    pub memory: u64,
}

/// What the machine has mounted at `/sys/fs/cgroup`, as the engine found it; hosts are started accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// Also the hybrid of both: the engine and systemd then use version 1.
    V1,
    V2,
}

/// Asks the engine what it is. An engine whose containers cannot be reached by address is refused here.
pub async fn engine() -> Result<Engine> {
    if !cfg!(target_os = "linux") {
        return Err(Error::new("the lab needs Linux: elsewhere Docker runs in a virtual machine, and its containers have no address that ssh can reach")
            .hint("run `provision lab` inside a Linux machine, or try a rollout on a real throw-away server"));
    }
    let endpoint = docker(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).await.unwrap_or_default();
    let endpoint = endpoint.trim();
    if !endpoint.is_empty() && !endpoint.starts_with("unix://") {
        return Err(Error::new(format!("the lab needs this machine's own Docker, not the one at {endpoint}"))
            .hint("unset DOCKER_HOST, or `docker context use default`"));
    }
    const ASK: &str = "{{.CgroupVersion}}\t{{.MemTotal}}\t{{.OperatingSystem}}\t{{.SecurityOptions}}";
    let said = docker(&["info", "--format", ASK]).await?;
    read_engine(&said)
}

fn read_engine(said: &str) -> Result<Engine> {
    // older command lines print the server's absence on stdout and end with 0
    let mut words = said.trim().split('\t');
    let (cgroup, memory) = (words.next().unwrap_or(""), words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
    let (system, security) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if memory == 0 {
        return Err(no_engine(said));
    }
    if system.contains("Docker Desktop") {
        return Err(Error::new("the lab cannot use Docker Desktop: its containers have no address that ssh can reach")
            .hint("switch to the engine of the system: `docker context use default`, package docker.io"));
    }
    if security.contains("rootless") {
        return Err(Error::new(
            "the lab cannot use a rootless Docker: its containers have no address that ssh can reach",
        )
        .hint("use the system's engine: `docker context use default`, or run with sudo"));
    }
    Ok(Engine { cgroup: if cgroup == "2" { Cgroup::V2 } else { Cgroup::V1 }, memory })
}

/// Runs `docker` with these arguments; its stdout.
pub async fn docker<S: AsRef<str>>(args: &[S]) -> Result<String> {
    feed(args, b"").await
}

/// Runs `docker` with these arguments and this stdin; its stdout.
pub async fn feed<S: AsRef<str>>(args: &[S], stdin: &[u8]) -> Result<String> {
    let mut child = spawn(args)?;
    let mut pipe = child.stdin.take();
    let stdin = stdin.to_vec();
    let writing = tokio::spawn(async move {
        if let Some(pipe) = pipe.as_mut() {
            // a command that does not read all of it says why on stderr
            let _ = pipe.write_all(&stdin).await;
        }
    });
    let output = child.wait_with_output().await.map_err(|e| Error::new(format!("docker: {e}")))?;
    writing.abort();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(stdout),
        false => Err(explain(args, &String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs a long script in a container and tells its lines that start with `step: `. The error brings the last lines.
pub async fn script(args: &[&str], script: &str, progress: Progress<'_>) -> Result<()> {
    let mut child = spawn(args)?;
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(script.as_bytes()).await;
    }
    let mut stderr = child.stderr.take();
    let errors = tokio::spawn(async move {
        let mut text = Vec::new();
        if let Some(stderr) = stderr.as_mut() {
            let _ = stderr.read_to_end(&mut text).await;
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut last: Vec<String> = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match line.strip_prefix("step: ") {
                Some(step) => progress(step),
                None => last.push(line),
            }
            if last.len() > 12 {
                last.remove(0);
            }
        }
    }
    let status = child.wait().await.map_err(|e| Error::new(format!("docker: {e}")))?;
    if status.success() {
        return Ok(());
    }
    last.extend(errors.await.unwrap_or_default().lines().map(str::to_owned));
    let tail = last[last.len().saturating_sub(15)..].join("\n");
    Err(explain(args, &tail))
}

fn spawn<S: AsRef<str>>(args: &[S]) -> Result<tokio::process::Child> {
    Command::new("docker")
        .args(args.iter().map(AsRef::as_ref))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::new("there is no `docker` command on this machine")
                .hint("install it: `tests/lab/prepare.sh`, or `sudo apt-get install docker.io`"),
            _ => Error::new(format!("docker: {e}")),
        })
}

fn explain<S: AsRef<str>>(args: &[S], stderr: &str) -> Error {
    let said = stderr.trim();
    if said.contains("permission denied while trying to connect") {
        return Error::new("this user may not talk to Docker").hint(
            "add yourself to the group and log in again: `sudo usermod -aG docker $USER`; or run this with sudo",
        );
    }
    if said.contains("Cannot connect to the Docker daemon") || said.contains("error during connect") {
        return no_engine(said);
    }
    let verb = args.iter().map(AsRef::as_ref).take(2).collect::<Vec<_>>().join(" ");
    let error = Error::new(format!("docker {verb}: {said}"));
    match said.contains("no space left on device") {
        true => error.hint("make room on the disk that holds /var/lib/docker: `docker system df`"),
        false => error,
    }
}

fn no_engine(said: &str) -> Error {
    let said = said.lines().find(|line| line.contains("Docker daemon")).unwrap_or("it does not answer").trim();
    Error::new(format!("Docker's engine is not running ({said})"))
        .hint("start it: `sudo systemctl start docker`; without systemd `sudo setsid dockerd >/tmp/dockerd.log 2>&1 &`; `tests/lab/prepare.sh` does either")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_says_what_the_machine_is() {
        let table = [
            ("1\t24000000000\tDebian GNU/Linux 12 (bookworm)\t[name=seccomp,profile=default]\n", Ok(Cgroup::V1)),
            ("2\t8000000000\tUbuntu 24.04 LTS\t[name=apparmor name=cgroupns]\n", Ok(Cgroup::V2)),
            ("2\t8000000000\tDocker Desktop\t[]\n", Err("Docker Desktop")),
            ("2\t8000000000\tFedora 42\t[name=rootless name=cgroupns]\n", Err("rootless")),
            ("\t0\t\t[]\n", Err("is not running")),
            ("Cannot connect to the Docker daemon at unix:///x\n", Err("Cannot connect")),
        ];
        for (said, expected) in table {
            match (read_engine(said), expected) {
                (Ok(engine), Ok(cgroup)) => assert_eq!(engine.cgroup, cgroup, "{said}"),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{said}: {error}"),
                (read, _) => panic!("{said}: {read:?}"),
            }
        }
    }

    #[test]
    fn what_docker_says_becomes_what_to_do() {
        let table = [
            ("Got permission denied while trying to connect to the Docker daemon socket", "usermod -aG docker"),
            (
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
                "systemctl start docker",
            ),
            ("write /x: no space left on device", "make room"),
        ];
        for (said, hint) in table {
            let error = explain(&["run", "-d"], said);
            assert!(error.hint.clone().unwrap_or_default().contains(hint), "{said}: {error}");
        }
        assert_eq!(explain(&["rm", "-f", "x"], "no such container\n").to_string(), "docker rm -f: no such container");
    }
}
