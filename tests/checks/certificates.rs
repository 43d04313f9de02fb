//! The certificate of a real TLS server, read as a visitor gets it.

use std::process::{Command, Stdio};
use std::time::Duration;

use provision::engine::outside_check;
use provision::plan::{Failure, Return};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

async fn look(check: Value) -> Result<Return, Failure> {
    let args = json!({"check": check, "address": "127.0.0.1"});
    outside_check::check(args.as_object().unwrap().clone(), &CancellationToken::new()).await
}

#[tokio::test]
async fn certificates_are_read_from_a_real_server() {
    let dir = tempfile::tempdir().unwrap();
    if super::front::certificate(dir.path(), 30).is_none() {
        println!("skipped: openssl is not installed");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "may not be skipped under CI");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &port.to_string(), "-cert", "cert.pem", "-key", "key.pem"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cert = |more: Value| {
        let mut cert = json!({"host": "shop.example", "port": port, "address": "127.0.0.1"});
        cert.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        look(json!({"name": "it", "timeout": 3, "cert": cert}))
    };
    let found = cert(json!({"issuer": "test ca", "days": 14})).await;
    let wrong_days = cert(json!({"days": 60})).await;
    let wrong_issuer = cert(json!({"issuer": "Let's Encrypt"})).await;
    let wrong_name = cert(json!({"san": "other.example"})).await;
    let wildcard = cert(json!({"san": "a.shop.example"})).await;
    server.kill().unwrap();
    server.wait().unwrap();
    let left = found.unwrap().values["days_left"].as_i64().unwrap();
    assert!((29..=30).contains(&left), "{left}");
    assert!(wrong_days.unwrap_err().msg.contains(&format!("ends in {left} days, before 60")));
    assert!(wrong_issuer.unwrap_err().msg.contains("is issued by"));
    assert!(wrong_name.unwrap_err().msg.contains("is not for other.example but for shop.example"));
    assert!(wildcard.is_ok());
    assert!(cert(json!({})).await.unwrap_err().msg.contains("refused"));
}
