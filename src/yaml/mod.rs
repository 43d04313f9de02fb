//! YAML as PyYAML reads it (YAML 1.1 scalars, merge keys, last duplicate wins), every key and value with its place.
//!
//! Used for everything an operator writes: inventories, playbooks, variable files, settings. Where it departs from
//! PyYAML: dates stay strings (there is no date type), integers beyond 64 bits stay strings with all their digits, and
//! a lone `=` is a string. Unknown tags are kept, not refused.

mod build;
mod de;
mod emit;
mod hints;
mod resolve;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Place, Result};

pub use de::from_node;
pub use emit::emit;

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
    parse_with_warnings(text, file).map(|(documents, _)| documents)
}

/// As [`parse`], with what is legal but surely not meant: duplicate keys.
pub fn parse_with_warnings(text: &str, file: impl Into<Arc<Path>>) -> Result<(Vec<Node>, Vec<Error>)> {
    build::documents(text, file.into())
}

/// The one document of a file; an empty file is `Null`.
pub fn load(path: &Path) -> Result<Node> {
    load_with_warnings(path).map(|(node, _)| node)
}

/// As [`load`], with the warnings of [`parse_with_warnings`].
pub fn load_with_warnings(path: &Path) -> Result<(Node, Vec<Error>)> {
    let place = Place::file(path);
    let bytes = std::fs::read(path).map_err(|error| Error::at(&place, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::at(&Place::new(path, line + 1, 0), "is not UTF-8 text").hint("save the file in UTF-8")
    })?;
    let (documents, warnings) = parse_with_warnings(&text, path)?;
    let mut documents = documents.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        return Err(Error::at(&second.place, "a second document starts here; one was expected")
            .hint("remove the `---` between them, or make it two files"));
    }
    let empty = || Node { kind: Kind::Null, place: Place::new(path, 1, 1), tag: None, quoted: false };
    Ok((first.unwrap_or_else(empty), warnings))
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
    /// Without places. Map keys that are not strings become their text, as Python prints them; infinities and
    /// not-a-number, which JSON lacks, become the strings `inf`, `-inf` and `nan`.
    ///
    /// An `!unsafe` string that looks like a template comes out as a template of the string, so that rendering it
    /// once gives back exactly what stands in the file.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Int(n) => Value::from(*n),
            Kind::Float(n) if n.is_finite() => Value::from(*n),
            Kind::Float(n) => Value::String(n.to_string().to_lowercase()),
            Kind::String(text) if self.tag.as_deref() == Some("unsafe") => Value::String(untemplated(text)),
            Kind::String(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Map(entries) => Value::Object(entries.iter().map(|(k, v)| (k.key_text(), v.to_value())).collect()),
        }
    }
    /// The text of a map's key: `True`, `22` and `None` as Python prints them.
    pub fn key_text(&self) -> String {
        match &self.kind {
            Kind::Null => "None".into(),
            Kind::Bool(true) => "True".into(),
            Kind::Bool(false) => "False".into(),
            Kind::String(text) => text.clone(),
            _ => match self.to_value() {
                Value::String(text) => text,
                other => other.to_string(),
            },
        }
    }
}

