//! A run as one HTML file that needs nothing else: failures first, the matrix, every diff, a timeline per host. Readable
//! without JavaScript, on a phone, in the dark, with the keyboard and on paper, for one host as for hundreds: above
//! [`MANY`] hosts those without trouble are folded away. Built from the journal alone, whose strings were redacted where
//! they were born; the page forbids itself to fetch anything.

use std::fmt::Write;

use indexmap::{IndexMap, IndexSet};

use super::Tally;
use super::causes;
use super::junit::escape;
use super::style::{duration, word};
use super::summary;
use super::tally::{Cell, HostTally, cause_word};
use super::timeline::{self, Span};
use crate::event::{Event, Level, Status};

const STYLE: &str = include_str!("html.css");
/// A task that took less is not drawn: it would be thinner than a hair.
const DRAWN_MS: u64 = 20;
/// Above this many hosts those without trouble are folded, and a cell of the matrix says less.
const MANY: usize = 40;
/// So many hosts with trouble show their tasks at once.
const OPEN_HOSTS: usize = 5;
/// Diffs of more lines than this are folded, and all of them if there are more than [`OPEN_DIFFS`].
const OPEN_LINES: usize = 40;
const OPEN_DIFFS: usize = 10;

/// What the parts of the page are made from.
struct Book {
    tally: Tally,
    /// Of all tasks that ended.
    spans: Vec<Span>,
    /// Milliseconds.
    total: u64,
    /// Hosts that failed, were not reached, or whose work was cut off.
    troubled: Vec<String>,
    well: Vec<String>,
}

