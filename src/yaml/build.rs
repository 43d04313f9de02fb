//! From the parser's events to nodes: aliases are copied in, merge keys merged, duplicates resolved, limits kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Kind, Node, hints, resolve};
use crate::error::{Error, Place, Result};

/// Deeper nesting is refused, so that nothing that walks a node can exhaust the stack.
const MAX_DEPTH: usize = 100;
/// Nodes that aliases may add to a document, however often and however nested they are used.
const MAX_ALIASED_NODES: usize = 100_000;

pub fn documents(text: &str, file: Arc<Path>) -> Result<(Vec<Node>, Vec<Error>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(text, file);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.syntax(&error))?;
        builder.take(event, span.start)?;
    }
    Ok((builder.documents, builder.warnings))
}

/// A list or mapping that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// A mapping's key that still waits for its value.
    key: Option<Node>,
    keys: HashMap<String, usize>,
    merged: Vec<(Node, Node)>,
}

struct Builder<'t> {
    text: &'t str,
    file: Arc<Path>,
    open: Vec<Open>,
    /// With the number of nodes and the depth of each.
    anchors: HashMap<usize, (Node, usize, usize)>,
    aliased: usize,
    documents: Vec<Node>,
    warnings: Vec<Error>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, file: Arc<Path>) -> Self {
        Builder {
            text,
            file,
            open: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            documents: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<()> {
        let place = Place::new(self.file.clone(), at.line(), at.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), place)?;
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.open(Kind::List(Vec::new()), anchor, tag.as_deref(), place),
            Event::MappingStart(anchor, tag) => self.open(Kind::Map(Vec::new()), anchor, tag.as_deref(), place),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let anchor = open.anchor;
                    let node = close(open);
                    self.add(node, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, size, depth)) = self.anchors.get(&anchor) else {
                    return Err(self.error(&place, "an alias inside of what it stands for"));
                };
                let (node, size, depth) = (node.clone(), *size, *depth);
                self.aliased += size;
                if self.aliased > MAX_ALIASED_NODES {
                    let text = format!("aliases expand to more than {MAX_ALIASED_NODES} values");
                    return Err(self.error(&place, text));
                }
                self.check_depth(depth, &place)?;
                self.add(node, 0)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => Ok(()),
        }
    }

    fn open(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, place: Place) -> Result<()> {
        self.check_depth(0, &place)?;
        let tag = tag.filter(|tag| !tag.is_yaml_core_schema()).map(tag_name);
        let node = Node { kind, place, tag, quoted: false };
        self.open.push(Open { node, anchor, key: None, keys: HashMap::new(), merged: Vec::new() });
        Ok(())
    }

    fn check_depth(&self, more: usize, place: &Place) -> Result<()> {
        match self.open.len() + more >= MAX_DEPTH {
            true => Err(self.error(place, format!("nested more than {MAX_DEPTH} levels deep"))),
            false => Ok(()),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Node> {
        let plain = style == ScalarStyle::Plain;
        let string = || Kind::String(text.to_owned());
        let mut node_tag = None;
        let kind = match tag {
            None if plain => resolve::plain(text),
            None => string(),
            Some(tag) if tag.is_yaml_core_schema() => match (tag.suffix.as_str(), resolve::plain(text)) {
                ("str", _) => string(),
                ("int", kind @ Kind::Int(_)) | ("bool", kind @ Kind::Bool(_)) => kind,
                ("float", kind @ Kind::Float(_)) => kind,
                ("float", Kind::Int(number)) => Kind::Float(number as f64),
                ("null", _) => Kind::Null,
                ("int" | "float" | "bool", _) => {
                    return Err(self.error(&place, format!("`!!{}` does not fit this value", tag.suffix)));
                }
                (other, _) => {
                    node_tag = Some(other.to_owned());
                    string()
                }
            },
            Some(tag) => {
                let name = tag_name(tag);
                node_tag = (!name.is_empty()).then_some(name);
                string()
            }
        };
        Ok(Node { kind, place, tag: node_tag, quoted: !plain })
    }

    /// A finished node goes into the list or mapping around it, or is the document.
    fn add(&mut self, node: Node, anchor: usize) -> Result<()> {
        if anchor > 0 {
            let (size, depth) = measure(&node);
            self.anchors.insert(anchor, (node.clone(), size, depth));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        if let Kind::List(items) = &mut open.node.kind {
            items.push(node);
            return Ok(());
        }
        let Some(key) = open.key.take() else {
            if matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
                let error = self.error(&node.place, format!("{} cannot be a key", node.describe()));
                return Err(hints::complex_key(error, self.text, node.place.line));
            }
            open.key = Some(node);
            return Ok(());
        };
        if key.as_str() == Some("<<") && !key.quoted && key.tag.is_none() {
            return self.merge(node);
        }
        let Kind::Map(entries) = &mut open.node.kind else { return Ok(()) };
        let name = format!("{:?}", key.kind);
        match open.keys.get(&name) {
            Some(index) => {
                let first = entries[*index].0.place.clone();
                let text = format!("the key `{}` is already in line {}; this one wins", key.key_text(), first.line);
                let place = key.place.clone();
                entries[*index] = (key, node);
                let warning = self.error(&place, text);
                self.warnings.push(warning);
            }
            None => {
                open.keys.insert(name, entries.len());
                entries.push((key, node));
            }
        }
        Ok(())
    }

    /// `<<: *one` or `<<: [*first, *second]`; the first of a list wins over the second.
    fn merge(&mut self, node: Node) -> Result<()> {
        let sources = match &node.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&node),
        };
        for source in sources.iter().rev() {
            let Kind::Map(entries) = &source.kind else {
                let text = format!("`<<` merges mappings, and this is {}", source.describe());
                return Err(self.error(&source.place, text));
            };
            if let Some(open) = self.open.last_mut() {
                open.merged.extend(entries.iter().cloned());
            }
        }
        Ok(())
    }

    fn error(&self, place: &Place, text: impl Into<String>) -> Error {
        let source_line = hints::line(self.text, place.line).map(str::to_owned);
        Error { place: Some(place.clone()), text: text.into(), source_line, ..Error::default() }
    }

    fn syntax(&self, error: &saphyr_parser::ScanError) -> Error {
        let lines = self.text.lines().count().max(1);
        let found = hints::explain(error.info(), self.text, error.marker().line().clamp(1, lines));
        let column = if found.line == error.marker().line() { error.marker().col() + 1 } else { 1 };
        let mut report = self.error(&Place::new(self.file.clone(), found.line, column), found.text);
        report.hint = found.hint;
        report
    }
}

/// Merged keys stand in front, and what the mapping says itself wins, as in PyYAML.
fn close(open: Open) -> Node {
    let mut node = open.node;
    if let (Kind::Map(entries), false) = (&mut node.kind, open.merged.is_empty()) {
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut all: Vec<(Node, Node)> = Vec::new();
        for (key, value) in open.merged.into_iter().chain(std::mem::take(entries)) {
            let name = format!("{:?}", key.kind);
            match index.get(&name) {
                Some(at) => all[*at] = (key, value),
                None => {
                    index.insert(name, all.len());
                    all.push((key, value));
                }
            }
        }
        *entries = all;
    }
    node
}

fn tag_name(tag: &Tag) -> String {
    match tag.handle.as_str() {
        "!" | "" => tag.suffix.trim_start_matches('!').to_owned(),
        handle => format!("{}{}", handle.trim_start_matches('!'), tag.suffix),
    }
}

/// Number of nodes, and levels of nesting.
fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<&Node> = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        Kind::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => return (1, 0),
    };
    children.into_iter().map(measure).fold((1, 1), |(size, depth), (more, deeper)| (size + more, depth.max(deeper + 1)))
}
