//! What a manifest lists (files, jobs, actions, databases, links …), each with the values of this host.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Placed;
use super::stack::template_error;
use crate::error::{Error, Place, Result};
use crate::plan::{Object, quote};
use crate::services::catalogue::{Catalogue, Package};
use crate::services::instance::Instance;
use crate::services::manifest::{Directory, Manifest};
use crate::services::mode::Mode;
use crate::shipped;
use crate::vars::Scope;

/// A request that says whether a setting's value is valid.
#[derive(Clone)]
pub struct LiveCheck {
    /// The setting.
    pub key: String,
    pub url: String,
    /// The value of the setting is in one of them.
    pub headers: Object,
    pub refused: Vec<u16>,
}

/// The lists of one service's manifest.
pub(super) struct Listed<'a> {
    pub placed: Placed<'a>,
    pub scope: &'a Scope,
    /// The settings.
    pub env: &'a Object,
    /// The service's folder on the host.
    pub root: &'a str,
    pub project: &'a str,
}

impl<'a> Listed<'a> {
    fn manifest(&self) -> &'a Manifest {
        &self.placed.package.manifest
    }

    pub fn text(&self, template: &str) -> Result<String> {
        render_text(self.scope, template, self.placed.package)
    }

    pub fn files(&self) -> Result<Vec<Value>> {
        let package = self.placed.package;
        let own = self.own_files()?;
        let mut files = Vec::new();
        for file in &package.manifest.files {
            let content = match own.get(&file.src) {
                Some(content) => content.clone(),
                None => package.read(&file.src)?,
            };
            let content = if file.template {
                let path = package.dir.join(&file.src);
                self.scope.text(&content, &path).map_err(|fault| template_error(fault, &path))?
            } else {
                content
            };
            files.push(json!({
                "dest": format!("{}/{}", self.root, file.dest),
                "content": content,
                "mode": file.mode.clone().unwrap_or_else(|| "0644".to_owned()),
                "owner": file.owner, "group": file.group,
            }));
        }
        Ok(files)
    }

    pub fn networks(&self) -> Result<Vec<Value>> {
        let mut networks = Vec::new();
        for network in &self.manifest().networks {
            networks.push(json!({"name": self.text(&network.name)?, "internal": network.internal}));
        }
        Ok(networks)
    }

    pub fn urls(&self) -> Result<Vec<Value>> {
        let mut urls = Vec::new();
        for url in &self.manifest().urls {
            let contains = url.contains.as_deref().map(|text| self.text(text)).transpose()?;
            urls.push(json!({
                "name": if url.name.is_empty() { self.manifest().name.clone() } else { url.name.clone() },
                "url": self.text(&url.url)?, "status": url.status, "contains": contains, "timeout": url.timeout,
            }));
        }
        Ok(urls)
    }

    pub fn links(&self) -> Result<Vec<Value>> {
        let mut links = Vec::new();
        let of_mode = self.manifest().modes.of(self.placed.host.mode).into_iter().flat_map(|variant| &variant.links);
        for link in self.manifest().links.iter().chain(of_mode) {
            let url = self.text(&link.url)?;
            // one that there only sometimes is
            if !url.is_empty() {
                links.push(json!({"name": link.name, "url": url, "description": self.text(&link.description)?}));
            }
        }
        Ok(links)
    }

    pub fn jobs(&self) -> Result<Vec<Value>> {
        let mut jobs = Vec::new();
        for job in &self.manifest().jobs {
            let exports = exports(self.placed.package, &format!("job `{}`", job.name), &job.env, self.env)?;
            let check = job.check.as_ref().map(|file| self.placed.package.read(file)).transpose()?;
            jobs.push(json!({
                "name": job.name, "service": job.service, "user": job.user, "timeout": job.timeout,
                "when": job.when, "backup_before": job.backup_before,
                "check": check.map(|text| script(&exports, &text)).unwrap_or_default(),
                "run": script(&exports, &self.placed.package.read(&job.run)?),
            }));
        }
        Ok(jobs)
    }

    pub fn actions(&self) -> Result<Vec<Value>> {
        let mut actions = Vec::new();
        for action in &self.manifest().actions {
            let place = format!("PROJECT={}; ROOT={}; export PROJECT ROOT\n", quote(self.project), quote(self.root));
            let settings = exports(self.placed.package, &format!("action `{}`", action.name), &action.env, self.env)?;
            actions.push(json!({
                "name": action.name, "service": action.service.clone().unwrap_or_default(), "user": action.user,
                "timeout": action.timeout, "backup_first": action.backup_first, "changes": action.changes,
                "mode": action.mode.map(Mode::word),
                "script": script(&format!("{place}{settings}"), &self.placed.package.read(&action.run)?),
            }));
        }
        Ok(actions)
    }

    /// `requires`: the instances that this one depends on.
    pub fn databases(&self, catalogue: &Catalogue, requires: &[String]) -> Vec<Value> {
        let mut databases = Vec::new();
        for database in &self.manifest().databases {
            let value = |key: &str| self.env.get(key).cloned().unwrap_or(Value::Null);
            let server = database.service.clone().map(|service| (self.project.to_owned(), service));
            let (db_project, db_service) = server.unwrap_or_else(|| {
                let provider = catalogue.provider(&database.engine, self.placed.instance, requires);
                let provider = provider.unwrap_or_else(|| Instance::plain(&database.engine));
                (provider.project(), provider.slug())
            });
            databases.push(json!({
                "engine": database.engine, "project": db_project, "service": db_service,
                "name": value(&database.db_name_var), "user": value(&database.user_var),
                "password": value(&database.password_var), "extensions": database.extensions,
                "admin_user": database.admin_user_var.as_deref().map(value),
                "admin_password": database.admin_password_var.as_deref().map(value),
                // a server in this stack can only be asked after the stack is up; a shared one before
                "own": database.service.is_some(),
            }));
        }
        databases
    }

    pub fn steps(&self) -> Result<Vec<Value>> {
        let mut steps = Vec::new();
        for step in &self.manifest().manual_steps {
            steps.push(json!({"id": step.id, "text": self.text(&step.text)?, "critical": step.critical}));
        }
        Ok(steps)
    }

    pub fn directories(&self) -> Vec<Value> {
        let directory = |d: &Directory| json!({"path": format!("{}/{}", self.root, d.path), "owner": d.owner, "group": d.group, "mode": d.mode});
        self.manifest().directories.iter().map(directory).collect()
    }

    pub fn live_checks(&self) -> Result<Vec<LiveCheck>> {
        let mut live_checks = Vec::new();
        // a client's variable, for those whose operator cannot reach the internet
        let wanted = self.scope.condition(&Value::from("live_check | default(true) | bool")).unwrap_or(true);
        for variable in self.manifest().variables.iter().filter(|_| wanted) {
            let Some(live) = &variable.live_check else { continue };
            if self.env.get(&variable.key).and_then(Value::as_str).is_none_or(str::is_empty) {
                continue;
            }
            let headers = live.headers.iter().map(|(name, value)| Ok((name.clone(), Value::from(self.text(value)?))));
            live_checks.push(LiveCheck {
                key: variable.key.clone(),
                url: self.text(&live.url)?,
                headers: headers.collect::<Result<_>>()?,
                refused: live.refused.clone(),
            });
        }
        Ok(live_checks)
    }

    /// The secrets that are to be mounted as files, and those that could be and are not.
    pub fn mounts(&self) -> Result<(Vec<&'a str>, Vec<&'a str>)> {
        let manifest = self.manifest();
        let variables = manifest.variables.iter().map(|variable| (variable.key.as_str(), variable.mount.as_deref()));
        let secrets = manifest.secrets.iter().map(|secret| (secret.key.as_str(), secret.mount.as_deref()));
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for (key, mount) in variables.chain(secrets).filter_map(|(key, mount)| Some((key, mount?))) {
            match self.text(mount)?.as_str() {
                "file" => files.push(key),
                "environment" => others.push(key),
                other => {
                    let error =
                        Error::new(format!("`mount` of `{key}`: `{other}` is neither `file` nor `environment`"));
                    return Err(Error { place: Some(self.placed.package.place_of(key)), ..error });
                }
            }
        }
        Ok((files, others))
    }

    /// The client's own versions of the package's files (a logo, a style sheet), by the name that the manifest gives as `src`;
    /// those of the instance win over those of the package.
    fn own_files(&self) -> Result<HashMap<String, String>> {
        let Placed { package, instance, host, .. } = self.placed;
        let mut own = HashMap::new();
        let (all, one) = (host.own_files.join(&package.id), host.own_files.join(instance.to_string()));
        let folders = if all == one { vec![all] } else { vec![all, one] };
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            for name in shipped::walk(folder) {
                let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
                let known = || package.manifest.files.iter().map(|file| file.src.as_str());
                if !known().any(|src| src == name) {
                    let text = format!("`{}` has no file `{name}` that a client could have its own of", package.id);
                    let list = known().collect::<Vec<_>>().join(", ");
                    let hint = if list.is_empty() {
                        "its manifest has no `files`".to_owned()
                    } else {
                        format!("it has: {list}")
                    };
                    return Err(Error::at(&Place::file(path), text).hint(hint).did_you_mean(&name, known()));
                }
                let content = shipped::read_to_string(&path).map_err(|error| {
                    Error::at(&Place::file(path.clone()), format!("cannot read it as text: {error}"))
                })?;
                own.insert(name, content);
            }
        }
        Ok(own)
    }
}

