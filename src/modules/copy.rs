//! Files out of the controller's files and templates.

pub const FAMILY: &[super::Spec] = &[];
