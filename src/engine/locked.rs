//! All hosts of a run are locked before anything is done on one of them, or none is.
//!
//! Nobody waits while holding something, so nobody waits for ever. Where two runs come at the same moment and each gets a
//! part, the one that began later gives way and the earlier one tries again. Leaves out hosts that cannot be reached: the
//! plays meet them again and say why.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::host::Fate;
use super::lock;
use super::run::{Batch, Planned, Run};
use super::walk::Walk;
use crate::event::{Kind, Level};

/// How often the earlier of two runs tries again, and after which pause.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(1500);

/// How one host answered.
enum Answer {
    Ours,
    /// Not reached, or only the rest of a killed run is there: the first change will see.
    Later,
    Held {
        text: String,
        hint: String,
        /// Its holder began after this run.
        later: bool,
    },
}

/// `false`: some host was refused; nothing is locked and nothing was done.
pub(super) async fn lock_all(run: &Arc<Run>, planned: &[Planned], hosts: &[String]) -> bool {
    let batches = first_batches(run, planned, hosts);
    for again in 0..TRIES {
        let walks = batches
            .iter()
            .flat_map(|batch| batch.hosts.iter().filter_map(|name| Some(Walk::new(batch.clone(), run.host(name)?))));
        let answers: Vec<(Walk, Answer)> = join_all(walks.map(ask)).await;
        let held = |answer: &Answer| matches!(answer, Answer::Held { .. });
        if !answers.iter().any(|(_, answer)| held(answer)) {
            return true;
        }
        join_all(run.hosts.values().map(|host| host.wire.release())).await;
        let gives_way =
            |answer: &Answer| matches!(answer, Answer::Held { later: true, .. } | Answer::Ours | Answer::Later);
        if again + 1 < TRIES && answers.iter().all(|(_, answer)| gives_way(answer)) && !run.cancel.is_cancelled() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let mut others = Vec::new();
        for (mut walk, answer) in answers {
            match answer {
                Answer::Held { text, hint, .. } => walk.refuse(text, hint),
                Answer::Ours | Answer::Later => others.push(walk.host.name.clone()),
            }
        }
        let rest = if others.is_empty() { String::new() } else { format!("; not begun: {}", others.join(", ")) };
        let text = format!("nothing was touched, for not all hosts could be had{rest}");
        run.emit.emit(Kind::Note { host: None, level: Level::Warning, text });
        return false;
    }
    false
}

/// The hosts at the beginning of their first plays: their users and variables are those of that play.
fn first_batches(run: &Arc<Run>, planned: &[Planned], hosts: &[String]) -> Vec<Arc<Batch>> {
    let wanted = |name: &String| run.host(name).is_some_and(|host| !host.implicit && host.fate() == Fate::Well);
    let mut left: HashSet<&str> = hosts.iter().filter(|name| wanted(name)).map(String::as_str).collect();
    let begin = |(index, planned): (usize, &Planned)| {
        let names: Vec<String> = planned.hosts.iter().filter(|name| left.remove(name.as_str())).cloned().collect();
        (!names.is_empty()).then(|| Batch::new(run, &planned.play, index, names, &planned.hosts))
    };
    planned.iter().enumerate().filter_map(begin).collect()
}

async fn ask(walk: Walk) -> (Walk, Answer) {
    let _place = walk.place().await;
    let answer = claim(&walk).await.unwrap_or(Answer::Later);
    (walk, answer)
}

async fn claim(walk: &Walk) -> Option<Answer> {
    let task = walk.own_task("Lock", "setup")?;
    let route = walk.route(&task, &walk.scope(&task)).ok()?;
    let claim = walk.run.claim(&route.host.name, &route.lock);
    let way = walk.way(&route).await.ok()?;
    Some(match way.claim(&claim).await.ok()? {
        None => Answer::Ours,
        Some(note) if lock::left_by_a_dead_run(&note, &claim) => Answer::Later,
        Some(note) => {
            let (text, hint) = lock::refusal(&route.host.name, &note, &claim.owner);
            Answer::Held { text, hint, later: lock::came_later(&note, &claim) }
        }
    })
}
