//! Block-style YAML that every reader, 1.1 or 1.2, reads back as the same value.
//!
//! Leaves out: flow style, comments, anchors, tags. Order is the order of the value.

use serde_json::Value;

use super::resolve;

/// Text that PyYAML reads back as the same value (ambiguous strings such as `yes` are quoted).
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => mapping(&mut out, entries, 0),
        Value::Array(items) if !items.is_empty() => list(&mut out, items, 0),
        scalar => {
            out.push_str(leaf(scalar, 2).trim_start_matches(' '));
            end_line(&mut out);
        }
    }
    out
}

/// The first line's indentation is already there, or not wanted (after `- `).
fn mapping(out: &mut String, entries: &serde_json::Map<String, Value>, indent: usize) {
    for (position, (key, value)) in entries.iter().enumerate() {
        if position > 0 {
            pad(out, indent);
        }
        let key = one_line(key);
        // A simple key may have at most 1024 characters.
        if key.chars().count() > 1000 {
            out.push_str("? ");
            out.push_str(&key);
            out.push('\n');
            pad(out, indent);
        } else {
            out.push_str(&key);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                list(out, items, indent + 2);
            }
            scalar => {
                out.push(' ');
                out.push_str(&leaf(scalar, indent + 2));
                end_line(out);
            }
        }
    }
}

fn list(out: &mut String, items: &[Value], indent: usize) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(out, inner, indent + 2),
            Value::Array(inner) if !inner.is_empty() => list(out, inner, indent + 2),
            scalar => {
                out.push_str(&leaf(scalar, indent + 2));
                end_line(out);
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// Anything on one line, or a literal block indented by `indent`.
fn leaf(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float_text(float),
            _ => number.to_string(),
        },
        Value::String(text) if fits_literal(text) => literal(text, indent),
        Value::String(text) => one_line(text),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
    }
}

/// PyYAML reads a float only with a point, and an exponent only with a sign.
fn float_text(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => {
            let point = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            format!("{mantissa}{point}e{sign}{exponent}")
        }
    }
}

/// Several lines, none of which needs an escape, an indentation indicator or more than one line end at the end.
fn fits_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !body.is_empty()
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.chars().all(|character| character == '\n' || character == '\t' || printable(character))
        && body.lines().all(|line| line.is_empty() || !line.trim_matches([' ', '\t']).is_empty())
}

fn literal(text: &str, indent: usize) -> String {
    let mut out = String::from(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            pad(&mut out, indent);
            out.push_str(line);
        }
    }
    out
}

fn one_line(text: &str) -> String {
    if fits_plain(text) {
        return text.to_owned();
    }
    if text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if printable(other) => out.push(other),
            other => match u32::from(other) {
                code @ 0..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ 0x100..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push('"');
    out
}

fn fits_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphanumeric() || matches!(first, '_' | '/' | '.'))
        && text.chars().all(printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("...")
        && !resolve::ambiguous(text)
}

