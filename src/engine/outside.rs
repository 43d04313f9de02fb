//! Looks at a URL from the operator's side, as a visitor would: name → address → TLS → status and body.
//!
//! The action `url_check`. Runs on the controller; knows nothing of hosts and lanes.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::modules::typed;
use crate::plan::{Failure, Object, Return};

/// The arguments of `url_check`.
pub const ARGS: &[&str] = &["url", "status", "contains", "timeout", "address", "validate_certs"];

/// At most this much of a body is looked at.
pub(super) const BODY_LIMIT: u64 = 1 << 20;
/// A name without an address is given up after this: it is a missing DNS record, not a service that starts.
const NO_ADDRESS: Duration = Duration::from_secs(10);
/// One attempt; a slow first answer counts as "not yet".
const ATTEMPT: Duration = Duration::from_secs(20);
/// Between attempts: a proxy that has just heard of a service knows it in a moment; others take minutes.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Deserialize)]
struct UrlCheck {
    url: String,
    /// Any of these is right.
    #[serde(default = "ok")]
    status: Vec<u16>,
    contains: Option<String>,
    /// Seconds until it must have been right once.
    #[serde(default = "a_minute")]
    timeout: u64,
    /// Connect here instead of where the name points (a lab, or DNS that is still to be switched).
    address: Option<String>,
    #[serde(default = "yes")]
    validate_certs: bool,
}

fn ok() -> Vec<u16> {
    vec![200]
}
fn a_minute() -> u64 {
    60
}
fn yes() -> bool {
    true
}

/// Asks until the answer is right, the time is up, or the run is cancelled. `progress` hears what is still wrong.
pub async fn check(
    args: Object,
    cancel: &CancellationToken,
    mut progress: impl FnMut(&str),
) -> Result<Return, Failure> {
    let check: UrlCheck = typed(ARGS, args)?;
    let begin = Instant::now();
    let mut attempts = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        attempts += 1;
        let attempt = check.clone();
        let asked = Instant::now();
        let answer = tokio::task::spawn_blocking(move || attempt.ask())
            .await
            .map_err(|error| Failure::new(format!("the URL check was lost: {error}")))?;
        let problem = match answer {
            Ok(status) => {
                let took = asked.elapsed().as_millis() as u64;
                let msg = format!("{status} in {took} ms");
                return Ok(Return {
                    changed: Some(false),
                    ..Return::msg(msg).with("status", status).with("url", check.url).with("elapsed_ms", took)
                });
            }
            Err(problem) => problem,
        };
        let patience = Duration::from_secs(check.timeout).min(problem.patience);
        if begin.elapsed() >= patience {
            return Err(Failure::new(format!("{} {} after {} s", check.url, problem.text, patience.as_secs()))
                .hint(problem.hint)
                .with("url", check.url)
                .with("status", problem.status.map_or(Value::Null, Value::from))
                .with("attempts", attempts));
        }
        progress(&format!("{} {}", check.url, problem.text));
        tokio::select! {
            () = cancel.cancelled() => return Err(Failure::new(format!("{} {}; interrupted", check.url, problem.text))),
            () = tokio::time::sleep(pause) => {}
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

struct Problem {
    /// Continues the URL: "answers 404 instead of 200".
    text: String,
    hint: String,
    status: Option<u16>,
    /// Waiting longer than this will not help.
    patience: Duration,
}

impl UrlCheck {
    fn ask(&self) -> Result<u16, Problem> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ATTEMPT))
            .max_redirects(if self.status.iter().any(|status| (300..400).contains(status)) { 0 } else { 5 })
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().disable_verification(!self.validate_certs).build())
            .build();
        let resolver = At::new(self.address.clone());
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        let mut response = agent.get(&self.url).call().map_err(|error| Problem::of(&error))?;
        let status = response.status().as_u16();
        if !self.status.contains(&status) {
            let wanted = self.status.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
            let hint = match status {
                404 => {
                    "the proxy has no route: is the container healthy, and does its router's Host() name this domain? \
                     What the proxy says itself: `provision logs infrastructure`"
                }
                502..=504 => "the proxy knows the service but cannot reach it: look at its container's log",
                _ => "look at the service's log",
            };
            return Err(Problem {
                text: format!("answers {status} instead of {wanted}"),
                hint: hint.to_owned(),
                status: Some(status),
                patience: Duration::MAX,
            });
        }
        let Some(wanted) = &self.contains else { return Ok(status) };
        let body =
            response.body_mut().with_config().limit(BODY_LIMIT).read_to_vec().map_err(|error| Problem::of(&error))?;
        if String::from_utf8_lossy(&body).contains(wanted.as_str()) {
            return Ok(status);
        }
        Err(Problem {
            text: format!("answers {status}, but without `{wanted}` in the body"),
            hint: "something else may be answering under this name".to_owned(),
            status: Some(status),
            patience: Duration::MAX,
        })
    }
}

