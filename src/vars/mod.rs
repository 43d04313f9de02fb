//! Variables and templates: layered scopes, templated lazily as ansible-core 2.19 does it.
//!
//! Leaves out: where the layers come from (inventory, playbook, engine) and reading files (the [`World`] does).

mod scope;
pub mod validate;

pub use scope::{Fault, Layer, LookupKind, NoWorld, Scope, World};
