//! A client's diagnosis: what was seen folded into services, and the report that other programs read. Its keys and their
//! order are those of `orquestador_desarrollo.py`, which wrote such reports before.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::plan::Object;
use crate::report::style::{green, red};

/// One client.
pub(super) struct Report {
    /// Local time without a zone, as `2025-10-14T09:00:47`.
    pub timestamp: String,
    pub packages: Vec<Package>,
    /// Why nothing, or not all, could be seen.
    pub trouble: Option<String>,
}

/// One package on the client.
pub(super) struct Package {
    pub id: String,
    pub mode: String,
    pub compose_file: String,
    /// Services of its stack that are meant to stay up, in the stack's order.
    pub expected: Vec<String>,
    /// Check → the services of the stack that it is about; none: the package.
    pub about: Vec<(String, Vec<String>)>,
    pub seen: Vec<Seen>,
    pub made: Vec<Made>,
}

/// A container as the check of it has seen it.
pub(super) struct Seen(pub Object);

/// A check that was made.
pub(super) struct Made {
    pub name: String,
    pub passed: bool,
    /// It does not count.
    pub warning: bool,
    pub text: String,
    pub hint: Option<String>,
}

/// A service of a stack with what is known of it.
struct Service<'r> {
    /// `postgres`, or `chat/postgres` where the report covers several packages.
    key: String,
    container: Option<&'r Seen>,
    checks: Vec<&'r Made>,
}

impl Seen {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// What its health check says; without one, whether it runs.
    fn state(&self) -> &str {
        match (self.text("status"), self.text("health")) {
            ("running", "") => "running",
            ("running", health) => health,
            (status, _) => status,
        }
    }

    fn up(&self, now: Timestamp) -> String {
        let started = self.text("started_at").parse::<Timestamp>().ok().filter(|_| self.text("status") == "running");
        let Some(seconds) = started.map(|started| (now.as_second() - started.as_second()).max(0)) else {
            return "-".to_owned();
        };
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7200 => format!("{} min", seconds / 60),
            7200..172_800 => format!("{} h", seconds / 3600),
            _ => format!("{} d", seconds / 86_400),
        }
    }
}

impl Service<'_> {
    fn state(&self) -> &str {
        self.container.map_or("missing", Seen::state)
    }

    fn is_well(&self) -> bool {
        matches!(self.state(), "healthy" | "running")
    }

    fn runs(&self) -> bool {
        self.container.is_some_and(|container| container.text("status") == "running")
    }

    /// Something answers on its port, and its checks passed. What has no port is reached if it is well.
    fn is_reached(&self) -> bool {
        let answers = self.container.and_then(|container| container.0.get("reachable")).and_then(Value::as_bool);
        answers.unwrap_or(self.is_well()) && self.checks.iter().all(|made| made.passed || made.warning)
    }

    fn port(&self) -> Value {
        self.container.and_then(|container| container.0.get("port")).cloned().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let details = match self.container {
            None => json!({}),
            Some(container) => json!({
                "imagen": container.text("image"),
                "digest": container.text("digest"),
                "estado_contenedor": container.text("status"),
                "iniciado": container.text("started_at"),
                "reinicios": container.0.get("restarts"),
                "codigo_salida": container.0.get("exit_code"),
                "sin_memoria": container.0.get("oom_killed"),
                "ultima_verificacion": container.text("health_log"),
            }),
        };
        let mut details = details.as_object().cloned().unwrap_or_default();
        let checks =
            self.checks.iter().map(|made| json!({"nombre": made.name, "correcta": made.passed, "detalle": made.text}));
        details.insert("comprobaciones".to_owned(), checks.collect());
        json!({
            "contenedor": self.container.map(|container| container.text("name")),
            "estado": self.state(),
            "puerto": self.port(),
            "conectividad": self.is_reached(),
            "detalles": details,
        })
    }
}

impl Report {
    pub fn hear(&mut self, package: &str, made: Made, containers: Vec<Seen>) {
        if let Some(package) = self.packages.iter_mut().find(|known| known.id == package) {
            package.seen.extend(containers);
            package.made.push(made);
        }
    }

