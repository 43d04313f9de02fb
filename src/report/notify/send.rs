//! Messages in the shapes that services want, and their way out: HTTP by POST, mail by SMTP. Each try ends within
//! [`PATIENCE`]. Leaves out: trying again; what did not arrive is told with the next run.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Security, TlsParameters};
use lettre::{SmtpTransport, Transport};
use serde_json::{Value, json};

use super::{Destination, Kind, Message, Occasion, Tls, short};

const PATIENCE: Duration = Duration::from_secs(10);

/// Hands one message over; why it could not be.
pub fn send(destination: &Destination, message: &Message) -> Result<(), String> {
    match destination.kind {
        Kind::Email => mail(destination, message),
        _ => {
            let (url, headers, body) = request(destination, message);
            post(&url, &headers, &body)
        }
    }
}

fn occasion(message: &Message) -> &'static str {
    match message.occasion {
        Occasion::Failure => "failure",
        Occasion::Recovery => "recovery",
        Occasion::Schedule => "schedule",
        Occasion::Test => "test",
    }
}

/// Title and text in one.
fn whole(title: String, text: &str, most: usize) -> String {
    short(format!("{title}\n{text}").trim_end(), most)
}

/// URL, headers and JSON of an HTTP destination.
fn request(destination: &Destination, message: &Message) -> (String, Vec<(String, String)>, Value) {
    let url = destination.url.clone().unwrap_or_default();
    let mut headers: Vec<(String, String)> = destination.headers.clone().into_iter().collect();
    let (title, text) = (&message.title, message.text.as_str());
    match destination.kind {
        Kind::Slack => {
            let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            (url, headers, json!({"text": whole(format!("*{}*", plain(title)), &plain(text), 30_000)}))
        }
        Kind::Discord => {
            let content = whole(format!("**{title}**"), text, 1_900);
            (url, headers, json!({"content": content, "allowed_mentions": {"parse": []}}))
        }
        Kind::Telegram => {
            let api = destination.api.as_deref().unwrap_or("https://api.telegram.org").trim_end_matches('/');
            let url = format!("{api}/bot{}/sendMessage", destination.token.as_deref().unwrap_or_default());
            let text = whole(title.clone(), text, 4_000);
            (
                url,
                headers,
                json!({"chat_id": destination.chat_id, "text": text, "link_preview_options": {"is_disabled": true}}),
            )
        }
        Kind::Ntfy => {
            // published as JSON, so that titles may hold any letter
            let (server, topic) = url.trim_end_matches('/').rsplit_once('/').unwrap_or((url.as_str(), ""));
            let priority = if message.occasion == Occasion::Failure { 4 } else { 3 };
            let text = if text.is_empty() { title.as_str() } else { text };
            headers
                .extend(destination.token.iter().map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))));
            let body = json!({"topic": topic, "title": title, "message": short(text, 3_500), "priority": priority, "tags": [occasion(message)]});
            (format!("{server}/"), headers, body)
        }
        Kind::Webhook | Kind::Email => {
            let mut body = json!({"event": occasion(message), "title": title, "text": text});
            if let (Value::Object(body), Value::Object(facts)) = (&mut body, message.facts.clone()) {
                body.extend(facts);
            }
            (url, headers, body)
        }
    }
}

fn post(url: &str, headers: &[(String, String)], body: &Value) -> Result<(), String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
    let mut request = ureq::Agent::new_with_config(config).post(url).header("Content-Type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut answer = request.send(body.to_string()).map_err(|error| format!("cannot be reached: {error}"))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let said = answer.body_mut().with_config().limit(2_000).read_to_string().unwrap_or_default();
    Err(format!("answered {}: {}", answer.status().as_u16(), short(said.trim(), 200)))
}

fn mail(destination: &Destination, message: &Message) -> Result<(), String> {
    let mailbox =
        |text: &str| text.parse::<Mailbox>().map_err(|error| format!("`{text}` is not a mail address: {error}"));
    let mut letter = lettre::Message::builder()
        .from(mailbox(destination.from.as_deref().unwrap_or_default())?)
        .subject(&message.title)
        .header(lettre::message::header::ContentType::TEXT_PLAIN);
    for to in &destination.to {
        letter = letter.to(mailbox(to)?);
    }
    let letter =
        letter.body(whole(message.title.clone(), &message.text, 100_000)).map_err(|error| error.to_string())?;
    let server = destination.server.as_deref().unwrap_or_default();
    let tls = destination.tls.unwrap_or(if destination.port == Some(465) { Tls::Implicit } else { Tls::Starttls });
    let parameters = || TlsParameters::new(server.to_owned()).map_err(|error| error.to_string());
    let (security, usual) = match tls {
        Tls::Starttls => (Security::Required(parameters()?), 587),
        Tls::Implicit => (Security::Wrapper(parameters()?), 465),
        Tls::None => (Security::None, 25),
    };
    let mut transport = SmtpTransport::builder_dangerous(server)
        .port(destination.port.unwrap_or(usual))
        .tls(security)
        .timeout(Some(PATIENCE));
    if let (Some(user), Some(password)) = (&destination.user, &destination.password) {
        transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
    }
    transport.build().send(&letter).map(drop).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    })
}
