//! `replace`: every place that a regular expression finds, in the whole text or a section of it.

use fancy_regex::Regex;
use serde::Deserialize;

use super::{Common, Edited, task};
use crate::modules::args;
use crate::modules::pattern::{self, Replacement};
use crate::modules::{Build, typed};
use crate::plan::{Failure, Module, Object};

pub(super) const ARGS: &[&str] = &[
    "path", "dest", "destfile", "name", "regexp", "replace", "after", "before", "backup", "validate", "encoding",
    "mode", "owner", "group",
];

#[derive(Deserialize)]
struct Args {
    #[serde(deserialize_with = "args::text")]
    regexp: String,
    #[serde(default, deserialize_with = "args::text")]
    replace: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    after: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    before: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    encoding: Option<String>,
    #[serde(flatten)]
    common: Common,
}

pub(super) fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = typed(ARGS, args)?;
    if let Some(encoding) = args.encoding.filter(|name| !name.eq_ignore_ascii_case("utf-8")) {
        return Err(Failure::new(format!("encoding {encoding}: only UTF-8 files are edited")));
    }
    let regex = pattern::compile(&args.regexp, "m")?;
    let replacement = Replacement::parse(&args.replace)?;
    let section = match (args.after, args.before) {
        (None, None) => None,
        (Some(after), None) => Some(format!("{after}(?P<subsection>.*)")),
        (None, Some(before)) => Some(format!("(?P<subsection>.*){before}")),
        (Some(after), Some(before)) => Some(format!("{after}(?P<subsection>.*?){before}")),
    };
    let section = section.map(|pattern| pattern::compile(&pattern, "s")).transpose()?;
    task(args.common, build, Box::new(move |old| replace(old, &regex, &replacement, section.as_ref())))
}

fn replace(
    old: Option<&str>,
    regex: &Regex,
    replacement: &Replacement,
    section: Option<&Regex>,
) -> Result<Edited, Failure> {
    let Some(text) = old else { return Err(Failure::new("there is no file")) };
    let range = match section {
        None => 0..text.len(),
        Some(section) => match pattern::captures(section, text)?.and_then(|found| found.name("subsection")) {
            Some(inside) => inside.range(),
            None => {
                let msg = "the text of `after` and `before` is not in the file".to_owned();
                return Ok(Edited { text: text.to_owned(), msg, found: None });
            }
        },
    };
    let (new, count) = pattern::replace_all(regex, &text[range.clone()], replacement)?;
    let new = format!("{}{new}{}", &text[..range.start], &text[range.end..]);
    let msg = if new == text { String::new() } else { format!("{count} replacements made") };
    Ok(Edited { text: new, msg, found: None })
}
