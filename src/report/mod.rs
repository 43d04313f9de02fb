//! What people and programs see of a run: every report is a fold over its events.
//!
//! [`journal`] keeps them under `runs/<id>/`, [`progress`] and [`plain`] talk on stderr while the run goes on,
//! [`json`] prints them as lines, [`summary`] closes with the matrix and the failures. Leaves out: deciding anything.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::event::Event;

pub mod journal;
pub mod json;
pub mod plain;
pub mod progress;
pub mod style;
pub mod summary;
pub mod tally;

pub use tally::Tally;

/// Hears every event of a run, in order.
pub trait Reporter: Send {
    fn event(&mut self, event: &Event);
    /// The run is over: clear what should not stay on the screen.
    fn finish(&mut self) {}
}

/// Hands every event to every reporter until the run's last sender is gone; gives back what came together.
pub async fn fan_out(mut events: UnboundedReceiver<Event>, mut reporters: Vec<Box<dyn Reporter>>) -> Tally {
    let mut tally = Tally::default();
    while let Some(event) = events.recv().await {
        tally.add(&event);
        for reporter in &mut reporters {
            reporter.event(&event);
        }
    }
    for reporter in &mut reporters {
        reporter.finish();
    }
    tally
}
