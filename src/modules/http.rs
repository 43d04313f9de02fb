//! `uri` and `get_url`: requests that the host makes.
//!
//! ```yaml
//! - name: The hub answers
//!   uri: {url: "http://127.0.0.1:8000/health", status_code: [200, 204]}
//!
//! - name: The tool, in the version that was tested
//!   get_url: {url: "https://example.com/tool", dest: /usr/local/bin/tool, mode: "0755", checksum: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
//! ```
//!
//! Made with the host's curl; a plain download also with wget or apt's own helper. Headers, bodies and passwords go to
//! curl's standard input, never into a process list. Leaves out client certificates, uploads from files (`src`) and
//! cookies.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Answer, Change, Diff, Failure, FileKind, FileStat, Module, Object, Observed, Operation, Output, Part, Plan, Query,
    Return, Script, Then,
};

use super::args::{self, as_text};
use super::attributes::{Attributes, base_name, join, parent};
use super::observed;
use super::place;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "uri", aliases: &[], args: URI, free_form: None, build: build_uri },
    Spec { name: "get_url", aliases: &[], args: GET_URL, free_form: None, build: build_get_url },
];

const URI: &[&str] = &[
    "url",
    "method",
    "body",
    "body_format",
    "headers",
    "status_code",
    "return_content",
    "timeout",
    "validate_certs",
    "follow_redirects",
    "url_username",
    "user",
    "url_password",
    "password",
    "force_basic_auth",
    "http_agent",
    "force",
    "unix_socket",
    "ca_path",
];
const GET_URL: &[&str] = &[
    "url",
    "dest",
    "checksum",
    "force",
    "mode",
    "owner",
    "group",
    "backup",
    "headers",
    "timeout",
    "url_username",
    "username",
    "url_password",
    "password",
    "force_basic_auth",
    "validate_certs",
    "http_agent",
    "tmp_dest",
];

/// What both have in common: curl's configuration.
#[derive(Deserialize)]
struct Request {
    #[serde(deserialize_with = "args::text")]
    url: String,
    #[serde(default)]
    headers: Object,
    #[serde(default, alias = "user", alias = "username", deserialize_with = "args::opt_text")]
    url_username: Option<String>,
    #[serde(default, alias = "password", deserialize_with = "args::opt_text")]
    url_password: Option<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    validate_certs: bool,
    #[serde(default, deserialize_with = "args::opt_count")]
    timeout: Option<u64>,
    #[serde(default, deserialize_with = "args::opt_text")]
    http_agent: Option<String>,
}

fn yes() -> bool {
    true
}

impl Request {
    fn check(&self) -> Result<(), Failure> {
        let schemes = ["http://", "https://", "ftp://", "file://"];
        if !schemes.iter().any(|scheme| self.url.starts_with(scheme)) || self.url.contains(char::is_whitespace) {
            return Err(Failure::new(format!("{:?} is not a URL", self.url)).hint("it starts with http:// or https://"));
        }
        Ok(())
    }

    /// Lines for `curl -K -`.
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.set("url", &self.url);
        for (name, value) in &self.headers {
            config.set("header", &format!("{name}: {}", as_text(value)));
        }
        if let Some(user) = &self.url_username {
            config.set("user", &format!("{user}:{}", self.url_password.as_deref().unwrap_or_default()));
        }
        if let Some(agent) = &self.http_agent {
            config.set("user-agent", agent);
        }
        config.switch("globoff");
        if !self.validate_certs {
            config.switch("insecure");
        }
        config
    }

    /// Can only curl make this request?
    fn needs_curl(&self) -> bool {
        !self.headers.is_empty() || self.url_username.is_some() || !self.validate_certs
    }
}

/// Lines that curl reads with `-K -`: what is in them is in no process list.
#[derive(Default)]
pub(super) struct Config(String);

impl Config {
    pub(super) fn text(self) -> String {
        self.0
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let mut quoted = String::new();
        for c in value.chars() {
            match c {
                '\\' => quoted.push_str("\\\\"),
                '"' => quoted.push_str("\\\""),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                other => quoted.push(other),
            }
        }
        self.0.push_str(&format!("{name} = \"{quoted}\"\n"));
    }

    pub(super) fn switch(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }
}

