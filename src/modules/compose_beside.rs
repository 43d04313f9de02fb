//! Replacing a container without a gap: the new one is started next to the old one, which goes when the new one is ready.
//!
//! Possible where two of a service may run at once; that is told from the compose file. A service may say more by labels:
//! `provision.start-first: "yes"` (two may write to its volumes) or `"no"`, and `provision.drain: COMMAND`, which is run
//! in the old container and makes its health check fail, so that the proxy sends nothing more to it before it stops.

use std::time::Duration;

use super::compose_state::{Action, Kind, Project, Seen, Service, Wish};
use super::docker_wait::{Container, Verdict};
use crate::plan::{Operation, Script};

pub(super) const START_FIRST: &str = "provision.start-first";
pub const DRAIN: &str = "provision.drain";

impl Project {
    /// Why two containers of this service may not run at once; None if they may.
    pub(super) fn gap(&self, name: &str, service: &Service) -> Option<String> {
        let said = service.label(START_FIRST).map(|word| matches!(word.as_str(), "yes" | "true"));
        if said == Some(false) {
            return Some(format!("its label {START_FIRST} says so"));
        }
        if let Some(fixed) = &service.container_name {
            return Some(format!("its container has the fixed name {fixed}"));
        }
        let published = service.ports.iter().filter_map(|port| port.published.as_ref()).map(super::args::as_text);
        if let Some(port) = published.into_iter().find(|port| !port.is_empty() && port != "0") {
            return Some(format!("it holds port {port} of the host"));
        }
        if let Some(mode) = service.network_mode.as_deref().filter(|mode| *mode != "bridge") {
            return Some(format!("its network is {mode}"));
        }
        let shares = |other: &Service| other.network_mode.as_deref() == Some(&format!("service:{name}"));
        if let Some((other, _)) = self.services.iter().find(|(_, other)| shares(other)) {
            return Some(format!("{other} shares its network"));
        }
        let attached = service.networks.iter().flat_map(|networks| networks.values().flatten());
        if let Some(address) =
            attached.into_iter().find_map(|net| net.ipv4_address.as_ref().or(net.ipv6_address.as_ref()))
        {
            return Some(format!("it has the fixed address {address}"));
        }
        let writes = |volume: &&super::compose_state::Volume| {
            matches!(volume.kind.as_str(), "volume" | "bind") && !volume.read_only
        };
        if said.is_none()
            && let Some(volume) = service.volumes.iter().find(writes)
        {
            return Some(format!("it writes to {}", volume.source.as_ref().unwrap_or(&volume.target)));
        }
        if service.ends() {
            return Some("it is not meant to run on".to_owned());
        }
        None
    }
}

impl Seen {
    /// The services whose containers can be replaced without a gap, and why the others cannot.
    pub(super) fn without_gap(&self, wish: &mut Wish) {
        for name in &wish.services {
            let Some(service) = self.project.services.get(name) else { continue };
            let checked = service.healthcheck.is_some() || self.of(name).any(|container| container.health().is_some());
            let gap = match self.project.gap(name, service) {
                Some(gap) => Some(gap),
                None if self.one_shot(name) => Some("others wait for its end".to_owned()),
                None if !checked => Some("it has no health check that says when the new one is ready".to_owned()),
                // there is nothing to serve on
                None if !self.of(name).any(Container::runs) => None,
                None => {
                    wish.beside.push(name.clone());
                    continue;
                }
            };
            if let Some(gap) = gap {
                wish.gaps.insert(name.clone(), gap);
            }
        }
    }

    /// Containers of a service as it should be, and those that are to go.
    fn sides(&self, name: &str, service: &Service, wish: &Wish) -> (Vec<&Container>, Vec<(&Container, String)>) {
        let (mut fresh, mut old) = (Vec::new(), Vec::new());
        for container in self.of(name) {
            match self.outdated(name, service, container, wish) {
                None => fresh.push(container),
                Some(why) => old.push((container, why)),
            }
        }
        // of too many, the oldest stay
        fresh.sort_by_key(|container| container.created());
        let surplus = fresh.split_off(fresh.len().min(service.replicas()));
        old.extend(surplus.into_iter().map(|container| (container, format!("{} wanted", service.replicas()))));
        (fresh, old)
    }

    pub(super) fn beside(&self, name: &str, service: &Service, wish: &Wish) -> Vec<Action> {
        let (fresh, old) = self.sides(name, service, wish);
        let of = |kind, container: &Container, why| Action {
            kind,
            service: name.to_owned(),
            container: Some((container.name().to_owned(), container.id.clone())),
            why,
        };
        let mut actions = Vec::new();
        for index in fresh.len()..service.replicas() {
            actions.push(match old.get(index) {
                Some((container, why)) => of(Kind::Beside, container, why.clone()),
                None => Action {
                    kind: Kind::Beside,
                    service: name.to_owned(),
                    container: None,
                    why: "there is none".to_owned(),
                },
            });
        }
        for container in &fresh {
            if let Some((kind, why)) = self.asleep(name, service, container, wish) {
                actions.push(of(kind, container, why));
            }
        }
        if actions.is_empty() {
            actions.extend(old.iter().map(|(container, why)| of(Kind::Retire, container, why.clone())));
        }
        actions
    }

