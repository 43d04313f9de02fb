//! What is wrong with files as texts: letters that were encoded twice, and settings that an image would carry.

use super::super::catalogue::Package;
use crate::error::{Error, Place};
use crate::shipped;

/// Looks at every text of the package.
pub(super) fn findings(package: &Package, findings: &mut Vec<Error>) {
    for file in shipped::walk(&package.dir) {
        let path = package.dir.join(&file);
        let Ok(text) = shipped::read_to_string(&path) else { continue };
        let mut say = |line: usize, what: String, hint: &str| {
            findings.push(
                Error {
                    place: Some(Place::new(path.clone(), line, 0)),
                    source_line: text.lines().nth(line.saturating_sub(1)).map(str::to_owned),
                    ..Error::new(what)
                }
                .hint(hint),
            );
        };
        if let Some((line, found)) = double_encoded(&text) {
            say(line, format!("`{found}` was encoded twice"), "save the file as UTF-8 once");
        }
        let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if name.starts_with("dockerfile") || name.ends_with(".dockerfile") || name == "containerfile" {
            for (line, what) in baked(&text) {
                let hint =
                    "whoever has the image has them: take the line out, and let the stack's `environment` give them";
                say(line, format!("env-baked-in-image: {what}"), hint);
            }
        }
    }
}

/// The first letter, with its line, that was UTF-8, was read as Windows-1252, and was written as UTF-8 again: `Ã³` for
/// `ó`.
pub fn double_encoded(text: &str) -> Option<(usize, String)> {
    for (index, line) in text.lines().enumerate() {
        let letters: Vec<char> = line.chars().collect();
        for start in 0..letters.len() {
            let length = match windows_1252(letters[start]) {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => continue,
            };
            let run = letters.get(start..start + length).unwrap_or_default();
            let bytes: Vec<u8> = run.iter().map(|c| windows_1252(*c)).collect();
            if std::str::from_utf8(&bytes).is_ok_and(|was| was.chars().count() == 1) {
                return Some((index + 1, run.iter().collect()));
            }
        }
    }
    None
}

/// The byte that Windows-1252 writes for a letter; 0 for one that it does not have.
fn windows_1252(c: char) -> u8 {
    const UPPER: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
    match UPPER.chars().position(|upper| upper == c) {
        Some(at) => u8::try_from(0x80 + at).unwrap_or(0),
        None => u8::try_from(u32::from(c)).ok().filter(|byte| !(0x80..0xA0).contains(byte)).unwrap_or(0),
    }
}

/// Lines of a Dockerfile that put settings into the image, and what they do.
pub fn baked(dockerfile: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in dockerfile.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let instruction = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
        let sources = words.iter().skip(1).filter(|word| !word.starts_with("--"));
        match instruction.as_str() {
            "COPY" | "ADD" => {
                let is_env = |word: &&str| {
                    let name = word.trim_matches(['[', ']', '"', ',']).rsplit('/').next().unwrap_or_default();
                    name == ".env" || (name.starts_with(".env.") && !name.ends_with("example"))
                };
                // the last word is where it goes
                let count = sources.clone().count();
                if let Some(file) = sources.take(count.saturating_sub(1)).copied().find(|word| is_env(word)) {
                    found.push((index + 1, format!("`{file}` is copied into the image")));
                }
            }
            "ENV" | "ARG" => {
                for (key, value) in sources.filter_map(|word| word.split_once('=')) {
                    let key_upper = key.to_uppercase();
                    let secret = ["PASSWORD", "SECRET", "TOKEN", "API_KEY"].iter().any(|word| key_upper.contains(word));
                    if secret && !value.trim_matches('"').is_empty() && !value.starts_with('$') {
                        found.push((index + 1, format!("`{key}` has a value in the image")));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_were_encoded_twice_are_found() {
        for (text, expected) in [
            ("a\nInstalaciÃ³n", Some((2, "Ã³"))),
            ("Â¿QuÃ©?", Some((1, "Â¿"))),
            ("v\u{c3}\u{ad}a â€” raya", Some((1, "\u{c3}\u{ad}"))),
            ("ðŸš€", Some((1, "ðŸš€"))),
            ("¿Qué? Ñandú — 100 € NÃO Âme 🚀 漢字 naïve", None),
        ] {
            let expected = expected.map(|(line, found)| (line, found.to_owned()));
            assert_eq!(double_encoded(text), expected, "{text}");
        }
    }

    #[test]
    fn settings_in_an_image_are_found() {
        let text = "FROM a\nCOPY --chown=1 .env /app/.env\nCOPY . /app\nADD [\"conf/.env.production\", \"/x\"]\nCOPY .env.example /app/.env\nENV API_KEY=sk-1 PORT=80\nARG TOKEN\nENV DB_PASSWORD=$X\n";
        let lines: Vec<usize> = baked(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 4, 6]);
    }
}
