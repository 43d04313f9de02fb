//! A plan as a document, and what becomes of it when the world moves.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::stage::{counts, last_events, text};
use super::{enter, version};

#[test]
fn a_plan_is_carried_out_exactly_or_not_at_all() {
    let Some(fleet) = enter("a_plan_is_carried_out_exactly_or_not_at_all") else { return };
    let file = text(&fleet.stage.scratch.join("update.plan"));
    let (two, three) = (version("2"), version("3"));
    let plan = |version| ["plan", "--all", "--of", "up", "-o", file.as_str(), "--detailed-exitcode", "-e", version];
    let one = version("1");

    // how long it is down is known from runs that restarted it
    for version in [&three, &one] {
        fleet.must("ana", &["up", "--all", "--yes", "-e", version], 0);
    }

    // nothing to do
    let ran = fleet.must("ana", &plan(&one), 0);
    assert!(ran.stdout.contains("nothing would change") && ran.stdout.contains("0 steps"), "{}", ran.stdout);

    let before = fleet.both();
    let ran = fleet.must("ana", &plan(&two), 3);
    for said in [
        "r1  app",
        "Compose file: ",
        "docker-compose.yml",
        "app is made anew: ",
        "files that it mounts",
        "app: up to ",
        "free: ",
    ] {
        assert!(ran.stdout.contains(said), "{said} is missing in\n{}", ran.stdout);
    }
    assert_eq!(fleet.both(), before, "a plan touches nothing");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(document["hosts"], serde_json::json!(["r1", "r2"]));

    // other inputs, another host state: refused, and told what moved
    let apply = |version| ["apply", file.as_str(), "--yes", "-e", version];
    let ran = fleet.must("ana", &apply(&three), 2);
    assert!(
        ran.stderr.contains("the world has moved since ") && ran.stderr.contains("-e versions: not as it was"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("the settings of app on r1: not as it was"), "{}", ran.stderr);
    fleet.stage.inside("r2", "echo by hand > /opt/ATS/VersatileHub/services/app/conf/app.conf");
    let ran = fleet.must("ana", &apply(&two), 2);
    assert!(ran.stderr.contains("r2 app: `Files` would change something else"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was touched"), "{}", ran.stderr);
    assert_eq!(fleet.both(), (before.0.clone(), "by hand".to_owned()));

    // a new plan, done; once more there is nothing to do, so the plan is no longer right
    fleet.must("ana", &plan(&two), 3);
    fleet.must("ana", &apply(&two), 0);
    assert_eq!(fleet.both(), ("version 2".to_owned(), "version 2".to_owned()));
    assert!(counts(&last_events(&fleet.runs), "r1", "changed") > 0);
    let ran = fleet.must("ana", &apply(&two), 2);
    assert!(ran.stderr.contains("has nothing to change any more"), "{}", ran.stderr);

    // what cannot be taken back is said; data is not deleted by --yes
    let purge = ["plan", "--host", "r1", "--of", "purge", "-o", file.as_str(), "-e", two.as_str()];
    let ran = fleet.must("ana", &purge, 0);
    assert!(ran.stdout.contains("volumes, settings and data are deleted"), "{}", ran.stdout);
    let ran = fleet.must("ana", &apply(&two), 2);
    assert!(ran.stderr.contains("--yes-really"), "{}", ran.stderr);
    assert_eq!(fleet.app("r1"), "version 2");

    std::fs::write(&file, "{}").unwrap();
    assert!(fleet.must("ana", &apply(&two), 2).stderr.contains("this is no plan"));
}
