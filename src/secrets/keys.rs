//! Who may read (recipients) and who is reading (identities).
//!
//! Leaves out: passphrase-encrypted age identities and plugins; SSH keys with a passphrase are asked for at a terminal
//! and refused without one.

use std::collections::HashSet;
use std::fmt;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, ssh, x25519};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Place, Result};

/// Private keys: age identities and SSH keys.
#[derive(Default)]
pub struct Identities {
    files: Vec<PathBuf>,
    /// The public keys of the identities, file by file.
    public: Vec<String>,
    keys: Vec<Box<dyn age::Identity + Send + Sync>>,
    locked: Vec<Locked>,
}

/// An SSH key with a passphrase, opened when nothing else fits.
struct Locked {
    file: PathBuf,
    key: Mutex<Option<ssh::Identity>>,
}

/// Why a ciphertext stays closed.
pub(super) enum Closed {
    /// None of the identities is among its recipients.
    Stranger,
    /// It is not what age wrote.
    Broken,
    /// A key's passphrase is needed and cannot be had.
    Passphrase(String),
}

impl Identities {
    /// Every file must exist and hold identities.
    pub fn load(files: &[PathBuf]) -> Result<Identities> {
        let mut identities = Identities::default();
        for file in files {
            identities.read(file)?;
        }
        Ok(identities)
    }

    /// The given files, `$PROVISION_IDENTITY`, `~/.config/provision/identity.txt`, and the SSH keys
    /// `~/.ssh/id_ed25519` and `~/.ssh/id_rsa`, the latter three as far as they exist. May come out empty: complaints
    /// come when something is to be decrypted.
    pub fn discover(extra: &[PathBuf]) -> Result<Identities> {
        let mut identities = Identities::load(extra)?;
        if let Some(file) = std::env::var_os("PROVISION_IDENTITY").filter(|file| !file.is_empty()) {
            identities.read(Path::new(&file))?;
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let config = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        let own = config.join("provision/identity.txt");
        if own.is_file() {
            identities.read(&own)?;
        }
        for ssh_key in [home.join(".ssh/id_ed25519"), home.join(".ssh/id_rsa")] {
            // an SSH key that age cannot use is no reason to stop
            if ssh_key.is_file() && identities.read(&ssh_key).is_err() {
                tracing::debug!(file = %ssh_key.display(), "not usable as an identity");
            }
        }
        Ok(identities)
    }

    /// Where the identities came from, for messages.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The public keys that belong to the first file of identities: who is at work here.
    pub fn own_recipients(&self) -> &[String] {
        &self.public
    }

    fn read(&mut self, file: &Path) -> Result<()> {
        if self.files.iter().any(|known| known == file) {
            return Ok(());
        }
        let whole = Place::file(file);
        let mut text = Zeroizing::new(Vec::new());
        std::fs::File::open(file)
            .and_then(|mut open| open.read_to_end(&mut text))
            .map_err(|error| Error::at(&whole, format!("cannot read the identity file: {error}")))?;
        let first = self.files.is_empty();
        if contains(&text, b"PRIVATE KEY-----") {
            let key = ssh::Identity::from_buffer(&text[..], Some(file.display().to_string()));
            if let (true, Ok(key)) = (first, &key) {
                self.public.extend(ssh::Recipient::try_from(key.clone()).ok().map(|public| public.to_string()));
            }
            match key {
                Ok(key @ ssh::Identity::Unencrypted(_)) => self.keys.push(Box::new(key)),
                Ok(key @ ssh::Identity::Encrypted(_)) => {
                    self.locked.push(Locked { file: file.to_owned(), key: Mutex::new(Some(key)) });
                }
                Ok(ssh::Identity::Unsupported(_)) | Err(_) => {
                    return Err(Error::at(&whole, "this SSH key is of a kind that age cannot use")
                        .hint("use an ssh-ed25519 or ssh-rsa key in OpenSSH's format, or an age identity"));
                }
            }
        } else {
            let public = self.read_age(file, &text)?;
            if first {
                self.public = public;
            }
        }
        self.files.push(file.to_owned());
        Ok(())
    }

    fn read_age(&mut self, file: &Path, text: &[u8]) -> Result<Vec<String>> {
        let text = std::str::from_utf8(text)
            .map_err(|_| Error::at(&Place::file(file), "this is not an identity file: it is not text"))?;
        let mut public = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // the line itself must not be quoted: it may be a key with a slip in it
            let place = Place::new(file, number + 1, 0);
            let key: x25519::Identity = line.parse().map_err(|_| Error {
                place: Some(place),
                hint: Some("an identity file holds lines `AGE-SECRET-KEY-1…` or one SSH private key".to_owned()),
                ..Error::new("this line is not an age identity")
            })?;
            public.push(key.to_public().to_string());
            self.keys.push(Box::new(key));
        }
        if public.is_empty() {
            return Err(Error::at(&Place::file(file), "there is no identity in this file"));
        }
        Ok(public)
    }

    /// The plaintext of an age ciphertext.
    pub(super) fn open(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let keys = self.keys.iter().map(|key| &**key as &dyn age::Identity);
        match decrypt(ciphertext, keys) {
            Err(Closed::Stranger) => {}
            other => return other,
        }
        let mut refused = None;
        for locked in &self.locked {
            let mut key = locked.key.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(ssh::Identity::Encrypted(encrypted)) = &*key {
                match unlock(encrypted, &locked.file) {
                    Ok(open) => *key = Some(open),
                    Err(reason) => {
                        refused = Some(reason);
                        continue;
                    }
                }
            }
            if let Some(key) = &*key {
                match decrypt(ciphertext, std::iter::once(key as &dyn age::Identity)) {
                    Err(Closed::Stranger) => {}
                    other => return other,
                }
            }
        }
        Err(refused.map_or(Closed::Stranger, Closed::Passphrase))
    }
}

