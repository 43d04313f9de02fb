//! New secrets out of the operating system's randomness.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::plan::Secret;

/// What a generated secret looks like, and what its length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SecretKind {
    /// Length in bytes: 32 gives 64 digits, as `openssl rand -hex 32`.
    Hex,
    /// Length in bytes.
    Base64,
    /// Length in bytes; URL-safe and without padding.
    #[default]
    Base64Url,
    /// Length in characters: letters and digits.
    Alnum,
    /// Length in characters: letters, digits, `@` and `_`, at least one each of upper, lower, digit and sign.
    Password,
    /// Length in digits.
    Digits,
    /// A random UUID (version 4); the length does not count.
    Uuid,
    /// An age identity (`AGE-SECRET-KEY-1…`); the length does not count.
    Age,
    /// A key that signs tokens, good for HS512: 64 bytes, as `base64url`; the length does not count.
    Jwt,
    /// An Ed25519 key as OpenSSH writes it; the length does not count.
    SshKey,
}

const KINDS: &[(&str, SecretKind)] = &[
    ("hex", SecretKind::Hex),
    ("base64", SecretKind::Base64),
    ("base64url", SecretKind::Base64Url),
    ("alnum", SecretKind::Alnum),
    ("password", SecretKind::Password),
    ("alnum@_", SecretKind::Password),
    ("digits", SecretKind::Digits),
    ("uuid", SecretKind::Uuid),
    ("age", SecretKind::Age),
    ("jwt", SecretKind::Jwt),
    ("ssh-key", SecretKind::SshKey),
];

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGIT: &[u8] = b"0123456789";
const SIGN: &[u8] = b"@_";

impl SecretKind {
    /// The length that is used if none is asked for.
    pub const LENGTH: usize = 32;
}

impl FromStr for SecretKind {
    type Err = Error;

    fn from_str(kind: &str) -> Result<Self> {
        KINDS.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            Error::new(format!("`{kind}` is not a kind of secret")).hint(format!("use one of {}", names.join(", ")))
        })
    }
}

/// A new secret. `length` counts what the kind says; 1 to 4096.
pub fn generate(kind: &SecretKind, length: usize) -> Result<Secret> {
    if !(1..=4096).contains(&length) {
        return Err(Error::new(format!("a secret cannot be {length} long")).hint("use a length from 1 to 4096"));
    }
    Ok(match kind {
        SecretKind::Hex => Secret::new(hex(&bytes(length)?)),
        SecretKind::Base64 => Secret::new(STANDARD.encode(&*bytes(length)?)),
        SecretKind::Base64Url => Secret::new(URL_SAFE_NO_PAD.encode(&*bytes(length)?)),
        SecretKind::Alnum => text(&[LOWER, UPPER, DIGIT].concat(), length)?,
        SecretKind::Digits => text(DIGIT, length)?,
        SecretKind::Password => password(length)?,
        SecretKind::Uuid => Secret::new(uuid()?),
        SecretKind::Age => Secret::new(super::keys::new_identity().0.as_str()),
        SecretKind::Jwt => Secret::new(URL_SAFE_NO_PAD.encode(&*bytes(64)?)),
        SecretKind::SshKey => ssh_key()?,
    })
}

fn bytes(length: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(format!("the operating system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Characters of an alphabet, each as likely as any other: bytes beyond the last whole multiple are thrown away.
fn text(alphabet: &[u8], length: usize) -> Result<Secret> {
    let fair = 256 - 256 % alphabet.len();
    let mut out = String::with_capacity(length);
    while out.len() < length {
        for byte in bytes(length - out.len() + 16)?.iter().map(|byte| usize::from(*byte)) {
            if byte < fair && out.len() < length {
                out.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    Ok(Secret::new(out))
}

/// Drawn as a whole until every class is there, so that no position is more predictable than another.
fn password(length: usize) -> Result<Secret> {
    let classes = [LOWER, UPPER, DIGIT, SIGN];
    if length < classes.len() {
        return Err(Error::new(format!(
            "a password of {length} characters cannot hold a letter of each case, a digit and a sign"
        ))
        .hint("use a length of at least 8"));
    }
    let alphabet = classes.concat();
    loop {
        let candidate = text(&alphabet, length)?;
        if classes.iter().all(|class| candidate.reveal().bytes().any(|byte| class.contains(&byte))) {
            return Ok(candidate);
        }
    }
}

fn ssh_key() -> Result<Secret> {
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&bytes(32)?);
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let text = ssh_key::PrivateKey::from(pair).to_openssh(ssh_key::LineEnding::LF);
    text.map(|text| Secret::new(text.as_str()))
        .map_err(|error| Error::new(format!("no SSH key could be made: {error}")))
}

fn uuid() -> Result<String> {
    let mut id = bytes(16)?;
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let all = hex(&id);
    Ok(format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_length_and_alphabet() {
        for (kind, length, characters, pattern) in [
            ("hex", 32, 64, "^[0-9a-f]+$"),
            ("base64", 32, 44, "^[A-Za-z0-9+/]+=$"),
            ("base64url", 32, 43, "^[A-Za-z0-9_-]+$"),
            ("alnum", 50, 50, "^[A-Za-z0-9]+$"),
            ("password", 8, 8, "^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?=.*[@_])[A-Za-z0-9@_]+$"),
            ("digits", 6, 6, "^[0-9]+$"),
            ("uuid", 1, 36, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
            ("age", 1, 74, "^AGE-SECRET-KEY-1[0-9A-Z]+$"),
            ("jwt", 1, 86, "^[A-Za-z0-9_-]+$"),
        ] {
            let kind: SecretKind = kind.parse().unwrap();
            let (one, other) = (generate(&kind, length).unwrap(), generate(&kind, length).unwrap());
            assert_eq!(one.reveal().len(), characters, "{kind:?}");
            assert!(fancy_regex::Regex::new(pattern).unwrap().is_match(one.reveal()).unwrap(), "{kind:?}");
            assert_ne!(one, other);
        }
        assert!("rot13".parse::<SecretKind>().is_err());
        assert!(generate(&SecretKind::Hex, 0).is_err());
    }

    #[test]
    fn ssh_keys_are_what_openssh_reads() {
        let keys = [(); 2].map(|()| generate(&SecretKind::SshKey, 32).unwrap());
        assert_ne!(keys[0], keys[1]);
        for key in keys {
            let read = age::ssh::Identity::from_buffer(key.reveal().as_bytes(), None).unwrap();
            let public = age::ssh::Recipient::try_from(read).unwrap().to_string();
            assert!(public.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"), "{public}");
            assert!(key.reveal().ends_with("-----END OPENSSH PRIVATE KEY-----\n"));
        }
    }

    #[test]
    fn every_character_is_as_likely_as_any_other() {
        let many = generate(&SecretKind::Alnum, 4096).unwrap();
        let mut counts = [0_u32; 128];
        for _ in 0..20 {
            for byte in generate(&SecretKind::Alnum, 4096).unwrap().reveal().bytes() {
                counts[usize::from(byte)] += 1;
            }
        }
        let used: Vec<u32> = counts.iter().copied().filter(|count| *count > 0).collect();
        assert_eq!(used.len(), 62);
        // 1321 expected of each; 8 standard deviations
        assert!(used.iter().all(|count| (1030..1620).contains(count)), "{used:?}");
        assert_eq!(many.reveal().len(), 4096);
    }
}
