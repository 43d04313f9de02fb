//! Python's regular expressions on a Rust engine that has look-around and backreferences.
//!
//! Leaves out: the flags `(?a)` and `(?L)`, which are refused by name.

use fancy_regex::{Captures, Regex, RegexBuilder};

/// How a pattern is read; Python's `re.I`, `re.M`, `re.S`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
}

/// Backtracking steps before a pattern counts as runaway.
const BACKTRACKS: usize = 1_000_000;

/// A pattern as Python's `re.compile` takes it. The error is a sentence without the pattern's subject text.
pub fn compile(pattern: &str, flags: Flags) -> Result<Regex, String> {
    let translated = translate(pattern, flags)?;
    RegexBuilder::new(&translated)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("not a pattern").trim().trim_start_matches("error: ");
            format!("the regular expression `{pattern}` cannot be used: {reason}")
        })
}

fn translate(pattern: &str, flags: Flags) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut multi_line = flags.multi_line;
    let mut in_class = false;
    let mut class_start = 0;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let next = chars.get(i + 1).copied();
        match c {
            '\\' => {
                let Some(escaped) = next else {
                    return Err(format!("the regular expression `{pattern}` ends with a backslash"));
                };
                escape(&mut out, escaped, in_class);
                i += 2;
                continue;
            }
            _ if in_class => match c {
                ']' if i > class_start => {
                    in_class = false;
                    out.push(']');
                }
                '[' => out.push_str(r"\["),
                ']' => out.push_str(r"\]"),
                // set operations of the engine are plain characters in Python
                '&' | '~' if next == Some(c) => {
                    out.push('\\');
                    out.push(c);
                }
                '-' if next == Some('-') && i > class_start => out.push_str(r"\-"),
                c => out.push(c),
            },
            '[' => {
                in_class = true;
                out.push('[');
                if next == Some('^') {
                    out.push('^');
                    i += 1;
                }
                class_start = i + 1;
            }
            '(' if next == Some('?') => {
                let rest: String = chars[i + 2..].iter().take(24).collect();
                if rest.starts_with('#') {
                    match chars[i..].iter().position(|c| *c == ')') {
                        Some(close) => i += close + 1,
                        None => return Err(format!("the comment in the regular expression `{pattern}` never ends")),
                    }
                    continue;
                }
                if let Some(name) = rest.strip_prefix("P=").and_then(|rest| rest.split_once(')')) {
                    out.push_str(&format!(r"\k<{}>", name.0));
                    i += 4 + name.0.chars().count() + 1;
                    continue;
                }
                let letters: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
                let global = rest[letters.len()..].starts_with([')', ':', '-']);
                if global && !letters.is_empty() {
                    if let Some(refused) = letters.chars().find(|c| !"imsxu".contains(*c)) {
                        return Err(format!(
                            "the flag `(?{refused})` in the regular expression `{pattern}` is not supported"
                        ));
                    }
                    multi_line |= letters.contains('m');
                }
                if rest.starts_with('L') {
                    return Err(format!("the flag `(?L)` in the regular expression `{pattern}` is not supported"));
                }
                out.push('(');
            }
            // Python's `$` also stands before a final newline
            '$' if !multi_line => out.push_str(r"(?=\n?\z)"),
            '{' => match quantifier(&chars[i..]) {
                Some((text, length)) => {
                    out.push_str(&text);
                    i += length;
                    continue;
                }
                None => out.push_str(r"\{"),
            },
            '}' => out.push_str(r"\}"),
            c => out.push(c),
        }
        i += 1;
    }
    Ok(out)
}

