//! Requests and what their answers must be; the same judgement wherever the request was made.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{args, http::Config, pattern};
use super::{From, brief, inside, same};
use crate::plan::{Failure, Object, Output, Return, Secret};

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub url: String,
    #[serde(default)]
    pub from: From,
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default)]
    pub headers: Object,
    /// Text as it is; a mapping or list as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// Any of these is right; none: every answer is.
    #[serde(default = "ok", deserialize_with = "statuses")]
    pub status: Vec<u16>,
    #[serde(default)]
    pub contains: Option<String>,
    /// A regular expression that must match the body.
    #[serde(default)]
    pub matches: Option<String>,
    /// `a.b.0`: the value that must be there in a JSON body.
    #[serde(default)]
    pub json: IndexMap<String, Value>,
    /// The most that the number at a path may be, or `part / whole` of two paths; a share of nothing is 0.
    #[serde(default)]
    pub json_max: IndexMap<String, f64>,
    /// Paths that must be there.
    #[serde(default, deserialize_with = "args::list")]
    pub json_has: Vec<String>,
    /// Response headers that must be there, with a text that must be in them; an empty one must only be there.
    #[serde(default)]
    pub response_headers: IndexMap<String, String>,
    /// Response headers that no such text (a regular expression) may be in.
    #[serde(default)]
    pub no_headers: IndexMap<String, String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pub validate_certs: bool,
    /// Connect here instead of where the name points; from the operator's side only.
    #[serde(default)]
    pub address: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> Vec<u16> {
    vec![200]
}

fn yes() -> bool {
    true
}

fn statuses<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    let wrong = |value: &Value| serde::de::Error::custom(format!("{value} is not a status code"));
    let number = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| wrong(value))
    };
    match Value::deserialize(from)? {
        Value::Array(items) => items.iter().map(number).collect(),
        one => Ok(vec![number(&one)?]),
    }
}

/// What a request came to.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    pub status: u16,
    pub body: String,
    /// Lowercase names; only where the request was made by us.
    pub headers: IndexMap<String, String>,
    /// Rounded up.
    pub took_ms: u64,
}

impl Answered {
    /// The body, and a last line with the status and the seconds it took.
    pub(super) fn read(output: &Output) -> Result<Answered, Failure> {
        let text = output.stdout_text();
        let (body, last) = text.rsplit_once('\n').unwrap_or(("", text.as_str()));
        let (status, took) = last.split_once(' ').unwrap_or((last, "0"));
        match status.parse() {
            Ok(status) if status > 0 => {
                let took_ms = (took.trim().parse::<f64>().unwrap_or_default() * 1000.0).ceil() as u64;
                Ok(Answered { status, body: body.to_owned(), headers: IndexMap::new(), took_ms })
            }
            _ => {
                let why = output.stderr_text();
                let why = brief(why.trim().trim_start_matches("curl: "));
                Err(Failure::new(format!("no answer: {}", if why.is_empty() { "the request failed" } else { &why })))
            }
        }
    }
}

