//! What goes on around a task: tags, notifications, waiting for the others, gathering facts, files of variables.

use std::sync::Arc;

use serde_json::{Value, json};

use super::control::failure;
use super::done::Done;
use super::host::Fate;
use super::scope::object;
use super::walk::{Flow, Walk};
use crate::event::{Cause, Kind, TaskRef};
use crate::lane::Trouble;
use crate::modules::args::as_flag;
use crate::plan::{Failure, Object};
use crate::playbook::{Action, ActionKind, Around, Task, load_vars, resolve};
use crate::shipped;
use crate::vars::{Layer, Scope};

impl Walk {
    /// `--tags` and `--skip-tags`.
    pub fn selected(&self, task: &Task) -> bool {
        let tags: Vec<String> = match task.tags.iter().any(|tag| tag.contains("{{")) {
            false => task.tags.clone(),
            true => {
                let scope = self.scope(task);
                let value = |tag: &String| match scope.value(&Value::from(tag.as_str())) {
                    Ok(Value::String(text)) => vec![text],
                    Ok(Value::Array(list)) => list.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
                    Ok(_) | Err(_) => vec![tag.clone()],
                };
                task.tags.iter().flat_map(value).collect()
            }
        };
        selected(&tags, &self.run.tags, &self.run.skip_tags)
    }

    /// Marks the handlers that a changed task names.
    pub fn notify(&mut self, task: &Task, scope: &Scope) -> Result<(), Failure> {
        if task.notify.is_empty() {
            return Ok(());
        }
        let handlers = self.batch.handlers();
        for wanted in &task.notify {
            let names = match scope.value(wanted)? {
                Value::String(name) => vec![name],
                Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
                _ => Vec::new(),
            };
            for name in names {
                let mut found = false;
                for (index, handler) in handlers.iter().enumerate() {
                    if handler.listen.contains(&name) {
                        self.notified.insert(index);
                        found = true;
                    }
                }
                // of two handlers with one name the later counts
                let called = handlers.iter().rposition(|handler| self.is_called(handler, &name));
                if let Some(index) = called {
                    self.notified.insert(index);
                    found = true;
                }
                if !found {
                    let failure = Failure::new(format!("`notify`: there is no handler `{name}`"));
                    let known = handlers.iter().map(|handler| handler.name.as_str());
                    return Err(match crate::error::nearest(&name, known) {
                        Some(near) => failure.hint(format!("did you mean `{near}`?")),
                        None => failure,
                    });
                }
            }
        }
        Ok(())
    }

    fn is_called(&self, handler: &Task, name: &str) -> bool {
        let own = match handler.name.contains("{{") {
            false => handler.name.clone(),
            true => match self.scope(handler).value(&Value::from(handler.name.as_str())) {
                Ok(Value::String(own)) => own,
                Ok(_) | Err(_) => handler.name.clone(),
            },
        };
        own == name || handler.around.role.as_ref().is_some_and(|role| name == format!("{} : {own}", role.name))
    }

    /// Whether the task can see how far other hosts have come.
    pub fn observes_others(&self, task: &Task, scope: &Scope) -> bool {
        if self.batch.hosts.len() < 2 {
            return false;
        }
        if task.keywords.delegate_to.is_some() {
            return true;
        }
        let telling = |name: &String| {
            matches!(name.as_str(), "hostvars" | "ansible_play_hosts" | "ansible_play_batch" | "play_hosts")
        };
        let mut written: Vec<Value> = vec![Value::Object(Object::clone(&task.action.args))];
        written.extend(task.action.template.iter().cloned());
        written.extend(task.repeat.iter().map(|repeat| repeat.over.clone()));
        let conditions = [&task.changed_when, &task.failed_when, &task.until].into_iter().flatten();
        for condition in task.when.iter().chain(conditions) {
            let each = condition.as_array().cloned().unwrap_or_else(|| vec![condition.clone()]);
            written.extend(each.iter().filter_map(Value::as_str).map(|text| match text.contains("{{") {
                true => Value::from(text),
                false => Value::String(format!("{{{{ {text} }}}}")),
            }));
        }
        if let ActionKind::Control(crate::playbook::Control::Assert | crate::playbook::Control::Debug) =
            task.action.kind
        {
            for key in ["that", "var"] {
                let listed =
                    task.action.args.get(key).map(|that| that.as_array().cloned().unwrap_or(vec![that.clone()]));
                let bare = listed.into_iter().flatten();
                written.extend(bare.filter_map(|text| Some(Value::String(format!("{{{{ {} }}}}", text.as_str()?)))));
            }
        }
        written.iter().any(|value| scope.names(value).iter().any(telling)) || self.template_tells(task, scope)
    }

