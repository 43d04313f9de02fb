//! Looks at a service from the operator's side: requests, ports, certificates, names, a package's own scripts.
//!
//! The action `outside_check`. What is to be looked at, and how answers are judged, is said in `modules::check`; here
//! is only what needs the controller's network. Leaves out waiting: that is `url_check`.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::DefaultConnector;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::outside::{At, BODY_LIMIT, connection_problem};
use crate::modules::check::{Answered, Cert, Check, Dns, Http, Look, Script, Tcp};
use crate::modules::typed;
use crate::plan::{Failure, Object, Output, Return};

pub const ARGS: &[&str] = &["check", "address", "connect_to", "base_url"];

#[derive(Deserialize)]
struct Args {
    check: Check,
    /// Where the host is.
    address: String,
    /// Where names of services are asked instead of where they point.
    connect_to: Option<String>,
    /// Takes the place of the scheme and authority of every request.
    base_url: Option<String>,
}

pub async fn check(args: Object, cancel: &CancellationToken) -> Result<Return, Failure> {
    let Args { check, address, connect_to, base_url } = typed(ARGS, args)?;
    let patience = Duration::from_secs(check.timeout);
    let look = async {
        match check.look {
            Look::Http(mut http) => {
                match base_url {
                    Some(base) => http.url = moved(&http.url, &base),
                    None => http.address = http.address.or(connect_to),
                }
                blocking(move || request(&http, patience)).await
            }
            Look::Tcp(tcp) => {
                let host = tcp.host.clone().unwrap_or(address);
                // a firewall that drops says nothing: what is to be closed is not waited for as long
                let patience = if tcp.open { patience } else { patience.min(Duration::from_secs(3)) };
                connect(&tcp, host, patience).await
            }
            Look::Cert(mut cert) => {
                cert.address = cert.address.or(connect_to);
                blocking(move || certificate(&cert, patience)).await
            }
            Look::Dns(dns) => blocking(move || points_here(&dns, &address)).await,
            Look::Script(mut script) => {
                script.args.extend(base_url);
                run(&script).await
            }
            Look::Exec(_)
            | Look::PgIsReady(_)
            | Look::Sql(_)
            | Look::RedisPing(_)
            | Look::Container(_)
            | Look::Log(_)
            | Look::Smtp(_) => {
                Err(Failure::new(format!("check `{}` is made on the host", check.name)).hint("use `service_check`"))
            }
        }
    };
    let judged = tokio::select! {
        () = cancel.cancelled() => return Err(Failure::new("interrupted")),
        judged = tokio::time::timeout(patience + Duration::from_secs(5), look) => {
            judged.unwrap_or_else(|_| Err(Failure::new(format!("no answer after {} s", check.timeout))))
        }
    };
    judged.map(|returned| Return { changed: Some(false), ..returned })
}

async fn blocking(look: impl FnOnce() -> Result<Return, Failure> + Send + 'static) -> Result<Return, Failure> {
    tokio::task::spawn_blocking(look).await.map_err(|error| Failure::new(format!("the look was lost: {error}")))?
}

/// `https://shop.example/health` at another base: its path and query behind it.
fn moved(url: &str, base: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find(['/', '?']).map_or("", |start| &rest[start..]);
    format!("{}{path}", base.trim_end_matches('/'))
}

