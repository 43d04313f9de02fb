//! `basename`, `dirname`, `splitext`, `path_join` and their kin: Python's `os.path` on `/` paths.

use std::path::Path;

use minijinja::Value;

use super::super::args::{Args, Outcome, items, text, wrong};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("basename", |_, value, _| on_text(value, |path| path.rsplit('/').next().unwrap_or_default().to_owned())),
    ("dirname", |_, value, _| on_text(value, dirname)),
    ("expanduser", |_, value, _| on_text(value, expanduser)),
    ("expandvars", |_, value, _| on_text(value, expandvars)),
    ("realpath", |_, value, _| on_text(value, realpath)),
    ("normpath", |_, value, _| on_text(value, normpath)),
    ("relpath", |_, value, args| relpath(value, args)),
    ("splitext", |_, value, _| {
        let path = text(value)?;
        let (root, extension) = splitext(&path);
        Ok(Value::from_iter([root, extension]))
    }),
    ("path_join", |_, value, _| path_join(value)),
    ("commonpath", |_, value, _| commonpath(value)),
    ("win_basename", |_, value, _| {
        on_text(value, |path| path.rsplit(['\\', '/']).next().unwrap_or_default().to_owned())
    }),
    ("fileglob", |_, value, _| {
        let pattern = text(value)?;
        super::super::lookups::glob(&pattern).map(Value::from).map_err(wrong)
    }),
];

fn on_text(value: &Value, change: impl Fn(&str) -> String) -> Outcome {
    Ok(change(&text(value)?).into())
}

fn dirname(path: &str) -> String {
    match path.rfind('/') {
        None => String::new(),
        Some(at) => {
            let head = &path[..=at];
            let trimmed = head.trim_end_matches('/');
            if trimmed.is_empty() { head.to_owned() } else { trimmed.to_owned() }
        }
    }
}

fn splitext(path: &str) -> (&str, &str) {
    let base = path.rfind('/').map_or(0, |at| at + 1);
    let name = &path[base..];
    let leading = name.len() - name.trim_start_matches('.').len();
    match name[leading..].rfind('.') {
        Some(dot) => path.split_at(base + leading + dot),
        None => (path, ""),
    }
}

fn expanduser(path: &str) -> String {
    match (path.strip_prefix('~'), std::env::var("HOME")) {
        (Some(rest), Ok(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => path.to_owned(),
    }
}

fn expandvars(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match std::env::var(name) {
            Ok(value) if !name.is_empty() => out.push_str(&value),
            _ => out.push_str(&rest[at..at + 1 + length]),
        }
        rest = &after[length..];
    }
    out + rest
}

fn realpath(path: &str) -> String {
    if let Ok(real) = std::fs::canonicalize(path) {
        return real.display().to_string();
    }
    let here = std::env::current_dir().unwrap_or_default();
    normpath(&here.join(path).display().to_string())
}

fn normpath(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn relpath(value: &Value, args: &Args) -> Outcome {
    let full = |path: &str| normpath(&std::env::current_dir().unwrap_or_default().join(path).display().to_string());
    let path = full(&text(value)?);
    let start = full(&args.text(0, "start")?.unwrap_or_else(|| ".".to_owned()));
    let (path, start): (Vec<&str>, Vec<&str>) = (
        path.split('/').filter(|part| !part.is_empty()).collect(),
        start.split('/').filter(|part| !part.is_empty()).collect(),
    );
    let common = path.iter().zip(&start).take_while(|(a, b)| a == b).count();
    let mut parts = vec![".."; start.len() - common];
    parts.extend(&path[common..]);
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }.into())
}

fn path_join(value: &Value) -> Outcome {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut joined = String::new();
    for part in items(value)? {
        let part = text(&part)?;
        if part.starts_with('/') || joined.is_empty() {
            joined = part;
        } else {
            if !joined.ends_with('/') {
                joined.push('/');
            }
            joined.push_str(&part);
        }
    }
    Ok(joined.into())
}

fn commonpath(value: &Value) -> Outcome {
    let paths = items(value)?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut common = paths.first().map(|path| Path::new(path).to_path_buf()).unwrap_or_default();
    for path in &paths {
        while !Path::new(path).starts_with(&common) {
            common.pop();
        }
    }
    Ok(common.display().to_string().into())
}
