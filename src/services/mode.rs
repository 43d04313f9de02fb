//! The two modes in which a service runs: `debug` where it is worked on, `produccion` where it is used.
//!
//! What differs is said in the manifest under `modes`: stack templates that lie over the package's, and values of
//! settings. A host's mode is its variable `mode` (`--mode` on the command line); without one, this machine
//! (`ansible_connection: local`) is worked on, and a server that is reached over ssh is a client's, which must never
//! come up with an open debugger because somebody forgot a flag.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::manifest::Link;
use crate::error::{Error, Result};
use crate::vars::Scope;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Debug,
    Produccion,
}

impl Mode {
    pub const ALL: [Mode; 2] = [Mode::Debug, Mode::Produccion];

    pub fn word(self) -> &'static str {
        match self {
            Mode::Debug => "debug",
            Mode::Produccion => "produccion",
        }
    }

    /// The mode of a host, by its variables.
    pub fn of(scope: &Scope, host: &str) -> Result<Mode> {
        let variable =
            |name: &str| scope.get(name).map_err(|fault| Error::new(format!("host `{host}`: {}", fault.text)));
        let local =
            |value: Option<Value>| value.as_ref().and_then(Value::as_str).is_some_and(|it| it.ends_with("local"));
        match variable("mode")? {
            None | Some(Value::Null) if local(variable("ansible_connection")?) => Ok(Mode::Debug),
            None | Some(Value::Null) => Ok(Mode::Produccion),
            Some(Value::String(word)) => {
                word.parse().map_err(|error: Error| error.context(format_args!("host `{host}`")))
            }
            Some(_) => Err(Error::new(format!("host `{host}`: `mode` must be text"))),
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(word: &str) -> Result<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.word() == word).ok_or_else(|| {
            Error::new(format!("unknown mode `{word}`"))
                .hint("it is debug or produccion")
                .did_you_mean(word, Mode::ALL.iter().map(|mode| mode.word()))
        })
    }
}

/// `modes` of a manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modes {
    pub debug: Option<Variant>,
    pub produccion: Option<Variant>,
}

/// What a package is in one mode.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Templates of the package that lie over its stack, one over the other.
    #[serde(default)]
    pub stack: Vec<String>,
    /// Values of settings, over the package's defaults and under what a client says.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// After those of the package.
    #[serde(default)]
    pub links: Vec<Link>,
}

impl Modes {
    pub fn of(&self, mode: Mode) -> Option<&Variant> {
        match mode {
            Mode::Debug => self.debug.as_ref(),
            Mode::Produccion => self.produccion.as_ref(),
        }
    }

    /// Those that the package tells apart; one that tells none apart is the same in both.
    pub fn named(&self) -> Vec<Mode> {
        Mode::ALL.into_iter().filter(|mode| self.of(*mode).is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::vars::{Layer, NoWorld};

    fn mode(vars: Value) -> String {
        let Value::Object(vars) = vars else { return String::new() };
        let mut scope = Scope::new(Arc::new(NoWorld));
        scope.push(Layer::written(vars));
        Mode::of(&scope, "h").map_or_else(|error| error.to_string(), |mode| mode.word().to_owned())
    }

    #[test]
    fn only_this_machine_is_in_debug_by_itself() {
        assert_eq!(mode(json!({})), "produccion");
        assert_eq!(mode(json!({"ansible_connection": "ssh"})), "produccion");
        assert_eq!(mode(json!({"ansible_connection": "local"})), "debug");
        assert_eq!(mode(json!({"ansible_connection": "local", "mode": "produccion"})), "produccion");
        assert_eq!(mode(json!({"mode": "{{ 'debug' }}"})), "debug");
        let wrong = mode(json!({"mode": "debgu"}));
        assert!(wrong.contains("host `h`: unknown mode `debgu`") && wrong.contains("`debug`"), "{wrong}");
    }
}
