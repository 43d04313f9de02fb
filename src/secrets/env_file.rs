//! One service's secrets for one host: `inventory/vps_data/<host>/<service>.env.age`.
//!
//! A text file for git: key names are readable, each value is an age ciphertext of its own, so a diff shows which
//! keys changed and who may read them.
//!
//! ```text
//! # recipient: age1…
//! DB_PASSWORD=age:YWdlLWVuY3J5cHRpb24…
//! # seal: age:YWdlLWVuY3J5cHRpb24…
//! ```
//!
//! Anyone can encrypt to public keys, so encryption alone does not show that a line was moved, swapped, deleted or
//! brought back from an older version. Hence each plaintext begins with the file's identity (`host/service`), the
//! key's name and the file's token, 32 random bytes that only readers know; and the seal holds the same token and a
//! digest of every line. Without the token nobody can make a new seal that goes with old lines.
//!
//! Leaves out: a signature. Who may write to the repository can replace the *whole* file by an older version or by
//! values of their own; git's history shows both.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::keys::Closed;
use super::{Identities, Recipients};
use crate::error::{Error, Place, Result};
use crate::plan::Secret;

const RECIPIENT: &str = "# recipient: ";
const SEAL: &str = "# seal: ";
/// `# since: KEY 2026-11-25`: a note for people, not sealed.
const SINCE: &str = "# since: ";
const PACKED: &str = "age:";
const VERSION: &str = "1";

/// Settings with readable key names and values encrypted one by one.
#[derive(Clone, Default)]
pub struct EnvFile {
    values: IndexMap<String, Secret>,
    /// Ciphertexts of values that have not changed since they were read.
    stored: IndexMap<String, String>,
    /// The days on which values were stored, as far as they are known.
    since: IndexMap<String, String>,
    recipients: Vec<String>,
    token: Option<Secret>,
    /// The file as it was read.
    text: Option<String>,
}

/// The file's lines, undeciphered.
struct Lines<'t> {
    recipients: Vec<String>,
    /// Key, ciphertext in base64, line number.
    values: Vec<(&'t str, &'t str, usize)>,
    seal: Option<(&'t str, usize)>,
    since: Vec<(&'t str, &'t str)>,
}

/// A file that is written, and not yet in its place.
pub struct Draft {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
    text: String,
}

impl Draft {
    /// Puts the file into its place.
    pub fn commit(self) -> Result<()> {
        self.put().map(drop)
    }

    fn put(self) -> Result<String> {
        let Draft { temporary, path, text } = self;
        let trouble = |error| Error::at(&Place::file(path.as_path()), format!("cannot write the file: {error}"));
        temporary.persist(&path).map_err(|error| trouble(error.error))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(trouble)?;
        Ok(text)
    }
}

impl EnvFile {
    /// A missing file is an empty one.
    pub fn load(path: &Path, identities: &Identities) -> Result<EnvFile> {
        let Some(text) = read(path)? else { return Ok(EnvFile::default()) };
        let lines = parse(&text, path)?;
        let Some((seal, seal_line)) = lines.seal else {
            return Err(tampered(path, text.lines().count(), "the seal at its end is missing"));
        };
        let open = |packed: &str, line: usize| open(packed, &Place::new(path, line, 0), identities, &lines.recipients);
        let sealed = open(seal, seal_line)?;
        let (token, sealed_digests) = unseal(&sealed, path)
            .ok_or_else(|| tampered(path, seal_line, "its seal belongs to another file, or is not one"))?;
        check(&lines, sealed_digests, path, seal_line)?;
        let mut file = EnvFile { recipients: lines.recipients.clone(), ..EnvFile::default() };
        for (key, packed, line) in &lines.values {
            let plaintext = open(packed, *line)?;
            let value = strip(&plaintext, &prologue(path, key, token.reveal())).ok_or_else(|| {
                tampered(path, *line, &format!("the value of `{key}` was made for another key or another file"))
            })?;
            let value = std::str::from_utf8(value)
                .map_err(|_| tampered(path, *line, &format!("the value of `{key}` is not text")))?;
            file.values.insert((*key).to_owned(), Secret::new(value));
            file.stored.insert((*key).to_owned(), (*packed).to_owned());
        }
        file.since = lines.since.iter().map(|(key, day)| ((*key).to_owned(), (*day).to_owned())).collect();
        file.token = Some(token);
        file.text = Some(text);
        Ok(file)
    }

