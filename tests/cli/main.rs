//! The program from outside, as an operator uses it: wrong input, secrets, `explain`, help, lint. Every test has a project
//! folder and a home of its own; no host is reached, and where that matters it is proved. One program, so that it is
//! linked once.

mod account;
mod actions;
mod author;
mod bad_input;
mod browser;
mod common_settings;
mod declare;
mod explain;
mod fleet_lock;
mod guard;
mod handover;
mod help;
mod instances;
mod lifecycle;
mod lint;
mod live;
mod modes;
mod notify;
mod profiles;
mod project;
mod recipes;
mod report;
mod secrets;
mod shards;
mod steps;
mod verbs;
