//! Asks image registries (the distribution API, version 2) what a tag means now, and which tags there are.
//!
//! Goes where the host's Docker would go: its mirrors first, plain http where it may. Logs in as `docker login` on this
//! machine did. Leaves out: layers; nothing is pulled here.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::catalogue::hex;
use super::fleet_lock::is_digest;
use crate::plan::Secret;
use crate::secrets::Redactor;
use crate::vars::version::{Scheme, compare};

const HUB: &str = "registry-1.docker.io";
/// Under which `docker login` keeps the hub's password.
const HUB_LOGIN: &str = "https://index.docker.io/v1/";
/// Of one request.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer: a manifest or a page of tags.
const LIMIT: u64 = 8 << 20;
/// Pages of tags.
const PAGES: usize = 60;
/// An index of platforms before the manifest of one, as Docker itself asks.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Where a host's Docker gets images from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sources {
    /// URLs of mirrors of Docker Hub.
    pub mirrors: Vec<String>,
    /// `host:port` of registries without TLS that can be trusted.
    pub insecure: Vec<String>,
}

/// An image's name in its parts.
#[derive(Debug, PartialEq)]
struct Name<'a> {
    /// None: Docker Hub.
    registry: Option<&'a str>,
    repository: String,
    tag: &'a str,
}

impl Name<'_> {
    fn of(image: &str) -> Name<'_> {
        let (first, rest) = match image.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, image),
        };
        let registry = first.filter(|first| !["docker.io", "index.docker.io"].contains(first));
        let slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[slash..].split_once(':') {
            Some((name, tag)) => (&rest[..slash + name.len()], tag),
            None => (rest, "latest"),
        };
        let repository =
            if registry.is_none() && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        Name { registry, repository, tag }
    }

    /// Base URLs in the order in which they are asked, and whether a certificate is looked at.
    fn places(&self, sources: &Sources) -> Vec<(String, bool)> {
        let Some(registry) = self.registry else {
            let mirrors = sources.mirrors.iter().map(|url| (url.trim_end_matches('/').to_owned(), true));
            return mirrors.chain([(format!("https://{HUB}"), true)]).collect();
        };
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        // as Docker has it
        let own = host == "localhost" || host.starts_with("127.");
        match own || sources.insecure.iter().any(|known| known == registry) {
            true => vec![(format!("https://{registry}"), false), (format!("http://{registry}"), false)],
            false => vec![(format!("https://{registry}"), true)],
        }
    }
}

/// The digest that the image's tag has now. The error says why that cannot be known here.
pub fn digest(image: &str, sources: &Sources, redactor: &Redactor) -> Result<String, String> {
    let name = Name::of(image);
    let path = format!("/v2/{}/manifests/{}", name.repository, name.tag);
    first(&name, sources, |base, checked| {
        let ask = |method: &str| request(base, &path, method, checked, &name, redactor);
        let head = ask("HEAD")?;
        let said = |answer: &Response<Body>| {
            let header = answer.headers().get("docker-content-digest")?.to_str().ok()?.to_owned();
            is_digest(&header).then_some(header)
        };
        if let Some(digest) = said(&head) {
            return Ok(digest);
        }
        // an old registry does not say it, but it is what the manifest hashes to
        let mut answer = ask("GET")?;
        let body = answer.body_mut().with_config().limit(LIMIT).read_to_vec().map_err(|error| error.to_string())?;
        Ok(format!("sha256:{}", hex(&Sha256::digest(&body))))
    })
}

/// Every tag of the image's repository.
pub fn tags(image: &str, sources: &Sources, redactor: &Redactor) -> Result<Vec<String>, String> {
    let name = Name::of(image);
    first(&name, sources, |base, checked| {
        let mut path = format!("/v2/{}/tags/list?n=1000", name.repository);
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let mut answer = request(base, &path, "GET", checked, &name, redactor)?;
            let next = answer.headers().get("link").and_then(|link| next_page(link.to_str().ok()?));
            let body = answer.body_mut().with_config().limit(LIMIT).read_to_vec().map_err(|error| error.to_string())?;
            let page: Value =
                serde_json::from_slice(&body).map_err(|error| format!("{base}: no list of tags: {error}"))?;
            let page = page.get("tags").and_then(Value::as_array).into_iter().flatten();
            tags.extend(page.filter_map(|tag| tag.as_str().map(str::to_owned)));
            match next {
                Some(next) => path = next,
                None => break,
            }
        }
        Ok(tags)
    })
}

