//! Tasks and blocks: keywords, the action's name, `import_tasks` and `import_role` put in place.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::catalogue::{self, BLOCK, COMMON, TASK};
use super::types::{ActionKind, Around, Block, Control, Item, Keywords, Task};
use super::value::key_text;
use super::words::is_name;
use super::{Loader, Parts, find_file};
use crate::error::{Error, Place};
use crate::plan::Object;
use crate::yaml::{Kind, Node};

impl Loader {
    pub(super) fn task_file(&mut self, path: &Path, around: &Around) -> Vec<Item> {
        let key = path.to_owned();
        if self.open.contains(&key) {
            // a file that includes itself until a condition ends it: read when the host gets there
            return Vec::new();
        }
        self.open.push(key);
        let around = Around { dir: path.parent().map_or_else(|| around.dir.clone(), Path::to_owned), ..around.clone() };
        let items = self.document(path).map(|node| self.items(&node, &around, "a task file"));
        self.open.pop();
        items.unwrap_or_default()
    }

    /// A list of tasks and blocks.
    pub(super) fn items(&mut self, node: &Node, around: &Around, what: &str) -> Vec<Item> {
        match &node.kind {
            Kind::Null => Vec::new(),
            Kind::List(list) => {
                let around = Arc::new(around.clone());
                list.iter().flat_map(|item| self.item(item, &around)).collect()
            }
            _ => {
                self.mistake(node, format!("{what} must be a list of tasks, not {}", node.describe()));
                Vec::new()
            }
        }
    }

