//! A manifest's `checks` become what `playbooks/services/verify.yml` works on: templates rendered, scripts read, and
//! the checks added that every service has, of its containers and its URLs.

use serde_json::{Map, Value, json};

use super::catalogue::Package;
use super::lint::is_long_running;
use super::mode::Mode;
use super::render::{exports, script as script_text};
use crate::error::{Error, Result};
use crate::modules::check::{Check, From, Look};
use crate::plan::Object;
use crate::vars::Scope;

/// The word under `when` of a check that only the deployment which installs the service makes.
const FIRST: &str = "first";

/// The list `service.checks`: what decides whether and where each is made, beside the check itself.
pub(super) fn render(
    package: &Package,
    scope: &Scope,
    stack: &Value,
    urls: &[Value],
    env: &Object,
) -> Result<Vec<Value>> {
    let verified = scope.condition(&Value::from("tls | default('acme') == 'acme'")).unwrap_or(true);
    let mut all = vec![containers(stack)];
    all.extend(urls.iter().map(|url| of_url(url, verified)));
    if verified {
        all.extend(of_names(urls));
    }
    let mut names: Vec<String> = Vec::new();
    for written in &package.manifest.checks {
        let name = written.get("name").and_then(Value::as_str).unwrap_or("?");
        let wrong = |text: String| {
            let place = package.place_of(name);
            Error { place: Some(place), ..Error::new(format!("check `{name}`: {text}")) }
        };
        let mut check = scope.value(written).map_err(|fault| fault.at(&package.place_of(name)))?;
        complete(package, &mut check, verified, env).map_err(|error| match error.place {
            Some(_) => error,
            None => wrong(error.text),
        })?;
        if names.iter().any(|known| known == name) || all.iter().any(|check| check["name"] == name) {
            return Err(wrong("another check has this name".to_owned()));
        }
        names.push(name.to_owned());
        all.push(check);
    }
    all.into_iter()
        .map(|check| {
            let typed: Check = serde_json::from_value(check.clone()).map_err(|error| {
                let name = check["name"].as_str().unwrap_or("?").to_owned();
                let place = package.place_of(&name);
                Error { place: Some(place), ..Error::new(format!("check `{name}`: {error}")) }
                    .hint("docs/checks.md lists the kinds and their fields")
            })?;
            let (first, modes): (Vec<&String>, Vec<&String>) = typed.when.iter().partition(|word| *word == FIRST);
            if let Some(word) = modes.iter().find(|word| word.parse::<Mode>().is_err()) {
                let text = format!("check `{}`: `when` knows no `{word}`", typed.name);
                let words = Mode::ALL.map(Mode::word).into_iter().chain([FIRST]);
                return Err(Error { place: Some(package.place_of(&typed.name)), ..Error::new(text) }
                    .hint("it lists modes (debug, produccion), and `first` for the deployment that installs the service")
                    .did_you_mean(word, words));
            }
            let movable = matches!(&typed.look, Look::Http(http) if http.from != From::Container);
            let severity = match typed.severity {
                crate::modules::check::Severity::Critical => "critical",
                crate::modules::check::Severity::Warning => "warning",
            };
            Ok(json!({"name": typed.name, "when": modes, "first": !first.is_empty(), "severity": severity, "side_effects": typed.side_effects,
                "outside": typed.look.is_outside(), "movable": movable, "services": services_of(&typed.look),
                "check": check}))
        })
        .collect()
}

/// The list `service.doctor`: each rule with the check that finds the trouble, and the text of its remedy.
pub(super) fn rules(package: &Package, scope: &Scope, env: &Object) -> Result<Vec<Value>> {
    let mut rules = Vec::new();
    for rule in &package.manifest.doctor {
        let script = json!({"file": rule.check, "from": "container", "service": rule.service, "env": rule.env});
        let mut check = json!({"name": rule.id, "timeout": 60, "script": script});
        let place = package.place_of(&rule.id);
        let wrong =
            |text: String| Error { place: Some(place.clone()), ..Error::new(format!("rule `{}`: {text}", rule.id)) };
        if !rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') || rule.id.is_empty() {
            return Err(wrong("its id is not of lowercase letters, digits and `-`".to_owned()));
        }
        complete(package, &mut check, true, env).map_err(|error| wrong(error.text))?;
        let fix = match &rule.fix {
            Some(file) => {
                script_text(&exports(package, &format!("rule `{}`", rule.id), &rule.env, env)?, &package.read(file)?)
            }
            None => String::new(),
        };
        let title = scope.value(&Value::from(rule.title.as_str())).map_err(|fault| fault.at(&place))?;
        rules.push(json!({"id": rule.id, "title": title, "service": rule.service, "check": check, "fix": fix}));
    }
    Ok(rules)
}

