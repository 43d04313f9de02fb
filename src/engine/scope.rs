//! Which variables a task sees: Ansible's order of precedence, put together out of layers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::host::Host;
use super::run::{Batch, Run};
use crate::plan::Object;
use crate::playbook::{Around, Role, Task, find_file};
use crate::shipped;
use crate::vars::{Fault, Layer, LookupKind, Scope, World};

/// What templates may look at besides variables.
pub(super) struct View {
    pub run: Arc<Run>,
    pub around: Arc<Around>,
}

impl World for View {
    fn hostvars(&self, host: &str) -> Option<Scope> {
        self.run.host(host).map(|host| host_scope(&self.run, &host, &self.around))
    }

    fn hosts(&self) -> Vec<String> {
        self.run.hosts.keys().cloned().collect()
    }

    fn read(&self, kind: LookupKind, name: &str) -> Result<(PathBuf, Vec<u8>), Fault> {
        let subdir = match kind {
            LookupKind::File => "files",
            LookupKind::Template => "templates",
        };
        let path = find_file(&self.around, subdir, name).map_err(|error| Fault {
            text: error.text,
            hint: error.hint,
            ..Fault::default()
        })?;
        let bytes = shipped::read(&path).map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        Ok((path, bytes))
    }
}

/// A host's variables outside of any play, as `hostvars` shows them.
pub(super) fn host_scope(run: &Arc<Run>, host: &Host, around: &Arc<Around>) -> Scope {
    let grown = host.grown();
    let mut scope = Scope::new(Arc::new(View { run: run.clone(), around: around.clone() }));
    host.inventory.iter().for_each(|layer| scope.push(layer.clone()));
    for layer in [grown.facts, grown.included, grown.set, Layer::written(run.extra_vars.clone())] {
        scope.push(layer);
    }
    scope.push(Layer::raw(run.magic.clone()));
    scope.push(Layer::raw(about_host(run, host)));
    scope
}

/// The variables of one task on one host. `inner` are the loop variables and parameters of the includes around it.
pub(super) fn task_scope(batch: &Arc<Batch>, host: &Host, play_vars: &[Layer], task: &Task, inner: &[Layer]) -> Scope {
    let run = &batch.run;
    let around = &task.around;
    let grown = host.grown();
    let mut scope = Scope::new(Arc::new(View { run: run.clone(), around: around.clone() }));
    let own: Vec<&Arc<Role>> = match &around.role {
        Some(role) => role.parents.iter().rev().chain([role]).collect(),
        None => Vec::new(),
    };
    let roles: Vec<&Arc<Role>> = batch.play.roles.iter().chain(&grown.roles).chain(own).collect();
    let mut push = |layer: Layer| {
        if !layer.vars.is_empty() {
            scope.push(layer);
        }
    };
    roles.iter().for_each(|role| push(Layer::written(role.defaults.clone())));
    host.inventory.iter().for_each(|layer| push(layer.clone()));
    push(grown.facts);
    play_vars.iter().for_each(|layer| push(layer.clone()));
    roles.iter().for_each(|role| push(Layer::written(role.vars.clone())));
    task.vars.iter().for_each(|vars| push(Layer::written(vars.clone())));
    push(grown.included);
    push(grown.set);
    around.params.iter().for_each(|vars| push(Layer::written(vars.clone())));
    push(Layer::written(run.extra_vars.clone()));
    push(Layer::raw(run.magic.clone()));
    push(Layer::raw(batch.magic.clone()));
    push(Layer::raw(about_host(run, host)));
    push(Layer::raw(batch.roster()));
    push(Layer::raw(about_role(around)));
    inner.iter().for_each(|layer| push(layer.clone()));
    scope
}

/// Magic variables that are the same in the whole run.
pub(super) fn about_run(job: &super::Job) -> Object {
    let groups: Object = job.inventory.groups().iter().map(|(group, hosts)| (group.clone(), json!(hosts))).collect();
    let tags = match job.tags.is_empty() {
        true => vec!["all".to_owned()],
        false => job.tags.clone(),
    };
    let dir = job.inventory.data_dir().display().to_string();
    object(json!({
        "groups": groups,
        "inventory_dir": dir,
        "ansible_check_mode": job.check,
        "ansible_diff_mode": job.diff,
        "ansible_forks": job.forks,
        "ansible_verbosity": 0,
        "ansible_run_tags": tags,
        "ansible_skip_tags": job.skip_tags,
        "ansible_limit": job.limit.join(","),
        "ansible_version": {"full": "2.19.0", "major": 2, "minor": 19, "revision": 0, "string": "2.19.0"},
        "ansible_managed": "Ansible managed",
        "provision_run_id": job.run,
    }))
}

/// Magic variables of one batch of one play.
pub(super) fn about_batch(play: &crate::playbook::Play, all: &[String]) -> Object {
    let roles: Vec<&str> = play.roles.iter().map(|role| role.name.as_str()).collect();
    object(json!({
        "ansible_play_name": play.name,
        "ansible_play_hosts_all": all,
        "ansible_play_role_names": roles,
        "ansible_role_names": roles,
        "role_names": roles,
        "playbook_dir": text(&play.around.play_dir),
    }))
}

fn about_host(run: &Run, host: &Host) -> Object {
    let mut groups: Vec<String> = run.inventory.host(&host.name).map(|known| known.groups.clone()).unwrap_or_default();
    groups.sort();
    let short = host.name.split('.').next().unwrap_or(&host.name);
    object(json!({
        "inventory_hostname": host.name,
        "inventory_hostname_short": short,
        "group_names": groups,
    }))
}

/// Of this batch the hosts that go on, of the play's other ones those that had not failed.
pub(super) fn about_roster(batch: &Batch) -> Object {
    let alive = batch.pace.alive();
    let own: HashSet<&str> = batch.hosts.iter().map(String::as_str).collect();
    let going: HashSet<&str> = alive.iter().map(String::as_str).collect();
    let all = batch.magic.get("ansible_play_hosts_all").and_then(Value::as_array);
    let well = |name: &&str| match own.contains(name) {
        true => going.contains(name),
        false => batch.run.host(name).is_some_and(|host| host.fate() == super::host::Fate::Well),
    };
    let play: Vec<&str> = all.into_iter().flatten().filter_map(Value::as_str).filter(well).collect();
    object(json!({ "ansible_play_hosts": play, "ansible_play_batch": alive, "play_hosts": alive }))
}

fn about_role(around: &Around) -> Object {
    let Some(role) = &around.role else { return Object::new() };
    let parents: Vec<&str> = role.parents.iter().map(|role| role.name.as_str()).collect();
    let paths: Vec<String> = role.parents.iter().map(|role| text(&role.path)).collect();
    object(json!({
        "role_name": role.name,
        "ansible_role_name": role.name,
        "role_path": text(&role.path),
        "ansible_parent_role_names": parents,
        "ansible_parent_role_paths": paths,
    }))
}

pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
