//! What a playbook is made of, with everything that blocks, roles and plays say already copied down to the tasks.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::error::Place;
use crate::modules;
use crate::plan::Object;

/// One play: which hosts, and what to do there.
#[derive(Clone, Debug)]
pub struct Play {
    pub name: String,
    pub place: Place,
    /// A host pattern, possibly a template of extra variables.
    pub hosts: Value,
    /// `None`: as if `true`.
    pub gather_facts: Option<Value>,
    /// What `setup` is asked for.
    pub gather_subset: Option<Value>,
    pub vars: Arc<Object>,
    /// Each a path, or a list of which the first that exists counts.
    pub vars_files: Vec<Value>,
    pub vars_prompt: Vec<Prompt>,
    /// Roles of the `roles:` list and imported ones; their variables are visible in the whole play.
    pub roles: Vec<Arc<Role>>,
    /// Roles that are in the play already, each with how it was listed: they run once.
    pub seen: Vec<(PathBuf, Value)>,
    pub pre_tasks: Vec<Item>,
    /// Roles first, then `tasks`.
    pub tasks: Vec<Item>,
    pub post_tasks: Vec<Item>,
    /// The roles' first, then the play's own; of two with one name the later counts.
    pub handlers: Vec<Arc<Task>>,
    pub serial: Vec<Value>,
    pub max_fail_percentage: Option<f64>,
    pub force_handlers: bool,
    pub strategy: Strategy,
    pub order: Order,
    /// Hosts for which this condition holds come before the others.
    pub first: Option<Value>,
    /// What the play says about all its tasks.
    pub around: Arc<Around>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    #[default]
    Linear,
    Free,
}

/// The order in which a play's hosts come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Inventory,
    ReverseInventory,
    Sorted,
    ReverseSorted,
}

/// A variable that Ansible would ask for; here it comes from `-e` or from its default.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub name: String,
    pub default: Option<Value>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Item {
    Task(Arc<Task>),
    Block(Arc<Block>),
}

#[derive(Clone, Debug)]
pub struct Block {
    pub name: String,
    pub place: Place,
    pub body: Arc<[Item]>,
    pub rescue: Arc<[Item]>,
    pub always: Arc<[Item]>,
}

/// A role as used at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub name: String,
    pub path: PathBuf,
    pub defaults: Arc<Object>,
    pub vars: Arc<Object>,
    /// The roles that brought this one in, nearest first.
    pub parents: Vec<Arc<Role>>,
}

/// A role with its tasks, dependencies in front, ready to be run.
#[derive(Clone, Debug)]
pub struct LoadedRole {
    pub role: Arc<Role>,
    pub tasks: Vec<Item>,
    pub handlers: Vec<Arc<Task>>,
}

/// What surrounds a task: what plays, blocks, roles and includes say about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// All must hold, the outermost first.
    pub when: Vec<Value>,
    /// Outermost first.
    pub vars: Vec<Arc<Object>>,
    /// Variables given to roles and includes; they beat facts that were set. Outermost first.
    pub params: Vec<Arc<Object>>,
    pub tags: Vec<String>,
    pub notify: Vec<Value>,
    pub keywords: Keywords,
    pub role: Option<Arc<Role>>,
    /// Directory of the file.
    pub dir: PathBuf,
    /// Directory of the playbook.
    pub play_dir: PathBuf,
}

/// One task, complete by itself.
#[derive(Clone, Debug)]
pub struct Task {
    /// As written, possibly a template; the action's name if none was given.
    pub name: String,
    pub place: Place,
    pub action: Action,
    /// The surroundings' conditions, then its own.
    pub when: Vec<Value>,
    pub vars: Vec<Arc<Object>>,
    pub tags: Vec<String>,
    pub notify: Vec<Value>,
    pub keywords: Keywords,
    pub repeat: Option<Repeat>,
    pub register: Option<String>,
    pub listen: Vec<String>,
    pub changed_when: Option<Value>,
    pub failed_when: Option<Value>,
    pub until: Option<Value>,
    pub retries: Option<Value>,
    pub delay: Option<Value>,
    pub around: Arc<Around>,
}

#[derive(Clone, Debug)]
pub struct Action {
    /// As written, e.g. `ansible.builtin.copy`.
    pub name: String,
    pub kind: ActionKind,
    pub args: Arc<Object>,
    /// `args: "{{ dict }}"`: templated first, `args` win over it.
    pub template: Option<Value>,
}

#[derive(Clone, Copy)]
pub enum ActionKind {
    Module(&'static modules::Spec),
    Control(Control),
}

impl fmt::Debug for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActionKind::Module(spec) => f.write_str(spec.name),
            ActionKind::Control(control) => write!(f, "{control:?}"),
        }
    }
}

/// Actions of the engine itself; they have no module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    Assert,
    Debug,
    SetFact,
    Fail,
    Meta,
    Pause,
    IncludeTasks,
    IncludeRole,
    IncludeVars,
    IncludeServices,
    WaitForConnection,
    /// Looks at a URL from the operator's side.
    UrlCheck,
    /// Makes one check of a service from the operator's side.
    OutsideCheck,
    /// Lets a play's next batch begin, or not.
    RolloutGate,
}

/// `loop`, `with_…` and `loop_control`.
#[derive(Clone, Debug)]
pub struct Repeat {
    pub kind: RepeatKind,
    pub over: Value,
    pub loop_var: String,
    pub index_var: Option<String>,
    pub label: Option<Value>,
    pub pause: Option<Value>,
    pub extended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatKind {
    Loop,
    Items,
    Dict,
    List,
    Nested,
    Together,
    Subelements,
    Sequence,
    Indexed,
    FirstFound,
    FileGlob,
    Flattened,
}

/// What a play or block says for all below it, the nearest one winning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keywords {
    pub r#become: Option<Value>,
    pub become_user: Option<Value>,
    pub become_method: Option<Value>,
    pub remote_user: Option<Value>,
    pub connection: Option<Value>,
    /// Outermost first; all apply.
    pub environment: Vec<Value>,
    pub no_log: Option<Value>,
    pub check_mode: Option<Value>,
    pub diff: Option<Value>,
    pub ignore_errors: Option<Value>,
    pub ignore_unreachable: Option<Value>,
    pub any_errors_fatal: Option<Value>,
    pub run_once: Option<Value>,
    pub delegate_to: Option<Value>,
    pub delegate_facts: Option<Value>,
    pub throttle: Option<Value>,
    pub timeout: Option<Value>,
    /// Module name → arguments; outermost first.
    pub module_defaults: Vec<Value>,
}
