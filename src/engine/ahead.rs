//! Foresight: which questions the next tasks will ask, so that one round trip brings the answers of many tasks.
//!
//! What is foreseen is only a guess. A task builds its questions again when its turn comes, and uses an answer only if
//! the question is the same; so a wrong guess costs a little time and changes nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::include::{around_children, loop_layer};
use super::walk::Walk;
use super::work::Route;
use crate::plan::Query;
use crate::playbook::{ActionKind, Control, Item, Task};
use crate::vars::{Layer, Scope};

/// More questions than this are not put into one round trip.
const MOST: usize = 200;
/// More items of one loop than this are not looked at.
const ITEMS: usize = 64;
/// More tasks than this are not looked at behind a change, nor twice as many as may ask behind a question.
const LOOKS: usize = 32;
/// So much is asked only if nothing has changed for a while.
const QUIET: usize = 16;
/// A file that includes itself is not followed further than this.
const FOLLOWED: usize = 8;

/// What the foreseen questions travel behind, and about how many tasks or items they may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behind {
    /// A question: nothing has changed lately, so the answers will probably be used. Items are not counted.
    Question(usize),
    /// An operation that is said to change nothing: the answers will probably be used, but it may not be the last one.
    Calm(usize),
    /// A change. The next task will probably change something too, so what comes later is only glanced at.
    Change(usize),
}

impl Walk {
    /// Questions of the current task's later items, and of tasks after it, to the same host and user.
    pub fn foresee(&self, current: &Arc<Task>, route: &Route, later: &[Scope], behind: Behind) -> Vec<Query> {
        let mut found = Foreseen { route, behind, queries: Vec::new(), looks: 0, tasks: 0, asking: 0, inside: 0 };
        for scope in later.iter().take(ITEMS) {
            if !found.wants_items() {
                break;
            }
            found.add(self.questions(current, scope, route));
        }
        // what cannot be foreseen, or enough, ends it
        let _ = self.coming(&mut found);
        found.queries.truncate(MOST);
        found.queries
    }

    fn questions(&self, task: &Task, scope: &Scope, route: &Route) -> Option<Vec<Query>> {
        let ActionKind::Module(spec) = task.action.kind else { return None };
        if !self.unmet(task, scope).is_ok_and(|unmet| unmet.is_none()) {
            return None;
        }
        let its = self.route(task, scope).ok()?;
        if its.host.name != route.host.name || its.who != route.who || !its.same_target(route) {
            return None;
        }
        let args = self.arguments(task, scope).ok()?;
        let check = self.imagines(task, scope);
        let module = self.build(spec, task, args, scope, &route.host, check).ok()?;
        let around = self.around(task, scope).ok()?;
        Some(around.queries(module.probe()))
    }

    /// All that comes after the current task.
    fn coming(&self, found: &mut Foreseen) -> ControlFlow<()> {
        for (depth, frame) in self.frames.iter().enumerate().rev() {
            if depth + 1 == self.sections_left {
                self.notified(found)?;
            }
            let inner = &self.inner[..frame.inner.min(self.inner.len())];
            self.list(&frame.items[frame.next..], inner, found)?;
            for layer in &frame.again {
                let inner = [inner, std::slice::from_ref(layer)].concat();
                found.within(|found| self.list(&frame.items, &inner, found))?;
            }
        }
        if self.sections_left == 0 {
            self.notified(found)?;
        }
        ControlFlow::Continue(())
    }

    fn notified(&self, found: &mut Foreseen) -> ControlFlow<()> {
        self.notified
            .iter()
            .filter_map(|index| self.batch.handler(*index))
            .try_for_each(|task| self.glance(&task, &[], found))
    }

    fn list(&self, items: &[Item], inner: &[Layer], found: &mut Foreseen) -> ControlFlow<()> {
        for item in items {
            match item {
                Item::Block(block) => {
                    self.list(&block.body, inner, found)?;
                    self.list(&block.always, inner, found)?;
                }
                Item::Task(task) => match task.action.kind {
                    ActionKind::Module(_) => self.glance(task, inner, found)?,
                    ActionKind::Control(Control::IncludeTasks) => self.included(task, inner, found)?,
                    ActionKind::Control(control) => match control {
                        Control::Assert
                        | Control::Debug
                        | Control::SetFact
                        | Control::Fail
                        | Control::Meta
                        | Control::IncludeVars
                        | Control::UrlCheck
                        | Control::OutsideCheck => {}
                        Control::Pause
                        | Control::RolloutGate
                        | Control::WaitForConnection
                        | Control::IncludeTasks
                        | Control::IncludeRole
                        | Control::IncludeServices => return ControlFlow::Break(()),
                    },
                },
            }
        }
        ControlFlow::Continue(())
    }

