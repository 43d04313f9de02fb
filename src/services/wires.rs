//! What a stack's containers are told of settings and of other services, for those who look for trouble: which
//! variables come from `.env`, and which addresses a container is to reach.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::catalogue::hex;
use crate::plan::Object;

/// `service.wires`: variables whose whole value is one setting, with the digest that it has to have.
pub(super) fn wires(stack: &Value, env: &Object) -> Vec<Value> {
    let mut wires = Vec::new();
    for (service, name, written) in environment(stack) {
        let key = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let value = key.and_then(|key| env.get(key)).and_then(Value::as_str);
        if let Some(value) = value.filter(|value| !value.is_empty() && !value.contains('\n')) {
            let digest = hex(&Sha256::digest(value.as_bytes()));
            wires.push(json!({"service": service, "name": name, "digest": digest}));
        }
    }
    wires
}

/// `service.upstreams`: addresses in the environment of a container, without what stands in front of an `@`. Public
/// names are left out, those of http and the service's own (`urls`): they lead out of the host and back. So are one-shots,
/// in which nothing can be asked once they are done.
pub(super) fn upstreams(stack: &Value, env: &Object, urls: &[Value]) -> Vec<Value> {
    let mut all = environment(stack);
    all.retain(|(service, ..)| !stack["services"].get(service).is_some_and(is_one_shot));
    let own: Vec<String> = urls.iter().filter_map(|url| Some(address(url["url"].as_str()?)?.1)).collect();
    let mut upstreams: Vec<Value> = Vec::new();
    for (service, name, written) in &all {
        let value = filled(written, env);
        let found = address(&value).or_else(|| {
            let port = name.strip_suffix("HOST").map(|start| format!("{start}PORT"))?;
            let port = all.iter().find(|(of, other, _)| of == service && *other == port)?;
            let host = value.trim();
            let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            plain.then_some((String::new(), host.to_owned(), filled(&port.2, env).trim().parse().ok()?))
        });
        let Some((scheme, host, port)) = found else { continue };
        let public = scheme.starts_with("http") && host.contains('.') && host != "host.docker.internal";
        if public || own.contains(&host) || matches!(host.as_str(), "localhost" | "127.0.0.1" | "0.0.0.0") {
            continue;
        }
        let kind = if scheme.starts_with("redis") || (scheme.is_empty() && port == 6379) { "redis" } else { "other" };
        let upstream = json!({"service": service, "name": name, "host": host, "port": port, "kind": kind});
        let known = |other: &Value| ["service", "host", "port"].iter().all(|key| other[key] == upstream[key]);
        if !upstreams.iter().any(known) {
            upstreams.push(upstream);
        }
    }
    upstreams
}

/// It ends by itself, under compose or under swarm.
fn is_one_shot(service: &Value) -> bool {
    let restart = service.get("restart").and_then(Value::as_str).unwrap_or_default();
    let mode = service.pointer("/deploy/mode").and_then(Value::as_str).unwrap_or_default();
    restart == "no" || restart.starts_with("on-failure") || mode.ends_with("-job")
}

/// Service, variable, value as written.
pub(super) fn environment(stack: &Value) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (service, about) in stack.get("services").and_then(Value::as_object).into_iter().flatten() {
        match about.get("environment") {
            Some(Value::Object(map)) => all.extend(map.iter().map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (service.clone(), name.clone(), value)
            })),
            Some(Value::Array(items)) => {
                let pairs = items.iter().filter_map(Value::as_str).filter_map(|item| item.split_once('='));
                all.extend(pairs.map(|(name, value)| (service.clone(), name.to_owned(), value.to_owned())));
            }
            _ => {}
        }
    }
    all
}

/// `${KEY}` and `${KEY:-…}` by the settings.
pub(super) fn filled(written: &str, env: &Object) -> String {
    let mut text = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        text.push_str(before);
        let Some((inside, behind)) = after.split_once('}') else { break };
        let (key, otherwise) = inside.split_once(":-").unwrap_or((inside, ""));
        text.push_str(env.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()).unwrap_or(otherwise));
        rest = behind;
    }
    text + rest
}

/// Scheme, host and port of `postgres://u:p@db:5432/x`.
pub(super) fn address(value: &str) -> Option<(String, String, u16)> {
    let (scheme, rest) = value.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (place, usual_port(scheme)?),
    };
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    plain.then(|| (scheme.to_lowercase(), host.to_owned(), port))
}

fn usual_port(scheme: &str) -> Option<u16> {
    let scheme = scheme.split('+').next().unwrap_or(scheme).to_lowercase();
    Some(match scheme.as_str() {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        "redis" | "rediss" => 6379,
        "postgres" | "postgresql" => 5432,
        "mysql" | "mariadb" => 3306,
        "amqp" => 5672,
        "smtp" => 25,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_are_told_is_found() {
        let env = json!({"DB_PASSWORD": "p@ss:word", "EMPTY": "", "HOST": "orchestrator_service"});
        let env = env.as_object().unwrap();
        let stack = json!({"services": {
            "api": {"environment": {
                "PASSWORD": "${DB_PASSWORD}", "NONE": "${EMPTY}", "FIXED": "x",
                "DSN": "postgresql+asyncpg://nexus:${DB_PASSWORD}@postgres:5432/nexus_db",
                "REDIS_URL": "redis://redis", "PUBLIC": "https://wa.example.org/x", "SELF": "http://localhost:8000",
                "ORCHESTRATOR_SERVICE_URL": "http://${HOST}:8000", "MCP": "http://host.docker.internal:8003/mcp",
            }},
            "prepare": {"environment": ["QUEUE=redis://queue"], "restart": "on-failure:3"},
            "job": {"environment": ["QUEUE=redis://queue"], "deploy": {"mode": "replicated-job"}},
            "web": {"environment": ["DB_HOST=chat-db", "DB_PORT=5433", "CACHE=redis://redis:6379/1",
                                    "WEB_HOST=web.example.org", "WEB_PORT=5678"]},
        }});
        let wires = wires(&stack, env);
        assert_eq!(wires.len(), 1);
        assert_eq!((&wires[0]["service"], &wires[0]["name"]), (&json!("api"), &json!("PASSWORD")));
        let told: Vec<String> = upstreams(&stack, env, &[json!({"url": "https://web.example.org/health"})])
            .iter()
            .map(|up| format!("{} {}:{} {}", up["service"], up["host"], up["port"], up["kind"]).replace('"', ""))
            .collect();
        let expected = [
            "api postgres:5432 other",
            "api redis:6379 redis",
            "api orchestrator_service:8000 other",
            "api host.docker.internal:8003 other",
            "web chat-db:5433 other",
            "web redis:6379 redis",
        ];
        assert_eq!(told, expected);
    }
}
