//! What is looked at before a host is touched: whether it is large enough, and whether its data goes along.

use crate::enter;
use crate::stage::{last_events, starts};

#[test]
fn a_server_that_is_not_enough_is_refused_untouched() {
    let Some((_turn, stage)) = enter("beforehand") else { return };
    let runs = stage.runs("beforehand");
    let rollout = |service: &str, more: &[&str]| {
        let args = ["--host", "s", "--services", service, "--registry", "tests/shelf/registry", "--yes"];
        let ran = stage.run(&runs, &[&args[..], more].concat());
        let events = last_events(&runs);
        (ran, events.iter().any(starts("s", "Base packages")))
    };
    let (ran, touched) = rollout("giant", &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        all.contains("of memory, giant, redis, redis@dos need at least 96679.8 GB")
            && all.contains("--ignore-requirements"),
        "{all}"
    );
    assert!(all.contains("tar is 1.") && all.contains(", giant needs >=1.0, <1.1"), "{all}");
    assert!(all.contains("there is no sh-of-nobody, giant needs it"), "{all}");
    assert!(!touched);
    let (ran, touched) = rollout("giant", &["--ignore-requirements", "--check"]);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains("less than is recommended for giant, redis, redis@dos: "), "{all}");
    assert!(touched, "{all}");
    // the data of another major version is there, and no flag makes it fit
    let record = "/var/lib/provision/services/jump.json";
    stage
        .inside("s", &format!("echo '{{\"service\": \"jump\", \"images\": {{\"db\": \"postgres:16.9\"}}}}' >{record}"));
    let (ran, touched) = rollout("jump", &["--ignore-requirements"]);
    stage.inside("s", &format!("rm {record}"));
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains("jump: postgres:16.9 has its data here, and postgres:17.6 is to follow"), "{all}");
    assert_eq!((ran.code, touched), (Some(1), false));
    // what is installed was recorded with what it wants, and the server is enough for it
    let ran = stage.run(&runs, &["doctor", "--host", "s", "--verbose"]);
    assert!(ran.stdout.contains("[OK] s requirements: the server is enough for its services"), "{}", ran.stdout);
    let recorded = stage.inside("s", "cat /var/lib/provision/services/redis.json");
    assert!(recorded.contains("\"ram_mb\": 512") && recorded.contains("redis:8.0"), "{recorded}");
}
