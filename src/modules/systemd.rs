//! Services.

pub const FAMILY: &[super::Spec] = &[];
