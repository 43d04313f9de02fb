//! New packages: from nothing ([`new`]), and out of somebody's compose file ([`import`]). Both give the files of a
//! folder; whoever asked writes them.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::plan::Object;

pub mod import;

/// The files of a new package, by their names in its folder, and what a person should know about them.
#[derive(Debug, Default)]
pub struct Draft {
    pub id: String,
    pub files: Vec<(String, Vec<u8>)>,
    pub remarks: Vec<String>,
}

/// What a new package starts from.
pub struct Start {
    pub id: String,
    pub name: String,
    /// With its tag.
    pub image: String,
    /// On which the container speaks HTTP.
    pub port: u16,
    /// A command inside of the container that ends with 0 when it is well; none: HTTP on the port.
    pub health: Option<String>,
}

/// `image:tag` as both; an image without a tag, or with the floating one, says nothing about what will run.
pub fn pinned(image: &str) -> Result<(&str, &str)> {
    let at = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[at..].split_once(':') {
        Some((name, tag)) if tag != "latest" && !name.is_empty() && !tag.is_empty() && !image.contains(['@', '$']) => {
            Ok((&image[..at + name.len()], tag))
        }
        _ => Err(Error::new(format!("the image `{image}` is not pinned"))
            .hint("name it with a version tag, e.g. example/app:1.4")),
    }
}

/// Is this a name that a package may have?
pub fn check_id(id: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    match !id.is_empty() && id.chars().all(valid) && !id.starts_with(['_', '-']) {
        true => Ok(()),
        false => Err(Error::new(format!("`{id}` is not a service id")).hint("lowercase letters, digits, `-` and `_`")),
    }
}

/// A package that passes lint and can be rolled out as it is: one container behind the proxy.
pub fn new(start: &Start) -> Result<Draft> {
    check_id(&start.id)?;
    let (image, tag) = pinned(&start.image)?;
    let key = domain_key(&start.id);
    let manifest = json!({
        "$schema": "../manifest.schema.json",
        "id": start.id,
        "name": start.name,
        "category": "Otros",
        "description": "",
        "version": tag,
        "dependencies": [{"service": "proxy", "required": true}],
        "variables": [domain_variable(&start.id, &start.name)],
        "networks": networks(),
        "directories": [{"path": "data"}],
        "health": {"timeout": 120},
        "urls": [url(&key)],
        "requirements": {"cpu": 1, "ram_mb": 256},
        "data": [{"path": "data", "class": "critical"}],
        "backup": backup(&["data"]),
    });
    let check = start.health.clone().unwrap_or_else(|| {
        let url = format!("http://127.0.0.1:{}/", start.port);
        format!("wget -qO- {url} >/dev/null || curl -fsS {url} >/dev/null")
    });
    let head = router_head(&key, start.port);
    let check = Value::from(check);
    let stack = format!(
        r#"{head}services:
  app:
    image: {image}:{{{{ version }}}}
    environment: {{}}
    volumes:
      - {{{{ data }}}}:/data
    networks: ["{{{{ docker_network }}}}"]
    healthcheck:
      test: ["CMD-SHELL", {check}]
      interval: 5s
      timeout: 5s
      retries: 12
{ROUTER_LABELS}"#
    );
    let id = &start.id;
    let example = format!("# Dominio público; por omisión {id}.<domain>.\n#{key}={id}.midominio.com\n");
    Ok(Draft {
        id: id.clone(),
        files: vec![
            ("manifest.json".to_owned(), pretty(&manifest)),
            ("stack.yml.j2".to_owned(), stack.into_bytes()),
            (".env.example".to_owned(), example.into_bytes()),
        ],
        remarks: Vec::new(),
    })
}

/// `MY_SHOP_DOMAIN` of `my-shop`.
fn domain_key(id: &str) -> String {
    format!("{}_DOMAIN", id.to_uppercase().replace('-', "_"))
}

fn domain_variable(id: &str, name: &str) -> Value {
    json!({
        "key": domain_key(id),
        "prompt": format!("Ingrese el dominio para {name} (ej: {id}.midominio.com)"),
        "required": true,
        "validation": "domain",
        "default": "{{ service_slug }}.{{ domain }}",
    })
}

fn pretty(manifest: &Value) -> Vec<u8> {
    format!("{manifest:#}\n").into_bytes()
}

fn networks() -> Value {
    json!([{"name": "{{ docker_network }}"}, {"name": "versatile-shared"}])
}

/// The folders as they are, held still meanwhile: what writes into them is not known.
fn backup(paths: &[impl serde::Serialize]) -> Value {
    json!([{"kind": "files", "paths": paths, "pause": true}, {"kind": "config"}])
}

fn url(domain_key: &str) -> Value {
    let url = format!("{{{{ 'http' if tls == 'off' else 'https' }}}}://{{{{ {domain_key} }}}}/");
    json!({"name": "Web", "url": url, "status": [200, 302, 401], "timeout": 120})
}

/// The proxy's labels as a list of the template.
fn router_head(domain_key: &str, port: u16) -> String {
    format!(
        r#"{{% set router = "traefik.http.routers." ~ project %}}
{{% set labels = [
  "traefik.enable=true",
  ("traefik.swarm.network=" if runtime == 'swarm' else "traefik.docker.network=") ~ docker_network,
  router ~ ".rule=Host(`" ~ {domain_key} ~ "`)",
  router ~ ".entrypoints=" ~ ("web" if tls == 'off' else "websecure"),
  router ~ ".service=" ~ project,
  "traefik.http.services." ~ project ~ ".loadbalancer.server.port={port}",
] %}}
"#
    )
}

/// Where the runtime looks for the labels.
const ROUTER_LABELS: &str = "{% if runtime == 'swarm' %}\n    deploy:\n      labels: {{ labels | tojson }}\n{% else %}\n    labels: {{ labels | tojson }}\n{% endif %}\n";

/// Fields in the order in which a manifest is usually read; empty lists are left out.
fn manifest(fields: Vec<(&str, Value)>) -> Value {
    let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let fields = fields.into_iter().filter(|(_, value)| !empty(value));
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect::<Object>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pinned_or_refused() {
        assert_eq!(pinned("a/b:1").unwrap(), ("a/b", "1"));
        assert_eq!(pinned("host:5000/a:1.2-x").unwrap(), ("host:5000/a", "1.2-x"));
        for image in ["a", "a:latest", "host:5000/a", "", ":1", "a:${TAG}"] {
            assert!(pinned(image).is_err(), "{image}");
        }
    }
}
