//! Ansible's tests: what stands behind `is`, and in `select`, `selectattr` and their opposites.

use std::path::Path;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::args::{Args, items, text, wrong};
use super::filters::{compile, slow, truth};
use super::json::type_name;
use super::version::{self, Scheme};

type Test = fn(&Value, &Args) -> Result<bool, Error>;

const TESTS: &[(&str, Test)] = &[
    ("defined", |value, _| Ok(!value.is_undefined())),
    ("undefined", |value, _| Ok(value.is_undefined())),
    ("none", |value, _| Ok(value.is_none())),
    ("failed", |value, _| result_flag(value, "failed")),
    ("failure", |value, _| result_flag(value, "failed")),
    ("succeeded", |value, _| result_flag(value, "failed").map(|failed| !failed)),
    ("success", |value, _| result_flag(value, "failed").map(|failed| !failed)),
    ("successful", |value, _| result_flag(value, "failed").map(|failed| !failed)),
    ("changed", |value, _| changed(value)),
    ("change", |value, _| changed(value)),
    ("skipped", |value, _| result_flag(value, "skipped")),
    ("skip", |value, _| result_flag(value, "skipped")),
    ("unreachable", |value, _| result_flag(value, "unreachable")),
    ("reachable", |value, _| result_flag(value, "unreachable").map(|gone| !gone)),
    ("finished", |value, _| Ok(result_field(value, "finished")?.is_undefined() || result_flag(value, "finished")?)),
    ("started", |value, _| Ok(result_field(value, "started")?.is_undefined() || result_flag(value, "started")?)),
    ("timedout", |value, _| Ok(result_field(value, "timedout")?.is_true())),
    ("match", |value, args| matches(value, args, Some(Anchor::Start))),
    ("search", |value, args| matches(value, args, None)),
    ("regex", |value, args| {
        let anchor = match args.text(3, "match_type")?.as_deref() {
            None | Some("search") => None,
            Some("match") => Some(Anchor::Start),
            Some("fullmatch") => Some(Anchor::Both),
            Some(_) => return Err(wrong("`match_type` is search, match or fullmatch")),
        };
        matches(value, args, anchor)
    }),
    ("version", version),
    ("version_compare", version),
    ("truthy", |value, args| {
        Ok(if args.flag(0, "convert_bool") && value.as_str().is_some() { truth(value) } else { value.is_true() })
    }),
    ("falsy", |value, args| {
        Ok(!if args.flag(0, "convert_bool") && value.as_str().is_some() { truth(value) } else { value.is_true() })
    }),
    ("mapping", |value, _| Ok(value.kind() == ValueKind::Map)),
    ("sequence", |value, _| {
        Ok(matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map))
    }),
    ("iterable", |value, _| {
        Ok(matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map))
    }),
    ("list", |value, _| Ok(matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable))),
    ("string", |value, _| Ok(value.as_str().is_some())),
    ("boolean", |value, _| Ok(value.kind() == ValueKind::Bool)),
    // Python counts booleans among the numbers
    ("number", |value, _| Ok(value.is_number() || value.kind() == ValueKind::Bool)),
    ("contains", |value, args| contains(value, args.need(0, "item")?)),
    ("subset", |value, args| subset(value, args.need(0, "b")?)),
    ("issubset", |value, args| subset(value, args.need(0, "b")?)),
    ("superset", |value, args| subset(args.need(0, "b")?, value)),
    ("issuperset", |value, args| subset(args.need(0, "b")?, value)),
    ("all", |value, _| Ok(items(value)?.iter().all(Value::is_true))),
    ("any", |value, _| Ok(items(value)?.iter().any(Value::is_true))),
    ("nan", |value, _| Ok(f64::try_from(value.clone()).is_ok_and(f64::is_nan))),
    ("exists", |value, _| on_path(value, Path::exists)),
    ("file", |value, _| on_path(value, Path::is_file)),
    ("is_file", |value, _| on_path(value, Path::is_file)),
    ("directory", |value, _| on_path(value, Path::is_dir)),
    ("is_dir", |value, _| on_path(value, Path::is_dir)),
    ("link", |value, _| on_path(value, Path::is_symlink)),
    ("is_link", |value, _| on_path(value, Path::is_symlink)),
    ("link_exists", |value, _| on_path(value, |path| path.is_symlink() || path.exists())),
    ("abs", |value, _| on_path(value, Path::is_absolute)),
    ("is_abs", |value, _| on_path(value, Path::is_absolute)),
    ("same_file", |value, args| {
        let other = text(args.need(0, "path")?)?;
        on_path(value, |path| {
            path.canonicalize().is_ok_and(|real| Path::new(&other).canonicalize().is_ok_and(|o| o == real))
        })
    }),
    ("uri", |value, args| uri(value, args, &[])),
    ("url", |value, args| uri(value, args, &["ftp", "ftps", "http", "https"])),
    ("urn", |value, args| uri(value, args, &["urn"])),
    ("vault_encrypted", |value, _| Ok(value.as_str().is_some_and(|text| text.starts_with("$ANSIBLE_VAULT;")))),
];

