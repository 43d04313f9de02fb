//! Debian packages.

pub const FAMILY: &[super::Spec] = &[];
