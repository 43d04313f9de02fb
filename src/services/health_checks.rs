//! Docker 25 and later ask a container that has only just been started every five seconds whether it is well, whatever its
//! `interval` says. A service of several containers that wait for each other waits for that again and again, so a client
//! whose engine knows the word may have them asked more often until they are well (`health_start_interval`).

use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub(super) const VARIABLE: &str = "health_start_interval";

/// Gives every health check with a `start_period`, without which Compose refuses the word, this `start_interval`. One that
/// a package or a client's own stack gives stays.
pub(super) fn hasten(stack: &mut Value, interval: &str) -> Result<()> {
    if interval.is_empty() {
        return Ok(());
    }
    let (number, unit) = interval.split_at(interval.trim_end_matches(|sign: char| sign.is_ascii_lowercase()).len());
    if !["ms", "s", "m"].contains(&unit) || !number.parse::<u32>().is_ok_and(|number| number > 0) {
        return Err(Error::new(format!("`{VARIABLE}` is `{interval}`, which is no time between two health checks"))
            .hint("a whole number and its unit: 500ms, 1s, 1m"));
    }
    let services = stack.get_mut("services").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for check in services.filter_map(|service| service.get_mut("healthcheck")?.as_object_mut()) {
        if check.contains_key("start_period") && !check.contains_key("start_interval") {
            check.insert("start_interval".to_owned(), Value::from(interval));
        }
    }
    Ok(())
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
    fn what_is_no_time_is_refused() {
        for wrong in ["1", "s", "0s", "-1s", "1 s", "soon", "1.5s", "1h", "1s; x"] {
            let error = hasten(&mut json!({"services": {}}), wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("`{wrong}`")), "{wrong}: {error}");
        }
    }
}
