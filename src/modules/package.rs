//! Packages, whatever the host's package manager is.

pub const FAMILY: &[super::Spec] = &[];
