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

use super::Spec;
use super::args::{self, as_text};
use crate::plan::{Failure, Object, Script};

mod get_url;
mod uri;

pub const FAMILY: &[Spec] = &[
    Spec { name: "uri", aliases: &[], args: uri::ARGS, free_form: None, build: uri::build },
    Spec { name: "get_url", aliases: &[], args: get_url::ARGS, free_form: None, build: get_url::build },
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

#[cfg(test)]
mod tests;
