//! The kinds of settings that a package may declare, and what is wrong with a value that is not of its kind.
//!
//! Leaves out: whether a domain resolves or a URL answers; those are checks of a host, not of a text.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::pyregex;

/// What a setting must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    Domain,
    Email,
    Url,
    Port,
    Int,
    Bool,
    /// `enum:a,b,c`
    Enum(Vec<String>),
    /// `regex:^…$`, found anywhere unless anchored
    Regex(String),
    Timezone,
    Cidr,
    /// An address without a mask.
    Ip,
    Path,
    /// `password`, or `password:{"min": 12, "signs": "@_"}`
    Password(Policy),
    /// A telephone number in the form of E.164.
    Phone,
}

/// What a password must have besides a small and a capital letter and a digit.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Characters, at least.
    pub min: usize,
    /// The only characters besides letters and digits, where a program cannot take others.
    pub signs: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        POLICY
    }
}

const POLICY: Policy = Policy { min: 8, signs: None };

/// One thing that a password lacks or has too much of.
#[derive(Clone, Debug, PartialEq)]
pub enum Lack {
    Characters(usize),
    Small,
    Capital,
    Digit,
    /// There is a character other than these.
    OnlySigns(String),
    /// There is a line break or the like.
    NoControl,
}

impl Policy {
    /// Everything that is wrong with a password.
    pub fn lacks(&self, value: &str) -> Vec<Lack> {
        let has = |test: fn(char) -> bool| value.chars().any(test);
        let strange = |signs: &String| value.chars().any(|c| !c.is_ascii_alphanumeric() && !signs.contains(c));
        let mut lacks = vec![
            (value.chars().count() < self.min).then_some(Lack::Characters(self.min)),
            (!has(char::is_lowercase)).then_some(Lack::Small),
            (!has(char::is_uppercase)).then_some(Lack::Capital),
            (!has(|c| c.is_ascii_digit())).then_some(Lack::Digit),
            has(char::is_control).then_some(Lack::NoControl),
        ];
        lacks.push(self.signs.as_ref().filter(|signs| strange(signs)).map(|signs| Lack::OnlySigns(signs.clone())));
        lacks.into_iter().flatten().collect()
    }
}

const SIMPLE: &[(&str, Check)] = &[
    ("domain", Check::Domain),
    ("email", Check::Email),
    ("url", Check::Url),
    ("port", Check::Port),
    ("int", Check::Int),
    ("bool", Check::Bool),
    ("timezone", Check::Timezone),
    ("cidr", Check::Cidr),
    ("ip", Check::Ip),
    ("path", Check::Path),
    ("password", Check::Password(POLICY)),
    ("phone", Check::Phone),
];

impl FromStr for Check {
    type Err = String;

    /// `domain`, `email` …, `enum:a,b,c`, `regex:^[a-z]+$`.
    fn from_str(kind: &str) -> Result<Self, String> {
        if let Some(list) = kind.strip_prefix("enum:") {
            let words: Vec<String> = list.split(',').map(|word| word.trim().to_owned()).collect();
            return match words.iter().any(String::is_empty) {
                true => Err("`enum:` needs its values, for example `enum:small,large`".to_owned()),
                false => Ok(Check::Enum(words)),
            };
        }
        if let Some(pattern) = kind.strip_prefix("regex:") {
            pyregex::compile(pattern, pyregex::Flags::default())?;
            return Ok(Check::Regex(pattern.to_owned()));
        }
        if let Some(policy) = kind.strip_prefix("password:") {
            return serde_json::from_str(policy)
                .map(Check::Password)
                .map_err(|error| format!("`password` takes min and signs: {error}"));
        }
        SIMPLE.iter().find(|(name, _)| *name == kind).map(|(_, check)| check.clone()).ok_or_else(|| {
            let names: Vec<&str> = SIMPLE.iter().map(|(name, _)| *name).collect();
            let near = crate::error::nearest(kind, names.iter().copied());
            match near {
                Some(near) => format!("`{kind}` is not a kind of setting; did you mean `{near}`?"),
                None => format!("`{kind}` is not a kind of setting; use {}, enum:a,b or regex:…", names.join(", ")),
            }
        })
    }
}

/// Is this value of this kind? The error says what is wrong and shows a right one; it does not repeat the value.
pub fn check(kind: &str, value: &str) -> Result<(), String> {
    kind.parse::<Check>()?.check(value)
}

