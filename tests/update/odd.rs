//! `provision odd` and `compare`: what only one host has, and what differs between two.

use std::collections::BTreeSet;

use super::{REGISTRY, SCENE, stage, state};

#[test]
fn what_few_have_is_found_and_two_are_laid_side_by_side() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "what_few_have_is_found_and_two_are_laid_side_by_side") else {
        return;
    };
    let runs = stage.runs("odd");
    let look = |words: &[&str], code: i32| stage.must(&runs, &[words, &REGISTRY].concat(), code);
    look(&["--all", "--yes"], 0);
    // what the other tests of this program have left on its hosts
    let rows = |words: &[&str]| -> BTreeSet<String> {
        let ran = stage.run(&runs, &[words, &REGISTRY].concat());
        assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
        // without the padding, which follows the widest row
        let cells =
            |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ");
        ran.stdout.lines().skip(1).map(cells).collect()
    };
    let (odd, different) = (rows(&["odd"]), rows(&["compare", "u1", "u3"]));

    let env = "/opt/ATS/VersatileHub/services/app/.env";
    stage.inside("u2", "docker run -d --name stray -p 8099:80 redis:8.0 sleep 600");
    stage.inside("u3", &format!("cp -p {env} /tmp/env; sed -i 's/^GREETING=.*/GREETING=only-here/' {env}"));
    let before = ["u2", "u3"].map(|host| state(stage, host));
    let row = |stdout: &str, cells: &[&str]| {
        let has =
            |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).eq(cells.iter().copied());
        assert!(stdout.lines().any(has), "{cells:?}\n{stdout}");
    };
    let ran = look(&["odd"], 1);
    row(&ran.stdout, &["extra container", "stray", "u2", "redis:8.0", "- (2 of 3)"]);
    row(&ran.stdout, &["port", "8099", "u2", "docker-proxy", "- (2 of 3)"]);
    row(&ran.stdout, &["app", "setting GREETING", "u3", "(not as declared)", "hola (2 of 3)"]);
    assert_eq!(rows(&["odd"]).difference(&odd).count(), 3, "nothing else is odd: {}", ran.stdout);

    let ran = look(&["compare", "u1", "u3"], 1);
    row(&ran.stdout, &["app", "setting GREETING", "hola", "(not as declared)"]);
    let now = rows(&["compare", "u1", "u3"]);
    assert_eq!(now.difference(&different).count(), 1, "nothing else differs: {}", ran.stdout);
    let ran = look(&["compare", "u1", "u2", "--services", "app", "--all-rows"], 0);
    row(&ran.stdout, &["app", "setting GREETING", "hola", "hola"]);
    row(&ran.stdout, &["app", "image app", "redis:8.0", "redis:8.0"]);
    assert!(!ran.stdout.contains("only-here"));
    assert_eq!(["u2", "u3"].map(|host| state(stage, host)), before, "nothing is touched");

    stage.inside("u2", "docker rm -f stray");
    stage.inside("u3", &format!("cp -p /tmp/env {env}; rm /tmp/env"));
    let ran = look(&["odd", "--host", "u1,u2"], 2);
    assert!(ran.stderr.contains("2 of the at least 3 clients that odd needs"), "{}", ran.stderr);
    for verb in [&["compare", "u1", "u2"][..], &["drift", "--host", "u1"]] {
        let ran = look(&[verb, &["--services", "ap"]].concat(), 2);
        assert!(ran.stderr.contains("unknown service `ap`") && ran.stderr.contains("`app`?"), "{}", ran.stderr);
    }
    let ran = look(&["compare", "u1", "all"], 2);
    assert!(ran.stderr.contains("`all` is 3 clients"), "{}", ran.stderr);
}
