//! Functions of templates: `lookup`, `query`, `q`, `now`, `undef`.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::args::{Args, Outcome, entries, items, mapping, wrong};
use super::{Fault, engine, lookups, time};

/// Names that are functions, not variables.
pub(super) const NAMES: &[&str] = &["lookup", "query", "q", "now", "undef"];

type Function = fn(&mut State<'_, '_>, &Args) -> Outcome;

const FUNCTIONS: &[(&str, Function)] = &[
    ("lookup", |state, args| {
        let mut found = looked_up(state, args)?;
        if args.name("wantlist").is_some_and(Value::is_true) {
            return Ok(found.into());
        }
        Ok(match found.len() {
            0 => "".into(),
            1 => found.swap_remove(0),
            // several texts are joined, anything else stays a list
            _ if found.iter().all(|value| value.as_str().is_some()) => {
                found.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",").into()
            }
            _ => found.into(),
        })
    }),
    ("query", |state, args| looked_up(state, args).map(Value::from)),
    ("q", |state, args| looked_up(state, args).map(Value::from)),
    ("dict", |_, args| {
        let mut pairs = Vec::new();
        for source in args.all() {
            if source.kind() == minijinja::value::ValueKind::Map {
                pairs.extend(entries(source)?);
                continue;
            }
            for pair in items(source)? {
                match items(&pair)?.as_slice() {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(wrong("`dict` needs pairs of a key and a value")),
                }
            }
        }
        pairs.extend(args.named().iter().map(|(key, value)| (Value::from(key.as_str()), value.clone())));
        Ok(mapping(pairs))
    }),
    ("now", |_, args| time::now(args)),
    ("undef", |_, args| {
        let message = args.text(0, "hint")?.unwrap_or_else(|| "an undefined value was used".to_owned());
        Err(Fault { undefined: Some(String::new()), ..Fault::new(message) }.into_error())
    }),
];

pub(super) fn register(env: &mut Environment<'static>) {
    for (name, function) in FUNCTIONS {
        env.add_function(*name, move |state: &mut State<'_, '_>, rest: Rest<ValueOrKwargs>| {
            let values: Vec<Value> = rest.iter().map(|value| value.clone().into_value()).collect();
            function(state, &Args::new(&values)?)
        });
    }
}

fn looked_up(state: &mut State<'_, '_>, args: &Args) -> Result<Vec<Value>, Error> {
    let context = engine::context(state).ok_or_else(|| wrong("a lookup is not possible here"))?;
    let Some((plugin, terms)) = args.all().split_first() else { return Err(wrong("`lookup` needs a plugin's name")) };
    let plugin = plugin.as_str().ok_or_else(|| wrong("the first argument of `lookup` is a plugin's name"))?;
    let plugin = plugin.strip_prefix("ansible.builtin.").unwrap_or(plugin);
    let errors = args.text(usize::MAX, "errors")?;
    match lookups::run(&context.eval, plugin, terms, args) {
        Err(_) if matches!(errors.as_deref(), Some("ignore" | "warn")) => Ok(Vec::new()),
        other => other,
    }
}