/// A template that renders to `text`; `text` itself if nothing in it would be taken for a template.
fn untemplated(text: &str) -> String {
    if !["{{", "{%", "{#"].iter().any(|opening| text.contains(opening)) {
        return text.to_owned();
    }
    let mut literal = String::from("{{ '");
    for character in text.chars() {
        match character {
            '\'' => literal.push_str("\\'"),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            other => literal.push(other),
        }
    }
    literal.push_str("' }}");
    literal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        parse(text, Path::new("f.yml")).unwrap_or_else(|error| panic!("{error}")).remove(0).to_value()
    }

    #[test]
    fn documents_become_values() {
        let table = [
            ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", json!({"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}})),
            ("b: {q: 3, <<: {p: 1, q: 2}}\n", json!({"b": {"p": 1, "q": 3}})),
            ("<<: [{a: 1}, {a: 2, b: 2}]\nc: 3\n", json!({"a": 1, "b": 2, "c": 3})),
            ("'<<': {a: 1}\n", json!({"<<": {"a": 1}})),
            ("a: 1\nb: 2\na: 3\n", json!({"a": 3, "b": 2})),
            ("- &a x\n- *a\n", json!(["x", "x"])),
            ("mode: 0644\nquoted: '0644'\n", json!({"mode": 420, "quoted": "0644"})),
            ("yes: 1\n22: 2\n~: 3\n", json!({"True": 1, "22": 2, "None": 3})),
            ("x: !!str 12\ny: !!int '12'\nz: !!float 3\n", json!({"x": "12", "y": 12, "z": 3.0})),
            ("x: ! 12\n", json!({"x": "12"})),
            ("t: |\n  a\n   b\n\nf: >-\n  a\n  b\n", json!({"t": "a\n b\n", "f": "a b"})),
            (
                "u: !unsafe 'a {{ b }} ''c'''\nv: !unsafe plain\n",
                json!({"u": "{{ 'a {{ b }} \\'c\\'' }}", "v": "plain"}),
            ),
            ("i: .inf\nj: -.inf\nn: .nan\n", json!({"i": "inf", "j": "-inf", "n": "nan"})),
            ("\u{feff}a: 1\r\nb: two\r\n", json!({"a": 1, "b": "two"})),
            ("a:\n- 1\n-\n  - 2\n", json!({"a": [1, [2]]})),
        ];
        for (text, expected) in table {
            assert_eq!(one(text), expected, "{text}");
        }
    }

    #[test]
    fn places_tags_and_quotes_are_kept() {
        let node = parse("---\na:\n  - !vault |\n    $ANSIBLE_VAULT\n  - 'q'\n", Path::new("f.yml")).unwrap().remove(0);
        let items = node.get("a").unwrap().as_list().unwrap();
        assert_eq!(items[0].tag.as_deref(), Some("vault"));
        assert_eq!((items[1].place.line, items[1].place.column, items[1].quoted), (5, 5, true));
        let (key, _) = &node.entries()[0];
        assert_eq!((key.place.line, key.place.column), (2, 1));
    }

    #[test]
    fn duplicates_warn_and_the_last_wins() {
        let (nodes, warnings) = parse_with_warnings("a: 1\nb: 2\na: 3\n", Path::new("f.yml")).unwrap();
        assert_eq!(nodes[0].to_value(), json!({"a": 3, "b": 2}));
        let warning = warnings[0].to_string();
        assert_eq!(warning, "f.yml:3: the key `a` is already in line 1; this one wins\n     3 | a: 3");
        let merged = "x: &x {a: 1}\ny: {<<: *x, a: 2}\n";
        assert!(parse_with_warnings(merged, Path::new("f.yml")).unwrap().1.is_empty());
    }

    #[test]
    fn several_documents() {
        let nodes = parse("a: 1\n---\nb: 2\n---\n", Path::new("f.yml")).unwrap();
        let values: Vec<Value> = nodes.iter().map(Node::to_value).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 2}), Value::Null]);
        assert!(parse("# nothing\n", Path::new("f.yml")).unwrap().is_empty());
    }

    #[test]
    fn classic_mistakes_have_hints() {
        let table = [
            ("a:\n\tb: 1\n", 2, "indent with spaces"),
            ("a: 1\nb: {{ x }}\n", 2, "quote a value that starts with a template"),
            ("a: 1\nb: {{ x }}/bin\n", 2, "quote a value that starts with a template"),
            ("- name: x\n  dest: {{ x }}/bin\n  mode: 1\n", 2, "quote a value that starts with a template"),
            ("- {{ x }}\n", 1, "quote a value that starts with a template"),
            ("a:\n  name:foo\n  state: x\n", 2, "`name: …`"),
            ("name:foo\nb: 1\n", 1, "`name: …`"),
            ("a: 'it's'\nb: 2\n", 1, ""),
            ("a: 1\nb: \"open\nc: 3\nd: 4\n", 2, "close the quote"),
            ("a: 'open\nb: 1\n", 1, "close the quote"),
            ("msg: hello: world\n", 1, "quote the value"),
            ("a: 1\n  b: 2\n", 2, "indentation"),
            ("a: [1, 2\nb: 3\n", 2, "brackets"),
            ("a: @x\n", 1, "starts with `@`"),
            ("a: %x\n", 1, "starts with `%`"),
        ];
        for (text, line, hint) in table {
            let error = parse(text, Path::new("f.yml")).err().unwrap_or_else(|| panic!("was read: {text}"));
            assert_eq!(error.place.as_ref().map(|place| place.line), Some(line), "{text}\n{error}");
            assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{text}\n{error}");
            assert_eq!(error.source_line.as_deref(), text.lines().nth(line - 1), "{text}\n{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "([a-z0-9 :#'\"\\n\\t{}\\[\\],&*!|>%@`.=<~+?-]|é|😀|\\r\n|- |: |\\n  |<<: |&a |\\*a |!!int |--- ){0,40}") {
            if let Err(error) = parse(&text, Path::new("f.yml")) {
                let line = error.place.as_ref().map_or(0, |place| place.line);
                proptest::prop_assert!((1..=text.lines().count().max(1) + 1).contains(&line), "{}", error);
            }
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let previous = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 9].join(", "));
        }
        let error = parse(&bomb, Path::new("f.yml")).unwrap_err();
        assert!(error.text.contains("aliases expand"), "{error}");
        for deep in ["[".repeat(20_000), "- ".repeat(20_000), "{a: ".repeat(200)] {
            parse(&deep, Path::new("f.yml")).unwrap_err();
        }
        let error = parse("&a [*a]\n", Path::new("f.yml")).unwrap_err();
        assert!(error.text.contains("alias"), "{error}");
    }
}
