//! The uncomplicated firewall.

pub const FAMILY: &[super::Spec] = &[];
