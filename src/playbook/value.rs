//! YAML nodes as the values that plays and tasks carry: `!unsafe` text is kept from being templated, `!vault` is
//! refused.

use serde_json::Value;

use super::Loader;
use crate::error::Error;
use crate::plan::Object;
use crate::yaml::{Kind, Node};

impl Loader {
    pub(super) fn value(&mut self, node: &Node) -> Value {
        match (&node.kind, node.tag.as_deref()) {
            (_, Some("vault")) => {
                self.errors.push(
                    Error::at(&node.place, "`!vault` values cannot be read")
                        .hint("keep secrets in inventory/vps_data/<host>/<service>.env.age"),
                );
                Value::Null
            }
            (Kind::String(text), Some("unsafe")) if text.contains('{') => {
                Value::String(format!("{{% raw %}}{text}{{% endraw %}}"))
            }
            (Kind::List(items), _) => items.iter().map(|item| self.value(item)).collect(),
            (Kind::Map(_), _) => Value::Object(self.object(node)),
            _ => node.to_value(),
        }
    }

    /// A mapping's entries; nothing if it is something else.
    pub(super) fn object(&mut self, node: &Node) -> Object {
        node.entries().iter().map(|(key, value)| (key_text(key), self.value(value))).collect()
    }

    /// A mapping, or nothing; anything else is a mistake.
    pub(super) fn mapping(&mut self, node: &Node, what: &str) -> Object {
        match node.kind {
            Kind::Map(_) | Kind::Null => self.object(node),
            _ => {
                self.mistake(node, format!("`{what}` must be a mapping, not {}", node.describe()));
                Object::new()
            }
        }
    }

    /// A list, or one element alone.
    pub(super) fn listed<'n>(&self, node: &'n Node) -> Vec<&'n Node> {
        match &node.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Null => Vec::new(),
            _ => vec![node],
        }
    }

    /// A string or a list of strings; strings are split at commas.
    pub(super) fn strings(&mut self, node: &Node, what: &str) -> Vec<String> {
        let mut strings = Vec::new();
        for item in self.listed(node) {
            match self.value(item) {
                Value::String(text) => {
                    strings.extend(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
                }
                Value::Number(number) => strings.push(number.to_string()),
                Value::Bool(flag) => strings.push(flag.to_string()),
                _ => self.mistake(item, format!("`{what}` must hold strings, not {}", item.describe())),
            }
        }
        strings
    }

    pub(super) fn mistake(&mut self, node: &Node, text: impl Into<String>) {
        self.errors.push(Error::at(&node.place, text));
    }
}

pub(super) fn key_text(key: &Node) -> String {
    match key.to_value() {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
