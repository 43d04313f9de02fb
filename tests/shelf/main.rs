//! What packages declare, on one real host: several instances of a package side by side, actions.

mod actions;
mod beforehand;
mod instances;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

use std::sync::{MutexGuard, OnceLock};

use stage::Stage;

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-shelf-test",
    hosts: &["s"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/shelf/inventory",
    images: &["redis:8.0"],
};

/// The host with everything that it declares on it.
fn enter(test: &str) -> Option<(MutexGuard<'static, ()>, &'static Stage)> {
    static DEPLOYED: OnceLock<()> = OnceLock::new();
    let (turn, stage) = stage::enter(&SCENE, test)?;
    DEPLOYED.get_or_init(|| {
        stage.must(&stage.runs("deploy"), &["--host", "s", "--yes"], 0);
        // the lab's host came with Docker, and nobody had started it
        let events = stage::last_events(&stage.runs("deploy"));
        let ended = |task: &str| {
            let ends = |event: &&serde_json::Value| {
                stage::is(event, "task_finished") && event["host"] == "s" && event["task"]["name"] == task
            };
            events.iter().find(ends).unwrap_or_else(|| panic!("{task} has no end"))["outcome"]["status"].clone()
        };
        assert_eq!([ended("Docker"), ended("Docker runs")], ["ok", "changed"]);
        let check =
            "docker inspect -f '{{with .Config.Healthcheck}}{{.StartInterval}} {{.Interval}}{{end}}' versatile-redis";
        assert_eq!(stage.inside("s", check), "1s 15s", "the first health checks and later ones");
    });
    Some((turn, stage))
}
