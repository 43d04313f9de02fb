//! Ansible's filters. What the template engine brings and means the same (`map`, `select`, `join`, `sort` …) is
//! left to it.
//!
//! Leaves out: `ipaddr` and its family, `json_query`, `to_datetime`, `password_hash`: each is refused by a sentence.

mod collections;
mod data;
mod encode;
mod numbers;
mod paths;
mod regexes;
mod texts;

pub(super) use regexes::{compile, slow};

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, State, Value};

use super::args::{Args, Outcome, wrong};
use super::json::type_name;
use super::{Fault, engine, mutable, strict};

/// A filter: state, input, arguments.
pub(super) type Filter = fn(&mut State<'_, '_>, &Value, &Args) -> Outcome;

const FAMILIES: &[&[(&str, Filter)]] = &[
    BASIC,
    collections::FILTERS,
    data::FILTERS,
    encode::FILTERS,
    numbers::FILTERS,
    paths::FILTERS,
    regexes::FILTERS,
    texts::FILTERS,
];

const BASIC: &[(&str, Filter)] = &[
    (strict::NEED, need),
    (strict::OWN, |_, value, _| mutable::own(value)),
    (strict::MOD, texts::percent),
    (strict::COMPARE, compare),
    ("default", default),
    ("d", default),
    ("mandatory", mandatory),
    ("type_debug", |_, value, _| Ok(type_name(value).into())),
    ("ternary", ternary),
    ("bool", |_, value, _| Ok(truth(value).into())),
    ("password_hash", |_, _, _| {
        Err(refused("password_hash", "hash the password with `openssl passwd -6` and store the hash"))
    }),
    ("vault", |_, _, _| Err(refused("vault", "keep secrets in an `.env.age` file"))),
    ("unvault", |_, _, _| Err(refused("unvault", "keep secrets in an `.env.age` file"))),
    ("to_datetime", |_, _, _| Err(refused("to_datetime", "use `now()` and `strftime`"))),
    ("json_query", |_, _, _| Err(refused("json_query", "use `map(attribute=…)` and `selectattr`"))),
    ("ansible.utils.ipaddr", |_, _, _| Err(refused("ipaddr", "compute addresses outside of the playbook"))),
    ("ipaddr", |_, _, _| Err(refused("ipaddr", "compute addresses outside of the playbook"))),
];

/// The template engine's own filters that keep their meaning, for "did you mean".
const FROM_THE_ENGINE: &[&str] = &[
    "lower",
    "upper",
    "title",
    "capitalize",
    "replace",
    "length",
    "count",
    "dictsort",
    "items",
    "reverse",
    "trim",
    "join",
    "lines",
    "round",
    "abs",
    "attr",
    "first",
    "last",
    "min",
    "max",
    "sort",
    "list",
    "string",
    "batch",
    "slice",
    "sum",
    "indent",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "map",
    "groupby",
    "unique",
    "pprint",
    "tojson",
    "urlencode",
    "safe",
    "escape",
    "e",
];

pub(super) fn register(env: &mut Environment<'static>) {
    for (name, filter) in FAMILIES.iter().copied().flatten() {
        let run = move |state: &mut State<'_, '_>, value: Value, rest: Rest<ValueOrKwargs>| {
            let values: Vec<Value> = rest.iter().map(|value| value.clone().into_value()).collect();
            filter(state, &value, &Args::new(&values)?)
        };
        env.add_filter(*name, run);
        if !name.starts_with('_') && !name.contains('.') {
            env.add_filter(format!("ansible.builtin.{name}"), run);
        }
    }
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let ours = FAMILIES.iter().copied().flatten().map(|(name, _)| *name);
    ours.filter(|name| !name.starts_with('_')).chain(FROM_THE_ENGINE.iter().copied())
}

fn refused(filter: &str, instead: &str) -> minijinja::Error {
    Fault::new(format!("the filter `{filter}` is not supported")).hint(instead).into_error()
}

