//! Connections to hosts and what can be done over them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::channel::Link;
use super::frame::{KEPT, Step};
use super::master::{Base, Master};
use super::questions::Questions;
use super::shell::{End, Exchange, Shell};
use super::trouble::{lost, lost_for_good};
use super::{ActError, Become, BecomeMethod, Hello, Method, Target, Trouble, deeds, questions, transfer};
use crate::event::Cause;
use crate::plan::{Answer, Destination, Failure, Operation, Output, Query, Upload, Write};

/// How long [`Operation::Reconnect`] waits for a host to come back.
const REBOOT: Duration = Duration::from_secs(300);

/// Opens connections: not too many at once, their control sockets in one private directory.
pub struct Connections {
    base: Arc<Base>,
}

impl Connections {
    pub fn new(connects_at_once: usize) -> Result<Self, Trouble> {
        Ok(Connections { base: Base::new(connects_at_once)? })
    }

    /// Connects and logs in. Retries with jitter where the host turned us away because it was busy.
    pub async fn open(&self, target: &Target, cancel: &CancellationToken) -> Result<Connection, Trouble> {
        let master = match target.method {
            Method::Local => None,
            Method::Ssh => Some(Master::open(&self.base, target, cancel).await?),
        };
        Ok(Connection {
            base: Arc::clone(&self.base),
            target: target.clone(),
            cancel: cancel.clone(),
            master: Mutex::new(master),
            lanes: Mutex::default(),
            round_trips: AtomicU64::new(0),
        })
    }
}

/// One host: a connection, and lanes over it that are opened when they are first needed.
pub struct Connection {
    base: Arc<Base>,
    target: Target,
    cancel: CancellationToken,
    /// None for the local host, and after the connection was lost: the next call connects again.
    master: Mutex<Option<Master>>,
    lanes: Mutex<HashMap<User, Arc<Mutex<Lane>>>>,
    round_trips: AtomicU64,
}

/// Whose lane: None is the login user's.
type User = Option<(BecomeMethod, String)>;

/// One user's place on a connection.
#[derive(Default)]
struct Lane {
    shell: Option<Shell>,
    /// The process group of a shell that was left in the middle of a request; the next one ends it.
    abandoned: Option<u32>,
}

/// What [`Connection::act_then_ask`] brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Acted {
    /// One per operation; that of a write with `backup` has the backup's path on stdout.
    pub outputs: Vec<Output>,
    /// `None`: the questions have to be asked again.
    pub answers: Option<Vec<Answer>>,
}

impl Connection {
    /// Who and where we are. The first call for a user opens their lane; later ones cost nothing.
    pub async fn hello(&self, who: Option<&Become>) -> Result<Hello, Trouble> {
        let lane = self.lane(who).await;
        let mut lane = lane.lock().await;
        let shell = self.shell(&mut lane, who).await?;
        let hello = shell.hello.clone();
        lane.shell = Some(shell);
        Ok(hello)
    }

    /// All answers in the order of the queries, in one round trip.
    pub async fn ask(&self, who: Option<&Become>, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        Ok(self.ask_ahead(who, queries, &[]).await?.0)
    }

    /// The same with further questions behind them in the same request. What goes wrong with those never concerns the
    /// first: then they have no answers.
    pub async fn ask_ahead(
        &self,
        who: Option<&Become>,
        queries: &[Query],
        further: &[Query],
    ) -> Result<(Vec<Answer>, Option<Vec<Answer>>), Trouble> {
        let (questions, further) = (questions::compile(queries), questions::compile(further));
        let keep = questions.keep.max(further.keep);
        let own = questions.steps.len();
        let steps: Vec<Step> = questions.steps.iter().chain(&further.steps).cloned().collect();
        let mut outputs = Vec::with_capacity(steps.len());
        while outputs.len() < own {
            let rest = &steps[outputs.len()..];
            let exchange = self.request(who, rest, own - outputs.len(), keep).await?;
            let seconds = rest.get(exchange.outputs.len()).map_or(0, |step| step.timeout.as_secs());
            outputs.extend(exchange.outputs);
            if let End::TimedOut(mut output) = exchange.end
                && outputs.len() < own
            {
                // one question that hangs does not leave the others unanswered
                output.stderr.extend_from_slice(format!("timed out after {seconds} s\n").as_bytes());
                outputs.push(output);
            }
        }
        let behind = outputs.split_off(own);
        let answered = behind.len() == further.steps.len();
        Ok((questions.answers(&outputs), answered.then(|| further.answers(&behind))))
    }