#[derive(Deserialize)]
struct Uri {
    #[serde(flatten)]
    request: Request,
    #[serde(default = "get", deserialize_with = "args::text")]
    method: String,
    body: Option<Value>,
    #[serde(default)]
    body_format: BodyFormat,
    #[serde(default = "ok", deserialize_with = "args::list")]
    status_code: Vec<String>,
    #[serde(default, deserialize_with = "args::flag")]
    return_content: bool,
    #[serde(default)]
    follow_redirects: Redirects,
    #[serde(default, deserialize_with = "args::opt_text")]
    unix_socket: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    ca_path: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> Vec<String> {
    vec!["200".to_owned()]
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BodyFormat {
    #[default]
    Raw,
    Json,
    FormUrlencoded,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
enum Redirects {
    #[default]
    #[serde(rename = "safe")]
    Safe,
    #[serde(rename = "all", alias = "yes", alias = "urllib2")]
    All,
    #[serde(rename = "none", alias = "no")]
    None,
}

fn build_uri(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut uri: Uri = super::typed(URI, args)?;
    uri.request.check()?;
    uri.method = uri.method.to_uppercase();
    if !uri.method.chars().all(|c| c.is_ascii_uppercase()) {
        return Err(Failure::new(format!("{:?} is not a method", uri.method)));
    }
    if let Some(wrong) = uri.status_code.iter().find(|code| code.parse::<u16>().is_err()) {
        return Err(Failure::new(format!("{wrong:?} is not a status code")));
    }
    Ok(Box::new(uri))
}

impl Uri {
    /// Asking for something changes nothing, so it may be done in check mode too.
    fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    fn script(&self) -> Script {
        let mut config = self.request.config();
        let timeout = self.request.timeout.unwrap_or(30).max(1);
        config.set("max-time", &timeout.to_string());
        for switch in ["silent", "show-error", "include"] {
            config.switch(switch);
        }
        match self.method.as_str() {
            "GET" => {}
            "HEAD" => config.switch("head"),
            method => config.set("request", method),
        }
        if self.follow_redirects == Redirects::All || (self.follow_redirects == Redirects::Safe && self.reads()) {
            config.switch("location");
        }
        if let Some(body) = &self.body {
            let (text, kind) = match self.body_format {
                BodyFormat::Raw => (as_text(body), None),
                BodyFormat::Json => {
                    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
                    (text, Some("application/json"))
                }
                BodyFormat::FormUrlencoded => (form(body), Some("application/x-www-form-urlencoded")),
            };
            let named = self.request.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
            if let Some(kind) = kind.filter(|_| !named) {
                config.set("header", &format!("Content-Type: {kind}"));
            }
            config.set("data-raw", &text);
            if self.method == "GET" {
                config.set("request", "GET");
            }
        }
        if let Some(socket) = &self.unix_socket {
            config.set("unix-socket", socket);
        }
        if let Some(path) = &self.ca_path {
            config.set("cacert", path);
        }
        config.set("write-out", "\n%{http_code} %{url_effective}");
        let mut script = Script::new().raw("command -v curl >/dev/null || { echo 'curl is not installed on the host' >&2; exit 127; }; exec curl -q -K -");
        script.stdin = Some(config.0.into_bytes());
        script.timeout(std::time::Duration::from_secs(timeout + 15))
    }

    fn judge(&self, output: &Output) -> Result<Return, Failure> {
        let response = Response::parse(output);
        let failed = |msg: String| {
            let failure = Failure::new(msg).with("url", self.request.url.as_str()).with("status", response.status);
            let failure = failure.with("redirected", response.url != self.request.url);
            match response.content.is_empty() {
                true => failure,
                false => failure.with("content", response.content.as_str()),
            }
        };
        if output.rc == 127 {
            return Err(failed(output.stderr_text().trim().to_owned()).hint("install the package curl first"));
        }
        let wanted = self.status_code.join(", ");
        if response.status <= 0 {
            let why = output.stderr_text();
            let why = why.trim().trim_start_matches("curl: ");
            return Err(failed(format!("status code was -1 and not [{wanted}]: {why}")));
        }
        if !self.status_code.contains(&response.status.to_string()) {
            let line = &response.status_line;
            return Err(failed(format!("status code was {} and not [{wanted}]: {line}", response.status)));
        }
        let mut returned = Return { changed: Some(false), ..Return::default() };
        returned.values = response.headers;
        returned.msg = Some(format!("{} ({} bytes)", response.status_line, response.content.len()));
        returned = returned.with("status", response.status).with("redirected", response.url != self.request.url);
        returned = returned.with("url", response.url);
        let kind = returned.values.get("content_type").and_then(Value::as_str).unwrap_or_default();
        if kind.contains("json")
            && let Ok(json) = serde_json::from_str::<Value>(&response.content)
        {
            returned = returned.with("json", json);
        }
        Ok(if self.return_content { returned.with("content", response.content) } else { returned })
    }
}

impl Module for Uri {
    fn probe(&self) -> Vec<Query> {
        // never ahead of time: what is asked for may only be there after the task before
        Vec::new()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        if !self.reads() {
            let forecast = Return { changed: Some(false), ..Return::msg("the request would be made") };
            let operation = Operation::Run { script: self.script(), accept: (0..=255).collect() };
            return Ok(Plan::Change(Change {
                diff: Vec::new(),
                operations: vec![operation],
                then: Then::Finish,
                forecast,
            }));
        }
        match observed.more.first() {
            None => Ok(Plan::Ask(vec![Query::Run(self.script())])),
            Some(_) => self.judge(observed::output(observed.more, 0, &self.request.url)?).map(Plan::NoChange),
        }
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        match outputs.last() {
            Some(output) => self.judge(output),
            None => Err(Failure::new("the request left no answer")),
        }
    }

    fn skipped_in_check_mode(&self) -> Option<&'static str> {
        if self.reads() { None } else { Some("the request may change something") }
    }
}

/// `a=1&b=2`, percent-encoded.
fn form(body: &Value) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                b' ' => "+".to_owned(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    match body {
        Value::Object(fields) => {
            let pairs = fields.iter().flat_map(|(name, value)| match value {
                Value::Array(items) => items.iter().map(|item| (name, as_text(item))).collect::<Vec<_>>(),
                other => vec![(name, as_text(other))],
            });
            pairs.map(|(name, value)| format!("{}={}", encode(name), encode(&value))).collect::<Vec<_>>().join("&")
        }
        other => as_text(other),
    }
}

/// What `curl --include` printed: head or heads, body, and our own last line.
#[derive(Debug, Default, PartialEq)]
struct Response {
    status: i64,
    status_line: String,
    url: String,
    headers: Object,
    content: String,
}

impl Response {
    fn parse(output: &Output) -> Response {
        let text = output.stdout_text();
        let (mut rest, last) = text.rsplit_once('\n').unwrap_or(("", text.as_str()));
        let (status, url) = last.split_once(' ').unwrap_or((last, ""));
        let status = status.parse().ok().filter(|status| *status > 0).unwrap_or(-1);
        let mut response = Response { status, url: url.to_owned(), ..Response::default() };
        // redirects and `100 Continue` have heads of their own; the last one counts
        while rest.starts_with("HTTP/") {
            let (head, body) = rest.split_once("\r\n\r\n").or_else(|| rest.split_once("\n\n")).unwrap_or((rest, ""));
            let mut lines = head.lines();
            response.status_line = lines.next().unwrap_or_default().trim().to_owned();
            response.headers = Object::new();
            for (name, value) in lines.filter_map(|line| line.split_once(':')) {
                response.headers.insert(name.trim().to_lowercase().replace('-', "_"), value.trim().into());
            }
            rest = body;
            if response.status_line.split(' ').nth(1).and_then(|code| code.parse().ok()) == Some(status) {
                break;
            }
        }
        response.content = rest.to_owned();
        response
    }
}

#[derive(Deserialize)]
struct GetUrl {
    #[serde(flatten)]
    request: Request,
    #[serde(deserialize_with = "args::text")]
    dest: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    checksum: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
    #[serde(flatten)]
    attributes: Attributes,
}

struct Download {
    args: GetUrl,
    into_directory: bool,
    inside: String,
    checksum: Option<Checksum>,
}

/// `algorithm:digest`, or `algorithm:url of a list of digests`.
struct Checksum {
    tool: &'static str,
    digest: String,
}

fn build_get_url(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: GetUrl = super::typed(GET_URL, args)?;
    args.request.check()?;
    let checksum = args.checksum.as_deref().filter(|text| !text.is_empty()).map(Checksum::parse).transpose()?;
    let into_directory = args.dest.ends_with('/');
    args.dest = args::host_path(&args.dest, build)?;
    let name = args.request.url.split(['?', '#']).next().map(base_name).unwrap_or_default();
    let inside = join(&args.dest, if name.is_empty() { "index.html" } else { name });
    Ok(Box::new(Download { args, into_directory, inside, checksum }))
}

impl Checksum {
    fn parse(text: &str) -> Result<Checksum, Failure> {
        let (algorithm, digest) = text.split_once(':').unwrap_or(("sha256", text));
        let (tool, length) = match algorithm {
            "md5" => ("md5sum", 32),
            "sha1" => ("sha1sum", 40),
            "sha256" => ("sha256sum", 64),
            "sha384" => ("sha384sum", 96),
            "sha512" => ("sha512sum", 128),
            other => return Err(Failure::new(format!("checksums by {other} are not supported"))),
        };
        let is_url = digest.contains("://");
        if !is_url && (digest.len() != length || !digest.chars().all(|c| c.is_ascii_hexdigit())) {
            return Err(Failure::new(format!("{digest:?} is not a digest by {algorithm}")));
        }
        Ok(Checksum { tool, digest: if is_url { digest.to_owned() } else { digest.to_lowercase() } })
    }

    fn is_url(&self) -> bool {
        self.digest.contains("://")
    }
}

/// Downloads `url` to `$t` with what the host has. curl's configuration, if it is wanted, is on standard input.
pub fn fetch(script: Script, url: &str, only_curl: bool) -> Script {
    let script = script.raw("{ if command -v curl >/dev/null; then curl -q -sS -f -L --retry 2 -K - -o \"$t\";");
    match only_curl {
        true => script.raw("else echo 'curl is not installed on the host' >&2; exit 127; fi; }"),
        false => script
            .raw("elif command -v wget >/dev/null; then wget -q -T 60 -O \"$t\"")
            .arg(url)
            .raw("; elif [ -x /usr/lib/apt/apt-helper ]; then /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file")
            .arg(url)
            .raw("\"$t\" >&2; else echo 'neither curl nor wget is installed on the host' >&2; exit 127; fi; }"),
    }
}

/// Curl's configuration for a plain download.
pub fn plain(url: &str) -> Vec<u8> {
    let mut config = Config::default();
    config.set("url", url);
    config.switch("globoff");
    config.0.into_bytes()
}

impl Module for Download {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: &str| Query::Stat { path: path.to_owned(), follow: true, checksum: false };
        let mut queries = vec![stat(&self.args.dest), stat(&self.inside), stat(&parent(&self.args.dest))];
        if let Some(checksum) = &self.checksum {
            let script = Script::new().raw("for f in").arg(self.args.dest.as_str()).arg(self.inside.as_str());
            let script =
                script.raw("; do if [ -f \"$f\" ]; then").raw(checksum.tool).raw("< \"$f\"; else echo -; fi; done");
            queries.push(Query::Run(script));
        }
        queries
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let seen = |at| observed::stat(observed.answers, at, &self.args.dest);
        let dest = seen(0)?;
        let inside = self.into_directory || dest.is_some_and(|stat| stat.kind == FileKind::Directory);
        let (path, stat) = if inside { (self.inside.as_str(), seen(1)?) } else { (self.args.dest.as_str(), dest) };
        place::need_directory(path, if inside { dest } else { seen(2)? })?;
        let digest = match &self.checksum {
            Some(checksum) if checksum.is_url() => match observed.more.first() {
                None => return Ok(Plan::Ask(vec![Query::Run(list_of_digests(&checksum.digest))])),
                Some(Answer::Output(output)) => Some(self.listed(output, path)?),
                Some(_) => return Err(Failure::new("the list of digests could not be read")),
            },
            Some(checksum) => Some(checksum.digest.clone()),
            None => None,
        };
        let mut values = self.args.attributes.returned(stat, false);
        values.insert("dest".to_owned(), path.into());
        values.insert("url".to_owned(), self.args.request.url.as_str().into());
        let returned = Return { values, ..Return::default() };
        let current = match &self.checksum {
            Some(_) => {
                let text = observed::output(observed.answers, 3, path)?.stdout_text();
                let line = text.lines().nth(usize::from(inside)).unwrap_or_default();
                line.split_whitespace().next().map(str::to_owned)
            }
            None => None,
        };
        if let Some(stat) = stat {
            let right = digest.is_some() && digest == current;
            if right || (digest.is_none() && !self.args.force) {
                let pending = self.args.attributes.pending(stat);
                if pending.is_empty() {
                    let why = if right { "the digest is right" } else { "exists, and `force` is off" };
                    return Ok(Plan::NoChange(Return { msg: Some(why.to_owned()), ..returned }));
                }
                let (before, after) = pending.describe(stat);
                let operation = Operation::run(pending.append(Script::new().raw(":"), path));
                return Ok(change(path, before, after, operation, returned));
            }
        }
        let before = match stat {
            None => "(absent)\n".to_owned(),
            Some(stat) => format!("{} bytes {}\n", stat.size, current.unwrap_or_default()),
        };
        let after = format!("{} {}\n", self.args.request.url, digest.as_deref().unwrap_or_default());
        let operation =
            Operation::Run { script: self.script(path, stat, digest.as_deref()), accept: (0..=255).collect() };
        Ok(change(path, before, after, operation, returned))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let Some(output) = outputs.last() else { return Ok(Return::default()) };
        if !output.ok() {
            let text = output.stderr_text();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("curl: ");
            let failure = Failure::new(format!("{} could not be downloaded: {why}", self.args.request.url));
            return Err(failure.with("rc", output.rc).with("stderr", text.trim_end()));
        }
        let same = output.stdout_text().trim() == "same";
        Ok(Return {
            changed: Some(!same),
            msg: Some(if same { "the content is the same" } else { "downloaded" }.to_owned()),
            ..Return::default()
        })
    }
}

impl Download {
    fn script(&self, path: &str, stat: Option<&FileStat>, digest: Option<&str>) -> Script {
        let template = join(&parent(path), ".provision.XXXXXX");
        let script = Script::new().raw("umask 077; t=$(mktemp").arg(template).raw(") && trap 'rm -f \"$t\"' EXIT &&");
        let mut script = fetch(script, &self.args.request.url, self.args.request.needs_curl());
        if let (Some(digest), Some(checksum)) = (digest, &self.checksum) {
            script = script.raw("&& s=$(").raw(checksum.tool).raw("< \"$t\") && { [ \"${s%% *}\" =").arg(digest);
            script =
                script.raw("] || { echo \"the digest is ${s%% *}, which is not the wanted one\" >&2; exit 65; }; }");
        }
        // what is there keeps its attributes unless the task says otherwise
        let mut wanted = self.args.attributes.of_new(false);
        wanted.mode = match (&self.args.attributes.mode, stat) {
            (Some(mode), Some(stat)) => Some(mode.bits(stat.mode, false)),
            (Some(mode), None) => Some(mode.bits_of_new(false)),
            (None, stat) => Some(stat.map_or(0o644, |stat| stat.mode)),
        };
        if let Some(stat) = stat {
            script = script.raw("&& if cmp -s \"$t\"").arg(path);
            let pending = self.args.attributes.pending(stat);
            script = match pending.is_empty() {
                true => script.raw("; then echo same; exit 0; fi"),
                false => script.raw("; then :; fi"),
            };
            wanted.owner = wanted.owner.or_else(|| Some(stat.owner.clone()));
            wanted.group = wanted.group.or_else(|| Some(stat.group.clone()));
            if self.args.backup {
                let kept = Part::Operator(format!("{}.$(date +%s)~", crate::plan::quote(path)));
                script = script.raw("&& cp -p").arg(path);
                script.parts.push(kept);
            }
        }
        let mut script = wanted.append_part(script, &Part::Raw("\"$t\"")).raw("&& mv -f \"$t\"").arg(path);
        let mut config = self.args.request.config();
        config.set("connect-timeout", &self.args.request.timeout.unwrap_or(10).max(1).to_string());
        script.stdin = Some(config.0.into_bytes());
        script.timeout(std::time::Duration::from_secs(3600))
    }