    /// Every check that was made, with its package.
    pub fn made(&self) -> impl Iterator<Item = (&str, &Made)> {
        self.packages.iter().flat_map(|package| package.made.iter().map(|made| (package.id.as_str(), made)))
    }

    fn services(&self) -> Vec<Service<'_>> {
        let alone = self.packages.len() == 1;
        let mut services: Vec<Service<'_>> = Vec::new();
        for package in &self.packages {
            let others = package.seen.iter().map(|seen| seen.text("service")).filter(|name| !name.is_empty());
            let mut names: Vec<&str> = package.expected.iter().map(String::as_str).collect();
            for name in others {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            for (index, name) in names.iter().enumerate() {
                let about = |made: &&Made| {
                    let of = package.about.iter().find(|(check, _)| *check == made.name).map(|(_, of)| of.as_slice());
                    match of.unwrap_or_default() {
                        // the check of all containers is in their states
                        [] => index == 0 && made.name != "containers",
                        of => of.iter().any(|service| service == name),
                    }
                };
                let key = if alone { (*name).to_owned() } else { format!("{}/{name}", package.id) };
                let checks: Vec<&Made> = package.made.iter().filter(about).collect();
                let containers: Vec<&Seen> = package.seen.iter().filter(|seen| seen.text("service") == *name).collect();
                match containers.as_slice() {
                    [] => services.push(Service { key, container: None, checks }),
                    all => services.extend(all.iter().enumerate().map(|(copy, container)| Service {
                        key: if copy == 0 { key.clone() } else { format!("{key}-{}", copy + 1) },
                        container: Some(container),
                        checks: checks.clone(),
                    })),
                }
            }
        }
        services
    }

    /// Everything is up, reached, and passes.
    pub fn works(&self) -> bool {
        self.trouble.is_none()
            && !self.packages.is_empty()
            && self.services().iter().all(|service| service.is_well() && service.is_reached())
            && self.made().all(|(_, made)| made.passed || made.warning)
    }

    pub fn json(&self) -> Value {
        let services = self.services();
        let modes = self.packages.first().map(|package| package.mode.as_str()).unwrap_or_default();
        let files: Vec<&str> = self.packages.iter().map(|package| package.compose_file.as_str()).collect();
        let all: Map<String, Value> = services.iter().map(|service| (service.key.clone(), service.json())).collect();
        json!({
            "timestamp": self.timestamp,
            "modo": modes,
            "docker_compose_file": files.join(", "),
            "servicios": all,
            "resumen": {
                "servicios_saludables": services.iter().filter(|service| service.is_well()).count(),
                "servicios_ejecutando": services.iter().filter(|service| service.runs()).count(),
                "total_servicios": services.len(),
                "entorno_operativo": self.works(),
            },
        })
    }

