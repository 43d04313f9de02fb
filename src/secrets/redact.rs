//! Keeps known secrets out of everything that is shown.
//!
//! Leaves out: secrets that nobody told it, and secrets shorter than four characters, which would black out half of
//! every text.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What stands where a secret was.
const MASK: &str = "********";
/// Shorter secrets are not looked for.
const SHORTEST: usize = 4;
/// Encoded forms and single lines of a secret are looked for from this length on: shorter ones turn up by chance.
const SHORTEST_FORM: usize = 6;

/// Replaces known secrets by `********`. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    /// None after a secret was added, until the next text.
    finder: Option<Arc<AhoCorasick>>,
}

impl Redactor {
    pub fn new() -> Self {
        Redactor::default()
    }

    /// All that is masked, for whoever works in another place.
    pub fn forms(&self) -> Vec<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).forms.iter().cloned().collect()
    }

    /// From now on this is masked, as it is and as JSON, shell words, URLs and base64 show it.
    pub fn add(&self, secret: &str) {
        let forms = forms(secret);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        known.forms.extend(forms);
        if known.forms.len() != before {
            known.finder = None;
        }
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(finder) = self.finder() else { return Cow::Borrowed(text) };
        // overlapping secrets are blacked out as one stretch
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for found in finder.find_overlapping_iter(text) {
            let mut start = found.start();
            let mut end = found.end();
            while let Some((s, e)) = stretches.last().copied().filter(|(_, e)| start < *e) {
                start = start.min(s);
                end = end.max(e);
                stretches.pop();
            }
            stretches.push((start, end));
        }
        if stretches.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (start, end) in stretches {
            out.push_str(&text[done..start]);
            if done != start || done == 0 {
                out.push_str(MASK);
            }
            done = end;
        }
        out.push_str(&text[done..]);
        Cow::Owned(out)
    }

    /// Every text in a value, at any depth; keys, and numbers that are a secret, too.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                if map.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
                    *map = std::mem::take(map)
                        .into_iter()
                        .map(|(key, item)| (self.text(&key).into_owned(), item))
                        .collect();
                }
                map.values_mut().for_each(|item| self.value(item));
            }
            Value::Number(number) => {
                let digits = number.to_string();
                if self.text(&digits) == MASK {
                    *value = Value::String(MASK.to_owned());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn finder(&self) -> Option<Arc<AhoCorasick>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.forms.is_empty() {
                return None;
            }
            if let Some(finder) = &known.finder {
                return Some(finder.clone());
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.finder.is_none() {
            // too many or too long patterns are the only way to fail; then nothing could be shown safely
            known.finder = AhoCorasick::new(&known.forms).ok().map(Arc::new);
        }
        known.finder.clone()
    }
}

/// The secret itself and what it looks like elsewhere.
fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let mut plain = vec![secret, secret.trim()];
    if secret.trim().contains('\n') {
        // logs come line by line; the frame of a PEM file is no secret
        plain.extend(secret.lines().map(str::trim).filter(|line| line.len() >= 8 && !line.starts_with("-----")));
    }
    for text in plain {
        if text.chars().count() < SHORTEST {
            continue;
        }
        forms.insert(text.to_owned());
        let json = serde_json::Value::from(text).to_string();
        let inner = json[1..json.len() - 1].to_owned();
        forms.insert(inner.replace('\\', r"\\").replace('"', "\\\""));
        forms.insert(inner.replace('/', r"\/"));
        forms.insert(ascii(&inner));
        forms.insert(inner);
        forms.insert(text.replace('\'', r"'\''"));
        forms.insert(text.replace('\'', "'\"'\"'"));
        forms.insert(text.replace('\'', "''"));
        forms.insert(text.replace('$', "$$"));
        forms.insert(text.replace('\\', r"\\").replace('\'', r"\'"));
        for upper in [true, false] {
            let percent = percent(text, upper);
            forms.insert(percent.replace("%20", "+"));
            forms.insert(percent);
        }
        if text.len() >= SHORTEST_FORM {
            forms.extend(base64_cores(text.as_bytes()));
        }
    }
    forms.retain(|form| form.chars().count() >= SHORTEST);
    forms
}

