//! `b64encode`, `hash`, `to_uuid`, `quote`, `urlsplit`, `urldecode`: text in other clothes.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};
use minijinja::Value;
use minijinja::value::ValueKind;
use sha2::Digest as _;

use super::super::args::{Args, Outcome, entries, items, text, wrong};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("b64encode", |_, value, args| Ok(alphabet(args).encode(text(value)?).into())),
    ("b64decode", |_, value, args| b64decode(value, args)),
    ("hash", |_, value, args| hash(value, &args.text(0, "hashtype")?.unwrap_or_else(|| "sha1".to_owned()))),
    ("sha1", |_, value, _| hash(value, "sha1")),
    ("md5", |_, value, _| hash(value, "md5")),
    ("checksum", |_, value, _| hash(value, "sha1")),
    ("to_uuid", |_, value, args| to_uuid(value, args)),
    ("quote", |_, value, _| quote(value)),
    ("urlsplit", |_, value, args| urlsplit(value, args)),
    ("urlencode", |_, value, _| urlencode(value)),
    ("urldecode", |_, value, _| Ok(urldecode(&text(value)?).into())),
];

/// The name space of `to_uuid`.
const ANSIBLE: [u8; 16] =
    [0x36, 0x1e, 0x6d, 0x51, 0xfa, 0xec, 0x44, 0x4a, 0x90, 0x79, 0x34, 0x13, 0x86, 0xda, 0x8e, 0x2e];

fn alphabet(args: &Args) -> &'static GeneralPurpose {
    if args.flag(1, "urlsafe") { &URL_SAFE } else { &STANDARD }
}

fn b64decode(value: &Value, args: &Args) -> Outcome {
    let packed: String = text(value)?.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = alphabet(args).decode(packed).map_err(|_| wrong("the text is not base64"))?;
    String::from_utf8(bytes).map(Value::from).map_err(|_| wrong("the base64 does not hold UTF-8 text"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(value: &Value, kind: &str) -> Outcome {
    let data = text(value)?;
    let data = data.as_bytes();
    Ok(match kind {
        "md5" => hex(&md5::Md5::digest(data)),
        "sha1" => hex(&sha1::Sha1::digest(data)),
        "sha224" => hex(&sha2::Sha224::digest(data)),
        "sha256" => hex(&sha2::Sha256::digest(data)),
        "sha384" => hex(&sha2::Sha384::digest(data)),
        "sha512" => hex(&sha2::Sha512::digest(data)),
        _ => {
            return Err(wrong(format!(
                "`hash` does not know `{kind}`: use md5, sha1, sha224, sha256, sha384 or sha512"
            )));
        }
    }
    .into())
}

fn to_uuid(value: &Value, args: &Args) -> Outcome {
    let space = match args.text(0, "namespace")? {
        None => ANSIBLE.to_vec(),
        Some(uuid) => {
            let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').collect();
            let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            digits
                .chunks(2)
                .map(pair)
                .collect::<Option<Vec<u8>>>()
                .filter(|bytes| bytes.len() == 16)
                .ok_or_else(|| wrong("the `namespace` of `to_uuid` is not a UUID"))?
        }
    };
    let digest = sha1::Sha1::new().chain_update(space).chain_update(text(value)?).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id[6] = (id[6] & 0x0f) | 0x50;
    id[8] = (id[8] & 0x3f) | 0x80;
    let all = hex(&id);
    Ok(format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]).into())
}

/// Python's `shlex.quote`.
fn quote(value: &Value) -> Outcome {
    if value.is_none() {
        return Ok("''".into());
    }
    let word = text(value)?;
    let safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return Ok(word.into());
    }
    Ok(format!("'{}'", word.replace('\'', "'\"'\"'")).into())
}

fn urlsplit(value: &Value, args: &Args) -> Outcome {
    let url = text(value)?;
    let (rest, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if !scheme.is_empty() && !scheme.contains('/') => (scheme.to_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (login, place) = netloc.rsplit_once('@').map_or((None, netloc), |(login, place)| (Some(login), place));
    let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let (user, password) = match login {
        Some(login) => {
            login.split_once(':').map_or((Some(login), None), |(user, password)| (Some(user), Some(password)))
        }
        None => (None, None),
    };
    let optional = |text: Option<&str>| text.map_or_else(|| Value::from(()), Value::from);
    let parts = [
        ("fragment", Value::from(fragment)),
        ("hostname", optional(Some(host).filter(|host| !host.is_empty())).clone()),
        ("netloc", Value::from(netloc)),
        ("password", optional(password)),
        ("path", Value::from(path)),
        ("port", port.and_then(|port| port.parse::<u16>().ok()).map_or_else(|| Value::from(()), Value::from)),
        ("query", Value::from(query)),
        ("scheme", Value::from(scheme)),
        ("username", optional(user)),
    ];
    match args.text(0, "query")? {
        None => Ok(Value::from_pairs(parts)),
        Some(wanted) => parts
            .into_iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, part)| part)
            .ok_or_else(|| wrong(format!("a URL has no part `{wanted}`"))),
    }
}

/// Text keeps its slashes; a mapping or a list of pairs becomes a query.
fn urlencode(value: &Value) -> Outcome {
    let encode = |text: &str, kept: &str| -> String {
        let one = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if kept.contains(char::from(byte)) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect()
    };
    let pairs = match value.kind() {
        ValueKind::Map => entries(value)?,
        ValueKind::Seq | ValueKind::Iterable => {
            let pair = |pair: &Value| match items(pair)?.as_slice() {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err(wrong("`urlencode` needs a text, a mapping or a list of pairs")),
            };
            items(value)?.iter().map(pair).collect::<Result<_, _>>()?
        }
        _ => return Ok(encode(&text(value)?, "/").into()),
    };
    let mut query = Vec::new();
    for (key, value) in pairs {
        let plus = |text: &str| encode(text, "").replace("%20", "+");
        query.push(format!("{}={}", plus(&text(&key)?), plus(&text(&value)?)));
    }
    Ok(query.join("&").into())
}

fn urldecode(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