impl Check {
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self {
            Check::Domain => domain(value),
            Check::Email => email(value),
            Check::Url => url(value),
            Check::Port => port(value),
            Check::Int => value.parse::<i64>().map(drop).map_err(|_| "not a whole number; right is 42".to_owned()),
            Check::Bool => match value.to_lowercase().as_str() {
                "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0" => Ok(()),
                _ => Err("neither yes nor no; right is true or false".to_owned()),
            },
            Check::Enum(allowed) => match allowed.iter().any(|one| one == value) {
                true => Ok(()),
                false => Err(format!("not one of the possible values; right is {}", allowed.join(", "))),
            },
            Check::Regex(pattern) => {
                let regex = pyregex::compile(pattern, pyregex::Flags::default())?;
                match regex.is_match(value).unwrap_or(false) {
                    true => Ok(()),
                    false => Err(format!("does not match `{pattern}`")),
                }
            }
            Check::Timezone => match jiff::tz::TimeZone::get(value) {
                Ok(_) if !value.is_empty() => Ok(()),
                _ => Err("not a time zone; right is Europe/Madrid or UTC".to_owned()),
            },
            Check::Cidr => cidr(value),
            Check::Ip => value.parse::<IpAddr>().map(drop).map_err(|_| "not an address; right is 10.0.0.5".to_owned()),
            Check::Path => path(value),
            Check::Password(policy) => password(policy, value),
            Check::Phone => match value.strip_prefix('+') {
                Some(digits) if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
                    Ok(())
                }
                _ => Err("not an international telephone number; right is +5491123456789".to_owned()),
            },
        }
    }
}

fn domain(value: &str) -> Result<(), String> {
    let example = "right is chat.example.com";
    if value.contains("://") || value.contains('/') {
        return Err(format!("a domain stands without https:// and path; {example}"));
    }
    if value.contains(':') {
        return Err(format!("a domain stands without a port; {example}"));
    }
    let value = value.strip_suffix('.').unwrap_or(value);
    let labels: Vec<&str> = value.split('.').collect();
    if labels.len() < 2 {
        return Err(format!("a domain has at least one dot; {example}"));
    }
    if value.len() > 253 {
        return Err(format!("a domain has at most 253 characters; {example}"));
    }
    for label in &labels {
        let letters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if label.is_empty() {
            return Err(format!("a domain has no two dots side by side and none in front; {example}"));
        }
        if !letters {
            return Err(format!("a domain is made of a–z, 0–9, hyphens and dots; {example}"));
        }
        if label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return Err(format!("a part of a domain has at most 63 characters and no hyphen at its ends; {example}"));
        }
    }
    if labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("that is an address, not a domain; {example}"));
    }
    Ok(())
}

fn email(value: &str) -> Result<(), String> {
    let example = "right is admin@example.com";
    let Some((name, host)) = value.rsplit_once('@') else {
        return Err(format!("an e-mail address has an @; {example}"));
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if name.is_empty() || name.len() > 64 || dots || !name.chars().all(letters) {
        return Err(format!("what stands before the @ is not a mailbox; {example}"));
    }
    domain(host).map_err(|_| format!("what stands behind the @ is not a domain; {example}"))
}

fn url(value: &str) -> Result<(), String> {
    let example = "right is https://chat.example.com/path";
    let Some(rest) = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")) else {
        return Err(format!("a URL begins with https:// or http://; {example}"));
    };
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("a URL has no blanks; {example}"));
    }
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    if let Some((address, after)) = place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        let good = address.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || after.starts_with(':'));
        return if good { Ok(()) } else { Err(format!("the URL's address is not one; {example}")) };
    }
    let (host, number) = place.split_once(':').map_or((place, None), |(host, number)| (host, Some(number)));
    if number.is_some_and(|number| port(number).is_err()) {
        return Err(format!("the URL's port is not one; {example}"));
    }
    if host == "localhost" || host.parse::<IpAddr>().is_ok() || domain(host).is_ok() {
        return Ok(());
    }
    // names inside a network, such as a container's
    let single = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if single { Ok(()) } else { Err(format!("the URL's host is not a domain; {example}")) }
}

fn port(value: &str) -> Result<(), String> {
    match value.parse::<u16>() {
        Ok(port) if port > 0 && !value.starts_with('+') => Ok(()),
        _ => Err("not a port; right is a number from 1 to 65535, for example 8080".to_owned()),
    }
}

fn cidr(value: &str) -> Result<(), String> {
    let example = "right is 10.0.0.0/24";
    let Some((address, bits)) = value.split_once('/') else {
        return Err(format!("a network has a mask; {example}"));
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(format!("what stands before the / is not an address; {example}")),
    };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= most && !value.contains('+') => Ok(()),
        _ => Err(format!("the mask is a number from 0 to {most}; {example}")),
    }
}

