use super::*;
use serde_json::{Value, json};
use std::io::{Read, Write};

async fn look(check: Value, more: Value) -> Result<Return, Failure> {
    let mut check = check;
    check.as_object_mut().unwrap().extend([("name".to_owned(), "it".into()), ("timeout".to_owned(), 3.into())]);
    let mut args = json!({"check": check, "address": "127.0.0.1"});
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    super::check(args.as_object().unwrap().clone(), &CancellationToken::new()).await
}

/// Answers every connection with this, and keeps what was asked.
fn server(answer: &'static str) -> (u16, Arc<Mutex<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(String::new()));
    let kept = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).unwrap();
            *kept.lock().unwrap() = String::from_utf8_lossy(&buffer[..n]).into_owned();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, asked)
}

#[tokio::test]
async fn requests_have_a_method_headers_and_a_body() {
    let answer =
        "HTTP/1.1 201 Created\r\nX-Rate: 10\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"reply\":\"hi\"}\n";
    let (port, asked) = server(answer);
    let http = json!({"url": format!("http://shop.example:{port}/chat"), "method": "post", "headers": {"X-Key": "k"},
        "body": {"message": "Hola"}, "status": 201, "json_has": ["reply"], "response_headers": {"X-Rate": ""}});
    let found = look(json!({"http": http}), json!({"connect_to": "127.0.0.1"})).await.unwrap();
    assert!(found.msg.unwrap().starts_with("201 in "));
    let asked = asked.lock().unwrap().to_lowercase();
    assert!(asked.starts_with("post /chat") && asked.contains("x-key: k"), "{asked}");
    assert!(asked.contains("content-type: application/json"), "{asked}");
    let wrong = json!({"url": format!("http://127.0.0.1:{port}/"), "status": 201, "response_headers": {"Strict": ""}});
    assert!(look(json!({"http": wrong}), json!({})).await.unwrap_err().msg.contains("without the header Strict"));
    let rate = |unwanted: &str| {
        let url = format!("http://127.0.0.1:{port}/");
        json!({"http": {"url": url, "status": [], "no_headers": {"X-Rate": unwanted}}})
    };
    assert!(look(rate("^1[1-9]$"), json!({})).await.is_ok());
    assert!(look(rate("1"), json!({})).await.unwrap_err().msg.contains("answers with X-Rate: 10"));
}

#[tokio::test]
async fn a_base_url_takes_the_place_of_the_address() {
    let (port, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let base = json!({"base_url": format!("http://127.0.0.1:{port}/")});
    look(json!({"http": {"url": "https://shop.example/health?x=1"}}), base).await.unwrap();
    assert!(asked.lock().unwrap().starts_with("GET /health?x=1 "));
    assert_eq!(moved("https://shop.example", "http://h:1"), "http://h:1");
}

#[tokio::test]
async fn ports_are_open_or_closed() {
    let (port, _) = server("");
    let tcp = |port: u16, open: bool| json!({"tcp": {"port": port, "open": open}});
    assert!(look(tcp(port, true), json!({})).await.is_ok());
    assert!(look(tcp(1, false), json!({})).await.is_ok());
    assert!(look(tcp(1, true), json!({})).await.unwrap_err().msg.contains("does not accept"));
    assert!(look(tcp(port, false), json!({})).await.unwrap_err().msg.contains("should not be"));
}

#[tokio::test]
async fn names_point_to_the_host_or_elsewhere() {
    let dns = |name: &str| json!({"dns": {"name": name}});
    assert!(look(dns("localhost"), json!({})).await.is_ok());
    let elsewhere = look(dns("localhost"), json!({"address": "192.0.2.1"})).await.unwrap_err();
    assert!(elsewhere.msg.contains("not to 192.0.2.1"), "{}", elsewhere.msg);
    assert!(look(dns("no-such-name.invalid"), json!({})).await.unwrap_err().msg.contains("has no address"));
}

#[tokio::test]
async fn scripts_run_here_with_the_base_url_as_argument() {
    let script =
        |text: &str| json!({"script": {"file": "checks/a.sh", "from": "operator", "text": text, "env": {"KEY": "v"}}});
    let found = look(script("[ \"$KEY\" = v ] && echo \"base $1\""), json!({"base_url": "http://b"})).await.unwrap();
    assert_eq!(found.msg.as_deref(), Some("base http://b"));
    let failure = look(script("echo '[FAIL] Chat endpoint'; exit 1"), json!({})).await.unwrap_err();
    assert_eq!(failure.msg, "exit code 1: [FAIL] Chat endpoint");
}

#[test]
fn a_wildcard_covers_one_step() {
    assert!(covers("*.a.b", "x.a.b") && covers("A.b", "a.B"));
    assert!(!covers("*.a.b", "x.y.a.b") && !covers("*.a.b", "a.b"));
}