    /// A template file that speaks of other hosts.
    fn template_tells(&self, task: &Task, scope: &Scope) -> bool {
        let ActionKind::Module(spec) = task.action.kind else { return false };
        if spec.name != "template" {
            return false;
        }
        let name = task.action.args.get("src").and_then(|src| scope.value(src).ok());
        let path = name.and_then(|name| crate::playbook::find_file(&task.around, "templates", name.as_str()?).ok());
        let text = path.and_then(|path| shipped::read_to_string(&path).ok());
        text.is_some_and(|text| ["hostvars", "play_hosts", "play_batch"].iter().any(|name| text.contains(name)))
    }

    /// The implicit first task of a play.
    pub fn gather(&self) -> Option<Arc<Task>> {
        let play = &self.batch.play;
        let scope = Scope::new(Arc::new(crate::vars::NoWorld)).with(Object::clone(&self.run.extra_vars), false);
        let wanted = match &play.gather_facts {
            None => true,
            Some(value) => scope.value(value).ok().as_ref().and_then(as_flag).unwrap_or(true),
        };
        let mut task = self.own_task("Gathering Facts", "setup").filter(|_| wanted)?;
        if let Some(subset) = &play.gather_subset {
            task.action.args = Arc::new(Object::from_iter([("gather_subset".to_owned(), subset.clone())]));
        }
        Some(Arc::new(task))
    }

    /// A task of the play's that nobody wrote.
    pub fn own_task(&self, name: &str, module: &str) -> Option<Task> {
        let play = &self.batch.play;
        let kind = crate::modules::find(module).map(ActionKind::Module)?;
        Some(Task {
            name: name.to_owned(),
            place: play.place.clone(),
            action: Action { name: module.to_owned(), kind, args: Arc::default(), template: None },
            when: Vec::new(),
            vars: Vec::new(),
            tags: vec!["always".to_owned()],
            notify: Vec::new(),
            keywords: play.around.keywords.clone(),
            repeat: None,
            register: None,
            listen: Vec::new(),
            changed_when: None,
            failed_when: None,
            until: None,
            retries: None,
            delay: None,
            around: Arc::new(Around { when: Vec::new(), ..Around::clone(&play.around) }),
        })
    }

    /// Somebody else has the host.
    pub fn refuse(&mut self, text: String, hint: String) {
        let trouble = Trouble::new(Cause::Locked, text).hint(hint);
        self.end_early("Lock", Done::trouble(trouble));
        self.host.count(|counts| counts.failed += 1);
    }

    /// The play's variables and its files of variables. `Some`: how the walk ends, because a file is not as it should be.
    pub async fn read_vars(&mut self) -> Option<Flow> {
        let play = self.batch.play.clone();
        self.play_vars = vec![Layer::written(play.vars.clone())];
        for entry in &play.vars_files {
            let scope = self.play_scope();
            let names: Vec<&Value> = match entry {
                Value::Array(names) => names.iter().collect(),
                name => vec![name],
            };
            let mut trouble = None;
            let mut found = false;
            for name in names {
                let path = match scope.value(name) {
                    Ok(name) => resolve(&play.around.play_dir, name.as_str().unwrap_or_default()),
                    Err(fault) => {
                        trouble = Some(Failure::from(fault));
                        continue;
                    }
                };
                if !shipped::exists(&path) {
                    trouble.get_or_insert(Failure::new(format!("file of variables {} not found", path.display())));
                    continue;
                }
                match load_vars(&path) {
                    Ok(vars) => self.play_vars.push(Layer::written(vars)),
                    Err(error) => trouble = Some(failure(error)),
                }
                found = true;
                break;
            }
            if let Some(trouble) = trouble.filter(|_| !found) {
                return Some(self.fail_early("vars_files", trouble));
            }
        }
        None
    }

