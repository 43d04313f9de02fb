//! One value changed in a file of variables that people write: comments, order and everything else stay byte for byte.
//!
//! The file is edited as text and then read again: if it does not say exactly what it said before plus the new value,
//! nothing is written and a person has to do it. So unusual YAML is refused, never spoilt.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Inventory;
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::yaml::{self, Kind, Node};

/// The file in which a host's own variables are, or should be: `host_vars/<host>.yml` beside the last source, or a file
/// of the folder of that name.
pub fn host_file(inventory: &Inventory, host: &str) -> PathBuf {
    let folder = inventory.data_dir().join("host_vars");
    let names = ["", ".yml", ".yaml", ".json"].map(|ending| folder.join(format!("{host}{ending}")));
    match names.iter().find(|path| path.exists()) {
        Some(path) if path.is_dir() => path.join("settings.yml"),
        Some(path) => path.clone(),
        None => folder.join(format!("{host}.yml")),
    }
}

/// What a file says; one that is not there says nothing.
pub fn text_of(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|error| Error::at(&Place::file(path), format!("cannot be read: {error}"))),
    }
}

/// The whole file or nothing, with the rights that it had.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let trouble = |error: std::io::Error| Error::at(&Place::file(path), format!("cannot be written: {error}"));
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        std::fs::create_dir_all(folder).map_err(trouble)?;
    }
    // people and version control read it
    let mode = std::fs::metadata(path).map_or(0o644, |about| about.permissions().mode());
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(trouble)?;
    file.write_all(text.as_bytes()).map_err(trouble)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(trouble)?;
    file.persist(path).map(drop).map_err(|error| trouble(error.error))
}

/// Sets keys in mappings, e.g. `["settings", "hub", "TIMEZONE"]`, to texts. `file` is for messages; an empty text is a
/// file that is not there yet.
pub fn set(file: &Path, text: &str, changes: &[(Vec<String>, String)]) -> Result<String> {
    let mut text = text.to_owned();
    for (path, value) in changes {
        text = set_one(file, &text, path, value)?;
    }
    Ok(text)
}

/// Adds a text to a top-level list, or makes the list.
pub fn list_add(file: &Path, text: &str, key: &str, item: &str) -> Result<String> {
    let before = read(file, text)?;
    let mut expected = before.to_value();
    if !expected.is_object() {
        expected = Value::Object(Object::new());
    }
    match &mut expected[key] {
        Value::Array(items) => items.push(item.into()),
        other => *other = vec![item].into(),
    }
    let lines = Lines::of(text);
    let edited = match entry(&before, key) {
        None => Some(lines.inserted(lines.0.len(), &[format!("{}: [{}]", scalar(key, true), scalar(item, true))])),
        Some((name, Node { kind: Kind::Null, .. })) => lines.behind_colon(name, &format!(" [{}]", scalar(item, true))),
        Some((_, list)) => lines.item_added(list, item),
    };
    checked(file, edited, &expected, key)
}

/// Takes a text out of a top-level list.
pub fn list_remove(file: &Path, text: &str, key: &str, item: &str) -> Result<String> {
    let before = read(file, text)?;
    let mut expected = before.to_value();
    if let Some(items) = expected.get_mut(key).and_then(Value::as_array_mut) {
        items.retain(|known| known != item);
    }
    let found = entry(&before, key).and_then(|(_, list)| Lines::of(text).item_removed(list, item));
    checked(file, found, &expected, key)
}

fn set_one(file: &Path, text: &str, path: &[String], value: &str) -> Result<String> {
    let before = read(file, text)?;
    let mut expected = before.to_value();
    put(&mut expected, path, value);
    checked(file, edited(text, &before, path, value), &expected, &path.join("."))
}