/// `{3}`, `{3,}`, `{3,5}`, `{,5}`; any other brace is a plain character.
fn quantifier(chars: &[char]) -> Option<(String, usize)> {
    let close = chars.iter().position(|c| *c == '}')?;
    let inner: String = chars[1..close].iter().collect();
    let (low, high) = match inner.split_once(',') {
        Some((low, high)) => (low.to_owned(), Some(high.to_owned())),
        None => (inner, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if !digits(&low)
        || !high.as_deref().is_none_or(digits)
        || (low.is_empty() && high.as_deref().is_none_or(str::is_empty))
    {
        return None;
    }
    let low = if low.is_empty() { "0" } else { &low };
    let text = match high {
        Some(high) => format!("{{{low},{high}}}"),
        None => format!("{{{low}}}"),
    };
    Some((text, close + 1))
}

fn escape(out: &mut String, escaped: char, in_class: bool) {
    match escaped {
        'Z' if !in_class => out.push_str(r"\z"),
        'b' if in_class => out.push_str(r"\x08"),
        '0' => out.push_str(r"\x00"),
        c if c.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(c);
        }
        // `\<` and `\>` are word edges in the engine, plain characters in Python
        '<' | '>' => out.push(escaped),
        c if c.is_ascii_punctuation() => {
            out.push('\\');
            out.push(c);
        }
        c => out.push(c),
    }
}

/// Text in which no character is special: Python's `re.escape`.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Python's replacement text: `\1`, `\g<1>`, `\g<name>`, `\n`, `\\`.
pub fn expand(replacement: &str, captures: &Captures<'_, str>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        if c.is_ascii_digit() && c != '0' {
            let length = rest.chars().take(2).take_while(char::is_ascii_digit).count();
            let group = rest[..length].parse().unwrap_or(0);
            out.push_str(numbered(captures, group)?);
            rest = &rest[length..];
            continue;
        }
        if let Some((name, after)) = rest.strip_prefix("g<").and_then(|rest| rest.split_once('>')) {
            match name.parse() {
                Ok(group) => out.push_str(numbered(captures, group)?),
                Err(_) => out.push_str(captures.name(name).map_or("", |found| found.as_str())),
            }
            rest = after;
            continue;
        }
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '\\' => out.push('\\'),
            '0' => out.push('\0'),
            c => {
                out.push('\\');
                out.push(c);
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn numbered<'t>(captures: &Captures<'t, str>, group: usize) -> Result<&'t str, String> {
    if group >= captures.len() {
        return Err(format!("the replacement refers to group {group}, which the regular expression does not have"));
    }
    Ok(captures.get(group).map_or("", |found| found.as_str()))
}

/// Python's `re.subn`: the new text and how many matches were replaced. `count` 0 replaces all.
pub fn replace(regex: &Regex, text: &str, replacement: &str, count: usize) -> Result<(String, usize), String> {
    let mut out = String::with_capacity(text.len());
    let (mut done, mut replaced) = (0, 0);
    for captures in regex.captures_iter(text) {
        let captures = captures.map_err(|_| "the regular expression takes too long on this text".to_owned())?;
        let Some(found) = captures.get(0) else { continue };
        out.push_str(&text[done..found.start()]);
        out.push_str(&expand(replacement, &captures)?);
        done = found.end();
        replaced += 1;
        if replaced == count {
            break;
        }
    }
    out.push_str(&text[done..]);
    Ok((out, replaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_python_means() {
        // pattern, text, what is found
        for (pattern, text, found) in [
            (r"^foo$", "foo\n", Some("foo")),
            (r"foo\Z", "foo\n", None),
            (r"(?P<a>x)(?P=a)", "axx", Some("xx")),
            (r"a{,2}b", "aaab", Some("aab")),
            (r"{{ x }}", "{{ x }}", Some("{{ x }}")),
            (r"[[]x", "[x", Some("[x")),
            (r"[]a]+", "]a]", Some("]a]")),
            (r"[^]]+", "ab]", Some("ab")),
            (r"\<b\>", "<b>", Some("<b>")),
            (r"(?<=a)b(?!c)", "abc ab", Some("b")),
            (r"(?i)FOO", "foo", Some("foo")),
            (r"a(?# comment )b", "ab", Some("ab")),
            (r#"\"x\'"#, "\"x'", Some("\"x'")),
            (r"\d+\.\d+", "v1.20", Some("1.20")),
        ] {
            let regex = compile(pattern, Flags::default()).unwrap();
            assert_eq!(regex.find(text).unwrap().map(|m| m.as_str()), found, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_translated_is_refused_by_name() {
        assert!(compile("(?a)x", Flags::default()).unwrap_err().contains("(?a)"));
        assert!(compile("a(", Flags::default()).unwrap_err().contains("a("));
    }

    #[test]
    fn replacements_are_pythons() {
        let regex = compile(r"(\w+)@(?P<host>\w+)", Flags::default()).unwrap();
        let (text, count) = replace(&regex, "a@b c@d $1", r"\g<host>:\1\n$1", 0).unwrap();
        assert_eq!((text.as_str(), count), ("b:a\n$1 d:c\n$1 $1", 2));
        assert_eq!(replace(&regex, "a@b c@d", "x", 1).unwrap().0, "x c@d");
        assert!(replace(&regex, "a@b", r"\7", 0).is_err());
    }
}
