//! `provision menu`, and `provision` alone on a terminal: clients → services → what to do with them. What is chosen
//! becomes the words of an ordinary command line, which is shown, parsed and run like one that was typed: there is no
//! second way to do anything.
//!
//! The texts are in the users' language.

use std::io::BufRead;

use clap::{Args, FromArgMatches};

use super::common::{Fleet, FleetFlags, speak_as};
use super::screen::list::{Choice, Entry, HowMany, List};
use super::screen::{self, Said};
use super::{Cli, command, dispatch, ended};
use crate::error::{Error, Result};
use crate::report::style::{bold, dim};

mod shelf;
mod verbs;

#[derive(Args)]
#[command(after_help = "Example:
  provision menu

Keys: letters search, digits are numbers of entries (1,3,5 are three), space marks, capital I, A, U, T show what is
installed, available, waiting for an update, everything; Enter goes on, Escape back; q, exit or sair and Enter leave.
Everything that is chosen is shown as the command that does the same.")]
pub struct Flags {
    #[command(flatten)]
    pub fleet: FleetFlags,
}

/// Ends with 0 when the operator leaves, with 130 on Ctrl-C; how the commands ended was said when they did.
pub fn main(flags: Flags) -> Result<u8> {
    if !screen::is_possible() {
        return Err(Error::new("the menu needs a terminal").hint("say it with flags: provision --help"));
    }
    match clients(&flags.fleet)? {
        Next::Interrupted => Ok(130),
        Next::Back | Next::Leave => Ok(0),
    }
}

/// Where a screen leads to, besides deeper.
#[derive(PartialEq, Eq)]
enum Next {
    Back,
    Leave,
    Interrupted,
}

/// The chosen part of the matrix, in the words of the flags.
struct Slice {
    hosts: Vec<String>,
    /// `clienteA,clienteB`, a group, or `all`.
    pattern: String,
    /// None: what each client declares.
    services: Option<Vec<String>>,
}

/// An answer of a list; everything else is where to go.
fn choose(list: &mut List) -> Result<std::result::Result<Vec<usize>, Next>> {
    Ok(match screen::talk(list)? {
        Said::Interrupted => Err(Next::Interrupted),
        Said::Answer(Choice::Chosen(positions)) => Ok(positions),
        Said::Answer(Choice::Back) => Err(Next::Back),
        Said::Answer(Choice::Leave) => Err(Next::Leave),
    })
}

fn clients(flags: &FleetFlags) -> Result<Next> {
    loop {
        let fleet = flags.load()?;
        let entries = client_entries(&fleet)?;
        if entries.is_empty() {
            return Err(Error::new("the inventory has no hosts").hint("write them into inventory/hosts.yml"));
        }
        let mut list = List::new("provision · ¿En qué clientes?", entries.clone(), HowMany::Some);
        let chosen = match choose(&mut list)? {
            Ok(chosen) => chosen,
            Err(next) => return Ok(next),
        };
        let names: Vec<String> = chosen.into_iter().map(|index| entries[index].id.clone()).collect();
        let pattern = names.join(",");
        let hosts = fleet.select(&pattern)?;
        let all = hosts.len() > 1 && hosts.len() == fleet.inventory.hosts().count();
        let pattern = if all { "all".to_owned() } else { pattern };
        match services(flags, Slice { hosts, pattern, services: None })? {
            Next::Back => {}
            next => return Ok(next),
        }
    }
}

fn client_entries(fleet: &Fleet) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for host in fleet.inventory.hosts() {
        let declared = crate::services::declared::services(&fleet.catalogue, &fleet.inventory, &host.name)?;
        let declared = declared.map(|(services, _)| services).unwrap_or_default();
        let vars = fleet.inventory.vars(&host.name);
        let address = vars.get("ansible_host").and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        entries.push(Entry {
            heading: "Clientes".to_owned(),
            id: host.name.clone(),
            title: address,
            state_text: declared.join(", "),
            detail: vec![format!("grupos: {}", host.groups.join(", ")), format!("servicios: {}", declared.join(", "))],
            ..Entry::default()
        });
    }
    for (group, hosts) in fleet.inventory.groups() {
        let worth_it = group != "all" && group != "ungrouped" && !hosts.is_empty();
        if worth_it && fleet.inventory.host(group).is_none() {
            entries.push(Entry {
                heading: "Grupos".to_owned(),
                id: group.clone(),
                title: format!("{} clientes", hosts.len()),
                state_text: hosts.join(", "),
                detail: vec![hosts.join(", ")],
                ..Entry::default()
            });
        }
    }
    Ok(entries)
}

fn services(flags: &FleetFlags, mut slice: Slice) -> Result<Next> {
    let mut kept = Vec::new();
    loop {
        // read anew: the last command may have changed settings, and the operator the registry
        let fleet = flags.load()?;
        let entries = shelf::entries(&fleet, &slice.hosts, shelf::look(&fleet, &slice.hosts)?);
        let title = format!("{} · ¿Qué servicios?", slice.pattern);
        let mut list = List::new(title, entries.clone(), HowMany::Some).marked(&kept);
        let chosen = match choose(&mut list)? {
            Ok(chosen) => chosen,
            Err(next) => return Ok(next),
        };
        kept = chosen.iter().map(|index| entries[*index].id.clone()).collect();
        let everything = kept.iter().any(|id| id == shelf::DECLARED);
        slice.services = (!everything).then(|| kept.clone());
        match actions(flags, &slice)? {
            Next::Back => {}
            next => return Ok(next),
        }
    }
}

/// Ends with `Back` after a command was run, too: the list of services then shows what became of it.
fn actions(flags: &FleetFlags, slice: &Slice) -> Result<Next> {
    let actions = verbs::actions(&command(), flags, slice);
    let entries = actions
        .iter()
        .map(|action| Entry {
            heading: action.heading.to_owned(),
            id: action.name.clone(),
            aliases: action.aliases.clone(),
            title: action.title.clone(),
            detail: vec!["Lo mismo desde la línea de órdenes:".to_owned(), format!("  {}", shown(&action.words))],
            ..Entry::default()
        })
        .collect();
    let what = slice.services.as_ref().map_or("lo declarado".to_owned(), |services| services.join(", "));
    let mut list = List::new(format!("{} · {what} · ¿Qué hacer?", slice.pattern), entries, HowMany::One);
    let action = match choose(&mut list)? {
        Ok(chosen) => chosen.first().and_then(|index| actions.get(*index)),
        Err(next) => return Ok(next),
    };
    let Some(action) = action else { return Ok(Next::Back) };
    match action.complete()? {
        Said::Interrupted => Ok(Next::Interrupted),
        Said::Answer(None) => Ok(Next::Back),
        Said::Answer(Some(words)) => run(&words),
    }
}

/// Runs a command as if it had been typed, and waits until its output was read.
fn run(words: &[String]) -> Result<Next> {
    eprintln!("{}", bold(&format!("$ {}", shown(words))));
    speak_as(words);
    let code = match command().try_get_matches_from(words).and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => ended(dispatch(cli)),
        // its text is clap's own and ends the line
        Err(error) => {
            eprintln!("{error}");
            super::USAGE
        }
    };
    eprint!("{}", dim(&format!("— terminado con código {code}. Intro: volver al menú; q e Intro: salir ")));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let leave = ["q", "x", "exit", "sair", "salir"].contains(&answer.trim().to_lowercase().as_str());
    Ok(if leave || read.is_ok_and(|count| count == 0) { Next::Leave } else { Next::Back })
}

/// A command line as a shell would take it.
fn shown(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}