    /// The key names, without any identity. A missing file has none.
    pub fn keys_of(path: &Path) -> Result<Vec<String>> {
        let Some(text) = read(path)? else { return Ok(Vec::new()) };
        Ok(parse(&text, path)?.values.iter().map(|(key, _, _)| (*key).to_owned()).collect())
    }

    /// The public keys that the file says it is encrypted to, without any identity.
    pub fn recipients_of(path: &Path) -> Result<Vec<String>> {
        let Some(text) = read(path)? else { return Ok(Vec::new()) };
        Ok(parse(&text, path)?.recipients)
    }

    pub fn get(&self, key: &str) -> Option<&Secret> {
        self.values.get(key)
    }

    /// Key names are `[A-Za-z_][A-Za-z0-9_]*`; values any text without NUL.
    pub fn set(&mut self, key: &str, value: Secret) -> Result<()> {
        if !is_key(key) {
            return Err(Error::new(format!("`{key}` cannot be the name of a setting"))
                .hint("use letters, digits and `_`, and no digit first"));
        }
        if value.reveal().contains('\0') {
            return Err(Error::new(format!("the value of `{key}` contains a NUL byte, which no environment can hold")));
        }
        if self.values.get(key) != Some(&value) {
            self.stored.shift_remove(key);
            self.values.insert(key.to_owned(), value);
            self.since.insert(key.to_owned(), jiff::Zoned::now().strftime("%Y-%m-%d").to_string());
        }
        Ok(())
    }

    /// Was there such a key?
    pub fn remove(&mut self, key: &str) -> bool {
        self.stored.shift_remove(key);
        self.since.shift_remove(key);
        self.values.shift_remove(key).is_some()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The day on which a key's value was stored, if the file says so.
    pub fn since(&self, key: &str) -> Option<&str> {
        self.since.get(key).map(String::as_str)
    }

    /// The line on which a key's value stands in the file that was read.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        let mut lines = self.text.as_deref()?.lines();
        lines.position(|line| line.split_once('=').is_some_and(|(name, _)| name == key)).map(|index| index + 1)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Writes the file whole or not at all; says whether it had to. Unchanged values keep their ciphertext, unless
    /// the recipients changed: then every value is encrypted anew.
    pub fn save(&mut self, path: &Path, recipients: &Recipients) -> Result<bool> {
        let Some(draft) = self.draft(path, recipients)? else { return Ok(false) };
        self.text = Some(draft.put()?);
        Ok(true)
    }

    /// The same as far as that it only has to be put into its place: many files can change together.
    pub fn draft(&mut self, path: &Path, recipients: &Recipients) -> Result<Option<Draft>> {
        let same_readers = recipients.same_as(&self.recipients);
        let complete = self.values.len() == self.stored.len()
            && self
                .text
                .as_deref()
                .is_none_or(|text| parse(text, path).is_ok_and(|l| l.values.len() == self.values.len()));
        if complete && ((same_readers && self.text.is_some()) || (self.text.is_none() && self.values.is_empty())) {
            return Ok(None);
        }
        if read(path)? != self.text {
            return Err(Error::at(
                &Place::file(path),
                "the file was changed by someone else meanwhile; nothing was written",
            )
            .hint("run the command again"));
        }
        let token = match &self.token {
            Some(token) if same_readers => token.clone(),
            _ => super::generate(&super::SecretKind::Hex, 32)?,
        };
        if !same_readers {
            self.stored.clear();
        }
        let mut stored = IndexMap::new();
        for (key, value) in &self.values {
            let packed = match self.stored.get(key) {
                Some(packed) => packed.clone(),
                None => {
                    let mut plaintext = Zeroizing::new(prologue(path, key, token.reveal()).into_bytes());
                    plaintext.extend_from_slice(value.reveal().as_bytes());
                    STANDARD.encode(recipients.encrypt(&plaintext)?)
                }
            };
            stored.insert(key.clone(), packed);
        }
        let text = written(path, recipients.lines(), &stored, &self.since, &token, recipients)?;
        let temporary = write_beside(path, &text)
            .map_err(|error| Error::at(&Place::file(path), format!("cannot write the file: {error}")))?;
        self.stored = stored;
        self.recipients = recipients.lines().to_vec();
        self.token = Some(token);
        Ok(Some(Draft { temporary, path: path.to_owned(), text }))
    }
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `host/service`: what the file is about, from where it lies.
fn identity(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let service = name.strip_suffix(".env.age").unwrap_or(&name).to_owned();
    let host = path.parent().and_then(Path::file_name).map(|host| host.to_string_lossy().into_owned());
    format!("{}/{service}", host.unwrap_or_default())
}

fn prologue(path: &Path, key: &str, token: &str) -> String {
    format!("{VERSION}\n{}\n{key}\n{token}\n", identity(path))
}

fn strip<'p>(plaintext: &'p [u8], prologue: &str) -> Option<&'p [u8]> {
    plaintext.strip_prefix(prologue.as_bytes())
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::at(&Place::file(path), format!("cannot read the file: {error}"))),
    }
}

