//! `provision update`: services are updated in batches of clients; a bad version stops at the first.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::digests::Look;
use super::newer;
use super::slice::{BeforehandFlags, Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::services::Grain;

#[derive(Args)]
#[command(after_help = "Examples:
  provision update --host clienteA --services chat            images, backup, deployment with migrations, health, URLs
  provision update --all --batch 1,25%,100% --soak 300        one client first, five minutes' look, then more
  provision update --all --canary --on-fail rollback          what fails goes back to the release before
  provision update --all --batch 10% --max-fail 5% --max-fail-batch 1 --on-fail rollback-batch --pulls 4
  provision update --all --check --diff                       newer tags, moved digests, what would change; touches nothing
  provision update --all --check --json --detailed-exitcode   for programs: 3 if there is something newer
  provision update --all --canary --lock                      keep digests in fleet.lock from now on

An update brings a client to the versions that the registry and the inventory name (`versions: {chat: v4.18.0}`), and a
name that moves, like `latest`, to its newest image. The backup that the package declares is taken before anything changes.
Where there is a fleet.lock beside the inventory, tags are resolved once, all batches get the same digests, and what a
client has taken well is written there: `provision --host …` and `up` then bring exactly that to every client.")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Sizes of the batches, numbers or percentages; the last counts for all further ones
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "100%")]
    batch: Vec<String>,
    /// One client first, then all others; the same as --batch 1,100%
    #[arg(long, conflicts_with = "batch")]
    canary: bool,
    /// Seconds to wait after each batch but the last, before it is looked at once more
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    soak: u64,
    /// How many clients may fail, a number or a percentage, unreachable ones too, before no further batch begins
    #[arg(long, value_name = "N", default_value = "0")]
    max_fail: String,
    /// The same for the clients of one batch
    #[arg(long, value_name = "N")]
    max_fail_batch: Option<String>,
    /// At most so many clients pull images at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pulls: Option<u32>,
    /// What happens when an update fails
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnFail::Stop)]
    on_fail: OnFail,
    /// Stop every service before its new version starts, also where both could run for a moment
    #[arg(long)]
    stop_first: bool,
    /// Take no backup before the update
    #[arg(long, visible_alias = "sin-backup")]
    no_backup: bool,
    /// With --check: exit with 3 if there are newer images that no pin with a reason holds back
    #[arg(long)]
    detailed_exitcode: bool,
    /// From now on keep what images mean in fleet.lock, beside the inventory, for all clients
    #[arg(long)]
    lock: bool,
    #[command(flatten)]
    beforehand: BeforehandFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnFail {
    /// The service stays where it stopped; when more have failed than may, no further batch begins
    Stop,
    /// The service stays where it stopped; all batches are done, whatever fails
    Continue,
    /// The service goes back to the release before; otherwise as `stop`
    Rollback,
    /// The same, and when more have failed than may, the whole batch goes back
    RollbackBatch,
    /// The same, and when more have failed than may, everything that this run changed goes back
    RollbackAll,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let sizes = if flags.canary { vec!["1".to_owned(), "100%".to_owned()] } else { flags.batch.clone() };
    let sizes = sizes.iter().map(|size| batch(size)).collect::<Result<Vec<Value>>>()?;
    let most = |flag: &str, text: &str| {
        limit(text).map_err(|error| Error { text: format!("{flag}: {}", error.text), ..error })
    };
    let max_fail = most("--max-fail", &flags.max_fail)?;
    let max_fail_batch = flags.max_fail_batch.as_deref().map(|text| most("--max-fail-batch", text)).transpose()?;
    if matches!(flags.on_fail, OnFail::Continue) && (flags.max_fail != "0" || max_fail_batch.is_some()) {
        return Err(Error::new(
            "--on-fail continue goes on whatever fails, so there is nothing that --max-fail could say",
        )
        .hint("leave one of the two out"));
    }
    if flags.detailed_exitcode && !flags.slice.run.check {
        return Err(Error::new("--detailed-exitcode is about --check").hint("add --check, or leave it out"));
    }
    let (mut fleet, hosts) = flags.slice.load()?;
    if flags.lock {
        fleet.lock.get_or_insert_default();
    }
    if hosts.len() > 1 {
        flags.slice.stays("the batches of several clients, and when to stop, are decided by this machine")?;
    }
    let newer = match flags.slice.run.check {
        true => {
            let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Included)?;
            fleet.sudo_password(flags.slice.run.ask_become_pass)?;
            newer::look(&fleet, &hosts, &rollout, flags.slice.run.json).await?
        }
        false => false,
    };
    let rollout = flags.slice.prepare_locked(Grain::Services, &mut fleet, &hosts, Dependencies::Included, Look::All)?;
    flags.beforehand.ask(&rollout).await?;
    let on_fail = match flags.on_fail {
        OnFail::Stop => "stop",
        OnFail::Continue => "continue",
        OnFail::Rollback => "rollback",
        OnFail::RollbackBatch => "rollback-batch",
        OnFail::RollbackAll => "rollback-all",
    };
    let vars = [
        ("update_batches", Value::Array(sizes)),
        ("update_soak", Value::from(flags.soak)),
        ("update_max_fail", max_fail),
        ("update_max_fail_batch", max_fail_batch.unwrap_or_else(|| Value::from(""))),
        ("update_pulls", Value::from(flags.pulls.unwrap_or(0))),
        ("update_on_fail", Value::from(on_fail)),
        ("start_first", Value::from(!flags.stop_first)),
        ("update_backup", Value::from(!flags.no_backup)),
    ];
    let book = Book {
        playbook: "playbooks/update.yml",
        vars: vars.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(flags.beforehand.vars()).collect(),
        skip_tags: &[],
        question: "¿Actualizar estos servicios?",
    };
    let code = flags.slice.perform(fleet, hosts, rollout, &book).await?;
    Ok(if code == 0 && newer && flags.detailed_exitcode { 3 } else { code })
}

/// `3` or `25%`.
fn batch(text: &str) -> Result<Value> {
    let wrong = || {
        Error::new(format!("--batch: `{text}` is neither a number from 1 on nor a percentage up to 100%"))
            .hint("for example --batch 1,25%,100%")
    };
    let number = text.trim().strip_suffix('%');
    let size: u32 = number.unwrap_or(text).trim().parse().map_err(|_| wrong())?;
    match (size, number) {
        (0, _) => Err(wrong()),
        (101.., Some(_)) => Err(wrong()),
        (_, Some(_)) => Ok(Value::from(text.trim())),
        (size, None) => Ok(Value::from(size)),
    }
}

/// `0`, `3` or `25%`.
fn limit(text: &str) -> Result<Value> {
    match text.trim() {
        "0" | "0%" => Ok(Value::from(0)),
        _ => batch(text).map_err(|_| {
            Error::new(format!("`{text}` is neither a number nor a percentage up to 100%"))
                .hint("for example 2, or 10%")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_percentages_or_none() {
        assert_eq!(limit("0").unwrap(), Value::from(0));
        assert_eq!(limit("25%").unwrap(), Value::from("25%"));
        assert!(limit("many").unwrap_err().to_string().contains("`many` is neither a number nor a percentage"));
    }

    #[test]
    fn batches_are_numbers_or_percentages() {
        assert_eq!(batch("3").unwrap(), Value::from(3));
        assert_eq!(batch(" 25% ").unwrap(), Value::from("25%"));
        for wrong in ["0", "0%", "101%", "x", "", "-1", "1.5"] {
            assert!(batch(wrong).unwrap_err().to_string().contains("neither a number from 1 on nor"), "{wrong}");
        }
    }
}
