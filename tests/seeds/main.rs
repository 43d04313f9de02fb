//! The documents that `provision` replaces, walked from top to bottom on real hosts, each in its own order.
//!
//! Databases, Redis and restic are the real programs; applications are stand-ins with the real interface (tests/images).

mod s0;
mod s1;
mod s2;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-seeds",
    hosts: &["s0", "vnm", "s2"],
    system: provision::lab::System::Fresh,
    inventory: "tests/seeds/inventory",
    images: &[
        "pgvector/pgvector:pg17",
        "redis:8.0",
        "chatwoot/chatwoot:v4.17.1",
        "postgres:17",
        "traefik:v3.7.9",
        "mariadb:11.8",
        "frappe/erpnext:v16.32.3",
        "n8nio/n8n:2.40.7",
        "openclaw/openclaw:2026.9.6",
        "vnm/backend:1.0",
        "vnm/frontend:1.0",
        "dpage/pgadmin4:9.9",
    ],
};