/// Without the source line: it is a long ciphertext.
fn placed(error: Error, place: Place) -> Error {
    Error { place: Some(place), ..error }
}

fn tampered(path: &Path, line: usize, what: &str) -> Error {
    let error = Error::new(format!("this file was changed by hand or put together from several: {what}"))
        .hint("take the last good version from git; after a merge, take one side and set the other side's keys again");
    placed(error, Place::new(path, line, 0))
}

fn parse<'t>(text: &'t str, path: &Path) -> Result<Lines<'t>> {
    let mut lines = Lines { recipients: Vec::new(), values: Vec::new(), seal: None, since: Vec::new() };
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>") {
            return Err(tampered(path, number, "it holds the marks of a merge"));
        }
        if let Some(key) = line.strip_prefix(RECIPIENT) {
            lines.recipients.push(key.to_owned());
        } else if let Some(since) = line.strip_prefix(SINCE) {
            lines.since.extend(since.split_once(' '));
        } else if let Some(seal) = line.strip_prefix(SEAL) {
            if lines.seal.is_some() {
                return Err(tampered(path, number, "it has two seals"));
            }
            let seal = seal.strip_prefix(PACKED).ok_or_else(|| tampered(path, number, "its seal cannot be read"))?;
            lines.seal = Some((seal, number));
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let entry = line.split_once('=').and_then(|(key, value)| Some((key, value.strip_prefix(PACKED)?)));
            let Some((key, packed)) = entry.filter(|(key, _)| is_key(key)) else {
                let error = Error::new("this is not a line `KEY=age:…`")
                    .hint("values are set with `provision secrets set`, not by hand");
                return Err(placed(error, Place::new(path, number, 0)));
            };
            if lines.values.iter().any(|(other, _, _)| *other == key) {
                return Err(tampered(path, number, &format!("`{key}` stands in it twice")));
            }
            lines.values.push((key, packed, number));
        }
    }
    Ok(lines)
}

fn open(packed: &str, place: &Place, identities: &Identities, recipients: &[String]) -> Result<Zeroizing<Vec<u8>>> {
    let broken = || tampered(&place.file, place.line, "a value on this line cannot be read");
    let ciphertext = STANDARD.decode(packed).map_err(|_| broken())?;
    identities.open(&ciphertext).map_err(|closed| match closed {
        Closed::Broken => broken(),
        Closed::Stranger | Closed::Passphrase(_) => {
            let tried: Vec<String> = identities.files().iter().map(|file| file.display().to_string()).collect();
            let mut text = match tried.as_slice() {
                [] => "no identity was found to decrypt these secrets".to_owned(),
                tried => format!("none of your identities can decrypt these secrets; tried {}", tried.join(", ")),
            };
            if let Closed::Passphrase(reason) = closed {
                text = format!("{text} ({reason})");
            }
            let readers = match recipients {
                [] => "nobody is named as a reader".to_owned(),
                readers => format!("readers are {}", readers.join(", ")),
            };
            let hint = format!("give the right one with --identity or $PROVISION_IDENTITY; {readers}");
            placed(Error::new(text).hint(hint), Place::file(place.file.clone()))
        }
    })
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// What the seal says of each line: a name and a digest. Recipients count as one line, so that none can be added to
/// be trusted the next time the file is written.
fn digests<'k>(recipients: &[String], values: impl Iterator<Item = (&'k str, &'k str)>) -> Vec<(String, String)> {
    let mut sorted = recipients.to_vec();
    sorted.sort();
    let head = (String::new(), digest(&sorted.join("\n")));
    std::iter::once(head).chain(values.map(|(key, packed)| (key.to_owned(), digest(packed)))).collect()
}

