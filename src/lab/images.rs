//! The images of the lab: a bare Debian 13, the host made of it, the registry made of it.
//!
//! Each is made once and named after a digest of its recipe, so a changed recipe makes a new image and an unchanged
//! one costs nothing. What the images of services are made of is left to
//! the folder that `--images` names (`tests/images/`).

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::docker::{docker, script};
use super::{Progress, System};
use crate::error::{Error, Result};

/// A bare Debian 13 (`debootstrap --variant=minbase`), the base of everything in the lab.
pub const BASE: &str = "provision-lab-base:trixie";

const SYSTEM: &str = include_str!("system.sh");
const INIT: &str = include_str!("init.sh");

/// An image that is made by running a script in a bare Debian.
struct Recipe {
    name: &'static str,
    script: &'static str,
    /// Put into the image as `/sbin/lab-init`.
    init: &'static str,
    command: &'static str,
}

const HOST: Recipe = Recipe {
    name: "provision-lab-host",
    script: include_str!("host.sh"),
    init: INIT,
    command: r#"["/sbin/lab-init"]"#,
};
const HOST_WITH_DOCKER: Recipe = Recipe {
    name: "provision-lab-host-docker",
    script: concat!(include_str!("host.sh"), include_str!("docker.sh")),
    init: INIT,
    command: HOST.command,
};
const REGISTRY: Recipe = Recipe {
    name: "provision-lab-registry",
    script: include_str!("registry.sh"),
    init: "",
    command: r#"["/usr/bin/docker-registry", "serve", "/etc/docker/registry/config.yml"]"#,
};

/// The image of such hosts, made if it is not there.
pub async fn host(system: System, cache: &Path, progress: Progress<'_>) -> Result<String> {
    let recipe = match system {
        System::Fresh => &HOST,
        System::WithDocker => &HOST_WITH_DOCKER,
    };
    make(recipe, cache, progress).await
}

/// The registry image, made if it is not there.
pub async fn registry(cache: &Path, progress: Progress<'_>) -> Result<String> {
    make(&REGISTRY, cache, progress).await
}

/// The bare Debian, made if it is not there.
pub async fn bare(cache: &Path, progress: Progress<'_>) -> Result<()> {
    if exists(BASE).await {
        return Ok(());
    }
    let _lock = lock(cache, progress).await?;
    base(cache, progress).await
}

/// Runs `build.sh` of a folder, which makes the images that hosts will pull; their names, as its `--list` says them.
pub async fn build(dir: &Path, progress: Progress<'_>) -> Result<Vec<String>> {
    let script = dir.join("build.sh");
    if !script.is_file() {
        return Err(Error::new(format!("{} does not exist", script.display()))
            .hint("`--images` wants a folder whose `build.sh` makes images and whose `build.sh --list` names them"));
    }
    run_build(&script, &[], progress).await?;
    let names = run_build(&script, &["--list"], progress).await?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// Tells the lines of stderr, returns stdout.
async fn run_build(script: &Path, args: &[&str], progress: Progress<'_>) -> Result<String> {
    let trouble = |e: std::io::Error| Error::new(format!("{}: {e}", script.display()));
    // what goes into an image must be readable there, whatever this program keeps to itself
    let mut child = Command::new("sh")
        .args(["-c", "umask 022; exec sh \"$@\"", "lab"])
        .arg(script)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(trouble)?;
    let mut stdout = child.stdout.take();
    let names = tokio::spawn(async move {
        let mut text = String::new();
        if let Some(stdout) = stdout.as_mut() {
            let _ = stdout.read_to_string(&mut text).await;
        }
        text
    });
    let mut last = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // `postgres:17: building` is a step; a failure's log is not, its end is in the error
            if line.split_once(": ").is_some_and(|(image, _)| image.contains(':') && !image.contains(' ')) {
                progress(&line);
            }
            if last.len() == 15 {
                last.pop_front();
            }
            last.push_back(line);
        }
    }
    match child.wait().await.map_err(trouble)?.success() {
        true => Ok(names.await.unwrap_or_default()),
        false => Err(Error::new(format!("{} failed:\n{}", script.display(), Vec::from(last).join("\n")))),
    }
}

/// Removes every image of the lab and the cached system; says which.
pub async fn remove(cache: &Path) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in [HOST.name, HOST_WITH_DOCKER.name, REGISTRY.name, "provision-lab-base"] {
        for image in list(name).await? {
            // an image that another lab's containers or other images still use stays
            if docker(&["rmi", &image]).await.is_ok() {
                removed.push(format!("image {image}"));
            }
        }
    }
    let packed = packed(cache);
    if std::fs::remove_file(&packed).is_ok() {
        removed.push(packed.display().to_string());
    }
    Ok(removed)
}

