//! `ufw`: the uncomplicated firewall.
//!
//! ```yaml
//! - name: Nothing comes in by itself
//!   ufw: {direction: incoming, default: deny}
//!
//! - name: But operators do
//!   ufw: {rule: limit, port: 22, proto: tcp, comment: ssh}
//!
//! - name: And now it counts
//!   ufw: {state: enabled}
//! ```
//!
//! What is there is read from ufw's own files, where each rule stands as a tuple. Refuses to close the port that the
//! operator came in by. Leaves out positions relative to other rules.

use serde::Deserialize;

use crate::plan::{Change, Diff, Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then};

use super::args;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] =
    &[Spec { name: "ufw", aliases: &["community.general.ufw"], args: ARGS, free_form: None, build }];

const ARGS: &[&str] = &[
    "state",
    "default",
    "policy",
    "direction",
    "logging",
    "rule",
    "route",
    "port",
    "to_port",
    "from_port",
    "proto",
    "protocol",
    "from_ip",
    "from",
    "src",
    "to_ip",
    "to",
    "dest",
    "interface",
    "if",
    "interface_in",
    "if_in",
    "interface_out",
    "if_out",
    "comment",
    "delete",
    "insert",
    "log",
    "name",
    "app",
];

#[derive(Deserialize)]
struct Args {
    #[serde(default)]
    state: Option<State>,
    #[serde(default, alias = "policy")]
    default: Option<Policy>,
    #[serde(default)]
    direction: Option<Direction>,
    #[serde(default, deserialize_with = "args::opt_text")]
    logging: Option<String>,
    #[serde(default)]
    rule: Option<Action>,
    #[serde(default, deserialize_with = "args::flag")]
    route: bool,
    #[serde(default, alias = "port", deserialize_with = "args::opt_text")]
    to_port: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    from_port: Option<String>,
    #[serde(default, alias = "protocol", deserialize_with = "args::opt_text")]
    proto: Option<String>,
    #[serde(default = "any", alias = "from", alias = "src", deserialize_with = "args::text")]
    from_ip: String,
    #[serde(default = "any", alias = "to", alias = "dest", deserialize_with = "args::text")]
    to_ip: String,
    #[serde(default, alias = "if", deserialize_with = "args::opt_text")]
    interface: Option<String>,
    #[serde(default, alias = "if_in", deserialize_with = "args::opt_text")]
    interface_in: Option<String>,
    #[serde(default, alias = "if_out", deserialize_with = "args::opt_text")]
    interface_out: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    comment: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    delete: bool,
    #[serde(default, deserialize_with = "args::opt_count")]
    insert: Option<u64>,
    #[serde(default, deserialize_with = "args::flag")]
    log: bool,
    #[serde(default, alias = "app", deserialize_with = "args::opt_text")]
    name: Option<String>,
}

fn any() -> String {
    "any".to_owned()
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Enabled,
    Disabled,
    Reloaded,
    Reset,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Allow,
    Deny,
    Reject,
}

impl Policy {
    fn word(self) -> &'static str {
        match self {
            Policy::Allow => "allow",
            Policy::Deny => "deny",
            Policy::Reject => "reject",
        }
    }

    /// As `/etc/default/ufw` has it.
    fn target(self) -> &'static str {
        match self {
            Policy::Allow => "ACCEPT",
            Policy::Deny => "DROP",
            Policy::Reject => "REJECT",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[serde(alias = "in")]
    Incoming,
    #[serde(alias = "out")]
    Outgoing,
    Routed,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Allow,
    Deny,
    Reject,
    Limit,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Reject => "reject",
            Action::Limit => "limit",
        }
    }
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(ARGS, args)?;
    if args.state.is_none() && args.default.is_none() && args.logging.is_none() && args.rule.is_none() {
        return Err(Failure::new("one of `state`, `default`, `rule` and `logging` is needed"));
    }
    if args.name.is_some() && (args.to_port.is_some() || args.proto.is_some()) {
        return Err(Failure::new("`name` (an application) and `port` or `proto` exclude each other"));
    }
    if args.interface.is_some() && (args.interface_in.is_some() || args.interface_out.is_some()) {
        return Err(Failure::new("`interface` excludes `interface_in` and `interface_out`"));
    }
    if args.rule.is_some() && args.direction == Some(Direction::Routed) {
        return Err(Failure::new(
            "`direction: routed` goes with `default`; routing rules are written with `route: true`",
        ));
    }
    if let Some(port) = &args.to_port {
        let (number, proto) = service(port);
        args.proto = args.proto.clone().or(proto);
        args.to_port = Some(number);
    }
    if let Some(proto) = &args.proto {
        let known = ["any", "tcp", "udp", "ipv6", "esp", "ah", "gre", "igmp", "vrrp"];
        if !known.contains(&proto.as_str()) {
            return Err(Failure::new(format!("{proto:?} is not a protocol that ufw knows")));
        }
    }
    for port in args.to_port.iter().chain(&args.from_port) {
        if !port.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ':') || port.is_empty() {
            return Err(Failure::new(format!("{port:?} is not a port: write 80, \"80,443\" or \"6000:6007\"")));
        }
    }
    if let Some(level) = args
        .logging
        .as_deref()
        .filter(|level| !["on", "off", "low", "medium", "high", "full", "True", "False"].contains(level))
    {
        return Err(Failure::new(format!("`logging` is one of on, off, low, medium, high and full, not {level:?}")));
    }
    if args.comment.as_ref().is_some_and(|comment| comment.contains(['\'', '\n'])) {
        return Err(Failure::new("`comment` must not contain a single quote or a newline"));
    }
    Ok(Box::new(args))
}

