//! Keeps known secrets out of everything that is shown.

use std::borrow::Cow;
use std::sync::{Arc, RwLock};

use serde_json::Value;

/// Replaces known secrets by `********`. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    pub fn new() -> Self {
        Redactor::default()
    }

    /// Secrets shorter than 4 characters are ignored: they would redact half of every text.
    pub fn add(&self, secret: &str) {
        let _ = (secret, &self.known);
        todo!()
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let _ = text;
        todo!()
    }

    /// Every string in a value, at any depth; keys too.
    pub fn value(&self, value: &mut Value) {
        let _ = value;
        todo!()
    }
}
