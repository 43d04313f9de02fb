//! A run as one HTML file that needs nothing else: failures first, the matrix, a timeline per host, every change with
//! its diff. Readable without JavaScript, on a phone, in the dark, and on paper. Built from the journal alone, whose
//! strings were redacted where they were born.

use std::fmt::Write;

use super::causes;
use super::junit::escape;
use super::style::{duration, word};
use super::summary;
use super::timeline::{self, Span};
use super::{Tally, tally::Cell};
use crate::event::{Event, Level, Status};

const STYLE: &str = include_str!("html.css");
/// A task that took less is not drawn: it would be thinner than a hair.
const DRAWN_MS: u64 = 20;

/// The whole page.
pub fn render(events: &[Event]) -> String {
    let tally = Tally::of(events);
    let (spans, total) = timeline::of(events);
    let mut page = String::new();
    head(&mut page, &tally, total);
    failures(&mut page, &tally);
    warnings(&mut page, &tally);
    matrix(&mut page, &tally);
    hosts(&mut page, &tally, &spans, total);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Everything is written into a `String`, which takes all.
macro_rules! put {
    ($page:expr, $($text:tt)*) => {{ let _ = writeln!($page, $($text)*); }};
}

fn head(page: &mut String, tally: &Tally, total: u64) {
    let status = tally.status_word();
    let title = format!("provision {} — {status}", tally.run);
    put!(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>", escape(&title));
    put!(page, "<header class=\"{status}\">\n<h1>{}</h1>", escape(&verdict(tally)));
    put!(page, "<p><code>{}</code></p>", escape(&tally.command.join(" ")));
    let check = if tally.check { " · check: nothing was touched" } else { "" };
    put!(
        page,
        "<p class=\"dim\">{} · {} · {} · run {}{check}</p>\n</header>",
        escape(&tally.started),
        escape(&tally.user),
        duration(total),
        escape(&tally.run)
    );
}

fn verdict(tally: &Tally) -> String {
    let failed = tally.failed_hosts().len();
    match tally.status_word() {
        "ok" if tally.check => format!("Would change {} things", tally.changed()),
        "ok" => format!("All well, {} changed", tally.changed()),
        "failed" => format!("{failed} of {} hosts failed", tally.hosts.len()),
        "killed" => "The run was killed".to_owned(),
        word => format!("The run was {word}"),
    }
}

fn failures(page: &mut String, tally: &Tally) {
    let groups = causes::groups(tally);
    if groups.is_empty() {
        return;
    }
    put!(page, "<section id=\"failures\">\n<h2>{}</h2>", escape(&causes::headline(tally, groups.len())));
    for group in &groups {
        put!(page, "<article>\n<h3>{}: {}</h3>\n<dl>", escape(group.word), escape(&group.hosts.join(", ")));
        for (name, text) in &group.fields {
            put!(page, "<dt>{name}</dt><dd><pre>{}</pre></dd>", escape(text));
        }
        put!(page, "</dl>\n</article>");
    }
    put!(page, "</section>");
}

fn warnings(page: &mut String, tally: &Tally) {
    let warnings: Vec<_> = tally.notes.iter().filter(|(_, level, _)| *level == Level::Warning).collect();
    if warnings.is_empty() {
        return;
    }
    put!(page, "<section id=\"warnings\">\n<h2>Warnings</h2>\n<ul>");
    for (host, _, text) in warnings {
        let who = host.as_ref().map(|host| format!("<b>{}</b>: ", escape(host))).unwrap_or_default();
        put!(page, "<li>{who}{}</li>", escape(text));
    }
    put!(page, "</ul>\n</section>");
}

fn matrix(page: &mut String, tally: &Tally) {
    if tally.cells.is_empty() {
        return;
    }
    let mut services: Vec<&str> = Vec::new();
    for cell in &tally.cells {
        if !services.contains(&cell.service.as_str()) {
            services.push(&cell.service);
        }
    }
    put!(page, "<section id=\"matrix\">\n<h2>Clients and services</h2>\n<div class=\"wide\"><table>");
    let heads: String = services.iter().map(|service| format!("<th>{}</th>", escape(service))).collect();
    put!(page, "<tr><th>client</th>{heads}</tr>");
    for host in tally.hosts.keys() {
        put!(page, "<tr><th><a href=\"#host-{0}\">{0}</a></th>", escape(host));
        for service in &services {
            let cell = tally.cells.iter().find(|cell| cell.host == *host && cell.service == **service);
            match cell {
                None => put!(page, "<td class=\"none\">–</td>"),
                Some(cell) => put!(page, "<td class=\"{}\">{}</td>", word(cell.status), cell_text(cell)),
            }
        }
        put!(page, "</tr>");
    }
    put!(page, "</table></div>\n</section>");
}

fn cell_text(cell: &Cell) -> String {
    let mut text = format!("<b>{}</b> {}<br>", word(cell.status), escape(&cell.version));
    text.push_str(&format!("<span class=\"dim\">{}</span>", duration(cell.took_ms)));
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
    text
}

/// Each host's timeline and tasks; those with trouble first and open.
fn hosts(page: &mut String, tally: &Tally, spans: &[Span], total: u64) {
    let mut names: Vec<&String> = tally.hosts.keys().collect();
    let failed = tally.failed_hosts();
    names.sort_by_key(|name| !failed.contains(name));
    put!(page, "<section id=\"hosts\">\n<h2>Hosts</h2>");
    for name in names {
        let Some(host) = tally.hosts.get(name) else { continue };
        let own: Vec<&Span> = spans.iter().filter(|span| span.host == *name).collect();
        let c = &host.counts;
        put!(page, "<article id=\"host-{0}\">\n<h3>{0}</h3>", escape(name));
        put!(
            page,
            "<p class=\"dim\">ok {} · changed {} · failed {} · unreachable {} · skipped {}{}</p>",
            c.ok,
            c.changed,
            c.failed,
            c.unreachable,
            c.skipped,
            if host.finished { "" } else { " · did not end" }
        );
        timeline_bar(page, &own, total);
        let open = if failed.contains(name) { " open" } else { "" };
        put!(page, "<details{open}><summary>{} tasks</summary>\n<ol>", own.len());
        own.iter().for_each(|span| task(page, span));
        put!(page, "</ol></details>\n</article>");
    }
    put!(page, "</section>");
}

fn timeline_bar(page: &mut String, spans: &[&Span], total: u64) {
    let share = |ms: u64| ms as f64 * 100.0 / total.max(1) as f64;
    put!(page, "<div class=\"timeline\">");
    for span in spans.iter().filter(|span| span.took_ms >= DRAWN_MS) {
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
    put!(page, "</div>\n<p class=\"scale dim\"><span>0</span><span>{}</span></p>", duration(total));
}

fn title(span: &Span) -> String {
    match &span.task.service {
        Some(service) => format!("[{service}] {}", span.task.name),
        None => span.task.name.clone(),
    }
}

fn task(page: &mut String, span: &Span) {
    let outcome = &span.outcome;
    let ignored = if outcome.ignored { " (taken over)" } else { "" };
    put!(
        page,
        "<li class=\"{0}\"><b>{0}</b>{ignored} {1} <span class=\"dim\">{2} · {3}</span>",
        word(outcome.status),
        escape(&title(span)),
        duration(span.took_ms),
        escape(&span.task.place)
    );
    let told = outcome.text("msg");
    if !told.is_empty() && outcome.status != Status::Ok {
        put!(page, "<div class=\"dim\">{}</div>", escape(told));
    }
    for diff in &outcome.diff {
        let _ = write!(page, "<pre class=\"diff\">");
        for line in summary::diff_text(diff) {
            let class = match line.chars().next() {
                Some('+') => "add",
                Some('-') => "del",
                Some('@') => "at",
                _ => "same",
            };
            let _ = write!(page, "<span class=\"{class}\">{}</span>", escape(&line));
        }
        put!(page, "</pre>");
    }
    put!(page, "</li>");
}