/// `22/tcp`, and the names that people write for ports.
fn service(port: &str) -> (String, Option<String>) {
    let named = match port {
        "ssh" => "22/tcp",
        "http" => "80/tcp",
        "https" => "443/tcp",
        other => other,
    };
    match named.split_once('/') {
        Some((port, proto)) => (port.to_owned(), Some(proto.to_owned())),
        None => (named.to_owned(), None),
    }
}

/// A rule as ufw stores it.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    action: String,
    proto: String,
    to_port: String,
    to: String,
    from_port: String,
    from: String,
    /// The application's name, if the rule was written by one.
    app: String,
    direction: String,
    comment: String,
}

impl Rule {
    /// `### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in comment=7765…`
    fn parse(line: &str) -> Option<Rule> {
        let words: Vec<&str> = line.strip_prefix("### tuple ###")?.split_whitespace().collect();
        let [action, proto, to_port, to, from_port, from, rest @ ..] = &words[..] else { return None };
        let comment = rest.iter().find_map(|word| word.strip_prefix("comment="));
        let rest: Vec<&&str> = rest.iter().filter(|word| !word.starts_with("comment=")).collect();
        let (app, direction) = match rest[..] {
            [app, _, direction] => (*app, *direction),
            [direction] => ("-", *direction),
            _ => return None,
        };
        let open =
            |address: &str| if matches!(address, "0.0.0.0/0" | "::/0") { "any".to_owned() } else { address.to_owned() };
        Some(Rule {
            action: (*action).to_owned(),
            proto: (*proto).to_owned(),
            to_port: (*to_port).to_owned(),
            to: open(to),
            from_port: (*from_port).to_owned(),
            from: open(from),
            app: app.trim_matches('-').replace("%20", " "),
            direction: direction.to_owned(),
            comment: comment.and_then(unhex).unwrap_or_default(),
        })
    }

    fn opens(&self, port: &str) -> bool {
        let covers = |range: &str| match range.split_once(':') {
            Some((from, to)) => {
                matches!((from.parse::<u16>(), port.parse::<u16>(), to.parse::<u16>()), (Ok(a), Ok(p), Ok(b)) if a <= p && p <= b)
            }
            None => range == port || range == "any",
        };
        let lets_in = self.action.starts_with("allow") || self.action.starts_with("limit");
        lets_in
            && self.direction.starts_with("in")
            && matches!(self.proto.as_str(), "tcp" | "any")
            && self.to_port.split(',').any(covers)
    }
}

fn unhex(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// What the probe saw.
struct Seen {
    active: bool,
    policies: String,
    level: String,
    rules: Vec<Rule>,
    /// The port that sshd listens on, if there is one.
    ssh: Vec<String>,
}

impl Seen {
    fn parse(text: &str) -> Seen {
        let after = |prefix: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix(prefix)).map(|rest| rest.trim().to_owned()).collect()
        };
        Seen {
            active: text.lines().any(|line| line == "Status: active"),
            policies: text
                .lines()
                .filter(|line| line.starts_with("DEFAULT_"))
                .map(|line| format!("{line}\n"))
                .collect(),
            level: after("LOGLEVEL=").concat(),
            rules: text.lines().filter_map(Rule::parse).collect(),
            ssh: after("port "),
        }
    }

    fn policy_is(&self, key: &str, policy: Policy) -> bool {
        self.policies.lines().any(|line| line.replace('"', "") == format!("{key}={}", policy.target()))
    }

    /// Would the operator be let in, after these rules were added?
    fn lets_operators_in(&self, added: Option<&Rule>) -> bool {
        let open = |port: &String| self.rules.iter().chain(added).any(|rule| rule.opens(port));
        self.ssh.is_empty() || self.ssh.iter().any(open)
    }
}

