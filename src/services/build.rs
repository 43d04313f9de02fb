//! Images that a package builds: where the source comes from, and the name that the image gets for it.
//!
//! The name ends with a digest of everything that goes in, so the host builds it once, another source is another image,
//! and the one before stays for going back. Left out: sending and building, which `docker_image_build` does.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::catalogue::{Package, hex};
use super::git;
use super::manifest::ImageBuild;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::shipped;

/// Reads the source of one build. `text` renders a template of the manifest.
/// → what the deploy playbook hands to `docker_image_build`; None where the setting says that the image is pulled.
pub(super) fn prepare(
    package: &Package,
    build: &ImageBuild,
    version: &str,
    text: impl Fn(&str) -> Result<String>,
) -> Result<Option<Value>> {
    let source = text(&build.source)?;
    if source.trim().is_empty() {
        return Ok(None);
    }
    let about = |error: Error| error.context(format_args!("service `{}`: image of `{}`", package.id, build.service));
    let folder = folder(package, source.trim()).map_err(about)?.join(&build.context);
    let fallback = build.default_dockerfile.as_ref().map(|file| package.dir.join(file));
    let context = Context::look(&folder, &build.dockerfile, fallback.as_deref()).map_err(about)?;
    let checksum = context.digest().map_err(about)?;
    let mut args = Object::new();
    for (key, value) in &build.args {
        args.insert(key.clone(), Value::from(text(value)?));
    }
    let mut hash = Sha256::new();
    hash.update(format!("{checksum}\0{}\0{:?}", build.dockerfile, build.target));
    hash.update(Value::Object(args.clone()).to_string());
    let tag = match &build.tag {
        Some(tag) => text(tag)?,
        None => version.to_owned(),
    };
    let image = format!("{}:{tag}-{}", build.image, &hex(&hash.finalize())[..12]);
    Ok(Some(json!({
        "service": build.service, "image": image, "context": folder, "dockerfile": build.dockerfile,
        "default_dockerfile": fallback, "checksum": checksum, "args": args, "target": build.target,
    })))
}

/// Gives the services of the stack the images that were built for them. They are never pulled: no registry has them.
pub(super) fn name_images(stack: &mut Value, builds: &[Value], runtime: &str) {
    let Some(services) = stack.get_mut("services").and_then(Value::as_object_mut) else { return };
    for build in builds {
        let service = build["service"].as_str().and_then(|name| services.get_mut(name));
        if let Some(Value::Object(service)) = service {
            service.insert("image".to_owned(), build["image"].clone());
            if runtime == "compose" {
                service.insert("pull_policy".to_owned(), Value::from("never"));
            }
        }
    }
}

/// A folder of the package, of this machine, or out of a git repository (`address#reference:folder`, as Docker has it).
fn folder(package: &Package, source: &str) -> Result<PathBuf> {
    if let Some(address) = git::Address::parse(source) {
        return Ok(git::tree(&address)?.join(&address.folder));
    }
    let own = package.dir.join(source);
    if shipped::exists(&own) {
        return Ok(own);
    }
    let path = match (source.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(source),
    };
    std::path::absolute(&path).map_err(|error| Error::new(format!("`{source}` is not a path: {error}")))
}