    /// The containers that nobody waits for: they are on their way out.
    pub(super) fn leaving(&self, wish: &Wish) -> Vec<&str> {
        let of = |name: &String| {
            let service = self.project.services.get(name)?;
            Some(self.sides(name, service, wish).1.into_iter().map(|(container, _)| container.id.as_str()))
        };
        wish.beside.iter().filter_map(of).flatten().collect()
    }

    /// Are all the containers of a service ready that stay?
    pub(super) fn relieved(&self, name: &str, wish: &Wish) -> bool {
        let leaving = self.leaving(wish);
        let verdicts = self.verdicts(&[name.to_owned()], &[]);
        verdicts.iter().all(|(container, verdict)| {
            leaving.contains(&container.id.as_str()) || matches!(verdict, Verdict::Ready | Verdict::Done)
        })
    }

    /// Takes leave of one container, and gives its name to the one that replaced it.
    pub(super) fn retire(&self, action: &Action, wish: &Wish) -> Option<Operation> {
        let (name, id) = action.container.as_ref()?;
        let service = self.project.services.get(&action.service)?;
        let container = self.of(&action.service).find(|container| container.id == *id)?;
        let (fresh, _) = self.sides(&action.service, service, wish);
        // the old container's own word: it knows how it is drained
        let drain =
            Some(container.label(DRAIN)).filter(|drain| !drain.is_empty() && container.health() == Some("healthy"));
        let number = |name: &str| name.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
        let heir = fresh.iter().find(|fresh| number(fresh.name()) > number(name)).map(|fresh| fresh.id.clone());
        let script = Script::new()
            .raw("set --").args([id.clone(), drain.unwrap_or_default().to_owned(), heir.unwrap_or_default(), name.clone()])
            // a proxy that follows Docker's events needs a moment to know the new one, and to forget the old one
            .raw("\nstate() { docker inspect --format '{{.State.Health.Status}}' \"$1\"; }\n")
            .raw("[ \"$(docker inspect --format '{{.State.Running}}' \"$1\")\" != true ] || sleep 3\n")
            .raw("if [ -n \"$2\" ]; then docker exec \"$1\" sh -c \"$2\" || exit\n")
            .raw("n=0; while [ \"$(state \"$1\")\" = healthy ] && [ $n -lt 120 ]; do n=$((n + 1)); sleep 1; done; sleep 3; fi\n")
            .raw("docker stop \"$1\" >/dev/null && docker rm \"$1\" >/dev/null || exit\n")
            .raw("[ -z \"$3\" ] || docker rename \"$3\" \"$4\"");
        let title = format!("docker stop {name} && docker rm {name}");
        Some(Operation::run(script.title(title).timeout(Duration::from_secs(900))))
    }
}

/// The services' names, each once.
pub(super) fn names(actions: &[Action]) -> Vec<String> {
    let mut names: Vec<String> = actions.iter().map(|action| action.service.clone()).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_may_run_at_once_unless_something_is_held() {
        let table = [
            (json!({}), None),
            (
                json!({"ports": [{"target": 80}], "volumes": [{"type": "bind", "source": "/x", "target": "/x", "read_only": true}, {"type": "tmpfs", "target": "/t"}]}),
                None,
            ),
            (json!({"container_name": "web"}), Some("its container has the fixed name web")),
            (json!({"ports": [{"target": 80, "published": "8080"}]}), Some("it holds port 8080 of the host")),
            (json!({"network_mode": "host"}), Some("its network is host")),
            (
                json!({"networks": {"a": null, "b": {"ipv4_address": "10.0.0.2"}}}),
                Some("it has the fixed address 10.0.0.2"),
            ),
            (json!({"volumes": [{"type": "volume", "source": "data", "target": "/data"}]}), Some("it writes to data")),
            (
                json!({"volumes": [{"type": "volume", "source": "data", "target": "/data"}], "labels": {"provision.start-first": "yes"}}),
                None,
            ),
            (json!({"labels": {"provision.start-first": "no"}}), Some("its label provision.start-first says so")),
            (json!({"restart": "on-failure"}), Some("it is not meant to run on")),
        ];
        for (service, wanted) in table {
            let project: Project = serde_json::from_value(json!({"name": "p", "services": {"web": service}})).unwrap();
            assert_eq!(project.gap("web", &project.services["web"]).as_deref(), wanted, "{service}");
        }
        let shared = json!({"name": "p", "services": {"web": {}, "side": {"network_mode": "service:web"}}});
        let project: Project = serde_json::from_value(shared).unwrap();
        assert_eq!(project.gap("web", &project.services["web"]).as_deref(), Some("side shares its network"));
    }
}
