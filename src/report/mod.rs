//! What people and programs see of a run: every report is a fold over its events.
//!
//! [`journal`] keeps them under `runs/<id>/`, [`progress`] and [`plain`] talk on stderr while the run goes on,
//! [`json`] prints them as lines, [`summary`] closes with the matrix and the failures; [`html`] and [`junit`] write them
//! to files; [`notify`] tells others. Leaves out: deciding anything.

use crate::event::Event;

pub mod causes;
pub mod html;
pub mod journal;
pub mod json;
pub mod junit;
pub mod links;
pub mod metrics;
pub mod notify;
pub mod plain;
pub mod progress;
pub mod say;
pub mod steps;
pub mod style;
pub mod summary;
pub mod tally;
pub mod timeline;

pub use tally::Tally;

/// Hears every event of a run, in order.
pub trait Reporter: Send {
    fn event(&mut self, event: &Event);
    /// The run is over: clear what should not stay on the screen.
    fn finish(&mut self) {}
}

/// Hands every event on to every reporter and keeps the tally.
#[derive(Default)]
pub struct Desk {
    reporters: Vec<Box<dyn Reporter>>,
    tally: Tally,
}

impl Desk {
    pub fn new(reporters: Vec<Box<dyn Reporter>>) -> Desk {
        Desk { reporters, tally: Tally::default() }
    }

    pub fn event(&mut self, event: &Event) {
        self.tally.add(event);
        for reporter in &mut self.reporters {
            reporter.event(event);
        }
    }

    /// Closes all reports; gives back what came together.
    pub fn finish(mut self) -> Tally {
        for reporter in &mut self.reporters {
            reporter.finish();
        }
        self.tally
    }
}
