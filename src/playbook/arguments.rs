//! A task's arguments and its loop: mappings, `k=v` strings, free-form strings, templates of whole mappings.

use std::sync::Arc;

use serde_json::Value;

use super::Loader;
use super::catalogue;
use super::types::{Action, ActionKind, Control, Repeat, RepeatKind};
use super::value::key_text;
use super::words;
use crate::error::{Error, Place};
use crate::plan::Object;
use crate::yaml::{Kind, Node};

impl Loader {
    pub(super) fn arguments(&mut self, node: &Node, args: &Node, name: &str, kind: ActionKind, label: &str) -> Action {
        let (known, free_form, open) = match kind {
            ActionKind::Module(spec) => (spec.args, spec.free_form, false),
            ActionKind::Control(control) => match catalogue::control_spec(control) {
                Some(spec) => (spec.args, spec.free_form, spec.open),
                None => (&[] as &[&str], None, false),
            },
        };
        let via_action = node.get("action").or_else(|| node.get("local_action")).is_some();
        let mut template = None;
        let mut given = Object::new();
        match &args.kind {
            Kind::Null => {}
            Kind::Map(_) => {
                given = self.object(args);
                if via_action {
                    given.shift_remove("module");
                }
            }
            Kind::String(_) => {
                let Value::String(text) = self.value(args) else { return empty_action(name, kind) };
                let text = match via_action {
                    true => text.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest).to_owned(),
                    false => text,
                };
                let whole = text.trim();
                if free_form.is_none() && whole.starts_with("{{") && whole.ends_with("}}") {
                    template = Some(Value::String(text));
                } else {
                    given = self.words(args, &text, known, free_form, open, label);
                }
            }
            Kind::List(_) if free_form.is_some() => {
                // `command: [a, b]`
                given.insert("argv".to_owned(), self.value(args));
            }
            Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) if free_form.is_some() => {
                let text = args.to_value().to_string();
                given.insert(free_form.unwrap_or_default().to_owned(), Value::String(text));
            }
            _ => {
                self.mistake(args, format!("task `{label}`: the arguments must be a mapping, not {}", args.describe()))
            }
        }
        if let Some(more) = node.get("args") {
            match &more.kind {
                Kind::String(_) => template = Some(self.value(more)),
                _ => {
                    for (key, value) in self.mapping(more, "args") {
                        given.entry(key).or_insert(value);
                    }
                }
            }
        }
        if !open {
            let wrong = given.keys().filter(|key| !known.contains(&key.as_str()));
            for key in wrong.cloned().collect::<Vec<_>>() {
                let at = [Some(args), node.get("args")].into_iter().flatten().find_map(|args| place_of(args, &key));
                let error = Error::at(at.unwrap_or(&args.place), format!("task `{label}`: unknown argument `{key}`"));
                let error = error.hint(format!("{name} takes: {}", known.join(", ")));
                self.errors.push(error.did_you_mean(&key, known.iter().copied()));
            }
        }
        self.check_control(kind, &given, args, label);
        Action { name: name.to_owned(), kind, args: Arc::new(given), template }
    }

    pub(super) fn words(
        &mut self,
        node: &Node,
        text: &str,
        known: &[&str],
        free_form: Option<&str>,
        open: bool,
        label: &str,
    ) -> Object {
        let split = match free_form {
            Some(free) => {
                let keys: Vec<&str> = known.iter().copied().filter(|key| *key != free).collect();
                words::split(text, Some(&keys))
            }
            None => words::split(text, None),
        };
        let mut given: Object =
            split.pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
        if open {
            // set_fact: a=yes
            for value in given.values_mut() {
                if let Some(flag) = value.as_str().and_then(word_flag) {
                    *value = Value::Bool(flag);
                }
            }
        }
        match free_form {
            _ if split.rest.is_empty() => {}
            Some(free) => {
                given.insert(free.to_owned(), Value::String(split.rest));
            }
            None => self.mistake(node, format!("task `{label}`: expected `key=value`, found `{}`", split.rest)),
        }
        given
    }

    fn check_control(&mut self, kind: ActionKind, given: &Object, node: &Node, label: &str) {
        let ActionKind::Control(control) = kind else { return };
        let needs: &[&str] = match control {
            Control::Assert => &["that"],
            Control::Meta => &["_raw_params"],
            Control::IncludeTasks => &["file"],
            Control::IncludeRole => &["name"],
            Control::IncludeServices => &["services"],
            Control::UrlCheck => &["url"],
            Control::OutsideCheck => &["check", "address"],
            Control::RolloutGate => &["failed"],
            _ => &[],
        };
        for needed in needs.iter().filter(|needed| !given.contains_key(**needed)) {
            let what = if *needed == "_raw_params" { "an action" } else { needed };
            self.errors.push(Error::at(&node.place, format!("task `{label}`: `{what}` is missing")));
        }
        if control == Control::Meta
            && let Some(Value::String(word)) = given.get("_raw_params")
            && !catalogue::META.contains(&word.as_str())
        {
            let error = Error::at(&node.place, format!("task `{label}`: unknown meta action `{word}`"));
            self.errors.push(error.did_you_mean(word, catalogue::META.iter().copied()));
        }
    }

    pub(super) fn repeat(&mut self, node: &Node) -> Option<Repeat> {
        let mut found = None;
        for (key, value) in node.entries() {
            let word = key_text(key);
            let kind = match word.as_str() {
                "loop" => RepeatKind::Loop,
                _ => match word.strip_prefix("with_") {
                    None => continue,
                    Some(lookup) => match repeat_kind(lookup) {
                        Some(kind) => kind,
                        None => {
                            let error = Error::at(&key.place, format!("`{word}` is not supported"));
                            self.errors.push(error.hint("write `loop:` with an expression"));
                            continue;
                        }
                    },
                },
            };
            if found.is_some() {
                self.mistake(key, format!("`{word}` is a second loop of this task"));
            }
            found = Some((kind, self.value(value)));
        }
        let control = node.get("loop_control");
        let (kind, over) = found?;
        let mut repeat = Repeat {
            kind,
            over,
            loop_var: "item".to_owned(),
            index_var: None,
            label: None,
            pause: None,
            extended: false,
        };
        for (key, value) in control.map(Node::entries).unwrap_or_default() {
            match key_text(key).as_str() {
                "loop_var" => repeat.loop_var = value.as_str().unwrap_or("item").to_owned(),
                "index_var" => repeat.index_var = value.as_str().map(str::to_owned),
                "label" => repeat.label = Some(self.value(value)),
                "pause" => repeat.pause = Some(self.value(value)),
                "extended" => repeat.extended = matches!(value.kind, Kind::Bool(true)),
                "extended_allitems" => {}
                other => {
                    let known = ["loop_var", "index_var", "label", "pause", "extended"];
                    self.unknown_keyword(key, other, "loop_control", known.into_iter());
                }
            }
        }
        Some(repeat)
    }
}

fn empty_action(name: &str, kind: ActionKind) -> Action {
    Action { name: name.to_owned(), kind, args: Arc::default(), template: None }
}

fn place_of<'n>(args: &'n Node, key: &str) -> Option<&'n Place> {
    args.entries().iter().find(|(name, _)| key_text(name) == key).map(|(name, _)| &name.place)
}

fn word_flag(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn repeat_kind(lookup: &str) -> Option<RepeatKind> {
    let short = lookup.rsplit('.').next().unwrap_or(lookup);
    Some(match short {
        "items" => RepeatKind::Items,
        "dict" => RepeatKind::Dict,
        "list" => RepeatKind::List,
        "nested" | "cartesian" => RepeatKind::Nested,
        "together" => RepeatKind::Together,
        "subelements" => RepeatKind::Subelements,
        "sequence" => RepeatKind::Sequence,
        "indexed_items" => RepeatKind::Indexed,
        "first_found" => RepeatKind::FirstFound,
        "fileglob" => RepeatKind::FileGlob,
        "flattened" => RepeatKind::Flattened,
        _ => return None,
    })
}
