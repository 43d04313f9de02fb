//! Functions of templates: `lookup`, `query`, `q`, `now`, `undef`, `dsn`.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::args::{Args, Outcome, entries, items, mapping, wrong};
use super::{Fault, engine, lookups, time};

/// Names that are functions, not variables.
pub(super) const NAMES: &[&str] = &["lookup", "query", "q", "now", "undef", "dsn"];

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
    // an address of a database with whatever its password may be made of
    ("dsn", |_, args| dsn(args)),
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

/// `dsn('postgresql', user, password, host, port, database, sslmode='require')`: every part percent-encoded.
fn dsn(args: &Args) -> Result<Value, Error> {
    const PARTS: [&str; 6] = ["scheme", "user", "password", "host", "port", "database"];
    let part = |index: usize| -> Result<String, Error> {
        Ok(args.text(index, PARTS[index])?.filter(|text| !text.is_empty()).unwrap_or_default())
    };
    let (scheme, host) = (part(0)?, part(3)?);
    if scheme.is_empty() || host.is_empty() {
        return Err(wrong("`dsn` needs a scheme and a host: dsn('postgresql', user, password, host, port, database)"));
    }
    let mut text = format!("{scheme}://");
    let (user, password) = (encoded(&part(1)?), encoded(&part(2)?));
    match (user.is_empty(), password.is_empty()) {
        (true, true) => {}
        (_, true) => text.push_str(&format!("{user}@")),
        (_, false) => text.push_str(&format!("{user}:{password}@")),
    }
    text.push_str(&host);
    let (port, database) = (part(4)?, encoded(&part(5)?));
    if !port.is_empty() {
        text.push_str(&format!(":{port}"));
    }
    if !database.is_empty() {
        text.push_str(&format!("/{database}"));
    }
    let named = args.named().iter().filter(|(name, _)| !PARTS.contains(&name.as_str()));
    for (index, (name, value)) in named.enumerate() {
        let sign = if index == 0 { '?' } else { '&' };
        text.push_str(&format!("{sign}{}={}", encoded(name), encoded(&super::args::text(value)?)));
    }
    Ok(Value::from(text))
}

/// What a part of an address may not hold, as `%XX`; a `/` as well.
fn encoded(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => done.push(char::from(byte)),
            _ => done.push_str(&format!("%{byte:02X}")),
        }
    }
    done
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
