//! A line of a container's log: when, and what; if it is JSON, with level, logger, message and fields.

use fancy_regex::Regex;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    /// As libraries write it.
    pub fn named(word: &str) -> Option<Level> {
        match word.to_ascii_uppercase().as_str() {
            "TRACE" | "DEBUG" => Some(Level::Debug),
            "INFO" | "NOTICE" | "LOG" => Some(Level::Info),
            "WARN" | "WARNING" => Some(Level::Warning),
            "ERROR" | "ERR" => Some(Level::Error),
            "CRITICAL" | "FATAL" | "PANIC" | "EMERGENCY" => Some(Level::Critical),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Line {
    /// Docker's time stamp; empty if there was none.
    pub at: String,
    pub text: String,
    record: Option<Map<String, Value>>,
}

/// The keys under which libraries put the same thing.
const LEVEL: &[&str] = &["level", "levelname", "severity", "lvl"];
const LOGGER: &[&str] = &["logger", "name", "module"];
const MESSAGE: &[&str] = &["message", "msg", "event"];
const TIME: &[&str] = &["timestamp", "time", "ts", "@timestamp"];
const FIELDS: &[&str] = &["extra_fields", "extra", "fields"];

impl Line {
    /// As `docker logs --timestamps` prints it.
    pub fn parse(line: &str) -> Line {
        let stamped = line.split_once(' ').filter(|(stamp, _)| stamp.ends_with('Z') && stamp.contains('T'));
        let (at, text) = stamped.unwrap_or(("", line));
        let record = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten();
        Line { at: at.to_owned(), text: text.to_owned(), record }
    }

    fn first<'l>(&'l self, keys: &[&str]) -> Option<&'l Value> {
        let record = self.record.as_ref()?;
        keys.iter().find_map(|key| record.get(*key))
    }

    /// Of a plain line, the first word that is one.
    pub fn level(&self) -> Option<Level> {
        match self.first(LEVEL) {
            Some(value) => value.as_str().and_then(Level::named),
            None if self.record.is_some() => None,
            None => self.text.split(|c: char| !c.is_ascii_alphabetic()).take(12).find_map(|word| {
                // in prose only capitals are a level
                Level::named(word).filter(|_| word.chars().all(|c| c.is_ascii_uppercase()))
            }),
        }
    }

    /// A field of a JSON line, at the top or among the extra ones.
    fn field(&self, key: &str) -> Option<String> {
        let record = self.record.as_ref()?;
        let inner = FIELDS.iter().filter_map(|name| record.get(*name)?.as_object());
        let value = std::iter::once(record).chain(inner).find_map(|map| map.get(key))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// For people: time, level, logger, message and the other fields.
    pub fn shown(&self) -> String {
        let seconds =
            |stamp: &str| stamp.split(['.', '+']).next().unwrap_or(stamp).trim_end_matches('Z').replace('T', " ");
        let Some(record) = &self.record else {
            return format!("{} {}", seconds(&self.at), self.text).trim_start().to_owned();
        };
        let text = |keys: &[&str]| self.first(keys).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        let at = text(TIME).unwrap_or_else(|| self.at.clone());
        let head = [Some(seconds(&at)), text(LEVEL), text(LOGGER), text(MESSAGE)];
        let known = [LEVEL, LOGGER, MESSAGE, TIME, FIELDS].concat();
        let inner = FIELDS.iter().filter_map(|name| record.get(*name)?.as_object()).flatten();
        let rest = record.iter().filter(|(key, _)| !known.contains(&key.as_str())).chain(inner);
        let rest = rest.map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        });
        head.into_iter().flatten().chain(rest).collect::<Vec<_>>().join(" ")
    }

    pub fn to_json(&self, host: &str, service: &str) -> Value {
        match &self.record {
            Some(record) => json!({"host": host, "service": service, "at": self.at, "record": record}),
            None => json!({"host": host, "service": service, "at": self.at, "line": self.text}),
        }
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub grep: Option<Regex>,
    /// And above.
    pub level: Option<Level>,
    pub fields: Vec<(String, String)>,
}

impl Filter {
    pub fn lets(&self, line: &Line) -> bool {
        // a line that the expression cannot be tried on in reasonable time is shown
        self.grep.as_ref().is_none_or(|regex| regex.is_match(&line.text).unwrap_or(true))
            && self.level.is_none_or(|least| line.level().is_some_and(|level| level >= least))
            && self.fields.iter().all(|(key, value)| line.field(key).as_deref() == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"2026-11-25T19:43:00.123456789Z {"timestamp":"2026-11-25T19:43:00.120Z","level":"ERROR","logger":"agente","message":"no responde","extra_fields":{"session_id":42,"agent_to_invoke":"ventas"}}"#;

    #[test]
    fn json_lines_are_understood() {
        let line = Line::parse(JSON);
        assert_eq!(line.shown(), "2026-11-25 19:43:00 ERROR agente no responde session_id=42 agent_to_invoke=ventas");
        assert_eq!(line.level(), Some(Level::Error));
        let lets = |filter: Filter| filter.lets(&line);
        assert!(lets(Filter { level: Some(Level::Warning), ..Filter::default() }));
        assert!(!lets(Filter { level: Some(Level::Critical), ..Filter::default() }));
        let field = |key: &str, value: &str| Filter { fields: vec![(key.into(), value.into())], ..Filter::default() };
        assert!(lets(field("session_id", "42")) && lets(field("logger", "agente")) && !lets(field("session_id", "4")));
        assert_eq!(line.to_json("a", "x")["record"]["extra_fields"]["session_id"], 42);
    }

    #[test]
    fn plain_lines_stay_what_they_are() {
        let line = Line::parse("2026-11-25T19:43:00.1Z LOG:  database system is ready");
        assert_eq!(line.shown(), "2026-11-25 19:43:00 LOG:  database system is ready");
        assert_eq!(line.level(), Some(Level::Info));
        assert_eq!(Line::parse("no error at all").level(), None);
        assert_eq!(Line::parse("{not json").text, "{not json");
        let grep = Filter { grep: Regex::new("ready$").ok(), ..Filter::default() };
        assert!(grep.lets(&line) && !grep.lets(&Line::parse("other")));
        let fields = Filter { fields: vec![("a".into(), "b".into())], ..Filter::default() };
        assert!(!fields.lets(&line), "a plain line has no fields");
    }
}