impl Identities {
    /// Decrypts a file into another one, piece by piece, so that large ones need no memory. SSH keys with a passphrase
    /// do not open files.
    pub fn open_file(&self, from: &Path, to: &mut dyn std::io::Write) -> Result<()> {
        let trouble = |text: &str| Error::new(format!("{}: {text}", from.display()));
        let file = std::fs::File::open(from).map_err(|error| trouble(&format!("cannot be read: {error}")))?;
        let broken = "this is not what age wrote, or it is damaged";
        let decryptor = Decryptor::new_buffered(std::io::BufReader::new(file)).map_err(|_| trouble(broken))?;
        let keys = self.keys.iter().map(|key| &**key as &dyn age::Identity);
        let mut reader = decryptor.decrypt(keys).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => {
                trouble("none of your identities opens it").hint("name one with --identity")
            }
            _ => trouble(broken),
        })?;
        std::io::copy(&mut reader, to).map(drop).map_err(|error| trouble(&format!("cannot be decrypted: {error}")))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({:?})", self.files)
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

fn unlock(key: &ssh::EncryptedKey, file: &Path) -> Result<ssh::Identity, String> {
    let name = file.display();
    if !std::io::stdin().is_terminal() {
        return Err(format!("{name} has a passphrase, and there is no terminal to ask for it"));
    }
    let passphrase: SecretString = age::cli_common::read_secret(&format!("passphrase of {name}"), "Passphrase", None)
        .map_err(|_| format!("{name} has a passphrase, which was not given"))?;
    key.decrypt(passphrase).map(ssh::Identity::from).map_err(|_| format!("that is not the passphrase of {name}"))
}

fn decrypt<'k>(
    ciphertext: &[u8],
    keys: impl Iterator<Item = &'k dyn age::Identity>,
) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let decryptor = Decryptor::new_buffered(ciphertext).map_err(|_| Closed::Broken)?;
    let mut reader = decryptor.decrypt(keys).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => Closed::Stranger,
        _ => Closed::Broken,
    })?;
    let mut plaintext = Zeroizing::new(Vec::new());
    reader.read_to_end(&mut plaintext).map_err(|_| Closed::Broken)?;
    Ok(plaintext)
}

/// Public keys that settings files are encrypted to.
pub struct Recipients {
    lines: Vec<String>,
    keys: Vec<Box<dyn age::Recipient + Send + Sync>>,
}

impl Recipients {
    /// `.age-recipients`: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`, one per line; `#` begins a comment.
    pub fn load(file: &Path) -> Result<Recipients> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Error::at(&Place::file(file), format!("cannot read the recipients: {error}"))
                .hint("write one public key per line into this file: `age1…` or `ssh-ed25519 …`")
        })?;
        Recipients::parse(&text, file)
    }

    /// The same of a text that is, or is going to be, in this file.
    pub fn parse(text: &str, file: &Path) -> Result<Recipients> {
        let mut recipients = Recipients { lines: Vec::new(), keys: Vec::new() };
        let mut mistakes = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(text) = recipients.add(line) {
                mistakes.push(
                    Error::at(&Place::new(file, number + 1, 0), text)
                        .hint("a recipient is `age1…`, `ssh-ed25519 …` or `ssh-rsa …` (2048 bits and more)"),
                );
            }
        }
        if let Some(error) = Error::all(mistakes) {
            return Err(error);
        }
        if recipients.keys.is_empty() {
            return Err(Error::at(
                &Place::file(file),
                "there are no recipients in this file: nobody could read the secrets",
            )
            .hint("write one public key per line into this file: `age1…` or `ssh-ed25519 …`"));
        }
        Ok(recipients)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        // the comment of an SSH key says nothing about who can read
        let words: Vec<&str> = line.split_whitespace().collect();
        let canonical = match words.as_slice() {
            [kind, key, ..] if kind.starts_with("ssh-") => format!("{kind} {key}"),
            _ => line.to_owned(),
        };
        if self.lines.contains(&canonical) {
            return Ok(());
        }
        let key: Box<dyn age::Recipient + Send + Sync> = if canonical.starts_with("age1") {
            Box::new(canonical.parse::<x25519::Recipient>().map_err(|_| "this is not an age public key".to_owned())?)
        } else if canonical.starts_with("AGE-SECRET-KEY-") {
            return Err("this is a private key: recipients are public keys".to_owned());
        } else {
            Box::new(canonical.parse::<ssh::Recipient>().map_err(|_| "this is not a usable public key".to_owned())?)
        };
        self.lines.push(canonical);
        self.keys.push(key);
        Ok(())
    }

    /// The public keys, without SSH comments, in the order of the file.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(super) fn same_as(&self, lines: &[String]) -> bool {
        let own: HashSet<&String> = self.lines.iter().collect();
        own == lines.iter().collect()
    }

    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>> {
        use std::io::Write;
        let failed = |_| Error::new("the value could not be encrypted");
        let keys = self.keys.iter().map(|key| &**key as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(keys).map_err(|_| Error::new("there are no usable recipients"))?;
        let mut out = Vec::new();
        let mut writer = encryptor.wrap_output(&mut out).map_err(failed)?;
        writer.write_all(plaintext).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(out)
    }
}

/// A new age identity: its private and its public line.
pub(super) fn new_identity() -> (Zeroizing<String>, String) {
    use age::secrecy::ExposeSecret;
    let identity = x25519::Identity::generate();
    let mut text = identity.to_string().expose_secret().to_owned();
    let secret = Zeroizing::new(text.clone());
    text.zeroize();
    (secret, identity.to_public().to_string())
}