fn path(value: &str) -> Result<(), String> {
    let example = "right is /srv/data";
    if !value.starts_with('/') {
        return Err(format!("a path begins with /; {example}"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("a path has no line breaks or other control characters; {example}"));
    }
    if value.split('/').any(|part| part == "..") {
        return Err(format!("a path goes without `..`; {example}"));
    }
    Ok(())
}

fn password(policy: &Policy, value: &str) -> Result<(), String> {
    let lacks = policy.lacks(value);
    if lacks.contains(&Lack::NoControl) {
        return Err(
            "a password has no line breaks or other control characters; right is like Correct_Horse7".to_owned()
        );
    }
    let words = lacks.iter().map(|lack| match lack {
        Lack::Characters(least) => format!("{least} characters"),
        Lack::Small => "a small letter".to_owned(),
        Lack::Capital => "a capital letter".to_owned(),
        Lack::Digit => "a digit".to_owned(),
        Lack::OnlySigns(signs) => format!("nothing: only {signs} may be in it besides letters and digits"),
        Lack::NoControl => String::new(),
    });
    match lacks.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("the password lacks {}; right is like Correct_Horse7", words.collect::<Vec<_>>().join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind, good values, and bad values with a piece of the message.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

    #[test]
    fn good_values_pass_and_bad_ones_are_told_why() {
        let long = format!("{}.example.com", "a".repeat(64));
        let table: &[Row<'_>] = &[
            (
                "domain",
                &["chat.example.com", "a.b", "xn--p1ai.xn--p1ai", "example.com."],
                &[
                    ("https://chat.example.com", "without https"),
                    ("localhost", "one dot"),
                    ("a..b", "side by side"),
                    ("a b.com", "a–z"),
                    ("-a.com", "hyphen"),
                    ("10.0.0.1", "address"),
                    ("chat.example.com:443", "port"),
                    (&long, "63"),
                    ("", "one dot"),
                ],
            ),
            (
                "email",
                &["a@b.co", "a.b+c@x.example.com"],
                &[("a", "@"), ("@b.co", "before"), ("a@b", "behind"), ("a b@c.de", "before")],
            ),
            (
                "url",
                &[
                    "https://a.b",
                    "http://localhost:8080/x?y#z",
                    "https://u:p@a.b/",
                    "http://[::1]:80/",
                    "http://postgres:5432",
                ],
                &[
                    ("a.b", "begins"),
                    ("ftp://a.b", "begins"),
                    ("https://a b", "blanks"),
                    ("https://a.b:99999", "port"),
                    ("https://", "host"),
                ],
            ),
            ("port", &["1", "65535"], &[("0", "65535"), ("65536", "65535"), ("+80", "65535"), ("x", "65535")]),
            ("int", &["0", "-5"], &[("1.5", "whole"), ("", "whole")]),
            ("bool", &["true", "No", "1"], &[("maybe", "yes nor no")]),
            ("enum:a, b", &["a", "b"], &[("c", "a, b"), ("", "a, b")]),
            ("regex:^[a-z]+$", &["abc"], &[("abc1", "^[a-z]+$")]),
            ("timezone", &["UTC", "Europe/Madrid"], &[("Madrid", "Europe/Madrid"), ("", "Europe/Madrid")]),
            ("cidr", &["10.0.0.0/8", "::/0"], &[("10.0.0.0", "mask"), ("10.0.0.0/33", "32"), ("x/8", "before")]),
            ("ip", &["10.0.0.1", "::1"], &[("10.0.0.256", "10.0.0.5")]),
            ("path", &["/srv/data", "/"], &[("srv", "begins"), ("/a/../b", ".."), ("/a\nb", "control")]),
            (
                "password",
                &["Correct_Horse7"],
                &[("short", "8 characters"), ("alllowercase", "capital"), ("NoDigitsHere", "digit")],
            ),
            (
                r#"password:{"min": 12, "signs": "@_"}"#,
                &["Correct_Horse7"],
                &[("Correct_7", "12 characters"), ("Correct_Horse7!", "only @_")],
            ),
            ("phone", &["+5491123456789"], &[("1123456789", "+"), ("+12", "+")]),
        ];
        for (kind, good, bad) in table {
            for value in *good {
                assert_eq!(check(kind, value), Ok(()), "{kind}: {value}");
            }
            for (value, piece) in *bad {
                let text = check(kind, value).unwrap_err();
                assert!(text.contains(piece), "{kind}: {value}: {text}");
            }
        }
        assert!(check("domian", "x").unwrap_err().contains("`domain`"));
        assert!(check("regex:(", "x").is_err());
        assert!(r#"password:{"mni": 1}"#.parse::<Check>().is_err());
        assert!("enum:".parse::<Check>().is_err());
    }
}
