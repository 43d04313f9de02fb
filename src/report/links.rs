//! The addresses of what came up: what `link_check` and `url_check` found, as a table for people.

use serde_json::Value;

use super::style::{bold, green, red, table};
use crate::event::{Event, Kind};
use crate::plan::Object;

/// One address of a service on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub host: String,
    pub service: String,
    pub name: String,
    pub url: String,
    pub description: String,
    pub answers: bool,
    /// `200 in 4 ms`, `open in 1 ms`, or what is wrong.
    pub result: String,
}

/// Those that an event tells of.
pub fn of(event: &Event) -> Vec<Link> {
    let Kind::TaskFinished { host, task, outcome } = &event.kind else { return Vec::new() };
    if !["link_check", "url_check"].contains(&task.action.as_str()) {
        return Vec::new();
    }
    let results = outcome.result.get("results").and_then(Value::as_array);
    let single = results.is_none().then_some(&outcome.result);
    let looked = results.into_iter().flatten().filter_map(Value::as_object).chain(single);
    looked.filter_map(|result| link(host, task.service.as_deref().unwrap_or_default(), result)).collect()
}

fn link(host: &str, service: &str, result: &Object) -> Option<Link> {
    let text = |value: &Object, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let item = result.get("item").and_then(Value::as_object);
    let either = |key: &str| text(result, key).or_else(|| text(item?, key));
    let failed = result.get("failed").and_then(Value::as_bool) == Some(true);
    Some(Link {
        host: host.to_owned(),
        service: service.to_owned(),
        url: text(result, "url")?,
        name: either("name").unwrap_or_default(),
        description: either("description").unwrap_or_default(),
        answers: result.get("answers").and_then(Value::as_bool).unwrap_or(!failed),
        result: text(result, "result").or_else(|| text(result, "msg")).unwrap_or_default(),
    })
}

/// The table; of many clients only those that do not answer, and how many do.
pub fn lines(links: &[Link], many: bool) -> Vec<String> {
    let shown: Vec<&Link> = links.iter().filter(|link| !many || !link.answers).collect();
    let well = links.len() - shown.len();
    let rest = (well > 0).then(|| format!("{well} addresses answer as they should"));
    if shown.is_empty() {
        return rest.into_iter().collect();
    }
    let head = ["CLIENT", "SERVICE", "LINK", "URL", "ANSWER", ""].map(str::to_owned);
    let rows = shown.iter().map(|link| {
        [&link.host, &link.service, &link.name, &link.url, &link.result, &link.description].map(Clone::clone)
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(Vec::from).collect();
    let mut lines = table(&rows);
    for (line, link) in lines.iter_mut().skip(1).zip(&shown) {
        let paint = if link.answers { green } else { red };
        // from the right: a part of a name may read like an answer
        if let Some(at) = line.rfind(&link.result).filter(|_| !link.result.is_empty()) {
            line.replace_range(at..at + link.result.len(), &paint(&link.result));
        }
    }
    if let Some(head) = lines.first_mut() {
        *head = bold(head);
    }
    lines.extend(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Outcome, TaskRef};
    use serde_json::json;

    fn event(action: &str, result: Value) -> Event {
        let task = TaskRef { action: action.to_owned(), service: Some("vnm".to_owned()), ..TaskRef::default() };
        let outcome = Outcome { result: result.as_object().cloned().unwrap_or_default(), ..Outcome::default() };
        let kind = Kind::TaskFinished { host: "a".to_owned(), task, outcome: Box::new(outcome) };
        Event { at: String::new(), run: String::new(), seq: 0, kind }
    }

    #[test]
    fn loops_and_single_tasks_are_read() {
        let looped = event(
            "link_check",
            json!({"results": [
                {"name": "Docs", "url": "http://localhost:8000/docs", "description": "Swagger", "answers": true, "result": "200 in 4 ms"},
                {"name": "DB", "url": "tcp://localhost:5432", "answers": false, "result": "does not answer"}]}),
        );
        let single =
            event("url_check", json!({"url": "https://x.example", "msg": "200 in 9 ms", "item": {"name": "Shop"}}));
        let links: Vec<Link> = [looped, single, event("debug", json!({"url": "x"}))].iter().flat_map(of).collect();
        let shown: Vec<String> = links.iter().map(|l| format!("{} {} {}", l.name, l.answers, l.result)).collect();
        assert_eq!(shown, ["Docs true 200 in 4 ms", "DB false does not answer", "Shop true 200 in 9 ms"]);
        let table = lines(&links, false);
        assert_eq!(table.len(), 4);
        assert!(table[1].contains("http://localhost:8000/docs") && table[1].contains("Swagger"), "{table:?}");
        assert!(lines(&[], false).is_empty());
    }
}
