//! What the templates of packages and settings may see: the package's own files and the bases, and the inventory's
//! variables of every host. No facts: packages are rendered before anything is connected.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::catalogue::{Bases, Catalogue, Package};
use crate::inventory::Inventory;
use crate::plan::Object;
use crate::vars::{Fault, Layer, LookupKind, Scope, World};

/// What templates of a package may reach: its own files, the bases, and other hosts' inventory variables.
pub(super) struct PackageWorld {
    package: PathBuf,
    bases: Bases,
    inventory: Option<Arc<Inventory>>,
}

impl PackageWorld {
    /// For a package in a fleet.
    pub(super) fn of(catalogue: &Catalogue, package: &Package, inventory: &Arc<Inventory>) -> PackageWorld {
        PackageWorld { inventory: Some(inventory.clone()), ..PackageWorld::alone(catalogue, package) }
    }

    /// Without any host.
    pub(super) fn alone(catalogue: &Catalogue, package: &Package) -> PackageWorld {
        PackageWorld { package: package.dir.clone(), bases: catalogue.bases.clone(), inventory: None }
    }
}

impl World for PackageWorld {
    fn hostvars(&self, host: &str) -> Option<Scope> {
        let inventory = self.inventory.as_ref()?;
        inventory.host(host)?;
        Some(host_scope(inventory, host, &Object::new()))
    }

    fn hosts(&self) -> Vec<String> {
        self.inventory.iter().flat_map(|inventory| inventory.hosts()).map(|host| host.name.clone()).collect()
    }

    fn read(&self, _: LookupKind, name: &str) -> std::result::Result<(PathBuf, Vec<u8>), Fault> {
        let own = self.package.join(name);
        let path = if crate::shipped::exists(&own) {
            Some(own)
        } else {
            self.bases.file(name.trim_start_matches("_defaults/"))
        };
        let path =
            path.ok_or_else(|| Fault::new(format!("file `{name}` is neither in the package nor in _defaults")))?;
        let bytes =
            crate::shipped::read(&path).map_err(|error| Fault::new(format!("cannot read `{name}`: {error}")))?;
        Ok((path, bytes))
    }
}

/// A host's inventory variables and `-e` as a scope, without facts.
pub fn host_scope(inventory: &Arc<Inventory>, host: &str, extra_vars: &Object) -> Scope {
    let world =
        PackageWorld { package: PathBuf::from("."), bases: Bases::default(), inventory: Some(inventory.clone()) };
    let mut scope = Scope::new(Arc::new(world));
    for layer in inventory.layers(host) {
        scope.push(Layer { vars: layer.vars.clone(), raw: false });
    }
    let groups = inventory.host(host).map(|host| host.groups.clone()).unwrap_or_default();
    let mut magic = Object::new();
    magic.insert("inventory_hostname".to_owned(), Value::from(host));
    magic.insert("inventory_hostname_short".to_owned(), Value::from(host.split('.').next().unwrap_or(host)));
    magic.insert("group_names".to_owned(), Value::from(groups));
    scope.push(Layer::raw(magic));
    scope.push(Layer { vars: Arc::new(extra_vars.clone()), raw: false });
    scope
}
