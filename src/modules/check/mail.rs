//! A mail server, asked from the host up to the login: EHLO, STARTTLS, AUTH. No mail is sent.

use serde::Deserialize;

use super::super::{args, http::Config};
use super::brief;
use crate::plan::{Failure, Output, Return, Script};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    pub host: String,
    #[serde(default = "submission", deserialize_with = "args::count")]
    pub port: u64,
    /// What 465 and the other ports usually have if not given.
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default, deserialize_with = "args::text")]
    pub user: String,
    #[serde(default, deserialize_with = "args::text")]
    pub password: String,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pub validate_certs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    None,
    Starttls,
    Implicit,
}

fn submission() -> u64 {
    587
}

fn yes() -> bool {
    true
}

/// What known providers want; an end of the host's name and a sentence.
const PROVIDERS: &[(&str, &str)] = &[
    ("gmail.com", "Gmail wants port 465 (or 587) and an app password, not the account's"),
    ("office365.com", "Microsoft 365 wants port 587 and SMTP AUTH switched on for the mailbox"),
    ("amazonaws.com", "SES wants SMTP credentials of its own, not the access key"),
    ("sendgrid.net", "SendGrid's user is the word `apikey`, the password is the key"),
];

impl Smtp {
    fn tls(&self) -> Tls {
        self.tls.unwrap_or(match self.port {
            465 => Tls::Implicit,
            25 => Tls::None,
            _ => Tls::Starttls,
        })
    }

    pub(super) fn script(&self, timeout: u64) -> Option<Script> {
        let mut config = Config::default();
        let scheme = if self.tls() == Tls::Implicit { "smtps" } else { "smtp" };
        config.set("url", &format!("{scheme}://{}:{}", self.host, self.port));
        if self.tls() == Tls::Starttls {
            config.switch("ssl-reqd");
        }
        if !self.user.is_empty() {
            config.set("user", &format!("{}:{}", self.user, self.password));
        }
        if !self.validate_certs {
            config.switch("insecure");
        }
        config.set("request", "NOOP");
        config.set("max-time", &timeout.to_string());
        config.switch("silent");
        config.switch("show-error");
        let script = Script::new()
            .raw("command -v curl >/dev/null || { echo 'curl is not installed on the host' >&2; exit 127; }; exec curl -q -K -");
        Some(script.stdin(config.text()))
    }

    pub(super) fn judge(&self, output: &Output) -> Result<Return, Failure> {
        let server = format!("{}:{}", self.host, self.port);
        if output.ok() {
            let what = if self.user.is_empty() { "answers" } else { "lets the user in" };
            return Ok(Return::msg(format!("{server} {what}")));
        }
        let text = match output.rc {
            6 => format!("the host does not know the name {}", self.host),
            7 => format!("{server} refuses the connection"),
            28 => format!("{server} does not answer in time"),
            35 | 60 => format!("TLS with {server} fails: {}", brief(&output.stderr_text())),
            64 => format!("{server} does not offer STARTTLS"),
            67 => format!("{server} does not let `{}` in", self.user),
            rc => format!("{server}: {} (curl {rc})", brief(output.stderr_text().trim().trim_start_matches("curl: "))),
        };
        let provider = PROVIDERS.iter().find(|(end, _)| self.host.ends_with(end)).map(|(_, hint)| *hint);
        let hint = provider.or(match output.rc {
            28 | 7 => Some("many providers block outgoing port 25; 587 or 465 usually work"),
            127 => Some("install the package curl first"),
            _ => None,
        });
        let failure = Failure::new(text).with("rc", output.rc);
        Err(match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }
}
