//! Which type a plain scalar has: PyYAML's implicit resolvers, written out.
//!
//! Their well-known surprises are all here on purpose, since playbooks rely on them: `yes` is a boolean and `y` is not,
//! `0644` is 420 and `0o644` a string, `1:30` is 90 and `01:30` a string, `1e3` is a string and `1.0e+3` a number.

use super::Kind;

/// The value of a scalar without quotes.
pub fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Kind::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Kind::Bool(false),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Kind::String(text.to_owned());
    }
    match (integer(text), float(text)) {
        (Some(Some(number)), _) => Kind::Int(number),
        (None, Some(number)) => Kind::Float(number),
        _ => Kind::String(text.to_owned()),
    }
}

/// `Some(None)`: PyYAML sees an integer, but it does not fit into 64 bits (or has no digits, which PyYAML chokes on).
pub fn integer(text: &str) -> Option<Option<i64>> {
    let (negative, digits) = unsigned(text);
    let signed = |radix: u32, digits: &str| {
        let digits = digits.replace('_', "");
        let sign = if negative { "-" } else { "" };
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    };
    let only = |allowed: fn(&u8) -> bool, digits: &str| {
        !digits.is_empty() && digits.bytes().all(|byte| byte == b'_' || allowed(&byte))
    };
    if let Some(binary) = digits.strip_prefix("0b") {
        return only(|byte| matches!(byte, b'0' | b'1'), binary).then(|| signed(2, binary));
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return only(u8::is_ascii_hexdigit, hex).then(|| signed(16, hex));
    }
    if digits == "0" {
        return Some(Some(0));
    }
    if let Some(octal) = digits.strip_prefix('0') {
        return only(|byte| matches!(byte, b'0'..=b'7'), octal).then(|| match signed(8, octal) {
            None if octal.bytes().all(|byte| byte == b'_') => Some(0),
            number => number,
        });
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some((whole, parts)) = digits.split_once(':') {
        if !only(u8::is_ascii_digit, whole) || !parts.split(':').all(sixtieth) {
            return None;
        }
        let mut total = signed(10, whole);
        for part in parts.split(':') {
            let part = part.parse::<i64>().ok();
            total = total
                .and_then(|total| total.checked_mul(60))
                .zip(part)
                .and_then(|(total, part)| if negative { total.checked_sub(part) } else { total.checked_add(part) });
        }
        return Some(total);
    }
    only(u8::is_ascii_digit, digits).then(|| signed(10, digits))
}

fn float(text: &str) -> Option<f64> {
    let (negative, digits) = unsigned(text);
    let sign = if negative { -1.0 } else { 1.0 };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        _ if matches!(text, ".nan" | ".NaN" | ".NAN") => return Some(f64::NAN),
        _ => {}
    }
    let (whole, rest) = digits.split_once('.')?;
    let plain_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if let Some((hours, parts)) = whole.split_once(':') {
        if !hours.starts_with(|first: char| first.is_ascii_digit())
            || !plain_digits(hours)
            || !parts.split(':').all(sixtieth)
            || !plain_digits(rest)
        {
            return None;
        }
        let last = format!("{}.{}", parts.rsplit(':').next()?, rest.replace('_', ""));
        let earlier = parts.rsplit_once(':').map(|(earlier, _)| earlier);
        let mut total: f64 = hours.replace('_', "").parse().ok()?;
        for part in earlier.into_iter().flat_map(|earlier| earlier.split(':')) {
            total = total * 60.0 + part.parse::<f64>().ok()?;
        }
        return Some(sign * (total * 60.0 + last.trim_end_matches('.').parse::<f64>().ok()?));
    }
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let starts_with_digit = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    let mantissa_fits = match whole {
        // PyYAML takes no sign here: `-.5` is a string.
        "" => starts_with_digit(fraction) && digits.len() == text.len(),
        _ => starts_with_digit(whole) && plain_digits(whole),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        exponent.starts_with(['+', '-'])
            && exponent.len() > 1
            && exponent[1..].bytes().all(|byte| byte.is_ascii_digit())
    });
    if !mantissa_fits || !plain_digits(fraction) || !exponent_fits {
        return None;
    }
    digits.replace('_', "").parse::<f64>().ok().map(|number| sign * number)
}

fn unsigned(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// `[0-5]?[0-9]`
fn sixtieth(part: &str) -> bool {
    match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [tens, digit] => matches!(tens, b'0'..=b'5') && digit.is_ascii_digit(),
        _ => false,
    }
}

/// Whether some reader of YAML (1.1 or 1.2) might take this plain text for something else than a string.
pub fn ambiguous(text: &str) -> bool {
    if !matches!(plain(text), Kind::String(_)) || integer(text).is_some() {
        return true;
    }
    if matches!(text, "y" | "Y" | "n" | "N" | "=" | "<<") {
        return true;
    }
    // Dates, YAML 1.2 numbers (1e3, 0o17), versions, and whatever else begins as a number does.
    text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.'))
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || b"_.:+-oxTtZz ".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_resolve_as_in_pyyaml() {
        let table = [
            ("yes", "Bool(true)"),
            ("No", "Bool(false)"),
            ("ON", "Bool(true)"),
            ("off", "Bool(false)"),
            ("y", "String(\"y\")"),
            ("n", "String(\"n\")"),
            ("yEs", "String(\"yEs\")"),
            ("~", "Null"),
            ("", "Null"),
            ("0644", "Int(420)"),
            ("-0644", "Int(-420)"),
            ("0o17", "String(\"0o17\")"),
            ("08", "String(\"08\")"),
            ("0", "Int(0)"),
            ("0_", "Int(0)"),
            ("-0", "Int(0)"),
            ("+12_000", "Int(12000)"),
            ("0x1F", "Int(31)"),
            ("0b101", "Int(5)"),
            ("1:30", "Int(90)"),
            ("-1:30", "Int(-90)"),
            ("22:22", "Int(1342)"),
            ("01:30", "String(\"01:30\")"),
            ("1:60", "String(\"1:60\")"),
            ("1:30:15", "Int(5415)"),
            ("1:30.5", "Float(90.5)"),
            ("1e3", "String(\"1e3\")"),
            ("1.0e3", "String(\"1.0e3\")"),
            ("1.0e+3", "Float(1000.0)"),
            ("1.", "Float(1.0)"),
            (".5", "Float(0.5)"),
            ("-.5", "String(\"-.5\")"),
            ("-1.5", "Float(-1.5)"),
            ("1.2.3", "String(\"1.2.3\")"),
            (".inf", "Float(inf)"),
            ("-.INF", "Float(-inf)"),
            (".nan", "Float(NaN)"),
            ("2026-11-23", "String(\"2026-11-23\")"),
            ("9223372036854775807", "Int(9223372036854775807)"),
            ("-9223372036854775808", "Int(-9223372036854775808)"),
            ("9223372036854775808", "String(\"9223372036854775808\")"),
            ("-", "String(\"-\")"),
            (".", "String(\".\")"),
            ("...", "String(\"...\")"),
            ("10.0.0.1", "String(\"10.0.0.1\")"),
        ];
        for (text, expected) in table {
            assert_eq!(format!("{:?}", plain(text)), expected, "{text}");
        }
    }
}
