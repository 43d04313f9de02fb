//! The template engine, set up to mean what Ansible means, and the ways to run it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde_json::Value as Json;

use super::json::{check, is_omit_value};
use super::lazy::{CONTEXT, Context, Eval, lock};
use super::strict::{self, Ready};
use super::{Fault, LookupKind, fault, filters, functions, methods, predicates};

/// Instructions (and 64-byte pieces of text) that one template may cost. A template that wants more is a mistake.
const FUEL: u64 = 5_000_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(60);
    env.set_formatter(print);
    env.set_unknown_method_callback(methods::call);
    env.set_syntax(inline_syntax());
    filters::register(&mut env);
    predicates::register(&mut env);
    functions::register(&mut env);
    env
});

fn inline_syntax() -> SyntaxConfig {
    syntax(|_| {}).unwrap_or_default()
}

fn syntax(change: impl FnOnce(&mut minijinja::syntax::SyntaxConfigBuilder)) -> Result<SyntaxConfig, Error> {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).keep_trailing_newline(true);
    change(&mut builder);
    builder.build()
}

pub(super) fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

pub(super) fn has_template_inside(json: &Json) -> bool {
    match json {
        Json::String(text) => has_template(text),
        Json::Array(items) => items.iter().any(has_template_inside),
        Json::Object(map) => map.values().any(has_template_inside),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Prints a value into text: nothing for None and omit, Python's form for the rest.
fn print(out: &mut Output, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(context) = context(state) {
        let mut printed = lock(&context.printed);
        printed.0 += 1;
        printed.1 = Some(value.clone());
    }
    if value.is_none() || value.is_undefined() || is_omit_value(value) {
        return Ok(());
    }
    if value.as_object().is_some() {
        // parts may be undefined or failed, which printing would hide
        check(value).map_err(Fault::into_error)?;
    }
    out.write_fmt(format_args!("{value}")).map_err(|_| Error::new(ErrorKind::WriteFailure, "out of memory"))
}

pub(super) fn context(state: &State<'_, '_>) -> Option<Arc<Context>> {
    state.lookup(CONTEXT)?.downcast_object::<Context>()
}

/// A string of a variable, argument or setting: `"{{ x }}"` alone keeps its type.
pub(super) fn template(eval: &Arc<Eval>, source: &str) -> Result<Value, Fault> {
    // a block scalar's final newline does not make an expression a text, but stays where the result is one
    let trimmed = source.trim_end_matches('\n');
    let (body, newlines) = if trimmed.ends_with("}}") { (trimmed, &source[trimmed.len()..]) } else { (source, "") };
    let body = strict::literal_backslashes(body);
    let value = match strict::template(&body, "", ENGINE.syntax())? {
        Ready::Expression(code) => run_expression(eval, &code)?,
        Ready::Template(text) => {
            let context = Context::value(eval);
            let output = ENGINE.template_from_named_str("", &text)?.render(context.clone())?;
            native(&context, &output).unwrap_or_else(|| Value::from(output))
        }
    };
    Ok(match value.as_str() {
        Some(text) if !newlines.is_empty() => Value::from(format!("{text}{newlines}")),
        _ => value,
    })
}

/// A template whose whole output is one printed value has that value's type: `{% if a %}{{ 1 }}{% endif %}`.
fn native(context: &Value, output: &str) -> Option<Value> {
    let context = context.downcast_object_ref::<Context>()?;
    let printed = lock(&context.printed);
    let (1, Some(value)) = &*printed else { return None };
    let text = if value.is_none() { String::new() } else { value.to_string() };
    (value.as_str().is_none() && text == output).then(|| value.clone())
}

/// A bare expression. The result may be undefined.
pub(super) fn expression(eval: &Arc<Eval>, source: &str) -> Result<Value, Fault> {
    run_expression(eval, &strict::expression(source)?)
}

fn run_expression(eval: &Arc<Eval>, code: &str) -> Result<Value, Fault> {
    let value = ENGINE.compile_expression(code)?.eval(Context::value(eval))?;
    if value.is_undefined() {
        return Err(Fault::new("the expression has no value: an `if` without `else` chose nothing"));
    }
    Ok(value)
}

/// A template file.
pub(super) fn text(eval: &Arc<Eval>, source: &str, file: &Path) -> Result<String, Fault> {
    let (source, syntax, first_line) = header(source)?;
    let name = file.display().to_string();
    let mut env = ENGINE.clone();
    env.set_syntax(syntax.clone());
    // where an include was found, by the name that the engine uses for it
    let asked: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let (joined, loaded) = (asked.clone(), asked);
    env.set_path_join_callback(move |name, parent| {
        let near = match Path::new(parent).parent() {
            Some(dir) if !name.starts_with('/') => dir.join(name).display().to_string(),
            _ => name.to_owned(),
        };
        lock(&joined).insert(near.clone(), name.to_owned());
        near.into()
    });
    let world = eval.scope.world().clone();
    let include_syntax = syntax.clone();
    env.set_loader(move |near| {
        let asked = lock(&loaded).get(near).cloned();
        let found = world.read(LookupKind::Template, near).or_else(|fault| match asked {
            Some(name) if name != near => world.read(LookupKind::Template, &name),
            _ => Err(fault),
        });
        let Ok((_, bytes)) = found else { return Ok(None) };
        let source = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(match strict::template(&source, near, &include_syntax)? {
            Ready::Template(text) => text,
            Ready::Expression(code) => wrapped(&code, &include_syntax),
        }))
    });
    let hardened = match strict::template(source, &name, &syntax).map_err(|error| shifted(error, first_line))? {
        Ready::Template(text) => text,
        Ready::Expression(code) => wrapped(&code, &syntax),
    };
    let template = env.template_from_named_str(&name, &hardened).map_err(|error| shifted(error, first_line))?;
    template.render(Context::value(eval)).map_err(|error| {
        let (file, line) = fault::origin(&error);
        let included = file.filter(|file| *file != name && !file.is_empty()).map(|file| format!("{file}:{line}"));
        let mut fault = shifted(error, first_line);
        if let Some(included) = included {
            fault.text = format!("{included}: {}", fault.text);
        }
        fault
    })
}

fn wrapped(code: &str, syntax: &SyntaxConfig) -> String {
    let (open, close) = syntax.variable_delimiters();
    format!("{open} {code} {close}")
}

fn shifted(error: Error, lines: usize) -> Fault {
    let mut fault = Fault::from(error);
    fault.line = fault.line.map(|line| line + lines);
    fault
}

/// `#jinja2: trim_blocks: False, lstrip_blocks: True` on the first line: the rest, its syntax, and how many lines
/// the header took.
fn header(source: &str) -> Result<(&str, SyntaxConfig, usize), Fault> {
    let Some(after) = source.strip_prefix("#jinja2:") else { return Ok((source, inline_syntax(), 0)) };
    let (options, rest) = after.split_once('\n').unwrap_or((after, ""));
    let mut wanted: HashMap<&str, &str> = HashMap::new();
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let (key, value) = option
            .split_once(':')
            .ok_or_else(|| Fault::new("the `#jinja2:` header is not a list of `option: value`").on_line(1))?;
        wanted.insert(key.trim(), value.trim().trim_matches(['\'', '"']));
    }
    let mut unknown = None;
    let on = |value: &str| matches!(value.to_lowercase().as_str(), "true" | "yes" | "on" | "1");
    let get = |key: &str, default: &str| wanted.get(key).map_or_else(|| default.to_owned(), |v| (*v).to_owned());
    let built = syntax(|builder| {
        builder.variable_delimiters(get("variable_start_string", "{{"), get("variable_end_string", "}}"));
        builder.block_delimiters(get("block_start_string", "{%"), get("block_end_string", "%}"));
        builder.comment_delimiters(get("comment_start_string", "{#"), get("comment_end_string", "#}"));
        for (key, value) in &wanted {
            match *key {
                "trim_blocks" => drop(builder.trim_blocks(on(value))),
                "lstrip_blocks" => drop(builder.lstrip_blocks(on(value))),
                "keep_trailing_newline" => drop(builder.keep_trailing_newline(on(value))),
                "line_statement_prefix" => drop(builder.line_statement_prefix((*value).to_owned())),
                "line_comment_prefix" => drop(builder.line_comment_prefix((*value).to_owned())),
                "variable_start_string"
                | "variable_end_string"
                | "block_start_string"
                | "block_end_string"
                | "comment_start_string"
                | "comment_end_string" => {}
                other => unknown = Some(other.to_owned()),
            }
        }
    });
    match unknown {
        Some(option) => Err(Fault::new(format!("unknown option `{option}` in the `#jinja2:` header")).on_line(1)),
        None => Ok((rest, built?, 1)),
    }
}

/// The names that a template or expression leaves to its surroundings.
pub(super) fn free_names(source: &str, bare: bool) -> Vec<String> {
    let found = if bare {
        ENGINE.compile_expression(source).map(|code| code.undeclared_variables(false))
    } else {
        ENGINE.template_from_str(source).map(|template| template.undeclared_variables(false))
    };
    found.map(|names| names.into_iter().collect()).unwrap_or_default()
}

/// Is this the name of a function, not of a variable?
pub(super) fn is_function(name: &str) -> bool {
    functions::NAMES.contains(&name) || matches!(name, "range" | "dict" | "namespace" | "debug" | "omit")
}