    /// Carries out operations in order and stops at the first that fails. Neighbouring small writes and scripts share
    /// a round trip.
    pub async fn act(&self, who: Option<&Become>, operations: &[Operation]) -> Result<Vec<Output>, ActError> {
        Ok(self.act_then_ask(who, operations, &[]).await?.outputs)
    }

    /// Carries out operations and asks afterwards, in the last operation's own request where that is one. What goes
    /// wrong with the questions never concerns the operations: then there are no answers.
    pub async fn act_then_ask(
        &self,
        who: Option<&Become>,
        operations: &[Operation],
        queries: &[Query],
    ) -> Result<Acted, ActError> {
        let questions = questions::compile(queries);
        let mut answers = None;
        let mut done: Vec<Output> = Vec::with_capacity(operations.len());
        while done.len() < operations.len() {
            let first = done.len();
            let mut steps = Vec::new();
            let mut size = 0;
            let mut refused = None;
            for operation in &operations[first..] {
                match deeds::step(operation) {
                    Some(Ok(step)) => {
                        size += step.text.len() + step.stdin.as_ref().map_or(0, Vec::len);
                        if size > deeds::REQUEST && !steps.is_empty() {
                            break;
                        }
                        steps.push(step);
                    }
                    Some(Err(failure)) => {
                        refused = Some(failure);
                        break;
                    }
                    None => break,
                }
            }
            if !steps.is_empty() {
                answers = self.carry_out(who, steps, operations, &questions, &mut done).await?;
            } else if let Some(failure) = refused {
                return Err(ActError::Failed { index: first, failure, cause: Cause::Task, done });
            } else {
                answers = self.alone(who, operations, &questions, &mut done).await?;
            }
        }
        Ok(Acted { outputs: done, answers })
    }

    /// One request; `operations[done.len()..]` begin with those of the steps. The questions follow the last operation.
    async fn carry_out(
        &self,
        who: Option<&Become>,
        mut steps: Vec<Step>,
        operations: &[Operation],
        questions: &Questions<'_>,
        done: &mut Vec<Output>,
    ) -> Result<Option<Vec<Answer>>, ActError> {
        let first = done.len();
        let deeds = steps.len();
        let asks = first + deeds == operations.len() && !questions.steps.is_empty();
        if asks {
            steps.extend(questions.steps.iter().cloned());
        }
        let Exchange { mut outputs, end } = self.request(who, &steps, deeds, questions.keep).await?;
        let answers = outputs.split_off(deeds.min(outputs.len()));
        for (output, step) in outputs.into_iter().zip(&steps) {
            let index = done.len();
            if step.accept.as_ref().is_some_and(|codes| !codes.contains(&output.rc)) {
                return Err(deeds::failed(index, &operations[index], &output, std::mem::take(done)));
            }
            done.push(output);
        }
        if done.len() == first + deeds {
            let answered = asks && answers.len() == questions.steps.len();
            return Ok(answered.then(|| questions.answers(&answers)));
        }
        if let End::TimedOut(output) = end {
            let index = done.len();
            let seconds = steps.get(index - first).map_or(0, |step| step.timeout.as_secs());
            return Err(deeds::timed_out(index, &operations[index], seconds, &output, std::mem::take(done)));
        }
        Err(Trouble::new(Cause::Lost, "the host left a request unfinished").into())
    }

