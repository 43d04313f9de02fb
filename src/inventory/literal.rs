//! Values of INI files: a Python literal if the text is one (`True`, `22`, `['a', 'b']`), the text itself if not.
//!
//! So `true`, `yes` and `0644` are strings there, as in Ansible. Leaves out complex numbers and sets.

use serde_json::{Number, Value};

use crate::plan::Object;

/// The value of `text`, typed as Python's `ast.literal_eval` would.
pub fn value(text: &str) -> Value {
    literal(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn literal(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text.trim() };
    let first = reader.value(0)?;
    reader.blank();
    let value = match reader.take(',') {
        // `80,443` is a tuple.
        true => {
            let mut items = vec![first];
            loop {
                reader.blank();
                if reader.at_end() {
                    break Value::Array(items);
                }
                items.push(reader.value(0)?);
                reader.blank();
                if !reader.take(',') {
                    break Value::Array(items);
                }
            }
        }
        false => first,
    };
    reader.blank();
    reader.at_end().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Python takes the rest of the line after `#` for a comment.
    fn at_end(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    fn take(&mut self, wanted: char) -> bool {
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > 50 {
            return None;
        }
        self.blank();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']', depth).map(|(items, _)| Value::Array(items)),
            '(' => match self.items('(', ')', depth)? {
                (mut items, false) if items.len() == 1 => items.pop(),
                (items, _) => Some(Value::Array(items)),
            },
            '{' => self.mapping(depth),
            '\'' | '"' => {
                let mut text = self.string()?;
                loop {
                    self.blank();
                    match self.rest.starts_with(['\'', '"']) {
                        true => text.push_str(&self.string()?),
                        false => return Some(Value::String(text)),
                    }
                }
            }
            _ => self.word(),
        }
    }

    /// The items, and whether a comma followed the last one.
    fn items(&mut self, open: char, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.take(open);
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            self.blank();
            if self.take(close) {
                return Some((items, comma));
            }
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            self.blank();
            comma = self.take(',');
        }
    }

    fn mapping(&mut self, depth: usize) -> Option<Value> {
        self.take('{');
        let mut entries = Object::new();
        let mut comma = true;
        loop {
            self.blank();
            if self.take('}') {
                return Some(Value::Object(entries));
            }
            if !comma {
                return None;
            }
            let key = match self.value(depth + 1)? {
                Value::String(text) => text,
                Value::Bool(true) => "True".into(),
                Value::Bool(false) => "False".into(),
                Value::Null => "None".into(),
                other => other.to_string(),
            };
            self.blank();
            if !self.take(':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.blank();
            comma = self.take(',');
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut characters = self.rest[1..].char_indices();
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.rest = &self.rest[1 + at + character.len_utf8()..];
                    return Some(text);
                }
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text.push('\0'),
                    same @ ('\\' | '\'' | '"') => text.push(same),
                    digits @ ('x' | 'u' | 'U') => {
                        let count = match digits {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let hex: String = characters.by_ref().take(count).map(|(_, digit)| digit).collect();
                        text.push(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32)?);
                    }
                    other => text.extend(['\\', other]),
                },
                other => text.push(other),
            }
        }
        None
    }

    /// `True`, `None`, and numbers.
    fn word(&mut self) -> Option<Value> {
        let length = self
            .rest
            .char_indices()
            .find(|(at, character)| {
                let sign = matches!(character, '+' | '-');
                let fits = character.is_ascii_alphanumeric()
                    || matches!(character, '_' | '.')
                    || (sign && (*at == 0 || self.rest[..*at].ends_with(['e', 'E'])));
                !fits
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "None" => Some(Value::Null),
            _ => number(word),
        }
    }
}

fn number(word: &str) -> Option<Value> {
    let (sign, digits) = match word.as_bytes().first()? {
        b'-' => ("-", &word[1..]),
        b'+' => ("", &word[1..]),
        _ => ("", word),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || digits.ends_with('_')
        || digits.contains("__")
    {
        return None;
    }
    let plain = digits.replace('_', "");
    let radix = match plain.get(..2).map(str::to_lowercase).as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        return i64::from_str_radix(&format!("{sign}{}", &plain[2..]), radix).ok().map(Value::from);
    }
    if plain.bytes().all(|byte| byte.is_ascii_digit()) {
        // 0644 is no number in Python 3.
        if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|byte| byte != b'0') {
            return None;
        }
        return format!("{sign}{plain}").parse::<i64>().ok().map(Value::from);
    }
    let float = plain.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !float {
        return None;
    }
    format!("{sign}{plain}").parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_typed_as_python_does() {
        let table = [
            ("True", json!(true)),
            ("true", json!("true")),
            ("yes", json!("yes")),
            ("None", json!(null)),
            ("22", json!(22)),
            ("-5", json!(-5)),
            ("0644", json!("0644")),
            ("00", json!(0)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1:30", json!("1:30")),
            ("'quoted text'", json!("quoted text")),
            ("\"a\\nb\"", json!("a\nb")),
            ("'a' 'b'", json!("ab")),
            ("['a', 1, True]", json!(["a", 1, true])),
            ("[1, 2,]", json!([1, 2])),
            ("[]", json!([])),
            ("[a, b]", json!("[a, b]")),
            ("{'a': {'b': 2}}", json!({"a": {"b": 2}})),
            ("{}", json!({})),
            ("(1, 2)", json!([1, 2])),
            ("('x')", json!("x")),
            ("80,443", json!([80, 443])),
            ("a,b", json!("a,b")),
            ("5 # five", json!(5)),
            ("text # no comment", json!("text # no comment")),
            ("", json!("")),
            ("'open", json!("'open")),
            ("[1 2]", json!("[1 2]")),
            ("{{ x }}", json!("{{ x }}")),
            ("-o ProxyJump=a", json!("-o ProxyJump=a")),
            ("99999999999999999999", json!("99999999999999999999")),
            ("é", json!("é")),
        ];
        for (text, expected) in table {
            assert_eq!(value(text), expected, "{text}");
        }
    }
}
