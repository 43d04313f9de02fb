//! Files, directories and links as such.
pub const FAMILY: &[super::Spec] = &[];
