//! A folder of the operator's machine as one tar stream: what an image is built from.
//!
//! The same folder gives the same bytes, so the stream's digest names its content: owners and times are left out, files
//! come in the order of their paths. `.dockerignore` is honoured; `.env` files and `.git` never travel. Left out: what
//! is done with the stream on a host.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};

use crate::error::{Error, Place, Result};
use crate::shipped;

/// Which files, found but not read.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    root: PathBuf,
    /// Paths relative to the root, sorted.
    files: Vec<Entry>,
    /// The Dockerfile's name in the stream.
    pub dockerfile: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    name: String,
    /// Where its bytes are: below the root, or somewhere else for a Dockerfile that the folder does not have.
    path: PathBuf,
    /// Where a symbolic link points.
    link: Option<String>,
    mode: u32,
}

impl Context {
    /// Looks at a folder. `fallback` is the Dockerfile for a folder without one of that name.
    pub fn look(root: &Path, dockerfile: &str, fallback: Option<&Path>) -> Result<Context> {
        if !shipped::exists(root) {
            return Err(Error::new(format!("there is no folder `{}` to build an image from", root.display()))
                .hint("it is a folder of this machine, of the package, or a git address"));
        }
        let ignore = Ignore::read(&root.join(".dockerignore"))?;
        let mut files = Vec::new();
        if root.starts_with(shipped::ROOT) {
            for path in shipped::walk(root) {
                let name = path.to_string_lossy().into_owned();
                files.push(Entry { path: root.join(&path), name, link: None, mode: 0o644 });
            }
        } else {
            walk(root, "", &mut files)
                .map_err(|error| Error::new(format!("cannot read the folder `{}`: {error}", root.display())))?;
        }
        // the builder needs the Dockerfile, whatever the ignore file says
        files.retain(|file| file.name == dockerfile || !(never(&file.name) || ignore.leaves_out(&file.name)));
        if !files.iter().any(|file| file.name == dockerfile) {
            let Some(fallback) = fallback.filter(|path| shipped::exists(path)) else {
                return Err(Error::new(format!("there is no `{dockerfile}` in `{}`", root.display()))
                    .hint("name it with `dockerfile`, or bring one in the package with `default_dockerfile`"));
            };
            let (name, path) = (dockerfile.to_owned(), fallback.to_owned());
            files.push(Entry { name, path, link: None, mode: 0o644 });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let context = Context { root: root.to_owned(), files, dockerfile: dockerfile.to_owned() };
        context.refuse_baked_settings()?;
        Ok(context)
    }

    /// SHA-256 of the stream in lowercase hex.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Hashing(Sha256::new());
        self.write(&mut hash).map_err(|error| self.unreadable(&error))?;
        Ok(hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The stream itself.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            let bytes = match file.link {
                Some(_) => Vec::new(),
                None => shipped::read(&file.path)?,
            };
            header(to, file, bytes.len() as u64)?;
            to.write_all(&bytes)?;
            pad(to, bytes.len())?;
        }
        to.write_all(&[0; 1024])
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        Error::new(format!("cannot read what is below `{}`: {error}", self.root.display()))
    }

    /// Settings in an image are in everybody's hands who can pull it, and change only with a new image.
    fn refuse_baked_settings(&self) -> Result<()> {
        let Some(file) = self.files.iter().find(|file| file.name == self.dockerfile) else { return Ok(()) };
        let text = shipped::read_to_string(&file.path).map_err(|error| self.unreadable(&error))?;
        match baked(&text) {
            None => Ok(()),
            Some((line, source)) => Err(Error {
                source_line: Some(source.to_owned()),
                ..Error::at(&Place::new(file.path.clone(), line, 0), "the Dockerfile copies `.env` into the image")
            }
            .hint("take the line out: settings reach the container as its environment, and `.env` is never sent")),
        }
    }
}

