//! Secrets, searched for wherever they must not be: in every form in which a program writes a text.
//!
//! A secret may be in the host's `.env` (mode 0600), in the environments of its containers, and in what the services
//! themselves keep below their data folders. Nowhere else.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::processes::Sampler;
use super::stage;

/// Shorter pieces are found by chance.
const SHORTEST: usize = 8;

/// What is searched for.
pub struct Search {
    forms: Vec<(String, Vec<u8>)>,
    finder: AhoCorasick,
}

impl Search {
    /// `secrets`: name and value.
    pub fn new(secrets: &[(String, String)]) -> Search {
        let mut forms = Vec::new();
        for (name, value) in secrets {
            for form in forms_of(value) {
                forms.push((name.clone(), form));
            }
        }
        assert!(!forms.is_empty());
        let finder = AhoCorasick::new(forms.iter().map(|(_, form)| form)).unwrap();
        Search { forms, finder }
    }

    /// Where what stands in a text, one line per secret; the value itself is not repeated.
    pub fn text(&self, place: &str, text: &[u8]) -> Vec<String> {
        let mut found = BTreeSet::new();
        for hit in self.finder.find_iter(text) {
            let (name, _) = &self.forms[hit.pattern().as_usize()];
            let begin = text[..hit.start()].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let context = String::from_utf8_lossy(&text[begin.max(hit.start().saturating_sub(80))..hit.start()]);
            if !found.iter().any(|line: &String| line.starts_with(&format!("{place}: {name} "))) {
                found.insert(format!("{place}: {name} after `{context}`"));
            }
        }
        found.into_iter().collect()
    }

