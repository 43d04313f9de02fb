//! Runs a playbook's text on this machine, through the real lane, and gives back its events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use provision::engine::{Job, Summary, run};
use provision::event::{Event, Kind, Outcome, Status};
use provision::inventory::Inventory;
use provision::plan::Object;
use provision::playbook;
use provision::secrets::Redactor;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A folder with an inventory and a playbook.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub check: bool,
    pub window: usize,
    pub grace: Duration,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub extra: Object,
    pub cancel: CancellationToken,
    pub redactor: Redactor,
}

pub struct Ran {
    pub summary: Summary,
    pub events: Vec<Event>,
}

impl Bench {
    /// Hosts that are all this machine.
    pub fn new(hosts: &[&str]) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        std::fs::create_dir(&lock).unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        let mut inventory = String::from("all:\n  vars:\n    ansible_connection: local\n");
        inventory.push_str(&format!("    out: {}\n", dir.path().join("out").display()));
        inventory.push_str("  hosts:\n");
        for host in hosts {
            // each host has its own lock, as different machines would
            let own = lock.join(host);
            std::fs::create_dir(&own).unwrap();
            inventory.push_str(&format!("    {host}: {{provision_lock_dir: {}}}\n", own.display()));
        }
        std::fs::write(dir.path().join("hosts.yml"), inventory).unwrap();
        Bench {
            dir,
            check: false,
            window: 16,
            grace: provision::engine::GRACE,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            extra: Object::new(),
            cancel: CancellationToken::new(),
            redactor: Redactor::new(),
        }
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.out(name).exists()
    }

    pub fn job(&self, text: &str) -> Job {
        let path = self.file("play.yml", text);
        Job {
            run: format!("test-{}", self.dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.')),
            plays: playbook::load(&path).unwrap_or_else(|error| panic!("{error}")),
            inventory: Arc::new(
                Inventory::load(&[self.dir.path().join("hosts.yml")]).unwrap_or_else(|error| panic!("{error}")),
            ),
            redactor: self.redactor.clone(),
            services: None,
            extra_vars: self.extra.clone(),
            limit: Vec::new(),
            check: self.check,
            diff: true,
            forks: 10,
            connects_at_once: 10,
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            command: vec!["provision".to_owned()],
            become_password: None,
            window: self.window,
            grace: self.grace,
            locks: provision::engine::Locks::default(),
        }
    }

    pub async fn run(&self, text: &str) -> Ran {
        self.run_job(self.job(text)).await
    }

    pub async fn run_job(&self, job: Job) -> Ran {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let summary = run(job, sender, self.cancel.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.seq, index as u64 + 1, "events are numbered without gaps");
        }
        Ran { summary, events }
    }
}

impl Ran {
    /// `host: task [status]` of every finished task, in the order of their ends; items indented.
    pub fn story(&self) -> String {
        let mut lines = Vec::new();
        for event in &self.events {
            match &event.kind {
                Kind::TaskFinished { host, task, outcome } if task.name != "Gathering Facts" => {
                    lines.push(format!("{host}: {} [{}]", task.name, status(outcome)));
                }
                Kind::ItemFinished { host, task, outcome } => {
                    let item = task.item.as_deref().unwrap_or("?");
                    lines.push(format!("  {host}: {} ({item}) [{}]", task.name, status(outcome)));
                }
                _ => {}
            }
        }
        lines.join("\n")
    }

    pub fn outcome(&self, name: &str) -> &Outcome {
        let found = self.events.iter().find_map(|event| match &event.kind {
            Kind::TaskFinished { task, outcome, .. } if task.name == name => Some(outcome),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no task `{name}` in\n{}", self.story()))
    }

    pub fn result(&self, name: &str) -> Value {
        Value::Object(self.outcome(name).result.clone())
    }

    pub fn msg(&self, name: &str) -> Value {
        self.outcome(name).result.get("msg").cloned().unwrap_or_default()
    }

    /// Everything that happened, without times and what follows from them.
    pub fn timeless(&self) -> Vec<Value> {
        let mut events: Vec<Value> =
            self.events.iter().map(|event| serde_json::to_value(&event.kind).unwrap()).collect();
        events.retain(|event| event["event"] != "task_progress");
        events.iter_mut().for_each(strip);
        events
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["took_ms", "elapsed", "delta", "start", "end", "at", "mtime", "ctime", "atime", "inode", "ino"]
            {
                map.shift_remove(key);
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

fn status(outcome: &Outcome) -> String {
    let status = match outcome.status {
        Status::Ok => "ok",
        Status::Changed => "changed",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
        Status::Unreachable => "unreachable",
        Status::Uncertain => "uncertain",
    };
    if outcome.ignored { format!("{status}, ignored") } else { status.to_owned() }
}