fn ascii(json: &str) -> String {
    let mut out = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

fn percent(text: &str, upper: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if upper => out.push_str(&format!("%{byte:02X}")),
            byte => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

/// The characters of a base64 text that are the same whatever stands before and after the secret, for each of the
/// three ways to lie on the grid. The first is the secret's own encoding.
fn base64_cores(secret: &[u8]) -> Vec<String> {
    let mut cores = Vec::new();
    for offset in 0..3 {
        let padded = [&[0_u8, 0][..offset], secret].concat();
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = alphabet.encode(&padded);
            // a character that holds bits of a neighbour is not the secret's alone
            let begin = [0, 2, 3][offset];
            let end = encoded.len() - usize::from(padded.len() % 3 != 0);
            cores.extend(encoded.get(begin..end).map(str::to_owned));
        }
    }
    cores.retain(|core| core.len() >= SHORTEST_FORM);
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_masked() {
        let redactor = Redactor::new();
        let secret = "p$ss 'w\"rd\\/ñ";
        redactor.add(secret);
        use base64::engine::general_purpose::STANDARD;
        for shown in [
            secret.to_owned(),
            serde_json::json!({ "a": secret }).to_string(),
            serde_json::Value::from(serde_json::json!({ "a": secret }).to_string()).to_string(),
            crate::plan::quote(secret),
            STANDARD.encode(secret),
            STANDARD.encode(format!("user:{secret}")),
            STANDARD.encode(format!("us:{secret}\nmore")),
            STANDARD.encode(format!("u:{secret}x")),
            format!("https://u:{}@host/", percent(secret, true)),
            secret.replace('$', "$$"),
        ] {
            let masked = redactor.text(&shown);
            assert!(masked.contains(MASK), "{shown} → {masked}");
            assert!(!masked.contains("w\"rd") && !masked.contains("ss 'w"), "{shown} → {masked}");
        }
    }

    #[test]
    fn overlapping_secrets_leave_nothing_between_them() {
        let redactor = Redactor::new();
        ["abcdef", "defghi", "abcdefghijkl"].iter().for_each(|secret| redactor.add(secret));
        assert_eq!(redactor.text("<abcdefghi>"), "<********>");
        assert_eq!(redactor.text("<abcdefghijkl>"), "<********>");
        assert_eq!(redactor.text("<abcdefabcdef>"), "<********>");
        assert_eq!(redactor.text("nothing to hide"), "nothing to hide");
        assert!(matches!(redactor.text("nothing to hide"), Cow::Borrowed(_)));
    }

    #[test]
    fn short_secrets_are_ignored_and_long_ones_are_masked_line_by_line() {
        let redactor = Redactor::new();
        redactor.add("abc");
        redactor.add("-----BEGIN KEY-----\nQUJDREVGR0g=\nSUpLTE1OT1A=\n-----END KEY-----\n");
        assert_eq!(redactor.text("abc"), "abc");
        assert_eq!(redactor.text("log: QUJDREVGR0g="), "log: ********");
        assert_eq!(redactor.text("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
    }

    #[test]
    fn values_are_masked_at_any_depth() {
        let redactor = Redactor::new();
        redactor.add("hunter22");
        redactor.add("123456");
        let mut value = serde_json::json!({"a": ["x hunter22 y"], "hunter22": {"n": 123456, "m": 7}});
        redactor.clone().value(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["x ******** y"], "********": {"n": "********", "m": 7}}));
    }

    #[test]
    fn two_hundred_secrets_are_quick() {
        let redactor = Redactor::new();
        for n in 0..200 {
            redactor.add(super::super::generate(&super::super::SecretKind::Base64Url, 32).unwrap().reveal());
            redactor.add(&format!("secret number {n} with words"));
        }
        let text = "the quick brown fox jumps over the lazy dog ".repeat(20);
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            assert!(matches!(redactor.text(&text), Cow::Borrowed(_)));
        }
        let took = start.elapsed();
        assert!(took.as_secs() < 10, "1000 texts of 900 bytes took {took:?} in a debug build");
    }
}