/// Of `tags` those that are newer than `tag` and of its kind: the same words around as many numbers (`v4.18.0` for
/// `v4.17.1`, `17.2-alpine` for `17.0-alpine`; neither `18` nor `v5.0.0-rc1`). The newest comes last.
pub fn newer(tag: &str, tags: &[String]) -> Vec<String> {
    let Some((before, numbers, behind)) = parts(tag) else { return Vec::new() };
    let count = numbers.split('.').count();
    let mut found: Vec<(&str, &String)> = tags
        .iter()
        .filter_map(|other| {
            let (b, n, e) = parts(other)?;
            let kind = (b, n.split('.').count(), e) == (before, count, behind);
            (kind && compare(n, numbers, Scheme::Loose).is_ok_and(|order| order.is_gt())).then_some((n, other))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| compare(a, b, Scheme::Loose).unwrap_or(std::cmp::Ordering::Equal));
    found.dedup();
    found.into_iter().map(|(_, tag)| tag.clone()).collect()
}

/// The tag of an image's name.
pub fn tag(image: &str) -> &str {
    Name::of(image).tag
}

/// `v`, `1.2.3`, `-alpine`. None for a tag that does not speak in numbers, as `latest`, or that is a date or a commit.
fn parts(tag: &str) -> Option<(&str, &str, &str)> {
    let start = tag.find(|c: char| c.is_ascii_digit())?;
    let (before, rest) = tag.split_at(start);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let numbers = rest[..end].trim_end_matches('.');
    let word = before.is_empty() || before.chars().all(|c| c.is_ascii_alphabetic() || "-_.".contains(c));
    let behind = &rest[numbers.len()..];
    let commit = numbers.len() > 8 && !numbers.contains('.');
    (word && !commit && !behind.starts_with(|c: char| c.is_ascii_alphabetic())).then_some((before, numbers, behind))
}

/// The first place that answers; else what the last one said.
fn first<T>(name: &Name<'_>, sources: &Sources, ask: impl Fn(&str, bool) -> Result<T, String>) -> Result<T, String> {
    let mut trouble = Vec::new();
    for (base, checked) in name.places(sources) {
        match ask(&base, checked) {
            Ok(answer) => return Ok(answer),
            Err(why) => trouble.push(why),
        }
    }
    Err(trouble.join("; "))
}

fn request(
    base: &str,
    path: &str,
    method: &str,
    checked: bool,
    name: &Name<'_>,
    redactor: &Redactor,
) -> Result<Response<Body>, String> {
    let agent = agent(checked);
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{base}{path}") };
    let authority = base.split_once("://").map_or(base, |(_, rest)| rest);
    let send = |authorization: Option<&str>| {
        let mut builder = ureq::http::Request::builder().method(method).uri(&url).header("Accept", KINDS);
        if let Some(value) = authorization {
            builder = builder.header("Authorization", value);
        }
        let request = builder.body(()).map_err(|error| format!("{url}: {error}"))?;
        agent.run(request).map_err(|error| format!("{authority} cannot be asked: {error}"))
    };
    let mut answer = send(None)?;
    if answer.status() == 401 {
        let challenge = answer.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default().to_owned();
        let login = login(if authority == HUB { HUB_LOGIN } else { authority });
        if let Some(login) = &login {
            redactor.add(login.reveal());
        }
        let authorization = authorization(&agent, base, &challenge, name, login.as_ref(), redactor)?;
        answer = send(Some(authorization.reveal()))?;
    }
    match answer.status().as_u16() {
        200 => Ok(answer),
        401 | 403 => Err(format!("{authority} asks for a login: `docker login` on this machine gives it one")),
        404 => Err(format!("{authority} does not have {}:{}", name.repository, name.tag)),
        429 => Err(format!("{authority} allows no further requests for now")),
        status => Err(format!("{authority} answers {status}")),
    }
}

fn agent(checked: bool) -> Agent {
    let tls = TlsConfig::builder().disable_verification(!checked).build();
    let config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).tls_config(tls);
    config.build().into()
}

/// What has to be said to a registry that wants to know who asks.
fn authorization(
    agent: &Agent,
    base: &str,
    challenge: &str,
    name: &Name<'_>,
    login: Option<&Secret>,
    redactor: &Redactor,
) -> Result<Secret, String> {
    let basic = |login: &Secret| Secret::new(format!("Basic {}", login.reveal()));
    let (scheme, fields) = challenge.split_once(' ').unwrap_or((challenge, ""));
    let wants_login = || format!("{base} asks for a login: `docker login` on this machine gives it one");
    if scheme.eq_ignore_ascii_case("basic") {
        return login.map(basic).ok_or_else(wants_login);
    }
    let fields = fields_of(fields);
    let realm = fields.get("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer")).ok_or_else(wants_login)?;
    let default = format!("repository:{}:pull", name.repository);
    let scope = fields.get("scope").unwrap_or(&default);
    let mut ask = agent.get(realm.as_str()).query("scope", scope);
    if let Some(service) = fields.get("service") {
        ask = ask.query("service", service);
    }
    // a password is not sent in clear because a registry says so
    if let Some(login) = login.filter(|_| realm.starts_with("https://") || base.starts_with("http://")) {
        ask = ask.header("Authorization", basic(login).reveal());
    }
    let trouble = |error: ureq::Error| format!("{realm} cannot be asked: {error}");
    let mut answer = ask.call().map_err(trouble)?;
    if answer.status() != 200 {
        return Err(format!("{realm} answers {}", answer.status().as_u16()));
    }
    let body = answer.body_mut().with_config().limit(LIMIT).read_to_vec().map_err(trouble)?;
    let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{realm}: no token: {error}"))?;
    let token = body.get("token").or_else(|| body.get("access_token")).and_then(Value::as_str);
    let token = token.ok_or_else(|| format!("{realm} gives no token"))?;
    redactor.add(token);
    Ok(Secret::new(format!("Bearer {token}")))
}