async fn make(recipe: &Recipe, cache: &Path, progress: Progress<'_>) -> Result<String> {
    let digest = Sha256::digest([recipe.script, recipe.init, recipe.command].join("\0"));
    let image = format!("{}:{:02x}{:02x}{:02x}{:02x}", recipe.name, digest[0], digest[1], digest[2], digest[3]);
    if exists(&image).await {
        return Ok(image);
    }
    let _lock = lock(cache, progress).await?;
    if exists(&image).await {
        return Ok(image);
    }
    base(cache, progress).await?;
    let container = format!("provision-lab-making-{}", std::process::id());
    let made = bake(recipe, &container, &image, progress).await;
    let _ = docker(&["rm", "-f", "-v", &container]).await;
    made.map_err(|e| e.context(format!("cannot make the image {image}")))?;
    // those of older recipes; Docker refuses while a container still uses one
    for older in list(recipe.name).await?.iter().filter(|older| **older != image) {
        let _ = docker(&["rmi", older]).await;
    }
    Ok(image)
}

async fn bake(recipe: &Recipe, container: &str, image: &str, progress: Progress<'_>) -> Result<()> {
    let run = ["run", "-i", "--name", container, "--label", "provision.lab.making", BASE, "sh", "-s"];
    let init = match recipe.init {
        "" => String::new(),
        init => format!("cat >/sbin/lab-init <<'LAB-INIT-ENDS'\n{init}LAB-INIT-ENDS\nchmod 755 /sbin/lab-init\n"),
    };
    script(&run, &format!("{}{init}", recipe.script), progress).await?;
    let command = format!("CMD {}", recipe.command);
    docker(&["commit", "--change", &command, "--change", "LABEL provision.lab.image=1", container, image]).await?;
    Ok(())
}

/// The bare system: from this machine, from the cache, from debootstrap, from a registry, in this order.
async fn base(cache: &Path, progress: Progress<'_>) -> Result<()> {
    if exists(BASE).await {
        return Ok(());
    }
    let packed = packed(cache);
    if !packed.exists() {
        let debootstrap = match find("debootstrap") {
            Some(_) => {
                progress("bare Debian 13: debootstrap (half a minute)");
                bootstrap(&packed).await
            }
            None => Err("there is no `debootstrap`".to_owned()),
        };
        if let Err(why) = debootstrap {
            progress("bare Debian 13: pulling debian:trixie-slim");
            return pull().await.map_err(|e| {
                Error::new(format!("no Debian 13 to make lab hosts of: {why}; and pulling it failed: {}", e.text))
                    .hint("install debootstrap (`tests/lab/prepare.sh`, or `sudo apt-get install debootstrap debian-archive-keyring`), or connect this machine to a registry that has debian:trixie-slim")
            });
        }
    }
    progress("bare Debian 13: importing");
    docker(&["import", &packed.display().to_string(), BASE]).await.map(drop)
}

async fn pull() -> Result<()> {
    docker(&["pull", "--quiet", "debian:trixie-slim"]).await?;
    docker(&["tag", "debian:trixie-slim", BASE]).await.map(drop)
}

/// Runs `system.sh` as root; the reason as a phrase if that fails.
async fn bootstrap(packed: &Path) -> Result<(), String> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let mut command = match uid.is_root() {
        true => Command::new("sh"),
        false => {
            // asks for the password on the terminal, if one is needed
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        }
    };
    command.args(["-c", SYSTEM, "provision-lab"]).arg(packed).arg(format!("{}:{}", uid.as_raw(), gid.as_raw()));
    let output = command.stdin(Stdio::null()).output().await.map_err(|e| format!("debootstrap needs root: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = stderr.lines().chain(stdout.lines().rev()).find(|line| !line.trim().is_empty()).unwrap_or("it ended");
    Err(format!("debootstrap failed: {}", said.trim()))
}

/// One process at a time makes images; the others then find them made.
async fn lock(cache: &Path, progress: Progress<'_>) -> Result<File> {
    let trouble = |e: std::io::Error| Error::new(format!("{}: {e}", cache.display()));
    std::fs::create_dir_all(cache).map_err(trouble)?;
    let file = File::create(cache.join("lock")).map_err(trouble)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress("waiting for another `lab up` that makes the same images");
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .map_err(|e| Error::new(e.to_string()))?
        .map_err(trouble)
}

async fn list(name: &str) -> Result<Vec<String>> {
    let said = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", name]).await?;
    Ok(said.lines().map(str::to_owned).collect())
}

async fn exists(image: &str) -> bool {
    docker(&["image", "inspect", "--format", "{{.Id}}", image]).await.is_ok()
}

fn packed(cache: &Path) -> PathBuf {
    cache.join(format!("debian-trixie-{}.tar.gz", std::env::consts::ARCH))
}

/// A program of the PATH or of the system's own folders, which a user's PATH often lacks.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}
