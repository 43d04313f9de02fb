//! The shipped playbooks are read without a mistake.

use std::path::Path;

use provision::playbook;
use provision::vars::{Layer, NoWorld, Scope};
use serde_json::{Value, json};

#[test]
fn every_shipped_playbook_is_read() {
    for name in [
        "playbooks/bootstrap.yml",
        "playbooks/rollout.yml",
        "playbooks/status.yml",
        "playbooks/survey.yml",
        "playbooks/up.yml",
        "playbooks/down.yml",
        "playbooks/restart.yml",
        "playbooks/nginx-site.yml",
        "playbooks/python-app.yml",
        "playbooks/backup.yml",
        "playbooks/backup_list.yml",
        "playbooks/backup_check.yml",
        "playbooks/backup_prune.yml",
        "playbooks/backup_schedule.yml",
        "playbooks/restore.yml",
        "playbooks/rehearse.yml",
        "playbooks/regen.yml",
        "playbooks/scale.yml",
        "playbooks/prune.yml",
    ] {
        let plays = playbook::load(Path::new(name)).unwrap_or_else(|error| panic!("{name}:\n{error}"));
        assert!(!plays.is_empty(), "{name}");
    }
    let shipped = Path::new(provision::shipped::ROOT).join("playbooks/rollout.yml");
    let plays = playbook::load(&shipped).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plays.iter().map(|play| play.name.as_str()).collect::<Vec<_>>(), ["Beforehand", "Server", "Services"]);
    assert!(plays[1].tasks.len() > 5, "the imported playbook came out of the binary too");
    assert!(plays[1].around.tags.contains(&"bootstrap".to_owned()));
}

/// When a job of a package is looked at: what the playbook asks before it, for what a manifest can say.
#[test]
fn a_job_is_due_when_its_manifest_says_so() {
    let text = std::fs::read_to_string("playbooks/services/job.yml").unwrap();
    let tasks = provision::yaml::parse(&text, Path::new("job.yml")).unwrap()[0].to_value();
    let (block, conditions) = (tasks[0]["vars"].as_object().unwrap(), &tasks[0]["when"]);
    let due = |when: &str, installed: Option<&str>, newer: bool| {
        let record = installed.map(|image| json!({"images": {"web": image}}).to_string());
        let record = record.map(|text| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text));
        let mut vars = block.clone();
        vars.extend([
            ("job".to_owned(), json!({"name": "migrate", "service": "web", "check": "", "when": when})),
            ("service".to_owned(), json!({"record": {"images": {"web": "shop:2"}}})),
            (
                "installed".to_owned(),
                record.map_or_else(|| json!({"failed": true}), |content| json!({"content": content})),
            ),
        ]);
        if newer {
            vars.insert("update_newer".to_owned(), Value::from("True"));
        }
        let mut scope = Scope::new(std::sync::Arc::new(NoWorld));
        scope.push(Layer::written(vars));
        scope.condition(conditions).unwrap_or_else(|fault| panic!("{when}: {}", fault.text))
    };
    for (when, anew, same, other, pulled) in [
        ("check", true, true, true, true),
        ("each", true, true, true, true),
        ("first", true, false, false, false),
        ("image-changed", true, false, true, true),
    ] {
        let seen = (
            due(when, None, false),
            due(when, Some("shop:2"), false),
            due(when, Some("shop:1"), false),
            due(when, Some("shop:2"), true),
        );
        assert_eq!(seen, (anew, same, other, pulled), "{when}");
    }
}
