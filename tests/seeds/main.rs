//! Each seed walked from top to bottom on lab hosts, in the seed's order.

#[path = "../common/stage.rs"]
mod stage;

mod s1;

use stage::Scene;

const SCENE: Scene = Scene {
    prefix: "pv-seeds",
    hosts: &["vnm"],
    inventory: "tests/seeds/inventory",
    images: &["postgres:17", "vnm/backend:1.0", "vnm/frontend:1.0", "dpage/pgadmin4:9.9"],
};
