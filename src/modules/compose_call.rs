//! How `docker compose` is called: options, environment, the questions and the longer scripts.
//!
//! Leaves out when to call it; see `compose.rs`.

use std::time::Duration;

use serde::Deserialize;

use super::args;
use super::compose_state::{Action, Kind};
use super::docker::docker;
use crate::plan::{Operation, Script, quote};

/// What every call of a project has in common.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub project_src: String,
    pub project_name: Option<String>,
    #[serde(default, deserialize_with = "args::list")]
    files: Vec<String>,
    #[serde(default, deserialize_with = "args::list")]
    env_files: Vec<String>,
    #[serde(default, deserialize_with = "args::list")]
    profiles: Vec<String>,
}

/// In front of every call. Compose prefers variables of its own environment to those of the `.env` file, so a setting
/// that happens to be named as one of root's variables (`HOME`, `TZ`, `LANG` …) would get root's value.
const CLEAN: &str = r#"DOCKER_CONFIG=${DOCKER_CONFIG:-$HOME/.docker}; export DOCKER_CONFIG
names() { for f; do [ -r "$f" ] && sed -n 's/^\(export  *\)\{0,1\}\([A-Za-z_][A-Za-z0-9_]*\) *=.*/\2/p' "$f"; done; }
compose() { env $unset docker compose "$@"; }
unset=
for n in $(names "$@"); do case $n in PATH|DOCKER_*) ;; *) unset="$unset -u $n" ;; esac; done
"#;

/// The id of each of `$names`, which have no spaces: one call of docker if all are there, else one each to know which is not.
const IMAGE_IDS: &str = r#"if ids=$(docker image inspect --format '{{.Id}}' $names 2>/dev/null); then set -- $ids
for i in $names; do printf '%s\t%s\n' "$i" "$1"; shift; done
else for i in $names; do printf '%s\t%s\n' "$i" "$(docker image inspect --format '{{.Id}}' "$i" 2>/dev/null)"; done; fi"#;

impl Call {
    fn options(&self) -> Vec<String> {
        let mut options = vec!["--project-directory".to_owned(), ".".to_owned()];
        let named = self.project_name.iter().map(|name| ("--project-name", name));
        let files = self.files.iter().map(|file| ("--file", file));
        let env_files = self.env_files.iter().map(|file| ("--env-file", file));
        let profiles = self.profiles.iter().map(|profile| ("--profile", profile));
        for (flag, value) in named.chain(files).chain(env_files).chain(profiles) {
            options.extend([flag.to_owned(), value.clone()]);
        }
        options
    }

    /// Ready to call `compose`; `said` is how the call is told to people.
    fn prepared(&self, said: &str) -> Script {
        let files = if self.env_files.is_empty() { vec![".env".to_owned()] } else { self.env_files.clone() };
        let options: Vec<String> = self.options().iter().map(|option| quote(option)).collect();
        let title = format!("cd {} && docker compose {} {said}", quote(&self.project_src), options.join(" "));
        Script::new().raw("set --").args(files).raw("\n").raw(CLEAN).cwd(&self.project_src).title(title)
    }

    /// A call that only asks.
    pub(super) fn config(&self, words: &'static str) -> Script {
        self.prepared(words).raw("compose").args(self.options()).raw(words)
    }

    pub(super) fn run(&self, words: Vec<String>) -> Script {
        let said: Vec<String> = words.iter().map(|word| quote(word)).collect();
        self.prepared(&said.join(" ")).raw("compose").args(self.options()).args(words)
    }

    /// Names of images and their ids, with a tab in between.
    pub(super) fn images(&self) -> Script {
        self.prepared("config --images")
            .raw("names=$(compose")
            .args(self.options())
            .raw("config --images | sort -u)\n")
            .raw(IMAGE_IDS)
    }

    /// The host's time, then all containers of the project as JSON.
    pub(super) fn containers(&self) -> Script {
        let script = match &self.project_name {
            Some(name) => Script::new()
                .raw("date +%s\nids=$(docker ps -aq --no-trunc --filter")
                .arg(format!("label=com.docker.compose.project={name}"))
                .raw(") || exit\n"),
            // Compose knows the project's name
            None => self
                .prepared("ps -aq")
                .raw("date +%s\nids=$(compose")
                .args(self.options())
                .raw("ps -aq --no-trunc) || exit\n"),
        };
        script.raw("if [ -n \"$ids\" ]; then docker inspect --type container $ids; else echo '[]'; fi")
    }

    pub(super) fn get_images(&self, actions: &[Action]) -> Vec<Operation> {
        let of = |kind: Kind| {
            let due = actions.iter().filter(|action| action.kind == kind);
            let names: Vec<String> = due.map(|action| action.service.clone()).collect();
            (!names.is_empty()).then_some(names)
        };
        let hour = Duration::from_secs(3600);
        let pull = of(Kind::Pull).map(|names| {
            // a registry that is busy or limits gets another try; one that does not have the image does not
            self.prepared(&format!("pull --quiet {}", names.join(" ")))
                .raw("n=1\nwhile :; do\ne=$(compose")
                .args(self.options())
                .raw("pull --quiet")
                .args(names)
                .raw("2>&1) && exit 0\n")
                .raw("case $e in *'manifest unknown'*|*'not found'*|*denied*|*'no such host'*) break ;; esac\n")
                .raw("[ $n -lt 3 ] || break\nsleep $((n * 5))\nn=$((n + 1))\ndone\nprintf '%s\\n' \"$e\" >&2\nexit 1")
                .timeout(hour)
        });
        let build = of(Kind::Build).map(|names| {
            let words = ["build", "--quiet"].map(str::to_owned).into_iter().chain(names);
            self.run(words.collect()).timeout(hour)
        });
        pull.into_iter().chain(build).map(Operation::run).collect()
    }
}

/// Starts and restarts, one call of docker each.
pub(super) fn starts(actions: &[Action]) -> Vec<Operation> {
    let of = |kind: Kind| {
        let ids = actions.iter().filter(move |a| a.kind == kind).filter_map(|a| a.container.as_ref());
        ids.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let calls = [(of(Kind::Start), "start"), (of(Kind::Restart), "restart")];
    let calls = calls.into_iter().filter(|(names, _)| !names.is_empty());
    // a start takes no time, but restarting waits until the old process has ended
    calls.map(|(names, verb)| Operation::run(docker().raw(verb).args(names))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_read_well_in_reports_and_are_quoted_on_the_wire() {
        let call = Call {
            project_src: "/opt/my app".to_owned(),
            project_name: Some("versatile-hub".to_owned()),
            files: vec!["a.yml".to_owned()],
            env_files: Vec::new(),
            profiles: Vec::new(),
        };
        let script = call.run(vec!["create".to_owned(), "we b".to_owned()]);
        let options = "--project-directory . --project-name versatile-hub --file a.yml";
        assert_eq!(script.shown(), format!("cd '/opt/my app' && docker compose {options} create 'we b'"));
        assert!(script.render().ends_with(&format!("compose {options} create 'we b'")), "{}", script.render());
        assert_eq!(script.cwd.as_deref(), Some("/opt/my app"));
    }
}
