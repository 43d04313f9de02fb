//! Lookup plugins: the controller's environment, files, and variables by computed names.
//!
//! Leaves out: `pipe`, `password`, `url`, `config` and the vault ones; each is refused by a sentence. What a lookup
//! gives is data: it is not templated again, except by `template`.

use std::path::Path;
use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::{Args, entries, items, text, wrong};
use super::lazy::{Eval, Whole};
use super::{Fault, LookupKind, engine, pyregex};

pub(super) fn run(eval: &Arc<Eval>, plugin: &str, terms: &[Value], args: &Args) -> Result<Vec<Value>, Error> {
    let undefined_allowed = matches!(plugin, "first_found" | "env");
    if !undefined_allowed && terms.iter().any(Value::is_undefined) {
        return Err(Fault {
            undefined: Some(String::new()),
            ..Fault::new(format!("an argument of lookup('{plugin}') is undefined"))
        }
        .into_error());
    }
    match plugin {
        "env" => terms.iter().map(|term| env(term, args)).collect(),
        "file" => flat(terms)?.iter().map(|term| file(eval, term, args)).collect(),
        "template" => flat(terms)?.iter().map(|term| template(eval, term, args)).collect(),
        "vars" => flat(terms)?.iter().map(|term| variable(eval, term, args)).collect(),
        "varnames" => varnames(eval, terms),
        "items" => one_level(terms),
        "list" => Ok(terms.to_vec()),
        "flattened" | "community.general.flattened" => every_level(terms),
        "dict" => dicts(terms),
        "first_found" => first_found(eval, terms, args),
        "fileglob" => globs(terms),
        "lines" | "pipe" => Err(refused(plugin, "run the command as a task and register its result")),
        "password" => {
            Err(refused(plugin, "declare the secret in the package's manifest, or keep it in an `.env.age` file"))
        }
        "url" => Err(refused(plugin, "fetch it with the module `uri` or `get_url`")),
        "sequence" => sequence(terms),
        "indexed_items" => Ok(one_level(terms)?
            .into_iter()
            .enumerate()
            .map(|(at, item)| Value::from_iter([Value::from(at), item]))
            .collect()),
        "together" => together(terms),
        "nested" | "cartesian" => nested(terms),
        "random_choice" => Ok(terms.first().cloned().into_iter().collect()),
        "inventory_hostnames" => Err(refused(plugin, "use `groups['…']`")),
        other => Err(refused(
            other,
            "use env, file, template, vars, varnames, first_found, items, dict, sequence or fileglob",
        )),
    }
}

fn refused(plugin: &str, instead: &str) -> Error {
    Fault::new(format!("lookup('{plugin}') is not supported")).hint(instead).into_error()
}

fn env(term: &Value, args: &Args) -> Result<Value, Error> {
    let name = text(term)?;
    let name = name.split_whitespace().next().unwrap_or_default();
    Ok(match std::env::var(name) {
        Ok(value) => value.into(),
        Err(_) => args.name("default").cloned().unwrap_or_else(|| "".into()),
    })
}

fn read(eval: &Arc<Eval>, kind: LookupKind, name: &str) -> Result<(std::path::PathBuf, String), Error> {
    let (path, bytes) = eval.scope.world().read(kind, name).map_err(Fault::into_error)?;
    let content = String::from_utf8(bytes).map_err(|_| wrong(format!("the file `{name}` is not UTF-8 text")))?;
    Ok((path, content))
}

fn file(eval: &Arc<Eval>, term: &Value, args: &Args) -> Result<Value, Error> {
    let (_, content) = read(eval, LookupKind::File, &text(term)?)?;
    let content = if args.name("lstrip").is_some_and(Value::is_true) { content.trim_start() } else { &content };
    let strip = args.name("rstrip").is_none_or(Value::is_true);
    Ok(if strip { content.trim_end() } else { content }.into())
}

fn template(eval: &Arc<Eval>, term: &Value, args: &Args) -> Result<Value, Error> {
    let (path, content) = read(eval, LookupKind::Template, &text(term)?)?;
    let rendered = match args.name("template_vars") {
        Some(vars) => match super::json::to_json(vars).map_err(Fault::into_error)? {
            serde_json::Value::Object(map) => engine::text(&Whole::new(&eval.scope.with(map, true)), &content, &path),
            _ => return Err(wrong("`template_vars` is a mapping")),
        },
        None => engine::text(eval, &content, &path),
    };
    rendered.map(Value::from).map_err(|fault| fault.within(&path.display().to_string()).into_error())
}

fn variable(eval: &Arc<Eval>, term: &Value, args: &Args) -> Result<Value, Error> {
    let name = text(term)?;
    match eval.variable(&name) {
        Some(value) => Ok(value),
        None => match args.name("default") {
            Some(default) => Ok(default.clone()),
            None => Err(eval.why(&name).unwrap_or_else(|| Fault::undefined(&name)).into_error()),
        },
    }
}

fn varnames(eval: &Arc<Eval>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in flat(terms)? {
        let regex = pyregex::compile(&text(&term)?, pyregex::Flags::default()).map_err(wrong)?;
        let names = eval.scope.all_names();
        found.extend(names.into_iter().filter(|name| regex.is_match(name).unwrap_or(false)).map(Value::from));
    }
    Ok(found)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Terms, with a list of terms opened.
fn flat(terms: &[Value]) -> Result<Vec<Value>, Error> {
    one_level(terms)
}

fn one_level(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        if is_list(term) { out.extend(items(term)?) } else { out.push(term.clone()) }
    }
    Ok(out)
}

