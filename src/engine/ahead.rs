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

impl Walk {
    /// Questions of the current task's later items, and of up to `window` tasks after it, to the same host and user.
    pub fn foresee(&self, current: &Arc<Task>, route: &Route, later: &[Scope], window: usize) -> Vec<Query> {
        let mut queries = Vec::new();
        for scope in later.iter().take(ITEMS) {
            queries.extend(self.questions(current, scope, route).unwrap_or_default());
        }
        for task in self.coming().into_iter().take(window) {
            if queries.len() >= MOST {
                break;
            }
            if !self.selected(&task) || lookups(&task) {
                continue;
            }
            let scope = self.scope(&task);
            match self.loop_items(&task, &scope) {
                Ok(None) => queries.extend(self.questions(&task, &scope, route).unwrap_or_default()),
                Ok(Some(items)) => {
                    for index in 0..items.len().min(ITEMS) {
                        let scope = self.item_scope(&task, &scope, &items, index);
                        queries.extend(self.questions(&task, &scope, route).unwrap_or_default());
                    }
                }
                // it speaks of something that a task before it will bring
                Err(_) => {}
            }
        }
        queries.truncate(MOST);
        queries
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
        for (items, next) in self.frames.iter().rev() {
            if !flatten(&items[*next..], &mut tasks) {
                break;
            }
        }
        tasks
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
