//! The ports that a stack publishes, in each of the ways in which Compose lets it be written.
//!
//! Leaves out ports that Docker chooses itself (`"8000"`), ranges, and what only a variable of the environment says.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of the host; empty: every one.
    pub address: String,
    pub outside: u16,
    pub inside: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl Published {
    pub fn is_on_loopback(&self) -> bool {
        self.address.starts_with("127.") || self.address == "::1" || self.address == "localhost"
    }
}

/// Of one service of a stack.
pub fn published(service: &Value) -> Vec<Published> {
    let ports = service.get("ports").and_then(Value::as_array);
    ports.into_iter().flatten().filter_map(port).collect()
}

/// Of all services of a stack.
pub fn of_stack(stack: &Value) -> Vec<Published> {
    let services = stack.get("services").and_then(Value::as_object);
    services.into_iter().flatten().flat_map(|(_, service)| published(service)).collect()
}

fn port(written: &Value) -> Option<Published> {
    match written {
        Value::String(text) => {
            let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (rest, inside) = text.rsplit_once(':')?;
            let (address, outside) = rest.rsplit_once(':').unwrap_or(("", rest));
            Some(Published {
                address: address.trim_matches(['[', ']']).to_owned(),
                outside: outside.parse().ok()?,
                inside: inside.parse().ok()?,
                protocol: protocol.to_owned(),
            })
        }
        Value::Object(map) => {
            let number = |key: &str| {
                let value = map.get(key)?;
                value.as_u64().and_then(|number| u16::try_from(number).ok()).or_else(|| value.as_str()?.parse().ok())
            };
            let text = |key: &str, default: &str| map.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
            Some(Published {
                address: text("host_ip", ""),
                outside: number("published")?,
                inside: number("target")?,
                protocol: text("protocol", "tcp"),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_of_writing_a_port() {
        let shown = |port: Value| {
            let found = published(&json!({"ports": [port]}));
            found
                .first()
                .map(|p| format!("{} {} {} {}", p.address, p.outside, p.inside, p.protocol))
                .unwrap_or_default()
        };
        assert_eq!(shown(json!("5432:5432")), " 5432 5432 tcp");
        assert_eq!(shown(json!("127.0.0.1:81:80/udp")), "127.0.0.1 81 80 udp");
        assert_eq!(shown(json!("[::1]:81:80")), "::1 81 80 tcp");
        assert_eq!(shown(json!({"target": 80, "published": "8081", "host_ip": "10.0.0.1"})), "10.0.0.1 8081 80 tcp");
        assert_eq!(shown(json!({"target": 80, "published": 8081})), " 8081 80 tcp");
        for chosen_by_docker in [json!("8000"), json!(8000), json!({"target": 80}), json!("${P}:80"), json!("1-2:1-2")]
        {
            assert_eq!(shown(chosen_by_docker), "");
        }
        assert!(published(&json!({"ports": ["127.1.1.1:5:5"]}))[0].is_on_loopback());
        assert_eq!(
            of_stack(&json!({"services": {"a": {"ports": ["1:1"]}, "b": {}, "c": {"ports": ["2:2"]}}})).len(),
            2
        );
    }
}
