//! `provision steps`: what is wrong with the words is said before anybody is called. The verb on a host: tests/seeds.

use crate::project::{MANIFEST, Project};

fn project() -> Project {
    let project = Project::with_key();
    let steps =
        r#""manual_steps": ["Call {{ domain }}", {"id": "share", "text": "Share it", "critical": true}], "secrets""#;
    project.file("registry/shop/manifest.json", &MANIFEST.replacen("\"secrets\"", steps, 1));
    project
}

#[test]
fn a_step_that_is_none_is_said_before_anybody_is_called() {
    let project = project();
    let shown = project.says(&["registry", "show", "shop"]);
    assert!(shown.contains("by hand: Share it (share, critical)"), "{shown}");
    // one without a name has one that stays
    let line = shown.lines().find(|line| line.contains("Call")).unwrap();
    assert!(line.contains("(step-") && project.says(&["registry", "show", "shop"]).contains(line), "{line}");
    let wrong: &[(&[&str], &str)] = &[
        (&["steps", "done", "shop", "shaer", "--host", "ana"], "did you mean `share`"),
        (&["steps", "done", "shp", "share", "--host", "ana"], "did you mean `shop`"),
        (&["steps", "done", "shop", "--host", "ana"], "<STEP>"),
        (&["steps", "done", "shop", "share"], "use --host NAME"),
        (&["steps", "done", "shop", "share", "--host", "ana", "--note", "a\nb"], "--note: it must be one line"),
        (&["steps", "reopen", "shop", "share", "--host", "ana", "-s", "shop"], "without --services"),
    ];
    let before = project.snapshot();
    for (words, says) in wrong {
        let ended = project.run(words);
        assert!(ended.code == 2 && ended.stderr.contains(says), "{words:?}: {} {}", ended.code, ended.stderr);
    }
    assert!(!project.was_called() && project.snapshot() == before);
}
