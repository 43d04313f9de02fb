//! What the Docker families share: calling the client, reading its JSON, saying what a refusal means.
//!
//! Leaves out talking to the engine's API: hosts have the `docker` command and nothing else is asked of them. Only
//! JSON and exit codes decide; the text of error messages is looked at for hints alone.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args;
use crate::plan::{Answer, Change, Diff, Failure, Object, Operation, Output, Plan, Query, Return, Script, Then};

/// A script that starts with `docker`.
pub(super) fn docker() -> Script {
    Script::new().raw("docker")
}

/// A read-only question.
pub(super) fn ask(script: Script) -> Query {
    Query::Run(script.timeout(Duration::from_secs(60)))
}

/// An operation whose exit code `finish` judges, so that it can add a hint.
pub(super) fn attempt(script: Script) -> Operation {
    Operation::Run { script, accept: (0..=255).collect() }
}

/// The output at this position of the answers.
pub(super) fn output(answers: &[Answer], index: usize) -> Result<&Output, Failure> {
    match answers.get(index) {
        Some(Answer::Output(output)) => Ok(output),
        Some(Answer::Refused(why)) => Err(Failure::new(format!("docker: {why}"))),
        _ => Err(Failure::new("docker: the host gave no answer")),
    }
}

/// The JSON answer to the first question, which must have been a success; `what` is the docker command that asked.
pub(super) fn inspected<'a>(what: &Script, answers: &'a [Answer]) -> Result<&'a [u8], Failure> {
    let found = output(answers, 0)?;
    match found.ok() {
        true => Ok(&found.stdout),
        false => Err(trouble("docker does not answer", what, found)),
    }
}

/// The change that one call of the client makes; `finish` judges it by [`succeeded`].
pub(super) fn change(header: &str, before: impl Into<String>, after: impl Into<String>, script: Script) -> Plan {
    Plan::Change(Change {
        diff: vec![diff(header, before, after)],
        operations: vec![attempt(script)],
        then: Then::Finish,
        forecast: Return::default(),
    })
}

/// `--opt key=value` for each of them.
pub(super) fn pairs(script: Script, flag: &'static str, map: &Object) -> Script {
    map.iter().fold(script, |script, (key, value)| script.raw(flag).arg(format!("{key}={}", args::as_text(value))))
}

/// The last output, which must be a success.
pub(super) fn succeeded<'a>(what: &str, script: &Script, outputs: &'a [Output]) -> Result<&'a Output, Failure> {
    match outputs.last() {
        Some(output) if output.ok() => Ok(output),
        Some(output) => Err(trouble(what, script, output)),
        None => Err(Failure::new(format!("{what}: nothing ran"))),
    }
}

/// Reads an output as JSON. The text itself is not put into the failure: it may hold secrets.
pub(super) fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(format!("{what}: docker's answer is not what was expected ({error})"))
            .hint("Docker 20.10 or later with Compose 2.20 or later is needed")
    })
}

