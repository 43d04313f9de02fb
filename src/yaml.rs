//! YAML as PyYAML reads it (YAML 1.1 scalars, merge keys, last duplicate wins), every key and value with its place.
//!
//! Used for everything an operator writes: inventories, playbooks, variable files, settings.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Place, Result};

/// A YAML value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub place: Place,
    /// `!vault`, `!unsafe` …, without the `!`.
    pub tag: Option<String>,
    /// A scalar in quotes or a block scalar: was certainly meant as a string.
    pub quoted: bool,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    /// In the order of the file; duplicate keys are already gone (the last one won).
    Map(Vec<(Node, Node)>),
}

/// All documents of a text. `file` is for places only.
pub fn parse(text: &str, file: impl Into<Arc<Path>>) -> Result<Vec<Node>> {
    let _ = (text, file.into());
    unimplemented!("written by the yaml slice")
}

/// The one document of a file; an empty file is `Null`.
pub fn load(path: &Path) -> Result<Node> {
    let _ = path;
    unimplemented!("written by the yaml slice")
}

/// Text that PyYAML reads back as the same value (ambiguous strings such as `yes` are quoted).
pub fn emit(value: &Value) -> String {
    let _ = value;
    unimplemented!("written by the yaml slice")
}

impl Node {
    /// The value of a map's string key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }
    /// The map's entries; none if this is not a map.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }
    /// What this is, for messages: "a mapping", "a list", "a string" …
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::String(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
    /// Without places. Map keys that are not strings become their text.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Int(n) => Value::from(*n),
            Kind::Float(n) => Value::from(*n),
            Kind::String(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Map(entries) => Value::Object(entries.iter().map(|(k, v)| (k.key_text(), v.to_value())).collect()),
        }
    }
    fn key_text(&self) -> String {
        match self.to_value() {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }
}
