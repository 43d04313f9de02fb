//! Jobs of cron.

pub const FAMILY: &[super::Spec] = &[];
