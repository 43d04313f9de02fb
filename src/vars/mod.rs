//! Variables and templates: layered scopes, templated lazily as ansible-core 2.19 does it.
//!
//! [`Scope`] is all that others use. Below it: `engine` runs templates, `strict` makes undefined an error where it
//! must be one, `lazy` shows variables to templates without copying them, `json` converts, and `filters`,
//! `predicates`, `functions`, `methods` are what templates may call.
//!
//! Leaves out: where the layers come from (inventory, playbook, engine) and reading files (the [`World`] does).

mod args;
mod engine;
mod fault;
mod filters;
mod functions;
mod json;
mod lazy;
mod lookups;
mod methods;
mod mutable;
mod predicates;
pub mod pyregex;
mod scope;
mod strict;
mod time;
pub mod validate;
pub mod version;
mod yaml_out;

pub use fault::Fault;
pub use json::{OMIT, is_omit};
pub use scope::{Layer, LookupKind, NoWorld, Scope, World};