    /// The next operation, which is more than a step of a request. An upload's last step is one.
    async fn alone(
        &self,
        who: Option<&Become>,
        operations: &[Operation],
        questions: &Questions<'_>,
        done: &mut Vec<Output>,
    ) -> Result<Option<Vec<Answer>>, ActError> {
        let index = done.len();
        let local = |what: String| Failure::new(what).hint("this is a file of the controller");
        let failed = |failure: Failure, done: &mut Vec<Output>| ActError::Failed {
            index,
            failure,
            cause: Cause::Task,
            done: std::mem::take(done),
        };
        match &operations[index] {
            Operation::Write(Write { to, content }) => {
                let checksum = sha256(content);
                self.upload(who, (to, &checksum), content.as_slice(), operations, questions, done).await
            }
            Operation::Upload(Upload { to, from, checksum }) => match transfer::load(from).await {
                Ok(file) => self.upload(who, (to, checksum), file, operations, questions, done).await,
                Err(why) => Err(failed(local(why), done)),
            },
            Operation::Fetch { path, to } => {
                let link = self.link().await?;
                let output = transfer::download(&link, who, path, to, &|trips| self.spent(trips)).await;
                match self.unless_lost(output).await? {
                    output if output.rc == 0 => done.push(output),
                    output => return Err(deeds::failed(index, &operations[index], &output, std::mem::take(done))),
                }
                Ok(None)
            }
            Operation::Reconnect => {
                self.reconnect().await?;
                done.push(Output::default());
                Ok(None)
            }
            Operation::Run { .. } => Err(failed(Failure::new("a script is always part of a request"), done)),
        }
    }

    async fn upload(
        &self,
        who: Option<&Become>,
        (to, checksum): (&Destination, &str),
        mut source: impl tokio::io::AsyncRead + Unpin,
        operations: &[Operation],
        questions: &Questions<'_>,
        done: &mut Vec<Output>,
    ) -> Result<Option<Vec<Answer>>, ActError> {
        let index = done.len();
        let temporary = deeds::temporary_name()?;
        let install = match deeds::install_step(&temporary, to, checksum) {
            Ok(step) => step,
            Err(failure) => {
                return Err(ActError::Failed { index, failure, cause: Cause::Task, done: std::mem::take(done) });
            }
        };
        let link = self.link().await?;
        let names = (to.path.as_str(), temporary.as_str(), checksum);
        let output = transfer::upload(&link, who, names, &mut source, &|trips| self.spent(trips)).await;
        let output = self.unless_lost(output).await?;
        if output.rc != 0 {
            return Err(deeds::failed(index, &operations[index], &output, std::mem::take(done)));
        }
        self.carry_out(who, vec![install], operations, questions, done).await
    }

    /// The process at the other end of a user's lane; `None` if none is open.
    pub async fn lane_process(&self, who: Option<&Become>) -> Option<u32> {
        let lane = self.lane(who).await;
        let lane = lane.lock().await;
        lane.shell.as_ref().map(|shell| shell.hello.pid)
    }

    /// Whether that is still the process of the user's lane. Does not wait for one that is at work: it is there.
    pub async fn lane_stands(&self, who: Option<&Become>, process: Option<u32>) -> bool {
        let lane = self.lane(who).await;
        match lane.try_lock() {
            Ok(lane) => lane.shell.as_ref().map(|shell| shell.hello.pid) == process,
            Err(_) => true,
        }
    }

    /// How often this connection has waited for the host since it stood.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Ends the lanes and the connection.
    pub async fn close(self) {
        tracing::debug!(host = self.target.name, round_trips = self.round_trips(), "closing");
        self.lanes.into_inner().clear();
        if let Some(master) = self.master.into_inner() {
            master.stop().await;
        }
    }

    fn spent(&self, trips: u64) {
        self.round_trips.fetch_add(trips, Ordering::Relaxed);
    }

    async fn lane(&self, who: Option<&Become>) -> Arc<Mutex<Lane>> {
        let key = who.map(|who| (who.method, who.user.clone()));
        Arc::clone(self.lanes.lock().await.entry(key).or_default())
    }

    /// What channels go over; connects again if the connection was lost before.
    pub(super) async fn link(&self) -> Result<Link, Trouble> {
        if self.target.method == Method::Local {
            return Ok(Link::Local);
        }
        let mut master = self.master.lock().await;
        let master = match &mut *master {
            Some(master) => master,
            none => {
                let opened = Master::open(&self.base, &self.target, &self.cancel).await;
                none.insert(opened.map_err(|trouble| lost_for_good(&self.target, trouble))?)
            }
        };
        Ok(Link::Ssh(Arc::clone(&master.session)))
    }

