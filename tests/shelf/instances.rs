//! `redis` and `redis@dos`: two of one package, each with a folder, a password, a host name and a record of its own.

use crate::enter;
use crate::stage::{counts, is, last_events};

#[test]
fn two_instances_run_side_by_side() {
    let Some((_turn, stage)) = enter("instances") else { return };
    // each is asked with its own password, by its own name on the shared network
    let ask = |own: &str, of: &str, host: &str| {
        let script = format!(
            "REDISCLI_AUTH=$(sed -n \"s/^REDIS_PASSWORD=['\\\"]*\\([^'\\\"]*\\).*/\\1/p\" /opt/ATS/VersatileHub/services/{of}/.env); \
             docker exec -e REDISCLI_AUTH=$REDISCLI_AUTH versatile-{own} redis-cli -h versatile-{host} set {host} {host} 2>&1"
        );
        stage.inside("s", &script)
    };
    assert_eq!(ask("redis", "redis", "redis"), "OK");
    assert_eq!(ask("redis", "redis-dos", "redis-dos"), "OK");
    assert!(ask("redis", "redis", "redis-dos").contains("WRONGPASS"), "the passwords are the same");
    let keys = |of: &str| {
        stage.inside(
            "s",
            &format!("docker exec versatile-{of} sh -c 'REDISCLI_AUTH=$REDIS_PASSWORD redis-cli keys \"*\"'"),
        )
    };
    assert_eq!((keys("redis").as_str(), keys("redis-dos").as_str()), ("redis", "redis-dos"));
    assert_eq!(stage.inside("s", "ls /var/lib/provision/services"), "redis.json\nredis@dos.json");
}

#[test]
fn an_instance_is_rolled_out_and_looked_at_by_its_name() {
    let Some((_turn, stage)) = enter("one instance") else { return };
    let runs = stage.runs("instance");
    stage.must(&runs, &["--host", "s", "--services", "redis@dos", "--no-bootstrap", "--yes"], 0);
    let events = last_events(&runs);
    let services: Vec<&str> = events
        .iter()
        .filter(|event| is(event, "service_finished"))
        .filter_map(|event| event["service"].as_str())
        .collect();
    assert_eq!((services.as_slice(), counts(&events, "s", "changed")), (["redis@dos"].as_slice(), 0));
    let status = stage.must(&runs, &["status", "--host", "s", "--json"], 0).stdout;
    let rows: Vec<serde_json::Value> = status.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row =
        |row: &serde_json::Value| format!("{} {} {}", row["service"], row["state"], row["drift"]).replace('"', "");
    assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), ["redis healthy 1/1 no", "redis@dos healthy 1/1 no"]);
}
