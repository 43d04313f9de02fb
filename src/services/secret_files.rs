//! Secrets that a container reads from a file instead of its environment, which everybody sees who may inspect it. Of a
//! setting with `mount: file`, each variable of the stack that is its value becomes `<NAME>_FILE: /run/secrets/<NAME>`.
//!
//! The stack names the files and never their values. A container does not notice that a file was replaced, and a secret
//! of a swarm cannot be: so both carry a digest. It stands in `.env`, for the stack's text can be read by everybody.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::catalogue::hex;
use super::mounted;
use crate::plan::Object;

const LABEL: &str = "provision.secrets";

/// Where a service is.
pub(super) struct At<'a> {
    pub root: &'a str,
    pub project: &'a str,
    pub runtime: &'a str,
}

/// What the deployment has to write.
#[derive(Default)]
pub(super) struct SecretFiles {
    /// `dest`, `content`, and `name`, what a swarm calls it.
    pub files: Vec<Value>,
    /// The digests, beside the settings.
    pub digests: Object,
}

/// The path of a setting's file.
pub(super) fn path(root: &str, key: &str) -> String {
    format!("{root}/.secrets/{key}")
}

/// Mounts the settings `keys` wherever the stack's `environment` takes one as it is. One that is empty stays there.
pub(super) fn mount(stack: &mut Value, keys: &[&str], env: &Object, at: &At<'_>) -> SecretFiles {
    let mut made = SecretFiles::default();
    let mut declared = Map::new();
    let services = stack.get_mut("services").and_then(Value::as_object_mut);
    for service in services.into_iter().flatten().filter_map(|(_, service)| service.as_object_mut()) {
        let taken = taken(service, keys, env);
        for (name, key) in &taken {
            let mounts = service.entry("secrets").or_insert_with(|| json!([]));
            if let Some(mounts) = mounts.as_array_mut() {
                mounts.push(json!({"source": key, "target": name}));
            }
            if declared.contains_key(key) {
                continue;
            }
            let content = env.get(key).and_then(Value::as_str).unwrap_or_default();
            let digest = hex(&Sha256::digest(format!("{}\0{key}\0{content}", at.project)))[..12].to_owned();
            let dest = path(at.root, key);
            let mut about = json!({"file": dest});
            if at.runtime == "swarm" {
                about["name"] = format!("{key}_${{{}}}", digest_of(key)).into();
            }
            declared.insert(key.clone(), about);
            made.files.push(json!({"dest": dest, "content": content, "name": format!("{key}_{digest}")}));
            made.digests.insert(digest_of(key), digest.into());
        }
        if !taken.is_empty() && at.runtime == "compose" {
            let digests: Vec<String> = taken.iter().map(|(_, key)| format!("${{{}}}", digest_of(key))).collect();
            mounted::put(service, LABEL, &digests.join("-"));
        }
    }
    if let (false, Some(stack)) = (declared.is_empty(), stack.as_object_mut()) {
        match stack.get_mut("secrets").and_then(Value::as_object_mut) {
            Some(own) => own.extend(declared),
            None => drop(stack.insert("secrets".to_owned(), Value::Object(declared))),
        }
    }
    made
}

fn digest_of(key: &str) -> String {
    format!("{key}_DIGEST")
}

/// Replaces the variables of a service whose value is one of `keys`; gives back each with its key.
fn taken(service: &mut Map<String, Value>, keys: &[&str], env: &Object) -> Vec<(String, String)> {
    let key_of = |written: &str| {
        let key = written.strip_prefix("${")?.strip_suffix('}')?;
        let filled = env.get(key).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        (filled && keys.contains(&key)).then(|| key.to_owned())
    };
    let file = |name: &str| (format!("{name}_FILE"), format!("/run/secrets/{name}"));
    let mut taken = Vec::new();
    match service.get_mut("environment") {
        Some(Value::Object(map)) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(name, value)| match value.as_str().and_then(key_of) {
                    Some(key) => {
                        let (file_name, path) = file(&name);
                        taken.push((name, key));
                        (file_name, path.into())
                    }
                    None => (name, value),
                })
                .collect();
        }
        Some(Value::Array(items)) => {
            for item in items {
                let pair = item.as_str().and_then(|item| item.split_once('='));
                if let Some((name, key)) = pair.and_then(|(name, value)| Some((name.to_owned(), key_of(value)?))) {
                    let (file_name, path) = file(&name);
                    *item = format!("{file_name}={path}").into();
                    taken.push((name, key));
                }
            }
        }
        _ => {}
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(environment: Value, runtime: &str) -> (Value, SecretFiles) {
        let mut stack = json!({"services": {"db": {"environment": environment}, "web": {"environment": {"A": "1"}}}});
        let env = json!({"PW": "p $x\n", "EMPTY": "", "OTHER": "o"});
        let at = At { root: "/srv/x", project: "versatile-x", runtime };
        let made = mount(&mut stack, &["PW", "EMPTY"], env.as_object().unwrap(), &at);
        (stack, made)
    }

    #[test]
    fn a_variable_becomes_a_file_and_the_stack_never_holds_its_value() {
        let environment = json!({"DB_PASS": "${PW}", "NONE": "${EMPTY}", "OTHER": "${OTHER}", "URL": "db://u:${PW}@h"});
        let (stack, made) = mounted(environment, "compose");
        let digest = made.digests["PW_DIGEST"].as_str().unwrap();
        assert_eq!(
            stack,
            json!({
                "services": {
                    "db": {
                        "environment": {"DB_PASS_FILE": "/run/secrets/DB_PASS", "NONE": "${EMPTY}", "OTHER": "${OTHER}", "URL": "db://u:${PW}@h"},
                        "secrets": [{"source": "PW", "target": "DB_PASS"}],
                        "labels": {"provision.secrets": "${PW_DIGEST}"},
                    },
                    "web": {"environment": {"A": "1"}},
                },
                "secrets": {"PW": {"file": "/srv/x/.secrets/PW"}},
            })
        );
        assert_eq!(
            made.files,
            [json!({"dest": "/srv/x/.secrets/PW", "content": "p $x\n", "name": format!("PW_{digest}")})]
        );
        assert_eq!(digest.len(), 12);
    }

    #[test]
    fn a_swarm_gets_another_secret_for_another_value_and_lists_are_read_too() {
        let (stack, made) = mounted(json!(["DB_PASS=${PW}", "A=b=${PW}"]), "swarm");
        assert_eq!(stack["services"]["db"]["environment"], json!(["DB_PASS_FILE=/run/secrets/DB_PASS", "A=b=${PW}"]));
        assert_eq!(stack["secrets"]["PW"]["name"], "PW_${PW_DIGEST}");
        assert!(stack["services"]["db"].get("labels").is_none() && made.files.len() == 1);
        let (stack, made) = mounted(json!({"A": "${OTHER}"}), "swarm");
        assert!(stack.get("secrets").is_none() && made.files.is_empty() && made.digests.is_empty());
    }
}
