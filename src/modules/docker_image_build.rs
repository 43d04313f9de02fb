//! `docker_image_build`: an image made from a Dockerfile is on the host.
//!
//! ```yaml
//! - docker_image_build: {name: shop, tag: v1, path: /opt/shop, args: {PYTHON_VERSION: "3.12"}}
//! - docker_image_build: {name: "shop:v1-3fa94c", context: ./shop, dockerfile: deploy/Dockerfile}
//! ```
//!
//! `path` is a folder of the host, as in Ansible. `context` (not in Ansible) is a folder of the operator's machine: it
//! travels as one tar stream, honours `.dockerignore`, never holds a `.env`, and nothing of it stays on the host.
//! `rebuild: never` (the default, as in Ansible) leaves an image of that name alone; so a name with the content's digest
//! in it is built exactly once. Leaves out pushing, secrets and caches from elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::docker::{ask, attempt, diff, docker, output, short, trouble};
use super::{Build, LocalKind, Spec, args, docker_image_pull::full_name, typed};
use crate::context::Context;
use crate::plan::{
    Change, Destination, Failure, Freight, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script,
    Then, Upload,
};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_image_build",
    aliases: &["community.docker.docker_image_build"],
    args: &[
        "name",
        "tag",
        "path",
        "context",
        "dockerfile",
        "default_dockerfile",
        "checksum",
        "args",
        "target",
        "platform",
        "pull",
        "nocache",
        "rebuild",
    ],
    free_form: None,
    build,
}];

#[derive(Deserialize)]
struct Arguments {
    name: String,
    tag: Option<Value>,
    path: Option<String>,
    context: Option<String>,
    dockerfile: Option<String>,
    /// For a `context` that has no Dockerfile of its own: a file of the operator's machine.
    default_dockerfile: Option<String>,
    /// What the `context` was when its digest was put into the name.
    checksum: Option<String>,
    #[serde(default)]
    args: Map<String, Value>,
    target: Option<String>,
    platform: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    pull: bool,
    #[serde(default, deserialize_with = "args::flag")]
    nocache: bool,
    #[serde(default)]
    rebuild: Rebuild,
}

#[derive(Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Rebuild {
    #[default]
    Never,
    Always,
}

struct BuildImage {
    image: String,
    from: From,
    /// `docker build`'s options, without the context.
    options: Vec<String>,
    rebuild: Rebuild,
}

enum From {
    Host(String),
    Operator {
        folder: PathBuf,
        dockerfile: String,
        fallback: Option<PathBuf>,
        checksum: Option<String>,
        /// Where the stream waits on the host until it is built from: at home, where nobody else can put a link.
        stream: String,
    },
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let tag = args.tag.as_ref().map_or_else(|| "latest".to_owned(), args::as_text);
    let image = full_name(&args.name, &tag);
    let mut options = vec!["--tag".to_owned(), image.clone()];
    for (option, value) in [("--file", &args.dockerfile), ("--target", &args.target), ("--platform", &args.platform)] {
        // without a context on the host the file's name is one inside the stream all the same
        options.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
    }
    for (key, value) in &args.args {
        options.extend(["--build-arg".to_owned(), format!("{key}={}", args::as_text(value))]);
    }
    options.extend(args.pull.then(|| "--pull".to_owned()));
    options.extend(args.nocache.then(|| "--no-cache".to_owned()));
    let local = |name: &str| match Path::new(name) {
        path if path.is_absolute() || crate::shipped::exists(path) => Ok(path.to_owned()),
        _ => build.local.find(LocalKind::Files, name),
    };
    let from = match (args.path, args.context) {
        (Some(path), None) => {
            let path = args::host_path(&path, build)?;
            // Ansible's is relative to the path, docker's to where it is started
            if let Some(at) = options.iter().position(|option| option == "--file") {
                options[at + 1] = super::attributes::join(&path, &options[at + 1]);
            }
            From::Host(path)
        }
        (None, Some(context)) => From::Operator {
            folder: local(&context)?,
            dockerfile: args.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned()),
            fallback: args.default_dockerfile.as_deref().map(local).transpose()?,
            checksum: args.checksum,
            stream: args::host_path(&format!("~/.pv-build-{}.tar", &super::sha256(image.as_bytes())[..16]), build)?,
        },
        _ => {
            return Err(Failure::new("name where to build from: `path` on the host, or `context` on this machine"));
        }
    };
    Ok(Box::new(BuildImage { image, from, options, rebuild: args.rebuild }))
}

