//! A run as JUnit XML, which CI systems read: a test suite per host, a test case per task.

use super::Tally;
use super::tally::cause_word;
use super::timeline::{self, Span};
use crate::event::{Event, Status};

/// The whole file.
pub fn render(events: &[Event]) -> String {
    let tally = Tally::of(events);
    let (spans, total) = timeline::of(events);
    let bad = |span: &Span| is_failure(span);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!(
        "<testsuites name=\"provision {}\" tests=\"{}\" failures=\"{}\" time=\"{}\">\n",
        escape(&tally.run),
        spans.len(),
        spans.iter().filter(|span| bad(span)).count(),
        seconds(total)
    ));
    for host in tally.hosts.keys() {
        let own: Vec<&Span> = spans.iter().filter(|span| span.host == *host).collect();
        let count = |wanted: &dyn Fn(&Span) -> bool| own.iter().filter(|span| wanted(span)).count();
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}\" timestamp=\"{}\">\n",
            escape(host),
            own.len(),
            count(&bad),
            count(&|span| span.outcome.status == Status::Skipped),
            seconds(own.iter().map(|span| span.took_ms).sum()),
            escape(tally.started.trim_end_matches('Z').split('.').next().unwrap_or_default()),
        ));
        own.iter().for_each(|span| text.push_str(&case(span)));
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(span: &Span) -> String {
    let class = span.task.service.as_deref().unwrap_or(&span.task.action);
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escape(class),
        escape(&span.task.name),
        seconds(span.took_ms)
    );
    let message = escape(span.outcome.text("msg"));
    match span.outcome.status {
        _ if is_failure(span) => format!(
            "{head}>\n      <failure type=\"{}\" message=\"{message}\">{}</failure>\n    </testcase>\n",
            escape(cause_word(span.outcome.cause)),
            escape(&format!("{}\n{}", span.task.place, span.outcome.text("stderr")))
        ),
        Status::Skipped => format!("{head}><skipped/></testcase>\n"),
        _ => format!("{head}/>\n"),
    }
}

fn is_failure(span: &Span) -> bool {
    matches!(span.outcome.status, Status::Failed | Status::Unreachable) && !span.outcome.ignored
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// For XML and HTML, in texts and in quoted attributes. Control characters that XML does not know become `\u{fffd}`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cause, Kind, Outcome, TaskRef};

    #[test]
    fn a_failure_a_skip_and_a_strange_name_are_well_formed() {
        let task = |name: &str| TaskRef { id: name.to_owned(), name: name.to_owned(), ..TaskRef::default() };
        let end = |name: &str, status: Status| {
            let mut outcome = Outcome { status, cause: Some(Cause::DiskFull), ..Outcome::default() };
            outcome.result.insert("msg".to_owned(), "no \"space\" <left> \u{1b}[0m".into());
            Kind::TaskFinished { host: "a".to_owned(), task: task(name), outcome: Box::new(outcome) }
        };
        let started = Kind::RunStarted {
            version: String::new(),
            command: Vec::new(),
            hosts: vec!["a".to_owned()],
            check: false,
            user: String::new(),
            inventory: String::new(),
        };
        let kinds = [started, end("A & B", Status::Ok), end("c", Status::Failed), end("d", Status::Skipped)];
        let at = "2026-11-23T12:00:00.000Z".to_owned();
        let events = kinds.map(|kind| Event { at: at.clone(), run: "r".to_owned(), seq: 1, kind });
        let text = render(&events);
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"0.000\""), "{text}");
        assert!(text.contains("timestamp=\"2026-11-23T12:00:00\""), "{text}");
        assert!(text.contains("name=\"A &amp; B\"") && text.contains("<skipped/>"), "{text}");
        assert!(
            text.contains("type=\"disk full\" message=\"no &quot;space&quot; &lt;left&gt; \u{fffd}[0m\""),
            "{text}"
        );
        let tags = |what: &str| text.matches(what).count();
        assert_eq!(tags("<testcase"), tags("</testcase>") + tags("\"/>"), "{text}");
    }
}
