//! What a verb that deletes data needs before it begins: somebody who types the hosts' names, or says so in advance in
//! words that nobody writes by habit.

use std::io::{IsTerminal, Write};

use clap::Args;

use crate::error::{Error, Result};

#[derive(Args, Clone)]
pub struct Consent {
    /// Delete data without asking for the hosts' names
    #[arg(long)]
    pub yes_really: bool,
}

impl Consent {
    /// Without a terminal, or with `--yes`, only `--yes-really` will do.
    pub fn is_possible(&self, yes: bool) -> Result<()> {
        match (self.yes_really, yes) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::new("this deletes data, for which --yes is not enough")
                .hint("add --yes-really; or leave --yes out and type the hosts' names when asked")),
            (false, false) if !std::io::stdin().is_terminal() => {
                Err(Error::new("this deletes data, and there is no terminal to type the host's name on")
                    .hint("add --yes-really to go on without asking, or --check to only look"))
            }
            (false, false) => Ok(()),
        }
    }

    /// Has each host's name typed.
    pub fn ask(&self, what: &str, hosts: &[String]) -> Result<bool> {
        if self.yes_really {
            return Ok(true);
        }
        for host in hosts {
            eprint!("{what} Escriba el nombre del host ({host}) para continuar: ");
            let _ = std::io::stderr().flush();
            let mut typed = String::new();
            let read = std::io::stdin().read_line(&mut typed);
            read.map_err(|error| Error::new(format!("cannot read the answer: {error}")))?;
            if typed.trim() != host {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
