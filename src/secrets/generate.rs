//! New secrets out of the operating system's randomness.

use std::str::FromStr;

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
    /// Length in characters: letters, digits, `@` and `_`, at least one of each of upper, lower, digit and sign.
    Password,
    /// Length in digits.
    Digits,
    /// A random UUID (version 4); the length does not count.
    Uuid,
}

impl FromStr for SecretKind {
    type Err = Error;

    fn from_str(kind: &str) -> Result<Self> {
        let _ = kind;
        todo!()
    }
}

/// A new secret. `length` counts what the kind says.
pub fn generate(kind: &SecretKind, length: usize) -> Result<Secret> {
    let _ = (kind, length);
    todo!()
}
