//! What the engine knows of one host's connections: opened when first needed, asked ahead of time, locked before the
//! first change.
//!
//! An answer that was fetched ahead of time is used only if the same question is asked and nothing was done on the
//! host in between: every operation bumps the epoch by emptying the store. So the store changes the clock and nothing
//! else.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::emit::Emitter;
use super::lock::{self, Claim};
use crate::event::{Cause, Kind};
use crate::lane::{ActError, Become, Connection, Connections, Hello, Target, Trouble};
use crate::plan::{Answer, Operation, Output, Query};

/// After Ctrl-C, what runs on a host has this long to come to its end.
const GRACE: Duration = Duration::from_secs(30);

/// All connections of one host; nearly always one.
pub(super) struct Wire {
    host: String,
    links: tokio::sync::Mutex<Vec<(String, Arc<Link>)>>,
    window: AtomicUsize,
    locked: tokio::sync::Mutex<Option<Holding>>,
    /// Lanes that were given up; their round trips still count.
    closed_trips: AtomicU64,
}

struct Link {
    connection: Connection,
    ahead: Mutex<Ahead>,
    greeted: AtomicBool,
}

/// Answers fetched ahead of time.
#[derive(Default)]
struct Ahead {
    epoch: u64,
    answers: Vec<(Option<Become>, Query, Answer)>,
}

struct Holding {
    link: Arc<Link>,
    who: Option<Become>,
    claim: Claim,
}

/// One task's way to a host: which connection, as whom.
pub(super) struct Way<'w> {
    pub wire: &'w Wire,
    link: Arc<Link>,
    pub who: Option<Become>,
    pub hello: Hello,
    cancel: &'w CancellationToken,
    forks: &'w Semaphore,
}

impl Wire {
    pub fn new(host: String, window: usize) -> Self {
        Wire {
            host,
            links: tokio::sync::Mutex::default(),
            window: AtomicUsize::new(window.min(8)),
            locked: tokio::sync::Mutex::default(),
            closed_trips: AtomicU64::new(0),
        }
    }

    /// Connects if there is no connection to this target yet, and opens the user's lane.
    pub async fn way<'w>(
        &'w self,
        target: &Target,
        who: Option<Become>,
        connections: &Connections,
        cancel: &'w CancellationToken,
        forks: &'w Semaphore,
        emit: &Emitter,
    ) -> Result<Way<'w>, Trouble> {
        let key = format!("{target:?}");
        let begin = Instant::now();
        let link = {
            let mut links = self.links.lock().await;
            match links.iter().find(|(known, _)| *known == key) {
                Some((_, link)) => link.clone(),
                None => {
                    let connection = connections.open(target, cancel).await?;
                    let link = Arc::new(Link { connection, ahead: Mutex::default(), greeted: AtomicBool::new(false) });
                    links.push((key, link.clone()));
                    link
                }
            }
        };
        let hello = bounded(cancel, link.connection.hello(who.as_ref())).await?;
        if !link.greeted.swap(true, Ordering::SeqCst) {
            let took_ms = begin.elapsed().as_millis() as u64;
            emit.emit(Kind::HostConnected { host: self.host.clone(), took_ms });
        }
        Ok(Way { wire: self, link, who, hello, cancel, forks })
    }

    /// Forgets what was fetched ahead: something outside of this connection may have changed the host.
    pub async fn forget(&self) {
        for (_, link) in &*self.links.lock().await {
            link.forget();
        }
    }

    pub async fn round_trips(&self) -> u64 {
        let links = self.links.lock().await;
        let open: u64 = links.iter().map(|(_, link)| link.connection.round_trips()).sum();
        open + self.closed_trips.load(Ordering::SeqCst)
    }

    /// Closes all connections, so that the next task connects anew.
    pub async fn reset(&self) {
        self.release().await;
        let links = std::mem::take(&mut *self.links.lock().await);
        for (_, link) in links {
            self.closed_trips.fetch_add(link.connection.round_trips(), Ordering::SeqCst);
            if let Ok(link) = Arc::try_unwrap(link) {
                link.connection.close().await;
            }
        }
    }

    async fn release(&self) {
        if let Some(holding) = self.locked.lock().await.take() {
            let release = [holding.claim.release()];
            let released = holding.link.connection.act(holding.who.as_ref(), &release);
            match tokio::time::timeout(Duration::from_secs(5), released).await {
                Ok(Ok(_)) => {}
                // the holder ends with the connection
                Ok(Err(_)) | Err(_) => tracing::debug!(host = self.host, "the lock was left to end by itself"),
            }
        }
    }

    /// How many tasks to ask about ahead of time now, and at most.
    fn widen(&self, limit: usize) -> usize {
        let now = self.window.load(Ordering::SeqCst).min(limit);
        self.window.store((now * 2).clamp(1, limit.max(1)), Ordering::SeqCst);
        now
    }
}

