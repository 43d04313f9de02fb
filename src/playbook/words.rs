//! `k=v` strings and free-form strings: `creates=/x ls -l`, `src=a dest="b c" mode=0644`, with templates that hold
//! spaces and `=`. Leaves out: the meaning of any key.

/// A string of arguments, split where `sh` and Jinja would let it be split.
#[derive(Debug, PartialEq)]
pub struct Words<'a> {
    pub pairs: Vec<(&'a str, String)>,
    /// What is left when the pairs are taken out, as it stands there.
    pub rest: String,
}

/// Takes `key=value` pairs out of a text. With `keys`, only those count as keys (the text is a command line).
pub fn split<'a>(text: &'a str, keys: Option<&[&str]>) -> Words<'a> {
    let mut pairs = Vec::new();
    let mut rest = String::new();
    let mut last = 0;
    for (start, end) in spans(text) {
        let word = &text[start..end];
        let Some((key, value)) = word.split_once('=') else { continue };
        let known = keys.is_none_or(|keys| keys.contains(&key));
        if known && is_name(key) {
            pairs.push((key, unquote(value)));
            rest.push_str(&text[last..start]);
            last = end;
        }
    }
    rest.push_str(&text[last..]);
    Words { pairs, rest: rest.trim().to_owned() }
}

pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Byte ranges of the words: whitespace separates unless it is in quotes or in a template.
fn spans(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut spans, mut start, mut quote, mut depth) = (Vec::new(), None, None, 0usize);
    let mut i = 0;
    while i < bytes.len() {
        let two = bytes.get(i..i + 2).unwrap_or_default();
        let byte = bytes[i];
        match quote {
            Some(_) if byte == b'\\' => i += 1,
            Some(q) if byte == q => quote = None,
            Some(_) => {}
            None if matches!(two, b"{{" | b"{%" | b"{#") => {
                depth += 1;
                start.get_or_insert(i);
                i += 1;
            }
            None if depth > 0 && matches!(two, b"}}" | b"%}" | b"#}") => {
                depth -= 1;
                i += 1;
            }
            None if depth == 0 && byte.is_ascii_whitespace() => {
                if let Some(start) = start.take() {
                    spans.push((start, i));
                }
            }
            None => {
                start.get_or_insert(i);
                if byte == b'"' || byte == b'\'' {
                    quote = Some(byte);
                }
            }
        }
        i += 1;
    }
    if let Some(start) = start {
        spans.push((start, text.len()));
    }
    spans
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote) || inner.contains('\\')) {
            return inner.replace(&format!("\\{quote}"), &quote.to_string());
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_rest() {
        let table: &[(&str, Option<&[&str]>, &[(&str, &str)], &str)] = &[
            ("src=a dest=b", None, &[("src", "a"), ("dest", "b")], ""),
            ("msg=\"two words\" x='y z'", None, &[("msg", "two words"), ("x", "y z")], ""),
            ("path={{ a ~ '=' }}/x mode=0644", None, &[("path", "{{ a ~ '=' }}/x"), ("mode", "0644")], ""),
            ("ls -l  creates=/x  a=b", Some(&["creates"]), &[("creates", "/x")], "ls -l    a=b"),
            ("echo \"creates=no\"", Some(&["creates"]), &[], "echo \"creates=no\""),
            ("flush_handlers", None, &[], "flush_handlers"),
            ("msg=\"say \\\"hi\\\"\"", None, &[("msg", "say \"hi\"")], ""),
        ];
        for (text, keys, pairs, rest) in table {
            let words = split(text, *keys);
            let found: Vec<(&str, &str)> = words.pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
            assert_eq!((&found[..], words.rest.as_str()), (*pairs, *rest), "{text}");
        }
    }
}