impl Module for Args {
    fn probe(&self) -> Vec<Query> {
        let script = Script::new()
            .raw("command -v ufw >/dev/null || { echo 'ufw is not installed' >&2; exit 127; };")
            .raw("grep -h '^### tuple' /etc/ufw/user.rules /etc/ufw/user6.rules; grep -h '^DEFAULT_' /etc/default/ufw;")
            .raw("grep -h '^LOGLEVEL=' /etc/ufw/ufw.conf; ufw status | head -n 1;")
            // the port that we came in by, or those that sshd would say it listens on
            .raw("set -- $SSH_CONNECTION; p=$4;")
            .raw("if [ -z \"$p\" ] && command -v sshd >/dev/null; then p=$(sshd -T 2>/dev/null | sed -n 's/^port //p');")
            .raw("[ -n \"$p\" ] || p=$(sed -n 's/^[Pp]ort[ =]*//p' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null);")
            .raw("p=${p:-22}; fi; for n in $p; do echo \"port $n\"; done");
        vec![Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let output = observed::output(observed.answers, 0, "ufw")?;
        if output.rc == 127 {
            return Err(Failure::new("ufw is not installed on the host").hint("install the package ufw first"));
        }
        let seen = Seen::parse(&output.stdout_text());
        let rule = self.rule.map(|action| self.wanted(action));
        let mut steps = Steps::default();
        if let Some(level) = &self.logging {
            self.logging(level, &seen, &mut steps);
        }
        // rules before policies before the state: what is let in is let in first
        if let (Some(action), Some(rule)) = (self.rule, &rule) {
            self.rule_step(action, rule, &seen, &mut steps);
        }
        let kept = rule.as_ref().filter(|_| !self.delete);
        let closing = self.default.filter(|policy| *policy != Policy::Allow);
        let closes = closing.is_some() && self.policy_key() == "DEFAULT_INPUT_POLICY";
        if let Some(policy) = self.default
            && !seen.policy_is(self.policy_key(), policy)
        {
            if closes && seen.active && !seen.lets_operators_in(kept) {
                return Err(locked_out(&seen.ssh));
            }
            let direction = self.policy_direction();
            let script = Script::new().raw("ufw default").raw(policy.word()).raw(direction);
            steps.add(script, format!("default {direction}: {}", policy.word()));
        }
        match self.state {
            Some(State::Enabled) if !seen.active => {
                let open = seen.policy_is("DEFAULT_INPUT_POLICY", Policy::Allow) && !closes;
                if !open && !seen.lets_operators_in(kept) {
                    return Err(locked_out(&seen.ssh));
                }
                steps.add(Script::new().raw("ufw --force enable"), "active".to_owned());
            }
            Some(State::Disabled) if seen.active => steps.add(Script::new().raw("ufw disable"), "inactive".to_owned()),
            Some(State::Reloaded) if seen.active => steps.add(Script::new().raw("ufw reload"), "reloaded".to_owned()),
            Some(State::Reset) => steps.add(Script::new().raw("ufw --force reset"), "reset".to_owned()),
            Some(State::Enabled | State::Disabled | State::Reloaded) | None => {}
        }
        if steps.operations.is_empty() {
            return Ok(Plan::NoChange(Return::msg("already as wanted")));
        }
        let diff = Diff {
            before_header: "ufw".to_owned(),
            after_header: "ufw".to_owned(),
            before: String::new(),
            after: steps.lines,
        };
        Ok(Plan::Change(Change {
            diff: vec![diff],
            operations: steps.operations,
            then: Then::Finish,
            forecast: Return::default(),
        }))
    }
}

#[derive(Default)]
struct Steps {
    operations: Vec<Operation>,
    lines: String,
}

impl Steps {
    fn add(&mut self, script: Script, line: String) {
        self.operations.push(Operation::run(script));
        self.lines.push_str(&format!("{line}\n"));
    }
}

fn locked_out(ports: &[String]) -> Failure {
    let ports = ports.join(", ");
    Failure::new(format!("this would close port {ports}, which the operator comes in by"))
        .hint(format!("let it in first: `ufw: {{rule: limit, port: {ports}, proto: tcp}}`"))
}

impl Args {
    fn policy_key(&self) -> &'static str {
        match self.direction {
            None | Some(Direction::Incoming) => "DEFAULT_INPUT_POLICY",
            Some(Direction::Outgoing) => "DEFAULT_OUTPUT_POLICY",
            Some(Direction::Routed) => "DEFAULT_FORWARD_POLICY",
        }
    }