/// `KEY='value'` lines in front of a job's script. The group makes the shell read all of it before it runs anything,
/// so that no command of the script can eat the rest from standard input.
pub(in crate::services) fn script(exports: &str, body: &str) -> String {
    format!("{exports}{{\n{body}\n}} </dev/null\n")
}

pub(in crate::services) fn exports(package: &Package, who: &str, keys: &[String], env: &Object) -> Result<String> {
    let mut text = String::new();
    for key in keys {
        let value = env.get(key).and_then(Value::as_str).ok_or_else(|| {
            Error {
                place: Some(package.place()),
                ..Error::new(format!("{who} wants `{key}`, which is no setting of `{}`", package.id))
            }
            .did_you_mean(key, env.keys().map(String::as_str))
        })?;
        text.push_str(&format!("{key}={}; export {key}\n", quote(value)));
    }
    Ok(text)
}

pub(super) fn render_text(scope: &Scope, template: &str, package: &Package) -> Result<String> {
    let rendered = scope.value(&Value::from(template)).map_err(|fault| fault.at(&package.place()))?;
    Ok(match rendered {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_cannot_eat_its_own_script() {
        let text = script("A='x y'; export A\n", "cat >/dev/null\nprintf %s \"$A\"\nexit 3");
        let mut child = std::process::Command::new("sh")
            .arg("-s")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"x y".as_slice()));
    }
}
