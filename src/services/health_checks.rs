//! How often Docker asks a container whether it is well.
//!
//! Docker 25 and later ask one that has only just been started every five seconds, whatever its `interval` says. A service of
//! several containers that wait for each other waits for that again and again, so a client whose engine knows the word may
//! have them asked more often until they are well (`health_start_interval`). From then on each question is a process in the
//! container, which the engine works longer for than the answer takes; a small server with many containers may have them asked
//! less often (`health_interval`).

use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub(super) const FIRST: &str = "health_start_interval";
pub(super) const LATER: &str = "health_interval";

/// Gives every health check with a `start_period`, without which Compose refuses the word, this `start_interval`. One that
/// a package or a client's own stack gives stays.
pub(super) fn hasten(stack: &mut Value, interval: &str) -> Result<()> {
    if interval.is_empty() {
        return Ok(());
    }
    milliseconds_of(FIRST, interval)?;
    for check in checks(stack) {
        if check.contains_key("start_period") && !check.contains_key("start_interval") {
            check.insert("start_interval".to_owned(), Value::from(interval));
        }
    }
    Ok(())
}

/// No health check is made more often than this. Only those whose first checks are on their own (`start_interval`): the
/// `interval` of others also says when a container that has just been started is found well. A time that this does not
/// read stays.
pub(super) fn slacken(stack: &mut Value, interval: &str) -> Result<()> {
    if interval.is_empty() {
        return Ok(());
    }
    let least = milliseconds_of(LATER, interval)?;
    for check in checks(stack).filter(|check| check.contains_key("start_interval")) {
        if check.get("interval").and_then(Value::as_str).and_then(milliseconds).is_some_and(|now| now < least) {
            check.insert("interval".to_owned(), Value::from(interval));
        }
    }
    Ok(())
}

fn checks(stack: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let services = stack.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    services.filter_map(|service| service.get_mut("healthcheck")?.as_object_mut())
}

fn milliseconds_of(variable: &str, interval: &str) -> Result<u64> {
    milliseconds(interval).ok_or_else(|| {
        Error::new(format!("`{variable}` is `{interval}`, which is no time between two health checks"))
            .hint("a whole number and its unit: 500ms, 1s, 1m")
    })
}

/// A whole number, not 0, and one unit.
fn milliseconds(interval: &str) -> Option<u64> {
    let (number, unit) = interval.split_at(interval.trim_end_matches(|sign: char| sign.is_ascii_lowercase()).len());
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.parse::<u32>().ok().filter(|number| *number > 0).map(|number| u64::from(number) * unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_with_a_start_period_are_made_more_often_at_first() {
        let mut stack = json!({"services": {
            "a": {"healthcheck": {"test": ["CMD", "true"], "interval": "5s", "start_period": "60s"}},
            "own": {"healthcheck": {"test": ["CMD", "true"], "start_period": "60s", "start_interval": "2s"}},
            "early": {"healthcheck": {"test": ["CMD", "true"], "interval": "5s"}},
            "none": {"image": "x"},
        }});
        let before = stack.clone();
        hasten(&mut stack, "").unwrap();
        assert_eq!(stack, before);
        hasten(&mut stack, "1s").unwrap();
        let given = |name: &str| stack["services"][name]["healthcheck"]["start_interval"].clone();
        assert_eq!(["a", "own", "early", "none"].map(given), [json!("1s"), json!("2s"), Value::Null, Value::Null]);
        hasten(&mut json!({}), "500ms").unwrap();
    }

    #[test]
    fn whoever_is_well_is_not_asked_more_often() {
        let check = |interval: &str| json!({"healthcheck": {"interval": interval, "start_interval": "1s"}});
        let mut stack = json!({"services": {
            "short": check("5s"), "fine": check("900ms"), "long": check("1m"), "odd": check("1m30s"),
            "first": {"healthcheck": {"interval": "5s", "start_period": "60s"}},
            "silent": {"healthcheck": {"test": ["CMD", "true"], "start_interval": "1s"}},
            "none": {"image": "x"},
        }});
        let before = stack.clone();
        slacken(&mut stack, "").unwrap();
        assert_eq!(stack, before);
        slacken(&mut stack, "30s").unwrap();
        let given = |name: &str| stack["services"][name]["healthcheck"]["interval"].as_str();
        let expected = [Some("30s"), Some("30s"), Some("1m"), Some("1m30s"), Some("5s"), None, None];
        assert_eq!(["short", "fine", "long", "odd", "first", "silent", "none"].map(given), expected);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in ["1", "s", "0s", "-1s", "1 s", "soon", "1.5s", "1h", "1s; x"] {
            for (set, variable) in [(hasten as fn(&mut Value, &str) -> Result<()>, FIRST), (slacken, LATER)] {
                let error = set(&mut json!({"services": {}}), wrong).unwrap_err().to_string();
                assert!(error.contains(&format!("`{variable}` is `{wrong}`")), "{wrong}: {error}");
            }
        }
    }
}
