//! One host's walk through a play: lists, blocks with rescue and always, handlers.
//!
//! What a single task does is in `task`; includes are in `include`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::host::{Fate, Host};
use super::pace::Position;
use super::run::{Batch, Run};
use super::scope::object;
use crate::event::{Kind, TaskRef};
use crate::playbook::{Block, Item, Play, Task};
use crate::vars::{Layer, Scope};

/// One host on its way through one play.
pub(super) struct Walk {
    pub run: Arc<Run>,
    pub batch: Arc<Batch>,
    pub host: Arc<Host>,
    /// Held from the first task to the last, so that a host that was begun is also finished; given back only while
    /// this host waits for others, which may need it.
    place: Option<OwnedSemaphorePermit>,
    /// The play's variables and variable files.
    pub play_vars: Vec<Layer>,
    /// Loop variables and parameters of the includes around the current task, outermost first.
    pub inner: Vec<Layer>,
    pub position: Position,
    /// What is left of the lists being walked, outermost first: what comes is foreseen from here.
    pub frames: Vec<Frame>,
    /// How many of the frames are later sections of the play: what was notified runs before them.
    pub sections_left: usize,
    /// Indices into the batch's handlers.
    pub notified: BTreeSet<usize>,
    /// How many blocks with a rescue are around the current task.
    pub rescuable: usize,
    pub service: Option<CurrentService>,
    /// Roles that ran already and run once.
    pub seen: Vec<(PathBuf, Value)>,
}

/// What is left of a list.
pub(super) struct Frame {
    pub items: Arc<[Item]>,
    /// The index of the next item.
    pub next: usize,
    /// How many of the walk's inner layers its tasks see.
    pub inner: usize,
    /// The whole list will then be walked with each of these as one more layer.
    pub again: Vec<Layer>,
}

/// The service that `include_services` is deploying.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentService {
    pub name: String,
    pub url_result: Option<String>,
}

/// How a list, block or task ended.
#[derive(Debug)]
pub(super) enum Flow {
    Next,
    Failed(Box<Failed>),
    End(End),
}

/// A failure on its way outwards, until a rescue takes it over.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub task: Value,
    pub result: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Unreachable,
    /// `meta: end_host`.
    Host,
    /// `meta: end_play`, or too many hosts failed.
    Play,
    Interrupted,
}

impl Walk {
    pub fn new(batch: Arc<Batch>, host: Arc<Host>) -> Self {
        Walk {
            run: batch.run.clone(),
            host,
            place: None,
            play_vars: Vec::new(),
            inner: Vec::new(),
            position: Position::new(),
            frames: Vec::new(),
            sections_left: 0,
            notified: BTreeSet::new(),
            rescuable: 0,
            service: None,
            seen: batch.play.seen.clone(),
            batch,
        }
    }

    /// The whole play.
    pub async fn play(mut self) {
        let play = self.batch.play.clone();
        self.place = self.place().await;
        let mut flow = self.sections(&play).await;
        if matches!(flow, Flow::Failed(_)) && play.force_handlers {
            self.position = vec![u32::MAX];
            if let Flow::End(end) = self.flush().await {
                flow = Flow::End(end);
            }
        }
        match flow {
            Flow::Next | Flow::End(End::Host | End::Play | End::Interrupted) => {}
            Flow::Failed(_) => {
                self.host.count(|counts| counts.failed += 1);
                self.host.end(Fate::Failed);
            }
            Flow::End(End::Unreachable) => {
                self.host.count(|counts| counts.unreachable += 1);
                self.host.end(Fate::Unreachable);
            }
        }
        self.host.wire.forget().await;
        self.batch.note_failures();
        self.run.emit.emit(Kind::PlayFinished { play: play.name.clone(), host: self.host.name.clone() });
        self.batch.pace.leave(&self.host.name);
    }

