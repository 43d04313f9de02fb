//! `regex_replace`, `regex_search`, `regex_findall`, `regex_escape`: Python's regular expressions.

use fancy_regex::Regex;
use minijinja::{Error, Value};

use super::super::args::{Args, Outcome, text, wrong};
use super::super::pyregex::{self, Flags};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("regex_replace", |_, value, args| regex_replace(value, args)),
    ("regex_search", |_, value, args| regex_search(value, args)),
    ("regex_findall", |_, value, args| regex_findall(value, args)),
    ("regex_escape", |_, value, args| regex_escape(value, args)),
];

pub(in crate::vars) fn compile(pattern: &str, ignore_case: bool, multi_line: bool) -> Result<Regex, Error> {
    pyregex::compile(pattern, Flags { ignore_case, multi_line, dot_all: false }).map_err(wrong)
}

pub(in crate::vars) fn slow() -> Error {
    wrong("the regular expression takes too long on this text")
}

fn regex_replace(value: &Value, args: &Args) -> Outcome {
    let pattern = args.text(0, "pattern")?.unwrap_or_default();
    let replacement = args.text(1, "replacement")?.unwrap_or_default();
    let regex = compile(&pattern, args.flag(2, "ignorecase"), args.flag(3, "multiline"))?;
    let count = args.int(4, "count")?.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let (out, replaced) = pyregex::replace(&regex, &text(value)?, &replacement, count).map_err(wrong)?;
    match args.int(5, "mandatory_count")? {
        Some(wanted) if wanted != 0 && usize::try_from(wanted).ok() != Some(replaced) => {
            Err(wrong(format!("`{pattern}` should match {wanted} times, but matches {replaced} times")))
        }
        _ => Ok(out.into()),
    }
}

fn regex_search(value: &Value, args: &Args) -> Outcome {
    let pattern = text(args.need(0, "regex")?)?;
    let regex = compile(
        &pattern,
        args.name("ignorecase").is_some_and(Value::is_true),
        args.name("multiline").is_some_and(Value::is_true),
    )?;
    let subject = text(value)?;
    let groups = &args.all().get(1..).unwrap_or_default();
    let Some(found) = regex.captures(&subject).map_err(|_| slow())? else { return Ok(Value::from(())) };
    if groups.is_empty() {
        return Ok(found.get(0).map_or("", |m| m.as_str()).into());
    }
    let mut out = Vec::new();
    for group in groups.iter() {
        let wanted = text(group)?;
        let name = wanted
            .strip_prefix("\\g<")
            .and_then(|rest| rest.strip_suffix('>'))
            .or_else(|| wanted.strip_prefix('\\'))
            .ok_or_else(|| wrong("`regex_search` takes groups as '\\\\1' or '\\\\g<name>'"))?;
        let piece = match name.parse::<usize>() {
            Ok(number) if number >= found.len() => return Err(wrong(format!("`{pattern}` has no group {number}"))),
            Ok(number) => found.get(number),
            Err(_) => found.name(name),
        };
        out.push(piece.map_or_else(|| Value::from(()), |m| Value::from(m.as_str())));
    }
    Ok(out.into())
}

fn regex_findall(value: &Value, args: &Args) -> Outcome {
    let regex = compile(&text(args.need(0, "regex")?)?, args.flag(2, "ignorecase"), args.flag(1, "multiline"))?;
    let subject = text(value)?;
    let mut out: Vec<Value> = Vec::new();
    for found in regex.captures_iter(&subject) {
        let found = found.map_err(|_| slow())?;
        let group = |number: usize| Value::from(found.get(number).map_or("", |m| m.as_str()));
        out.push(match found.len() {
            1 => group(0),
            2 => group(1),
            many => (1..many).map(group).collect(),
        });
    }
    Ok(out.into())
}

fn regex_escape(value: &Value, args: &Args) -> Outcome {
    let subject = text(value)?;
    match args.text(0, "re_type")?.as_deref() {
        None | Some("python") => Ok(pyregex::escaped(&subject).into()),
        Some("posix_basic") => {
            let mut out = String::new();
            for c in subject.chars() {
                if "][.^$*\\".contains(c) {
                    out.push('\\');
                }
                out.push(c);
            }
            Ok(out.into())
        }
        Some(_) => Err(wrong("`regex_escape` knows the types `python` and `posix_basic`")),
    }
}