    /// The table's cells, without the client.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let now = Timestamp::now();
        let rows = self.services().into_iter().map(|service| {
            let text = |key: &str| service.container.map_or("-", |container| container.text(key)).to_owned();
            let restarts = service.container.and_then(|container| container.0.get("restarts"));
            vec![
                service.key.clone(),
                text("name"),
                text("image"),
                service.state().to_owned(),
                restarts.map_or_else(|| "-".to_owned(), Value::to_string),
                service.container.map_or_else(|| "-".to_owned(), |container| container.up(now)),
                service.port().as_u64().map_or_else(|| "-".to_owned(), |port| port.to_string()),
                if service.is_reached() { "yes" } else { "no" }.to_owned(),
            ]
        });
        rows.collect()
    }

    pub fn conclusion(&self, host: &str) -> String {
        let services = self.services();
        let well = services.iter().filter(|service| service.is_well()).count();
        let failed = self.made().filter(|(_, made)| !made.passed && !made.warning).count();
        let text = format!("{host}: {well} of {} services are well, {failed} checks failed", services.len());
        if self.works() { green(&text) } else { red(&text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(service: &str, more: Value) -> Seen {
        let mut container = json!({"name": format!("vnm_{service}_debug"), "service": service, "image": "i:1", "digest": "sha256:d",
            "status": "running", "health": "healthy", "restarts": 0, "exit_code": 0, "oom_killed": false,
            "started_at": "2025-10-14T08:00:00Z", "health_log": "fine", "port": 5432, "reachable": true});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Seen(container.as_object().unwrap().clone())
    }

    fn made(name: &str, passed: bool) -> Made {
        Made { name: name.to_owned(), passed, warning: false, text: "SELECT 1".to_owned(), hint: None }
    }

    fn report() -> Report {
        let package = Package {
            id: "vnm".to_owned(),
            mode: "debug".to_owned(),
            compose_file: "docker-compose.debug.yml".to_owned(),
            expected: vec!["postgres".to_owned(), "backend".to_owned()],
            about: vec![("sql".to_owned(), vec!["postgres".to_owned()])],
            seen: vec![seen("postgres", json!({}))],
            made: vec![made("sql", true)],
        };
        Report { timestamp: "2025-10-14T09:00:47".to_owned(), packages: vec![package], trouble: None }
    }

    #[test]
    fn the_report_has_the_keys_that_its_readers_know() {
        let mut report = report();
        report.packages[0].seen.push(seen("backend", json!({"health": "", "port": null, "reachable": null})));
        insta::assert_snapshot!(format!("{:#}", report.json()), @r#"
        {
          "timestamp": "2025-10-14T09:00:47",
          "modo": "debug",
          "docker_compose_file": "docker-compose.debug.yml",
          "servicios": {
            "postgres": {
              "contenedor": "vnm_postgres_debug",
              "estado": "healthy",
              "puerto": 5432,
              "conectividad": true,
              "detalles": {
                "imagen": "i:1",
                "digest": "sha256:d",
                "estado_contenedor": "running",
                "iniciado": "2025-10-14T08:00:00Z",
                "reinicios": 0,
                "codigo_salida": 0,
                "sin_memoria": false,
                "ultima_verificacion": "fine",
                "comprobaciones": [
                  {
                    "nombre": "sql",
                    "correcta": true,
                    "detalle": "SELECT 1"
                  }
                ]
              }
            },
            "backend": {
              "contenedor": "vnm_backend_debug",
              "estado": "running",
              "puerto": null,
              "conectividad": true,
              "detalles": {
                "imagen": "i:1",
                "digest": "sha256:d",
                "estado_contenedor": "running",
                "iniciado": "2025-10-14T08:00:00Z",
                "reinicios": 0,
                "codigo_salida": 0,
                "sin_memoria": false,
                "ultima_verificacion": "fine",
                "comprobaciones": []
              }
            }
          },
          "resumen": {
            "servicios_saludables": 2,
            "servicios_ejecutando": 2,
            "total_servicios": 2,
            "entorno_operativo": true
          }
        }
        "#);
    }

    #[test]
    fn what_is_missing_or_cannot_be_reached_is_told() {
        let missing = report();
        assert!(!missing.works());
        assert_eq!(missing.json()["servicios"]["backend"]["estado"], "missing");
        assert_eq!(missing.json()["resumen"]["servicios_ejecutando"], 1);

        let mut deaf = report();
        deaf.packages[0].seen.push(seen("backend", json!({"reachable": false})));
        assert_eq!(deaf.json()["servicios"]["backend"]["conectividad"], false);
        assert_eq!(deaf.json()["resumen"]["servicios_saludables"], 2);
        assert!(!deaf.works());

        let mut failing = report();
        failing.packages[0].seen.push(seen("backend", json!({})));
        assert!(failing.works());
        failing.packages[0].made.push(made("sql", false));
        assert_eq!(failing.json()["servicios"]["postgres"]["conectividad"], false);
        assert!(!failing.works());
    }

    #[test]
    fn services_of_several_packages_have_their_package_in_front() {
        let mut report = report();
        report.packages[0].expected = Vec::new();
        let second = Package {
            id: "chat".to_owned(),
            seen: vec![seen("postgres", json!({}))],
            ..Package {
                id: String::new(),
                mode: String::new(),
                compose_file: "c".to_owned(),
                expected: Vec::new(),
                about: Vec::new(),
                seen: Vec::new(),
                made: Vec::new(),
            }
        };
        report.packages.push(second);
        let json = report.json();
        let keys: Vec<&String> = json["servicios"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["vnm/postgres", "chat/postgres"]);
        assert_eq!(json["docker_compose_file"], "docker-compose.debug.yml, c");
    }
}
