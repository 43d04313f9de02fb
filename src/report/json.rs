//! `--json`: every event as a line on standard output, for programs.

use super::Reporter;
use crate::event::Event;

/// Prints events as JSON lines.
pub struct Json;

impl Reporter for Json {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            println!("{line}");
        }
    }
}