    /// The digest that the list has for this file: `digest  name` per line, or a digest alone.
    fn listed(&self, output: &Output, path: &str) -> Result<String, Failure> {
        let url = self.checksum.as_ref().map_or("", |checksum| checksum.digest.as_str());
        if !output.ok() {
            return Err(Failure::new(format!("{url} could not be downloaded: {}", output.stderr_text().trim())));
        }
        let text = output.stdout_text();
        let name = base_name(self.args.request.url.split(['?', '#']).next().unwrap_or_default());
        let lines: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| {
                let (digest, file) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
                let file = file.trim().trim_start_matches(['*']).trim_start_matches("./");
                (!digest.is_empty()).then_some((digest, file))
            })
            .collect();
        let found = lines.iter().find(|(_, file)| *file == name || *file == base_name(path));
        let alone = || lines.first().filter(|(_, file)| lines.len() == 1 && file.is_empty());
        match found.or_else(alone) {
            Some((digest, _)) => Ok(digest.to_lowercase()),
            None => Err(Failure::new(format!("{url} has no digest for {name}"))),
        }
    }
}

fn list_of_digests(url: &str) -> Script {
    let script = Script::new().raw("t=$(mktemp) && trap 'rm -f \"$t\"' EXIT &&");
    let mut script = fetch(script, url, false).raw("&& cat \"$t\"");
    script.stdin = Some(plain(url));
    script
}

fn change(path: &str, before: String, after: String, operation: Operation, forecast: Return) -> Plan {
    let diff = Diff { before_header: path.to_owned(), after_header: path.to_owned(), before, after };
    Plan::Change(Change { diff: vec![diff], operations: vec![operation], then: Then::Finish, forecast })
}

#[cfg(test)]
mod tests;