/// `realm="https://…",service="…"`.
fn fields_of(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once("=\"") {
        let Some((value, more)) = after.split_once('"') else { break };
        fields.insert(key.trim_start_matches([',', ' ']).to_lowercase(), value.to_owned());
        rest = more;
    }
    fields
}

/// `</v2/x/tags/list?last=b&n=1000>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (address, rest) = link.strip_prefix('<')?.split_once('>')?;
    // another server's would be none of ours
    (rest.contains("next") && address.starts_with('/')).then(|| address.to_owned())
}

/// `user:password` in base64, as `docker login` keeps it for a registry on this machine.
fn login(registry: &str) -> Option<Secret> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
    let helper = config.get("credHelpers").and_then(|all| all.get(registry)).or_else(|| config.get("credsStore"));
    if let Some(helper) = helper.and_then(Value::as_str).filter(|name| !name.is_empty() && !name.contains('/')) {
        return from_helper(helper, registry);
    }
    let auths = config.get("auths")?;
    let entry = auths.get(registry).or_else(|| auths.get(format!("https://{registry}")))?;
    entry.get("auth")?.as_str().filter(|auth| !auth.is_empty()).map(Secret::new)
}

fn from_helper(helper: &str, registry: &str) -> Option<Secret> {
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(registry.as_bytes()).ok()?;
    let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
    let said: Value = serde_json::from_slice(&output.stdout).ok()?;
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    let pair = format!("{}:{}", text("Username")?, text("Secret")?);
    Some(Secret::new(base64::engine::general_purpose::STANDARD.encode(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_registry_a_repository_and_a_tag() {
        let name = |registry, repository: &str, tag| Name { registry, repository: repository.to_owned(), tag };
        for (image, wanted) in [
            ("redis:8.0", name(None, "library/redis", "8.0")),
            ("redis", name(None, "library/redis", "latest")),
            ("docker.io/chatwoot/chatwoot:v4", name(None, "chatwoot/chatwoot", "v4")),
            ("ghcr.io/a/b/c:1", name(Some("ghcr.io"), "a/b/c", "1")),
            ("host:5000/a", name(Some("host:5000"), "a", "latest")),
            ("localhost/a:2", name(Some("localhost"), "a", "2")),
        ] {
            assert_eq!(Name::of(image), wanted, "{image}");
        }
        let sources = Sources { mirrors: vec!["http://m:5000/".to_owned()], insecure: vec!["i:5000".to_owned()] };
        let places = |image: &str| Name::of(image).places(&sources).into_iter().map(|(url, _)| url).collect::<Vec<_>>();
        assert_eq!(places("redis:8.0"), ["http://m:5000", "https://registry-1.docker.io"]);
        assert_eq!(places("i:5000/a"), ["https://i:5000", "http://i:5000"]);
        assert_eq!(places("other:5000/a"), ["https://other:5000"], "TLS unless somebody said otherwise");
    }

    #[test]
    fn newer_tags_are_of_the_same_kind_and_in_order() {
        let tags = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (tag, all, wanted) in [
            ("v4.17.1", "v4.9.0 v4.17.1 v4.18.0 v4.100.0 v5.0.0-rc1 4.19.0 latest v5 v4.18.0-ce", "v4.18.0 v4.100.0"),
            ("17.0-alpine", "17.2-alpine 17.10-alpine 17.10 18-alpine 16.9-alpine", "17.2-alpine 17.10-alpine"),
            ("8.0", "8.0 8.2 8.2.1 9.0 8", "8.2 9.0"),
            ("1.2.3-rc1", "1.2.3 1.2.4-rc1 1.2.3-rc2", "1.2.4-rc1"),
            ("latest", "latest 1 2", ""),
            ("20240101123456", "20250101123456", ""),
            ("3b4c5d6", "4b4c5d6 9", ""),
        ] {
            assert_eq!(newer(tag, &tags(all)).join(" "), wanted, "{tag}");
        }
        assert_eq!(newer("1", &tags("1 2 2")), ["2"]);
    }

    #[test]
    fn what_registries_say_in_headers() {
        let fields =
            fields_of("realm=\"https://auth.example/token\",service=\"r.example\", Scope=\"repository:a/b:pull\"");
        assert_eq!(fields["realm"], "https://auth.example/token");
        assert_eq!((fields["service"].as_str(), fields["scope"].as_str()), ("r.example", "repository:a/b:pull"));
        assert_eq!(next_page("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").unwrap(), "/v2/a/tags/list?last=b&n=2");
        assert_eq!(next_page("<https://other.example/v2/>; rel=\"next\""), None);
    }
}
