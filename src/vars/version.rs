//! Comparing version numbers as Ansible's `version` test does.

use std::cmp::Ordering;

/// How a version's text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Numbers and words in turn, as Python's LooseVersion: `1.10 > 1.9`, `1.0-rc1 > 1.0`.
    Loose,
    /// `1.2.3` with at most an `a4` or `b4` behind it.
    Strict,
    /// Semantic versioning 2.0: `1.0.0-rc.1 < 1.0.0`.
    Semantic,
}

/// Compares two versions; the error says which text is not a version.
pub fn compare(left: &str, right: &str, scheme: Scheme) -> Result<Ordering, String> {
    match scheme {
        Scheme::Loose => loose(left, right),
        Scheme::Strict => Ok(strict(left)?.cmp(&strict(right)?)),
        Scheme::Semantic => semantic(left, right),
    }
}

/// `==`, `eq`, `<`, `lt` … applied to an ordering.
pub fn holds(operator: &str, ordering: Ordering) -> Option<bool> {
    Some(match operator {
        "==" | "=" | "eq" => ordering.is_eq(),
        "!=" | "<>" | "ne" => ordering.is_ne(),
        "<" | "lt" => ordering.is_lt(),
        "<=" | "le" => ordering.is_le(),
        ">" | "gt" => ordering.is_gt(),
        ">=" | "ge" => ordering.is_ge(),
        _ => return None,
    })
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Number(u128),
    Word(&'a str),
}

/// Runs of digits, runs of letters, and other single runs between dots.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let class = |c: char| (c.is_ascii_digit(), c.is_ascii_lowercase(), c == '.');
        let end = rest.find(|c| class(c) != class(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        match piece.parse() {
            _ if first == '.' => {}
            Ok(number) => out.push(Piece::Number(number)),
            Err(_) => out.push(Piece::Word(piece)),
        }
    }
    out
}

fn loose(left: &str, right: &str) -> Result<Ordering, String> {
    let (a, b) = (pieces(left), pieces(right));
    for (x, y) in a.iter().zip(&b) {
        let ordering = match (x, y) {
            (Piece::Number(x), Piece::Number(y)) => x.cmp(y),
            (Piece::Word(x), Piece::Word(y)) => x.cmp(y),
            _ => return Err("the versions differ in kind: one has a number where the other has a word".to_owned()),
        };
        if ordering.is_ne() {
            return Ok(ordering);
        }
    }
    Ok(a.len().cmp(&b.len()))
}

/// `1.2.3b4`: the numbers, then the pre-release; a version without one comes after all that have one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Strict {
    numbers: [u64; 3],
    final_release: bool,
    pre_release: (char, u64),
}

fn strict(text: &str) -> Result<Strict, String> {
    let bad = || "a strict version looks like 1.2.3 or 1.2a1".to_owned();
    let (numbers, pre) = text.split_at(text.find(['a', 'b']).unwrap_or(text.len()));
    let parts: Vec<&str> = numbers.split('.').collect();
    if !(2..=3).contains(&parts.len()) {
        return Err(bad());
    }
    let mut version = Strict { numbers: [0; 3], final_release: pre.is_empty(), pre_release: (' ', 0) };
    for (place, part) in version.numbers.iter_mut().zip(parts) {
        *place = part.parse().map_err(|_| bad())?;
    }
    if let Some(letter) = pre.chars().next() {
        version.pre_release = (letter, pre[1..].parse().map_err(|_| bad())?);
    }
    Ok(version)
}

fn semantic(left: &str, right: &str) -> Result<Ordering, String> {
    let (a, b) = (core_and_pre(left)?, core_and_pre(right)?);
    let core = a.0.cmp(&b.0);
    if core.is_ne() {
        return Ok(core);
    }
    Ok(match (a.1, b.1) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(x), Some(y)) => {
            let mut pairs = x.split('.').zip(y.split('.'));
            let differing = pairs.find_map(|(x, y)| {
                let ordering = match (x.parse::<u64>(), y.parse::<u64>()) {
                    (Ok(x), Ok(y)) => x.cmp(&y),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => x.cmp(y),
                };
                ordering.is_ne().then_some(ordering)
            });
            differing.unwrap_or_else(|| x.split('.').count().cmp(&y.split('.').count()))
        }
    })
}

fn core_and_pre(text: &str) -> Result<([u64; 3], Option<&str>), String> {
    let bad = || "a semantic version looks like 1.2.3 or 1.2.3-rc.1".to_owned();
    let text = text.split('+').next().unwrap_or_default();
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    let mut numbers = [0; 3];
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() != 3 {
        return Err(bad());
    }
    for (place, part) in numbers.iter_mut().zip(parts) {
        *place = part.parse().map_err(|_| bad())?;
    }
    Ok((numbers, pre))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Scheme::{Loose, Semantic, Strict};

    #[test]
    fn versions_compare_as_people_expect() {
        for (left, operator, right, scheme) in [
            ("1.10", ">", "1.9", Loose),
            ("12.04", ">=", "12.04", Loose),
            ("1.0-rc1", ">", "1.0", Loose),
            ("2.4.0", "lt", "2.10", Loose),
            ("v1.2", "==", "v1.2", Loose),
            ("1.2b1", "<", "1.2", Strict),
            ("1.2", "eq", "1.2.0", Strict),
            ("1.0.0-rc.1", "<", "1.0.0", Semantic),
            ("1.0.0-rc.2", "<", "1.0.0-rc.10", Semantic),
            ("1.0.0+build", "==", "1.0.0", Semantic),
        ] {
            let ordering = compare(left, right, scheme).unwrap();
            assert_eq!(holds(operator, ordering), Some(true), "{left} {operator} {right}");
        }
        assert!(compare("1.2", "1.x", Loose).is_err());
        assert!(compare("1.2", "1.2.3", Semantic).is_err());
    }
}
