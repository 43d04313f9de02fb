//! What was measured while watching: for each client and thing the least, the sum and the most, and how often it was
//! over its limit. Restarts count from the first round on.

use std::collections::HashMap;

use indexmap::IndexMap;

pub(super) struct Limits {
    pub cpu: f64,
    pub memory: f64,
    pub disk_free: f64,
    pub iowait: f64,
    pub response_ms: f64,
    pub restarts: f64,
    pub errors: f64,
}

/// Which side of the limit is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Most(f64),
    Least(f64),
}

struct One {
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
    broken: u32,
}

pub(super) struct Series {
    limits: Limits,
    all: IndexMap<(String, String), One>,
    /// Restarts at the first round.
    first: HashMap<(String, String), f64>,
}

impl Series {
    pub fn new(limits: Limits) -> Series {
        Series { limits, all: IndexMap::new(), first: HashMap::new() }
    }

    /// Adds a value and says whether it breaks a threshold.
    pub fn add(&mut self, host: &str, what: &str, value: f64) -> bool {
        let key = (host.to_owned(), what.to_owned());
        let value = match what.starts_with("restarts ") {
            true => (value - *self.first.entry(key.clone()).or_insert(value)).max(0.0),
            false => value,
        };
        let broken = match self.limit(what) {
            Some(Limit::Most(most)) => value > most,
            Some(Limit::Least(least)) => value < least,
            None => false,
        };
        let one = self.all.entry(key).or_insert(One { min: value, max: value, sum: 0.0, count: 0, broken: 0 });
        one.min = one.min.min(value);
        one.max = one.max.max(value);
        one.sum += value;
        one.count += 1;
        one.broken += u32::from(broken);
        broken
    }

    fn limit(&self, what: &str) -> Option<Limit> {
        Some(match what {
            "cpu" => Limit::Most(self.limits.cpu),
            "memory" => Limit::Most(self.limits.memory),
            "disk-free" => Limit::Least(self.limits.disk_free),
            "iowait" | "pressure" => Limit::Most(self.limits.iowait),
            _ if what.starts_with("restarts ") => Limit::Most(self.limits.restarts),
            _ if what.starts_with("errors ") => Limit::Most(self.limits.errors),
            _ if what.ends_with(": ms") => Limit::Most(self.limits.response_ms),
            _ if what.ends_with(": fails") => Limit::Most(0.0),
            _ => return None,
        })
    }

    pub fn limit_text(&self, what: &str) -> String {
        match self.limit(what) {
            Some(Limit::Most(most)) => format!("(at most {most})"),
            Some(Limit::Least(least)) => format!("(at least {least})"),
            None => String::new(),
        }
    }

    /// How often any limit was broken.
    pub fn broken(&self) -> u32 {
        self.all.values().map(|one| one.broken).sum()
    }

    /// For the report: what always passed and never restarted is left out.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let quiet = |what: &str, one: &One| {
            one.broken == 0
                && ([": fails", ": warns"].iter().any(|end| what.ends_with(end))
                    || what.starts_with("restarts ")
                    || what.starts_with("errors "))
        };
        let rows = self.all.iter().filter(|((_, what), one)| !quiet(what, one)).map(|((host, what), one)| {
            let limit = match self.limit(what) {
                Some(Limit::Most(most)) => format!("≤ {most}"),
                Some(Limit::Least(least)) => format!("≥ {least}"),
                None => "-".to_owned(),
            };
            let number = |value: f64| format!("{value:.1}");
            let average = one.sum / f64::from(one.count.max(1));
            vec![
                host.clone(),
                what.clone(),
                number(one.min),
                number(average),
                number(one.max),
                limit,
                one.broken.to_string(),
            ]
        });
        rows.collect()
    }
}

/// Lines `what value [name]` of a host's sample; a container's name goes behind what it is about.
pub(super) fn sampled(text: &str) -> Vec<(String, f64)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (what, value) = (words.next()?, words.next()?.parse().ok()?);
        let name = words.next().map(|name| format!("{what} {}", name.trim_start_matches('/')));
        Some((name.unwrap_or_else(|| what.to_owned()), value))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let limits = Limits {
            cpu: 70.0,
            memory: 80.0,
            disk_free: 15.0,
            iowait: 20.0,
            response_ms: 2000.0,
            restarts: 0.0,
            errors: 0.0,
        };
        Series::new(limits)
    }

    #[test]
    fn limits_are_broken_on_their_side() {
        let mut series = series();
        for (what, value, broken) in [
            ("cpu", 69.0, false),
            ("cpu", 71.0, true),
            ("memory", 80.1, true),
            ("disk-free", 16.0, false),
            ("disk-free", 14.0, true),
            ("pressure", 21.0, true),
            ("chat URL Chat: ms", 2001.0, true),
            ("chat URL Chat: fails", 0.0, false),
            ("chat URL Chat: fails", 1.0, true),
            ("errors chat-web", 1.0, true),
            ("load", 99.0, false),
        ] {
            assert_eq!(series.add("a", what, value), broken, "{what} {value}");
        }
        assert_eq!(series.broken(), 7);
        let cpu = &series.rows()[0];
        assert_eq!(cpu[1..], ["cpu", "69.0", "70.0", "71.0", "≤ 70", "1"]);
    }

    #[test]
    fn restarts_count_from_the_first_round_on() {
        let mut series = series();
        assert!(!series.add("a", "restarts web", 5.0));
        assert!(!series.add("a", "restarts web", 5.0));
        assert!(series.add("a", "restarts web", 6.0));
    }

    #[test]
    fn samples_are_read() {
        let text = "cpu 12.5\nrestarts 2 /versatile-chat-web-1\nnonsense\ndisk-free\n";
        assert_eq!(sampled(text), [("cpu".to_owned(), 12.5), ("restarts versatile-chat-web-1".to_owned(), 2.0)]);
    }
}
