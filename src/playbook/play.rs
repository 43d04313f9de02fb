//! Plays and imported playbooks.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::catalogue::{COMMON, PLAY};
use super::types::{Around, Order, Play, Prompt, Strategy};
use super::value::key_text;
use super::{Loader, resolve};
use crate::error::Error;
use crate::plan::Object;
use crate::yaml::{self, Kind, Node};

impl Loader {
    pub(super) fn playbook(&mut self, path: &Path) -> Vec<Play> {
        let path = absolute(path);
        if self.open.contains(&path) {
            self.errors.push(Error::new(format!("{}: the playbook imports itself", path.display())));
            return Vec::new();
        }
        self.open.push(path.clone());
        let plays = self.document(&path).map(|node| self.plays(&node, &path)).unwrap_or_default();
        self.open.pop();
        plays
    }

    pub(super) fn playbook_text(&mut self, text: &str, path: &Path) -> Vec<Play> {
        match yaml::parse(text, path) {
            Ok(documents) => documents.iter().flat_map(|node| self.plays(node, path)).collect(),
            Err(error) => {
                self.errors.push(error);
                Vec::new()
            }
        }
    }

    fn plays(&mut self, node: &Node, path: &Path) -> Vec<Play> {
        let Kind::List(entries) = &node.kind else {
            if !node.is_null() {
                self.mistake(node, format!("a playbook must be a list of plays, not {}", node.describe()));
            }
            return Vec::new();
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut plays = Vec::new();
        for entry in entries {
            let import = entry.get("import_playbook").or_else(|| entry.get("ansible.builtin.import_playbook"));
            match import {
                Some(import) => plays.extend(self.import_playbook(entry, import, dir)),
                None => plays.extend(self.play(entry, dir)),
            }
        }
        plays
    }

    fn import_playbook(&mut self, entry: &Node, import: &Node, dir: &Path) -> Vec<Play> {
        let Some(name) = import.as_str().filter(|name| !name.contains("{{")) else {
            self.mistake(import, "`import_playbook` needs the name of a file");
            return Vec::new();
        };
        let path = resolve(dir, name.trim());
        if !crate::shipped::exists(&path) {
            let error = Error::at(&import.place, format!("playbook `{name}` not found"));
            self.errors.push(error.hint(format!("looked at {}", path.display())));
            return Vec::new();
        }
        let outer = self.surroundings(entry, &Around::default());
        let mut plays = self.playbook(&path);
        for play in &mut plays {
            outer_of_import(play, &outer);
        }
        plays
    }

    fn play(&mut self, node: &Node, dir: &Path) -> Option<Play> {
        let Kind::Map(entries) = &node.kind else {
            self.mistake(node, format!("a play must be a mapping, not {}", node.describe()));
            return None;
        };
        for (key, _) in entries {
            let word = key_text(key);
            if !COMMON.contains(&word.as_str()) && !PLAY.contains(&word.as_str()) {
                self.unknown_keyword(key, &word, "a play", PLAY.iter().chain(COMMON).copied());
            }
        }
        let Some(hosts) = node.get("hosts").filter(|hosts| !hosts.is_null()) else {
            self.errors.push(Error::at(&node.place, "the play names no hosts").hint("add `hosts: …`"));
            return None;
        };
        let around = Around { dir: dir.to_owned(), play_dir: dir.to_owned(), ..Around::default() };
        let mut around = self.surroundings(node, &around);
        // a play's variables are a layer of their own, below facts that were set
        let vars = around.vars.pop().unwrap_or_default();
        let outer = std::mem::take(&mut self.roles);
        let outer_handlers = std::mem::take(&mut self.handlers);
        let outer_seen = std::mem::take(&mut self.seen);

        let part = |loader: &mut Loader, key: &str| {
            node.get(key).map(|node| loader.items(node, &around, &format!("`{key}`"))).unwrap_or_default()
        };
        // in the order in which they run: a role that another one needs runs once
        let pre_tasks = part(self, "pre_tasks");
        let mut tasks = node.get("roles").map(|roles| self.role_list(roles, &around)).unwrap_or_default();
        tasks.extend(part(self, "tasks"));
        let post_tasks = part(self, "post_tasks");
        if let Some(handlers) = node.get("handlers") {
            let items = self.items(handlers, &around, "`handlers`");
            self.add_handlers(items);
        }
        let roles = std::mem::replace(&mut self.roles, outer);
        let handlers = std::mem::replace(&mut self.handlers, outer_handlers);
        let seen = std::mem::replace(&mut self.seen, outer_seen);

        let hosts_value = match self.value(hosts) {
            Value::Array(patterns) => {
                let patterns: Vec<String> = patterns.iter().filter_map(|p| p.as_str().map(str::to_owned)).collect();
                Value::String(patterns.join(","))
            }
            other => other,
        };
        let name = node.get("name").and_then(Node::as_str).map(str::to_owned);
        let name = name.unwrap_or_else(|| hosts_value.as_str().unwrap_or_default().to_owned());
        let mut list = |key: &str| -> Vec<Value> {
            let nodes = node.get(key).map(|node| self.listed(node)).unwrap_or_default();
            nodes.into_iter().map(|node| self.value(node)).collect()
        };
        let (vars_files, serial) = (list("vars_files"), list("serial"));
        for file in node.get("vars_files").map(|node| self.listed(node)).unwrap_or_default() {
            if let Some(name) = file.as_str().filter(|name| !name.contains("{{"))
                && !crate::shipped::exists(&resolve(dir, name))
            {
                self.mistake(file, format!("file of variables `{name}` not found"));
            }
        }
        Some(Play {
            name,
            place: node.place.clone(),
            hosts: hosts_value,
            gather_facts: node.get("gather_facts").map(|node| self.value(node)),
            gather_subset: node.get("gather_subset").map(|node| self.value(node)),
            vars,
            vars_files,
            vars_prompt: self.prompts(node),
            roles,
            seen,
            pre_tasks,
            tasks,
            post_tasks,
            handlers,
            serial,
            max_fail_percentage: self.percentage(node),
            force_handlers: node.get("force_handlers").is_some_and(|node| matches!(node.kind, Kind::Bool(true))),
            strategy: self.strategy(node),
            order: self.order(node),
            first: node.get("first").map(|node| self.value(node)),
            around: Arc::new(around),
        })
    }

    fn strategy(&mut self, node: &Node) -> Strategy {
        let Some(strategy) = node.get("strategy") else { return Strategy::Linear };
        match strategy.as_str().map(super::catalogue::short) {
            Some("linear" | "host_pinned") => Strategy::Linear,
            Some("free") => Strategy::Free,
            _ => {
                self.mistake(strategy, "`strategy` must be linear or free");
                Strategy::Linear
            }
        }
    }

    fn order(&mut self, node: &Node) -> Order {
        let Some(order) = node.get("order") else { return Order::Inventory };
        match order.as_str() {
            Some("inventory") => Order::Inventory,
            Some("reverse_inventory") => Order::ReverseInventory,
            Some("sorted") => Order::Sorted,
            Some("reverse_sorted") => Order::ReverseSorted,
            _ => {
                self.mistake(order, "`order` must be inventory, reverse_inventory, sorted or reverse_sorted");
                Order::Inventory
            }
        }
    }

    fn percentage(&mut self, node: &Node) -> Option<f64> {
        let percentage = node.get("max_fail_percentage")?;
        let number = match &percentage.kind {
            Kind::Int(number) => Some(*number as f64),
            Kind::Float(number) => Some(*number),
            Kind::String(text) => text.trim().trim_end_matches('%').parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.mistake(percentage, "`max_fail_percentage` must be a number");
        }
        number
    }

    fn prompts(&mut self, node: &Node) -> Vec<Prompt> {
        let Some(prompts) = node.get("vars_prompt") else { return Vec::new() };
        let mut found = Vec::new();
        for prompt in self.listed(prompts) {
            match prompt.get("name").and_then(Node::as_str) {
                Some(name) => found.push(Prompt {
                    name: name.to_owned(),
                    default: prompt.get("default").map(|node| self.value(node)),
                    place: prompt.place.clone(),
                }),
                None => self.mistake(prompt, "an entry of `vars_prompt` needs a name"),
            }
        }
        found
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    match path.starts_with(crate::shipped::ROOT) {
        true => path.to_owned(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// `vars`, `tags` and `when` of an `import_playbook` go to every task below it.
fn outer_of_import(play: &mut Play, outer: &Around) {
    let mut vars = Object::clone(&play.vars);
    for layer in &outer.vars {
        vars.extend(layer.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    play.vars = Arc::new(vars);
    if outer.tags.is_empty() && outer.when.is_empty() {
        return;
    }
    let mut around = Around::clone(&play.around);
    join(&mut around.tags, &outer.tags);
    around.when.splice(0..0, outer.when.iter().cloned());
    play.around = Arc::new(around);
    for items in [&mut play.pre_tasks, &mut play.tasks, &mut play.post_tasks] {
        *items = items.iter().map(|item| with_outer(item, outer)).collect();
    }
    play.handlers = play.handlers.iter().map(|task| task_with_outer(task, outer)).collect();
}

fn with_outer(item: &super::Item, outer: &Around) -> super::Item {
    let all = |items: &Arc<[super::Item]>| items.iter().map(|item| with_outer(item, outer)).collect();
    match item {
        super::Item::Task(task) => super::Item::Task(task_with_outer(task, outer)),
        super::Item::Block(block) => super::Item::Block(Arc::new(super::Block {
            body: all(&block.body),
            rescue: all(&block.rescue),
            always: all(&block.always),
            ..super::Block::clone(block)
        })),
    }
}

fn task_with_outer(task: &Arc<super::Task>, outer: &Around) -> Arc<super::Task> {
    let mut task = super::Task::clone(task);
    join(&mut task.tags, &outer.tags);
    task.when.splice(0..0, outer.when.iter().cloned());
    let mut around = Around::clone(&task.around);
    join(&mut around.tags, &outer.tags);
    around.when.splice(0..0, outer.when.iter().cloned());
    task.around = Arc::new(around);
    Arc::new(task)
}

fn join(tags: &mut Vec<String>, more: &[String]) {
    for tag in more {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
}
