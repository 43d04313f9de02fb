//! Reading files and what is known about them.

pub const FAMILY: &[super::Spec] = &[];
