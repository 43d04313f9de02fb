//! Where events are born: numbered, dated, and with every known secret taken out.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::event::{Event, Kind, Outcome, TaskRef};
use crate::secrets::Redactor;

pub(super) struct Emitter {
    run: String,
    redactor: Redactor,
    out: Mutex<(u64, Option<UnboundedSender<Event>>)>,
}

impl Emitter {
    pub fn new(run: String, redactor: Redactor, out: UnboundedSender<Event>) -> Self {
        Emitter { run, redactor, out: Mutex::new((0, Some(out))) }
    }

    /// A receiver that is gone does not stop the run.
    pub fn emit(&self, mut kind: Kind) {
        self.redact(&mut kind);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.0 += 1;
        let event = Event { at: now(), run: self.run.clone(), seq: out.0, kind };
        if out.1.as_ref().is_none_or(|out| out.send(event).is_err()) {
            tracing::debug!("nobody listens to events any more");
        }
    }

    /// Nothing comes after this, whoever still holds on to the run.
    pub fn close(&self) {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }

    fn redact(&self, kind: &mut Kind) {
        match kind {
            Kind::RunStarted { command, .. } => command.iter_mut().for_each(|word| self.text(word)),
            Kind::TaskStarted { task, .. } => self.task(task),
            Kind::TaskProgress { task, status, .. } => {
                self.task(task);
                self.text(status);
            }
            Kind::ItemFinished { task, outcome, .. } | Kind::TaskFinished { task, outcome, .. } => {
                self.task(task);
                self.outcome(outcome);
            }
            Kind::ServiceFinished { url, url_result, msg, .. } => {
                [url, url_result, msg].into_iter().flatten().for_each(|text| self.text(text));
            }
            Kind::Note { text, .. } => self.text(text),
            Kind::PlayStarted { play, .. } | Kind::PlayFinished { play, .. } | Kind::BatchFinished { play, .. } => {
                self.text(play)
            }
            Kind::HostConnected { .. } | Kind::HostFinished { .. } | Kind::RunFinished { .. } => {}
        }
    }

    fn task(&self, task: &mut TaskRef) {
        self.text(&mut task.name);
        task.item.iter_mut().for_each(|item| self.text(item));
    }

    fn outcome(&self, outcome: &mut Outcome) {
        let mut result = Value::Object(std::mem::take(&mut outcome.result));
        self.redactor.value(&mut result);
        if let Value::Object(result) = result {
            outcome.result = result;
        }
        for diff in &mut outcome.diff {
            for text in [&mut diff.before_header, &mut diff.after_header, &mut diff.before, &mut diff.after] {
                self.text(text);
            }
        }
        outcome.hint.iter_mut().for_each(|hint| self.text(hint));
    }

    fn text(&self, text: &mut String) {
        if let std::borrow::Cow::Owned(redacted) = self.redactor.text(text) {
            *text = redacted;
        }
    }
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
