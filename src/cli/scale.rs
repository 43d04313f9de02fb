//! `provision scale`: so many containers of a service, until the next deployment.

use clap::Args;
use serde_json::{Value, json};

use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision scale --host clienteA hub/worker=3             three containers of the hub's service `worker`
  provision scale --host clienteA hub/worker=1 hub/web=2

What a package or client declares (`deploy: {replicas: …}` in the stack) comes back with the next deployment.")]
pub struct Flags {
    /// package/service=N
    #[arg(required = true, value_name = "PACKAGE/SERVICE=N")]
    wanted: Vec<String>,
    #[command(flatten)]
    slice: SliceFlags,
}

pub async fn main(mut flags: Flags) -> Result<u8> {
    let mut wanted = flags.wanted.iter().map(|word| parse(word)).collect::<Result<Vec<_>>>()?;
    if flags.slice.services.is_some() {
        return Err(Error::new("--services and PACKAGE/SERVICE=N say the same").hint("leave --services out"));
    }
    flags.slice.services = Some(wanted.iter().map(|(package, service, _)| format!("{package}/{service}")).collect());
    let (fleet, hosts) = flags.slice.load()?;
    for (package, _, _) in &mut wanted {
        *package = fleet.catalogue.instance(package)?.to_string();
    }
    // a part that the stack does not have is found here, before anybody is connected to
    let rollout = flags.slice.prepare_parts(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let list =
        wanted.iter().map(|(package, service, count)| json!({"package": package, "service": service, "count": count}));
    let book = Book {
        playbook: "playbooks/scale.yml",
        vars: Object::from_iter([("scale".to_owned(), Value::from(list.collect::<Vec<_>>()))]),
        skip_tags: &[],
        question: "¿Cambiar la cantidad de contenedores?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}

fn parse(word: &str) -> Result<(String, String, u32)> {
    let wrong = || Error::new(format!("`{word}`: not of the form package/service=N")).hint("e.g. hub/worker=3");
    let (name, count) = word.split_once('=').ok_or_else(wrong)?;
    let (package, service) = name.split_once('/').unwrap_or((name, name));
    let count = count.parse::<u32>().ok().filter(|count| *count <= 100).ok_or_else(wrong)?;
    if package.is_empty() || service.is_empty() {
        return Err(wrong());
    }
    Ok((package.to_owned(), service.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_containers_is_read() {
        assert_eq!(parse("hub/worker=3").unwrap(), ("hub".to_owned(), "worker".to_owned(), 3));
        assert_eq!(parse("redis=0").unwrap(), ("redis".to_owned(), "redis".to_owned(), 0));
        for wrong in ["hub", "hub=", "hub=x", "hub=-1", "/x=1", "hub=101"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
