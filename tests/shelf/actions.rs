//! An action of a package, in the container of the instance that was named.

use crate::enter;
use crate::stage::{counts, last_events, text};

#[test]
fn an_action_runs_in_its_container_and_keeps_secrets_to_itself() {
    let Some((_turn, stage)) = enter("actions") else { return };
    let runs = stage.runs("action");
    let ran = stage.must(&runs, &["action", "redis@dos", "info", "--host", "s"], 0);
    assert!(ran.stderr.contains("redis_version:") && ran.stderr.contains("used_memory_human:"), "{}", ran.stderr);
    assert_eq!(counts(&last_events(&runs), "s", "changed"), 0);
    let password = stage.inside("s", "docker exec versatile-redis-dos sh -c 'printf %s \"$REDIS_PASSWORD\"'");
    assert!(password.len() > 20);
    let journals = crate::stage::shell("cat \"$1\"/*/*", &[&text(&runs)]);
    assert!(journals.contains("redis_version:") && !journals.contains(&password));
    // what is not there has no containers to run anything in
    let ran = stage.run(&runs, &["action", "redis@tres", "info", "--host", "s"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("redis@tres is not installed on s"), "{}", ran.stderr);
}
