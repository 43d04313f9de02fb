//! Variables as template values that are looked at, and templated, only when they are used.
//!
//! A [`Node`] is a place inside a layer, not a copy of it: looking at one fact of a thousand costs one path walk.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use minijinja::Value;
use minijinja::value::{Enumerator, Object as Dynamic, ObjectExt, ObjectRepr};
use serde_json::Value as Json;

use super::json::{Omit, from_number};
use super::{Fault, Scope, engine};
use crate::plan::Object;

/// Templates that refer to templates that refer to … deeper than this are a mistake.
const DEEPEST: usize = 40;

/// One evaluation: a scope, what is already known of it, and what is being worked out.
pub(super) struct Eval {
    pub scope: Scope,
    host: String,
    known: Mutex<HashMap<String, Value>>,
    /// Why a variable or a part of it (`a.b`) has no value, by its dotted path.
    missing: Mutex<HashMap<String, Fault>>,
    shared: Arc<Shared>,
}

/// An evaluation as whoever began it holds it. What is known of a variable may lead back to its evaluation, so at the end
/// of this one all of it is forgotten, or nothing of it would ever be freed.
pub(super) struct Whole(Arc<Eval>);

impl Whole {
    pub fn new(scope: &Scope) -> Whole {
        Whole(Eval::of(scope.clone(), String::new(), Arc::default()))
    }
}

impl std::ops::Deref for Whole {
    type Target = Arc<Eval>;

    fn deref(&self) -> &Arc<Eval> {
        &self.0
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let others = std::mem::take(&mut *lock(&self.0.shared.hosts));
        for eval in others.values().chain([&self.0]) {
            let known = std::mem::take(&mut *lock(&eval.known));
            drop(known);
        }
    }
}

/// What evaluations that look into other hosts' variables have in common.
#[derive(Default)]
struct Shared {
    /// Paths whose templates are being evaluated right now, outermost first.
    busy: Mutex<Vec<String>>,
    hosts: Mutex<HashMap<String, Arc<Eval>>>,
}

#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A list or mapping inside a layer.
pub(super) struct Node {
    eval: Arc<Eval>,
    root: Arc<Object>,
    path: Vec<Step>,
    raw: bool,
    list: bool,
}

/// The root context of a template.
pub(super) struct Context {
    pub eval: Arc<Eval>,
    /// How many expressions the template has printed, and the last of them.
    pub printed: Mutex<(usize, Option<Value>)>,
}

/// The name under which filters and functions find the [`Context`].
pub(super) const CONTEXT: &str = "\u{1}context";

/// `hostvars`.
struct HostVars(Arc<Eval>);
/// `vars`, and each `hostvars[host]`.
struct Vars(Arc<Eval>);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Eval {
    fn of(scope: Scope, host: String, shared: Arc<Shared>) -> Arc<Eval> {
        Arc::new(Eval { scope, host, known: Mutex::default(), missing: Mutex::default(), shared })
    }

    /// The evaluation of another host's variables, one per host.
    fn other(&self, host: &str) -> Option<Arc<Eval>> {
        if let Some(eval) = lock(&self.shared.hosts).get(host) {
            return Some(eval.clone());
        }
        let scope = self.scope.world().hostvars(host)?;
        let eval = Eval::of(scope, host.to_owned(), self.shared.clone());
        lock(&self.shared.hosts).insert(host.to_owned(), eval.clone());
        Some(eval)
    }

    /// A variable's value. None if there is none, or if its template needs something that is undefined.
    pub fn variable(self: &Arc<Self>, name: &str) -> Option<Value> {
        if let Some(value) = lock(&self.known).get(name) {
            return Some(value.clone());
        }
        let value = match self.scope.layer_of(name) {
            Some(layer) => {
                let json = layer.vars.get(name)?;
                self.part(&layer.vars, &[], Step::Key(name.to_owned()), json, layer.raw)?
            }
            None => match name {
                "omit" => Value::from_object(Omit),
                "vars" => Value::from_object(Vars(self.clone())),
                "hostvars" => Value::from_object(HostVars(self.clone())),
                _ => return None,
            },
        };
        lock(&self.known).insert(name.to_owned(), value.clone());
        Some(value)
    }

    fn part(
        self: &Arc<Self>,
        root: &Arc<Object>,
        parent: &[Step],
        step: Step,
        json: &Json,
        raw: bool,
    ) -> Option<Value> {
        let path = || parent.iter().cloned().chain([step.clone()]).collect::<Vec<_>>();
        let node = |list| {
            let node = Node { eval: self.clone(), root: root.clone(), path: path(), raw, list };
            Value::from_object(node)
        };
        Some(match json {
            Json::Null => Value::from(()),
            Json::Bool(b) => Value::from(*b),
            Json::Number(number) => from_number(number),
            Json::Array(_) => node(true),
            Json::Object(_) => node(false),
            Json::String(text) if raw || !engine::has_template(text) => Value::from(text.as_str()),
            Json::String(text) => match self.guarded(&dotted(&path()), text) {
                Ok(value) if value.is_undefined() => return None,
                Ok(value) => value,
                Err(fault) if fault.undefined.is_some() => {
                    lock(&self.missing).insert(dotted(&path()), fault);
                    return None;
                }
                Err(fault) => Value::from(fault.into_error()),
            },
        })
    }