    fn glance(&self, task: &Arc<Task>, inner: &[Layer], found: &mut Foreseen) -> ControlFlow<()> {
        found.look()?;
        if !self.selected(task) || lookups(task) {
            return ControlFlow::Continue(());
        }
        let scope = self.scope_within(task, inner);
        let before = found.asking;
        match self.loop_items(task, &scope) {
            Ok(None) => found.add(self.questions(task, &scope, found.route)),
            Ok(Some(items)) => {
                for index in 0..items.len().min(ITEMS) {
                    if !found.wants_items() {
                        break;
                    }
                    let scope = self.item_scope(task, &scope, &items, index);
                    found.add(self.questions(task, &scope, found.route));
                }
            }
            // it speaks of something that a task before it will bring
            Err(_) => {}
        }
        found.tasks += usize::from(found.asking > before);
        ControlFlow::Continue(())
    }

    /// The tasks of a file that will be included, as far as it can be told already. Whether the file is included at all may hang
    /// on what is not known yet; then it is passed over.
    fn included(&self, task: &Arc<Task>, inner: &[Layer], found: &mut Foreseen) -> ControlFlow<()> {
        found.look()?;
        if found.inside == FOLLOWED || lookups(task) {
            return ControlFlow::Break(());
        }
        if !self.selected(task) {
            return ControlFlow::Continue(());
        }
        let scope = self.scope_within(task, inner);
        let Ok(items) = self.loop_items(task, &scope) else { return ControlFlow::Continue(()) };
        for index in 0..items.as_ref().map_or(1, Vec::len).min(ITEMS) {
            let scope =
                items.as_ref().map_or_else(|| scope.clone(), |items| self.item_scope(task, &scope, items, index));
            if !self.unmet(task, &scope).is_ok_and(|unmet| unmet.is_none()) {
                continue;
            }
            let Ok(args) = self.arguments(task, &scope) else { continue };
            let Ok((_, tasks)) = self.tasks_of(&around_children(task, &args), &args) else { continue };
            let layer = loop_layer(task, items.as_deref(), index);
            let inner = [inner, layer.as_slice()].concat();
            found.within(|found| self.list(&tasks, &inner, found))?;
        }
        ControlFlow::Continue(())
    }
}

struct Foreseen<'r> {
    route: &'r Route,
    behind: Behind,
    queries: Vec<Query>,
    /// Tasks that were looked at.
    looks: usize,
    /// Tasks that had questions.
    tasks: usize,
    /// Tasks and items that had questions.
    asking: usize,
    /// How many includes that have not begun are around the tasks looked at now.
    inside: usize,
}

impl Foreseen<'_> {
    fn add(&mut self, queries: Option<Vec<Query>>) {
        let Some(queries) = queries.filter(|queries| !queries.is_empty()) else { return };
        self.asking += 1;
        // scripts cost the host something: they must be likely to be worth it
        let script = queries.iter().any(|query| matches!(query, Query::Run(_)));
        let likely = match self.behind {
            Behind::Question(most) => self.inside == 0 || most >= QUIET,
            Behind::Calm(_) => self.inside == 0,
            Behind::Change(_) => self.asking == 1,
        };
        if !script || likely {
            self.queries.extend(queries);
        }
    }

    fn within(&mut self, look: impl FnOnce(&mut Self) -> ControlFlow<()>) -> ControlFlow<()> {
        self.inside += 1;
        let flow = look(self);
        self.inside -= 1;
        flow
    }

    /// One more task is looked at, if more are wanted.
    fn look(&mut self) -> ControlFlow<()> {
        let enough = match self.behind {
            Behind::Question(most) | Behind::Calm(most) => self.tasks >= most || self.looks >= LOOKS.max(most * 2),
            Behind::Change(most) => self.asking >= most || self.looks >= LOOKS,
        };
        if enough || self.queries.len() >= MOST {
            return ControlFlow::Break(());
        }
        self.looks += 1;
        ControlFlow::Continue(())
    }

    fn wants_items(&self) -> bool {
        match self.behind {
            Behind::Question(_) | Behind::Calm(_) => true,
            Behind::Change(most) => self.asking < most,
        }
    }
}

/// Lookups may do something; they are evaluated once, when the task's turn comes.
fn lookups(task: &Task) -> bool {
    let written = format!("{:?} {:?} {:?} {:?}", task.action.args, task.action.template, task.when, task.repeat);
    written.contains("lookup(") || written.contains("query(") || written.contains("q(")
}