    fn policy_direction(&self) -> &'static str {
        match self.direction {
            None | Some(Direction::Incoming) => "incoming",
            Some(Direction::Outgoing) => "outgoing",
            Some(Direction::Routed) => "routed",
        }
    }

    fn logging(&self, level: &str, seen: &Seen, steps: &mut Steps) {
        let (level, wanted) = match level {
            "on" | "True" => ("on", "low"),
            "off" | "False" => ("off", "off"),
            other => (other, other),
        };
        let any_will_do = level == "on" && !matches!(seen.level.as_str(), "off" | "");
        if seen.level != wanted && !any_will_do {
            steps.add(Script::new().raw("ufw logging").arg(level), format!("logging: {level}"));
        }
    }

    /// The rule as ufw would store it.
    fn wanted(&self, action: Action) -> Rule {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(any);
        let open =
            |address: &str| if matches!(address, "0.0.0.0/0" | "::/0" | "") { any() } else { address.to_owned() };
        let side = if self.direction == Some(Direction::Outgoing) { "out" } else { "in" };
        let interface = match (&self.interface, &self.interface_in, &self.interface_out) {
            (Some(name), ..) => format!("{side}_{name}"),
            (None, Some(into), Some(out)) => format!("in_{into}!out_{out}"),
            (None, Some(into), None) => format!("in_{into}"),
            (None, None, Some(out)) => format!("out_{out}"),
            (None, None, None) => side.to_owned(),
        };
        let log = if self.log { "_log" } else { "" };
        let route = if self.route { "route:" } else { "" };
        Rule {
            action: format!("{route}{}{log}", action.word()),
            proto: word(&self.proto),
            to_port: word(&self.to_port),
            to: open(&self.to_ip),
            from_port: word(&self.from_port),
            from: open(&self.from_ip),
            app: self.name.clone().unwrap_or_default(),
            direction: interface,
            comment: self.comment.clone().unwrap_or_default(),
        }
    }

    fn rule_step(&self, action: Action, wanted: &Rule, seen: &Seen, steps: &mut Steps) {
        let same = |rule: &&Rule| {
            // an application stands for its ports, which only ufw knows
            let target = match wanted.app.is_empty() {
                true => rule.app.is_empty() && rule.proto == wanted.proto && rule.to_port == wanted.to_port,
                false => rule.app == wanted.app,
            };
            let comment = self.comment.is_none() || self.delete || rule.comment == wanted.comment;
            target
                && comment
                && rule.action == wanted.action
                && (&rule.to, &rule.from, &rule.from_port, &rule.direction)
                    == (&wanted.to, &wanted.from, &wanted.from_port, &wanted.direction)
        };
        let there = seen.rules.iter().any(|rule| same(&rule));
        if there != self.delete {
            return;
        }
        let mut script = Script::new().raw("ufw");
        if self.route {
            script = script.raw("route");
        }
        script = match (self.delete, self.insert) {
            (true, _) => script.raw("delete"),
            (false, Some(position)) => script.raw("insert").arg(position.to_string()),
            (false, None) => script,
        };
        script = script.raw(action.word());
        let on = |script: Script, side: &'static str, name: &Option<String>| match name {
            Some(name) => script.raw(side).raw("on").arg(name.as_str()),
            None => script,
        };
        script = match (&self.interface, self.direction) {
            (Some(_), Some(Direction::Outgoing)) => on(script, "out", &self.interface),
            (Some(_), _) => on(script, "in", &self.interface),
            (None, Some(Direction::Outgoing)) if !self.route => script.raw("out"),
            (None, Some(Direction::Incoming)) if !self.route => script.raw("in"),
            (None, _) => on(on(script, "in", &self.interface_in), "out", &self.interface_out),
        };
        if self.log {
            script = script.raw("log");
        }
        let side = |script: Script, word: &'static str, address: &str, port: &Option<String>, app: &Option<String>| {
            let script = script.raw(word).arg(address);
            match (port, app) {
                (Some(port), _) => script.raw("port").arg(port.as_str()),
                (None, Some(app)) => script.raw("app").arg(app.as_str()),
                (None, None) => script,
            }
        };
        script = side(script, "from", &wanted.from, &self.from_port, &None);
        script = side(script, "to", &wanted.to, &self.to_port, &self.name);
        if let Some(proto) = self.proto.as_ref().filter(|proto| *proto != "any") {
            script = script.raw("proto").arg(proto.as_str());
        }
        if let Some(comment) = self.comment.as_ref().filter(|_| !self.delete) {
            script = script.raw("comment").arg(comment.as_str());
        }
        let line = script.shown();
        steps.add(script, line.trim_start_matches("ufw ").to_owned());
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::{calls, said};
    use serde_json::json;

    const RULES: &str = "### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in comment=77656220736572766572
