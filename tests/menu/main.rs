//! The menu and the questions as an operator meets them: the program on a pseudo-terminal, keys pressed, the screen
//! read. The screens of docs/menu.md come from here and are compared with it.

#[path = "../cli/project.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod project;

mod consent;
mod questions;
mod screens;
mod stage;
mod terminal;
mod walk;
