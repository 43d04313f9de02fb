//! `--json`: every event as a line on standard output, for programs.

use std::io::Write;

use super::Reporter;
use crate::event::Event;

/// Prints events as JSON lines.
pub struct Json;

impl Reporter for Json {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // a closed pipe must not stop the run
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}
