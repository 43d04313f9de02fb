//! Users, groups and the keys they may log in with.

pub const FAMILY: &[super::Spec] = &[];
