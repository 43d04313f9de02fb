//! The words of the language: keywords of plays, blocks and tasks, control actions with their arguments, and the
//! sentence for each word of Ansible's that is refused.

use super::types::{ActionKind, Control};
use crate::modules;

/// Keywords that a play, a block and a task may all carry.
pub const COMMON: &[&str] = &[
    "name",
    "vars",
    "tags",
    "become",
    "become_user",
    "become_method",
    "remote_user",
    "connection",
    "environment",
    "no_log",
    "check_mode",
    "diff",
    "ignore_errors",
    "ignore_unreachable",
    "any_errors_fatal",
    "run_once",
    "throttle",
    "timeout",
    "module_defaults",
    "collections",
];

pub const PLAY: &[&str] = &[
    "hosts",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "vars_files",
    "vars_prompt",
    "roles",
    "pre_tasks",
    "tasks",
    "post_tasks",
    "handlers",
    "serial",
    "max_fail_percentage",
    "force_handlers",
    "strategy",
    "order",
    "first",
    "user",
    "import_playbook",
    "ansible.builtin.import_playbook",
];

pub const BLOCK: &[&str] = &["block", "rescue", "always", "when", "delegate_to", "delegate_facts", "notify"];

pub const TASK: &[&str] = &[
    "when",
    "loop",
    "loop_control",
    "register",
    "notify",
    "listen",
    "changed_when",
    "failed_when",
    "until",
    "retries",
    "delay",
    "delegate_to",
    "delegate_facts",
    "args",
    "action",
    "local_action",
    "async",
    "poll",
];

/// Keywords of a role where it is listed; every other key is a parameter of it.
pub const ROLE: &[&str] = &["role", "when", "delegate_to", "delegate_facts"];

/// Why a keyword of Ansible's is refused, and what to write instead.
pub fn refused_keyword(word: &str) -> Option<&'static str> {
    Some(match word {
        "debugger" => "there is no debugger; run with --check --diff, or register the result and `debug` it",
        "become_flags" | "become_exe" => {
            "set the program with `become_method` (sudo, doas, su); flags cannot be passed to it"
        }
        "port" => "set `ansible_port` for the host in the inventory",
        "fact_path" => "local facts are read from /etc/ansible/facts.d only",
        "sudo" | "sudo_user" | "su" | "su_user" => "write `become: true` and `become_user`",
        "always_run" => "write `check_mode: false`",
        "validate_argspec" => "arguments of roles are not validated; use `assert`",
        _ => return None,
    })
}

/// Why a module of Ansible's is refused, and what to write instead.
pub fn refused_action(name: &str) -> Option<&'static str> {
    Some(match short(name) {
        "add_host" | "group_by" => "hosts and groups are fixed when a run starts; write them into the inventory",
        "include" => "write `include_tasks` (when the host gets there) or `import_tasks` (when the playbook is read)",
        "validate_argument_spec" => "arguments of roles are not validated; use `assert`",
        "async_status" => "tasks are not run in the background; use `wait_for` or `until`",
        _ => return None,
    })
}

/// A control action as the loader knows it.
pub struct ControlSpec {
    pub name: &'static str,
    pub control: Control,
    pub args: &'static [&'static str],
    /// Where a string goes that is not `k=v`.
    pub free_form: Option<&'static str>,
    /// Other arguments than the listed ones are allowed.
    pub open: bool,
}

const fn control(
    name: &'static str,
    control: Control,
    args: &'static [&'static str],
    free_form: Option<&'static str>,
) -> ControlSpec {
    ControlSpec { name, control, args, free_form, open: false }
}

pub const CONTROLS: &[ControlSpec] = &[
    control("assert", Control::Assert, &["that", "msg", "fail_msg", "success_msg", "quiet"], None),
    control("debug", Control::Debug, &["msg", "var", "verbosity"], None),
    ControlSpec { open: true, ..control("set_fact", Control::SetFact, &["cacheable"], None) },
    control("fail", Control::Fail, &["msg"], None),
    control("meta", Control::Meta, &["_raw_params"], Some("_raw_params")),
    control("pause", Control::Pause, &["minutes", "seconds", "prompt", "echo"], None),
    control("include_tasks", Control::IncludeTasks, &["file", "apply"], Some("file")),
    control(
        "include_role",
        Control::IncludeRole,
        &[
            "name",
            "tasks_from",
            "vars_from",
            "defaults_from",
            "handlers_from",
            "public",
            "allow_duplicates",
            "apply",
            "rolespec_validate",
        ],
        None,
    ),
    control(
        "include_vars",
        Control::IncludeVars,
        &[
            "file",
            "dir",
            "name",
            "depth",
            "files_matching",
            "ignore_files",
            "extensions",
            "ignore_unknown_extensions",
            "hash_behaviour",
        ],
        Some("file"),
    ),
    control("include_services", Control::IncludeServices, &["services", "tasks", "order"], None),
    control("wait_for_connection", Control::WaitForConnection, &["delay", "sleep", "timeout", "connect_timeout"], None),
    control(
        "url_check",
        Control::UrlCheck,
        &["url", "status", "contains", "timeout", "address", "validate_certs"],
        None,
    ),
    control("rollout_gate", Control::RolloutGate, &["play", "failed", "max_fail", "max_fail_batch", "on_fail"], None),
    control("outside_check", Control::OutsideCheck, &["check", "address", "connect_to", "base_url"], None),
];

/// Actions that are resolved while the playbook is read.
pub const IMPORTS: &[&str] = &["import_tasks", "import_role"];

pub const META: &[&str] = &[
    "noop",
    "flush_handlers",
    "end_play",
    "end_host",
    "end_batch",
    "clear_facts",
    "clear_host_errors",
    "reset_connection",
    "refresh_inventory",
];

/// The name without `ansible.builtin.` or `ansible.legacy.`.
pub fn short(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name)
}

pub fn control_spec(control: Control) -> Option<&'static ControlSpec> {
    CONTROLS.iter().find(|spec| spec.control == control)
}

/// The action of this name.
pub fn action(name: &str) -> Option<ActionKind> {
    let wanted = match short(name) {
        "gather_facts" => "setup",
        other => other,
    };
    match CONTROLS.iter().find(|spec| spec.name == wanted) {
        Some(spec) => Some(ActionKind::Control(spec.control)),
        None => modules::find(if wanted == "setup" { wanted } else { name }).map(ActionKind::Module),
    }
}

/// All names of actions, for "did you mean".
pub fn action_names() -> impl Iterator<Item = &'static str> {
    let controls = CONTROLS.iter().map(|spec| spec.name);
    let modules = modules::all().flat_map(|spec| std::iter::once(spec.name).chain(spec.aliases.iter().copied()));
    controls.chain(modules).chain(IMPORTS.iter().copied())
}
