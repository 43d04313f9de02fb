//! A container does not notice that a file it mounts was replaced. So each service of a stack carries a label with
//! the digest of the package's files that it mounts: another content is another container, whoever changed it and
//! however the last run ended.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::catalogue::hex;

/// On the container itself, not on the swarm's service: only that makes new containers.
const LABEL: &str = "provision.files";

/// Labels every service that mounts some of `files` (`dest`, `content`, `mode`), or a folder with some of them.
pub(super) fn label(stack: &mut Value, root: &str, files: &[Value]) {
    let services = stack.get_mut("services").and_then(Value::as_object_mut);
    for service in services.into_iter().flatten().filter_map(|(_, service)| service.as_object_mut()) {
        let sources: Vec<String> = sources(service, root).collect();
        let uses = |file: &&Value| {
            let dest = file.get("dest").and_then(Value::as_str).unwrap_or_default();
            sources
                .iter()
                .any(|source| dest == source || dest.starts_with(&format!("{}/", source.trim_end_matches('/'))))
        };
        let mut hash = Sha256::new();
        let mut any = false;
        for file in files.iter().filter(uses) {
            any = true;
            hash.update(file.to_string());
            hash.update([0]);
        }
        if any {
            put(service, LABEL, &hex(&hash.finalize())[..12]);
        }
    }
}

/// Paths of the host that a service mounts.
fn sources<'a>(service: &'a Map<String, Value>, root: &'a str) -> impl Iterator<Item = String> + 'a {
    let volumes = service.get("volumes").and_then(Value::as_array);
    volumes.into_iter().flatten().filter_map(move |volume| {
        let source = match volume {
            Value::String(text) => text.split(':').next()?,
            Value::Object(long) => long.get("source")?.as_str()?,
            _ => return None,
        };
        match source.strip_prefix("./") {
            Some(below) => Some(format!("{root}/{below}")),
            None if source == "." => Some(root.to_owned()),
            None => source.starts_with('/').then(|| source.to_owned()),
        }
    })
}

/// Adds a label, in whichever way the service writes its own.
pub(super) fn put(service: &mut Map<String, Value>, label: &str, value: &str) {
    match service.get_mut("labels") {
        Some(Value::Array(list)) => list.push(Value::from(format!("{label}={value}"))),
        Some(Value::Object(map)) => {
            map.insert(label.to_owned(), Value::from(value));
        }
        _ => {
            let labels = Map::from_iter([(label.to_owned(), Value::from(value))]);
            service.insert("labels".to_owned(), Value::Object(labels));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(service: Value, content: &str) -> Value {
        let files = [
            json!({"dest": "/srv/x/conf/a.conf", "content": content, "mode": "0644"}),
            json!({"dest": "/srv/x/other", "content": "o", "mode": "0644"}),
        ];
        let mut stack = json!({"services": {"s": service}});
        label(&mut stack, "/srv/x", &files);
        stack.pointer("/services/s/labels").cloned().unwrap_or(Value::Null)
    }

    #[test]
    fn whoever_mounts_a_file_is_labelled() {
        let digest = labels(json!({"volumes": ["/srv/x/conf/a.conf:/etc/a.conf:ro"]}), "1")[LABEL].clone();
        assert_eq!(digest.as_str().map(str::len), Some(12));
        for volume in [
            json!("./conf/a.conf:/etc/a.conf"),
            json!("/srv/x/conf:/etc/x"),
            json!("./conf/:/etc/x"),
            json!({"type": "bind", "source": "/srv/x/conf/a.conf", "target": "/etc/a.conf"}),
        ] {
            assert_eq!(labels(json!({"volumes": [volume]}), "1")[LABEL], digest, "{volume}");
        }
        for volume in [json!("/srv/x/conf/a.conf.bak:/x"), json!("data:/srv/x/conf"), json!("/srv/x/con:/x"), json!(5)]
        {
            assert_eq!(labels(json!({"volumes": [volume]}), "1"), Value::Null, "{volume}");
        }
        assert_eq!(labels(json!({}), "1"), Value::Null);
    }

    #[test]
    fn only_what_is_mounted_counts_and_labels_stay_what_they_were() {
        let volumes = json!(["./conf/a.conf:/etc/a.conf"]);
        let one = labels(json!({"volumes": volumes, "labels": ["a=b"]}), "1");
        let two = labels(json!({"volumes": volumes, "labels": ["a=b"]}), "2");
        assert_eq!((one[0].as_str(), one.as_array().map(Vec::len)), (Some("a=b"), Some(2)));
        assert!(one[1].as_str().unwrap().starts_with("provision.files=") && one[1] != two[1]);
        assert_eq!(labels(json!({"volumes": volumes, "labels": {"a": "b"}}), "1")["a"], "b");
        let all = labels(json!({"volumes": ["/srv/x:/x"]}), "1");
        assert_ne!(all[LABEL], labels(json!({"volumes": volumes}), "1")[LABEL]);
    }
}
