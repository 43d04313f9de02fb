//! Inventory files in INI: `[group]`, `[group:children]`, `[group:vars]`, and variables behind a host's name.
//!
//! Values behind a host are split as Python's `shlex` splits them, so `#` starts a comment anywhere outside quotes.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::tree::{Owner, Tree};
use super::{literal, names};
use crate::error::{Error, Place, Result};

enum Section {
    Hosts,
    Children,
    Vars,
}

/// What may name a group before it is defined, and so is looked at when the whole file is read.
enum Pending {
    Child(String),
    Variable(String, Value),
    Nothing,
}

pub fn read(path: &Path, text: &str, tree: &mut Tree) -> Result<()> {
    let file: Arc<Path> = path.into();
    let mut errors = Vec::new();
    let mut pending: Vec<(String, Pending, Place)> = Vec::new();
    let mut group = "ungrouped".to_owned();
    let mut section = Section::Hosts;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let place = Place::new(file.clone(), index + 1, 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && !line.contains("]:") {
            match header(line) {
                Ok((name, kind)) => {
                    group = name.to_owned();
                    section = kind;
                    match section {
                        Section::Vars => pending.push((group.clone(), Pending::Nothing, place)),
                        Section::Hosts | Section::Children => tree.add_group(&group),
                    }
                }
                Err((text, hint)) => errors.push(Error { hint, ..Error::at(&place, text) }),
            }
            continue;
        }
        let read = match section {
            Section::Hosts => host(line, &group, &place, tree),
            Section::Vars => variable(line, &place).map(|(key, value)| {
                pending.push((group.clone(), Pending::Variable(key, value), place));
            }),
            Section::Children => child(line, &place).map(|child| {
                pending.push((group.clone(), Pending::Child(child), place));
            }),
        };
        errors.extend(read.err());
    }
    for (group, what, place) in pending {
        let named = if let Pending::Child(child) = &what { child } else { &group };
        if !tree.has_group(named) {
            if !matches!(what, Pending::Variable(..)) {
                let text = format!("group `{named}` is not defined");
                errors.push(Error::at(&place, text).did_you_mean(named, tree.group_names()));
            }
            continue;
        }
        match what {
            Pending::Child(child) => tree.add_child(&group, &child, &place),
            Pending::Variable(key, value) => errors.extend(tree.set(Owner::Group(&group), &key, value, &place).err()),
            Pending::Nothing => {}
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// `[name]` or `[name:kind]`, perhaps with a comment behind.
fn header(line: &str) -> Result<(&str, Section), (String, Option<String>)> {
    let wrong =
        |text: &str| Err((text.to_owned(), Some("a section looks like [web], [web:children] or [web:vars]".into())));
    let Some((inside, after)) = line[1..].split_once(']') else { return wrong("the section's bracket is not closed") };
    if !after.trim().is_empty() && !after.trim().starts_with('#') {
        return wrong("there is something behind the section's name");
    }
    let (name, kind) = inside.split_once(':').unwrap_or((inside, "hosts"));
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "[,&!/".contains(c)) {
        return wrong("this is not a group name");
    }
    match kind {
        "hosts" => Ok((name, Section::Hosts)),
        "children" => Ok((name, Section::Children)),
        "vars" => Ok((name, Section::Vars)),
        other => {
            let near = crate::error::nearest(other, ["hosts", "children", "vars"]);
            let hint = near.map(|near| format!("did you mean `{name}:{near}`?"));
            Err((format!("unknown kind of section `{other}`"), hint))
        }
    }
}

fn host(line: &str, group: &str, place: &Place, tree: &mut Tree) -> Result<()> {
    let words = words(line).map_err(|text| Error::at(place, text))?;
    let Some((name, variables)) = words.split_first() else { return Ok(()) };
    let (hosts, port) = names::expand(name).map_err(|text| {
        let error = Error::at(place, text);
        match name.ends_with(':') {
            true => error.hint("this looks like YAML; name the file `.yml`"),
            false => error,
        }
    })?;
    let mut values: Vec<(&str, Value)> = port.map(|port| ("ansible_port", port.into())).into_iter().collect();
    for word in variables {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::at(place, format!("expected `name=value` behind the host, found `{word}`"))
                .hint("write it without spaces around the `=`, and quote a value that has spaces"));
        };
        values.push((key, literal::value(value)));
    }
    for host in hosts {
        tree.add_host(&host, group);
        for (key, value) in &values {
            tree.set(Owner::Host(&host), key, value.clone(), place)?;
        }
    }
    Ok(())
}

fn variable(line: &str, place: &Place) -> Result<(String, Value)> {
    match line.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), literal::value(value.trim()))),
        _ => Err(Error::at(place, "expected `name=value`")),
    }
}

fn child(line: &str, place: &Place) -> Result<String> {
    match line.split('#').next().unwrap_or_default().trim() {
        child if child.contains(|c: char| c.is_whitespace() || "=:[]".contains(c)) => {
            Err(Error::at(place, format!("`{child}` is not a group name"))
                .hint("below [name:children] stands one group per line"))
        }
        child => Ok(child.to_owned()),
    }
}

/// As Python's `shlex.split(line, comments=True)`.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), character) if character == open => quote = None,
            (Some('"'), '\\') => match characters.next() {
                Some(escaped @ ('"' | '\\')) => word.get_or_insert_default().push(escaped),
                Some(other) => word.get_or_insert_default().extend(['\\', other]),
                None => return Err("a quote is opened and not closed".into()),
            },
            (Some(_), character) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '\\') => match characters.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("a backslash stands at the end".into()),
            },
            (None, '#') => break,
            (None, character) if character.is_whitespace() => words.extend(word.take()),
            (None, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quote is opened and not closed".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_in_python() {
        let table: [(&str, &[&str]); 7] = [
            ("a b=c", &["a", "b=c"]),
            ("a x='1 2' y=\"3 \\\" 4\"", &["a", "x=1 2", "y=3 \" 4"]),
            ("a x=b#c d=e", &["a", "x=b"]),
            ("a x='b#c'", &["a", "x=b#c"]),
            ("a x=\\#b", &["a", "x=#b"]),
            ("a x=\"\\d\"", &["a", "x=\\d"]),
            ("a x=''", &["a", "x="]),
        ];
        for (line, expected) in table {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("a x='b").is_err());
    }
}
