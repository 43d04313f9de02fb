//! The containers of provisioned services on a host, for the verbs that work with them as they run: who they are, how
//! they are called, how they are reached.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use crate::engine::route;
use crate::error::{Error, Result};
use crate::lane::{Become, Connection, Connections, Target, Trouble};
use crate::plan::{Answer, Query, Script};
use crate::services::world::host_scope;

/// Names of compose projects and swarm stacks that are provisioned begin with this.
const OURS: &str = "versatile-";

/// A container as people call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// The package: `vnm` of the project `versatile-vnm`.
    pub package: String,
    /// The service of its stack: `backend`.
    pub service: String,
    pub image: String,
    /// `Up 2 minutes (healthy)`.
    pub status: String,
    pub ports: String,
}

/// A host that is connected to.
pub struct Reached {
    pub host: String,
    pub target: Target,
    pub who: Option<Become>,
    pub connection: Connection,
}

/// Asks a host's Docker for its containers, one a line, fields between tabs.
const LIST: &str = "docker ps --no-trunc $all --format '{{.ID}}\t{{.Names}}\t{{.Label \"com.docker.compose.project\"}}{{.Label \"com.docker.stack.namespace\"}}\t{{.Label \"com.docker.compose.service\"}}{{.Label \"com.docker.swarm.service.name\"}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}'";

/// Which containers are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Running,
    All,
}

impl Reached {
    /// Connects as the inventory says.
    pub async fn new(
        fleet: &Fleet,
        connections: &Connections,
        host: &str,
    ) -> Result<std::result::Result<Self, Trouble>> {
        let scope = host_scope(&fleet.inventory, host, &fleet.extra_vars);
        let names: BTreeSet<String> = fleet
            .inventory
            .layers(host)
            .iter()
            .flat_map(|layer| layer.vars.keys().cloned().collect::<Vec<_>>())
            .collect();
        let names: Vec<String> = names.into_iter().chain(fleet.extra_vars.keys().cloned()).collect();
        let (target, who) = route::of_host(&scope, &names, host, &fleet.redactor)?;
        let connection = match connections.open(&target, &CancellationToken::new()).await {
            Ok(connection) => connection,
            Err(trouble) => return Ok(Err(trouble)),
        };
        Ok(Ok(Reached { host: host.to_owned(), target, who, connection }))
    }

    /// What a script says, or why not.
    pub async fn says(&self, script: Script) -> std::result::Result<String, String> {
        let answers = self.connection.ask(self.who.as_ref(), &[Query::Run(script)]).await;
        match answers.map_err(|trouble| trouble.msg)?.into_iter().next() {
            Some(Answer::Output(output)) if output.ok() => Ok(output.stdout_text()),
            Some(Answer::Output(output)) => Err(output.stderr_text().trim().to_owned()),
            _ => Err("the host gave no answer".to_owned()),
        }
    }

    /// The containers of provisioned services.
    pub async fn containers(&self, which: Which) -> std::result::Result<Vec<Container>, String> {
        let all = if which == Which::All { "all=-a\n" } else { "all=\n" };
        Ok(parse(&self.says(Script::new().raw(all).raw(LIST)).await?))
    }
}

fn parse(lines: &str) -> Vec<Container> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, name, project, service, image, status, ports] = fields.as_slice() else { return None };
        let package = project.strip_prefix(OURS)?;
        Some(Container {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            package: package.to_owned(),
            service: service.strip_prefix(&format!("{project}_")).unwrap_or(service).to_owned(),
            image: (*image).to_owned(),
            status: (*status).to_owned(),
            ports: (*ports).to_owned(),
        })
    };
    let mut found: Vec<Container> = lines.lines().filter_map(of_line).collect();
    found.sort_by(|a, b| (&a.package, &a.service, &a.name).cmp(&(&b.package, &b.service, &b.name)));
    found
}

impl Container {
    /// `vnm/backend`, or `redis` where the package is one container of the same name.
    pub fn called(&self) -> String {
        if self.package == self.service { self.package.clone() } else { format!("{}/{}", self.package, self.service) }
    }

    /// Is it meant by a package, a service of a stack, both, or a container's name?
    pub fn is_called(&self, word: &str) -> bool {
        // an instance's project has its name with a dash: chat@tienda2 is versatile-chat-tienda2
        let word = &word.replacen('@', "-", 1);
        [&self.package, &self.service, &self.name].into_iter().any(|name| name == word)
            || word.split_once('/').is_some_and(|(package, service)| self.package == package && self.service == service)
    }
}

/// The one container that a word means on a host.
pub fn the_one<'c>(containers: &'c [Container], word: &str, host: &str) -> Result<&'c Container> {
    let meant: Vec<&Container> = containers.iter().filter(|container| container.is_called(word)).collect();
    let all =
        || containers.iter().map(Container::called).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    match meant.as_slice() {
        [] if containers.is_empty() => Err(Error::new(format!("no provisioned service runs on {host}"))
            .hint(format!("`provision up --host {host}` starts what it declares"))),
        [] => Err(Error::new(format!("nothing that runs on {host} is called `{word}`"))
            .hint(format!("there is: {}", all()))
            .did_you_mean(word, containers.iter().flat_map(|c| [c.package.as_str(), c.service.as_str()]))),
        [one] => Ok(one),
        // the service that gave the package its name, or one of several that are alike
        several => match several.iter().find(|one| one.service == word) {
            Some(one) => Ok(one),
            None => {
                let names: BTreeSet<String> = several.iter().map(|one| one.called()).collect();
                match names.len() {
                    1 => several.first().copied().ok_or_else(|| Error::new("none")),
                    _ => Err(Error::new(format!("`{word}` is several containers on {host}"))
                        .hint(format!("say which: {}", names.into_iter().collect::<Vec<_>>().join(", ")))),
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> Vec<Container> {
        parse(
            "1\tvnm_backend_debug\tversatile-vnm\tbackend\tvnm/backend:1.0\tUp 2 minutes (healthy)\t\n\
             2\tvnm_postgres_debug\tversatile-vnm\tpostgres\tpostgres:17\tUp\t\n\
             3\tversatile-chat_web.1.x\tversatile-chat\tversatile-chat_web\tchat\tUp\t\n\
             4\tversatile-redis\tversatile-redis\tredis\tredis:8\tUp\t\n\
             5\tother\tworkspace\tbackend\tx\tUp\t\n6\tplain\t\t\tx\tUp\t\n",
        )
    }

    #[test]
    fn strangers_are_left_out_and_names_are_short() {
        let called: Vec<String> = containers().iter().map(Container::called).collect();
        assert_eq!(called, ["chat/web", "redis", "vnm/backend", "vnm/postgres"]);
    }

    #[test]
    fn a_word_means_one_container_or_is_refused() {
        let all = containers();
        let one = |word: &str| the_one(&all, word, "a").map_or_else(|error| error.to_string(), |one| one.id.clone());
        for (word, id) in
            [("backend", "1"), ("vnm/postgres", "2"), ("web", "3"), ("chat", "3"), ("vnm_backend_debug", "1")]
        {
            assert_eq!(one(word), id, "{word}");
        }
        let several = one("vnm");
        assert!(several.contains("`vnm` is several containers") && several.contains("vnm/backend, vnm/postgres"));
        let none = one("bakend");
        assert!(none.contains("nothing that runs on a is called `bakend`") && none.contains("`backend`"), "{none}");
    }
}
