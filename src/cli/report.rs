//! `provision report`: a run as a file for people (HTML) or for CI systems (JUnit).

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::history::chosen;
use super::merge;
use crate::error::{Error, Result};
use crate::report::{html, journal, junit};

#[derive(Args)]
#[command(after_help = "Examples:
  provision report                              the last run as runs/<id>/report.html
  provision report 20261123-120342517-7f3a --html informe.html
  provision report last --junit junit.xml

The HTML file needs nothing else and holds no secret; it is readable for you alone (mode 0600).")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    act: Option<Act>,
    /// A run's id, or `last`
    #[arg(default_value = "last")]
    run: String,
    /// Where to write the page [default: report.html in the run's folder, unless --junit is given]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where to write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Where the journals are kept
    #[arg(long, value_name = "DIR", env = "PROVISION_RUNS", default_value = "runs")]
    runs_dir: PathBuf,
}

#[derive(Subcommand)]
enum Act {
    /// The journals of the parts of a fleet (--shard) as one run
    #[command(visible_alias = "unir")]
    Merge(merge::Flags),
}

pub fn main(flags: Flags) -> Result<u8> {
    if let Some(Act::Merge(flags)) = &flags.act {
        return merge::main(flags);
    }
    let id = chosen(&flags.runs_dir, &flags.run)?;
    let events = journal::read(&flags.runs_dir, &id)?;
    let page = match (&flags.html, &flags.junit) {
        (None, Some(_)) => None,
        (None, None) => Some(flags.runs_dir.join(&id).join("report.html")),
        (Some(path), _) => Some(path.clone()),
    };
    if let Some(path) = &page {
        write(path, &html::render(&events))?;
    }
    if let Some(path) = &flags.junit {
        write(path, &junit::render(&events))?;
    }
    for path in page.iter().chain(&flags.junit) {
        println!("{}", path.display());
    }
    Ok(0)
}

/// The file appears whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    let trouble = |error: std::io::Error| Error::new(format!("cannot write `{}`: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(trouble)?;
    file.write_all(text.as_bytes()).map_err(trouble)?;
    file.persist(path).map_err(|error| trouble(error.error))?;
    Ok(())
}
