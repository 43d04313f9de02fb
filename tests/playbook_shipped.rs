//! The shipped playbooks are read without a mistake.

use std::path::Path;

use provision::playbook;

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