/// The edited text, if it says just what it should.
fn checked(file: &Path, edited: Option<String>, expected: &Value, what: &str) -> Result<String> {
    let good = edited.filter(|edited| read(file, edited).is_ok_and(|node| node.to_value() == *expected));
    good.ok_or_else(|| {
        Error::at(&Place::file(file), format!("`{what}` cannot be written into this file as it stands"))
            .hint("write it by hand; nothing was changed")
    })
}

fn read(file: &Path, text: &str) -> Result<Node> {
    let mut documents = yaml::parse(text, file)?.into_iter();
    let empty = Node { kind: Kind::Null, place: Place::new(file, 1, 1), tag: None, quoted: false };
    Ok(documents.next().unwrap_or(empty))
}

fn put(root: &mut Value, path: &[String], value: &str) {
    let Some((first, rest)) = path.split_first() else {
        *root = Value::from(value);
        return;
    };
    if !root.is_object() {
        *root = Value::Object(Object::new());
    }
    if let Value::Object(map) = root {
        put(map.entry(first.clone()).or_insert(Value::Null), rest, value);
    }
}

/// The text with the change, as far as it can be made; whether it is right is looked at afterwards.
fn edited(text: &str, root: &Node, path: &[String], value: &str) -> Option<String> {
    let (mut key, mut node, mut depth) = (None, root, 0);
    while let Some((found, inner)) = path.get(depth).and_then(|name| entry(node, name)) {
        (key, node, depth) = (Some(found), inner, depth + 1);
    }
    let rest = &path[depth..];
    let lines = Lines::of(text);
    match (&node.kind, rest.is_empty(), key) {
        (Kind::Null, true, Some(key)) => lines.behind_colon(key, &format!(" {}", scalar(value, true))),
        (Kind::Map(_) | Kind::List(_), true, _) => None,
        (_, true, _) => lines.replaced(node, &scalar(value, true)),
        (Kind::Map(_), false, _) if lines.char_at(&node.place) == Some('{') => lines.braced(node, rest, value),
        (Kind::Map(entries), false, _) => {
            let (first, last) = (&entries.first()?.0, &entries.last()?.0);
            Some(lines.below(last.place.line, first.place.column - 1, rest, value))
        }
        (Kind::Null, false, Some(key)) => {
            let indent = key.place.column + 1;
            Some(lines.inserted(key.place.line, &block(indent, rest, value)))
        }
        (Kind::Null, false, None) => Some(lines.inserted(lines.0.len(), &block(0, rest, value))),
        _ => None,
    }
}

fn entry<'n>(node: &'n Node, name: &str) -> Option<(&'n Node, &'n Node)> {
    node.entries().iter().find(|(key, _)| key.key_text() == name).map(|(key, value)| (key, value))
}

/// The remaining keys, each deeper than the one before.
fn block(indent: usize, path: &[String], value: &str) -> Vec<String> {
    let last = path.len().saturating_sub(1);
    let line = |(depth, key): (usize, &String)| {
        let behind = if depth == last { format!(" {}", scalar(value, false)) } else { String::new() };
        format!("{}{}:{behind}", " ".repeat(indent + 2 * depth), scalar(key, true))
    };
    path.iter().enumerate().map(line).collect()
}

/// A text as YAML: plain where nobody can misread it. `narrow`: also between the braces of a mapping.
fn scalar(text: &str, narrow: bool) -> String {
    let plain = yaml::emit(&Value::from(text));
    let plain = plain.trim_end_matches('\n');
    let risky = |c: char| c.is_control() || c == '"' || c == '#' || (narrow && ",[]{}:".contains(c));
    match plain == text && !text.contains(risky) {
        true => plain.to_owned(),
        false => Value::from(text).to_string(),
    }
}

