//! Python's methods of strings, lists and mappings. Most come from the compatibility crate; these are the rest.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::args::{Args, Outcome, text, wrong};

pub(super) fn call(state: &mut State<'_, '_>, value: &Value, method: &str, values: &[Value]) -> Outcome {
    let ours = match value.kind() {
        ValueKind::String => string(value.as_str().unwrap_or_default(), method, &Args::new(values)?),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, &Args::new(values)?),
        ValueKind::Map => map(value, method),
        _ => None,
    };
    match ours {
        Some(result) => result,
        None => pycompat::unknown_method_callback(state, value, method, values).map_err(|error| match error.kind() {
            // a mapping may be a module of macros, which the engine tries next
            ErrorKind::UnknownMethod if value.kind() != ValueKind::Map => {
                wrong(format!("a {} has no method `{method}`", super::json::type_name(value)))
            }
            _ => error,
        }),
    }
}

fn string(subject: &str, method: &str, args: &Args) -> Option<Outcome> {
    Some(match method {
        "zfill" | "ljust" | "rjust" | "center" => padded(subject, method, args),
        "removeprefix" => arg(args).map(|prefix| subject.strip_prefix(&prefix).unwrap_or(subject).into()),
        "removesuffix" => arg(args).map(|suffix| subject.strip_suffix(&suffix).unwrap_or(subject).into()),
        "partition" => arg(args).map(|at| match subject.split_once(&at) {
            Some((before, after)) => Value::from_iter([before, &at, after]),
            None => Value::from_iter([subject, "", ""]),
        }),
        "rpartition" => arg(args).map(|at| match subject.rsplit_once(&at) {
            Some((before, after)) => Value::from_iter([before, &at, after]),
            None => Value::from_iter(["", "", subject]),
        }),
        "rsplit" => rsplit(subject, args),
        "swapcase" => {
            let swap = |c: char| match c.is_uppercase() {
                true => c.to_lowercase().to_string(),
                false => c.to_uppercase().to_string(),
            };
            Ok(subject.chars().map(swap).collect::<String>().into())
        }
        "index" => arg(args).and_then(|needle| match subject.find(&needle) {
            Some(at) => Ok(subject[..at].chars().count().into()),
            None => Err(wrong("`index`: the text is not there")),
        }),
        "encode" => Ok(subject.into()),
        _ => return None,
    })
}

fn arg(args: &Args) -> Result<String, Error> {
    text(args.need(0, "argument")?)
}

fn padded(subject: &str, method: &str, args: &Args) -> Outcome {
    let width = usize::try_from(args.int(0, "width")?.unwrap_or_default()).unwrap_or_default().min(100_000);
    let missing = width.saturating_sub(subject.chars().count());
    let fill = args.text(1, "fillchar")?.unwrap_or_else(|| " ".to_owned());
    Ok(match method {
        "ljust" => format!("{subject}{}", fill.repeat(missing)),
        "rjust" => format!("{}{subject}", fill.repeat(missing)),
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{subject}{}", fill.repeat(left), fill.repeat(missing - left))
        }
        _ => {
            let (sign, digits) = match subject.strip_prefix(['-', '+']) {
                Some(digits) => subject.split_at(subject.len() - digits.len()),
                None => ("", subject),
            };
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    }
    .into())
}

fn rsplit(subject: &str, args: &Args) -> Outcome {
    let most = args.int(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most + 1);
    let mut parts: Vec<&str> = match args.get(0, "sep") {
        Some(separator) => subject.rsplitn(most, text(separator)?.as_str()).map(|part| part as &str).collect(),
        None => subject.split_whitespace().rev().collect(),
    };
    parts.reverse();
    Ok(Value::from_iter(parts.into_iter().map(str::to_owned)))
}

fn list(value: &Value, method: &str, args: &Args) -> Option<Outcome> {
    Some(match method {
        "index" => (|| {
            let wanted = args.need(0, "value")?;
            let at = value.try_iter()?.position(|item| item == *wanted);
            at.map(Value::from).ok_or_else(|| wrong("`index`: the list does not hold that"))
        })(),
        "copy" => Ok(value.clone()),
        "append" | "extend" | "insert" | "remove" | "pop" | "sort" | "reverse" | "clear" => Err(wrong(format!(
            "`{method}` would change a list that the template did not make: use `+`, or start from `{{% set x = [] %}}`"
        ))),
        _ => return None,
    })
}

fn map(value: &Value, method: &str) -> Option<Outcome> {
    Some(match method {
        "copy" => Ok(value.clone()),
        "update" | "pop" | "setdefault" | "clear" | "popitem" => {
            Err(wrong(format!("`{method}` would change a mapping that the template did not make: use `| combine(…)`")))
        }
        _ => return None,
    })
}