    /// Waits until this is one of the hosts that are worked on.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // fails only when the semaphore is closed, which nobody does
        self.run.forks.clone().acquire_owned().await.ok()
    }

    /// Waits for other hosts, and lets them have the place meanwhile. None: the run was interrupted.
    pub async fn aside<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        self.place = None;
        let cancel = self.run.cancel.clone();
        let came = tokio::select! {
            came = wait => came,
            () = cancel.cancelled() => return None,
        };
        self.place = self.place().await;
        Some(came)
    }

    async fn sections(&mut self, play: &Arc<Play>) -> Flow {
        if let Some(flow) = self.read_vars().await {
            return flow;
        }
        let gather: Vec<Item> = self.gather().into_iter().map(Item::Task).collect();
        let sections = [gather, play.pre_tasks.clone(), play.tasks.clone(), play.post_tasks.clone()];
        // one list, so that what comes is foreseen across the sections' borders
        let lists: Vec<Arc<[Item]>> = sections.into_iter().map(Arc::from).collect();
        for (index, list) in lists.iter().enumerate() {
            self.frames = lists[index + 1..].iter().rev().map(|list| self.frame(list.clone())).collect();
            self.sections_left = self.frames.len();
            self.position = vec![2 * index as u32];
            let flow = self.items(list.clone()).await;
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            self.position = vec![2 * index as u32 + 1];
            let flow = self.flush().await;
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    pub fn frame(&self, items: Arc<[Item]>) -> Frame {
        Frame { items, next: 0, inner: self.inner.len(), again: Vec::new() }
    }

    /// A list in its order.
    pub fn items(&mut self, items: Arc<[Item]>) -> BoxFuture<'_, Flow> {
        async move {
            let depth = self.frames.len();
            self.frames.push(self.frame(items.clone()));
            let mut flow = Flow::Next;
            for (index, item) in items.iter().enumerate() {
                if let Some(frame) = self.frames.get_mut(depth) {
                    frame.next = index + 1;
                }
                self.position.push(index as u32);
                flow = match item {
                    Item::Task(task) => self.task(task).await,
                    Item::Block(block) => self.block(block).await,
                };
                self.position.pop();
                if !matches!(flow, Flow::Next) {
                    break;
                }
            }
            self.frames.truncate(depth);
            flow
        }
        .boxed()
    }

    async fn block(&mut self, block: &Arc<Block>) -> Flow {
        let rescued = usize::from(!block.rescue.is_empty());
        self.rescuable += rescued;
        let mut flow = self.part(0, &block.body).await;
        self.rescuable -= rescued;
        if let Flow::Failed(failed) = &flow
            && rescued > 0
        {
            self.host.set(object(json!({
                "ansible_failed_task": failed.task,
                "ansible_failed_result": failed.result,
            })));
            self.host.count(|counts| counts.rescued += 1);
            flow = self.part(1, &block.rescue).await;
        }
        match flow {
            Flow::Next | Flow::Failed(_) => match self.part(2, &block.always).await {
                Flow::Next => flow,
                worse => worse,
            },
            // nothing can be done on this host, or nothing new may start
            Flow::End(_) => flow,
        }
    }

    async fn part(&mut self, index: u32, items: &Arc<[Item]>) -> Flow {
        self.position.push(index);
        let flow = self.items(items.clone()).await;
        self.position.pop();
        flow
    }

    /// Runs the notified handlers in the order of their definition, and those that they notify.
    pub async fn flush(&mut self) -> Flow {
        let mut round = 0;
        while !self.notified.is_empty() {
            let mut pending = std::mem::take(&mut self.notified);
            while let Some(index) = pending.pop_first() {
                let Some(handler) = self.batch.handler(index) else { continue };
                self.position.extend([round, index as u32]);
                let rest = pending.iter().filter_map(|index| self.batch.handler(*index)).map(Item::Task);
                self.frames.push(self.frame(rest.collect()));
                let flow = self.handler(&handler).await;
                self.frames.pop();
                self.position.truncate(self.position.len() - 2);
                if !matches!(flow, Flow::Next) {
                    return flow;
                }
                // one that was notified just now and comes later runs in this round
                let later = self.notified.split_off(&(index + 1));
                pending.extend(later);
            }
            round += 1;
        }
        Flow::Next
    }

    fn handler<'w>(&'w mut self, handler: &'w Arc<Task>) -> BoxFuture<'w, Flow> {
        self.task(handler).boxed()
    }

    pub fn scope(&self, task: &Task) -> Scope {
        self.scope_within(task, &self.inner)
    }

    /// The same for a task that other includes will be around.
    pub fn scope_within(&self, task: &Task, inner: &[Layer]) -> Scope {
        super::scope::task_scope(&self.batch, &self.host, &self.play_vars, task, inner)
    }

    pub fn reference(&self, task: &Task, scope: &Scope) -> TaskRef {
        let name = match task.name.contains("{{") {
            // a name that cannot be templated is shown as it was written
            true => {
                scope.value(&Value::from(task.name.as_str())).ok().and_then(|name| name.as_str().map(str::to_owned))
            }
            false => None,
        };
        let id: Vec<String> = self.position.iter().map(u32::to_string).collect();
        TaskRef {
            id: format!("{}:{}", self.batch.play_index, id.join(".")),
            name: name.unwrap_or_else(|| task.name.clone()),
            action: crate::playbook::short_name(&task.action.name).to_owned(),
            place: task.place.to_string(),
            service: self.service.as_ref().map(|service| service.name.clone()),
            item: None,
        }
    }
}
