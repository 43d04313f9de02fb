//! Registry packages and a client's settings become what the engine deploys.
//!
//! [`Catalogue`] reads the packages, [`settings`] resolves a service's settings on a host, [`render`] makes the
//! stack, [`Rollout`] puts a whole fleet's selection together before anything is touched. What is then done with a
//! service is a task file (`playbooks/services/deploy.yml` brings it up), not code. No service has a name here.

pub mod author;
pub mod backup;
mod build;
pub mod catalogue;
mod checks;
pub mod declared;
pub mod fleet_lock;
mod git;
pub mod handover;
mod health_checks;
pub mod image_registry;
pub mod instance;
pub mod lint;
pub mod manifest;
mod manifest_data;
pub mod mode;
mod mounted;
pub mod parts;
pub mod ports;
pub mod profile;
pub mod questions;
pub mod render;
pub mod rollout;
pub mod rotation;
mod secret_files;
pub mod settings;
mod traps;
mod wires;
pub mod world;

pub use catalogue::{Catalogue, Package};
pub use fleet_lock::FleetLock;
pub use instance::Instance;
pub use mode::Mode;
pub use parts::Grain;
pub use render::Rendered;
pub use rollout::{HostServices, Rollout, Selection};
pub use rotation::Rotation;

use serde_json::Value;

use crate::plan::{Failure, Object};
use crate::vars::Scope;

/// One service of a host as `include_services` hands it to a task file.
#[derive(Clone, Debug)]
pub struct ServiceDeploy {
    pub service: String,
    pub version: String,
    pub url: Option<String>,
    /// One variable, `service`, whose values are data: never templated again. `service.requires` lists the services of
    /// this host without which this one is not tried.
    pub vars: Object,
}

/// What the engine asks when it meets `include_services`.
pub trait Services: Send + Sync {
    /// The host's services in the order of their deployment.
    fn expand(&self, host: &str, selection: &Value, scope: &Scope) -> Result<Vec<ServiceDeploy>, Failure>;

    /// Variables of the whole run about them.
    fn vars(&self) -> Object {
        Object::new()
    }
}