fn request(http: &Http, patience: Duration) -> Result<Return, Failure> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(if http.follows() { 5 } else { 0 })
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .tls_config(TlsConfig::builder().disable_verification(!http.validate_certs).build())
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), At::new(http.address.clone()));
    let mut builder = ureq::http::Request::builder().method(http.method.to_uppercase().as_str()).uri(&http.url);
    for (name, value) in &http.headers {
        builder = builder.header(name, crate::modules::args::as_text(value));
    }
    let sent = http.sent();
    if let Some((_, Some(kind))) = &sent {
        builder = builder.header("Content-Type", *kind);
    }
    let wrong = |error: ureq::http::Error| Failure::new(format!("{}: {error}", http.url));
    let begin = Instant::now();
    let answer = match sent {
        Some((body, _)) => agent.run(builder.body(body).map_err(wrong)?),
        None => agent.run(builder.body(()).map_err(wrong)?),
    };
    let problem = |error: &ureq::Error| {
        let (text, hint) = connection_problem(error);
        Failure::new(format!("{} {text}", http.url)).hint(hint)
    };
    let mut response = answer.map_err(|error| problem(&error))?;
    let headers = response.headers().iter();
    let headers: IndexMap<String, String> = headers
        .map(|(name, value)| (name.as_str().to_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(BODY_LIMIT).read_to_vec().map_err(|error| problem(&error))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    http.judge(&Answered { status, body, headers, took_ms: begin.elapsed().as_micros().div_ceil(1000) as u64 })
}

async fn connect(tcp: &Tcp, host: String, patience: Duration) -> Result<Return, Failure> {
    let port = u16::try_from(tcp.port).map_err(|_| Failure::new(format!("{} is not a port", tcp.port)))?;
    let target = format!("{host}:{port}");
    let attempt = tokio::time::timeout(patience, tokio::net::TcpStream::connect((host.as_str(), port))).await;
    match attempt {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::Other => {
            Err(Failure::new(format!("{target}: {error}")).hint("create the DNS record of this name"))
        }
        attempt => tcp.verdict(attempt.is_ok_and(|connected| connected.is_ok()), &target),
    }
}

/// Is a port of an address open, seen from here?
pub async fn is_open(address: &str, port: u16, patience: Duration) -> bool {
    let attempt = tokio::time::timeout(patience, tokio::net::TcpStream::connect((address, port))).await;
    attempt.is_ok_and(|connected| connected.is_ok())
}

fn certificate(cert: &Cert, patience: Duration) -> Result<Return, Failure> {
    let der = presented(cert, patience)?;
    judge(cert, &der, jiff::Timestamp::now().as_second())
}

/// What the server presents, whoever signed it.
fn presented(cert: &Cert, patience: Duration) -> Result<Vec<u8>, Failure> {
    let target = format!("{}:{}", cert.host, cert.port);
    let failed = |why: String| Failure::new(format!("{target}: {why}"));
    let port = u16::try_from(cert.port).map_err(|_| failed("that is not a port".to_owned()))?;
    let place = cert.address.as_deref().unwrap_or(&cert.host);
    let address = addresses(place, port).into_iter().next().ok_or_else(|| failed(format!("{place} has no address")))?;
    let mut socket = TcpStream::connect_timeout(&address, patience).map_err(|error| failed(error.to_string()))?;
    let timed = socket.set_read_timeout(Some(patience)).and_then(|()| socket.set_write_timeout(Some(patience)));
    timed.map_err(|error| failed(error.to_string()))?;
    let seen = Arc::new(Seen::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(cert.host.clone()).map_err(|error| failed(error.to_string()))?;
    let mut session =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
    let shaken = session.complete_io(&mut socket);
    let der = seen.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (der, shaken) {
        (Some(der), _) => Ok(der),
        (None, Err(error)) => Err(failed(format!("no TLS: {error}"))),
        (None, Ok(_)) => Err(failed("no certificate was presented".to_owned())),
    }
}

/// Takes every certificate and keeps the server's.
#[derive(Debug, Default)]
struct Seen(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Issuer, names and days left; `now` in seconds.
fn judge(cert: &Cert, der: &[u8], now: i64) -> Result<Return, Failure> {
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|error| Failure::new(format!("the certificate cannot be read: {error}")))?;
    let issuer = parsed.issuer().to_string();
    let days = (parsed.validity().not_after.timestamp() - now).div_euclid(86_400);
    let mut names: Vec<String> = Vec::new();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(ip(bytes).map(|ip| ip.to_string())),
                _ => {}
            }
        }
    }
    let wanted = cert.san.as_deref().unwrap_or(&cert.host);
    let failed = |text: String| {
        let failure = Failure::new(text).with("issuer", issuer.as_str()).with("days_left", days);
        failure.with("names", names.clone())
    };
    if days < 0 {
        return Err(failed(format!("the certificate of {} expired {} days ago", cert.host, -days)));
    }
    if !names.iter().any(|name| covers(name, wanted)) {
        let text = format!("the certificate of {} is not for {wanted} but for {}", cert.host, names.join(", "));
        return Err(failed(text).hint("the proxy has no certificate of this name yet and shows its own"));
    }
    if let Some(issuer_part) =
        cert.issuer.as_deref().filter(|part| !issuer.to_lowercase().contains(&part.to_lowercase()))
    {
        return Err(failed(format!("the certificate of {} is issued by {issuer}, not {issuer_part}", cert.host)));
    }
    if days < cert.days as i64 {
        return Err(failed(format!("the certificate of {} ends in {days} days, before {}", cert.host, cert.days))
            .hint("it should have been renewed by now: look at the proxy's log"));
    }
    let msg = format!("{days} days left, issued by {issuer}");
    Ok(Return::msg(msg).with("issuer", issuer.as_str()).with("days_left", days).with("names", names))
}

/// `*.example.org` covers one step below it.
fn covers(name: &str, wanted: &str) -> bool {
    let (name, wanted) = (name.to_lowercase(), wanted.to_lowercase());
    name == wanted
        || name.strip_prefix("*.").is_some_and(|domain| wanted.split_once('.').is_some_and(|(_, rest)| rest == domain))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn addresses(name: &str, port: u16) -> Vec<SocketAddr> {
    (name, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

fn points_here(dns: &Dns, host: &str) -> Result<Return, Failure> {
    let ips = |name: &str| -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = addresses(name, 0).iter().map(SocketAddr::ip).collect();
        ips.dedup();
        ips
    };
    let told = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let target = dns.address.as_deref().unwrap_or(host);
    let (found, wanted) = (ips(&dns.name), ips(target));
    if found.is_empty() {
        return Err(Failure::new(format!("{} has no address", dns.name)).hint("create the DNS record of this name"));
    }
    match found.iter().any(|ip| wanted.contains(ip)) {
        true => Ok(Return::msg(format!("{} points to {}", dns.name, told(&found)))),
        false => Err(Failure::new(format!("{} points to {}, not to {target}", dns.name, told(&found)))
            .hint("correct the DNS record, or wait until the old one has expired")),
    }
}

/// A script of the package on the operator's machine; its text is on standard input.
async fn run(script: &Script) -> Result<Return, Failure> {
    let trouble = |error: std::io::Error| Failure::new(format!("{}: {error}", script.file));
    let mut child = tokio::process::Command::new("sh")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(trouble)?;
    if let Some(mut stdin) = child.stdin.take() {
        // one that ends before it has read everything has its reasons
        let _ = stdin.write_all(script.inner().render().as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(trouble)?;
    let output = Output { rc: output.status.code().unwrap_or(128), stdout: output.stdout, stderr: output.stderr };
    crate::modules::check::ended_well(&output)
}

#[cfg(test)]
mod tests;