impl Module for BuildImage {
    fn probe(&self) -> Vec<Query> {
        vec![ask(docker().raw("image ls -q --no-trunc --filter").arg(format!("reference={}", self.image)))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble("docker image ls failed", &docker().raw("image ls"), found));
        }
        let text = found.stdout_text();
        let id = text.lines().next().unwrap_or_default();
        if !id.is_empty() && self.rebuild == Rebuild::Never {
            let msg = format!("{} is on the host ({})", self.image, short(id));
            return Ok(Plan::NoChange(Return::msg(msg).with("image", json!({"Id": id}))));
        }
        let before = if id.is_empty() { String::new() } else { format!("{}\n", short(id)) };
        let mut operations = Vec::new();
        if let From::Operator { folder, dockerfile, fallback, checksum, stream } = &self.from {
            let told = |error: crate::error::Error| Failure { hint: error.hint, ..Failure::new(error.text) };
            let context = Context::look(folder, dockerfile, fallback.as_deref()).map_err(told)?;
            let checksum = match checksum {
                Some(checksum) => checksum.clone(),
                None => context.digest().map_err(told)?,
            };
            let to = Destination { path: stream.clone(), mode: Some(0o600), ..Destination::default() };
            operations.push(Operation::Upload(Upload { to, from: Freight::Folder(context), checksum }));
        }
        operations.push(attempt(self.script()));
        Ok(Plan::Change(Change {
            diff: vec![diff(&format!("image {}", self.image), before, "built from its Dockerfile\n")],
            operations,
            then: Then::Finish,
            forecast: Return::default(),
        }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let output = outputs.last().ok_or_else(|| Failure::new("nothing was built"))?;
        if !output.ok() {
            let failure = trouble(&format!("building {} failed", self.image), &self.script(), output);
            let builder = output.stderr_text().contains("requires BuildKit");
            return Err(match builder {
                true => failure.hint("this Dockerfile needs BuildKit: install `docker-buildx` (Debian) or `docker-buildx-plugin` (Docker's repository) on the host, e.g. by `base_packages`"),
                false => failure,
            });
        }
        let text = output.stdout_text();
        let id = text.lines().last().unwrap_or_default();
        Ok(Return::msg(format!("built {} ({})", self.image, short(id))).with("image", json!({"Id": id})))
    }
}

impl BuildImage {
    /// Builds; prints the image's id as the last line.
    fn script(&self) -> Script {
        let script = match &self.from {
            From::Host(path) => {
                docker().raw("build -q").args(self.options.clone()).arg(path).raw(">/dev/null || exit\n")
            }
            // its name goes before the build, so that nothing stays whatever becomes of that
            From::Operator { stream, .. } => Script::new().raw("set --").arg(stream).args(self.options.clone()).raw(
                "\nexec 3<\"$1\" || exit\nrm -f -- \"$1\"\nshift\ndocker build -q \"$@\" - <&3 >/dev/null || exit\n",
            ),
        };
        script
            .raw("docker image inspect --format '{{.Id}}'")
            .arg(&self.image)
            .title(format!("docker build {}", self.options.join(" ")))
            .timeout(Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{build as make, calls, said};
    use super::*;

    #[test]
    fn an_image_that_is_there_is_left_alone() {
        let task = json!({"name": "shop", "tag": "v1-abc", "context": "/nonexistent"});
        assert_eq!(calls("docker_image_build", task, &[said("sha256:0123\n")], &[]), Ok(Vec::new()));
        let always = json!({"name": "shop", "path": "/opt/shop", "rebuild": "always"});
        let wanted = "docker build --tag shop:latest".to_owned();
        assert_eq!(calls("docker_image_build", always, &[said("sha256:0123\n")], &[]), Ok(vec![wanted]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let both = json!({"name": "shop", "path": "/a", "context": "/b"});
        assert!(make("docker_image_build", both).err().unwrap().msg.contains("`path` on the host, or `context`"));
        let absent = json!({"name": "shop", "context": "/nonexistent"});
        let said = calls("docker_image_build", absent, &[said("")], &[]).unwrap_err();
        assert!(said.contains("there is no folder `/nonexistent`"), "{said}");
    }

    #[test]
    fn options_of_docker() {
        let task = json!({"name": "shop:v1", "path": "/opt/shop", "dockerfile": "deploy/Dockerfile", "args": {"A": 1},
            "target": "run", "pull": true, "nocache": "yes"});
        let wanted = "docker build --tag shop:v1 --file /opt/shop/deploy/Dockerfile --target run --build-arg A=1 --pull --no-cache";
        assert_eq!(calls("docker_image_build", task, &[said("")], &[]), Ok(vec![wanted.to_owned()]));
    }

    #[test]
    fn a_missing_builder_is_named() {
        let module = make("docker_image_build", json!({"name": "a", "path": "/a"})).unwrap();
        let output = Output { rc: 1, stderr: b"the --mount option requires BuildKit.".to_vec(), ..Output::default() };
        assert!(module.finish(&[output]).unwrap_err().hint.unwrap().contains("docker-buildx"));
    }
}