const FROM_THE_ENGINE: &[&str] = &[
    "odd",
    "even",
    "divisibleby",
    "integer",
    "float",
    "lower",
    "upper",
    "sameas",
    "eq",
    "equalto",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "in",
    "true",
    "false",
];

pub(super) fn register(env: &mut Environment<'static>) {
    for (name, test) in TESTS {
        let run = move |_: &mut State<'_, '_>, value: Value, rest: Rest<ValueOrKwargs>| {
            let values: Vec<Value> = rest.iter().map(|value| value.clone().into_value()).collect();
            test(&value, &Args::new(&values)?)
        };
        env.add_test(*name, run);
        env.add_test(format!("ansible.builtin.{name}"), run);
    }
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(name, _)| *name).chain(FROM_THE_ENGINE.iter().copied())
}

fn result_field(value: &Value, field: &str) -> Result<Value, Error> {
    if value.kind() != ValueKind::Map {
        return Err(wrong(format!("a task's registered result is needed here, this is of type {}", type_name(value))));
    }
    value.get_attr(field)
}

fn result_flag(value: &Value, field: &str) -> Result<bool, Error> {
    result_field(value, field).map(|flag| flag.is_true())
}

fn changed(value: &Value) -> Result<bool, Error> {
    let own = result_field(value, "changed")?;
    if !own.is_undefined() {
        return Ok(own.is_true());
    }
    let results = result_field(value, "results")?;
    if results.kind() != ValueKind::Seq {
        return Ok(false);
    }
    Ok(items(&results)?
        .iter()
        .any(|one| one.kind() == ValueKind::Map && one.get_attr("changed").is_ok_and(|c| c.is_true())))
}

enum Anchor {
    Start,
    Both,
}

fn matches(value: &Value, args: &Args, anchor: Option<Anchor>) -> Result<bool, Error> {
    let pattern = args.text(0, "pattern")?.unwrap_or_default();
    let pattern = match anchor {
        None => pattern,
        Some(Anchor::Start) => format!(r"\A(?:{pattern})"),
        Some(Anchor::Both) => format!(r"\A(?:{pattern})\Z"),
    };
    let regex = compile(&pattern, args.flag(1, "ignorecase"), args.flag(2, "multiline"))?;
    regex.is_match(&text(value)?).map_err(|_| slow())
}

fn version(value: &Value, args: &Args) -> Result<bool, Error> {
    let (left, right) = (text(value)?, text(args.need(0, "version")?)?);
    if left.is_empty() || right.is_empty() || value.is_none() {
        return Err(wrong("`version` cannot compare with an empty version"));
    }
    let operator = args.text(1, "operator")?.unwrap_or_else(|| "eq".to_owned());
    let scheme = match (args.flag(2, "strict"), args.text(3, "version_type")?.as_deref()) {
        (true, _) | (_, Some("strict")) => Scheme::Strict,
        (_, None | Some("loose")) => Scheme::Loose,
        (_, Some("semver" | "semantic")) => Scheme::Semantic,
        (_, Some(other)) => return Err(wrong(format!("`version_type` `{other}` is not loose, strict or semver"))),
    };
    let ordering = version::compare(&left, &right, scheme).map_err(wrong)?;
    version::holds(&operator, ordering)
        .ok_or_else(|| wrong(format!("`version` does not know the operator `{operator}`")))
}

fn contains(value: &Value, item: &Value) -> Result<bool, Error> {
    Ok(match value.as_str() {
        Some(whole) => whole.contains(&text(item)?),
        None => value.try_iter()?.any(|one| one == *item),
    })
}

fn subset(small: &Value, large: &Value) -> Result<bool, Error> {
    let large = items(large)?;
    Ok(items(small)?.iter().all(|item| large.contains(item)))
}

fn on_path(value: &Value, check: impl Fn(&Path) -> bool) -> Result<bool, Error> {
    Ok(check(Path::new(&text(value)?)))
}

fn uri(value: &Value, args: &Args, default: &[&str]) -> Result<bool, Error> {
    let subject = text(value)?;
    let allowed: Vec<String> = match args.get(0, "schemes") {
        Some(list) => items(list)?.iter().map(text).collect::<Result<_, _>>()?,
        None => default.iter().map(|scheme| (*scheme).to_owned()).collect(),
    };
    let Some((scheme, rest)) = subject.split_once(':') else { return Ok(false) };
    let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let place = if default.contains(&"http") { rest.starts_with("//") && rest.len() > 2 } else { !rest.is_empty() };
    Ok(well_formed && place && (allowed.is_empty() || allowed.iter().any(|one| one == scheme)))
}
