//! `provision metrics`: what was slow and what failed, over the last runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::error::Result;
use crate::report::metrics::{self, Row};
use crate::report::style::{bold, duration, set_colour, table};
use crate::report::{journal, metrics::Metrics};

#[derive(Args)]
#[command(after_help = "Examples:
  provision metrics              the last 50 runs
  provision metrics -n 10 --top 5
  provision metrics --json       for programs

TREND compares the newest time with the median of those before it. Runs with --check do not count.")]
pub struct Flags {
    /// How many runs to look at
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How many rows of each table
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Where the journals are kept
    #[arg(long, value_name = "DIR", env = "PROVISION_RUNS", default_value = "runs")]
    runs_dir: PathBuf,
}

pub fn main(flags: Flags) -> Result<u8> {
    set_colour("auto");
    let mut ids = journal::list(&flags.runs_dir);
    ids.retain(|id| !journal::is_merged(&flags.runs_dir, id));
    let newest = ids.iter().skip(ids.len().saturating_sub(flags.limit));
    let metrics = metrics::of(newest.filter_map(|id| journal::read(&flags.runs_dir, id).ok()));
    if flags.json {
        println!("{}", as_json(&metrics, flags.top));
        return Ok(0);
    }
    println!("{} runs", metrics.runs);
    for (name, rows) in sections(&metrics) {
        if rows.is_empty() {
            continue;
        }
        let mut cells =
            vec![[name, "TIMES", "FAILED", "MEDIAN", "SLOWEST", "TOTAL", "TREND"].map(str::to_owned).to_vec()];
        cells.extend(rows.iter().take(flags.top).map(|row| {
            vec![
                row.name.clone(),
                row.took.len().to_string(),
                row.failed.to_string(),
                duration(row.median()),
                duration(row.slowest()),
                duration(row.total()),
                row.trend().map(|percent| format!("{percent:+} %")).unwrap_or_default(),
            ]
        }));
        println!();
        for (index, line) in table(&cells).iter().enumerate() {
            println!("{}", if index == 0 { bold(line) } else { line.clone() });
        }
    }
    Ok(0)
}

fn sections(metrics: &Metrics) -> [(&'static str, &[Row]); 4] {
    [("TASK", &metrics.tasks), ("HOST", &metrics.hosts), ("SERVICE", &metrics.services), ("COMMAND", &metrics.commands)]
}

fn as_json(metrics: &Metrics, top: usize) -> Value {
    let rows = |rows: &[Row]| -> Value {
        rows.iter()
            .take(top)
            .map(|row| {
                json!({"name": row.name, "times": row.took.len(), "failed": row.failed, "median_ms": row.median(),
                    "slowest_ms": row.slowest(), "total_ms": row.total(), "trend_percent": row.trend()})
            })
            .collect()
    };
    let mut object = json!({"runs": metrics.runs});
    for (name, list) in sections(metrics) {
        object[format!("{}s", name.to_lowercase())] = rows(list);
    }
    object
}
