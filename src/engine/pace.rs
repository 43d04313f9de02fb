//! Where each host of a batch is, so that hosts can run on without waiting for each other except where it shows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use tokio::sync::watch;

/// A place in a play: indices from the play's list inwards. Every host passes them in ascending order.
pub(super) type Position = Vec<u32>;

#[derive(Clone, Debug, PartialEq)]
enum Reached {
    At(Position),
    Gone,
}

pub(super) struct Pace {
    hosts: watch::Sender<IndexMap<String, Reached>>,
    once: Mutex<HashMap<Position, Once>>,
    gone: AtomicUsize,
}

/// A task that one host does for all.
struct Once {
    leader: String,
    result: watch::Sender<Option<Arc<Shared>>>,
}

/// What the leader of a `run_once` task hands to the others.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub registered: Option<(String, serde_json::Value)>,
    pub facts: crate::plan::Object,
    pub set: crate::plan::Object,
    /// Why the others fail too.
    pub failed: Option<String>,
}

/// Who does a `run_once` task.
pub(super) enum Turn {
    Mine,
    /// The leader's result; `None` if it left without one.
    Theirs(Option<Arc<Shared>>),
}

impl Pace {
    pub fn new(hosts: impl Iterator<Item = String>) -> Self {
        let start = hosts.map(|host| (host, Reached::At(Position::new()))).collect();
        Pace { hosts: watch::Sender::new(start), once: Mutex::default(), gone: AtomicUsize::new(0) }
    }

    pub fn reach(&self, host: &str, position: &Position) {
        self.set(host, Reached::At(position.clone()));
    }

    /// The host takes no more part in the play.
    pub fn leave(&self, host: &str) {
        self.set(host, Reached::Gone);
        self.gone.fetch_add(1, Ordering::SeqCst);
        let once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        for task in once.values().filter(|task| task.leader == host && task.result.borrow().is_none()) {
            // whoever waits for it learns that nothing will come
            task.result.send_modify(|_| ());
        }
    }

    fn set(&self, host: &str, reached: Reached) {
        self.hosts.send_modify(|hosts| {
            if let Some(place) = hosts.get_mut(host) {
                *place = reached;
            }
        });
    }

    /// Waits until no other host is before this position.
    pub async fn together(&self, host: &str, position: &Position) {
        let mut hosts = self.hosts.subscribe();
        let there = |hosts: &IndexMap<String, Reached>| {
            hosts.iter().all(|(name, reached)| match reached {
                Reached::At(at) => name == host || at >= position,
                Reached::Gone => true,
            })
        };
        // fails only when the sender is gone, and it is ours
        let _ = hosts.wait_for(there).await;
    }

    /// Grows whenever [`Pace::alive`] shrinks.
    pub fn gone(&self) -> usize {
        self.gone.load(Ordering::SeqCst)
    }

    /// Hosts that still take part.
    pub fn alive(&self) -> Vec<String> {
        let hosts = self.hosts.borrow();
        hosts.iter().filter(|(_, reached)| **reached != Reached::Gone).map(|(name, _)| name.clone()).collect()
    }

    /// Call after [`Pace::together`]. The first host at this position does the task, the others wait for its result.
    pub async fn turn(&self, host: &str, position: &Position) -> Turn {
        let (leader, mut result) = {
            let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
            let task = once.entry(position.clone()).or_insert_with(|| {
                let hosts = self.hosts.borrow();
                let here = Reached::At(position.clone());
                let first = hosts.iter().find(|(_, reached)| **reached == here).map(|(name, _)| name.clone());
                Once { leader: first.unwrap_or_else(|| host.to_owned()), result: watch::Sender::new(None) }
            });
            (task.leader.clone(), task.result.subscribe())
        };
        if leader == host {
            return Turn::Mine;
        }
        loop {
            if let Some(shared) = result.borrow_and_update().clone() {
                return Turn::Theirs(Some(shared));
            }
            if self.hosts.borrow().get(&leader) == Some(&Reached::Gone) {
                return Turn::Theirs(None);
            }
            if result.changed().await.is_err() {
                return Turn::Theirs(None);
            }
        }
    }

    pub fn share(&self, position: &Position, shared: Shared) {
        let once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = once.get(position) {
            task.result.send_modify(|result| *result = Some(Arc::new(shared)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pace() -> Arc<Pace> {
        Arc::new(Pace::new(["a", "b"].map(str::to_owned).into_iter()))
    }

    #[tokio::test]
    async fn a_host_waits_for_those_behind_it_and_not_for_those_that_left() {
        let pace = pace();
        pace.reach("a", &vec![3]);
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.together("a", &vec![3]).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        pace.reach("b", &vec![2, 9]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        pace.leave("b");
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn the_first_host_does_it_for_all() {
        let pace = pace();
        pace.reach("a", &vec![1]);
        pace.reach("b", &vec![1]);
        assert!(matches!(pace.turn("a", &vec![1]).await, Turn::Mine));
        let other = tokio::spawn({
            let pace = pace.clone();
            async move { pace.turn("b", &vec![1]).await }
        });
        pace.share(
            &vec![1],
            Shared { registered: None, facts: Default::default(), set: Default::default(), failed: Some("x".into()) },
        );
        pace.reach("a", &vec![2]);
        match other.await.unwrap() {
            Turn::Theirs(Some(shared)) => assert_eq!(shared.failed.as_deref(), Some("x")),
            _ => panic!("b should have had a's result"),
        }
    }
}
