//! Why a host could not be reached or spoken to, each with what to do about it.

use std::fmt;

use crate::event::Cause;
use crate::plan::{Failure, Output};

/// The host could not go on for a reason that is not the task's.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub cause: Cause,
    /// Lowercase, names the thing.
    pub msg: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Trouble {
    pub fn new(cause: Cause, msg: impl Into<String>) -> Self {
        Trouble { cause, msg: msg.into(), hint: None }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n       hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

/// How [`Connection::act`](super::Connection::act) ends when it does not end well.
#[derive(Clone, Debug, PartialEq)]
pub enum ActError {
    /// The wire failed: it is unknown whether the operations that had not answered yet were carried out.
    Trouble(Trouble),
    /// Operation `index` failed; those before it are done (`done` holds their outputs), those after it were not begun.
    Failed {
        index: usize,
        failure: Failure,
        /// `Task`, or `DiskFull` where the host said so.
        cause: Cause,
        done: Vec<Output>,
    },
}

impl From<Trouble> for ActError {
    fn from(trouble: Trouble) -> Self {
        ActError::Trouble(trouble)
    }
}