fn every_level(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        if is_list(term) {
            out.extend(every_level(&items(term)?)?)
        } else if !term.is_none() {
            out.push(term.clone())
        }
    }
    Ok(out)
}

fn dicts(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in one_level(terms)? {
        let mut pairs = entries(&term)?;
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        out.extend(pairs.into_iter().map(|(key, value)| Value::from_pairs([("key", key), ("value", value)])));
    }
    Ok(out)
}

fn first_found(eval: &Arc<Eval>, terms: &[Value], args: &Args) -> Result<Vec<Value>, Error> {
    let (mut files, mut paths, mut skip) = (Vec::new(), Vec::new(), args.name("skip").is_some_and(Value::is_true));
    let mut options: Vec<Value> = one_level(terms)?;
    if let Some(named) = args.name("files") {
        options.push(Value::from_pairs([
            ("files", named.clone()),
            ("paths", args.name("paths").cloned().unwrap_or_default()),
        ]));
    }
    for term in options.into_iter().filter(|term| !term.is_undefined()) {
        if term.kind() == ValueKind::Map {
            files.extend(words(&term.get_attr("files")?)?);
            paths.extend(words(&term.get_attr("paths")?)?);
            skip |= term.get_attr("skip")?.is_true();
        } else {
            files.push(text(&term)?);
        }
    }
    for name in &files {
        let candidates: Vec<String> = if paths.is_empty() || name.starts_with('/') {
            vec![name.clone()]
        } else {
            paths.iter().map(|dir| format!("{}/{name}", dir.trim_end_matches('/'))).collect()
        };
        for candidate in candidates {
            for kind in [LookupKind::File, LookupKind::Template] {
                if let Ok((path, _)) = eval.scope.world().read(kind, &candidate) {
                    return Ok(vec![path.display().to_string().into()]);
                }
            }
        }
    }
    if skip {
        return Ok(Vec::new());
    }
    Err(wrong(format!("none of these files was found: {}", files.join(", "))))
}

fn words(value: &Value) -> Result<Vec<String>, Error> {
    match value.as_str() {
        Some(list) => {
            Ok(list.split([',', ';', ':']).map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()).collect())
        }
        None if value.is_undefined() || value.is_none() => Ok(Vec::new()),
        None => items(value)?.iter().map(text).collect(),
    }
}

fn globs(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in flat(terms)? {
        out.extend(glob(&text(&term)?).map_err(wrong)?.into_iter().map(Value::from));
    }
    Ok(out)
}

/// The regular files of one directory that a pattern matches, sorted.
pub(super) fn glob(pattern: &str) -> Result<Vec<String>, String> {
    let (dir, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let matcher = globset::Glob::new(name).map_err(|_| format!("`{name}` is not a file pattern"))?.compile_matcher();
    let Ok(listing) = std::fs::read_dir(if dir.is_empty() { "/" } else { dir }) else { return Ok(Vec::new()) };
    let mut found: Vec<String> = listing
        .flatten()
        .filter(|entry| entry.path().is_file() && matcher.is_match(Path::new(&entry.file_name())))
        .map(|entry| entry.path().display().to_string())
        .collect();
    found.sort();
    Ok(found)
}

/// `start=1 end=5 stride=2 format=web%02d`, `count=4`, `1-5`.
fn sequence(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in flat(terms)? {
        let spec = text(&term)?;
        let (mut start, mut end, mut count, mut stride, mut format) = (1i64, None, None, 1i64, "%d".to_owned());
        let number = |text: &str| {
            let (radix, digits) = text.strip_prefix("0x").map_or((10, text), |digits| (16, digits));
            i64::from_str_radix(digits, radix).map_err(|_| wrong(format!("`{text}` in a sequence is not a number")))
        };
        for word in spec.split_whitespace() {
            match word.split_once('=') {
                Some(("start", n)) => start = number(n)?,
                Some(("end", n)) => end = Some(number(n)?),
                Some(("count", n)) => count = Some(number(n)?),
                Some(("stride", n)) => stride = number(n)?,
                Some(("format", f)) => f.clone_into(&mut format),
                Some((other, _)) => return Err(wrong(format!("a sequence has no `{other}`"))),
                None => match word.split_once('-') {
                    Some((a, b)) => (start, end) = (number(a)?, Some(number(b)?)),
                    None => end = Some(number(word)?),
                },
            }
        }
        let end = match (end, count) {
            (Some(end), _) => end,
            (None, Some(0)) => continue,
            (None, Some(count)) => start + (count - 1) * stride,
            (None, None) => return Err(wrong("a sequence needs `end` or `count`")),
        };
        if stride == 0 || (end - start) / stride > 100_000 {
            return Err(wrong("a sequence must come to its end"));
        }
        let mut n = start;
        while (stride > 0 && n <= end) || (stride < 0 && n >= end) {
            let style = minijinja::formatting::FormatStyle::Printf;
            out.push(minijinja::formatting::format(style, &format, &[Value::from(n)])?.into());
            n += stride;
        }
    }
    Ok(out)
}

fn together(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let lists = terms.iter().map(items).collect::<Result<Vec<_>, _>>()?;
    let longest = lists.iter().map(Vec::len).max().unwrap_or_default();
    let row = |at: usize| {
        lists.iter().map(|list| list.get(at).cloned().unwrap_or_else(|| Value::from(()))).collect::<Value>()
    };
    Ok((0..longest).map(row).collect())
}

fn nested(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for term in terms {
        let list = if is_list(term) { items(term)? } else { vec![term.clone()] };
        rows = rows
            .iter()
            .flat_map(|row| list.iter().map(|item| [row.as_slice(), std::slice::from_ref(item)].concat()))
            .collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}