/// The services of the stack that a check is about.
fn services_of(look: &Look) -> Vec<String> {
    let service = match look {
        Look::Http(http) => http.service.clone(),
        Look::Tcp(tcp) => tcp.service.clone(),
        Look::Script(script) => script.service.clone(),
        Look::Exec(exec) => Some(exec.service.clone()),
        Look::PgIsReady(ready) => Some(ready.service.clone()),
        Look::Sql(sql) => Some(sql.service.clone()),
        Look::RedisPing(ping) => Some(ping.service.clone()),
        Look::Container(container) => container.service.clone(),
        Look::Log(log) => log.service.clone(),
        Look::Smtp(_) | Look::Cert(_) | Look::Dns(_) => None,
    };
    service.into_iter().collect()
}

/// Every service that is meant to stay up has a container, and all are well.
fn containers(stack: &Value) -> Value {
    let services = stack.get("services").and_then(Value::as_object).into_iter().flatten();
    let expected: Vec<&String> =
        services.filter(|(_, service)| is_long_running(service)).map(|(name, _)| name).collect();
    json!({"name": "containers", "timeout": 30, "container": {"expected": expected, "ports": true}})
}

fn of_url(url: &Value, verified: bool) -> Value {
    let mut http = Map::from_iter([
        ("url".to_owned(), url["url"].clone()),
        ("status".to_owned(), url["status"].clone()),
        ("validate_certs".to_owned(), verified.into()),
    ]);
    if !url["contains"].is_null() {
        http.insert("contains".to_owned(), url["contains"].clone());
    }
    json!({"name": format!("URL {}", url["name"].as_str().unwrap_or_default()), "http": http})
}

/// The names under which a client's visitors come, where the certificates are to be real: they point to the host, and
/// the certificate is for them.
fn of_names(urls: &[Value]) -> Vec<Value> {
    let names = urls.iter().filter_map(|url| url["url"].as_str()?.strip_prefix("https://"));
    let mut names: Vec<&str> = names.map(|rest| rest.split(['/', ':', '?']).next().unwrap_or_default()).collect();
    names.dedup();
    let both = |name: &str| {
        [
            json!({"name": format!("DNS of {name}"), "severity": "warning", "dns": {"name": name}}),
            json!({"name": format!("certificate of {name}"), "cert": {"host": name}}),
        ]
    };
    names.into_iter().flat_map(both).collect()
}

/// What a manifest leaves to us: certificates of a laboratory, settings by name, the text of a script.
fn complete(package: &Package, check: &mut Value, verified: bool, env: &Object) -> Result<()> {
    if let Some(http) = check.get_mut("http").and_then(Value::as_object_mut) {
        http.entry("validate_certs").or_insert(verified.into());
    }
    for kind in ["exec", "script"] {
        let Some(look) = check.get_mut(kind).and_then(Value::as_object_mut) else { continue };
        if let Some(Value::Array(keys)) = look.get("env") {
            let mut values = Object::new();
            for key in keys {
                let key = key.as_str().unwrap_or_default();
                let value = env.get(key).ok_or_else(|| {
                    Error::new(format!("wants `{key}`, which is no setting of the package"))
                        .did_you_mean(key, env.keys().map(String::as_str))
                })?;
                values.insert(key.to_owned(), value.clone());
            }
            look.insert("env".to_owned(), Value::Object(values));
        }
        if kind == "script"
            && let Some(file) = look.get("file").and_then(Value::as_str)
        {
            let text = package.read(file)?;
            look.insert("text".to_owned(), text.into());
        }
    }
    Ok(())
}

/// The services that the checks of a mode name, with the checks' names.
pub(super) fn named_services(rendered: &[Value], mode: Mode) -> impl Iterator<Item = (&str, &str)> {
    let texts = |value: &'_ Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let made = move |check: &&Value| {
        let when = texts(&check["when"]);
        when.is_empty() || when.iter().any(|word| word == mode.word())
    };
    rendered.iter().filter(made).flat_map(|check| {
        let services = check["services"].as_array().into_iter().flatten().filter_map(Value::as_str);
        services.map(|service| (check["name"].as_str().unwrap_or_default(), service))
    })
}
