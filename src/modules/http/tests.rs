//! Responses as curl prints them, and what a download is decided by.

use serde_json::{Value, json};

use super::uri::form;
use crate::modules::testing::{build, calls, file_stat, said};
use crate::plan::{Answer, FileKind, Observed, Operation, Output, Plan, Return};

fn answer(text: &str, rc: i32) -> Answer {
    Answer::Output(Output { rc, stdout: text.into(), stderr: b"curl: (7) Failed to connect\n".to_vec() })
}

fn ask(args: Value, answer: Answer) -> Result<Return, String> {
    let module = build("uri", args).map_err(|failure| failure.msg)?;
    let more = [answer];
    let observed = Observed { answers: &[], more: &more, elapsed: std::time::Duration::ZERO, changes: 0 };
    match module.plan(&observed).map_err(|failure| failure.msg)? {
        Plan::NoChange(returned) => Ok(returned),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn responses() {
    let moved = "HTTP/1.1 301 Moved\r\nLocation: /b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"up\": true}\n200 http://x/b";
    let returned = ask(json!({"url": "http://x/a", "return_content": true}), answer(moved, 0)).unwrap();
    assert_eq!(returned.values["status"], 200);
    assert_eq!(returned.values["json"], json!({"up": true}));
    assert_eq!(returned.values["content"], "{\"up\": true}");
    assert_eq!(returned.values["redirected"], true);
    assert_eq!(returned.values["content_type"], "application/json");
    assert_eq!(returned.changed, Some(false));
    let missing = "HTTP/1.1 404 Not Found\r\n\r\nno\n404 http://x/a";
    assert!(ask(json!({"url": "http://x/a"}), answer(missing, 0)).unwrap_err().contains("404 and not [200]"));
    assert!(ask(json!({"url": "http://x/a", "status_code": "200,404"}), answer(missing, 0)).is_ok());
    assert!(ask(json!({"url": "http://x/a", "status_code": [404]}), answer(missing, 0)).is_ok());
    let refused = ask(json!({"url": "http://x/a"}), answer("\n000 http://x/a", 7)).unwrap_err();
    assert!(refused.contains("-1") && refused.contains("Failed to connect"), "{refused}");
    for wrong in
        [json!({"url": "x"}), json!({"url": "http://x", "status_code": "ok"}), json!({"url": "http://x", "src": "y"})]
    {
        assert!(ask(wrong.clone(), answer("", 0)).is_err(), "{wrong}");
    }
}

#[test]
fn nothing_secret_is_an_argument() {
    let args = json!({"url": "http://x/", "method": "post", "body": {"a b": "\"q\"\n"}, "body_format": "json",
        "headers": {"Authorization": "Bearer hunter2"}, "url_username": "me", "url_password": "hunter3"});
    let module = build("uri", args).unwrap();
    let observed = Observed { answers: &[], more: &[], elapsed: std::time::Duration::ZERO, changes: 0 };
    let Plan::Change(change) = module.plan(&observed).unwrap() else { panic!("a change") };
    let Operation::Run { script, .. } = &change.operations[0] else { panic!("a script") };
    assert!(!script.render().contains("hunter"));
    let config = String::from_utf8(script.stdin.clone().unwrap()).unwrap();
    for line in [
        "header = \"Authorization: Bearer hunter2\"",
        "user = \"me:hunter3\"",
        "request = \"POST\"",
        "data-raw = \"{\\\"a b\\\":\\\"\\\\\\\"q\\\\\\\"\\\\n\\\"}\"",
        "header = \"Content-Type: application/json\"",
    ] {
        assert!(config.lines().any(|each| each == line), "{line} in {config}");
    }
    assert_eq!(form(&json!({"a b": "c&d", "n": [1, 2]})), "a+b=c%26d&n=1&n=2");
}

#[test]
fn downloads() {
    let stat = |kind| Answer::Stat(Some(file_stat(kind)));
    let none = || Answer::Stat(None);
    let (file, directory) = (|| stat(FileKind::File), || stat(FileKind::Directory));
    let digest = "a".repeat(64);
    let url = "https://example.com/t/tool.tgz?x=1";
    let plain = json!({"url": url, "dest": "/opt/tool"});
    let summed = json!({"url": url, "dest": "/opt/tool", "checksum": format!("sha256:{digest}")});
    let listed = json!({"url": url, "dest": "/opt/tool", "checksum": "sha256:https://example.com/t/SUMS"});
    let sums = said(&format!("{digest}  -\n-\n"));
    let old = said(&format!("{}  -\n-\n", "b".repeat(64)));
    assert_eq!(calls("get_url", plain.clone(), &[file(), none(), directory()], &[]), Ok(vec![]));
    assert!(calls("get_url", plain.clone(), &[none(), none(), directory()], &[]).unwrap()[0].contains("mv -f"));
    assert!(
        calls("get_url", plain.clone(), &[none(), none(), none()], &[]).unwrap_err().contains("/opt does not exist")
    );
    let inside = calls("get_url", plain, &[directory(), none(), directory()], &[]).unwrap();
    assert!(inside[0].ends_with("/opt/tool/tool.tgz"), "{inside:?}");
    assert_eq!(calls("get_url", summed.clone(), &[file(), none(), directory(), sums.clone()], &[]), Ok(vec![]));
    assert_eq!(calls("get_url", summed, &[file(), none(), directory(), old], &[]).unwrap().len(), 1);
    assert_eq!(
        calls("get_url", listed.clone(), &[file(), none(), directory(), sums.clone()], &[]),
        Ok(vec!["?".to_owned()])
    );
    let list = said(&format!("{}  other\n{digest} *tool.tgz\n", "c".repeat(64)));
    assert_eq!(calls("get_url", listed.clone(), &[file(), none(), directory(), sums.clone()], &[list]), Ok(vec![]));
    let without = said("cccc  other\ndddd  another\n");
    assert!(
        calls("get_url", listed, &[file(), none(), directory(), sums], &[without]).unwrap_err().contains("no digest")
    );
    for wrong in [
        json!({"url": url, "dest": "/x", "checksum": "sha256:zz"}),
        json!({"url": url, "dest": "/x", "checksum": "crc:1"}),
    ] {
        assert!(calls("get_url", wrong.clone(), &[], &[]).is_err(), "{wrong}");
    }
}