/// Refuses undefined, naming what it was; see `strict`.
fn need(state: &mut State<'_, '_>, value: &Value, args: &Args) -> Outcome {
    if !value.is_undefined() {
        return Ok(value.clone());
    }
    let what = args.text(0, "what")?.unwrap_or_default();
    let path = what.replace("['", ".").replace("[\"", ".").replace("']", "").replace("\"]", "");
    let path = path.replace('[', ".").replace(']', "");
    let root: String = path.trim_start_matches('(').chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if let Some(context) = engine::context(state) {
        if let Some(fault) = context.eval.why(&path) {
            return Err(fault.into_error());
        }
        let unknown = || state.lookup(&root).is_none_or(|value| value.is_undefined());
        if root == what || (!root.is_empty() && unknown()) {
            return Err(missing(&root, &context.eval.scope.all_names()).into_error());
        }
    }
    Err(match what.split_once(" | ") {
        Some(_) => Fault::new(format!("`{what}` has no value")),
        None => Fault::undefined(&what),
    }
    .into_error())
}

fn missing(name: &str, known: &[String]) -> Fault {
    let fault = Fault::undefined(name);
    match crate::error::nearest(name, known.iter().map(String::as_str)) {
        Some(near) if name.len() > 2 => fault.hint(format!("did you mean `{near}`?")),
        _ => fault,
    }
}

fn default(_: &mut State<'_, '_>, value: &Value, args: &Args) -> Outcome {
    let instead = || args.all().first().or_else(|| args.name("default_value")).cloned().unwrap_or_else(|| "".into());
    if value.is_undefined() || (args.flag(1, "boolean") && !value.is_true()) {
        return Ok(instead());
    }
    Ok(value.clone())
}

fn mandatory(state: &mut State<'_, '_>, value: &Value, args: &Args) -> Outcome {
    if !value.is_undefined() {
        return Ok(value.clone());
    }
    let what = args.name("_what").and_then(Value::as_str).unwrap_or("a mandatory variable");
    if let Some(message) = args.text(0, "msg")? {
        return Err(Fault { text: message, ..Fault::undefined(what) }.into_error());
    }
    need(state, value, &Args::new(&[what.into()])?)
}

/// `left < right` and its kin, for things that have an order among them.
fn compare(_: &mut State<'_, '_>, left: &Value, args: &Args) -> Outcome {
    use minijinja::value::ValueKind::{Bool, Iterable, Number, Seq, String};
    let (sign, right) = (args.text(0, "operator")?.unwrap_or_default(), args.need(1, "right"));
    let order = |value: &Value| match value.kind() {
        Number | Bool => 1,
        String => 2,
        Seq | Iterable => 3,
        _ => 0,
    };
    let none = Value::from(());
    let right = right.unwrap_or(&none);
    if order(left) == 0 || order(left) != order(right) {
        let fault = Fault::new(format!("`{sign}` cannot compare {} with {}", type_name(left), type_name(right)));
        let mixed = order(left) + order(right) == 3;
        return Err(if mixed { fault.hint("turn the text into a number with `| int`") } else { fault }.into_error());
    }
    super::version::holds(&sign, left.cmp(right)).map(Value::from).ok_or_else(|| wrong("not a comparison"))
}

fn ternary(_: &mut State<'_, '_>, value: &Value, args: &Args) -> Outcome {
    let pick = |index: usize, name| args.all().get(index).or_else(|| args.name(name)).cloned();
    if value.is_none()
        && let Some(none) = pick(2, "none_val").filter(|value| !value.is_none())
    {
        return Ok(none);
    }
    let (index, name) = if value.is_true() { (0, "true_val") } else { (1, "false_val") };
    pick(index, name).ok_or_else(|| wrong(format!("`ternary` needs the argument `{name}`")))
}

/// Ansible's `bool`: yes, on, 1, true are true, whatever else is false.
pub(super) fn truth(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => matches!(text.to_lowercase().as_str(), "yes" | "on" | "true" | "1"),
        None => *value == Value::from(true) || *value == Value::from(1),
    }
}
