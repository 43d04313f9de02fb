//! Commands: the operator's own words, run on the host.

pub const FAMILY: &[super::Spec] = &[];
