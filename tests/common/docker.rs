//! Docker's command line with Compose, and images, for what runs on this machine's own engine. Both programs come out of
//! the image `tests/images/docker`, so the machine needs neither Compose nor a recent command line; the libc they want
//! (2.34) is that of Debian 12 and Ubuntu 22.04.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use provision::lab;

const TOOLS: &str = "provision-lab-docker:trixie";

/// The folder with `bin/docker` and `config/cli-plugins/docker-compose`, one per version of the image.
pub fn tools() -> Result<PathBuf, String> {
    let lab = lab::Options::default();
    let bare = async { lab::images::bare(&lab.cache, &mut |_| ()).await.map_err(|error| error.to_string()) };
    runtime()?.block_on(bare)?;
    build("docker")?;
    let id = said(Command::new("docker").args(["image", "inspect", "--format", "{{.Id}}", TOOLS]))?;
    let short = id.trim_start_matches("sha256:").get(..12).ok_or(format!("{TOOLS} has the id {id}"))?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target.join(format!("docker-{short}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let script = r#"set -eu; mkdir "$1/bin" "$1/config"; chmod 755 "$1"; made=$(docker create "$2" true)
        trap 'docker rm "$made" >/dev/null' EXIT
        docker cp "$made:/usr/bin/docker" "$1/bin"
        docker cp "$made:/usr/libexec/docker/cli-plugins" "$1/config""#;
    let made = tempfile::tempdir_in(target).map_err(|error| format!("{}: {error}", target.display()))?;
    said(Command::new("sh").args(["-c", script, "sh"]).arg(made.path()).arg(TOOLS))?;
    match std::fs::rename(made.path(), &folder) {
        Err(error) if !folder.is_dir() => Err(format!("{}: {error}", folder.display())),
        _ => Ok(folder),
    }
}

pub fn build(folder: &str) -> Result<(), String> {
    said(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/build.sh")).arg(folder)).map(drop)
}

/// An image of nothing but busybox, with the libraries it wants, if it wants any. In the engine that `env` leads to.
pub fn make_tiny_image(env: &[(&'static str, OsString)], name: &str) -> Result<(), String> {
    if said(Command::new("docker").envs(env.iter().cloned()).args(["image", "inspect", name])).is_ok() {
        return Ok(());
    }
    let root = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = r#"set -eu; busybox=$(command -v busybox); cd "$1"; mkdir bin tmp etc; chmod 1777 tmp; chmod 755 .
        cp -L "$busybox" bin/busybox
        for lib in $(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*'); do mkdir -p ".${lib%/*}"; cp -L "$lib" ".$lib"; done
        for name in sh sleep cat test env touch true false echo base64 printf; do ln -s busybox "bin/$name"; done
        echo root:x:0:0::/tmp:/bin/sh >etc/passwd
        tar -c . | docker import -c 'ENV PATH=/bin' -c 'CMD ["sleep", "100000"]' - "$2""#;
    let mut command = Command::new("sh");
    command.envs(env.iter().cloned()).args(["-c", script, "sh"]).arg(root.path()).arg(name);
    said(&mut command).map(drop)
}

/// The standard output of a command, or what it complains about.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Runtime::new().map_err(|error| error.to_string())
}
