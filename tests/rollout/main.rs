//! The proof that counts: the real program rolls the repository's own example out to real hosts, which then fail, and
//! it is killed and interrupted, and everything it leaves behind is searched for secrets.
//!
//! One lab serves all tests of this file; each test has hosts of its own in it, and one runs at a time. Left out: what
//! single modules and packages do; their own tests say that.

mod failures;
mod fleet;
mod interruptions;
mod leaks;
mod processes;
mod stage;
