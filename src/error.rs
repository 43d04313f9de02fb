//! What goes wrong before a host is touched: mistakes in files, flags and settings, each with its place.
//!
//! A host's failure is never an [`Error`]; it is an [`Outcome`](crate::event::Outcome). An `Error` means *we* could
//! not run, and ends in exit code 2, but for one that means that there is nothing to run.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A position in a file that the operator wrote. Lines and columns count from 1; 0 means "the whole file".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub fn new(file: impl Into<Arc<Path>>, line: usize, column: usize) -> Self {
        Place { file: file.into(), line, column }
    }

    /// The whole file, where no line can be named.
    pub fn file(file: impl Into<Arc<Path>>) -> Self {
        Place::new(file, 0, 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One mistake, or several of one kind found together (`also`), so that nobody fixes them one run at a time.
#[derive(Clone, Debug, Default)]
pub struct Error {
    pub place: Option<Place>,
    /// Lowercase, names the thing: ``task `Install docker`: unknown argument `pakages` ``.
    pub text: String,
    /// The offending line of the file, as it stands there.
    pub source_line: Option<String>,
    /// What to do about it, as a sentence without a full stop.
    pub hint: Option<String>,
    pub also: Vec<Error>,
    /// No mistake: there is nothing to do, which is well (exit code 0).
    pub well: bool,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Error { text: text.into(), ..Error::default() }
    }

    /// There is nothing to do: whoever asked goes no further, and no alarm is raised.
    pub fn nothing_to_do(text: impl Into<String>) -> Self {
        Error { well: true, ..Error::new(text) }
    }

    /// A mistake at a place; the source line is read from the file if it still can be.
    pub fn at(place: &Place, text: impl Into<String>) -> Self {
        let source_line = (place.line > 0)
            .then(|| std::fs::read_to_string(&place.file).ok())
            .flatten()
            .and_then(|text| text.lines().nth(place.line - 1).map(str::to_owned));
        Error { place: Some(place.clone()), text: text.into(), source_line, ..Error::default() }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean …?" if one of the candidates is near.
    pub fn did_you_mean<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, candidates) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Puts `prefix: ` in front of the text.
    pub fn context(mut self, prefix: impl fmt::Display) -> Self {
        self.text = format!("{prefix}: {}", self.text);
        self
    }

    /// One error out of many; `None` if there are none.
    pub fn all(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.also.extend(errors);
        Some(first)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.text)?;
        if let (Some(line), Some(place)) = (&self.source_line, &self.place) {
            write!(f, "\n  {:>4} | {}", place.line, without_secret(line.trim_end()))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n       hint: {hint}")?;
        }
        for other in &self.also {
            write!(f, "\n{other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A line of the operator's as it may be shown: behind a name that sounds secret stands no value.
fn without_secret(line: &str) -> Cow<'_, str> {
    let Some((name, value)) = line.split_once([':', '=']) else { return Cow::Borrowed(line) };
    let sounds = name.to_lowercase();
    let secret = ["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "_pass"];
    match secret.iter().any(|word| sounds.contains(word)) && !value.trim().is_empty() {
        true => Cow::Owned(format!("{}{} ********", name, &line[name.len()..=name.len()])),
        false => Cow::Borrowed(line),
    }
}

/// The candidate that differs from `word` by a typing slip (at most a third of its letters), if there is one.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements, and two neighbours changing places.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above_last: (Option<char>, Vec<usize>) = (None, Vec::new());
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = last[j] + usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if j > 0 && above_last.0 == Some(*y) && b[j - 1] == x {
                best = best.min(above_last.1[j - 1] + 1);
            }
            row.push(best);
        }
        above_last = (Some(x), std::mem::replace(&mut last, row));
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        assert_eq!(nearest("pakages", ["state", "packages", "name"]), Some("packages"));
        assert_eq!(nearest("wbe1", ["web", "web1"]), Some("web1"));
        assert_eq!(nearest("zebra", ["state", "packages", "name"]), None);
    }

    #[test]
    fn a_quoted_line_shows_no_secret() {
        assert_eq!(without_secret("  ansible_become_password: \"hunter2"), "  ansible_become_password: ********");
        assert_eq!(without_secret("DB_PASSWORD=hunter2"), "DB_PASSWORD= ********");
        assert_eq!(without_secret("  domain: a:b"), "  domain: a:b");
        assert_eq!(without_secret("secrets:"), "secrets:");
    }

    #[test]
    fn an_error_reads_as_place_text_hint() {
        let error = Error::at(&Place::new(Path::new("no/such.yml"), 42, 3), "unknown argument `pakages`")
            .did_you_mean("pakages", ["packages"]);
        assert_eq!(
            error.to_string(),
            "no/such.yml:42: unknown argument `pakages`\n       hint: did you mean `packages`?"
        );
    }
}