/// A failure of the docker command, with a hint where its message is a known one.
pub(super) fn trouble(what: &str, script: &Script, output: &Output) -> Failure {
    let failure = Failure::of(what, script, output);
    match hint(output.rc, &output.stderr_text()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What an operator can do about a message of the docker command.
pub(super) fn hint(rc: i32, stderr: &str) -> Option<&'static str> {
    const KNOWN: &[(&[&str], &str)] = &[
        (
            &["Cannot connect to the Docker daemon", "failed to connect to the docker API"],
            "the Docker engine does not run; see `systemctl status docker` on the host",
        ),
        (
            &["permission denied while trying to connect"],
            "use `become: true`, or put the login user into the group `docker`",
        ),
        (
            &[
                "is not a docker command",
                "unknown command: docker compose",
                "unknown shorthand flag",
                "unknown flag: --project",
            ],
            "install Compose v2: `docker-compose` on Debian 13, `docker-compose-plugin` from Docker's repository",
        ),
        (
            &["toomanyrequests"],
            "the registry limits pulls: log in with `docker_login`, or give the engine a registry mirror",
        ),
        (&["no space left on device"], "the disk is full; `docker system df` shows what Docker uses"),
        (&["manifest unknown", "manifest for"], "the registry does not have this tag; check the pinned version"),
        (
            &["pull access denied", "unauthorized", "denied: requested access"],
            "the image does not exist or needs a login: see `docker_login`",
        ),
        (
            &["no such host", "i/o timeout", "TLS handshake timeout", "connection refused"],
            "the host cannot reach the registry; check its DNS, its firewall and the engine's mirrors",
        ),
        (
            &["port is already allocated", "address already in use"],
            "another program or container holds this port; `ss -ltnp` on the host shows which",
        ),
        (&["This node is not a swarm manager"], "start a swarm first: `docker_swarm: {state: present}`"),
        (
            &["could not choose an IP address to advertise"],
            "the host has several addresses; say which with `advertise_addr`",
        ),
        (&["has active endpoints"], "containers are still connected; stop them first"),
        (&["Pool overlaps with other one"], "another network uses this address range; choose another `subnet`"),
    ];
    if rc == 127 {
        return Some("Docker is not installed on this host; run the bootstrap playbook first");
    }
    KNOWN.iter().find(|(texts, _)| texts.iter().any(|text| stderr.contains(text))).map(|(_, hint)| *hint)
}

/// One line per fact, for `--diff`.
pub(super) fn diff(header: &str, before: impl Into<String>, after: impl Into<String>) -> Diff {
    Diff {
        before_header: header.to_owned(),
        after_header: header.to_owned(),
        before: before.into(),
        after: after.into(),
    }
}

/// A word for use inside one of Docker's `name=` filters, which are regular expressions.
pub(super) fn exactly(name: &str) -> String {
    let escaped: String = name
        .chars()
        .flat_map(|c| {
            let special = !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
            special.then_some('\\').into_iter().chain([c])
        })
        .collect();
    format!("^{escaped}$")
}

/// A short form of an image id for messages.
pub(super) fn short(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..12).unwrap_or(bare)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::{Module, Observed};

    /// What a module decides upon these answers, in words: its commands, its reason, or its refusal.
    pub(in crate::modules) fn decided(module: &dyn Module, answers: &[&str]) -> String {
        let answer = |text: &&str| Answer::Output(Output { stdout: (*text).into(), ..Output::default() });
        let answers: Vec<Answer> = answers.iter().map(answer).collect();
        let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
        let shown = |operation: &Operation| match operation {
            Operation::Run { script, .. } => script.shown(),
            other => format!("{other:?}"),
        };
        match module.plan(&observed) {
            Ok(Plan::NoChange(done)) => format!("no change: {}", done.msg.unwrap_or_default()),
            Ok(Plan::Change(change)) => change.operations.iter().map(shown).collect::<Vec<_>>().join("; "),
            Ok(other) => format!("{other:?}"),
            Err(failure) => format!("{}: {}", failure.msg, failure.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn known_messages_have_hints() {
        let table = [
            (
                1,
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
                "systemctl",
            ),
            (127, "sh: docker: not found", "not installed"),
            (1, "docker: 'compose' is not a docker command.\nSee 'docker --help'", "Compose v2"),
            (1, "Error response from daemon: manifest for traefik:v99 not found: manifest unknown", "tag"),
            (125, "Bind for 0.0.0.0:80 failed: port is already allocated", "port"),
        ];
        for (rc, stderr, word) in table {
            let hint = hint(rc, stderr).unwrap_or_default();
            assert!(hint.contains(word), "{stderr}: {hint}");
        }
        assert_eq!(hint(1, "something else"), None);
    }

    #[test]
    fn a_filter_matches_the_name_and_nothing_else() {
        assert_eq!(exactly("web"), "^web$");
        assert_eq!(exactly("a.b"), r"^a\.b$");
    }

    #[test]
    fn an_answer_that_is_not_json_keeps_its_text_to_itself() {
        let failure = json::<Vec<String>>("inspect", b"hunter2").unwrap_err();
        assert!(!failure.msg.contains("hunter2"));
    }
}
