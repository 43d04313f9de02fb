//! What is said on standard output and standard error.
//!
//! A reader who has seen enough and left (`provision status | head`) is no fault of the run. The standard macros panic then,
//! which would end a rollout in the middle; those of this crate (in `lib.rs`) come here.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// Writes to standard output; whether it can be read is [`nobody_reads`] to tell.
pub fn out(text: Arguments<'_>) {
    if std::io::stdout().write_fmt(text).is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        NOBODY_READS.store(true, Ordering::SeqCst);
    }
}

/// Writes to standard error, as far as that is possible.
pub fn err(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// The reader of standard output has left: what would go on until it is stopped may end.
pub fn nobody_reads() -> bool {
    NOBODY_READS.load(Ordering::SeqCst)
}