    /// Evaluates a variable's template, unless it is already being evaluated further out.
    fn guarded(self: &Arc<Self>, path: &str, text: &str) -> Result<Value, Fault> {
        let label = if self.host.is_empty() { path.to_owned() } else { format!("hostvars.{}.{path}", self.host) };
        {
            let mut busy = lock(&self.shared.busy);
            if let Some(at) = busy.iter().position(|other| *other == label) {
                let circle: Vec<&str> = busy[at..].iter().map(String::as_str).chain([label.as_str()]).collect();
                let text = format!("the variable `{path}` refers to itself: {}", circle.join(" → "));
                return Err(Fault { variable: Some(path.to_owned()), ..Fault::new(text) });
            }
            if busy.len() >= DEEPEST {
                return Err(Fault::new(format!("variables refer to each other more than {DEEPEST} levels deep")));
            }
            busy.push(label);
        }
        let result = engine::template(self, text);
        lock(&self.shared.busy).pop();
        result.map_err(|fault| fault.within(path))
    }

    /// Why the thing of this dotted path is undefined, if one of the variables on the way knows.
    pub fn why(&self, path: &str) -> Option<Fault> {
        let missing = lock(&self.missing);
        let mut path = path;
        loop {
            if let Some(fault) = missing.get(path) {
                return Some(fault.clone());
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() {
            text.push('.');
        }
        match step {
            Step::Key(key) => text.push_str(key),
            Step::Index(index) => text.push_str(&index.to_string()),
        }
    }
    text
}

impl Node {
    fn json(&self) -> Option<&Json> {
        let (Step::Key(name), rest) = self.path.split_first()? else { return None };
        rest.iter().try_fold(self.root.get(name)?, |json, step| match step {
            Step::Key(key) => json.get(key),
            Step::Index(index) => json.get(index),
        })
    }

    /// The JSON itself, if there is nothing in it to be templated.
    pub fn plain(&self) -> Option<&Json> {
        self.json().filter(|json| self.raw || !engine::has_template_inside(json))
    }

    pub fn why(&self, step: &str) -> Option<Fault> {
        self.eval.why(&format!("{}.{step}", dotted(&self.path)))
    }

    fn key(&self, key: &str) -> Option<Value> {
        let json = self.json()?.as_object()?.get(key)?;
        self.eval.part(&self.root, &self.path, Step::Key(key.to_owned()), json, self.raw)
    }

    fn len(&self) -> usize {
        match self.json() {
            Some(Json::Array(items)) => items.len(),
            Some(Json::Object(map)) => map.len(),
            _ => 0,
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // never the content: this may end up in an error
        write!(f, "<{}>", dotted(&self.path))
    }
}

impl Dynamic for Node {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.list { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if self.list {
            let index = key.as_usize()?;
            let json = self.json()?.get(index)?;
            return self.eval.part(&self.root, &self.path, Step::Index(index), json, self.raw);
        }
        match key.as_str() {
            Some(key) => self.key(key),
            // keys that were numbers in YAML are text in JSON
            None if key.is_number() => self.key(&key.to_string()),
            None => None,
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if self.list { None } else { self.key(key) }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.list {
            return Enumerator::Seq(self.len());
        }
        let keys = self.json().and_then(Json::as_object).map(|map| map.keys().map(Value::from).collect::<Vec<_>>());
        Enumerator::Values(keys.unwrap_or_default())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.len())
    }
}

impl Context {
    pub fn value(eval: &Arc<Eval>) -> Value {
        Value::from_object(Context { eval: eval.clone(), printed: Mutex::default() })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<variables>")
    }
}

impl Dynamic for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == CONTEXT {
            return Some(Value::from_dyn_object(self.clone()));
        }
        self.eval.variable(key)
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<vars>")
    }
}

impl Dynamic for Vars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.variable(key.as_str()?)
    }
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.variable(key)
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.scope.all_names().into_iter().map(Value::from).collect())
    }
}

impl fmt::Debug for HostVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hostvars>")
    }
}

impl Dynamic for HostVars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }
    fn get_value_by_str(self: &Arc<Self>, host: &str) -> Option<Value> {
        self.0.other(host).map(|eval| Value::from_object(Vars(eval)))
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let this = self.clone();
        this.mapped_enumerator(|this| Box::new(this.0.scope.world().hosts().into_iter().map(Value::from)))
    }
}