    pub(super) fn add_handlers(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Task(task) => self.handlers.push(task),
                Item::Block(block) => {
                    let inner = block.body.iter().chain(&*block.rescue).chain(&*block.always);
                    let inner: Vec<Item> = inner.cloned().collect();
                    self.add_handlers(inner);
                }
            }
        }
    }

    fn item(&mut self, node: &Node, around: &Arc<Around>) -> Vec<Item> {
        match &node.kind {
            Kind::Map(_) if node.get("block").is_some() => self.block(node, around).into_iter().collect(),
            Kind::Map(_) => self.task(node, around),
            Kind::Null => Vec::new(),
            _ => {
                self.mistake(node, format!("a task must be a mapping, not {}", node.describe()));
                Vec::new()
            }
        }
    }

    fn block(&mut self, node: &Node, around: &Around) -> Option<Item> {
        for (key, _) in node.entries() {
            let word = key_text(key);
            if !COMMON.contains(&word.as_str()) && !BLOCK.contains(&word.as_str()) {
                self.unknown_keyword(key, &word, "a block", BLOCK.iter().chain(COMMON).copied());
            }
        }
        let around = self.surroundings(node, around);
        let mut part = |key: &str| -> Arc<[Item]> {
            node.get(key).map(|node| self.items(node, &around, &format!("`{key}`"))).unwrap_or_default().into()
        };
        let (body, rescue, always) = (part("block"), part("rescue"), part("always"));
        let name = node.get("name").and_then(Node::as_str).unwrap_or("block").to_owned();
        Some(Item::Block(Arc::new(Block { name, place: node.place.clone(), body, rescue, always })))
    }

    /// What a play, block, role or task adds to its surroundings.
    pub(super) fn surroundings(&mut self, node: &Node, around: &Around) -> Around {
        let mut around = around.clone();
        if let Some(when) = node.get("when") {
            around.when.extend(self.conditions(when));
        }
        if let Some(vars) = node.get("vars") {
            let vars = self.variables(vars);
            if !vars.is_empty() {
                around.vars.push(Arc::new(vars));
            }
        }
        if let Some(tags) = node.get("tags") {
            for tag in self.strings(tags, "tags") {
                if !around.tags.contains(&tag) {
                    around.tags.push(tag);
                }
            }
        }
        if let Some(notify) = node.get("notify") {
            let names: Vec<Value> = self.listed(notify).into_iter().map(|node| node.to_value()).collect();
            around.notify.extend(names);
        }
        self.keywords(node, &mut around.keywords);
        around
    }

    fn conditions(&mut self, node: &Node) -> Vec<Value> {
        let nodes = self.listed(node);
        nodes.into_iter().map(|node| self.value(node)).collect()
    }

    pub(super) fn variables(&mut self, node: &Node) -> Object {
        let vars = self.mapping(node, "vars");
        for (key, _) in node.entries() {
            let name = key_text(key);
            if !is_name(&name) {
                self.mistake(key, format!("`{name}` is not a name for a variable"));
            }
        }
        vars
    }

    fn keywords(&mut self, node: &Node, into: &mut Keywords) {
        for (key, node) in node.entries() {
            let word = key_text(key);
            let list = match word.as_str() {
                "environment" => &mut into.environment,
                "module_defaults" => &mut into.module_defaults,
                other => {
                    if let Some(place) = keyword(into, other) {
                        *place = Some(self.value(node));
                    }
                    continue;
                }
            };
            for item in self.listed(node) {
                let value = self.value(item);
                list.push(value);
            }
        }
    }

    pub(super) fn unknown_keyword<'c>(
        &mut self,
        key: &Node,
        word: &str,
        what: &str,
        known: impl Iterator<Item = &'c str>,
    ) {
        let error = Error::at(&key.place, format!("unknown keyword `{word}` of {what}"));
        self.errors.push(match catalogue::refused_keyword(word) {
            Some(why) => Error::at(&key.place, format!("`{word}` is not supported")).hint(why),
            None => error.did_you_mean(word, known),
        });
    }

    fn task(&mut self, node: &Node, outer: &Arc<Around>) -> Vec<Item> {
        let name = node.get("name").map(|name| match name.to_value() {
            Value::String(text) => text,
            other => other.to_string(),
        });
        let Some((action_name, action_key, args)) = self.action_of(node, name.as_deref()) else {
            return Vec::new();
        };
        let around = self.surroundings(node, outer);
        let args = args.unwrap_or(action_key);
        match catalogue::short(&action_name) {
            "import_tasks" => return self.import_tasks(node, action_key, args, around),
            "import_role" => return self.import_role(node, args, around),
            _ => {}
        }
        let label = name.clone().unwrap_or_else(|| action_name.clone());
        let Some(kind) = catalogue::action(&action_name) else {
            self.errors.push(unknown_action(&action_name, &action_key.place));
            return Vec::new();
        };
        let action = self.arguments(node, args, &action_name, kind, &label);
        let repeat = self.repeat(node);
        let mut keywords = around.keywords;
        if node.get("local_action").is_some() {
            keywords.delegate_to = Some(Value::from("localhost"));
        }
        if let Some(limit) = node.get("async") {
            keywords.timeout = Some(self.value(limit));
        }
        if let Some(poll) = node.get("poll").filter(|poll| poll.to_value() == 0) {
            self.errors.push(
                Error::at(&poll.place, "`poll: 0` is not supported: tasks are not left running in the background")
                    .hint("leave `poll` out, or start the program as a service"),
            );
        }
        let mut own = |key: &str| node.get(key).map(|node| self.value(node));
        let (changed_when, failed_when, until) = (own("changed_when"), own("failed_when"), own("until"));
        let (retries, delay) = (own("retries"), own("delay"));
        let register = self.register(node);
        let listen = node.get("listen").map(|node| self.strings(node, "listen")).unwrap_or_default();
        let task = Task {
            name: label,
            place: node.place.clone(),
            action,
            when: around.when,
            vars: around.vars,
            tags: around.tags,
            notify: around.notify,
            keywords,
            repeat,
            register,
            listen,
            changed_when,
            failed_when,
            until,
            retries,
            delay,
            around: outer.clone(),
        };
        self.look_ahead(&task);
        vec![Item::Task(Arc::new(task))]
    }

    fn register(&mut self, node: &Node) -> Option<String> {
        let register = node.get("register")?;
        match register.as_str().filter(|name| is_name(name)) {
            Some(name) => Some(name.to_owned()),
            None => {
                self.mistake(register, "`register` must be a name for a variable");
                None
            }
        }
    }

    /// The action's name, the node to blame, and its arguments (`None`: they are the blamed node itself).
    fn action_of<'n>(&mut self, node: &'n Node, name: Option<&str>) -> Option<(String, &'n Node, Option<&'n Node>)> {
        let task = name.map_or_else(String::new, |name| format!("task `{name}`: "));
        let mut found: Vec<(&Node, &Node)> = Vec::new();
        for (key, value) in node.entries() {
            let word = key_text(key);
            let keyword = COMMON.contains(&word.as_str()) || TASK.contains(&word.as_str()) || word.starts_with("with_");
            if keyword && !matches!(word.as_str(), "action" | "local_action") {
                continue;
            }
            if let Some(why) = catalogue::refused_keyword(&word) {
                self.errors.push(Error::at(&key.place, format!("{task}`{word}` is not supported")).hint(why));
                continue;
            }
            found.push((key, value));
        }
        if found.len() > 1 {
            // whichever is not an action is the mistake
            let known = |key: &Node| {
                let word = key_text(key);
                catalogue::action(&word).is_some() || catalogue::IMPORTS.contains(&catalogue::short(&word))
            };
            let (actions, others): (Vec<_>, Vec<_>) = found.iter().copied().partition(|(key, _)| known(key));
            for (key, _) in &others {
                let word = key_text(key);
                let words = TASK.iter().chain(COMMON).copied().chain(catalogue::action_names());
                self.errors.push(
                    Error::at(&key.place, format!("{task}unknown keyword or module `{word}`"))
                        .did_you_mean(&word, words),
                );
            }
            if let [_, (second, _), ..] = &actions[..] {
                self.errors.push(Error::at(&second.place, format!("{task}a second module `{}`", key_text(second))));
            }
            found = if actions.len() == 1 { actions } else { return None };
        }
        let Some((key, value)) = found.first().copied() else {
            self.errors
                .push(Error::at(&node.place, format!("{task}no module")).hint("say what to do: `module: arguments`"));
            return None;
        };
        match key_text(key).as_str() {
            "action" | "local_action" => match &value.kind {
                Kind::String(text) => {
                    let name = text.split_whitespace().next().unwrap_or_default().to_owned();
                    Some((name, value, Some(value)))
                }
                Kind::Map(_) => match value.get("module").and_then(Node::as_str) {
                    Some(name) => Some((name.to_owned(), value, Some(value))),
                    None => {
                        self.mistake(value, format!("{task}`action` needs a `module`"));
                        None
                    }
                },
                _ => {
                    self.mistake(value, format!("{task}`action` must be a string or a mapping"));
                    None
                }
            },
            word => Some((word.to_owned(), key, Some(value))),
        }
    }

    fn import_tasks(&mut self, node: &Node, key: &Node, args: &Node, mut around: Around) -> Vec<Item> {
        self.no_loop(node, "import_tasks");
        let file = args.as_str().or_else(|| args.get("file").and_then(Node::as_str));
        let Some(file) = file else {
            self.mistake(key, "`import_tasks` needs a file");
            return Vec::new();
        };
        let file = file.trim().strip_prefix("file=").unwrap_or(file.trim());
        if file.contains("{{") {
            self.errors.push(
                Error::at(&args.place, "the file of `import_tasks` must be known when the playbook is read")
                    .hint("write `include_tasks`"),
            );
            return Vec::new();
        }
        params_from_vars(&mut around, node);
        match find_file(&around, "tasks", file) {
            Ok(path) if self.open.contains(&path) => {
                self.mistake(key, format!("`{file}` imports itself"));
                Vec::new()
            }
            Ok(path) => self.task_file(&path, &around),
            Err(error) => {
                self.errors.push(Error { place: Some(args.place.clone()), ..error });
                Vec::new()
            }
        }
    }

    fn import_role(&mut self, node: &Node, args: &Node, mut around: Around) -> Vec<Item> {
        self.no_loop(node, "import_role");
        let given = match &args.kind {
            Kind::String(text) => self.words(args, text, &[], None, true, "import_role"),
            _ => self.object(args),
        };
        let text = |key: &str| given.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(name) = text("name").or_else(|| text("role")) else {
            self.mistake(node, "`import_role` needs a name");
            return Vec::new();
        };
        if name.contains("{{") {
            self.errors.push(
                Error::at(&args.place, "the name of `import_role` must be known when the playbook is read")
                    .hint("write `include_role`"),
            );
            return Vec::new();
        }
        params_from_vars(&mut around, node);
        let parts = Parts {
            tasks: text("tasks_from"),
            vars: text("vars_from"),
            defaults: text("defaults_from"),
            handlers: text("handlers_from"),
        };
        self.role(&name, &parts, &around, &node.place).map(|(_, tasks)| tasks).unwrap_or_default()
    }

    fn no_loop(&mut self, node: &Node, action: &str) {
        let loops = |word: &str| word == "loop" || word.starts_with("with_");
        if let Some((key, _)) = node.entries().iter().find(|(key, _)| loops(&key_text(key))) {
            let error = Error::at(&key.place, format!("`{action}` cannot be looped over"));
            self.errors.push(error.hint(format!("write `{}`", action.replace("import", "include"))));
        }
    }

    /// Reads what a dynamic include will read, if its name is known, so that its mistakes are known now.
    fn look_ahead(&mut self, task: &Task) {
        let around = &task.around;
        let name = |key: &str| task.action.args.get(key).and_then(Value::as_str).filter(|name| !name.contains("{{"));
        let roles = self.roles.len();
        let handlers = self.handlers.len();
        let seen = self.seen.len();
        match task.action.kind {
            ActionKind::Control(Control::IncludeTasks) => {
                if let Some(path) = name("file").and_then(|file| find_file(around, "tasks", file).ok()) {
                    self.task_file(&path, around);
                }
            }
            ActionKind::Control(Control::IncludeRole) => {
                if let Some(role) = name("name").filter(|_| !task.action.args.contains_key("tasks_from")) {
                    let errors = self.errors.len();
                    self.role(role, &Parts::default(), around, &task.place);
                    // a role that is not there, or that includes itself, may be guarded by a condition
                    let guarded =
                        |error: &Error| error.text.ends_with("not found") || error.text.ends_with("itself in");
                    if self.errors.get(errors).is_some_and(guarded) {
                        self.errors.truncate(errors);
                    }
                }
            }
            _ => {}
        }
        self.roles.truncate(roles);
        self.handlers.truncate(handlers);
        self.seen.truncate(seen);
    }
}