impl Problem {
    fn of(error: &ureq::Error) -> Problem {
        let (text, hint) = connection_problem(error);
        let patience = if no_address(error) { NO_ADDRESS } else { Duration::MAX };
        Problem { text, hint: hint.to_owned(), status: None, patience }
    }
}

/// What went wrong before there was an answer (it continues the URL), and what to do about it.
pub(super) fn connection_problem(error: &ureq::Error) -> (String, &'static str) {
    if no_address(error) {
        let hint =
            "create the DNS record of this name; until it is there, `url_check_address` of the host says where to ask";
        return ("has no address".to_owned(), hint);
    }
    let (text, hint) = match error {
        ureq::Error::Timeout(_) => ("does not answer in time", "is the firewall open for 80 and 443?"),
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            ("refuses the connection", "is the proxy running, and does the name point at this server?")
        }
        _ => ("", "look at the proxy's log"),
    };
    (if text.is_empty() { format!("cannot be asked: {error}") } else { text.to_owned() }, hint)
}

/// The resolver's failures have no kind of their own, only a text.
fn no_address(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(io) => io.to_string().starts_with("failed to lookup address"),
        _ => false,
    }
}

/// Resolves names the ordinary way, or every name to one address.
#[derive(Debug)]
pub(super) struct At {
    address: Option<String>,
}

impl At {
    pub(super) fn new(address: Option<String>) -> At {
        At { address }
    }
}

impl Resolver for At {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = &self.address else {
            return ureq::unversioned::resolver::DefaultResolver::default().resolve(uri, config, timeout);
        };
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found: Vec<SocketAddr> = match address.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => (address.as_str(), port).to_socket_addrs().map_err(|_| ureq::Error::HostNotFound)?.collect(),
        };
        let mut all = self.empty();
        found.into_iter().take(16).for_each(|address| all.push(address));
        if all.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// A server that gives these answers, one per connection.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    async fn ask(port: u16, more: Value) -> Result<Return, Failure> {
        let mut args = serde_json::json!({"url": format!("http://shop.example:{port}/ping"), "address": "127.0.0.1", "timeout": 10});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check(args.as_object().unwrap().clone(), &CancellationToken::new(), |_| ()).await
    }

    #[tokio::test]
    async fn it_asks_again_until_the_answer_is_right() {
        let port = server(&[
            "HTTP/1.1 503 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npong",
        ]);
        let found = ask(port, serde_json::json!({"contains": "pong"})).await.unwrap();
        assert_eq!(found.values["status"], 200);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_given_up_soon() {
        let args = serde_json::json!({"url": "http://no-such-name.invalid/", "timeout": 600});
        let begin = Instant::now();
        let failure = check(args.as_object().unwrap().clone(), &CancellationToken::new(), |_| ()).await.unwrap_err();
        assert!(failure.msg.contains("has no address after 10 s"), "{}", failure.msg);
        assert!(failure.hint.unwrap().contains("DNS record"));
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_wrong_answer_says_what_was_wrong() {
        let port = server(&["HTTP/1.1 404 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
        let failure = ask(port, serde_json::json!({"timeout": 0})).await.unwrap_err();
        assert!(failure.msg.contains("answers 404 instead of 200"), "{}", failure.msg);
        let failure = ask(1, serde_json::json!({"timeout": 0})).await.unwrap_err();
        assert!(failure.msg.contains("refuses the connection"), "{}", failure.msg);
    }
}
