//! The packages of the registry and the images that the lab serves for them: what is rendered, what the jobs do, what the
//! proxy routes. One program, so that it is linked once.

mod config;
mod first_boot;
mod hub;
mod stage;