/// The whole page.
pub fn render(events: &[Event]) -> String {
    let tally = Tally::of(events);
    let (spans, total) = timeline::of(events);
    let trouble = |state: &HostTally| state.counts.failed + state.counts.unreachable > 0 || !state.finished;
    let (troubled, well) = tally.hosts.keys().cloned().partition(|host| tally.hosts.get(host).is_some_and(trouble));
    let book = Book { tally, spans, total, troubled, well };
    let diffs = Diffs::of(&book.spans);
    let mut page = String::new();
    head(&mut page, &book);
    failures(&mut page, &book.tally);
    warnings(&mut page, &book.tally);
    matrix(&mut page, &book);
    diffs.show(&mut page);
    hosts(&mut page, &book, &diffs);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Everything is written into a `String`, which takes all.
macro_rules! put {
    ($page:expr, $($text:tt)*) => {{ let _ = writeln!($page, $($text)*); }};
}

fn head(page: &mut String, book: &Book) {
    let tally = &book.tally;
    let status = tally.status_word();
    let title = format!("provision {} — {status}", tally.run);
    put!(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    // whatever stands in a journal, nothing is fetched and nothing runs
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    put!(page, "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<meta name=\"color-scheme\" content=\"light dark\">");
    put!(page, "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>", escape(&title));
    put!(page, "<header class=\"{status}\">\n<h1>{}</h1>", escape(&verdict(tally)));
    put!(page, "<p><code>{}</code></p>", escape(&tally.command.join(" ")));
    let check = if tally.check { " · check: nothing was touched" } else { "" };
    put!(
        page,
        "<p class=\"dim\"><time datetime=\"{}\">{}</time> · {} · {} · {} · run {}{check}</p>\n</header>",
        escape(&tally.started),
        escape(&moment(&tally.started)),
        escape(&tally.user),
        plural(tally.hosts.len(), "host"),
        duration(book.total),
        escape(&tally.run)
    );
}

/// `2026-11-26 03:00:00 UTC`; what is no time stays as it is.
fn moment(at: &str) -> String {
    let time = at.parse::<jiff::Timestamp>();
    time.map_or(at.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn verdict(tally: &Tally) -> String {
    let failed = tally.failed_hosts().len();
    match tally.status_word() {
        "ok" if tally.check => format!("Would change {}", plural(tally.changed() as usize, "thing")),
        "ok" => format!("All well, {} changed", tally.changed()),
        "failed" => format!("{failed} of {} failed", plural(tally.hosts.len(), "host")),
        "killed" => "The run was killed".to_owned(),
        word => format!("The run was {word}"),
    }
}

fn failures(page: &mut String, tally: &Tally) {
    let groups = causes::groups(tally);
    if groups.is_empty() {
        return;
    }
    let headline = match (tally.failed_hosts().len(), groups.len()) {
        (0, count) => causes::headline(tally, count),
        (_, 1) => "What failed".to_owned(),
        (_, count) => format!("What failed, {count} causes"),
    };
    put!(page, "<section id=\"failures\">\n<h2>{}</h2>", escape(&headline));
    for group in &groups {
        put!(page, "<article>\n<h3>{}: {}</h3>\n<dl>", escape(group.word), escape(&causes::named(&group.hosts)));
        for (name, text) in &group.fields {
            put!(page, "<dt>{name}</dt><dd><pre>{}</pre></dd>", escape(text));
        }
        put!(page, "</dl>\n</article>");
    }
    put!(page, "</section>");
}

/// The same warning of many hosts is said once.
fn warnings(page: &mut String, tally: &Tally) {
    let mut warnings: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for (host, level, text) in &tally.notes {
        if *level == Level::Warning {
            warnings.entry(text).or_default().extend(host.as_deref());
        }
    }
    if warnings.is_empty() {
        return;
    }
    put!(page, "<section id=\"warnings\">\n<h2>Warnings</h2>\n<ul>");
    for (text, hosts) in warnings {
        put!(page, "<li>{}{}</li>", who(&hosts), escape(text));
    }
    put!(page, "</ul>\n</section>");
}

fn who(hosts: &IndexSet<&str>) -> String {
    let hosts: Vec<&str> = hosts.iter().copied().collect();
    if hosts.is_empty() { String::new() } else { format!("<b>{}</b>: ", escape(&causes::named(&hosts))) }
}

fn matrix(page: &mut String, book: &Book) {
    let cells = &book.tally.cells;
    if cells.is_empty() {
        return;
    }
    let services: IndexSet<&str> = cells.iter().map(|cell| cell.service.as_str()).collect();
    let known: IndexMap<(&str, &str), &Cell> =
        cells.iter().map(|cell| ((cell.host.as_str(), cell.service.as_str()), cell)).collect();
    put!(page, "<section id=\"matrix\">\n<h2>Clients and services</h2>");
    folded(page, book, "client", |page, hosts| {
        let wide = "<div class=\"wide\" role=\"region\" aria-label=\"Clients and services\" tabindex=\"0\">";
        let heads = services.iter().map(|service| format!("<th scope=\"col\">{}</th>", escape(service)));
        // on a phone each client is a block, which takes a table's own roles away
        put!(page, "{wide}<table role=\"table\">\n<thead><tr><th scope=\"col\">client</th>{}</tr></thead>", {
            heads.collect::<String>()
        });
        put!(page, "<tbody>");
        for host in hosts {
            put!(page, "<tr role=\"row\"><th scope=\"row\" role=\"rowheader\">{}</th>", client(host, &book.tally));
            for service in &services {
                let Some(cell) = known.get(&(host.as_str(), *service)) else {
                    put!(page, "<td role=\"cell\" class=\"none\">–</td>");
                    continue;
                };
                let text = cell_text(cell, book.tally.hosts.len() > MANY);
                let (class, service) = (word(cell.status), escape(service));
                put!(page, "<td role=\"cell\" class=\"{class}\" data-service=\"{service}\">{text}</td>");
            }
            put!(page, "</tr>");
        }
        put!(page, "</tbody>\n</table></div>");
    });
    put!(page, "</section>");
}

/// Those with trouble, then the others, who are folded where there are many.
fn folded(page: &mut String, book: &Book, noun: &str, show: impl Fn(&mut String, &[String])) {
    if book.troubled.len() + book.well.len() <= MANY {
        return show(page, &[&book.troubled[..], &book.well].concat());
    }
    if !book.troubled.is_empty() {
        show(page, &book.troubled);
    }
    if !book.well.is_empty() {
        let without = if book.troubled.is_empty() { "" } else { " without trouble" };
        put!(page, "<details class=\"more\"><summary>{}{without}</summary>", plural(book.well.len(), noun));
        show(page, &book.well);
        put!(page, "</details>");
    }
}

/// A link to the host's tasks, with what kept it from having any cell.
fn client(host: &str, tally: &Tally) -> String {
    let link = format!("<a href=\"#host-{0}\">{0}</a>", escape(host));
    let trouble = tally.failures.iter().find(|trouble| trouble.host == host);
    match trouble.filter(|_| !tally.cells.iter().any(|cell| cell.host == host)) {
        Some(trouble) => format!("{link}<span class=\"failed\"><b>{}</b></span>", cause_word(trouble.outcome.cause)),
        None => link,
    }
}

fn cell_text(cell: &Cell, short: bool) -> String {
    let mut text = format!("<b>{}</b> {}", word(cell.status), escape(&cell.version));
    if !short || cell.status == Status::Failed {
        text.push_str(&format!("<br><span class=\"dim\">{}</span>", duration(cell.took_ms)));
        if let Some(url) = &cell.url {
            let shown = escape(url.split_once("://").map_or(url.as_str(), |(_, rest)| rest));
            // a link only to the web, whatever a package puts there
            match url.starts_with("https://") || url.starts_with("http://") {
                true => text.push_str(&format!("<br><a href=\"{}\" rel=\"noreferrer\">{shown}</a>", escape(url))),
                false => text.push_str(&format!("<br>{shown}")),
            }
        }
        for more in [&cell.url_result, &cell.msg].into_iter().flatten() {
            text.push_str(&format!("<br><span class=\"dim\">{}</span>", escape(more)));
        }
    }
    text
}

/// The diffs of a run, the same one of many hosts once.
struct Diffs<'a> {
    /// By task, place and text.
    all: IndexMap<(String, &'a str, String), IndexSet<&'a str>>,
    /// For each span which of them are its own.
    of: Vec<Vec<usize>>,
}

impl<'a> Diffs<'a> {
    fn of(spans: &'a [Span]) -> Diffs<'a> {
        let mut diffs = Diffs { all: IndexMap::new(), of: Vec::with_capacity(spans.len()) };
        for span in spans {
            let own = span.outcome.diff.iter().map(|diff| {
                let text = summary::diff_text(diff).join("\n");
                let entry = diffs.all.entry((title(span), span.task.place.as_str(), text));
                let index = entry.index();
                entry.or_default().insert(&span.host);
                index
            });
            let own = own.collect();
            diffs.of.push(own);
        }
        diffs
    }

    fn show(&self, page: &mut String) {
        if self.all.is_empty() {
            return;
        }
        put!(page, "<section id=\"diffs\">\n<h2>Diffs</h2>");
        for (index, ((title, place, text), hosts)) in self.all.iter().enumerate() {
            let few = self.all.len() <= OPEN_DIFFS && text.lines().count() <= OPEN_LINES;
            let open = if few { " open" } else { "" };
            put!(page, "<details class=\"card\"{open}><summary>{}{}</summary>", who(hosts), escape(title));
            let _ = write!(page, "<p class=\"dim\">{}</p><pre class=\"diff\" id=\"diff-{index}\">", escape(place));
            for (number, line) in text.lines().enumerate() {
                let class = match line.chars().next() {
                    _ if number < 2 => "file",
                    Some('+') => "add",
                    Some('-') => "del",
                    Some('@') => "at",
                    _ => "same",
                };
                let _ = write!(page, "<span class=\"{class}\">{}</span>", escape(line));
            }
            put!(page, "</pre></details>");
        }
        put!(page, "</section>");
    }
}

/// Each host's timeline, all on the same scale, which opens to its tasks.
fn hosts(page: &mut String, book: &Book, diffs: &Diffs) {
    let mut own: IndexMap<&str, Vec<(&Span, &[usize])>> = IndexMap::new();
    for (span, diffs) in book.spans.iter().zip(&diffs.of) {
        own.entry(&span.host).or_default().push((span, diffs));
    }
    let total = duration(book.total);
    put!(page, "<section id=\"hosts\">\n<h2>Timeline</h2>\n<p class=\"legend dim\">");
    for (class, what) in
        [("ok", "ok"), ("changed", "changed"), ("failed", "failed, not reached"), ("skipped", "skipped")]
    {
        put!(page, "<span><i class=\"{class}\"></i> {what}</span>");
    }
    put!(page, "<span>from 0 to {total}</span></p>");
    folded(page, book, "host", |page, hosts| {
        for name in hosts {
            let Some(state) = book.tally.hosts.get(name) else { continue };
            let spans = own.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let open = book.troubled.iter().take(OPEN_HOSTS).any(|host| host == name);
            host(page, name, state, spans, book.total, open);
        }
    });
    put!(page, "</section>");
}

fn host(page: &mut String, name: &str, state: &HostTally, spans: &[(&Span, &[usize])], total: u64, open: bool) {
    let c = &state.counts;
    let mut counts = vec![format!("ok {}", c.ok), format!("changed {}", c.changed)];
    let more = [("failed", c.failed), ("unreachable", c.unreachable), ("rescued", c.rescued), ("ignored", c.ignored)];
    counts.extend(more.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}")));
    if !state.finished {
        counts.push("did not end".to_owned());
    }
    let troubled = if c.failed + c.unreachable > 0 || !state.finished { " failed" } else { "" };
    let open = if open { " open" } else { "" };
    put!(page, "<details class=\"card host{troubled}\"{open}><summary><b>{}</b>", escape(name));
    put!(page, "<span class=\"dim\">{}</span>", counts.join(" · "));
    timeline_bar(page, spans, total);
    // a link to what is inside opens the host
    put!(page, "</summary>\n<div id=\"host-{}\">", escape(name));
    if let Some(task) = &state.current {
        put!(
            page,
            "<p>its last word is the begin of <b>{}</b> <span class=\"dim\">{}</span></p>",
            { escape(&named(task.service.as_deref(), &task.name)) },
            escape(&task.place)
        );
    }
    let quiet = |span: &Span| matches!(span.outcome.status, Status::Ok | Status::Skipped);
    let (still, moved): (Vec<_>, Vec<_>) = spans.iter().partition(|(span, _)| quiet(span));
    list(page, &moved);
    if !still.is_empty() {
        let word = if moved.is_empty() { "" } else { " other" };
        let noun = format!("{word} {}", if still.len() == 1 { "task" } else { "tasks" });
        put!(page, "<details><summary>{}{noun} changed nothing</summary>", still.len());
        list(page, &still);
        put!(page, "</details>");
    }
    put!(page, "</div></details>");
}

fn timeline_bar(page: &mut String, spans: &[(&Span, &[usize])], total: u64) {
    let share = |ms: u64| ms as f64 * 100.0 / total.max(1) as f64;
    let longest = spans.iter().map(|(span, _)| span).max_by_key(|span| span.took_ms);
    let longest = longest.map(|span| format!(", the longest {} with {}", title(span), duration(span.took_ms)));
    let label = format!("{}{}", plural(spans.len(), "task"), longest.unwrap_or_default());
    put!(page, "<span class=\"timeline\" role=\"img\" aria-label=\"{}\">", escape(&label));
    for (span, _) in spans.iter().filter(|(span, _)| span.took_ms >= DRAWN_MS) {
        put!(
            page,
            "<i class=\"{}\" style=\"left:{:.2}%;width:{:.2}%\" title=\"{} — {}, {}\"></i>",
            word(span.outcome.status),
            share(span.start_ms),
            share(span.took_ms).max(0.15),
            escape(&title(span)),
            word(span.outcome.status),
            duration(span.took_ms)
        );
    }
    put!(page, "</span>");
}

fn title(span: &Span) -> String {
    named(span.task.service.as_deref(), &span.task.name)
}

fn named(service: Option<&str>, task: &str) -> String {
    service.map_or(task.to_owned(), |service| format!("[{service}] {task}"))
}

fn list(page: &mut String, spans: &[&(&Span, &[usize])]) {
    if spans.is_empty() {
        return;
    }
    put!(page, "<ul class=\"tasks\">");
    spans.iter().for_each(|(span, diffs)| task(page, span, diffs));
    put!(page, "</ul>");
}

fn task(page: &mut String, span: &Span, diffs: &[usize]) {
    let outcome = &span.outcome;
    let ignored = if outcome.ignored { " (taken over)" } else { "" };
    put!(
        page,
        "<li class=\"{0}\"><b>{0}</b>{ignored} {1} <span class=\"dim\">at {2} for {3} · {4}</span>",
        word(outcome.status),
        escape(&title(span)),
        duration(span.start_ms),
        duration(span.took_ms),
        escape(&span.task.place)
    );
    for index in diffs {
        put!(page, " <a href=\"#diff-{index}\">diff</a>");
    }
    let told = outcome.text("msg");
    if !told.is_empty() && outcome.status != Status::Ok {
        put!(page, "<div class=\"dim\">{}</div>", escape(told));
    }
    put!(page, "</li>");
}