    /// Files below a folder, those changed since then.
    pub fn files(&self, root: &Path, since: SystemTime) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                let path: PathBuf = entry.path();
                if meta.is_dir() {
                    folders.push(path);
                } else if meta.is_file() && meta.len() < (256 << 20) && meta.modified().is_ok_and(|at| at >= since) {
                    found.extend(self.text(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default()));
                }
            }
        }
        found
    }

    /// A host: its journal, and every file outside of the services' own data. `.env` may have secrets if nobody else
    /// can read it.
    pub fn host(&self, host: &str) -> Vec<String> {
        let container = format!("pv-test-{host}");
        let journal = Command::new("docker")
            .args(["exec", &container, "journalctl", "--no-pager", "--output=export", "--all"])
            .output()
            .unwrap();
        assert!(journal.status.success() && journal.stdout.len() > 1000, "{host} has no journal: {journal:?}");
        let mut found = self.text(&format!("{host}: journalctl"), &journal.stdout);
        // the forms go over standard input: an argument would be the leak that is looked for
        let script = "cat >/run/pv-forms; find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/docker \
            -o -path /var/lib/containerd -o -path /run/containerd \
            -o -path /run/docker -o -path /var/log/journal -o -path '/opt/ATS/*/data' -o -path /run/pv-forms \
            -o \\( -name .env -a -perm 0600 \\) \\) -prune -o -type f -size -64M -print0 >/run/pv-files; \
            for dir in /tmp /run /dev/shm; do find \"$dir\" -xdev \\( -path /run/pv-forms -o -path /run/containerd -o -path /run/docker \\) -prune -o -type f -print0; done \
            >>/run/pv-files; xargs -0 -r grep -laF -f /run/pv-forms </run/pv-files; rm -f /run/pv-forms /run/pv-files";
        let mut child = Command::new("docker")
            .args(["exec", "-i", &container, "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines: Vec<u8> = Vec::new();
        for (_, form) in self.forms.iter().filter(|(_, form)| !form.contains(&b'\n')) {
            lines.extend(form);
            lines.push(b'\n');
        }
        child.stdin.take().unwrap().write_all(&lines).unwrap();
        let output = child.wait_with_output().unwrap();
        let files = String::from_utf8_lossy(&output.stdout).into_owned();
        found.extend(files.lines().map(|file| format!("{host}: file {file}")));
        found
    }
}

/// A value as it stands, in pieces, quoted for JSON, shell, URL, compose and Rust, and in base64 at every alignment.
fn forms_of(value: &str) -> BTreeSet<Vec<u8>> {
    let json = serde_json::to_string(value).unwrap();
    let mut texts = vec![
        value.to_owned(),
        json[1..json.len() - 1].to_owned(),
        value.replace('\'', "'\"'\"'"),
        value.replace('\'', "'\\''"),
        value.replace('$', "$$"),
        format!("{value:?}").trim_matches('"').to_owned(),
        url_encoded(value),
    ];
    texts.extend(value.lines().map(str::to_owned));
    // a word of it betrays it too, whatever became of the signs around it
    texts.extend(value.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
    let mut forms: BTreeSet<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    for bytes in [value.as_bytes(), &json.as_bytes()[1..json.len() - 1]] {
        for shift in 0..3 {
            for engine in [&STANDARD, &URL_SAFE] {
                forms.insert(inside_base64(bytes, shift, engine));
            }
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// What stays of a text's base64 when `shift` unknown bytes stand before it and others behind it.
fn inside_base64(bytes: &[u8], shift: usize, engine: &impl Engine) -> Vec<u8> {
    let skip = (3 - shift) % 3;
    let whole = bytes.len().saturating_sub(skip) / 3 * 3;
    engine.encode(&bytes[skip.min(bytes.len())..][..whole]).into_bytes()
}

fn url_encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A search that cannot find is worse than none, so each place is shown one leak.
#[test]
fn the_search_finds_what_is_planted() {
    let secret = format!("sé {} $x 'q' \"d\"\nzeile {}", stage::lab_token(), stage::lab_token());
    let search = Search::new(&[("PLANTED".into(), secret.clone())]);
    // written by other programs than this one
    let encoders = [
        "printf %s \"$0\"",
        "printf 'x%s' \"$0\" | base64 -w0",
        "printf 'xy%s' \"$0\" | base64 -w0",
        "printf 'KEY=%s yz' \"$0\" | base64 -w0",
        "printf %s \"$0\" | tail -n 1",
        "printf %s \"$0\" | tr '\\n' ' '",
        "printf %q \"$0\"",
    ];
    for encoder in encoders {
        let output = Command::new("bash").args(["-c", encoder, &secret]).output().unwrap();
        let log = [b"2026 DEBUG sent: ".as_slice(), &output.stdout, b" to host\n"].concat();
        assert_eq!(search.text("log", &log).len(), 1, "{encoder}: {}", String::from_utf8_lossy(&log));
    }
    let json = serde_json::json!({"msg": ["a", format!("b{secret}c")]}).to_string();
    let twice = serde_json::json!({ "line": json }).to_string();
    assert_eq!(search.text("journal", twice.as_bytes()).len(), 1);
    assert_eq!(search.text("journal", b"nothing of the kind, however long it may be"), Vec::<String>::new());

    let dir = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::create_dir(dir.path().join("deep")).unwrap();
    std::fs::write(dir.path().join("deep/file"), &json).unwrap();
    let now = SystemTime::now();
    assert_eq!(search.files(Path::new("/tmp"), now - Duration::from_secs(60)).len(), 1);
    assert!(search.files(dir.path(), now + Duration::from_secs(60)).is_empty(), "older files do not count");
}

/// The same on a real host: its files, its journal, its processes.
#[test]
fn the_search_finds_what_is_planted_on_a_host() {
    let Some((_turn, stage)) = super::enter("the_search_finds_what_is_planted_on_a_host") else { return };
    let plant = |name: &str| (name.to_owned(), format!("{}{}", stage::lab_token(), stage::lab_token()));
    let secrets = ["TMP", "LOG", "PROCESS", "OPEN_ENV", "CLOSED_ENV"].map(plant);
    let search = Search::new(&secrets);
    let value = |name: &str| &secrets.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(search.host("f"), Vec::<String>::new());

    // the word is whole only in the arguments of a process inside the host: this machine's `docker exec` has halves
    let sampler = Sampler::start();
    let (half, rest) = value("PROCESS").split_at(12);
    stage.inside("f", &format!("half={half}; sh -c 'sleep 0.4; true' \"$half\"{rest}"));
    let (seen, looks) = sampler.end();
    assert!(looks > 2);
    let lines = seen.into_iter().flat_map(|line| search.text("ps", &line)).collect::<Vec<_>>();
    assert!(!lines.is_empty(), "a process of a host was not seen");

    stage.inside("f", &format!("echo {} >/tmp/left; logger {}", value("TMP"), value("LOG")));
    let folder = "/opt/ATS/selfcheck";
    stage.inside(
        "f",
        &format!(
            "mkdir -p {folder}/open {folder}/closed; umask 022; echo {} >{folder}/open/.env; \
        umask 077; echo {} >{folder}/closed/.env",
            value("OPEN_ENV"),
            value("CLOSED_ENV")
        ),
    );
    let found = search.host("f");
    stage.inside("f", &format!("rm -rf /tmp/left {folder}"));
    for sign in ["f: journalctl: LOG", "f: file /tmp/left", "f: file /opt/ATS/selfcheck/open/.env"] {
        assert!(found.iter().any(|line| line.starts_with(sign)), "{sign} was not found: {found:?}");
    }
    assert!(!found.iter().any(|line| line.contains("closed/.env")), "{found:?}");
}
