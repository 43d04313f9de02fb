//! Python's regular expressions, as far as `lineinfile`, `replace` and `wait_for` need them.
//!
//! What Python writes differently is translated; what cannot be is refused by name. Leaves out matching of bytes:
//! files are UTF-8 here.

use fancy_regex::{Captures, Regex};

use crate::plan::Failure;

/// A compiled pattern. `flags` is the inside of `(?…)`, e.g. `m` for `re.MULTILINE`.
pub fn compile(pattern: &str, flags: &str) -> Result<Regex, Failure> {
    let translated = translate(pattern);
    let text = if flags.is_empty() { translated } else { format!("(?{flags}){translated}") };
    Regex::new(&text).map_err(|error| Failure::new(format!("regular expression {pattern:?}: {error}")))
}

/// Does the pattern match somewhere? Gives up loudly where matching would take forever.
pub fn search(regex: &Regex, text: &str) -> Result<bool, Failure> {
    regex.is_match(text).map_err(|error| too_hard(regex, error))
}

/// The first match with its groups.
pub fn captures<'t>(regex: &Regex, text: &'t str) -> Result<Option<Captures<'t, str>>, Failure> {
    regex.captures(text).map_err(|error| too_hard(regex, error))
}

/// Every match replaced, and how many there were.
pub fn replace_all(regex: &Regex, text: &str, replacement: &Replacement) -> Result<(String, usize), Failure> {
    let (mut result, mut end, mut count) = (String::with_capacity(text.len()), 0, 0);
    for found in regex.captures_iter(text) {
        let found = found.map_err(|error| too_hard(regex, error))?;
        let Some(whole) = found.get(0) else { continue };
        result.push_str(&text[end..whole.start()]);
        result.push_str(&replacement.expand(&found)?);
        end = whole.end();
        count += 1;
    }
    result.push_str(&text[end..]);
    Ok((result, count))
}

fn too_hard(regex: &Regex, error: fancy_regex::Error) -> Failure {
    Failure::new(format!("regular expression {:?}: {error}", regex.as_str()))
}

/// `\Z`, `\<`, literal braces and brackets inside classes mean other things in Rust's expressions.
fn translate(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Z') if !in_class => text.push_str("\\z"),
                Some(
                    plain @ ('<' | '>' | '\'' | '"' | ' ' | '/' | '`' | '@' | '!' | '%' | ',' | ':' | ';' | '=' | '_'),
                ) => {
                    text.push(plain);
                }
                Some(other) => {
                    text.push('\\');
                    text.push(other);
                }
                None => text.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                text.push('[');
                if chars.peek() == Some(&'^') {
                    text.extend(chars.next());
                }
                // a bracket that comes first is a literal one
                if chars.peek() == Some(&']') {
                    chars.next();
                    text.push_str("\\]");
                }
            }
            '[' | '&' | '~' if in_class => {
                text.push('\\');
                text.push(c);
            }
            ']' => {
                in_class = false;
                text.push(']');
            }
            '{' if !in_class && !is_repetition(chars.clone()) => text.push_str("\\{"),
            other => text.push(other),
        }
    }
    text
}

/// `3}`, `3,}`, `,4}` or `3,4}`.
fn is_repetition(rest: impl Iterator<Item = char>) -> bool {
    let inside: String = rest.take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '}')).collect();
    inside.split_once('}').is_some_and(|(range, _)| range.contains(|c: char| c.is_ascii_digit()))
}

/// The right-hand side of a replacement: text with `\1`, `\g<name>`, `\n` …
#[derive(Debug, PartialEq)]
pub struct Replacement(Vec<Piece>);

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Number(usize),
    Name(String),
}

impl Replacement {
    pub fn parse(template: &str) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = template.chars().peekable();
        let wrong = |what: String| Failure::new(format!("replacement {template:?}: {what}"));
        while let Some(c) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('g') => {
                    let name: String = chars.by_ref().skip_while(|c| *c == '<').take_while(|c| *c != '>').collect();
                    if name.is_empty() {
                        return Err(wrong("\\g wants a group, as in \\g<1>".to_owned()));
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(name.parse().map_or_else(|_| Piece::Name(name.clone()), Piece::Number));
                }
                Some(digit) if digit.is_ascii_digit() => {
                    let mut number = digit.to_string();
                    number.extend(chars.next_if(char::is_ascii_digit));
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Number(number.parse().unwrap_or_default()));
                }
                Some(letter) if letter.is_ascii_alphabetic() => return Err(wrong(format!("bad escape \\{letter}"))),
                Some('\\') => text.push('\\'),
                Some(other) => {
                    text.push('\\');
                    text.push(other);
                }
                None => return Err(wrong("ends in a single backslash".to_owned())),
            }
        }
        pieces.push(Piece::Text(text));
        Ok(Replacement(pieces))
    }

    pub fn expand(&self, found: &Captures<'_, str>) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in &self.0 {
            let group = match piece {
                Piece::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                Piece::Number(number) if *number < found.len() => found.get(*number),
                Piece::Number(number) => return Err(Failure::new(format!("the expression has no group {number}"))),
                Piece::Name(name) => found.name(name),
            };
            text.push_str(group.map_or("", |group| group.as_str()));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_patterns() {
        // pattern, text, matches
        let table = [
            (r"^#?\s*Port\b", "#Port 22", true),
            (r"end\Z", "the end", true),
            (r"location / {", "location / {", true),
            (r"a{2}", "caat", true),
            (r"[[]x", "[x", true),
            (r"[]a]", "]", true),
            (r"^(?!#)Listen", "#Listen", false),
            (r"(?P<k>a)(?P=k)", "aa", true),
            (r"\<html\>", "<html>", true),
            (r"foo\/bar", "foo/bar", true),
            (r"[a&&b]", "&", true),
            (r"\$\{x\}", "${x}", true),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(search(&compile(pattern, "").unwrap(), text).unwrap(), matches, "{pattern}");
        }
        assert!(compile("(unclosed", "").is_err());
    }

    #[test]
    fn replacements() {
        let table = [
            (r"(\w+)=(\w+)", r"\2=\1", "a=b c=d", "b=a d=c"),
            (r"(?P<key>\w+):", r"\g<key> = \g<0>", "x: 1", "x = x: 1"),
            (r"$", r"\n", "a", "a\n"),
            (r"\.", r"\\.", "a.b", r"a\.b"),
        ];
        for (pattern, replacement, text, expected) in table {
            let replacement = Replacement::parse(replacement).unwrap();
            assert_eq!(
                replace_all(&compile(pattern, "m").unwrap(), text, &replacement).unwrap().0,
                expected,
                "{pattern}"
            );
        }
        for wrong in [r"\q", r"\g<>", "\\"] {
            assert!(Replacement::parse(wrong).is_err(), "{wrong}");
        }
    }
}