impl Http {
    pub(super) fn validate(&self) -> Result<(), String> {
        let headers = !self.response_headers.is_empty() || !self.no_headers.is_empty();
        if headers && self.from != From::Operator {
            return Err("response headers can be looked at from the operator's side only".to_owned());
        }
        if !self.method.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(format!("{:?} is not a method", self.method));
        }
        let texts = self.no_headers.values().map(String::as_str).chain(self.matches.as_deref());
        texts.map(Some).try_for_each(|text| inside::pattern(text).map(drop))
    }

    /// The body as it is sent, and the type that it has if no header says another.
    pub fn sent(&self) -> Option<(String, Option<&'static str>)> {
        let typed = self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        self.body.as_ref().map(|body| match body {
            Value::String(text) => (text.clone(), None),
            other => (other.to_string(), (!typed).then_some("application/json")),
        })
    }

    /// A redirect is the answer where one is wanted, and followed elsewhere.
    pub fn follows(&self) -> bool {
        !self.status.iter().any(|status| (300..400).contains(status))
    }

    pub(super) fn script(&self, project: &str, timeout: u64) -> Option<crate::plan::Script> {
        let inner = self.inner(timeout);
        match (self.from, &self.service) {
            (From::Operator, _) => None,
            (From::Container, Some(service)) => Some(inside::shell(Some((project, service)), None, inner)),
            (From::Host | From::Container, _) => Some(inside::shell(None, None, inner)),
        }
    }

    /// Asks with what there is: curl, Python, Node.js or wget.
    fn inner(&self, timeout: u64) -> crate::plan::Script {
        let method = self.method.to_uppercase();
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| (name.clone(), args::as_text(value))).collect();
        let body = self.sent();
        if let Some((_, Some(kind))) = &body {
            headers.push(("Content-Type".to_owned(), (*kind).to_owned()));
        }
        let mut config = Config::default();
        config.set("url", &self.url);
        config.set("max-time", &timeout.to_string());
        for switch in ["silent", "show-error", "globoff"] {
            config.switch(switch);
        }
        if method == "HEAD" {
            config.switch("head")
        } else {
            config.set("request", &method)
        }
        for (name, value) in &headers {
            config.set("header", &format!("{name}: {value}"));
        }
        if let Some((body, _)) = &body {
            config.set("data-raw", body);
        }
        if self.follows() {
            config.switch("location");
        }
        if !self.validate_certs {
            config.switch("insecure");
        }
        config.set("write-out", "\n%{http_code} %{time_total}");
        let request = json!({"url": self.url, "method": method, "timeout": timeout, "follow": self.follows(),
            "insecure": !self.validate_certs, "body": body.as_ref().map(|(body, _)| body),
            "headers": headers.iter().cloned().collect::<IndexMap<_, _>>()});
        let plain = method == "GET" && headers.is_empty() && body.is_none();
        crate::plan::Script::new()
            .raw("set --")
            .secret(Secret::new(config.text()))
            .secret(Secret::new(request.to_string()))
            .arg(if plain { self.url.as_str() } else { "" })
            .arg(timeout.to_string())
            .raw("\n")
            .raw(ASK)
    }

    /// Is the answer as it should be?
    pub fn judge(&self, answered: &Answered) -> Result<Return, Failure> {
        let Answered { status, body, took_ms, .. } = answered;
        let failed = |text: String| {
            Failure::new(text).with("status", *status).with("elapsed_ms", *took_ms).with("content", brief(body))
        };
        if !self.status.is_empty() && !self.status.contains(status) {
            let wanted = self.status.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
            return Err(failed(format!("{} answers {status} instead of {wanted}", self.url)));
        }
        if let Some(wanted) = self.contains.as_deref().filter(|wanted| !body.contains(*wanted)) {
            return Err(failed(format!("{} answers {status}, but without `{wanted}` in the body", self.url)));
        }
        if let Some(regex) = inside::pattern(self.matches.as_deref()).map_err(Failure::new)?
            && !pattern::search(&regex, body)?
        {
            let text = format!("{} answers {status}, but `{}` does not match the body", self.url, regex.as_str());
            return Err(failed(text));
        }
        for (name, wanted) in &self.response_headers {
            match answered.headers.get(&name.to_lowercase()) {
                None => return Err(failed(format!("{} answers without the header {name}", self.url))),
                Some(value) if !value.contains(wanted.as_str()) => {
                    return Err(failed(format!("{} answers with {name}: {value}, without `{wanted}`", self.url)));
                }
                Some(_) => {}
            }
        }
        for (name, unwanted) in &self.no_headers {
            let Some(value) = answered.headers.get(&name.to_lowercase()) else { continue };
            let regex = inside::pattern(Some(unwanted)).map_err(Failure::new)?;
            if regex.map(|regex| pattern::search(&regex, value)).transpose()? == Some(true) {
                return Err(failed(format!("{} answers with {name}: {value}", self.url)));
            }
        }
        if !self.json.is_empty() || !self.json_has.is_empty() || !self.json_max.is_empty() {
            let found: Value = serde_json::from_str(body.trim())
                .map_err(|error| failed(format!("{} answers {status}, but not with JSON: {error}", self.url)))?;
            for path in &self.json_has {
                at(&found, path).ok_or_else(|| failed(format!("{} has no `{path}` in its answer", self.url)))?;
            }
            for (path, most) in &self.json_max {
                let number = number(&found, path);
                match number {
                    None => return Err(failed(format!("{} has no number `{path}` in its answer", self.url))),
                    Some(number) if number > *most => {
                        return Err(failed(format!("{}: `{path}` is {number}, more than {most}", self.url)));
                    }
                    Some(_) => {}
                }
            }
            for (path, wanted) in &self.json {
                match at(&found, path) {
                    None => return Err(failed(format!("{} has no `{path}` in its answer", self.url))),
                    Some(value) if !same(wanted, value) => {
                        let (value, wanted) = (args::as_text(value), args::as_text(wanted));
                        let text = format!("{}: `{path}` is {:?} instead of {wanted:?}", self.url, brief(&value));
                        return Err(failed(text));
                    }
                    Some(_) => {}
                }
            }
        }
        let msg = format!("{status} in {took_ms} ms");
        Ok(Return::msg(msg).with("status", *status).with("elapsed_ms", *took_ms).with("url", self.url.as_str()))
    }
}