### tuple ### allow tcp 5432 0.0.0.0/0 any 10.0.0.0/8 in
### tuple ### allow any 53 0.0.0.0/0 any 0.0.0.0/0 in_eth0
### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in
DEFAULT_INPUT_POLICY=\"DROP\"
DEFAULT_OUTPUT_POLICY=\"ACCEPT\"
LOGLEVEL=low
";

    #[test]
    fn what_ufw_has_decides() {
        let active = format!("{RULES}Status: active\nport 22\n");
        let table = [
            (json!({"rule": "limit", "port": 22, "proto": "tcp"}), vec![]),
            (json!({"rule": "limit", "port": "ssh"}), vec![]),
            (json!({"rule": "allow", "port": "80,443", "proto": "tcp", "comment": "web server"}), vec![]),
            (json!({"rule": "allow", "port": "5432", "proto": "tcp", "src": "10.0.0.0/8"}), vec![]),
            (json!({"rule": "allow", "port": "53", "interface": "eth0", "direction": "in"}), vec![]),
            (json!({"rule": "allow", "name": "OpenSSH"}), vec![]),
            (json!({"rule": "allow", "port": "8080", "delete": true}), vec![]),
            (json!({"state": "enabled"}), vec![]),
            (json!({"default": "deny"}), vec![]),
            (json!({"logging": "on"}), vec![]),
            (json!({"policy": "allow", "direction": "outgoing", "state": "enabled", "logging": "low"}), vec![]),
            (json!({"rule": "allow", "port": 80, "proto": "tcp"}), vec!["ufw allow from any to any port 80 proto tcp"]),
            (
                json!({"rule": "allow", "port": "80,443", "proto": "tcp", "comment": "web"}),
                vec!["ufw allow from any to any port 80,443 proto tcp comment web"],
            ),
            (json!({"rule": "deny", "from_ip": "1.2.3.4", "insert": 1}), vec!["ufw insert 1 deny from 1.2.3.4 to any"]),
            (
                json!({"rule": "limit", "port": 22, "proto": "tcp", "delete": true}),
                vec!["ufw delete limit from any to any port 22 proto tcp"],
            ),
            (json!({"rule": "allow", "name": "Nginx Full"}), vec!["ufw allow from any to any app 'Nginx Full'"]),
            (json!({"state": "disabled"}), vec!["ufw disable"]),
            (json!({"default": "reject"}), vec!["ufw default reject incoming"]),
        ];
        for (args, expected) in table {
            assert_eq!(calls("ufw", args.clone(), &[said(&active)], &[]).unwrap(), expected, "{args}");
        }
        for wrong in [
            json!({}),
            json!({"rule": "allow", "port": "http;id"}),
            json!({"rule": "allow", "insert_relative_to": "zero"}),
            json!({"rule": "allow", "name": "X", "port": 1}),
            json!({"rule": "allow", "port": 1, "proto": "icmp"}),
        ] {
            assert!(calls("ufw", wrong.clone(), &[said(&active)], &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_operator_is_not_locked_out() {
        let off = |rules: &str| said(&format!("{rules}DEFAULT_INPUT_POLICY=\"DROP\"\nStatus: inactive\nport 2222\n"));
        let enable = json!({"state": "enabled"});
        assert!(calls("ufw", enable.clone(), &[off(RULES)], &[]).unwrap_err().contains("close port 2222"));
        let range = "### tuple ### allow tcp 2000:3000 0.0.0.0/0 any 0.0.0.0/0 in\n";
        assert_eq!(calls("ufw", enable.clone(), &[off(range)], &[]).unwrap(), ["ufw --force enable"]);
        let both = json!({"state": "enabled", "rule": "allow", "port": 2222, "proto": "tcp"});
        assert_eq!(calls("ufw", both, &[off("")], &[]).unwrap().len(), 2);
        let local = said("DEFAULT_INPUT_POLICY=\"DROP\"\nStatus: inactive\n");
        assert_eq!(calls("ufw", enable, &[local], &[]).unwrap(), ["ufw --force enable"]);
    }
}
