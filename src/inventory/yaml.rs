//! Inventory files in YAML: groups with `hosts`, `children` and `vars`. Anything else in a group is a mistake.

use std::path::Path;

use super::tree::{Owner, Tree};
use super::var_files::{check_plain, nested_places};
use super::{NestedPlaces, names};
use crate::error::{Error, Result};
use crate::yaml::{self, Node};

const SECTIONS: [&str; 3] = ["hosts", "children", "vars"];

pub fn read(path: &Path, tree: &mut Tree) -> Result<()> {
    let (root, warnings) = yaml::load_with_warnings(path)?;
    tree.warnings.extend(warnings);
    if !root.is_null() && !matches!(root.kind, yaml::Kind::Map(_)) {
        return Err(Error::at(
            &root.place,
            format!("an inventory is a mapping of groups, and this is {}", root.describe()),
        )
        .hint("start with `all:` and put `hosts:` below it"));
    }
    let mut errors = Vec::new();
    for (key, body) in root.entries() {
        let name = key.key_text();
        if SECTIONS.contains(&name.as_str()) {
            let text = format!("`{name}` stands at the top, where the groups are");
            errors.push(Error::at(&key.place, text).hint(format!("indent it below a group: `all:`, then `{name}:`")));
        } else if matches!(name.as_str(), "plugin" | "_meta") {
            let text = "inventory plugins and scripts are not supported".to_owned();
            errors.push(Error::at(&key.place, text).hint("save their output as a YAML or INI file"));
        } else if !body.is_null() && !matches!(body.kind, yaml::Kind::Map(_)) {
            let text = format!("unknown key `{name}`: at the top stand groups, and this holds {}", body.describe());
            errors.push(Error::at(&key.place, text).did_you_mean(&name, ["all"]));
        } else {
            group(&name, key, body, tree, &mut errors);
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

fn group(name: &str, key: &Node, body: &Node, tree: &mut Tree, errors: &mut Vec<Error>) {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "/:,&![]".contains(c)) {
        errors.push(Error::at(&key.place, format!("`{name}` is not a group name")));
        return;
    }
    tree.add_group(name);
    for (section, content) in body.entries() {
        let label = section.key_text();
        if !SECTIONS.contains(&label.as_str()) {
            let text = format!("unknown key `{label}` in group `{name}`");
            let error = Error::at(&section.place, text).did_you_mean(&label, SECTIONS);
            let known = "a group has `hosts`, `children` and `vars`; a variable goes below `vars`";
            errors.push(if error.hint.is_some() { error } else { error.hint(known) });
            continue;
        }
        if !content.is_null() && !matches!(content.kind, yaml::Kind::Map(_)) {
            let text = format!("`{label}` of group `{name}` is a mapping, and this is {}", content.describe());
            let hint = match label.as_str() {
                "vars" => "write `name: value` lines below it",
                _ => "write one `name:` line each below it, with the colon and without a dash",
            };
            errors.push(Error::at(&content.place, text).hint(hint));
            continue;
        }
        for (entry, value) in content.entries() {
            let read = match label.as_str() {
                "hosts" => hosts(name, entry, value, tree),
                "vars" => variable(Owner::Group(name), entry, value, tree),
                _ => child(name, entry, value, tree, errors),
            };
            errors.extend(read.err());
        }
    }
}

fn hosts(group: &str, key: &Node, body: &Node, tree: &mut Tree) -> Result<()> {
    let (hosts, port) = names::expand(&key.key_text()).map_err(|text| Error::at(&key.place, text))?;
    if !body.is_null() && !matches!(body.kind, yaml::Kind::Map(_)) {
        let text = format!("host `{}` holds {}, not variables", key.key_text(), body.describe());
        return Err(Error::at(&body.place, text).hint("write `name: value` lines below it"));
    }
    for host in hosts {
        tree.add_host(&host, group);
        if let Some(port) = port {
            tree.set(Owner::Host(&host), "ansible_port", port.into(), &key.place)?;
        }
        for (name, value) in body.entries() {
            variable(Owner::Host(&host), name, value, tree)?;
        }
    }
    Ok(())
}

fn child(parent: &str, key: &Node, body: &Node, tree: &mut Tree, errors: &mut Vec<Error>) -> Result<()> {
    let name = key.key_text();
    if !body.is_null() && !matches!(body.kind, yaml::Kind::Map(_)) {
        let text = format!("group `{name}` is a mapping, and this is {}", body.describe());
        return Err(Error::at(&body.place, text));
    }
    let before = errors.len();
    group(&name, key, body, tree, errors);
    if errors.len() == before {
        tree.add_child(parent, &name, &key.place);
    }
    Ok(())
}

fn variable(owner: Owner<'_>, key: &Node, value: &Node, tree: &mut Tree) -> Result<()> {
    check_plain(value)?;
    let name = key.key_text();
    let mut nested = NestedPlaces::new();
    nested_places(value, std::slice::from_ref(&name), &mut nested);
    tree.set_with_places(owner, &name, value.to_value(), &key.place, nested)
}