/// What YAML allows unescaped on one line, without what some readers take for a line end or a byte order mark.
fn printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        other => other >= '\u{a0}',
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::yaml::parse;

    fn read(text: &str) -> Value {
        let documents = parse(text, Path::new("emitted.yml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        documents.first().map_or(Value::Null, |node| node.to_value())
    }

    #[test]
    fn reads_well() {
        let value = json!({
            "name": "web", "mode": "0644", "on": "yes", "port": 22, "ratio": 1.5e300, "none": null,
            "script": "set -e\n\n  echo hi\n", "template": "{{ x }}", "path": "/opt/a b", "time": "1:30", "empty": "",
            "tasks": [{"name": "a: b", "args": [1, [2, 3], {}]}, "it's", []],
        });
        let expected = "\
name: web
mode: '0644'
'on': 'yes'
port: 22
ratio: 1.5e+300
none: null
script: |
  set -e

    echo hi
template: '{{ x }}'
path: /opt/a b
time: '1:30'
empty: ''
tasks:
  - name: 'a: b'
    args:
      - 1
      - - 2
        - 3
      - {}
  - it's
  - []
";
        assert_eq!(emit(&value), expected);
        assert_eq!(read(expected), value);
    }

    fn strings() -> impl Strategy<Value = String> {
        let nasty = [
            "yes",
            "No",
            "on",
            "y",
            "~",
            "null",
            "0644",
            "0o17",
            "1:30",
            "1e3",
            "1.0e+3",
            ".inf",
            "2026-11-23",
            "=",
            "<<",
            "---",
            "...",
            "- a",
            "? a",
            "a:",
            ": a",
            "# a",
            "a #b",
            "'",
            "\"",
            "\\",
            "{{ x }}",
            "[a",
            "%a",
            "@a",
            "`a",
            "!a",
            "&a",
            "*a",
            "|",
            ">",
            "\t",
            " a",
            "a ",
            "\n",
            "a\n",
            "a\n\n",
            "\na",
            " a\nb",
            "a\n b\n",
            "a\n \nb",
            "a\r\nb",
            "\u{85}",
            "\u{2028}",
            "\u{feff}a",
            "\u{0}",
            "é",
            "😀",
            "0x1F",
            "1_000",
            "+1",
            "-.5",
            "-",
            "0b",
            "0x",
            "1.2.3",
            "12e03",
            "190:20:30",
            "true",
            "a\tb\nc",
            "a,b",
            "a]b",
            "18446744073709551616",
        ];
        prop_oneof![
            proptest::sample::select(nasty.to_vec()).prop_map(str::to_owned),
            any::<String>(),
            "[a-z0-9 :#'\"\\n\\t{}\\[\\],&*!|>%@`.=<~+-]{0,12}",
            "[-+0-9._:eExob]{1,8}",
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no infinities", |n| n.is_finite()).prop_map(Value::from),
            strings().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((strings(), inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_is_emitted_is_read_back(value in values()) {
            let text = emit(&value);
            prop_assert_eq!(read(&text), value, "{}", text);
        }
    }

    /// One Python for all cases: a JSON array of YAML texts in, a JSON array of what PyYAML makes of them out.
    fn pyyaml(texts: &[String]) -> Option<Vec<Value>> {
        const READER: &str = "import json, sys, yaml\nclass L(yaml.SafeLoader): pass\n\
            L.add_constructor('tag:yaml.org,2002:timestamp', L.construct_yaml_str)\n\
            L.add_constructor('tag:yaml.org,2002:value', L.construct_yaml_str)\n\
            def show(v):\n  if isinstance(v, float): return 'float:' + repr(v)\n  if isinstance(v, list): return [show(x) for x in v]\n  \
            if isinstance(v, dict): return {k: show(x) for k, x in v.items()}\n  return v\n\
            def read(t):\n  try: return [show(yaml.load(t, L))]\n  except Exception as e: return str(e)\n\
            json.dump([read(t) for t in json.load(sys.stdin)], sys.stdout)";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", READER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let input = serde_json::to_vec(texts).expect("strings are JSON");
        let mut stdin = child.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("python ran");
        writer.join().expect("no panic").ok();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// Floats as text of one spelling on both sides, since JSON rounds them and lacks infinities.
    fn spelled(value: &Value) -> Value {
        let spell = |number: f64| Value::String(format!("float:{number:?}").to_lowercase());
        match value {
            Value::Number(number) if number.is_f64() => spell(number.as_f64().expect("a float")),
            Value::String(text) => match text.strip_prefix("float:").map(str::parse::<f64>) {
                Some(Ok(number)) => spell(number),
                _ => value.clone(),
            },
            Value::Array(items) => items.iter().map(spelled).collect(),
            Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), spelled(value))).collect(),
            other => other.clone(),
        }
    }

    fn skip(reason: &str) {
        assert!(std::env::var("CI").is_err(), "{reason}");
        println!("skipped: {reason}");
    }

    #[test]
    fn pyyaml_reads_what_is_emitted() {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let cases: Vec<Value> = (0..500).map(|_| values().new_tree(&mut runner).expect("a value").current()).collect();
        let Some(answers) = pyyaml(&cases.iter().map(emit).collect::<Vec<_>>()) else {
            return skip("/usr/bin/python3 with PyYAML is not installed");
        };
        for (value, answer) in cases.iter().zip(answers) {
            assert_eq!(spelled(&answer), spelled(&json!([value])), "{}", emit(value));
        }
    }

    #[test]
    fn plain_scalars_resolve_as_in_pyyaml() {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let numbers = "[-+]{0,1}[0-9xob._:]{1,7}([eE][-+]{0,1}[0-9]{0,2}){0,1}";
        let words = "(yes|Yes|YES|yEs|y|n|no|No|on|On|off|OFF|true|TRUE|True|false|null|Null|~|[.]inf|-[.]Inf|1:30)";
        let mut texts: Vec<String> = Vec::new();
        for pattern in [numbers, words] {
            let strategy = proptest::string::string_regex(pattern).expect("a pattern");
            texts.extend((0..3000).map(|_| strategy.new_tree(&mut runner).expect("a text").current()));
        }
        // Where PyYAML itself chokes on what it took for a number, or the text is no plain scalar at all.
        let lines: Vec<String> = texts.iter().map(|text| format!("k: {text}\n")).collect();
        let Some(answers) = pyyaml(&lines) else {
            return skip("/usr/bin/python3 with PyYAML is not installed");
        };
        let mut compared = 0;
        for (line, answer) in lines.iter().zip(answers) {
            let Some(theirs) = answer.get(0) else { continue };
            let ours = spelled(&read(line));
            let theirs = spelled(theirs);
            let infinite = theirs["k"].as_str().and_then(|text| text.strip_prefix("float:"));
            assert!(ours == theirs || infinite == ours["k"].as_str(), "{line}: {ours} {theirs}");
            compared += 1;
        }
        assert!(compared > 3000, "only {compared} could be compared");
    }
}