/// Takes a stream in and keeps its digest only.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first COPY or ADD of a `.env`, with its line.
fn baked(dockerfile: &str) -> Option<(usize, &str)> {
    let copies = |line: &str| {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut sources: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
        sources.pop();
        let bare = |word: &str| word.trim_matches(['[', ']', '"', ',', '\'']).to_owned();
        ["COPY", "ADD"].contains(&verb.as_str()) && sources.iter().any(|word| is_env(base_name(&bare(word))))
    };
    dockerfile.lines().enumerate().find(|(_, line)| copies(line)).map(|(index, line)| (index + 1, line))
}

/// What never travels, at any depth: settings with secrets in them, and the history.
fn never(name: &str) -> bool {
    name.split('/').any(|part| part == ".git") || is_env(base_name(name))
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// `.env`, `.env.local` …, but not the examples that are there to be read.
fn is_env(name: &str) -> bool {
    let examples = [".env.example", ".env.sample", ".env.template", ".env.dist"];
    (name == ".env" || name.starts_with(".env.")) && !examples.contains(&name)
}

fn walk(root: &Path, below: &str, found: &mut Vec<Entry>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                walk(root, &format!("{name}/"), found)?;
            }
            continue;
        }
        let link = match kind.is_symlink() {
            true => Some(std::fs::read_link(entry.path())?.to_string_lossy().into_owned()),
            false => None,
        };
        // the executable bit is what git keeps too; the rest depends on the umask of whoever checked it out
        let executable = link.is_none() && entry.metadata()?.permissions().mode() & 0o100 != 0;
        found.push(Entry { name, path: entry.path(), link, mode: if executable { 0o755 } else { 0o644 } });
    }
    Ok(())
}

/// `.dockerignore`: the last pattern that matches a path, or a folder above it, decides.
struct Ignore(Vec<(GlobMatcher, Verdict)>);

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Out,
    In,
}

impl Ignore {
    fn read(path: &Path) -> Result<Ignore> {
        let Ok(text) = shipped::read_to_string(path) else { return Ok(Ignore(Vec::new())) };
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let (verdict, pattern) = match line.trim().strip_prefix('!') {
                Some(rest) => (Verdict::In, rest.trim()),
                None => (Verdict::Out, line.trim()),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            if pattern.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
                Error::at(&Place::new(path, index + 1, 1), format!("`{pattern}` is not a pattern: {}", error.kind()))
            })?;
            patterns.push((glob.compile_matcher(), verdict));
        }
        Ok(Ignore(patterns))
    }

    fn leaves_out(&self, name: &str) -> bool {
        let matches = |glob: &GlobMatcher| {
            glob.is_match(name) || name.match_indices('/').any(|(at, _)| glob.is_match(&name[..at]))
        };
        let last = self.0.iter().rev().find(|(glob, _)| matches(glob));
        last.is_some_and(|(_, verdict)| *verdict == Verdict::Out)
    }
}

/// One ustar header; a name that does not fit goes before it in GNU's way.
fn header(to: &mut impl Write, file: &Entry, size: u64) -> io::Result<()> {
    for (kind, text) in [(b'L', Some(&file.name)), (b'K', file.link.as_ref())] {
        if let Some(text) = text.filter(|text| text.len() > 100) {
            block(to, "././@LongLink", "", kind, 0o644, text.len() as u64 + 1)?;
            to.write_all(text.as_bytes())?;
            to.write_all(&[0])?;
            pad(to, text.len() + 1)?;
        }
    }
    let (kind, link) = file.link.as_ref().map_or((b'0', ""), |link| (b'2', link.as_str()));
    block(to, &file.name, link, kind, file.mode, size)
}

fn block(to: &mut impl Write, name: &str, link: &str, kind: u8, mode: u32, size: u64) -> io::Result<()> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, room: usize, text: &[u8]| {
        let length = text.len().min(room);
        header[at..at + length].copy_from_slice(&text[..length]);
    };
    put(0, 100, name.as_bytes());
    put(100, 8, format!("{mode:07o}").as_bytes());
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    put(124, 12, format!("{size:011o}").as_bytes());
    put(136, 12, b"00000000000");
    // the sum counts itself as spaces
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link.as_bytes());
    put(257, 8, b"ustar  \0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    to.write_all(&header)
}

