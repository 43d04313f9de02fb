//! Groups and hosts while sources are read, and what follows from them: membership, depth, precedence.
//!
//! Precedence among a host's groups is Ansible's: by depth (the longest way down from `all`), then by
//! `ansible_group_priority`, then by name; the last one wins.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::{Host, NestedPlaces, VarLayer};
use crate::error::{Error, Place, Result};
use crate::plan::Object;

#[derive(Default)]
pub struct Tree {
    groups: IndexMap<String, Group>,
    hosts: IndexMap<String, Vec<Definition>>,
    pub warnings: Vec<Error>,
}

#[derive(Default)]
struct Group {
    hosts: IndexSet<String>,
    children: IndexMap<String, Place>,
    vars: Vec<Definition>,
    priority: i64,
}

/// What one file says of one group or host.
struct Definition {
    file: Arc<Path>,
    vars: Object,
    places: IndexMap<String, Place>,
    nested: NestedPlaces,
}

/// Whose variable it is.
#[derive(Clone, Copy)]
pub enum Owner<'n> {
    Group(&'n str),
    Host(&'n str),
}

pub struct Finished {
    pub hosts: IndexMap<String, Host>,
    pub groups: IndexMap<String, Vec<String>>,
    pub host_vars: IndexMap<String, Vec<VarLayer>>,
    pub group_vars: IndexMap<String, Vec<VarLayer>>,
    pub warnings: Vec<Error>,
}

impl Tree {
    pub fn add_group(&mut self, name: &str) {
        self.groups.entry(name.to_owned()).or_insert_with(|| Group { priority: 1, ..Group::default() });
    }

    pub fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name) || matches!(name, "all" | "ungrouped")
    }

    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    pub fn add_child(&mut self, parent: &str, child: &str, place: &Place) {
        self.add_group(parent);
        self.add_group(child);
        if let Some(group) = self.groups.get_mut(parent) {
            group.children.entry(child.to_owned()).or_insert_with(|| place.clone());
        }
    }

    pub fn add_host(&mut self, name: &str, group: &str) {
        self.hosts.entry(name.to_owned()).or_default();
        self.add_group(group);
        if let Some(group) = self.groups.get_mut(group) {
            group.hosts.insert(name.to_owned());
        }
    }

    /// `nested`: the places of the keys inside of the value.
    pub fn set_with_places(
        &mut self,
        owner: Owner<'_>,
        key: &str,
        value: Value,
        place: &Place,
        nested: NestedPlaces,
    ) -> Result<()> {
        let definitions = match owner {
            Owner::Group(name) => {
                self.add_group(name);
                let Some(group) = self.groups.get_mut(name) else { return Ok(()) };
                if key == "ansible_group_priority" {
                    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
                    group.priority =
                        number.ok_or_else(|| Error::at(place, "`ansible_group_priority` is not an integer"))?;
                    return Ok(());
                }
                &mut group.vars
            }
            Owner::Host(name) => self.hosts.entry(name.to_owned()).or_default(),
        };
        if definitions.last().is_none_or(|last| last.file != place.file) {
            definitions.push(Definition {
                file: place.file.clone(),
                vars: Object::new(),
                places: IndexMap::new(),
                nested: NestedPlaces::new(),
            });
        }
        if let Some(last) = definitions.last_mut() {
            last.vars.insert(key.to_owned(), value);
            last.places.insert(key.to_owned(), place.clone());
            last.nested.retain(|path, _| path.first().is_none_or(|first| first != key));
            last.nested.extend(nested);
        }
        Ok(())
    }

    pub fn set(&mut self, owner: Owner<'_>, key: &str, value: Value, place: &Place) -> Result<()> {
        self.set_with_places(owner, key, value, place, NestedPlaces::new())
    }

    pub fn finish(mut self) -> Result<Finished> {
        self.add_group("all");
        self.add_group("ungrouped");
        self.adopt_orphans();
        let depths = self.depths()?;
        let parents = self.parents();
        let order: HashMap<&str, (usize, i64, &str)> = self
            .groups
            .iter()
            .map(|(name, group)| (name.as_str(), (depths[name.as_str()], group.priority, name.as_str())))
            .collect();

        let mut hosts = IndexMap::new();
        let mut direct: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, group) in &self.groups {
            for host in &group.hosts {
                direct.entry(host).or_default().push(name);
            }
        }
        for name in self.hosts.keys() {
            let mut all: HashSet<&str> = HashSet::new();
            let mut open: Vec<&str> = direct.get(name.as_str()).cloned().unwrap_or_default();
            while let Some(group) = open.pop() {
                if group != "all" && all.insert(group) {
                    open.extend(parents.get(group).into_iter().flatten());
                }
            }
            let mut groups: Vec<&str> = all.into_iter().collect();
            groups.sort_by_key(|group| order[group]);
            let groups = groups.into_iter().map(str::to_owned).collect();
            hosts.insert(name.clone(), Host { name: name.clone(), groups });
        }
        let mut groups: IndexMap<String, Vec<String>> = IndexMap::new();
        for first in ["all", "ungrouped"] {
            groups.insert(first.to_owned(), self.members(first));
        }
        for name in self.groups.keys() {
            if !groups.contains_key(name) {
                groups.insert(name.clone(), self.members(name));
            }
        }
        for name in hosts.keys().filter(|name| groups.contains_key(*name)) {
            self.warnings.push(Error::new(format!("`{name}` is the name of a host and of a group")));
        }
        let group_vars = self.groups.into_iter().map(|(name, group)| {
            let layers = layers(group.vars, "group", &name);
            (name, layers)
        });
        let group_vars = group_vars.collect();
        let host_vars = self.hosts.into_iter().map(|(name, definitions)| {
            let layers = layers(definitions, "host", &name);
            (name, layers)
        });
        Ok(Finished { hosts, groups, host_vars: host_vars.collect(), group_vars, warnings: self.warnings })
    }

    /// Groups without a parent belong to `all`, hosts without a group to `ungrouped`, and nothing else does.
    fn adopt_orphans(&mut self) {
        let place = Place::file(Path::new(""));
        let children: HashSet<String> = self.groups.values().flat_map(|group| group.children.keys().cloned()).collect();
        let orphans: Vec<String> = std::iter::once("ungrouped".to_owned())
            .chain(self.groups.keys().filter(|name| *name != "all" && *name != "ungrouped").cloned())
            .filter(|name| !children.contains(name))
            .collect();
        for orphan in orphans {
            self.add_child("all", &orphan, &place);
        }
        let grouped: HashSet<String> = self
            .groups
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "all" | "ungrouped"))
            .flat_map(|(_, group)| group.hosts.iter().cloned())
            .collect();
        let loose: IndexSet<String> = self.hosts.keys().filter(|host| !grouped.contains(*host)).cloned().collect();
        if let Some(ungrouped) = self.groups.get_mut("ungrouped") {
            ungrouped.hosts = loose;
        }
    }

    fn parents(&self) -> HashMap<&str, Vec<&str>> {
        let mut parents: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, group) in &self.groups {
            for child in group.children.keys() {
                parents.entry(child).or_default().push(name);
            }
        }
        parents
    }

    /// The longest way down from `all` to each group; a circle is an error.
    fn depths(&self) -> Result<HashMap<&str, usize>> {
        let parents = self.parents();
        let mut depths: HashMap<&str, usize> = HashMap::new();
        while depths.len() < self.groups.len() {
            let before = depths.len();
            for name in self.groups.keys() {
                let above = parents.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                let known: Option<Vec<usize>> = above.iter().map(|parent| depths.get(parent).copied()).collect();
                if let (Some(known), false) = (known, depths.contains_key(name.as_str())) {
                    depths.insert(name, known.into_iter().max().map_or(0, |depth| depth + 1));
                }
            }
            if depths.len() == before {
                return Err(self.circle(&depths));
            }
        }
        Ok(depths)
    }

    /// Some group that is its own descendant, among those whose depth could not be found.
    fn circle(&self, depths: &HashMap<&str, usize>) -> Error {
        let stuck = |name: &&String| !depths.contains_key(name.as_str());
        for start in self.groups.keys().filter(stuck) {
            let mut way: Vec<&str> = vec![start];
            while let Some(next) = way.last().and_then(|name| self.groups.get(*name)).and_then(|group| {
                group.children.keys().find(|child| {
                    stuck(child) && (*child == start || (!way.contains(&child.as_str()) && self.leads_to(child, start)))
                })
            }) {
                way.push(next);
                if next == start {
                    let place = self.groups[way[way.len() - 2]].children.get(next);
                    let text = format!("groups are their own children in a circle: {}", way.join(" → "));
                    return place.map_or_else(|| Error::new(&text), |place| Error::at(place, &text));
                }
            }
        }
        Error::new("groups are their own children in a circle")
    }

    fn leads_to(&self, from: &str, to: &str) -> bool {
        self.below(from).contains(to)
    }

    /// The group and everything below it, level by level.
    fn below<'s>(&'s self, name: &'s str) -> IndexSet<&'s str> {
        let mut found: IndexSet<&str> = IndexSet::from([name]);
        let mut at = 0;
        while let Some(group) = found.get_index(at).and_then(|name| self.groups.get(*name)) {
            found.extend(group.children.keys().map(String::as_str));
            at += 1;
        }
        found
    }

    fn members(&self, name: &str) -> Vec<String> {
        let all: IndexSet<&String> = self
            .below(name)
            .into_iter()
            .filter_map(|name| self.groups.get(name))
            .flat_map(|group| &group.hosts)
            .collect();
        all.into_iter().cloned().collect()
    }
}

fn layers(definitions: Vec<Definition>, what: &str, name: &str) -> Vec<VarLayer> {
    let layer = |definition: Definition| {
        let file = definition.file.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        VarLayer {
            name: format!("{file}, {what} {name}"),
            vars: Arc::new(definition.vars),
            places: Arc::new(definition.places),
            nested: Arc::new(definition.nested),
        }
    };
    definitions.into_iter().map(layer).collect()
}