    /// Takes the lane's shell, or opens one, which first ends what an earlier one left behind.
    async fn shell(&self, lane: &mut Lane, who: Option<&Become>) -> Result<Shell, Trouble> {
        if let Some(shell) = lane.shell.take() {
            return Ok(shell);
        }
        let link = self.link().await?;
        let opened = Shell::open(&link, who, &self.target.shell, &|trips| self.spent(trips)).await;
        let mut shell = self.unless_lost(opened).await?;
        if let Some(group) = lane.abandoned.take().filter(|group| *group > 1 && *group != shell.hello.pgid) {
            self.spent(1);
            let end = [Step { timeout: Duration::from_secs(30), ..Step::new(format!("_pv_end {group}")) }];
            match shell.exchange(&end, KEPT).await?.end {
                End::Complete => {}
                _ => return Err(self.gone().await),
            }
        }
        Ok(shell)
    }

    /// One request on a user's lane: one round trip. After a step that timed out, the lane is a new one, and what ran
    /// in the old one is ended. Dropping the future leaves that to the next request. Trouble that comes after the
    /// first `needed` steps is passed over: the next request finds out for itself what still stands.
    async fn request(
        &self,
        who: Option<&Become>,
        steps: &[Step],
        needed: usize,
        keep: usize,
    ) -> Result<Exchange, Trouble> {
        let lane = self.lane(who).await;
        let mut lane = lane.lock().await;
        let mut shell = self.shell(&mut lane, who).await?;
        lane.abandoned = Some(shell.hello.pgid);
        self.spent(1);
        let exchange = shell.exchange(steps, keep).await?;
        tracing::trace!(host = self.target.name, steps = steps.len(), ended = exchange.outputs.len(), "request");
        let trouble = match exchange.end {
            End::Complete => {
                lane.abandoned = None;
                lane.shell = Some(shell);
                return Ok(exchange);
            }
            End::TimedOut(_) => {
                drop(shell);
                match self.shell(&mut lane, who).await {
                    Ok(shell) => {
                        lane.shell = Some(shell);
                        return Ok(exchange);
                    }
                    Err(trouble) => trouble,
                }
            }
            End::Lost { .. } => {
                lane.abandoned = None;
                drop(shell);
                self.gone().await
            }
            End::Silent => {
                drop(shell);
                Trouble::new(Cause::Timeout, format!("{} stopped answering", self.target.shown()))
                    .hint("the host may be overloaded or out of memory")
            }
        };
        match exchange.outputs.len() >= needed && needed < steps.len() {
            true => Ok(exchange),
            false => Err(trouble),
        }
    }

    /// A lane ended in the middle: was it the connection or only the shell?
    async fn gone(&self) -> Trouble {
        let mut master = self.master.lock().await;
        let alive = match &*master {
            Some(master) => master.is_alive().await,
            None => self.target.method == Method::Local,
        };
        if alive {
            return Trouble::new(Cause::Lost, "the shell on the host ended in the middle of a script")
                .hint("it was killed: by the script itself, or for lack of memory (look with `dmesg` on the host)");
        }
        *master = None;
        lost(&self.target, "in the middle of a script")
    }

    /// Forgets the connection if that is what failed.
    async fn unless_lost<T>(&self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if let Err(trouble) = &result
            && matches!(trouble.cause, Cause::Lost | Cause::Timeout | Cause::Shell)
        {
            let mut master = self.master.lock().await;
            if let Some(standing) = &*master
                && !standing.is_alive().await
            {
                *master = None;
                return Err(lost(&self.target, "while a channel was opened"));
            }
        }
        result
    }

    /// Logs in anew, waiting for a host that reboots.
    async fn reconnect(&self) -> Result<(), Trouble> {
        self.lanes.lock().await.clear();
        if self.target.method == Method::Local {
            return Ok(());
        }
        let mut master = self.master.lock().await;
        if let Some(old) = master.take() {
            old.stop().await;
        }
        let deadline = Instant::now() + REBOOT;
        loop {
            match Master::open(&self.base, &self.target, &self.cancel).await {
                Ok(new) => {
                    *master = Some(new);
                    return Ok(());
                }
                Err(trouble)
                    if Instant::now() < deadline
                        && matches!(trouble.cause, Cause::Refused | Cause::Timeout | Cause::Throttled) =>
                {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
