//! What the engine knows of one host's connections: opened when first needed, asked ahead of time, locked before the
//! first change.
//!
//! An answer that was fetched ahead of time is used only if the same question is asked and nothing was done on the
//! host in between: every operation bumps the epoch by emptying the store. Operations carry questions behind them in
//! the same request; those are asked after the deed, so they belong to the new epoch. So the store changes the clock
//! and nothing else.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::emit::Emitter;
use super::lock::{self, Claim};
use crate::event::{Cause, Kind};
use crate::lane::{ActError, Acted, Become, Connection, Connections, Hello, Target, Trouble};
use crate::plan::{Answer, Operation, Output, Query};

/// How many tasks the first question is about, at most: not yet known is whether the host is as wanted.
const FIRST: usize = 16;

/// All connections of one host; nearly always one.
pub(super) struct Wire {
    host: String,
    links: tokio::sync::Mutex<Vec<(String, Arc<Link>)>>,
    window: AtomicUsize,
    locked: tokio::sync::Mutex<Option<Holding>>,
    /// The lock was had once in this run.
    had: AtomicBool,
    /// Lanes that were given up; their round trips still count.
    closed_trips: AtomicU64,
}

struct Link {
    connection: Connection,
    ahead: Mutex<Store>,
    greeted: AtomicBool,
}

/// Answers fetched ahead of time.
#[derive(Default)]
struct Store {
    epoch: u64,
    answers: Vec<(Option<Become>, Query, Answer)>,
    /// A question that was asked ahead hung, or broke the lane: no more of that, since it takes time at every turn.
    spoilt: bool,
}

struct Holding {
    link: Arc<Link>,
    who: Option<Become>,
    claim: Claim,
    /// The process on the host with which the lock ends.
    lane: Option<u32>,
    pulse: Pulse,
}

/// Signs of life for as long as the lock is held.
struct Pulse {
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// How much is asked ahead of time behind a change.
#[derive(Clone, Copy, Default)]
pub(super) struct Ahead {
    /// About so many tasks at most.
    pub limit: usize,
    /// It is said to change nothing.
    pub calm: bool,
}

/// How a change went that nothing went wrong with.
pub(super) enum Turn {
    Done(Vec<Output>),
    /// Nothing was done: another run has the host, and left this note.
    Held(String),
}

/// One task's way to a host: which connection, as whom.
pub(super) struct Way<'w> {
    pub wire: &'w Wire,
    link: Arc<Link>,
    pub who: Option<Become>,
    pub hello: Hello,
    patience: Patience<'w>,
}

/// After Ctrl-C what runs may still end, but not for ever.
#[derive(Clone, Copy)]
pub(super) struct Patience<'w> {
    pub cancel: &'w CancellationToken,
    pub grace: Duration,
}

impl Wire {
    pub fn new(host: String, window: usize) -> Self {
        Wire {
            host,
            links: tokio::sync::Mutex::default(),
            window: AtomicUsize::new(window.min(FIRST)),
            locked: tokio::sync::Mutex::default(),
            had: AtomicBool::new(false),
            closed_trips: AtomicU64::new(0),
        }
    }

