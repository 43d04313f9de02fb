//! Why a template could not be evaluated: names and lines, never the values of variables.

use std::fmt;

use minijinja::{Error as EngineError, ErrorKind, Value};

use super::{filters, predicates};
use crate::error::{Error, Place, nearest};
use crate::plan::Failure;

/// Why a template could not be evaluated. Names variables, never their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    pub text: String,
    /// The variable that was not defined, if that was the trouble: `foo`, `foo.bar`.
    pub undefined: Option<String>,
    /// The line within the template; counts from 1.
    pub line: Option<usize>,
    pub hint: Option<String>,
    /// The variable whose own template failed, if it was not the template at hand.
    pub variable: Option<String>,
}

impl Fault {
    pub fn new(text: impl Into<String>) -> Self {
        Fault { text: text.into(), ..Fault::default() }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn on_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(super) fn undefined(name: &str) -> Self {
        Fault { text: format!("`{name}` is undefined"), undefined: Some(name.to_owned()), ..Fault::default() }
    }

    /// The fault of a variable's own template, as seen from where the variable is used.
    pub(super) fn within(mut self, variable: &str) -> Self {
        if self.variable.is_none() {
            let line = self.line.filter(|line| *line > 1).map(|line| format!("line {line} of ")).unwrap_or_default();
            self.text = format!("{} (in {line}the variable `{variable}`)", self.text);
            self.variable = Some(variable.to_owned());
        }
        self.line = None;
        self
    }

    /// As a mistake in a file: `place` is where the template begins.
    pub fn at(self, place: &Place) -> Error {
        let line = place.line + self.line.map_or(0, |line| line.saturating_sub(1));
        let error = Error::at(&Place::new(place.file.clone(), line, 0), self.text);
        Error { hint: self.hint, ..error }
    }

    /// Through the template engine; [`Fault::from`] gets it back.
    pub(super) fn into_error(self) -> EngineError {
        EngineError::new(ErrorKind::InvalidOperation, self.text.clone()).with_source(self)
    }

    /// A value that stands for a failure: the failure.
    pub(super) fn of_invalid(value: &Value) -> Self {
        // an iteration is the only way to the error inside
        let alone = Value::from(vec![value.clone()]);
        match alone.try_iter().map(|items| items.checked().next()) {
            Ok(Some(Err(error))) | Err(error) => error.into(),
            Ok(_) => Fault::new("the result could not be evaluated"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure { msg: fault.text, hint: fault.hint, ..Failure::default() }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        let line = error.line();
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = source {
            if let Some(fault) = current.downcast_ref::<Fault>() {
                let mut fault = fault.clone();
                fault.line = fault.line.or(line);
                return fault;
            }
            source = current.source();
        }
        let detail = innermost(&error);
        let mut fault = match error.kind() {
            ErrorKind::SyntaxError => Fault::new(format!("syntax error: {detail}")),
            ErrorKind::UnknownFilter => unknown("filter", &detail, filters::names()),
            ErrorKind::UnknownTest => unknown("test", &detail, predicates::names()),
            ErrorKind::UndefinedError => Fault::new("something without a value was used"),
            ErrorKind::OutOfFuel => Fault::new("the template does far too much work").hint("is there an endless loop?"),
            ErrorKind::TemplateNotFound => Fault::new(detail),
            // the engine puts the operands into this message
            _ if detail.starts_with("unable to calculate") => {
                Fault::new("this cannot be calculated: a division by zero, or the result is too large")
            }
            _ => Fault::new(detail),
        };
        fault.line = line;
        fault
    }
}

/// The detail of the error that began it.
fn innermost(error: &EngineError) -> String {
    let mut detail = error.detail().map(str::to_owned);
    let mut source = std::error::Error::source(error);
    while let Some(current) = source {
        if let Some(inner) = current.downcast_ref::<EngineError>() {
            detail = inner.detail().map(str::to_owned).or(detail);
        }
        source = current.source();
    }
    detail.unwrap_or_else(|| error.kind().to_string())
}

/// The template and line where the error began, which may be an included one.
pub(super) fn origin(error: &EngineError) -> (Option<&str>, usize) {
    let mut found = (error.name(), error.line().unwrap_or_default());
    let mut source = std::error::Error::source(error);
    while let Some(current) = source {
        if let Some(inner) = current.downcast_ref::<EngineError>()
            && inner.name().is_some()
        {
            found = (inner.name(), inner.line().unwrap_or_default());
        }
        source = current.source();
    }
    found
}

/// "filter nope is unknown" with the near name as a hint.
fn unknown<'a>(what: &str, detail: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let Some(name) = detail.strip_prefix(what).and_then(|rest| rest.split_whitespace().next()) else {
        return Fault::new(detail);
    };
    let fault = Fault::new(format!("there is no {what} `{name}`"));
    match nearest(name, known.filter(|near| near.len() + 1 >= name.len())) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault,
    }
}
