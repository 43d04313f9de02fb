//! Edits of text files in place.

pub const FAMILY: &[super::Spec] = &[];