fn pad(to: &mut impl Write, length: usize) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take((512 - length as u64 % 512) % 512), to).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let context = Context::look(dir, "Dockerfile", None).unwrap();
        context.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn settings_history_and_what_is_ignored_stay_at_home() {
        let dir = folder(&[
            ("Dockerfile", "FROM x\nCOPY . /app\n"),
            (".dockerignore", "# notes\n*.md\n!README.md\n**/__pycache__\n/build\nDockerfile\nsrc/*.log\n"),
            (".env", "KEY=secret"),
            ("src/.env.production", "KEY=secret"),
            (".env.example", "KEY="),
            (".git/config", ""),
            ("NOTES.md", ""),
            ("README.md", ""),
            ("docs/deep.md", ""),
            ("src/main.py", ""),
            ("src/a.log", ""),
            ("src/a/b.log", ""),
            ("src/a/__pycache__/x.pyc", ""),
            ("build/out", ""),
        ]);
        let wanted =
            [".dockerignore", ".env.example", "Dockerfile", "README.md", "docs/deep.md", "src/a/b.log", "src/main.py"];
        assert_eq!(names(dir.path()), wanted);
    }

    #[test]
    fn the_stream_is_a_tar_that_tar_reads_and_the_same_each_time() {
        let deep = format!("{}/{}.txt", "folder".repeat(10), "n".repeat(80));
        let dir = folder(&[("Dockerfile", "FROM x\n"), (&deep, "deep"), ("run.sh", "#!/bin/sh\n")]);
        std::fs::set_permissions(dir.path().join("run.sh"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("run.sh", dir.path().join("link")).unwrap();
        let context = Context::look(dir.path(), "Dockerfile", None).unwrap();
        let archive = dir.path().parent().unwrap().join(format!("{}.tar", context.digest().unwrap()));
        context.write(&mut std::fs::File::create(&archive).unwrap()).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&archive).output().unwrap();
        std::fs::remove_file(&archive).unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 4, "{listed}");
        for wanted in [&format!(" {deep}"), " link -> run.sh", "-rwxr-xr-x 0/0", " Dockerfile"] {
            assert!(listed.contains(wanted), "{wanted}: {listed}");
        }
        let again = Context::look(dir.path(), "Dockerfile", None).unwrap().digest().unwrap();
        assert_eq!(context.digest().unwrap(), again);
        std::fs::write(dir.path().join("run.sh"), "#!/bin/sh\ntrue\n").unwrap();
        assert_ne!(context.digest().unwrap(), again);
    }

    #[test]
    fn an_image_with_settings_in_it_is_refused() {
        for line in ["COPY .env /app/.env", "ADD --chown=1 conf/.env /app/", "copy [\".env\", \"/app/\"]"] {
            let dir = folder(&[("Dockerfile", &format!("FROM python:3.11\n{line}\n"))]);
            let error = Context::look(dir.path(), "Dockerfile", None).unwrap_err().to_string();
            assert!(error.contains("Dockerfile:2") && error.contains("never sent"), "{error}");
        }
        assert_eq!(baked("FROM x\nCOPY .env.example /app/\nRUN cat .env\nCOPY a .env\n"), None);
    }

    #[test]
    fn a_folder_without_a_dockerfile_takes_the_packages() {
        let (dir, other) = (folder(&[("main.py", "")]), folder(&[("Dockerfile", "FROM x\n")]));
        let error = Context::look(dir.path(), "Dockerfile", None).unwrap_err().to_string();
        assert!(error.contains("there is no `Dockerfile` in"), "{error}");
        let context = Context::look(dir.path(), "Dockerfile", Some(&other.path().join("Dockerfile"))).unwrap();
        assert_eq!(context.files.len(), 2);
        assert!(Context::look(&dir.path().join("nope"), "Dockerfile", None).is_err());
    }
}
