//! Secrets at rest and in sight: age-encrypted settings files, generators, and the redactor that keeps plaintext out
//! of everything that is shown.
//!
//! Leaves out: which settings are secret and where they go (services), and key management beyond reading identities.

mod env_file;
mod generate;
mod keys;
mod redact;

pub use env_file::{Draft, EnvFile};
pub use generate::{SecretKind, generate};
pub use keys::{Identities, Recipients};
pub use redact::Redactor;