/// `vars` of an import are parameters: they beat facts that were set.
fn params_from_vars(around: &mut Around, node: &Node) {
    if node.get("vars").is_some_and(|vars| !vars.is_null())
        && let Some(vars) = around.vars.pop()
    {
        around.params.push(vars);
    }
}

fn unknown_action(name: &str, place: &Place) -> Error {
    match catalogue::refused_action(name) {
        Some(why) => Error::at(place, format!("`{name}` is not supported")).hint(why),
        None => Error::at(place, format!("unknown module `{name}`")).did_you_mean(name, catalogue::action_names()),
    }
}

/// Where a keyword's value is kept.
pub(super) fn keyword<'k>(keywords: &'k mut Keywords, word: &str) -> Option<&'k mut Option<Value>> {
    Some(match word {
        "become" => &mut keywords.r#become,
        "become_user" => &mut keywords.become_user,
        "become_method" => &mut keywords.become_method,
        "remote_user" | "user" => &mut keywords.remote_user,
        "connection" => &mut keywords.connection,
        "no_log" => &mut keywords.no_log,
        "check_mode" => &mut keywords.check_mode,
        "diff" => &mut keywords.diff,
        "ignore_errors" => &mut keywords.ignore_errors,
        "ignore_unreachable" => &mut keywords.ignore_unreachable,
        "any_errors_fatal" => &mut keywords.any_errors_fatal,
        "run_once" => &mut keywords.run_once,
        "delegate_to" => &mut keywords.delegate_to,
        "delegate_facts" => &mut keywords.delegate_facts,
        "throttle" => &mut keywords.throttle,
        "timeout" => &mut keywords.timeout,
        _ => return None,
    })
}
