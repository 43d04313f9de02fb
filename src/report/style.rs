//! Colours and widths. Everything stays readable without colour; `NO_COLOR` and a missing terminal switch it off.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::Status;

static COLOUR: AtomicBool = AtomicBool::new(false);

/// `--color auto|always|never`; `auto` looks at `NO_COLOR`, `TERM=dumb` and the terminal.
pub fn set_colour(choice: &str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let on = match choice {
        "always" => true,
        "never" => false,
        _ => !plain && std::io::stdout().is_terminal() && std::io::stderr().is_terminal(),
    };
    COLOUR.store(on, Ordering::Relaxed);
}

fn paint(code: &str, text: &str) -> String {
    if COLOUR.load(Ordering::Relaxed) { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub fn bold(text: &str) -> String {
    paint("1", text)
}
pub fn dim(text: &str) -> String {
    paint("2", text)
}
pub fn red(text: &str) -> String {
    paint("31", text)
}
pub fn green(text: &str) -> String {
    paint("32", text)
}
pub fn yellow(text: &str) -> String {
    paint("33", text)
}

/// The word for a status.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Changed => "changed",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
        Status::Unreachable => "unreachable",
        Status::Uncertain => "uncertain",
    }
}

/// A text in the colour of a status.
pub fn status(status: Status, text: &str) -> String {
    match status {
        Status::Ok => green(text),
        Status::Changed | Status::Uncertain => yellow(text),
        Status::Skipped => dim(text),
        Status::Failed | Status::Unreachable => red(text),
    }
}

/// `850 ms`, `4.2 s`, `3 min 05 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// Rows as columns, padded to the widest cell; the last column is left as it is. Cells may not hold colour codes.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_tables_read_well() {
        assert_eq!([duration(12), duration(4_230), duration(185_000)], ["12 ms", "4.2 s", "3 min 05 s"]);
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(table(&rows), ["a     b", "long  c"]);
    }
}
