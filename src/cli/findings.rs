//! Findings: what playbooks that look for trouble say, one task each. A task is named `<id>: <title>` and is a `shell`:
//! rc 0 is well, 3 could not be looked at, everything else is a finding; what it prints is the evidence, a line
//! `fix: …` what to do. Used by `doctor` and by `verify --security`.

use serde_json::{Value, json};

use crate::event::{Outcome, Status, TaskRef};
use crate::report::style::{dim, green, red, yellow};

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub host: String,
    pub service: Option<String>,
    /// e.g. `env-mode`
    pub id: String,
    pub title: String,
    pub verdict: Verdict,
    pub evidence: Vec<String>,
    pub fix: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Pass,
    Fail,
    /// It would fail, and somebody has said why that is accepted.
    Waived(String),
    /// Could not be looked at.
    Skip,
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Waived(_) => "waived",
            Verdict::Skip => "skip",
        }
    }
}

/// At most so many lines of evidence are shown.
const SHOWN: usize = 12;

impl Finding {
    /// What a task says; None if it is no such task, or was not run.
    pub fn of(host: &str, task: &TaskRef, outcome: &Outcome) -> Option<Finding> {
        let (id, title) = task.name.split_once(": ")?;
        let is_id =
            |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if outcome.status == Status::Skipped || !is_id(id) {
            return None;
        }
        let (verdict, text) = match (task.action.as_str(), outcome.status, outcome.rc()) {
            ("shell", Status::Ok | Status::Changed, Some(0)) => (Verdict::Pass, outcome.text("stdout")),
            ("shell", Status::Ok | Status::Changed, Some(3)) => (Verdict::Skip, outcome.text("stdout")),
            ("shell", Status::Ok | Status::Changed, _) => (Verdict::Fail, outcome.text("stdout")),
            (_, Status::Ok | Status::Changed, _) => (Verdict::Pass, outcome.text("msg")),
            (_, Status::Failed, _) => (Verdict::Fail, outcome.text("msg")),
            (_, Status::Skipped | Status::Uncertain | Status::Unreachable, _) => return None,
        };
        let mut finding = Finding::new(host, task.service.as_deref(), id, title, verdict);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix("fix: ") {
                Some(fix) => finding.fix = Some(fix.to_owned()),
                None => finding.evidence.push(line.to_owned()),
            }
        }
        finding.fix = finding.fix.or_else(|| outcome.hint.clone()).filter(|_| finding.verdict != Verdict::Pass);
        Some(finding)
    }

    pub fn new(host: &str, service: Option<&str>, id: &str, title: &str, verdict: Verdict) -> Finding {
        Finding {
            host: host.to_owned(),
            service: service.map(str::to_owned),
            id: id.to_owned(),
            title: title.to_owned(),
            verdict,
            evidence: Vec::new(),
            fix: None,
        }
    }

    /// The same, accepted for a reason if one is given for its id, or for its id and service.
    pub fn waived(self, waivers: &Value) -> Finding {
        if self.verdict != Verdict::Fail {
            return self;
        }
        let own = self.service.as_ref().and_then(|service| waivers.get(format!("{}/{service}", self.id)));
        match own.or_else(|| waivers.get(&self.id)).and_then(Value::as_str) {
            Some(reason) if !reason.trim().is_empty() => {
                Finding { verdict: Verdict::Waived(reason.to_owned()), ..self }
            }
            _ => self,
        }
    }

    pub fn json(&self) -> Value {
        let reason = match &self.verdict {
            Verdict::Waived(reason) => Some(reason),
            Verdict::Pass | Verdict::Fail | Verdict::Skip => None,
        };
        json!({"host": self.host, "service": self.service, "item": self.id, "title": self.title,
            "result": self.verdict.word(), "evidence": self.evidence, "fix": self.fix, "waived_because": reason})
    }

    pub fn tell(&self) {
        let place =
            self.service.as_ref().map_or_else(|| self.host.clone(), |service| format!("{}/{service}", self.host));
        let tag = match &self.verdict {
            Verdict::Pass => green("[OK]"),
            Verdict::Fail => red("[FAIL]"),
            Verdict::Waived(_) => yellow("[WAIVED]"),
            Verdict::Skip => dim("[SKIP]"),
        };
        println!("{tag} {place} {}: {}", self.id, self.title);
        if let Verdict::Waived(reason) = &self.verdict {
            println!("       accepted: {reason}");
        }
        let most = if self.verdict == Verdict::Pass { 1 } else { SHOWN };
        for line in self.evidence.iter().take(most) {
            println!("       {}", dim(line));
        }
        if self.evidence.len() > most && self.verdict != Verdict::Pass {
            println!("       {}", dim(&format!("… and {} more", self.evidence.len() - most)));
        }
        if let Some(fix) = self.fix.as_deref().filter(|_| matches!(self.verdict, Verdict::Fail)) {
            println!("       fix: {fix}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(name: &str, rc: i64, stdout: &str) -> Option<Finding> {
        let task = TaskRef { name: name.to_owned(), action: "shell".to_owned(), ..TaskRef::default() };
        let result = json!({"rc": rc, "stdout": stdout}).as_object().unwrap().clone();
        Finding::of("a", &task, &Outcome { result, ..Outcome::default() })
    }

    #[test]
    fn exit_codes_are_verdicts_and_what_is_printed_is_evidence() {
        let finding = heard("env-mode: .env is private", 1, "/a/.env 644\nfix: chmod 600 it\n").unwrap();
        assert_eq!(
            (finding.verdict.word(), finding.evidence.as_slice()),
            ("fail", ["/a/.env 644".to_owned()].as_slice())
        );
        assert_eq!(finding.fix.as_deref(), Some("chmod 600 it"));
        assert_eq!(heard("x: y", 0, "fine").unwrap().verdict, Verdict::Pass);
        assert_eq!(heard("x: y", 3, "no docker").unwrap().verdict, Verdict::Skip);
        assert_eq!(heard("Some task", 1, ""), None);
        assert_eq!(heard("Some Task: it", 1, ""), None);
    }

    #[test]
    fn a_waiver_needs_a_reason() {
        let fail = || heard("env-mode: y", 1, "").unwrap();
        assert_eq!(fail().waived(&json!({"env-mode": "read by the panel"})).verdict.word(), "waived");
        assert_eq!(fail().waived(&json!({"env-mode": " "})).verdict.word(), "fail");
        assert_eq!(fail().waived(&json!({"other": "x"})).verdict.word(), "fail");
        let of_service = Finding { service: Some("chat".to_owned()), ..fail() };
        assert_eq!(of_service.clone().waived(&json!({"env-mode/chat": "x"})).verdict.word(), "waived");
        assert_eq!(of_service.waived(&json!({"env-mode/hub": "x"})).verdict.word(), "fail");
        assert_eq!(heard("x: y", 0, "").unwrap().waived(&json!({"x": "r"})).verdict, Verdict::Pass);
    }
}
