//! What is probably wrong with YAML that cannot be read, in the operator's words, and in which line.
//!
//! The parser often notices a mistake only in a later line than the one that holds it.

use crate::error::Error;

/// A syntax error as it is reported.
pub struct Found {
    pub line: usize,
    pub text: String,
    pub hint: Option<String>,
}

pub fn line(text: &str, number: usize) -> Option<&str> {
    text.lines().nth(number.checked_sub(1)?)
}

/// `info` and `number` are the parser's message and line.
pub fn explain(info: &str, text: &str, number: usize) -> Found {
    let found = |line, hint: &str| Found { line, text: sentence(info), hint: Some(hint.to_owned()) };
    let here = line(text, number).unwrap_or_default();
    if here[..here.len() - here.trim_start().len()].contains('\t') {
        return found(number, "indent with spaces, not with tabs");
    }
    if unquoted_template(here) {
        return found(number, QUOTE_TEMPLATE);
    }
    let lines: Vec<&str> = text.lines().take(number.saturating_sub(1)).collect();
    let mut before = lines
        .iter()
        .enumerate()
        .rev()
        .map(|(index, line)| (index + 1, *line))
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .peekable();
    let previous = before.peek().copied();
    if info.contains("quoted scalar") {
        let start = std::iter::once((number, here)).chain(before).find(|(_, line)| open_quote(line));
        let line = start.map_or(number, |(number, _)| number);
        return Found {
            line,
            text: "a quote is opened and not closed".into(),
            hint: Some("close the quote; inside '…' a ' is written twice, inside \"…\" a \" and a \\ need a \\".into()),
        };
    }
    for (number, line) in std::iter::once((number, here)).chain(previous) {
        if let Some(key) = missing_space(line) {
            return found(number, &format!("put a space after the colon: `{key}: …`"));
        }
    }
    if let Some((number, line)) = previous
        && unquoted_template(line)
    {
        return found(number, QUOTE_TEMPLATE);
    }
    if info.contains("mapping values are not allowed") || info.contains("':' must be") {
        let value = here.split_once(": ").map(|(_, value)| value.trim()).unwrap_or_default();
        if value.contains(": ") || value.ends_with(':') {
            return found(number, "quote the value, because it contains a colon");
        }
        return found(number, "check the indentation of this line and of the one before it");
    }
    if let Some(first) = value_of(here).chars().next().filter(|first| "@`%*&!|>".contains(*first)) {
        return found(number, &format!("quote a value that starts with `{first}`"));
    }
    if [here, previous.map_or("", |(_, line)| line)].iter().any(|line| open_bracket(line)) {
        return found(number, "close the brackets of the line before");
    }
    if info.contains("unexpected character") || info.contains("expected") || info.contains("indentation") {
        return found(number, "check the indentation, brackets and quotes of this line and of the one before it");
    }
    Found { line: number, text: sentence(info), hint: None }
}

const QUOTE_TEMPLATE: &str = "quote a value that starts with a template: \"{{ … }}\"";

/// A mapping or list stands where a key should: nearly always `key: {{ name }}`.
pub fn complex_key(error: Error, text: &str, number: usize) -> Error {
    match line(text, number).is_some_and(|line| line.contains("{{")) {
        true => error.hint(QUOTE_TEMPLATE),
        false => error.hint("write the key as a plain word or in quotes"),
    }
}

fn sentence(info: &str) -> String {
    match info {
        "simple key expect ':'" | "simple key expected" | "could not find expected ':'" => {
            "not readable: expected `key: value` here".to_owned()
        }
        other => format!("not readable: {}", other.replace('`', "'")),
    }
}

/// The part after `- ` and `key: `.
fn value_of(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start();
    }
    match rest.split_once(": ") {
        Some((key, value)) if !key.contains(['"', '\'', '{', '[']) => value.trim_start(),
        _ => rest,
    }
}

fn unquoted_template(line: &str) -> bool {
    let value = value_of(line);
    value.starts_with("{{") || value.starts_with("{%")
}

/// `key:value`, which YAML reads as one word.
fn missing_space(line: &str) -> Option<&str> {
    let word = line.trim().trim_start_matches("- ");
    let (key, value) = word.split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    (is_key && !value.is_empty() && !value.starts_with([' ', '/', ':', '\t'])).then_some(key)
}

fn open_bracket(line: &str) -> bool {
    let count = |brackets: [char; 2]| line.matches(brackets).count();
    count(['[', '{']) > count([']', '}'])
}

/// Whether the line opens a quote at the start of a value and does not close it.
fn open_quote(line: &str) -> bool {
    let value = value_of(line);
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else { return false };
    let mut escaped = false;
    let mut open = false;
    for character in value.chars() {
        if escaped {
            escaped = false;
        } else if character == '\\' && quote == '"' {
            escaped = true;
        } else if character == quote {
            open = !open;
        } else if character == '#' && !open {
            break;
        }
    }
    open
}
