//! `docker_image_pull`: an image is on the host.
//!
//! ```yaml
//! - docker_image_pull: {name: "traefik:v3.7.9"}
//! - docker_image_pull: {name: traefik, tag: v3.7.9, pull: not_present}
//! ```
//!
//! `pull: always` (the default, as in Ansible) asks the registry on every run and is a change only if the image's id
//! changed. Leaves out building (`docker_image_build`) and loading from archives.

use serde::Deserialize;
use serde_json::{Value, json};

use super::docker::{ask, diff, docker, output, short, trouble};
use super::{Build, Spec, typed};
use crate::plan::{Change, Failure, Module, Object, Observed, Output, Plan, Query, Return, Script, Then};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_image_pull",
    aliases: &["community.docker.docker_image_pull"],
    args: &["name", "tag", "platform", "pull"],
    free_form: None,
    build,
}];

#[derive(Debug, Deserialize)]
struct Arguments {
    name: String,
    tag: Option<Value>,
    platform: Option<String>,
    #[serde(default)]
    pull: When,
}

#[derive(Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum When {
    #[default]
    Always,
    NotPresent,
}

#[derive(Debug)]
struct Pull {
    image: String,
    platform: Option<String>,
    when: When,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let tag = args.tag.as_ref().map_or_else(|| "latest".to_owned(), super::args::as_text);
    let image = full_name(&args.name, &tag);
    Ok(Box::new(Pull { image, platform: args.platform, when: args.pull }))
}

/// `name:tag`, unless the name already has a tag or digest.
pub(super) fn full_name(name: &str, tag: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match () {
        () if name.contains('@') || last.contains(':') => name.to_owned(),
        () if tag.starts_with("sha256:") => format!("{name}@{tag}"),
        () => format!("{name}:{tag}"),
    }
}

impl Module for Pull {
    fn probe(&self) -> Vec<Query> {
        // listing does not fail on an absent image, so a failure is a failure
        vec![ask(docker().raw("image ls -q --no-trunc --filter").arg(format!("reference={}", self.image)))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble("docker image ls failed", &docker().raw("image ls"), found));
        }
        let text = found.stdout_text();
        let id = text.lines().next().unwrap_or_default();
        if !id.is_empty() && self.when == When::NotPresent {
            let msg = format!("{} is on the host ({})", self.image, short(id));
            return Ok(Plan::NoChange(Return::msg(msg).with("image", json!({"Id": id}))));
        }
        let header = format!("image {}", self.image);
        let before = if id.is_empty() { String::new() } else { format!("{}\n", short(id)) };
        Ok(Plan::Change(Change {
            diff: vec![diff(&header, before, "as in the registry\n")],
            operations: vec![crate::plan::Operation::Run { script: self.pull(), accept: (0..=255).collect() }],
            then: Then::Finish,
            forecast: Return::default(),
        }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let output = outputs.last().ok_or_else(|| Failure::new("nothing was pulled"))?;
        if !output.ok() {
            return Err(trouble(&format!("pulling {} failed", self.image), &self.pull(), output));
        }
        let text = output.stdout_text();
        let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("sha256:")).collect();
        let (old, new) = match ids.as_slice() {
            [new] => ("", *new),
            [old, .., new] => (*old, *new),
            [] => ("", ""),
        };
        let mut done = Return::msg(match old == new {
            true => format!("{} was already as in the registry", self.image),
            false => format!("pulled {} ({})", self.image, short(new)),
        });
        done.changed = Some(old != new);
        Ok(done.with("image", json!({"Id": new})))
    }
}

impl Pull {
    /// Prints the image's id before (if there is one) and after.
    fn pull(&self) -> Script {
        let platform = self.platform.iter().flat_map(|platform| ["--platform".to_owned(), platform.clone()]);
        Script::new()
            .raw("set --")
            .args(platform)
            .arg(&self.image)
            .raw("\nfor image; do :; done\n")
            .raw("docker image inspect --format '{{.Id}}' \"$image\" 2>/dev/null\n")
            .raw("docker pull -q \"$@\" >/dev/null || exit\n")
            .raw("docker image inspect --format '{{.Id}}' \"$image\"")
            .timeout(std::time::Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_tag() {
        for (name, tag, wanted) in [
            ("traefik", "v3", "traefik:v3"),
            ("traefik:v2", "v3", "traefik:v2"),
            ("localhost:5000/traefik", "v3", "localhost:5000/traefik:v3"),
            ("traefik", "sha256:ab", "traefik@sha256:ab"),
            ("traefik@sha256:ab", "latest", "traefik@sha256:ab"),
        ] {
            assert_eq!(full_name(name, tag), wanted);
        }
    }

    #[test]
    fn only_another_id_is_a_change() {
        let pull = Pull { image: "traefik:v3".to_owned(), platform: None, when: When::Always };
        for (stdout, changed) in
            [("sha256:a\nsha256:a\n", false), ("sha256:a\nsha256:b\n", true), ("\nsha256:b\n", true)]
        {
            let output = Output { stdout: stdout.into(), ..Output::default() };
            assert_eq!(pull.finish(&[output]).unwrap().changed, Some(changed), "{stdout}");
        }
    }
}
