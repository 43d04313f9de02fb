//! `include_tasks`, `include_role` and `include_services`: what is read when a host gets there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::control::failure;
use super::done::Done;
use super::walk::{CurrentService, End, Failed, Flow, Frame, Walk};
use crate::event::{Kind, Status, TaskRef};
use crate::modules::args::as_flag;
use crate::plan::{Failure, Object};
use crate::playbook::{ActionKind, Around, Control, Item, Parts, Task, apply, find_file, load_role, service_tasks};
use crate::services::ServiceDeploy;
use crate::shipped;
use crate::vars::{Layer, Scope};

/// What an `include_services` comes to on a host.
struct Included {
    deploys: Vec<ServiceDeploy>,
    /// Run once for each.
    tasks_file: PathBuf,
    order: Order,
}

/// How many blocks and includes may lie within each other. Each is a future within a future, and a stack ends.
const DEEPEST: usize = 80;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// What is needed comes before what needs it.
    Dependencies,
    /// The other way round, for taking things down.
    Reverse,
}

impl Walk {
    pub async fn include(&mut self, task: &Arc<Task>, scope: &Scope) -> Flow {
        let reference = self.reference(task, scope);
        self.run.emit.emit(Kind::TaskStarted { host: self.host.name.clone(), task: reference.clone() });
        let fresh;
        let scope = match self.know_host(task, scope).await {
            Ok(true) => {
                fresh = self.scope(task);
                &fresh
            }
            Ok(false) => scope,
            Err(done) => return self.end_include(reference, done),
        };
        let items = match self.loop_items(task, scope) {
            Ok(items) => items,
            Err(fault) => match self.unmet(task, scope) {
                Ok(Some(condition)) => return self.end_include(reference, Done::skipped(&condition)),
                Ok(None) | Err(_) => return self.end_include(reference, Done::failed(fault)),
            },
        };
        let scopes: Vec<Scope> = match &items {
            None => vec![scope.clone()],
            Some(items) => (0..items.len()).map(|index| self.item_scope(task, scope, items, index)).collect(),
        };
        let mut reference = Some(reference);
        let mut told = None;
        for (index, scope) in scopes.iter().enumerate() {
            match self.unmet(task, scope) {
                Ok(None) => {}
                Ok(Some(condition)) => {
                    told.get_or_insert(Done::skipped(&condition));
                    continue;
                }
                Err(fault) => return self.end_include(reference.take().unwrap_or_default(), Done::failed(fault)),
            }
            if self.frames.len() >= DEEPEST {
                let text = format!("blocks and includes are {DEEPEST} deep here");
                let failure = Failure::new(text).hint("a file that includes itself needs a `when` that ends it");
                return self.end_include(reference.take().unwrap_or_default(), Done::failed(failure));
            }
            let args = match self.arguments(task, scope) {
                Ok(args) => args,
                Err(failure) => return self.end_include(reference.take().unwrap_or_default(), Done::failed(failure)),
            };
            let around = around_children(task, &args);
            let loaded = match task.action.kind {
                ActionKind::Control(Control::IncludeTasks) => self.tasks_of(&around, &args),
                ActionKind::Control(Control::IncludeRole) => self.role_of(&around, &args),
                ActionKind::Control(Control::IncludeServices) => {
                    let flow = match reference.take() {
                        Some(reference) => self.end_include(reference, Done::ok()),
                        None => Flow::Next,
                    };
                    if !matches!(flow, Flow::Next) {
                        return flow;
                    }
                    let flow = match self.services_of(&around, &args, scope) {
                        Ok(services) => self.each_service(services, task).await,
                        Err(failure) => {
                            let reference = self.reference(task, scope);
                            self.fail_now(reference, failure)
                        }
                    };
                    if !matches!(flow, Flow::Next) {
                        return flow;
                    }
                    continue;
                }
                ActionKind::Control(_) | ActionKind::Module(_) => Ok((String::new(), Arc::default())),
            };
            let (what, children) = match loaded {
                Ok(loaded) => loaded,
                Err(failure) => return self.end_include(reference.take().unwrap_or_default(), Done::failed(failure)),
            };
            if let Some(reference) = reference.take() {
                let done = Done { result: super::scope::object(json!({ "include": what })), ..Done::ok() };
                self.end_include(reference, done);
            }
            let flow = self.children(children, loop_layer(task, items.as_deref(), index), index).await;
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        if let Some(reference) = reference {
            return self.end_include(reference, told.unwrap_or_else(Done::no_items));
        }
        Flow::Next
    }

    /// Included tasks, with the loop variables of the include as their innermost layer.
    async fn children(&mut self, items: Arc<[Item]>, layer: Option<Layer>, index: usize) -> Flow {
        let depth = self.inner.len();
        self.inner.extend(layer);
        self.position.push(index as u32);
        let flow = self.items(items).await;
        self.position.pop();
        self.inner.truncate(depth);
        flow
    }

    pub fn tasks_of(&self, around: &Around, args: &Object) -> Result<(String, Arc<[Item]>), Failure> {
        let Some(file) = args.get("file").and_then(Value::as_str) else {
            return Err(Failure::new("`include_tasks` needs the name of a file"));
        };
        // an operator's playbook may include the shipped task files
        let shelf = || shipped::locate(Path::new("."), &format!("playbooks/{}", file.trim()));
        let path = find_file(around, "tasks", file.trim()).or_else(|error| shelf().ok_or(error)).map_err(failure)?;
        let items = self.run.tasks(&path, around).map_err(failure)?;
        Ok((path.display().to_string(), items))
    }

    fn role_of(&mut self, around: &Around, args: &Object) -> Result<(String, Arc<[Item]>), Failure> {
        let text = |key: &str| args.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").ok_or_else(|| Failure::new("`include_role` needs a name"))?;
        let parts = Parts {
            tasks: text("tasks_from"),
            vars: text("vars_from"),
            defaults: text("defaults_from"),
            handlers: text("handlers_from"),
        };
        let loaded = load_role(&name, &parts, around, &mut self.seen).map_err(failure)?;
        self.batch.add_handlers(loaded.handlers);
        if args.get("public").and_then(as_flag) == Some(true) {
            self.host.publish(loaded.role);
        }
        Ok((name, loaded.tasks.into()))
    }

    fn services_of(&self, around: &Around, args: &Object, scope: &Scope) -> Result<Included, Failure> {
        let services = self
            .run
            .services
            .clone()
            .ok_or_else(|| Failure::new("`include_services`: no registry of services is open in this run"))?;
        let tasks_file = service_tasks(around, args.get("tasks").and_then(Value::as_str)).map_err(failure)?;
        let order = match args.get("order").map(|order| order.as_str()) {
            None | Some(Some("dependencies")) => Order::Dependencies,
            Some(Some("reverse")) => Order::Reverse,
            Some(_) => return Err(Failure::new("`include_services`: `order` is `dependencies` or `reverse`")),
        };
        let mut deploys = services.expand(&self.host.name, args.get("services").unwrap_or(&Value::Null), scope)?;
        if order == Order::Reverse {
            deploys.reverse();
        }
        Ok(Included { deploys, tasks_file, order })
    }

    /// One service after the other. One that fails takes only those along that need it (in reverse order: that it
    /// needs); the host fails at the end.
    async fn each_service(&mut self, included: Included, task: &Task) -> Flow {
        let Included { mut deploys, tasks_file, order } = included;
        let layers: Vec<Layer> =
            deploys.iter_mut().map(|deploy| Layer::raw(std::mem::take(&mut deploy.vars))).collect();
        let mut fallen: HashMap<String, Vec<String>> = HashMap::new();
        let mut first: Option<Box<Failed>> = None;
        let mut deploys = deploys.into_iter().enumerate();
        while let Some((index, deploy)) = deploys.next() {
            let begin = Instant::now();
            let needs = requires(&layers[index].vars);
            let in_the_way = match order {
                Order::Dependencies => needs.iter().find(|needed| fallen.contains_key(*needed)).cloned(),
                Order::Reverse => {
                    fallen.iter().find(|(_, needs)| needs.contains(&deploy.service)).map(|(name, _)| name.clone())
                }
            };
            if let Some(name) = in_the_way {
                let msg = match order {
                    Order::Dependencies => format!("not tried: it needs {name}, which failed"),
                    Order::Reverse => format!("not tried: {name} needs it, and failed"),
                };
                fallen.insert(deploy.service.clone(), needs);
                self.service_ended(&deploy, Status::Skipped, None, begin, Some(msg));
                continue;
            }
            let before = self.host.counts();
            self.service = Some(CurrentService { name: deploy.service.clone(), url_result: None });
            let flow = self.one_service(&layers[index..], &tasks_file, task, index).await;
            let current = self.service.take().unwrap_or_default();
            let after = self.host.counts();
            let (status, msg) = match &flow {
                Flow::Failed(failed) => (Status::Failed, failed.result.get("msg").map(shown)),
                Flow::End(End::Unreachable) => (Status::Unreachable, Some("the host was lost".to_owned())),
                Flow::End(End::Interrupted) => (Status::Failed, Some("interrupted".to_owned())),
                Flow::Next | Flow::End(_) if after.uncertain > before.uncertain => (Status::Uncertain, None),
                Flow::Next | Flow::End(_) if after.changed > before.changed => (Status::Changed, None),
                Flow::Next | Flow::End(_) => (Status::Ok, None),
            };
            self.service_ended(&deploy, status, current.url_result, begin, msg);
            match flow {
                Flow::Next => {}
                Flow::Failed(failed) => {
                    fallen.insert(deploy.service.clone(), needs);
                    first.get_or_insert(failed);
                }
                Flow::End(end) => {
                    let status = if end == End::Unreachable { Status::Unreachable } else { Status::Skipped };
                    for (_, deploy) in deploys.by_ref() {
                        self.service_ended(&deploy, status, None, Instant::now(), Some("not tried".to_owned()));
                    }
                    return Flow::End(end);
                }
            }
        }
        match first {
            None => Flow::Next,
            Some(failed) => Flow::Failed(failed),
        }
    }

    /// The first of these; the others are what comes.
    async fn one_service(&mut self, layers: &[Layer], tasks_file: &Path, task: &Task, index: usize) -> Flow {
        let around = Around {
            dir: tasks_file.parent().map_or_else(|| task.around.dir.clone(), Path::to_owned),
            when: task.when.clone(),
            vars: task.vars.clone(),
            keywords: task.keywords.clone(),
            ..Around::clone(&task.around)
        };
        match self.run.tasks(tasks_file, &around) {
            Ok(items) => {
                let depth = self.frames.len();
                let again = layers.iter().skip(1).cloned().collect();
                self.frames.push(Frame { next: items.len(), again, ..self.frame(items.clone()) });
                let flow = self.children(items, layers.first().cloned(), index).await;
                self.frames.truncate(depth);
                flow
            }
            Err(error) => {
                let scope = self.scope(task);
                let reference = self.reference(task, &scope);
                self.fail_now(reference, failure(error))
            }
        }
    }

    fn service_ended(
        &self,
        deploy: &ServiceDeploy,
        status: Status,
        url_result: Option<String>,
        begin: Instant,
        msg: Option<String>,
    ) {
        self.run.emit.emit(Kind::ServiceFinished {
            host: self.host.name.clone(),
            service: deploy.service.clone(),
            status,
            version: deploy.version.clone(),
            url: deploy.url.clone(),
            url_result,
            took_ms: begin.elapsed().as_millis() as u64,
            msg,
        });
    }

    fn end_include(&mut self, reference: TaskRef, done: Done) -> Flow {
        let done = self.doubtful(done);
        self.host.count(|counts| match done.status {
            Status::Ok | Status::Changed => counts.ok += 1,
            Status::Skipped => counts.skipped += 1,
            Status::Uncertain => counts.uncertain += 1,
            Status::Failed | Status::Unreachable => {}
        });
        let result = Value::Object(done.registered());
        let status = done.status;
        let rescued = status == Status::Failed && self.rescuable > 0;
        let task = json!({"name": reference.name, "action": reference.action});
        let outcome = Box::new(self.outcome(done, false, rescued, std::time::Duration::ZERO));
        self.run.emit.emit(Kind::TaskFinished { host: self.host.name.clone(), task: reference, outcome });
        match status {
            Status::Failed => Flow::Failed(Box::new(Failed { task, result })),
            Status::Unreachable => Flow::End(End::Unreachable),
            Status::Ok | Status::Changed | Status::Skipped | Status::Uncertain => Flow::Next,
        }
    }

    /// A failure of something that has no result of its own.
    pub fn fail_now(&mut self, reference: TaskRef, failure: Failure) -> Flow {
        self.end_include(reference, Done::failed(failure))
    }
}

/// What surrounds the included tasks: what surrounds the include, its own `vars`, and what `apply` says.
pub(super) fn around_children(task: &Task, args: &Object) -> Around {
    let mut around = Around::clone(&task.around);
    // the include's own variables come last among the task's
    for vars in task.vars.iter().skip(around.vars.len()) {
        around.params.push(vars.clone());
    }
    if let Some(Value::Object(more)) = args.get("apply") {
        apply(&mut around, more);
    }
    around
}

pub(super) fn loop_layer(task: &Task, items: Option<&[Value]>, index: usize) -> Option<Layer> {
    let repeat = task.repeat.as_ref()?;
    let item = items?.get(index)?;
    let mut vars = Object::from_iter([
        (repeat.loop_var.clone(), item.clone()),
        ("ansible_loop_var".to_owned(), Value::from(repeat.loop_var.as_str())),
    ]);
    if let Some(name) = &repeat.index_var {
        vars.insert(name.clone(), Value::from(index));
    }
    Some(Layer::raw(vars))
}

fn requires(vars: &Object) -> Vec<String> {
    let required = vars.get("service").and_then(|service| service.get("requires")).and_then(Value::as_array);
    required.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn shown(msg: &Value) -> String {
    msg.as_str().map_or_else(|| msg.to_string(), str::to_owned)
}
