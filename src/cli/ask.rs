//! Asks the operator for settings in a form, and writes the answers where they belong: settings into `host_vars/`, with
//! everything else in that file as it was, secrets into the host's age file. Nothing is written before the yes.
//!
//! The texts are in the users' language.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::common::Fleet;
use super::screen::form::{Field, Filled, Form};
use super::screen::{self, Said};
use crate::error::Result;
use crate::inventory::edit;
use crate::plan::Secret;
use crate::secrets::EnvFile;
use crate::services::Selection;
use crate::services::questions::{Question, Stand, questions};
use crate::services::settings::{env_path, recipients};
use crate::vars::validate::{Check, Lack};

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There was nothing to ask, or nothing was changed.
    Nothing,
    /// The inventory is not what it was.
    Written,
    /// The operator does not want to go on.
    GivenUp,
}

/// What the form begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Only if something is missing or wrong.
    IfNeeded,
    /// All settings at once.
    WithAll,
}

/// Asks about the selection. There must be a terminal ([`screen::is_possible`]).
pub fn ask(fleet: &Fleet, hosts: &[String], selection: &Selection, begin: Begin) -> Result<Asked> {
    let questions = questions(&fleet.sources(), hosts, selection);
    let needed = questions.iter().any(|question| question.stand != Stand::Known);
    if questions.is_empty() || (begin == Begin::IfNeeded && !needed) {
        return Ok(Asked::Nothing);
    }
    let fields = questions.iter().map(|question| field(fleet, question)).collect();
    let mut form = Form::new("Ajustes", fields);
    match screen::talk(&mut form)? {
        Said::Interrupted | Said::Answer(Filled::GivenUp) => return Ok(Asked::GivenUp),
        Said::Answer(Filled::Confirmed) => {}
    }
    let answers = questions.iter().zip(&form.fields);
    let changed = answers.filter(|(question, field)| {
        // what was proposed for something missing is now an answer
        field.value != question.value || (question.stand == Stand::Missing && !field.value.is_empty())
    });
    let changed: Vec<(&Question, &str)> = changed.map(|(question, field)| (question, field.value.as_str())).collect();
    match changed.is_empty() {
        true => Ok(Asked::Nothing),
        false => write(fleet, &changed).map(|()| Asked::Written),
    }
}

fn field(fleet: &Fleet, question: &Question) -> Field {
    let kind = question.kind.as_deref().and_then(|kind| kind.parse::<Check>().ok());
    let choices = match &kind {
        Some(Check::Enum(words)) => words.clone(),
        Some(Check::Bool) => ["true", "false"].map(str::to_owned).to_vec(),
        _ => Vec::new(),
    };
    let address =
        fleet.inventory.vars(&question.host).get("ansible_host").and_then(|value| value.as_str().map(str::to_owned));
    let address = address.unwrap_or_else(|| question.host.clone());
    let look: Option<Box<dyn Fn(&str) -> String>> =
        (kind == Some(Check::Domain)).then(|| Box::new(move |name: &str| resolution(name, &address)) as _);
    Field {
        group: match &question.service {
            Some(service) => format!("{} · {service}", question.host),
            None => format!("{} · cliente", question.host),
        },
        name: question.key.clone(),
        prompt: question.prompt.clone(),
        value: question.value.clone(),
        hidden: question.secret,
        required: question.required,
        choices,
        asked: question.stand != Stand::Known,
        check: Box::new(move |value| kind.as_ref().map_or(Ok(()), |kind| problem(kind, value))),
        look,
    }
}

/// What is wrong with a value, in the users' language.
fn problem(kind: &Check, value: &str) -> std::result::Result<(), String> {
    let Err(original) = kind.check(value) else { return Ok(()) };
    Err(match kind {
        Check::Domain => {
            "no es un dominio: escríbalo sin https://, sin puerto y sin ruta, p. ej. chat.midominio.com".to_owned()
        }
        Check::Email => "no es una dirección de correo, p. ej. admin@midominio.com".to_owned(),
        Check::Url => "no es una URL: empieza por https:// o http://, p. ej. https://chat.midominio.com".to_owned(),
        Check::Port => "no es un puerto: un número de 1 a 65535, p. ej. 8080".to_owned(),
        Check::Int => "no es un número entero, p. ej. 42".to_owned(),
        Check::Bool => "responda true o false".to_owned(),
        Check::Enum(words) => format!("no es una de las opciones: {}", words.join(", ")),
        Check::Regex(pattern) => format!("no tiene la forma pedida: {pattern}"),
        Check::Timezone => "no es una zona horaria, p. ej. America/Bogota o UTC".to_owned(),
        Check::Cidr => "no es una red con máscara, p. ej. 10.0.0.0/24".to_owned(),
        Check::Ip => "no es una dirección IP, p. ej. 10.0.0.5".to_owned(),
        Check::Path => "no es una ruta: empieza por / y no lleva .., p. ej. /srv/datos".to_owned(),
        Check::Phone => "no es un teléfono internacional: + y de 7 a 15 cifras, p. ej. +5491123456789".to_owned(),
        Check::Password(policy) => {
            let words = policy.lacks(value).into_iter().map(|lack| match lack {
                Lack::Characters(least) => format!("al menos {least} caracteres"),
                Lack::Small => "una minúscula".to_owned(),
                Lack::Capital => "una mayúscula".to_owned(),
                Lack::Digit => "una cifra".to_owned(),
                Lack::OnlySigns(signs) => format!("solo letras, cifras y {signs}"),
                Lack::NoControl => "ningún salto de línea".to_owned(),
            });
            let words: Vec<String> = words.collect();
            if words.is_empty() { original } else { format!("la contraseña necesita {}", words.join(", ")) }
        }
    })
}

