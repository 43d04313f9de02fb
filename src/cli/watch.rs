//! `provision watch`: the first day after a deployment. Samples what the servers use and makes the services' checks,
//! again and again; tells what breaks a threshold, and at the end the least, middle and most of everything.

use std::time::{Duration, Instant};

use clap::Args;

use super::look::{Effects, LookFlags, is_check, trouble};
use crate::error::{Error, Result};
use crate::event::{Kind, Status};
use crate::plan::Object;
use crate::report::say;
use crate::report::style::{bold, dim, green, red, table};

mod series;

use series::{Limits, Series};

#[derive(Args)]
#[command(after_help = "Examples:
  provision watch --host clienteA --for 24h
  provision watch --host clienteA --for 10m --every 30s --cpu 90
  provision watch --host prod --for 1h --json > day.jsonl

Thresholds of a service's own numbers (error rate, latency, circuit breakers) are checks of its package with `json` and
`json_max`. Ctrl-C ends it early, with the report. Exit code 1 if a threshold was broken.")]
pub struct Flags {
    #[command(flatten)]
    look: LookFlags,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = duration)]
    lasting: Duration,
    /// From one round to the next
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    every: Duration,
    /// Most processor time in use, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 70.0)]
    cpu: f64,
    /// Most memory in use, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 80.0)]
    memory: f64,
    /// Least room on any disk, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0)]
    disk_free: f64,
    /// Most time spent waiting for disks, in per cent of the processors' time or of the last minute (pressure)
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0)]
    iowait: f64,
    /// Slowest answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    response: Duration,
    /// Most restarts of a container while it is watched
    #[arg(long, value_name = "N", default_value_t = 0)]
    restarts: u64,
    /// Most lines with errors in the logs between two rounds
    #[arg(long, value_name = "N", default_value_t = 0)]
    errors: u64,
    /// One JSON object per value
    #[arg(long)]
    json: bool,
}

/// `90s`, `10m`, `24h`, `2d`; a bare number is seconds.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) = match text.trim().strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => match text.trim().split_at(text.trim().len().saturating_sub(1)) {
            (number, "s") => (number, 1.0),
            (number, "m") => (number, 60.0),
            (number, "h") => (number, 3600.0),
            (number, "d") => (number, 86_400.0),
            _ => (text.trim(), 1.0),
        },
    };
    let seconds = number.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let seconds = seconds.ok_or_else(|| format!("`{text}` is no length of time; write 90s, 10m, 24h"))? * unit;
    Ok(Duration::from_secs_f64(seconds.min(366.0 * 86_400.0)))
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.every > flags.lasting {
        return Err(Error::new("--every is longer than --for").hint("a round would never come"));
    }
    let limits = Limits {
        cpu: flags.cpu,
        memory: flags.memory,
        disk_free: flags.disk_free,
        iowait: flags.iowait,
        response_ms: flags.response.as_secs_f64() * 1000.0,
        restarts: flags.restarts as f64,
        errors: flags.errors as f64,
    };
    let mut series = Series::new(limits);
    let begin = Instant::now();
    let mut rounds = 0_u64;
    loop {
        let started = Instant::now();
        let round = round(&flags, &mut series);
        tokio::select! {
            ended = round => ended?,
            _ = tokio::signal::ctrl_c() => break,
        }
        rounds += 1;
        let next = started + flags.every;
        if next >= begin + flags.lasting || say::nobody_reads() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    let line = format!("{rounds} rounds in {} s", begin.elapsed().as_secs());
    let broken = series.broken();
    if !flags.json {
        let mut rows = vec![["CLIENT", "WHAT", "MIN", "AVG", "MAX", "LIMIT", "BROKEN"].map(str::to_owned).to_vec()];
        rows.extend(series.rows());
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { line });
        }
    }
    let told = match broken {
        0 => green(&format!("{line}: no threshold was broken")),
        n => red(&format!("{line}: thresholds were broken {n} times")),
    };
    if flags.json {
        eprintln!("{told}")
    } else {
        println!("{told}")
    }
    Ok(u8::from(broken > 0))
}

/// One look at everything.
async fn round(flags: &Flags, series: &mut Series) -> Result<()> {
    let since = format!("{}s", flags.every.as_secs().max(1));
    let vars = Object::from_iter([("since".to_owned(), since.into())]);
    let mut values = Vec::new();
    let looked = flags.look.load()?;
    let severities = looked.severities();
    looked
        .play(&flags.look, "playbooks/watch.yml", vars, Effects::None, |event, _| {
            let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
            if is_check(&task) && outcome.status != Status::Skipped {
                let service = task.service.as_deref().unwrap_or("-");
                let failed = matches!(outcome.status, Status::Failed | Status::Unreachable);
                let what = format!("{service} {}", task.name);
                let key = (host.clone(), service.to_owned(), task.name.clone());
                // one of severity `warning` is told and has no limit
                let word = if severities.get(&key).is_some_and(|word| word == "warning") { "warns" } else { "fails" };
                values.push((
                    host.clone(),
                    format!("{what}: {word}"),
                    f64::from(failed),
                    outcome.text("msg").to_owned(),
                ));
                if let Some(took) = outcome.result.get("elapsed_ms").and_then(serde_json::Value::as_f64) {
                    values.push((host, format!("{what}: ms"), took, String::new()));
                }
            } else if task.name == "sample" && outcome.status == Status::Ok {
                for (what, value) in series::sampled(outcome.text("stdout")) {
                    values.push((host.clone(), what, value, String::new()));
                }
            } else if let Some(trouble) = trouble(&outcome) {
                values.push((host, "reached: fails".to_owned(), 1.0, trouble));
            }
        })
        .await?;
    for (host, what, value, text) in values {
        let broken = series.add(&host, &what, value);
        if flags.json {
            let at = jiff::Timestamp::now().to_string();
            println!("{}", serde_json::json!({"at": at, "host": host, "what": what, "value": value, "broken": broken}));
        } else if broken {
            let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            println!("{} {} {host} {what}: {value} {}", dim(&now), red("over"), series.limit_text(&what));
            if !text.is_empty() {
                println!("         {}", dim(&text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        let table = [("90s", 90.0), ("10m", 600.0), ("24h", 86_400.0), ("1d", 86_400.0), ("5", 5.0), ("500ms", 0.5)];
        for (text, seconds) in table {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for wrong in ["", "h", "-1s", "1y", "0s", "NaN"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
