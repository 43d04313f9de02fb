//! What a run knows of one host: its variables as they grow, and how it fares.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::overlay::Overlay;
use super::wire::Wire;
use crate::event::Counts;
use crate::plan::{Answer, Change, Object, Query};
use crate::playbook::Role;
use crate::vars::Layer;

pub(super) struct Host {
    pub name: String,
    /// `localhost`, though no inventory names it.
    pub implicit: bool,
    pub wire: Wire,
    /// The inventory's layers, low → high.
    pub inventory: Vec<Layer>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    facts: Arc<Object>,
    /// The same as variables: `ansible_facts` and `ansible_…`.
    fact_vars: Arc<Object>,
    /// By `set_fact` and `register`.
    set: Arc<Object>,
    /// By `include_vars`.
    included: Arc<Object>,
    /// Roles that `include_role` made public.
    roles: Vec<Arc<Role>>,
    counts: Counts,
    fate: Fate,
    /// Check mode: something that would have changed was only imagined.
    imagined: bool,
    overlay: Overlay,
    /// What it was warned of.
    warned: HashSet<String>,
}

/// Whether later plays still include the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Well,
    Failed,
    Unreachable,
}

/// A host's layers as they are at this moment.
pub(super) struct Grown {
    pub facts: Layer,
    pub included: Layer,
    pub set: Layer,
    pub roles: Vec<Arc<Role>>,
}

impl Host {
    pub fn new(name: String, implicit: bool, inventory: Vec<Layer>, window: usize) -> Self {
        Host { wire: Wire::new(name.clone(), window), name, implicit, inventory, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn grown(&self) -> Grown {
        let inner = self.inner();
        Grown {
            facts: Layer::raw(inner.fact_vars.clone()),
            included: Layer::written(inner.included.clone()),
            set: Layer::raw(inner.set.clone()),
            roles: inner.roles.clone(),
        }
    }

    /// Without the `ansible_` prefix.
    pub fn facts(&self) -> Arc<Object> {
        self.inner().facts.clone()
    }

    /// Adds facts. `bare` ones are also variables under their own name, as those of `package_facts` are.
    pub fn add_facts(&self, facts: Object, bare: bool) {
        if facts.is_empty() {
            return;
        }
        let mut inner = self.inner();
        let mut known = Object::clone(&inner.facts);
        let mut vars = Object::clone(&inner.fact_vars);
        for (name, value) in facts {
            let short = name.strip_prefix("ansible_").unwrap_or(&name).to_owned();
            if bare {
                vars.insert(name.clone(), value.clone());
            } else {
                vars.insert(format!("ansible_{short}"), value.clone());
            }
            known.insert(short, value);
        }
        vars.insert("ansible_facts".to_owned(), Value::Object(known.clone()));
        inner.facts = Arc::new(known);
        inner.fact_vars = Arc::new(vars);
    }

    pub fn clear_facts(&self) {
        let mut inner = self.inner();
        inner.facts = Arc::default();
        inner.fact_vars = Arc::default();
    }

    pub fn set(&self, vars: Object) {
        Arc::make_mut(&mut self.inner().set).extend(vars);
    }

    /// Was this variable set by the play?
    pub fn has_set(&self, name: &str) -> bool {
        self.inner().set.contains_key(name)
    }

    pub fn include(&self, vars: Object) {
        Arc::make_mut(&mut self.inner().included).extend(vars);
    }

    pub fn publish(&self, role: Arc<Role>) {
        self.inner().roles.push(role);
    }

    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.inner().counts);
    }

    pub fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }

    /// Is this warning the first of its kind in this run? Each of a service's tasks may come to the same one.
    pub fn is_new(&self, warning: &str) -> bool {
        self.inner().warned.insert(warning.to_owned())
    }

    pub fn fate(&self) -> Fate {
        self.inner().fate
    }

    pub fn end(&self, fate: Fate) {
        self.inner().fate = fate;
    }

    /// Check mode: a change that would have been made, or something of which nobody knows what it would have done.
    pub fn imagine(&self, change: Option<&Change>) {
        let mut inner = self.inner();
        inner.imagined = true;
        if let Some(change) = change {
            inner.overlay.imagine(change);
        }
    }

    /// Answers as they would be after what was imagined.
    pub fn as_imagined(&self, queries: &[Query], answers: Vec<Answer>) -> Vec<Answer> {
        let inner = self.inner();
        if !inner.imagined {
            return answers;
        }
        queries.iter().zip(answers).map(|(query, answer)| inner.overlay.answer(query, answer)).collect()
    }

    pub fn imagined(&self) -> bool {
        self.inner().imagined
    }
}
