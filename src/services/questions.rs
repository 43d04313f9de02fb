//! What an operator may be asked about a service on a host, out of its manifest: settings without a value, with a wrong
//! one, or simply all of them; variables of the host that a setting's template needs; the network, where a package wants
//! it to be chosen.
//!
//! Leaves out how they are asked, and secrets that are made and not asked.

use indexmap::IndexMap;
use serde_json::Value;

use super::catalogue::Package;
use super::settings::{Setting, Sources, validation_text};
use super::{Rollout, Selection};
use crate::vars::validate;

/// One thing to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub host: String,
    /// None: a variable of the host.
    pub service: Option<String>,
    pub key: String,
    /// In the users' language, from the manifest.
    pub prompt: String,
    /// The kind of setting, as [`validate::Check`] reads it.
    pub kind: Option<String>,
    /// What counts now, or what is proposed.
    pub value: String,
    pub secret: bool,
    pub required: bool,
    pub stand: Stand,
}

/// How it stands with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Has a value that will do.
    Known,
    /// Without an answer nothing can be deployed, or a default is taken that the package would rather have confirmed.
    Missing,
    /// Has a value that its kind does not allow.
    Wrong,
}

/// Everything that may be asked about these services on these hosts, each once, in the order of the hosts and of the
/// deployment. What is wrong otherwise is not said here but when the services are prepared.
pub fn questions(sources: &Sources<'_>, hosts: &[String], selection: &Selection) -> Vec<Question> {
    let found = std::cell::RefCell::new(Vec::<Question>::new());
    let hear = |question: Question| {
        let mut found = found.borrow_mut();
        let same = |other: &Question| {
            (&other.host, &other.service, &other.key) == (&question.host, &question.service, &question.key)
        };
        if !found.iter().any(same) {
            found.push(question);
        }
    };
    let sources = Sources { questions: Some(&hear), ..*sources };
    // its mistakes are said when the questions are answered
    drop(Rollout::prepare(&sources, hosts, selection));
    found.into_inner()
}

/// A service on a host that is asked about.
pub(super) struct Asked<'a> {
    pub sources: &'a Sources<'a>,
    pub host: &'a str,
    /// The name of the service, which may be an instance of the package.
    pub service: &'a str,
    pub package: &'a Package,
}

impl Asked<'_> {
    /// `undefined`: settings whose templates need variables that the host does not have.
    pub(super) fn all(&self, values: &IndexMap<String, Setting>, undefined: &[(String, String)]) -> Vec<Question> {
        let mut questions: Vec<Question> = self.network().into_iter().collect();
        for (key, name) in undefined {
            questions.push(Question {
                kind: (name == "domain").then(|| "domain".to_owned()),
                prompt: format!("Variable `{name}` del cliente (la necesita {key} de {})", self.package.manifest.name),
                ..self.question(None, name)
            });
        }
        let unclear = |key: &str| undefined.iter().any(|(known, _)| known == key);
        for variable in &self.package.manifest.variables {
            // that one is answered by the host's variable
            if unclear(&variable.key) {
                continue;
            }
            let setting = values.get(&variable.key);
            let value = setting.map(|setting| setting.value.clone()).unwrap_or_default();
            let kind = validation_text(variable.validation.as_ref());
            let stand = match (value.is_empty(), variable.required, &kind) {
                (true, true, _) => Stand::Missing,
                (false, _, Some(kind)) if validate::check(kind, &value).is_err() => Stand::Wrong,
                _ => Stand::Known,
            };
            let prompt = if variable.prompt.is_empty() { &variable.key } else { &variable.prompt };
            let help = variable.help.as_deref().map(|help| format!("\n{help}")).unwrap_or_default();
            questions.push(Question {
                prompt: format!("{prompt}{help}"),
                kind,
                value,
                secret: variable.secret || setting.is_some_and(|setting| setting.secret),
                required: variable.required,
                stand,
                ..self.question(Some(self.service), &variable.key)
            });
        }
        let declared = |key: &str| self.package.manifest.variables.iter().any(|variable| variable.key == key);
        for (key, default) in self.package.defaults.iter().filter(|(key, _)| !declared(key) && !unclear(key)) {
            let value = values.get(key).map(|setting| setting.value.clone()).unwrap_or_default();
            let required = default.value.is_empty();
            questions.push(Question {
                prompt: if default.help.is_empty() { key.clone() } else { default.help.clone() },
                stand: if required && value.is_empty() { Stand::Missing } else { Stand::Known },
                secret: values.get(key).is_some_and(|setting| setting.secret),
                value,
                required,
                ..self.question(Some(self.service), key)
            });
        }
        questions
    }

    fn question(&self, service: Option<&str>, key: &str) -> Question {
        Question {
            host: self.host.to_owned(),
            service: service.map(str::to_owned),
            key: key.to_owned(),
            prompt: String::new(),
            kind: None,
            value: String::new(),
            secret: false,
            required: true,
            stand: Stand::Missing,
        }
    }

    /// The network's name, as long as nothing says it.
    fn network(&self) -> Option<Question> {
        const NAME: &str = "docker_network";
        let network = self.package.manifest.network.as_ref().filter(|network| network.use_custom)?;
        let prompt = network.prompt_if_missing.clone()?;
        let given = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
        if given(self.sources.extra_vars.get(NAME)) || given(self.sources.inventory.vars(self.host).get(NAME)) {
            return None;
        }
        let proposed = prompt.split_once("(default:").and_then(|(_, rest)| rest.split(')').next());
        let value = proposed.map_or("web", str::trim).to_owned();
        Some(Question {
            prompt,
            value,
            kind: Some("regex:^[a-zA-Z0-9][a-zA-Z0-9_.-]*$".to_owned()),
            ..self.question(None, NAME)
        })
    }
}
