//! Looking at the network from the host.

pub const FAMILY: &[super::Spec] = &[];