    /// Connects if there is no connection to this target yet, and opens the user's lane.
    pub async fn way<'w>(
        &'w self,
        target: &Target,
        who: Option<Become>,
        connections: &Connections,
        patience: Patience<'w>,
        emit: &Emitter,
    ) -> Result<Way<'w>, Trouble> {
        let key = format!("{target:?}");
        let begin = Instant::now();
        let link = {
            let mut links = self.links.lock().await;
            match links.iter().find(|(known, _)| *known == key) {
                Some((_, link)) => link.clone(),
                None => {
                    let connection = connections.open(target, patience.cancel).await?;
                    let link = Arc::new(Link { connection, ahead: Mutex::default(), greeted: AtomicBool::new(false) });
                    links.push((key, link.clone()));
                    link
                }
            }
        };
        let hello = patience.bounds(link.connection.hello(who.as_ref())).await?;
        if !link.greeted.swap(true, Ordering::SeqCst) {
            let took_ms = begin.elapsed().as_millis() as u64;
            emit.emit(Kind::HostConnected { host: self.host.clone(), took_ms });
        }
        Ok(Way { wire: self, link, who, hello, patience })
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

    /// The same for good, after Ctrl-C: what still runs on the host is left alone, and the lock with it.
    pub async fn leave(&self) {
        {
            let mut locked = self.locked.lock().await;
            if let Some(holding) = &*locked
                && !holding.stands().await
            {
                *locked = None;
            }
        }
        self.reset().await;
    }

    pub async fn release(&self) {
        if let Some(holding) = self.locked.lock().await.take() {
            holding.pulse.stop().await;
            // given up freely: who works here now is not in the way of a next time
            self.had.store(false, Ordering::SeqCst);
            let release = [holding.claim.release()];
            let released = holding.link.connection.act(holding.who.as_ref(), &release);
            match tokio::time::timeout(Duration::from_secs(5), released).await {
                Ok(Ok(_)) => {}
                // the holder ends with the connection
                Ok(Err(_)) | Err(_) => tracing::debug!(host = self.host, "the lock was left to end by itself"),
            }
        }
    }

    /// How many tasks to ask about ahead of time now, and at most. Twice as many the next time.
    fn widen(&self, limit: usize) -> usize {
        let now = self.window.load(Ordering::SeqCst).min(limit);
        self.window.store((now * 2).clamp(1, limit.max(1)), Ordering::SeqCst);
        now
    }

    /// The same behind a change, of which more are likely to come: half as many the next time.
    fn narrow(&self, limit: usize) -> usize {
        let now = self.window.load(Ordering::SeqCst).min(limit);
        self.window.store((now / 2).max(2), Ordering::SeqCst);
        now
    }
}

impl Link {
    /// → the new epoch
    fn forget(&self) -> u64 {
        let mut ahead = self.ahead();
        ahead.epoch += 1;
        ahead.answers.clear();
        ahead.epoch
    }

    fn ahead(&self) -> MutexGuard<'_, Store> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Takes in answers, unless something was done since they were asked.
    fn keep(&mut self, epoch: u64, who: &Option<Become>, queries: Vec<Query>, answers: Option<Vec<Answer>>) {
        let Some(answers) = answers else {
            self.spoilt = true;
            return;
        };
        if self.epoch == epoch {
            let pairs = queries.into_iter().zip(answers);
            self.answers.extend(pairs.map(|(query, answer)| (who.clone(), query, answer)));
        }
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
        let window = if limit == 0 || self.link.ahead().spoilt { 0 } else { self.wire.widen(limit) };
        let foreseen = if window == 0 { Vec::new() } else { more(window) };
        let epoch = self.link.ahead().epoch;
        let asked = self.link.connection.ask_ahead(self.who.as_ref(), queries, &foreseen);
        let (answers, further) = self.patience.bounds(asked).await?;
        self.link.ahead().keep(epoch, &self.who, foreseen, further);
        Ok(answers)
    }

    /// Answers as of now, never from the store.
    pub async fn ask_anew(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        self.link.forget();
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        self.patience.bounds(self.link.connection.ask(self.who.as_ref(), queries)).await
    }

    fn stored(&self, queries: &[Query]) -> Option<Vec<Answer>> {
        let mut ahead = self.link.ahead();
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
        match self.act(Some(claim), &[], &[], Ahead::default(), |_| Vec::new()).await? {
            Turn::Done(_) => Ok(None),
            Turn::Held(note) => Ok(Some(note)),
        }
    }