/// `a.b.0` in a JSON value.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').filter(|step| !step.is_empty()).try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The number at a path, or what two of them divided come to.
fn number(found: &Value, path: &str) -> Option<f64> {
    let one = |path: &str| at(found, path.trim()).and_then(Value::as_f64);
    match path.split_once(" / ") {
        None => one(path),
        Some((part, whole)) => match (one(part)?, one(whole)?) {
            (_, 0.0) => Some(0.0),
            (part, whole) => Some(part / whole),
        },
    }
}

/// `$1` curl's configuration, `$2` the request as JSON, `$3` the URL if it can be asked for plainly, `$4` seconds.
const ASK: &str = r#"if command -v curl >/dev/null 2>&1; then printf '%s' "$1" | curl -q -K -; exit; fi
for python in python3 python; do
  command -v "$python" >/dev/null 2>&1 || continue
  printf '%s' "$2" | "$python" -c 'import sys, json, ssl, time
import urllib.request as r, urllib.error as e
q = json.load(sys.stdin)
x = ssl.create_default_context()
if q["insecure"]:
    x.check_hostname = False
    x.verify_mode = ssl.CERT_NONE
class Stay(r.HTTPRedirectHandler):
    def redirect_request(self, *a):
        return None
use = [r.HTTPSHandler(context=x), r.ProxyHandler({})] + ([] if q["follow"] else [Stay])
body = None if q["body"] is None else q["body"].encode()
ask = r.Request(q["url"], data=body, headers=q["headers"], method=q["method"])
start = time.time()
try:
    a = r.build_opener(*use).open(ask, timeout=q["timeout"])
except e.HTTPError as error:
    a = error
except Exception as error:
    sys.exit(str(getattr(error, "reason", error)))
text = a.read(1 << 20)
sys.stdout.buffer.write(text + ("\n%d %.3f" % (a.getcode(), time.time() - start)).encode())
'; exit
done
if command -v node >/dev/null 2>&1; then printf '%s' "$2" | node -e '
const q = JSON.parse(require("fs").readFileSync(0, "utf8")), u = new URL(q.url), start = Date.now();
const ask = require(u.protocol === "https:" ? "https" : "http").request(u, {method: q.method, headers: q.headers,
  timeout: q.timeout * 1000, rejectUnauthorized: !q.insecure}, a => {
  const parts = []; a.on("data", part => parts.push(part));
  a.on("end", () => process.stdout.write(Buffer.concat([...parts, Buffer.from("\n" + a.statusCode + " " + (Date.now() - start) / 1000)])));
});
ask.on("timeout", () => ask.destroy(new Error("timed out")));
ask.on("error", error => { console.error(error.message || error.code); process.exitCode = 7; });
if (q.body !== null) ask.write(q.body);
ask.end();'; exit; fi
if [ -n "$3" ] && command -v wget >/dev/null 2>&1; then
  if body=$(wget -q -O - -T "$4" "$3"); then printf '%s\n200 0' "$body"; exit; fi
  code=$(wget -O /dev/null -T "$4" "$3" 2>&1 | sed -n 's/.*HTTP[^ ]* \([1-5][0-9][0-9]\).*/\1/p; s/.*ERROR \([1-5][0-9][0-9]\).*/\1/p' | tail -n 1)
  printf '\n%s 0' "${code:-0}"; exit
fi
echo 'there is neither curl, python3, node nor wget to ask with' >&2
exit 127
"#;
