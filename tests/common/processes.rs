//! The process lists of both sides, sampled while something runs.
//!
//! Process namespaces nest: this machine's /proc shows the processes of the lab's hosts and of the containers inside
//! them as well, so one look covers both sides. The search's self-check proves that.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(40);

/// Looks until it is asked what it saw.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: JoinHandle<HashSet<Vec<u8>>>,
}

impl Sampler {
    pub fn start() -> Sampler {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), looks.clone());
        let thread = std::thread::spawn(move || {
            let mut seen = HashSet::new();
            while !stopped.load(Ordering::SeqCst) {
                look(&mut seen);
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Sampler { stop, looks, thread }
    }

    /// Every command line that was seen, and how often was looked.
    pub fn end(self) -> (HashSet<Vec<u8>>, usize) {
        self.stop.store(true, Ordering::SeqCst);
        let seen = self.thread.join().unwrap();
        (seen, self.looks.load(Ordering::SeqCst))
    }
}

fn look(seen: &mut HashSet<Vec<u8>>) {
    for (_, line) in command_lines() {
        if !seen.contains(&line) {
            seen.insert(line);
        }
    }
}

fn command_lines() -> impl Iterator<Item = (String, Vec<u8>)> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().into_string().ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
        // a process may end while it is looked at
        let mut line = std::fs::read(entry.path().join("cmdline")).ok()?;
        line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        (!line.is_empty()).then_some((pid, line))
    })
}

/// Every process of now: pid and command line.
pub fn lines() -> Vec<String> {
    command_lines().map(|(pid, line)| format!("{pid} {}", String::from_utf8_lossy(&line))).collect()
}
