//! `link_check`: does an address of a service answer, with what, and how fast?
//!
//! ```yaml
//! - name: What people open
//!   link_check: {name: Backend Docs, url: "http://localhost:8000/docs"}
//!
//! - name: What programs open
//!   link_check: {name: PostgreSQL, url: "tcp://localhost:5432"}
//! ```
//!
//! Asked on the host, once, with its curl. Never fails: a link is shown to people, whatever it says; what must hold is
//! a check. Leaves out following redirects: the code is that of the address itself.

use std::time::Duration;

use serde::Deserialize;

use super::{Build, Spec, args, observed, typed};
use crate::plan::{Failure, Module, Object, Observed, Output, Plan, Query, Return, Script};

pub const FAMILY: &[Spec] = &[Spec {
    name: "link_check",
    aliases: &[],
    args: &["name", "url", "description", "timeout"],
    free_form: None,
    build,
}];

#[derive(Deserialize)]
struct Link {
    #[serde(deserialize_with = "args::text")]
    name: String,
    #[serde(deserialize_with = "args::text")]
    url: String,
    /// For people.
    #[serde(default)]
    description: String,
    /// Seconds.
    #[serde(default = "five", deserialize_with = "args::count")]
    timeout: u64,
}

fn five() -> u64 {
    5
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let link: Link = typed(FAMILY[0].args, args)?;
    let known = ["http://", "https://", "tcp://"].iter().any(|scheme| link.url.starts_with(scheme));
    if !known || link.url.contains(char::is_whitespace) {
        return Err(
            Failure::new(format!("{:?} is no address", link.url)).hint("it starts with http://, https:// or tcp://")
        );
    }
    Ok(Box::new(link))
}

impl Module for Link {
    fn probe(&self) -> Vec<Query> {
        // never ahead of time: it may answer only after the task before
        Vec::new()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        if observed.more.is_empty() {
            return Ok(Plan::Ask(vec![Query::Run(self.script())]));
        }
        Ok(Plan::NoChange(self.told(observed::output(observed.more, 0, &self.url)?)))
    }
}

impl Link {
    fn script(&self) -> Script {
        let url = self.url.replacen("tcp://", "telnet://", 1);
        let most = self.timeout.max(1);
        // curl has no way to only connect; whoever does not speak first would be waited for
        let patience = if self.url.starts_with("tcp://") { "0.5".to_owned() } else { most.to_string() };
        Script::new()
            .raw("command -v curl >/dev/null || { echo '0 0 0 curl is not installed on the host'; exit; }\n")
            .raw("curl -q -g -sS -o /dev/null -w '%{http_code} %{time_connect} %{time_total} '")
            .raw("--max-time")
            .arg(patience)
            .raw("--")
            .arg(url)
            .raw("2>&1 </dev/null")
            .title(format!("curl {}", self.url))
            .timeout(Duration::from_secs(most + 15))
    }

    fn told(&self, output: &Output) -> Return {
        // the complaint, if there is one, comes before what is written out
        let text = output.stdout_text();
        let mut words = text.split_whitespace().rev();
        let mut number = || words.next().and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
        let (total, connect, code) = (number(), number(), number());
        let complaint = text.lines().next().and_then(|line| line.strip_prefix("curl: ")).unwrap_or_default();
        let is_tcp = self.url.starts_with("tcp://");
        let answers = if is_tcp { connect > 0.0 } else { code > 0.0 };
        let took = ((if is_tcp { connect } else { total }) * 1000.0).ceil() as u64;
        let told = match (answers, is_tcp) {
            (true, true) => format!("open in {took} ms"),
            (true, false) => format!("{code} in {took} ms"),
            (false, _) if text.contains("not installed") => "curl is not installed on the host".to_owned(),
            (false, _) => match complaint.split_once(')') {
                Some((_, why)) => why.trim().to_owned(),
                None => "does not answer".to_owned(),
            },
        };
        Return { changed: Some(false), ..Return::msg(format!("{} {told}", self.url)) }
            .with("name", self.name.as_str())
            .with("url", self.url.as_str())
            .with("description", self.description.as_str())
            .with("answers", answers)
            .with("status", code as u64)
            .with("elapsed_ms", took)
            .with("result", told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{build, said};
    use serde_json::json;

    fn result(url: &str, output: &str) -> String {
        let module = build("link_check", json!({"name": "x", "url": url})).map_err(|failure| failure.msg).unwrap();
        let more = [said(output)];
        let observed = Observed { answers: &[], more: &more, elapsed: Duration::ZERO, changes: 0 };
        match module.plan(&observed) {
            Ok(Plan::NoChange(returned)) => format!("{} {}", returned.values["answers"], returned.values["result"]),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_curl_says_is_read() {
        let http = "http://localhost:3000";
        assert_eq!(result(http, "200 0.000200 0.004100 "), "true \"200 in 5 ms\"");
        assert_eq!(result(http, "503 0.000200 1.000000 "), "true \"503 in 1000 ms\"");
        let refused = "curl: (7) Failed to connect to localhost port 3000 after 0 ms: Could not connect to server\n000 0.000000 0.000200 ";
        let told = result(http, refused);
        assert!(told.starts_with("false \"Failed to connect to localhost port 3000"), "{told}");
        assert_eq!(result("tcp://localhost:5432", "000 0.000150 0.000300 "), "true \"open in 1 ms\"");
        assert!(result("tcp://localhost:5432", refused).starts_with("false"));
        assert!(result(http, "0 0 0 curl is not installed on the host").contains("curl is not installed"));
        assert!(build("link_check", json!({"name": "x", "url": "localhost:1"})).is_err());
    }
}
