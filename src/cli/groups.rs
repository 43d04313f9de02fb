//! The verbs in groups, for `provision --help`: what an operator looks for stands together.

use clap::Command;

/// Every verb once, in the order in which help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Roll out", &["menu", "configure", "run", "up", "update", "rollback", "action", "scale"]),
    ("Stop and clean", &["down", "restart", "regen", "clean", "prune"]),
    (
        "Look",
        &["status", "steps", "drift", "compare", "odd", "diagnose", "verify", "doctor", "watch", "ps", "top", "logs"],
    ),
    ("Go in", &["exec", "shell", "tunnel"]),
    ("Data", &["backup", "restore"]),
    ("Clients and services", &["inventory", "declare", "registry", "explain", "credentials", "secrets"]),
    ("Runs", &["plan", "apply", "attach", "lock", "schedule", "notify", "history", "report", "metrics"]),
    ("Try and set up", &["lab", "completions", "help"]),
];

/// The command with its verbs listed by group.
pub(super) fn grouped(command: Command) -> Command {
    let mut text = String::new();
    let mut named = command.clone();
    // makes clap add `help`
    named.build();
    for (title, verbs) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for verb in verbs.iter().filter_map(|verb| named.find_subcommand(verb)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let alias = verb.get_visible_aliases().next().map(|alias| format!(" [{alias}]")).unwrap_or_default();
            text.push_str(&format!("  {:<12} {about}{alias}\n", verb.get_name()));
        }
        text.push('\n');
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}Options:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_in_one_group() {
        let mut command = crate::cli::command();
        command.build();
        let mut verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        verbs.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(verbs, grouped);
    }
}
