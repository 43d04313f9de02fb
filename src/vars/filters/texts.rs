//! `split`, `format`, `comment`, `truncate` and other filters about text.

use minijinja::formatting::{FormatStyle, format as formatted};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{State, Value};

use super::super::args::{Args, Outcome, items, text, wrong};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("split", |_, value, args| split(value, args)),
    ("splitlines", |_, value, _| Ok(Value::from_iter(text(value)?.lines().map(str::to_owned)))),
    ("format", |_, value, args| formatted(FormatStyle::Printf, &text(value)?, args.all()).map(Value::from)),
    ("comment", |_, value, args| comment(value, args)),
    ("truncate", |_, value, args| truncate(value, args)),
    ("wordcount", |_, value, _| Ok(text(value)?.split_whitespace().count().into())),
    ("wordwrap", |_, value, args| wordwrap(value, args)),
    ("center", |_, value, args| {
        let width = usize::try_from(args.int(0, "width")?.unwrap_or(80)).unwrap_or_default().min(100_000);
        let subject = text(value)?;
        let missing = width.saturating_sub(subject.chars().count());
        let left = missing / 2 + (missing & width & 1);
        Ok(format!("{}{subject}{}", " ".repeat(left), " ".repeat(missing - left)).into())
    }),
];

/// `left % right`: text is filled in, numbers are divided.
pub(super) fn percent(_: &mut State<'_, '_>, left: &Value, args: &Args) -> Outcome {
    let right = args.all().first().cloned().unwrap_or_default();
    if let Some(pattern) = left.as_str() {
        let values = match right.downcast_object_ref::<Tuple>() {
            Some(_) => items(&right)?,
            None => vec![right],
        };
        return formatted(FormatStyle::Printf, pattern, &values).map(Value::from);
    }
    if let (Ok(a), Ok(b)) = (i64::try_from(left.clone()), i64::try_from(right.clone()))
        && left.is_integer()
        && right.is_integer()
    {
        // Python's remainder has the divisor's sign
        let rest = a.checked_rem(b).ok_or_else(|| wrong("division by zero"))?;
        return Ok(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }.into());
    }
    match (f64::try_from(left.clone()), f64::try_from(right)) {
        (Ok(a), Ok(b)) => Ok((a - b * (a / b).floor()).into()),
        _ => Err(wrong("`%` needs two numbers, or a text and what to fill in")),
    }
}

fn split(value: &Value, args: &Args) -> Outcome {
    let subject = text(value)?;
    let most = args.int(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
    let parts: Vec<String> = match args.get(0, "sep") {
        Some(separator) => {
            let separator = text(separator)?;
            if separator.is_empty() {
                return Err(wrong("`split` needs a separator that is not empty"));
            }
            subject.splitn(most.map_or(usize::MAX, |most| most + 1), &separator).map(str::to_owned).collect()
        }
        None => subject.split_whitespace().map(str::to_owned).collect(),
    };
    Ok(parts.into())
}

fn comment(value: &Value, args: &Args) -> Outcome {
    let style = args.text(0, "style")?.unwrap_or_else(|| "plain".to_owned());
    let (beginning, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        _ => {
            return Err(wrong(format!(
                "`comment` does not know the style `{style}`: use plain, erlang, c, cblock or xml"
            )));
        }
    };
    let own = |name: &str, default: &str| -> Result<String, minijinja::Error> {
        args.name(name).map_or_else(|| Ok(default.to_owned()), text)
    };
    let count = |name: &str| -> Result<usize, minijinja::Error> {
        Ok(args.int(usize::MAX, name)?.and_then(|count| usize::try_from(count).ok()).unwrap_or(1).min(1000))
    };
    let newline = own("newline", "\n")?;
    let decoration = own("decoration", decoration)?;
    let beginning = own("beginning", beginning)?;
    let end = own("end", end)?;
    let prefix = own("prefix", decoration.trim_end())?;
    let postfix = own("postfix", decoration.trim_end())?;
    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&format!("{beginning}{newline}"));
    }
    if !prefix.is_empty() {
        let line = if prefix == newline { newline.clone() } else { format!("{prefix}{newline}") };
        out.push_str(&line.repeat(count("prefix_count")?));
    }
    for (at, line) in text(value)?.split(newline.as_str()).enumerate() {
        if at > 0 {
            // a line that holds only the decoration loses its trailing blanks
            if out.ends_with(&decoration)
                && (out.len() == decoration.len() || out[..out.len() - decoration.len()].ends_with(&newline))
            {
                out.truncate(out.len() - decoration.len() + decoration.trim_end().len());
            }
            out.push_str(&newline);
        }
        out.push_str(&decoration);
        out.push_str(line);
    }
    for _ in 0..count("postfix_count")? {
        out.push_str(&newline);
        out.push_str(&postfix);
    }
    if !end.is_empty() {
        out.push_str(&format!("{newline}{end}"));
    }
    Ok(out.into())
}

fn truncate(value: &Value, args: &Args) -> Outcome {
    let subject = text(value)?;
    let length = usize::try_from(args.int(0, "length")?.unwrap_or(255)).unwrap_or_default();
    let kill_words = args.flag(1, "killwords");
    let end = args.text(2, "end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = usize::try_from(args.int(3, "leeway")?.unwrap_or(5)).unwrap_or_default();
    if subject.chars().count() <= length + leeway {
        return Ok(subject.into());
    }
    let kept: String = subject.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if kill_words { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(head, _)| head) };
    Ok(format!("{kept}{end}").into())
}

fn wordwrap(value: &Value, args: &Args) -> Outcome {
    let width = usize::try_from(args.int(0, "width")?.unwrap_or(79)).unwrap_or(79).max(1);
    let wrap_string = args.name("wrapstring").map(text).transpose()?.unwrap_or_else(|| "\n".to_owned());
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text(value)?.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    debug_assert!(value.kind() != ValueKind::Undefined);
    Ok(lines.join(&wrap_string).into())
}
