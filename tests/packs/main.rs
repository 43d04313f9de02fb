//! Packages that share the client's databases or bring their own code, rolled out to one real host: what they write into
//! the real PostgreSQL and Redis, what can be reached from outside, and that a second run changes nothing. The walks through
//! the documents of MaravIA and Nexus (tests/seeds) are among them, for they live on this host.
//!
//! The applications are stand-ins with the real interface (tests/images, tests/fixtures); their databases are real.

mod lost;
#[path = "../seeds/s3.rs"]
mod s3;
#[path = "../seeds/s4.rs"]
mod s4;
mod shared;
mod site;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

use stage::Stage;

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-packs-test",
    hosts: &["a", "b"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/packs/inventory",
    images: &[
        "traefik:v3.7.9",
        "pgvector/pgvector:pg17",
        "redis:8.0",
        "chatwoot/chatwoot:v4.17.1",
        "baptistearno/typebot-builder:3.18.0",
        "baptistearno/typebot-viewer:3.18.0",
        "provision-lab-uvicorn:trixie",
        "provision-lab-python:trixie",
    ],
};

/// Did a task of the newest run end so?
fn tally(runs: &std::path::Path, task: &str, status: &str) -> bool {
    let ended = |event: &serde_json::Value| {
        stage::is(event, "task_finished") && event["task"]["name"] == task && event["outcome"]["status"] == status
    };
    stage::last_events(runs).iter().any(ended)
}

/// What the shared PostgreSQL answers, as its administrator.
fn sql(stage: &Stage, database: &str, statement: &str) -> String {
    stage.inside(
        "a",
        &format!(
            "docker exec versatile-postgres psql -U postgres -tAc {} {database}",
            provision::plan::quote(statement)
        ),
    )
}
