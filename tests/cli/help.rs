//! Help texts and documents say what the program does: every verb has an example, and every command that stands in a
//! help text, a document or a comment of the inventory is one that the program understands.

use std::path::{Path, PathBuf};

use clap::Command;

/// Every verb and sub-verb with its words.
fn verbs(command: &Command, words: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    found.push((words.to_vec(), command.clone()));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let words = [words, &[verb.get_name().to_owned()]].concat();
        verbs(verb, &words, found);
    }
}

fn all() -> Vec<(Vec<String>, Command)> {
    let mut found = Vec::new();
    verbs(&provision::cli::command(), &["provision".to_owned()], &mut found);
    found
}

#[test]
fn every_verb_has_an_example_and_every_flag_a_word() {
    let found = all();
    assert!(found.len() > 25, "{}", found.len());
    for (words, command) in found {
        let name = words.join(" ");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example") && help.contains("provision "), "{name} has no example");
        assert!(words.len() == 1 || help.contains(&name), "{name}: its example is of something else\n{help}");
        assert!(command.get_about().is_some(), "{name} does not say what it is");
        for arg in command.get_arguments() {
            let silent = ["help", "version", "shell"].contains(&arg.get_id().as_str());
            assert!(silent || arg.get_help().is_some(), "{name}: {} says nothing", arg.get_id());
        }
    }
}

/// The commands in a text: from `provision ` to what ends it.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find("provision ") {
            let before = rest[..at].chars().next_back();
            let from = &rest[at..];
            let end = if before == Some('`') { from.find('`') } else { None };
            let end = end.or_else(|| {
                ["  ", " #", " > ", " < ", " | ", " && ", ")`"].iter().filter_map(|stop| from.find(stop)).min()
            });
            let command = &from[..end.unwrap_or(from.len())];
            // a command stands alone, behind a prompt, or in code; a sentence about provision does not
            let alone = before.is_none_or(|c| c == '`' || c == '(')
                || line[..line.len() - rest.len() + at].trim_matches([' ', '#', '$']).is_empty()
                || rest[..at].ends_with("| ")
                || rest[..at].ends_with("  ")
                || rest[..at].ends_with(":   ");
            // a title on a screen
            let title = rest[at + "provision ".len()..].starts_with(['·', '—']);
            if alone && !title {
                found.push(command.trim_end_matches(['.', ',', ';', ':', '`']).to_owned());
            }
            rest = &rest[at + "provision ".len()..];
        }
    }
    found
}

pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_command_that_is_written_down_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(String, String)> = all()
        .into_iter()
        .map(|(words, command)| {
            (words.join(" "), command.get_after_help().map(ToString::to_string).unwrap_or_default())
        })
        .collect();
    let documents = files(&root.join("docs"), ".md").into_iter().chain(files(&root.join("inventory"), ".yml"));
    for path in documents.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        texts.push((path.display().to_string(), text));
    }
    // what the demo says to go on with; `$1` is the program
    let demo = std::fs::read_to_string(root.join("tests/lab/demo.sh")).unwrap();
    let said: String =
        demo.lines().filter_map(|line| Some(format!("provision {}\n", line.strip_prefix("  $1 ")?))).collect();
    assert!(said.contains("provision status"), "{said}");
    texts.push(("tests/lab/demo.sh".to_owned(), said));
    let mut count = 0;
    let mut wrong = Vec::new();
    for (from, text) in texts {
        for command in commands(&text) {
            let words = shlex::split(&command.replace('…', "x")).unwrap_or_default();
            count += 1;
            if let Err(error) = provision::cli::command().try_get_matches_from(&words) {
                let fine = [
                    clap::error::ErrorKind::DisplayHelp,
                    clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                // a sentence may name a verb without saying what is given to it
                let only_named = error.kind() == clap::error::ErrorKind::MissingRequiredArgument
                    && !words.iter().any(|word| word.starts_with('-'));
                if !fine.contains(&error.kind()) && !only_named {
                    wrong
                        .push(format!("{from}: {command}\n  {}", error.to_string().lines().next().unwrap_or_default()));
                }
            }
        }
    }
    assert!(count > 60, "only {count} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn help_is_given_by_the_program() {
    let project = crate::project::Project::new();
    for words in
        [vec!["--help"], vec!["secrets", "edit", "--help"], vec!["registry", "lint", "-h"], vec!["help", "run"]]
    {
        assert!(project.says(&words).contains("Example"), "{words:?}");
    }
}
