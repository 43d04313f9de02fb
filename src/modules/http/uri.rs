//! `uri`: a request whose answer is looked at.

use serde::Deserialize;
use serde_json::Value;

use super::Request;
use crate::modules::args::{self, as_text};
use crate::modules::{Build, observed, typed};
use crate::plan::{Change, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then};

pub(super) const ARGS: &[&str] = &[
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

pub(super) fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut uri: Uri = typed(ARGS, args)?;
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
pub(super) fn form(body: &Value) -> String {
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