/// Whether a name leads to the host. Nobody waits longer than two seconds for a name server.
fn resolution(name: &str, host: &str) -> String {
    let (of_name, of_host) = (addresses(name), addresses(host));
    let shown: Vec<String> = of_name.iter().map(ToString::to_string).collect();
    match (of_name.is_empty(), of_name.intersection(&of_host).next()) {
        (true, _) => "DNS: no resuelve".to_owned(),
        (false, Some(_)) => format!("DNS: {} (este cliente)", shown.join(", ")),
        (false, None) => format!("DNS: {}, que no es este cliente ({host})", shown.join(", ")),
    }
}

fn addresses(name: &str) -> BTreeSet<IpAddr> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let place = (name.to_owned(), 0_u16);
    std::thread::spawn(move || {
        let found = place.to_socket_addrs().map(|found| found.map(|address| address.ip()).collect::<BTreeSet<_>>());
        // who asked may not wait any more
        let _ = sender.send(found.unwrap_or_default());
    });
    receiver.recv_timeout(Duration::from_secs(2)).unwrap_or_default()
}

/// Writes all answers. What can go wrong is looked at before the first file changes.
fn write(fleet: &Fleet, answers: &[(&Question, &str)]) -> Result<()> {
    let mut settings: IndexMap<PathBuf, Vec<(Vec<String>, String)>> = IndexMap::new();
    let mut secrets: IndexMap<(String, String), Vec<(String, Secret)>> = IndexMap::new();
    for (question, value) in answers {
        match (&question.service, question.secret) {
            (Some(service), true) => {
                fleet.redactor.add(value);
                let file = secrets.entry((question.host.clone(), service.clone())).or_default();
                file.push((question.key.clone(), Secret::new(*value)));
            }
            (service, _) => {
                let above = service.iter().flat_map(|service| ["settings".to_owned(), service.clone()]);
                let path = above.chain([question.key.clone()]).collect();
                let file = settings.entry(file_of(fleet, question)).or_default();
                file.push((path, (*value).to_owned()));
            }
        }
    }
    let mut texts = Vec::new();
    for (path, changes) in &settings {
        let before = edit::text_of(path)?;
        texts.push((path, edit::set(path, &before, changes)?, changes));
    }
    let readers = if secrets.is_empty() { None } else { Some(recipients(&fleet.inventory)?) };
    for (path, text, changes) in texts {
        edit::write(path, &text)?;
        let keys: Vec<&str> = changes.iter().filter_map(|(path, _)| path.last().map(String::as_str)).collect();
        eprintln!("{}: {}", path.display(), keys.join(", "));
    }
    for ((host, service), values) in secrets {
        let path = env_path(&fleet.inventory, &host, &service);
        let mut file = EnvFile::load(&path, &fleet.identities)?;
        let keys: Vec<String> = values.iter().map(|(key, _)| key.clone()).collect();
        for (key, value) in values {
            match value.reveal().is_empty() {
                true => drop(file.remove(&key)),
                false => file.set(&key, value)?,
            }
        }
        if let Some(readers) = &readers {
            file.save(&path, readers)?;
        }
        eprintln!("{}: {}", path.display(), keys.join(", "));
    }
    Ok(())
}

/// The host's file that already speaks of this setting, else the one in which it would be looked for.
fn file_of(fleet: &Fleet, question: &Question) -> PathBuf {
    let own = fleet.inventory.data_dir().join("host_vars");
    let path = match &question.service {
        Some(service) => vec!["settings", service.as_str(), question.key.as_str()],
        None => vec![question.key.as_str()],
    };
    let layers = fleet.inventory.layers(&question.host);
    let places = layers.iter().rev().filter_map(|layer| layer.place(&path));
    let mine = places.map(|place| place.file.to_path_buf()).find(|file| file.starts_with(&own));
    mine.unwrap_or_else(|| edit::host_file(&fleet.inventory, &question.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_sentence_of_its_own() {
        for (kind, bad, piece) in [
            ("domain", "https://a.b", "sin https://"),
            ("email", "a", "correo"),
            ("url", "a.b", "https://"),
            ("port", "0", "65535"),
            ("int", "x", "entero"),
            ("bool", "x", "true o false"),
            ("enum:a,b", "c", "a, b"),
            ("regex:^a$", "b", "^a$"),
            ("timezone", "x", "America/Bogota"),
            ("cidr", "x", "10.0.0.0/24"),
            ("ip", "x", "10.0.0.5"),
            ("path", "x", "empieza por /"),
            ("phone", "x", "+5491123456789"),
            ("password", "Ab1", "al menos 8 caracteres"),
            (r#"password:{"min": 3, "signs": "@_"}"#, "ab!", "una mayúscula, una cifra, solo letras, cifras y @_"),
        ] {
            let text = problem(&kind.parse().unwrap(), bad).unwrap_err();
            assert!(text.contains(piece), "{kind}: {text}");
        }
        assert_eq!(problem(&Check::Domain, "a.example"), Ok(()));
    }

    #[test]
    fn names_are_compared_with_the_host() {
        assert_eq!(resolution("localhost", "127.0.0.1").split(' ').next(), Some("DNS:"));
        assert!(resolution("127.0.0.1", "127.0.0.1").contains("(este cliente)"));
        assert!(resolution("127.0.0.1", "127.0.0.2").contains("que no es este cliente"));
    }
}
