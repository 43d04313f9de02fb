//! Host names as sources spell them: ranges `web[01:20]`, `db-[a:f]`, and ports `host:2222`, `[2001:db8::1]:22`.

/// More hosts than this in one pattern are surely a slip.
const MAX_HOSTS: usize = 65_536;

/// The hosts that a line stands for, and the port that it gives them.
pub fn expand(pattern: &str) -> Result<(Vec<String>, Option<u16>), String> {
    let (name, port) = split_port(pattern)?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ',') {
        return Err(format!("`{pattern}` is not a host name"));
    }
    let mut hosts = Vec::new();
    ranges(name, &mut hosts)?;
    Ok((hosts, port))
}

fn split_port(pattern: &str) -> Result<(&str, Option<u16>), String> {
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(format!("`{port}` in `{pattern}` is not a port")),
    };
    if let Some(rest) = pattern.strip_prefix('[')
        && let Some((address, port)) = rest.rsplit_once("]:")
        && address.matches(':').count() > 1
    {
        return Ok((address, number(port)?));
    }
    if pattern.ends_with(':') {
        return Err(format!("`{pattern}` ends in a colon; in this format a colon is followed by a port"));
    }
    match pattern.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && !outside_brackets(name, ':') => Ok((name, number(port)?)),
        _ => Ok((pattern, None)),
    }
}

fn outside_brackets(text: &str, wanted: char) -> bool {
    let mut depth = 0_usize;
    text.chars().any(|character| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && character == wanted
    })
}

fn ranges(name: &str, hosts: &mut Vec<String>) -> Result<(), String> {
    let Some((head, rest)) = name.split_once('[') else {
        hosts.push(name.to_owned());
        return match hosts.len() > MAX_HOSTS {
            true => Err(format!("stands for more than {MAX_HOSTS} hosts")),
            false => Ok(()),
        };
    };
    let Some((range, tail)) = rest.split_once(']') else {
        return Err(format!("`{name}` opens a bracket and does not close it"));
    };
    for member in members(range)? {
        ranges(&format!("{head}{member}{tail}"), hosts)?;
    }
    Ok(())
}

/// `01:20`, `1:9:2`, `a:f`; both ends belong to it.
fn members(range: &str) -> Result<Vec<String>, String> {
    let wrong = |why: &str| Err(format!("`[{range}]` {why}; a range looks like [01:20], [a:f] or [1:9:2]"));
    let parts: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match parts[..] {
        [begin, end] => (begin, end, "1"),
        [begin, end, step] => (begin, end, step),
        _ => return wrong("is not a range"),
    };
    let begin = if begin.is_empty() { "0" } else { begin };
    let Some(step) = step.parse::<usize>().ok().filter(|step| *step > 0) else { return wrong("has no valid step") };
    const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let letter = |text: &str| if text.len() == 1 { LETTERS.find(text) } else { None };
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        if first > last {
            return wrong("runs backwards");
        }
        return Ok(LETTERS[first..=last].chars().step_by(step).map(String::from).collect());
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (Ok(first), Ok(last)) = (begin.parse::<usize>(), end.parse::<usize>()) else { return wrong("is not a range") };
    if !digits(begin) || !digits(end) {
        return wrong("is not a range");
    }
    if first > last {
        return wrong("runs backwards");
    }
    if (last - first) / step >= MAX_HOSTS {
        return Err(format!("`[{range}]` stands for more than {MAX_HOSTS} hosts"));
    }
    let width = if begin.len() > 1 && begin.starts_with('0') { begin.len() } else { 0 };
    if width > 0 && width != end.len() {
        return wrong("has ends of different length, although it starts with a zero");
    }
    Ok((first..=last).step_by(step).map(|number| format!("{number:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ranges() {
        let table: [(&str, &str, Option<u16>); 14] = [
            ("web", "web", None),
            ("web:2222", "web", Some(2222)),
            ("web[1:3]", "web1 web2 web3", None),
            ("web[08:11].x:22", "web08.x web09.x web10.x web11.x", Some(22)),
            ("db-[a:c]", "db-a db-b db-c", None),
            ("n[1:9:4]", "n1 n5 n9", None),
            ("n[:2]", "n0 n1 n2", None),
            ("r[1:2]-[a:b]", "r1-a r1-b r2-a r2-b", None),
            ("n[9:10]", "n9 n10", None),
            ("203.0.113.7", "203.0.113.7", None),
            ("203.0.113.7:22", "203.0.113.7", Some(22)),
            ("::1", "::1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:22", "2001:db8::1", Some(22)),
        ];
        for (pattern, hosts, port) in table {
            let expected = hosts.split(' ').map(str::to_owned).collect();
            assert_eq!(expand(pattern), Ok((expected, port)), "{pattern}");
        }
    }

    #[test]
    fn slips_are_named() {
        let table = [
            ("web:", "ends in a colon"),
            ("web:x", "not a port"),
            ("web:0", "not a port"),
            ("web[1:3", "does not close"),
            ("web[1]", "not a range"),
            ("web[3:1]", "runs backwards"),
            ("web[01:100]", "different length"),
            ("web[1:99999999]", "more than"),
            ("a[1:999][1:999]", "more than"),
            ("a b", "not a host name"),
            ("../x", "not a host name"),
            ("w[1:5:0]", "step"),
        ];
        for (pattern, message) in table {
            let error = expand(pattern).unwrap_err();
            assert!(error.contains(message), "{pattern}: {error}");
        }
    }
}
