//! What is known about a host.

pub const FAMILY: &[super::Spec] = &[];
