//! docs/seeds: each number of the five documents has one row, in its order, and what a row cites exists.

use std::collections::BTreeSet;
use std::path::Path;

use crate::help::files;

/// Page, what its numbers begin with, and the last one of each.
const PAGES: [(&str, &[(&str, u32)]); 6] = [
    ("s0", &[("S0-", 83), ("S0-O-", 29)]),
    ("s1", &[("S1-", 121)]),
    ("s2", &[("S2-", 100)]),
    ("s3", &[("S3-", 112)]),
    ("s4", &[("S4-", 86)]),
    ("x", &[("X-", 18)]),
];

#[test]
fn each_number_has_one_row_and_what_it_cites_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| files(&root.join(folder), ".rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let functions: BTreeSet<&str> = sources
        .iter()
        .flat_map(|text| text.split("fn ").skip(1))
        .map(|rest| rest.split(|c: char| !is_word(c)).next().unwrap_or_default())
        .collect();
    let checks: BTreeSet<String> = files(&root.join("tests"), ".rs")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut wrong = Vec::new();
    for (page, numbers) in PAGES {
        let path = root.join(format!("docs/seeds/{page}.md"));
        let text = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("number")).collect();
        let found: Vec<&str> = rows.iter().filter_map(|row| row.split(" | ").next()).collect();
        let wanted: Vec<String> =
            numbers.iter().flat_map(|(start, last)| (1..=*last).map(move |n| format!("{start}{n}"))).collect();
        assert_eq!(found, wanted, "{page}");
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            let [number, .., shown] = cells[..] else { panic!("{page}: {row}") };
            let shown = shown.trim_end_matches([' ', '|']);
            if cells.len() != 3 || shown.len() < 4 {
                wrong.push(format!("{number}: not three cells, or nothing in the last"));
            }
            for word in shown.split(|c: char| !is_word(c) && !"/.-…".contains(c)) {
                let word = word.trim_end_matches(['.', '…']);
                let folder = ["src/", "tests/", "playbooks/", "registry/", "examples/", "docs/", "inventory/"]
                    .iter()
                    .any(|start| word.starts_with(start));
                if folder
                    && !word.contains("vps_data")
                    && !word.contains("inventory/files")
                    && !root.join(word).exists()
                {
                    wrong.push(format!("{number}: there is no {word}"));
                }
                if word.ends_with(".rs") && !word.contains('/') && !checks.contains(word) {
                    wrong.push(format!("{number}: there is no test file {word}"));
                }
                let test = word.matches('_').count() > 2 && word.chars().all(|c| c.is_ascii_lowercase() || is_word(c));
                if test && !functions.contains(word) {
                    wrong.push(format!("{number}: there is no test {word}"));
                }
            }
            for (_, rest) in shown.match_indices("](").map(|(at, _)| shown.split_at(at + 2)) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                if !root.join("docs/seeds").join(target).exists() {
                    wrong.push(format!("{number}: the link to {target} leads nowhere"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
