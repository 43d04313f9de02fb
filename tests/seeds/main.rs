//! Each seed walked from top to bottom on lab hosts, in the seed's order.

mod s1;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

use stage::Scene;

static SCENE: Scene = Scene {
    prefix: "pv-seeds",
    hosts: &["vnm"],
    inventory: "tests/seeds/inventory",
    images: &["postgres:17", "vnm/backend:1.0", "vnm/frontend:1.0", "dpage/pgadmin4:9.9"],
};
