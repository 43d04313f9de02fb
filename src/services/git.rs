//! Source out of a git repository, fetched on the operator's machine: hosts need neither git nor the repository's keys.
//!
//! A commit is fetched once and kept below `~/.cache/provision/sources`. A branch or tag is looked up in each run; where the
//! repository does not answer, the commit that it was last is taken. Left out: submodules and LFS.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::catalogue::hex;
use crate::error::{Error, Result};

/// `https://host/repository.git#reference:folder`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub url: String,
    pub reference: String,
    /// Below the repository's root; empty for all of it.
    pub folder: String,
}

impl Address {
    /// None for what is no address of a repository.
    pub fn parse(source: &str) -> Option<Address> {
        let (url, fragment) = source.split_once('#').unwrap_or((source, ""));
        let far = ["https://", "http://", "ssh://", "git://", "file://"].iter().any(|scheme| url.starts_with(scheme));
        let short = url.starts_with("git@") && url.contains(':');
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let reference = if reference.is_empty() { "HEAD" } else { reference };
        (far || short).then(|| Address {
            url: url.to_owned(),
            reference: reference.to_owned(),
            folder: folder.trim_matches('/').to_owned(),
        })
    }
}

/// The files of that commit, without its history. Looked up once in a run.
pub(super) fn tree(address: &Address) -> Result<PathBuf> {
    static SEEN: LazyLock<Mutex<HashMap<Address, Result<PathBuf>>>> = LazyLock::new(Mutex::default);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.entry(address.clone()).or_insert_with(|| fetch(address, &cache()?)).clone()
}

fn cache() -> Result<PathBuf> {
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = home("XDG_CACHE_HOME").or_else(|| Some(home("HOME")?.join(".cache")));
    cache
        .map(|cache| cache.join("provision/sources"))
        .ok_or_else(|| Error::new("there is no $HOME to keep fetched sources in"))
}

fn fetch(address: &Address, cache: &Path) -> Result<PathBuf> {
    let Address { url, reference, .. } = address;
    if reference.starts_with('-') || reference.chars().any(|c| c.is_whitespace() || c == ':') {
        return Err(Error::new(format!("`{reference}` is not a branch, tag or commit")));
    }
    let failed = |error: std::io::Error| Error::new(format!("cannot keep the source of `{url}`: {error}"));
    let home = cache.join(&hex(&Sha256::digest(url))[..16]);
    std::fs::create_dir_all(&home).map_err(failed)?;
    let last = home.join(format!("last-{}", &hex(&Sha256::digest(reference))[..16]));
    let commit = match look_up(url, reference) {
        Ok(commit) => {
            std::fs::write(&last, &commit).map_err(failed)?;
            commit
        }
        Err(error) => std::fs::read_to_string(&last).map_err(|_| error)?,
    };
    let tree = home.join(&commit);
    if tree.is_dir() {
        return Ok(tree);
    }
    let fresh = tempfile::tempdir_in(&home).map_err(failed)?;
    git(fresh.path(), &["init", "-q"])?;
    let wanted = if reference.len() == 40 { &commit } else { reference };
    git(fresh.path(), &["fetch", "-q", "--depth", "1", url, wanted])?;
    git(fresh.path(), &["checkout", "-q", "FETCH_HEAD"])?;
    std::fs::remove_dir_all(fresh.path().join(".git")).map_err(failed)?;
    // somebody else may have been faster with the same commit
    if !tree.is_dir() {
        std::fs::rename(fresh.keep(), &tree).map_err(failed)?;
    }
    Ok(tree)
}

/// The commit that a branch or tag is now.
fn look_up(url: &str, reference: &str) -> Result<String> {
    if reference.len() == 40 && reference.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(reference.to_owned());
    }
    let listed = git(Path::new("/"), &["ls-remote", url, reference])?;
    let mut commits = listed.lines().filter_map(|line| line.split_whitespace().next());
    commits.next().map(str::to_owned).ok_or_else(|| {
        Error::new(format!("`{url}` has no `{reference}`")).hint("name a branch, a tag or a whole commit behind the #")
    })
}

/// Never asks for anything: a password that is missing is a failure.
fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null"])
        .args(args)
        .current_dir(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::new(format!("cannot start git: {error}")).hint("a git source needs git here"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(Error::new(format!("git {}: {last}", args.first().unwrap_or(&"")))
        .hint("try the same address with `git ls-remote` on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "init.defaultBranch=main"];
        git(folder, &[&identity, args].concat()).unwrap();
    }

    #[test]
    fn addresses() {
        let parsed = Address::parse("https://git.example/nexus.git#v1.2:whatsapp_service").unwrap();
        assert_eq!((parsed.reference.as_str(), parsed.folder.as_str()), ("v1.2", "whatsapp_service"));
        assert_eq!(Address::parse("git@git.example:a/b.git").unwrap().reference, "HEAD");
        for path in ["../src", "/srv/src", "files/app", "a@b"] {
            assert_eq!(Address::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_tag_is_fetched_once_and_outlives_its_repository() {
        let (origin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(origin.path(), &["init", "-q"]);
        std::fs::write(origin.path().join("Dockerfile"), "FROM x\n").unwrap();
        run(origin.path(), &["add", "."]);
        run(origin.path(), &["commit", "-qm", "one"]);
        run(origin.path(), &["tag", "v1"]);
        let address = Address::parse(&format!("file://{}#v1", origin.path().display())).unwrap();
        let tree = fetch(&address, cache.path()).unwrap();
        assert!(tree.join("Dockerfile").is_file() && !tree.join(".git").exists());
        let nope = Address { reference: "v9".into(), ..address.clone() };
        assert!(fetch(&nope, cache.path()).unwrap_err().text.contains("has no `v9`"));
        let option = Address { reference: "--upload-pack=x".into(), ..address.clone() };
        assert!(fetch(&option, cache.path()).is_err());
        drop(origin);
        assert_eq!(fetch(&address, cache.path()).unwrap(), tree);
        assert!(fetch(&nope, cache.path()).is_err());
    }
}
