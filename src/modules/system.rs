//! Host name, time zone, kernel settings.

pub const FAMILY: &[super::Spec] = &[];
