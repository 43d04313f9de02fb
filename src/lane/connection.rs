//! Connections to hosts and what can be done over them.

use tokio_util::sync::CancellationToken;

use super::{ActError, Become, Hello, Target, Trouble};
use crate::plan::{Answer, Operation, Output, Query};

/// Opens connections: not too many at once, their control sockets in one private directory.
pub struct Connections {}

impl Connections {
    pub fn new(connects_at_once: usize) -> Result<Self, Trouble> {
        let _ = connects_at_once;
        todo!()
    }

    /// Connects and logs in. Retries with jitter where the host turned us away because it was busy.
    pub async fn open(&self, target: &Target, cancel: &CancellationToken) -> Result<Connection, Trouble> {
        let _ = (target, cancel);
        todo!()
    }
}

/// One host: a connection, and lanes over it that are opened when they are first needed.
pub struct Connection {}

impl Connection {
    /// Who and where we are. The first call for a user opens their lane; later ones cost nothing.
    pub async fn hello(&self, who: Option<&Become>) -> Result<Hello, Trouble> {
        let _ = who;
        todo!()
    }

    /// All answers in the order of the queries, in one round trip.
    pub async fn ask(&self, who: Option<&Become>, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        let _ = (who, queries);
        todo!()
    }

    /// Carries out operations in order and stops at the first that fails. Neighbouring small writes and scripts share
    /// a round trip. One output per operation; that of a write with `backup` has the backup's path on stdout.
    pub async fn act(&self, who: Option<&Become>, operations: &[Operation]) -> Result<Vec<Output>, ActError> {
        let _ = (who, operations);
        todo!()
    }

    /// How often this connection has waited for the host since it stood.
    pub fn round_trips(&self) -> u64 {
        todo!()
    }

    /// Ends the lanes and the connection.
    pub async fn close(self) {
        todo!()
    }
}
