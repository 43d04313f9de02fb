//! Package sources and downloads.

pub const FAMILY: &[super::Spec] = &[];