    /// Changes the host, which the first change's request locks for this run, if there is a claim. What will be asked next, by `again` and
    /// by what `more` foresees, is asked behind the operations.
    pub async fn act(
        &self,
        claim: Option<&Claim>,
        operations: &[Operation],
        again: &[Query],
        ahead: Ahead,
        more: impl FnOnce(usize) -> Vec<Query>,
    ) -> Result<Turn, ActError> {
        let mut locked = self.wire.locked.lock().await;
        if claim.is_some()
            && let Some(holding) = &*locked
            && !holding.stands().await
        {
            *locked = None;
        }
        // while the lock is not ours, nobody else changes anything for this run either
        let taking = claim.zip(Some(locked).filter(|locked| locked.is_none()));
        let mut queries = Vec::new();
        // these two end without a request that questions could be part of
        let silent = matches!(operations.last(), Some(Operation::Fetch { .. } | Operation::Reconnect));
        if ahead.limit > 0 && !silent && !self.link.ahead().spoilt {
            queries.extend_from_slice(again);
            let window = if ahead.calm { self.wire.widen(ahead.limit) } else { self.wire.narrow(ahead.limit) };
            queries.extend(more(window));
        }
        let epoch = self.link.forget();
        let outcome = match taking {
            None => self.carried(operations, &queries).await,
            Some((claim, mut locked)) => {
                let claim = Claim { again: self.wire.had.load(Ordering::SeqCst), ..claim.clone() };
                let link = self.link.clone();
                let lane = link.connection.lane_process(self.who.as_ref()).await;
                let with_lock: Vec<Operation> =
                    std::iter::once(claim.take()).chain(operations.iter().cloned()).collect();
                match self.carried(&with_lock, &queries).await {
                    Err(ActError::Failed { index: 0, failure, .. }) if lock::is_held(&failure) => {
                        self.link.forget();
                        return Ok(Turn::Held(lock::note_of(&failure)));
                    }
                    // without the lock nothing was done
                    outcome @ Err(ActError::Failed { index: 0, .. } | ActError::Trouble(_)) => outcome,
                    outcome => {
                        self.wire.had.store(true, Ordering::SeqCst);
                        let pulse = Pulse::start(&link, self.who.clone(), claim.clone(), lane);
                        *locked = Some(Holding { link, who: self.who.clone(), claim: claim.clone(), lane, pulse });
                        without_first(outcome)
                    }
                }
            }
        };
        let mut ahead = self.link.ahead();
        let undisturbed = ahead.epoch == epoch;
        ahead.epoch += 1;
        ahead.answers.clear();
        let acted = outcome?;
        if undisturbed && !queries.is_empty() {
            let epoch = ahead.epoch;
            ahead.keep(epoch, &self.who, queries, acted.answers);
        }
        Ok(Turn::Done(acted.outputs))
    }

    async fn carried(&self, operations: &[Operation], queries: &[Query]) -> Result<Acted, ActError> {
        self.patience.bounds(self.link.connection.act_then_ask(self.who.as_ref(), operations, queries)).await
    }
}

impl Pulse {
    /// Through the lane itself: a lane that is at work, or gone, gives none.
    fn start(link: &Arc<Link>, who: Option<Become>, claim: Claim, lane: Option<u32>) -> Pulse {
        let (link, end) = (Arc::downgrade(link), CancellationToken::new());
        let ended = end.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => break,
                    () = tokio::time::sleep(claim.pulse()) => {}
                }
                let Some(link) = link.upgrade() else { break };
                if !link.connection.lane_stands(who.as_ref(), lane).await {
                    break;
                }
                if let Err(error) = link.connection.act(who.as_ref(), &[claim.beat()]).await {
                    tracing::debug!("no sign of life could be given: {error:?}");
                }
            }
        });
        Pulse { end, task }
    }

    async fn stop(mut self) {
        self.end.cancel();
        if tokio::time::timeout(Duration::from_secs(5), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Holding {
    /// The lock ends with the lane; one that had to be given up took it along.
    async fn stands(&self) -> bool {
        self.link.connection.lane_stands(self.who.as_ref(), self.lane).await
    }
}

/// What is told of operations without the first of them.
fn without_first(outcome: Result<Acted, ActError>) -> Result<Acted, ActError> {
    match outcome {
        Ok(mut acted) => {
            acted.outputs.drain(..1.min(acted.outputs.len()));
            Ok(acted)
        }
        Err(ActError::Failed { index, failure, cause, mut done }) => {
            done.drain(..1.min(done.len()));
            Err(ActError::Failed { index: index.saturating_sub(1), failure, cause, done })
        }
        Err(trouble) => Err(trouble),
    }
}

impl Patience<'_> {
    async fn bounds<T, E: From<Trouble>>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            done = work => done,
            () = async { self.cancel.cancelled().await; tokio::time::sleep(self.grace).await } => {
                let seconds = self.grace.as_secs();
                let msg = format!("interrupted; {seconds} s later the host was still busy with this task, and may be yet");
                let hint = "what still runs there is left to end by itself; the next run waits for that, looks again and goes on";
                Err(Trouble::new(Cause::Interrupted, msg).hint(hint).into())
            }
        }
    }
}
