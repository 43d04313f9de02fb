//! Foresight: which questions the next tasks will ask, so that one round trip brings the answers of many tasks.
//!
//! What is foreseen is only a guess. A task builds its questions again when its turn comes, and uses an answer only if
//! the question is the same; so a wrong guess costs a little time and changes nothing.

use std::sync::Arc;

use super::walk::Walk;
use super::work::Route;
use crate::plan::Query;
use crate::playbook::{ActionKind, Control, Item, Task};
use crate::vars::Scope;

/// More questions than this are not put into one round trip.
const MOST: usize = 200;
/// More items of one loop than this are not looked at.
const ITEMS: usize = 64;
/// More tasks than this are not looked at behind a change.
const LOOKS: usize = 32;

/// What the foreseen questions travel behind, and about how many tasks or items they may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behind {
    /// A question: nothing has changed lately, so the answers will probably be used. Items are not counted.
    Question(usize),
    /// A change. The next task will probably change something too, so what comes later is only glanced at.
    Change(usize),
}

impl Walk {
    /// Questions of the current task's later items, and of tasks after it, to the same host and user.
    pub fn foresee(&self, current: &Arc<Task>, route: &Route, later: &[Scope], behind: Behind) -> Vec<Query> {
        let mut found = Foreseen { behind, queries: Vec::new(), looks: 0, asking: 0 };
        for scope in later.iter().take(ITEMS) {
            if !found.wants_items() {
                break;
            }
            found.add(self.questions(current, scope, route));
        }
        for task in self.coming() {
            if !found.wants_tasks() {
                break;
            }
            found.looks += 1;
            if !self.selected(&task) || lookups(&task) {
                continue;
            }
            let scope = self.scope(&task);
            match self.loop_items(&task, &scope) {
                Ok(None) => found.add(self.questions(&task, &scope, route)),
                Ok(Some(items)) => {
                    for index in 0..items.len().min(ITEMS) {
                        if !found.wants_items() {
                            break;
                        }
                        let scope = self.item_scope(&task, &scope, &items, index);
                        found.add(self.questions(&task, &scope, route));
                    }
                }
                // it speaks of something that a task before it will bring
                Err(_) => {}
            }
        }
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

    /// The tasks after the current one, up to something that cannot be foreseen.
    fn coming(&self) -> Vec<Arc<Task>> {
        let mut tasks = Vec::new();
        for (depth, (items, next)) in self.frames.iter().enumerate().rev() {
            if depth + 1 == self.sections_left {
                tasks.extend(self.notified.iter().filter_map(|index| self.batch.handler(*index)));
            }
            if !flatten(&items[*next..], &mut tasks) {
                return tasks;
            }
        }
        if self.sections_left == 0 {
            tasks.extend(self.notified.iter().filter_map(|index| self.batch.handler(*index)));
        }
        tasks
    }
}

struct Foreseen {
    behind: Behind,
    queries: Vec<Query>,
    /// Tasks that were looked at.
    looks: usize,
    /// Tasks and items that had questions.
    asking: usize,
}

impl Foreseen {
    fn add(&mut self, queries: Option<Vec<Query>>) {
        let Some(queries) = queries.filter(|queries| !queries.is_empty()) else { return };
        self.asking += 1;
        // scripts cost the host something; behind a change only the next task's are sure to be worth it
        let script = queries.iter().any(|query| matches!(query, Query::Run(_)));
        if !(script && self.asking > 1 && matches!(self.behind, Behind::Change(_))) {
            self.queries.extend(queries);
        }
    }

    fn wants_tasks(&self) -> bool {
        let enough = match self.behind {
            Behind::Question(most) => self.looks >= most,
            Behind::Change(most) => self.asking >= most || self.looks >= LOOKS,
        };
        !enough && self.queries.len() < MOST
    }

    fn wants_items(&self) -> bool {
        match self.behind {
            Behind::Question(_) => true,
            Behind::Change(most) => self.asking < most,
        }
    }
}

/// `false`: what comes next cannot be foreseen.
fn flatten(items: &[Item], tasks: &mut Vec<Arc<Task>>) -> bool {
    for item in items {
        if tasks.len() > MOST {
            return false;
        }
        match item {
            Item::Block(block) => {
                if !flatten(&block.body, tasks) || !flatten(&block.always, tasks) {
                    return false;
                }
            }
            Item::Task(task) => match task.action.kind {
                ActionKind::Module(_) => tasks.push(task.clone()),
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
                    | Control::IncludeServices => return false,
                },
            },
        }
    }
    true
}

/// Lookups may do something; they are evaluated once, when the task's turn comes.
fn lookups(task: &Task) -> bool {
    let written = format!("{:?} {:?} {:?} {:?}", task.action.args, task.action.template, task.when, task.repeat);
    written.contains("lookup(") || written.contains("query(") || written.contains("q(")
}