impl Link {
    fn forget(&self) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.epoch += 1;
        ahead.answers.clear();
    }
}

impl Way<'_> {
    /// Answers from the store, or from the host together with the questions that `more` foresees.
    pub async fn ask(
        &self,
        queries: &[Query],
        limit: usize,
        more: impl FnOnce(usize) -> Vec<Query>,
    ) -> Result<Vec<Answer>, Trouble> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(answers) = self.stored(queries) {
            return Ok(answers);
        }
        let window = if limit == 0 { 0 } else { self.wire.widen(limit) };
        let foreseen = if window == 0 { Vec::new() } else { more(window) };
        let epoch = self.link.ahead.lock().unwrap_or_else(PoisonError::into_inner).epoch;
        let mut all = queries.to_vec();
        all.extend(foreseen.iter().cloned());
        let mut answers = self.turn(self.link.connection.ask(self.who.as_ref(), &all)).await?;
        let extra = answers.split_off(queries.len().min(answers.len()));
        let mut ahead = self.link.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.epoch == epoch {
            let who = &self.who;
            ahead.answers.extend(foreseen.into_iter().zip(extra).map(|(query, answer)| (who.clone(), query, answer)));
        }
        Ok(answers)
    }

    /// Answers as of now, never from the store.
    pub async fn ask_anew(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        self.link.forget();
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        self.turn(self.link.connection.ask(self.who.as_ref(), queries)).await
    }

    fn stored(&self, queries: &[Query]) -> Option<Vec<Answer>> {
        let mut ahead = self.link.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<usize> = Vec::new();
        for query in queries {
            let found =
                ahead.answers.iter().enumerate().position(|(index, (who, known, _))| {
                    *who == self.who && known == query && !taken.contains(&index)
                })?;
            taken.push(found);
        }
        let answers = taken.iter().map(|index| ahead.answers[*index].2.clone()).collect();
        let mut index = 0;
        ahead.answers.retain(|_| {
            index += 1;
            !taken.contains(&(index - 1))
        });
        Some(answers)
    }

    /// Locks the host for this run, once. Gives back the note of whoever holds it instead.
    pub async fn claim(&self, claim: &Claim) -> Result<Option<String>, ActError> {
        let mut locked = self.wire.locked.lock().await;
        if locked.is_some() {
            return Ok(None);
        }
        let taken = self.turn(self.link.connection.act(self.who.as_ref(), &[claim.take()])).await?;
        if let Some(output) = taken.first().filter(|output| output.rc == lock::HELD) {
            return Ok(Some(output.stdout_text()));
        }
        *locked = Some(Holding { link: self.link.clone(), who: self.who.clone(), claim: claim.clone() });
        Ok(None)
    }

    /// Changes the host, which was claimed before.
    pub async fn act(&self, operations: &[Operation]) -> Result<Vec<Output>, ActError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        self.link.forget();
        self.wire.window.store(1, Ordering::SeqCst);
        let outcome = self.turn(self.link.connection.act(self.who.as_ref(), operations)).await;
        self.link.forget();
        outcome
    }
}

impl Way<'_> {
    /// One of the hosts that are worked on at once; nobody holds a place while merely waiting.
    async fn turn<T, E: From<Trouble>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // the semaphore is never closed
        let _place = self.forks.acquire().await;
        bounded(self.cancel, work).await
    }
}

/// After Ctrl-C what runs may still end, but not for ever.
async fn bounded<T, E: From<Trouble>>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        done = work => done,
        () = async { cancel.cancelled().await; tokio::time::sleep(GRACE).await } => {
            Err(Trouble::new(Cause::Interrupted, "interrupted while the host was still at work").into())
        }
    }
}