fn unseal(plaintext: &[u8], path: &Path) -> Option<(Secret, Vec<(String, String)>)> {
    let text = std::str::from_utf8(plaintext).ok()?;
    let rest = text.strip_prefix(&format!("{VERSION}\n{}\n\n", identity(path)))?;
    let (token, rest) = rest.split_once('\n')?;
    let lines = rest.lines().map(|line| line.split_once(' ').map(|(key, digest)| (key.to_owned(), digest.to_owned())));
    Some((Secret::new(token), lines.collect::<Option<_>>()?))
}

fn check(lines: &Lines<'_>, sealed: Vec<(String, String)>, path: &Path, seal_line: usize) -> Result<()> {
    let present = digests(&lines.recipients, lines.values.iter().map(|(key, packed, _)| (*key, *packed)));
    for (at, (key, digest)) in present.iter().enumerate() {
        let line = at.checked_sub(1).and_then(|at| lines.values.get(at)).map_or(0, |(_, _, line)| *line);
        match sealed.iter().find(|(other, _)| other == key) {
            Some((_, good)) if good == digest => {}
            _ if key.is_empty() => return Err(tampered(path, 1, "its recipients are not the ones it was written for")),
            Some(_) => {
                return Err(tampered(path, line, &format!("the value of `{key}` is not the one that was saved")));
            }
            None => return Err(tampered(path, line, &format!("`{key}` was added without being sealed"))),
        }
    }
    match sealed.iter().find(|(key, _)| !present.iter().any(|(other, _)| other == key)) {
        Some((key, _)) => Err(tampered(path, seal_line, &format!("the line of `{key}` is missing"))),
        None => Ok(()),
    }
}

fn written(
    path: &Path,
    readers: &[String],
    stored: &IndexMap<String, String>,
    since: &IndexMap<String, String>,
    token: &Secret,
    recipients: &Recipients,
) -> Result<String> {
    let name = identity(path);
    let (host, service) = name.split_once('/').unwrap_or(("", &name));
    let mut seal = Zeroizing::new(format!("{VERSION}\n{name}\n\n{}\n", token.reveal()));
    for (key, digest) in digests(readers, stored.iter().map(|(key, packed)| (key.as_str(), packed.as_str()))) {
        let _ = writeln!(*seal, "{key} {digest}");
    }
    let mut text = format!(
        "# Secrets of {service} on {host}: each value is encrypted (age) to the recipients below. Safe to commit.\n\
         # Change them with `provision secrets edit {service} --host {host}` or `provision secrets set {service}/KEY --host {host}`.\n"
    );
    for reader in readers {
        let _ = writeln!(text, "{RECIPIENT}{reader}");
    }
    for (key, packed) in stored {
        let _ = writeln!(text, "{key}={PACKED}{packed}");
    }
    for (key, day) in since.iter().filter(|(key, _)| stored.contains_key(*key)) {
        let _ = writeln!(text, "{SINCE}{key} {day}");
    }
    let _ = writeln!(text, "{SEAL}{PACKED}{}", STANDARD.encode(recipients.encrypt(seal.as_bytes())?));
    Ok(text)
}

/// A temporary file in the same folder, synced, to be renamed over the old one.
fn write_beside(path: &Path, text: &str) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}