/// The lines of a text with their ends.
struct Lines<'t>(Vec<&'t str>);

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Lines<'t> {
        Lines(text.split_inclusive('\n').collect())
    }

    fn line_end(&self) -> &'static str {
        if self.0.iter().any(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
    }

    /// The text from a place on, without its line's end.
    fn from(&self, place: &Place) -> Option<&'t str> {
        let line = self.0.get(place.line.checked_sub(1)?)?.trim_end_matches(['\r', '\n']);
        let at = line.char_indices().nth(place.column.checked_sub(1)?)?.0;
        line.get(at..)
    }

    fn char_at(&self, place: &Place) -> Option<char> {
        self.from(place)?.chars().next()
    }

    /// The byte at which a place is in the whole text.
    fn offset(&self, place: &Place) -> Option<usize> {
        let before: usize = self.0.iter().take(place.line.checked_sub(1)?).map(|line| line.len()).sum();
        let line = self.0.get(place.line - 1)?.trim_end_matches(['\r', '\n']);
        Some(before + line.len() - self.from(place)?.len())
    }

    fn text(&self) -> String {
        self.0.concat()
    }

    fn spliced(&self, at: usize, length: usize, new: &str) -> String {
        let text = self.text();
        format!("{}{new}{}", &text[..at], &text[at + length..])
    }

    fn replaced(&self, node: &Node, new: &str) -> Option<String> {
        let rest = self.from(&node.place)?;
        let length = match rest.chars().next()? {
            quote @ ('"' | '\'') => 2 + rest[1..].find(quote)?,
            '|' | '>' | '&' | '*' | '!' => return None,
            _ => {
                let end = rest.find(" #").unwrap_or(rest.len());
                // inside of braces a comma or the brace ends it; if that was wrong, the reading shows it
                let before = self.0[node.place.line - 1];
                let braces = before.contains('{');
                let end = if braces { rest[..end].find([',', '}']).unwrap_or(end) } else { end };
                rest[..end].trim_end().len()
            }
        };
        Some(self.spliced(self.offset(&node.place)?, length, new))
    }

    fn behind_colon(&self, key: &Node, new: &str) -> Option<String> {
        let colon = self.from(&key.place)?.find(':')?;
        Some(self.spliced(self.offset(&key.place)? + colon + 1, 0, new))
    }

    /// Behind the last item, in the way in which the list is written.
    fn item_added(&self, list: &Node, item: &str) -> Option<String> {
        let Kind::List(items) = &list.kind else { return None };
        match items.last() {
            None => self.replaced_bracket(list, &format!("[{}]", scalar(item, true))),
            Some(last) if self.char_at(&list.place) == Some('[') => {
                let text = self.text();
                let end = self.item_end(last)?;
                Some(format!("{}, {}{}", &text[..end], scalar(item, true), &text[end..]))
            }
            Some(last) => {
                let dash = self.0.get(last.place.line - 1)?;
                let indent = &dash[..dash.find('-')?];
                Some(self.inserted(last.place.line, &[format!("{indent}- {}", scalar(item, false))]))
            }
        }
    }

    fn item_removed(&self, list: &Node, item: &str) -> Option<String> {
        let Kind::List(items) = &list.kind else { return None };
        let at = items.iter().position(|node| matches!(&node.kind, Kind::String(text) if text == item))?;
        if self.char_at(&list.place) != Some('[') {
            // an empty block would be null
            let rest: Vec<&str> = self
                .0
                .iter()
                .enumerate()
                .filter(|(index, _)| index + 1 != items[at].place.line)
                .map(|(_, line)| *line)
                .collect();
            return (items.len() > 1).then(|| rest.concat());
        }
        let (from, to) = match (at.checked_sub(1), items.get(at + 1)) {
            (Some(before), _) => (self.item_end(&items[before])?, self.item_end(&items[at])?),
            (None, Some(next)) => (self.offset(&items[at].place)?, self.offset(&next.place)?),
            (None, None) => (self.offset(&items[at].place)?, self.item_end(&items[at])?),
        };
        Some(self.spliced(from, to - from, ""))
    }

    fn replaced_bracket(&self, list: &Node, new: &str) -> Option<String> {
        let length = self.from(&list.place)?.find(']')? + 1;
        Some(self.spliced(self.offset(&list.place)?, length, new))
    }

    /// Where an item between brackets ends.
    fn item_end(&self, item: &Node) -> Option<usize> {
        let rest = self.from(&item.place)?;
        let length = match rest.chars().next()? {
            quote @ ('"' | '\'') => 2 + rest[1..].find(quote)?,
            _ => rest.find([',', ']', '#']).map_or(rest, |end| &rest[..end]).trim_end().len(),
        };
        Some(self.offset(&item.place)? + length)
    }

    /// Before the brace that closes a mapping.
    fn braced(&self, node: &Node, path: &[String], value: &str) -> Option<String> {
        let text = self.text();
        let start = self.offset(&node.place)?;
        let (mut depth, mut quote, mut close) = (0_usize, None, None);
        for (at, c) in text[start..].char_indices() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '{') => depth += 1,
                (None, '}') => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        close = Some(start + at);
                        break;
                    }
                }
                (None, _) => {}
            }
        }
        let nested = path.iter().rev().fold(scalar(value, true), |inner, key| {
            let inner = if inner.is_empty() { inner } else { format!("{}: {inner}", scalar(key, true)) };
            format!("{{{inner}}}")
        });
        let entry = nested.strip_prefix('{')?.strip_suffix('}')?;
        let close = close?;
        let end = text[..close].trim_end().len();
        let comma = if node.entries().is_empty() { "" } else { ", " };
        Some(self.spliced(end, 0, &format!("{comma}{entry}")))
    }

    /// Behind everything that belongs to the last entry of a block.
    fn below(&self, last_key: usize, indent: usize, path: &[String], value: &str) -> String {
        let mut end = last_key;
        for (index, line) in self.0.iter().enumerate().skip(last_key) {
            let bare = line.trim();
            let own = line.len() - line.trim_start().len();
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            if own < indent || (own == indent && !bare.starts_with("- ")) {
                break;
            }
            end = index + 1;
        }
        self.inserted(end, &block(indent, path, value))
    }

    /// New lines behind the first `after` ones.
    fn inserted(&self, after: usize, new: &[String]) -> String {
        let end = self.line_end();
        let (before, behind) = self.0.split_at(after.min(self.0.len()));
        let mut text = before.concat();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push_str(end);
        }
        for line in new {
            text.push_str(line);
            text.push_str(end);
        }
        text + &behind.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, path: &str, value: &str) -> String {
        let path = path.split('/').map(str::to_owned).collect();
        set(Path::new("x.yml"), text, &[(path, value.to_owned())]).unwrap()
    }

    #[test]
    fn only_what_changes_changes() {
        let text = "# head\nservices: [a]\n\nsettings:\n  hub:   # the ERP\n    A: one # why\n    B: 'two'\n\n  # chat\n  chat: {C: x, D: 'y}'}\n\n# foot\nzone: UTC\n";
        for (path, value, old, new) in [
            ("settings/hub/A", "1", "A: one # why", "A: \"1\" # why"),
            ("settings/hub/B", "it's", "B: 'two'", "B: it's"),
            ("settings/hub/E", "new one", "B: 'two'\n", "B: 'two'\n    E: new one\n"),
            ("settings/chat/C", "a,b", "{C: x", "{C: \"a,b\""),
            ("settings/chat/E", "yes", "D: 'y}'}", "D: 'y}', E: \"yes\"}"),
            ("settings/flow/F", "a: b", "D: 'y}'}\n", "D: 'y}'}\n  flow:\n    F: \"a: b\"\n"),
            ("zone", "Europe/Madrid", "zone: UTC", "zone: Europe/Madrid"),
            ("net", "web", "zone: UTC\n", "zone: UTC\nnet: web\n"),
        ] {
            assert_eq!(after(text, path, value), text.replacen(old, new, 1), "{path}");
        }
    }

    #[test]
    fn files_without_the_mapping_get_it() {
        assert_eq!(after("", "settings/hub/A", "x"), "settings:\n  hub:\n    A: x\n");
        assert_eq!(after("# only words", "a", "x"), "# only words\na: x\n");
        assert_eq!(after("settings:\nb: 1", "settings/hub/A", "x"), "settings:\n  hub:\n    A: x\nb: 1");
        assert_eq!(after("settings: {}\n", "settings/hub/A", "x"), "settings: {hub: {A: x}}\n");
        assert_eq!(after("services:\n- a\n- b\n", "zone", "x"), "services:\n- a\n- b\nzone: x\n");
        assert_eq!(after("a: 1\r\n", "b", "ñ"), "a: 1\r\nb: ñ\r\n");
        assert_eq!(after("a:   # later\n", "a", "x"), "a: x   # later\n");
        assert_eq!(after("a: {\n  b: 1\n}\n", "a/c", "x"), "a: {\n  b: 1, c: x\n}\n");
    }

    #[test]
    fn lists_grow_and_shrink_as_they_are_written() {
        let file = Path::new("x.yml");
        for (before, item, with) in [
            ("services: [a, b]   # ours\nz: 1\n", "c@tienda", "services: [a, b, c@tienda]   # ours\nz: 1\n"),
            ("services: ['a', \"b\"]\n", "c", "services: ['a', \"b\", c]\n"),
            ("services: [a,\n  b,\n]\n", "c", "services: [a,\n  b, c,\n]\n"),
            ("services: []\n", "c", "services: [c]\n"),
            (
                "services:\n  - a # why\n  # last\n  - b\nz: 1\n",
                "c",
                "services:\n  - a # why\n  # last\n  - b\n  - c\nz: 1\n",
            ),
            ("services:\n- a", "c", "services:\n- a\n- c\n"),
        ] {
            let added = list_add(file, before, "services", item).unwrap();
            assert_eq!(added, with);
            let back = list_remove(file, &added, "services", item).unwrap();
            assert_eq!(back.trim_end(), before.trim_end());
        }
        assert_eq!(list_add(file, "z: 1\n", "services", "c").unwrap(), "z: 1\nservices: [c]\n");
        assert_eq!(list_add(file, "", "services", "c").unwrap(), "services: [c]\n");
        assert_eq!(list_add(file, "services: # later\n", "services", "c").unwrap(), "services: [c] # later\n");
        assert_eq!(list_remove(file, "services: [a, b]\n", "services", "a").unwrap(), "services: [b]\n");
        assert_eq!(list_remove(file, "services: [a]\n", "services", "a").unwrap(), "services: []\n");
        for odd in ["services: &x [a]\nb: *x\n", "services: a\n", "services:\n  - &x a\nb: *x\n"] {
            assert!(list_remove(file, odd, "services", "a").is_err(), "{odd}");
        }
        assert!(
            list_remove(file, "services:\n  - a\n", "services", "a").is_err(),
            "nothing would be left of the block"
        );
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        for value in ["", " ", "no", "1.10", "a\nb", "\"q\" 'q'", "{{ domain }}", "#x", "a: b #c", "- x", "*x", "€ñ🦀"]
        {
            let text = after("settings: {hub: {A: x}}\n", "settings/hub/B", value);
            let text = after(&text, "other/C", value);
            let node = read(Path::new("x"), &text).unwrap().to_value();
            assert_eq!(node["settings"]["hub"]["B"], value, "{text}");
            assert_eq!(node["other"]["C"], value, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_done_safely_is_refused() {
        for text in ["- a\n- b\n", "a: |\n  text\n", "a: &x 1\nb: *x\n", "a: {b: 1}\n", "a: [1]\n"] {
            let error = set(Path::new("x.yml"), text, &[(vec!["a".to_owned()], "x".to_owned())]).unwrap_err();
            assert!(error.text.contains("cannot be written"), "{text}: {error}");
        }
        let same = "a: &x 1\nb: *x\n";
        assert!(after(same, "c", "x").starts_with(same));
    }
}