    fn play_scope(&self) -> Scope {
        let view = super::scope::View { run: self.run.clone(), around: self.batch.play.around.clone() };
        let mut scope =
            super::scope::host_scope(&self.run, &self.host, &self.batch.play.around).in_world(Arc::new(view));
        self.play_vars.iter().for_each(|layer| scope.push(layer.clone()));
        scope.push(Layer::written(self.run.extra_vars.clone()));
        scope
    }

    fn fail_early(&mut self, what: &str, trouble: Failure) -> Flow {
        self.end_early(what, Done::failed(trouble))
    }

    fn end_early(&mut self, what: &str, done: Done) -> Flow {
        let reference = TaskRef {
            id: format!("{}:{what}", self.batch.play_index),
            name: what.to_owned(),
            action: what.to_owned(),
            place: self.batch.play.place.to_string(),
            ..TaskRef::default()
        };
        self.run.emit.emit(Kind::TaskStarted { host: self.host.name.clone(), task: reference.clone() });
        let result = json!({"msg": done.result.get("msg"), "failed": true});
        let outcome = Box::new(self.outcome(done, false, false, std::time::Duration::ZERO));
        self.run.emit.emit(Kind::TaskFinished { host: self.host.name.clone(), task: reference, outcome });
        self.host.end(Fate::Failed);
        Flow::Failed(Box::new(super::walk::Failed { task: Value::Object(object(json!({"name": what}))), result }))
    }
}

/// Ansible's rules: `always` and `never` are special among a task's tags; `all`, `tagged` and `untagged` among those
/// asked for.
fn selected(tags: &[String], wanted: &[String], unwanted: &[String]) -> bool {
    let has = |list: &[String], tag: &str| list.iter().any(|known| known == tag);
    let tagged = !tags.is_empty();
    let any = |list: &[String]| tags.iter().any(|tag| has(list, tag));
    let run = if wanted.is_empty() || has(wanted, "all") {
        !has(tags, "never") || any(wanted)
    } else {
        has(tags, "always")
            || any(wanted)
            || (has(wanted, "tagged") && tagged && !has(tags, "never"))
            || (has(wanted, "untagged") && !tagged)
    };
    let skip = (has(unwanted, "all") && (!has(tags, "always") || has(unwanted, "always")))
        || any(unwanted)
        || (has(unwanted, "tagged") && tagged)
        || (has(unwanted, "untagged") && !tagged);
    run && !skip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_select() {
        let table: &[(&[&str], &[&str], &[&str], bool)] = &[
            (&[], &[], &[], true),
            (&["a"], &["a"], &[], true),
            (&["a"], &["b"], &[], false),
            (&["always"], &["b"], &[], true),
            (&["always"], &["b"], &["always"], false),
            (&["never", "x"], &[], &[], false),
            (&["never", "x"], &["x"], &[], true),
            (&[], &["tagged"], &[], false),
            (&["a"], &["untagged"], &[], false),
            (&["a", "b"], &["a"], &["b"], false),
            (&["always"], &[], &["all"], true),
            (&[], &["all"], &[], true),
        ];
        let list = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        for (tags, wanted, unwanted, expected) in table {
            assert_eq!(
                selected(&list(tags), &list(wanted), &list(unwanted)),
                *expected,
                "{tags:?} {wanted:?} {unwanted:?}"
            );
        }
    }
}
