//! Keys that are asked about where they are used: one request from here to who gave the key out, before anything is
//! touched. Only a plain "no" counts; who does not answer at all has not refused.
//!
//! The key travels in a header, never in an address or an argument list. The same question is put once, however many
//! clients have the same key.

use futures::StreamExt;
use indexmap::IndexMap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::engine::outside_check;
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::report::style::{dim, yellow};
use crate::services::Rollout;
use crate::services::render::LiveCheck;

/// How many are asked at once.
const AT_ONCE: usize = 8;

/// What came of one client's key.
pub struct Asked {
    pub host: String,
    pub service: String,
    /// The setting.
    pub key: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    Taken,
    /// With the status and the address.
    Refused(String),
    /// Nobody knows: no answer, or one that says something else.
    Unknown(String),
}

/// Asks about every key of the rollout.
pub async fn ask(rollout: &Rollout) -> Vec<Asked> {
    let mut questions: IndexMap<String, (&LiveCheck, Vec<(&str, &str)>)> = IndexMap::new();
    for host in rollout.hosts.values() {
        for service in &host.services {
            for check in &service.live_checks {
                let same = json!([check.key, check.url, check.headers]).to_string();
                questions.entry(same).or_insert((check, Vec::new())).1.push((&host.host, &service.id));
            }
        }
    }
    let answers = futures::stream::iter(questions.into_values())
        .map(|(check, who)| async move { (check, who, verdict(check).await) })
        .buffered(AT_ONCE);
    let answers: Vec<_> = answers.collect().await;
    let each = answers.into_iter().flat_map(|(check, who, verdict)| {
        who.into_iter().map(move |(host, service)| Asked {
            host: host.to_owned(),
            service: service.to_owned(),
            key: check.key.clone(),
            verdict: verdict.clone(),
        })
    });
    each.collect()
}

async fn verdict(check: &LiveCheck) -> Verdict {
    // every status is an answer, and nobody is followed: the key is for this address only
    let every: Vec<u16> = (100..600).collect();
    let http = json!({"url": check.url, "headers": check.headers, "status": every});
    let args = json!({"check": {"name": check.key, "timeout": 10, "http": http}, "address": ""});
    let args = args.as_object().cloned().unwrap_or_else(Object::new);
    match outside_check::check(args, &CancellationToken::new()).await {
        Err(failure) => Verdict::Unknown(failure.msg),
        Ok(answer) => match answer.values.get("status").and_then(Value::as_u64).unwrap_or_default() {
            200..=299 => Verdict::Taken,
            status if check.refused.iter().any(|one| u64::from(*one) == status) => {
                Verdict::Refused(format!("{} answers {status}", check.url))
            }
            status => Verdict::Unknown(format!("{} answers {status}", check.url)),
        },
    }
}

/// A refused key is a mistake in the configuration: nothing has been touched yet.
pub async fn refuse(rollout: &Rollout) -> Result<()> {
    let mut errors = Vec::new();
    for Asked { host, service, key, verdict } in ask(rollout).await {
        match verdict {
            Verdict::Taken => eprintln!("{}", dim(&format!("{host}/{service}: {key} is taken"))),
            Verdict::Unknown(why) => {
                eprintln!("{} {host}/{service}: whether {key} is valid is not known: {why}", yellow("warning:"));
            }
            Verdict::Refused(why) => errors.push(
                Error::new(format!("host `{host}`: service `{service}`: `{key}` is refused: {why}")).hint(format!(
                    "`provision secrets set {service}/{key} --host {host}`, or --no-live-check to go on with it"
                )),
            ),
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}
