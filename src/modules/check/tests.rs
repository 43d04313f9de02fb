use super::*;
use crate::modules::testing::build;
use serde_json::json;

fn output(rc: i32, stdout: &str, stderr: &str) -> Output {
    Output { rc, stdout: stdout.into(), stderr: stderr.into() }
}

/// What a check makes of what a script left behind.
fn judged(mut check: Value, found: Output) -> Result<String, String> {
    check.as_object_mut().unwrap().insert("name".to_owned(), "it".into());
    let module = build("service_check", json!({"check": check, "project": "p"})).map_err(|failure| failure.msg)?;
    let more = [Answer::Output(found)];
    let observed = Observed { answers: &[], more: &more, elapsed: std::time::Duration::ZERO, changes: 0 };
    match module.plan(&observed).map_err(|failure| failure.msg)? {
        Plan::NoChange(returned) => Ok(returned.msg.unwrap_or_default()),
        other => Err(format!("{other:?}")),
    }
}

fn asked(mut check: Value) -> crate::plan::Script {
    check.as_object_mut().unwrap().insert("name".to_owned(), "it".into());
    let module = build("service_check", json!({"check": check, "project": "p"})).unwrap();
    let observed = Observed { answers: &[], more: &[], elapsed: std::time::Duration::ZERO, changes: 0 };
    match module.plan(&observed).unwrap() {
        Plan::Ask(mut queries) => match queries.remove(0) {
            Query::Run(script) => script,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_judges_what_it_finds() {
    let http = |more: Value| {
        let mut http = json!({"url": "http://x/health", "from": "host"});
        http.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"http": http})
    };
    let sql = |more: Value| {
        let mut sql = json!({"service": "db", "user": "u", "database": "d", "query": "SELECT 1"});
        sql.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"sql": sql})
    };
    let answer = output(0, "{\"status\":\"ok\",\"items\":[{\"n\":3}]}\n200 0.041", "");
    let table = [
        (http(json!({"json": {"status": "ok", "items.0.n": 3}})), answer.clone(), Ok("200 in 41 ms")),
        (http(json!({"json": {"status": "down"}})), answer.clone(), Err("`status` is \"ok\" instead of \"down\"")),
        (http(json!({"json_has": ["items", "version"]})), answer.clone(), Err("no `version`")),
        (http(json!({"status": [401, 403]})), answer.clone(), Err("answers 200 instead of 401 or 403")),
        (http(json!({"json_max": {"items.0.n": 3}})), answer.clone(), Ok("200")),
        (http(json!({"json_max": {"items.0.n": 2.5}})), answer.clone(), Err("`items.0.n` is 3, more than 2.5")),
        (http(json!({"json_max": {"status": 1}})), answer.clone(), Err("no number `status`")),
        (http(json!({"json_max": {"bad / all": 0.05}})), output(0, "{\"bad\":1,\"all\":20}\n200 0.1", ""), Ok("200")),
        (
            http(json!({"json_max": {"bad / all": 0.05}})),
            output(0, "{\"bad\":1,\"all\":10}\n200 0.1", ""),
            Err("`bad / all` is 0.1, more than 0.05"),
        ),
        (http(json!({"json_max": {"bad / all": 0.05}})), output(0, "{\"bad\":0,\"all\":0}\n200 0.1", ""), Ok("200")),
        (
            http(json!({"json_max": {"bad / all": 0.05}})),
            output(0, "{\"bad\":1}\n200 0.1", ""),
            Err("no number `bad / all`"),
        ),
        (http(json!({"status": []})), output(0, "\n503 0.1", ""), Ok("503")),
        (http(json!({"contains": "pong"})), answer.clone(), Err("without `pong`")),
        (http(json!({"matches": "\"n\":[0-9]"})), answer, Ok("200")),
        (http(json!({})), output(7, "\n000 0.0", "curl: (7) Failed to connect"), Err("no answer: (7) Failed")),
        (json!({"tcp": {"from": "host", "port": 1}}), output(0, "open\n", ""), Ok("127.0.0.1:1 is open")),
        (json!({"tcp": {"from": "host", "port": 1}}), output(0, "closed\n", ""), Err("does not accept")),
        (json!({"tcp": {"from": "host", "port": 1, "open": false}}), output(0, "open\n", ""), Err("should not be")),
        (json!({"tcp": {"from": "host", "port": 1}}), output(0, "unknown\n", ""), Err("nothing to connect")),
        (json!({"exec": {"service": "s", "command": "c"}}), output(0, "fine\n", ""), Ok("fine")),
        (
            json!({"exec": {"service": "s", "command": "c"}}),
            output(3, "", "gone\n"),
            Err("exit code 3 instead of 0: gone"),
        ),
        (json!({"exec": {"service": "s", "command": "c", "rc": 3}}), output(3, "", ""), Ok("exit code 3")),
        (json!({"exec": {"service": "s", "command": "c", "stdout": "b"}}), output(0, "a", ""), Err("without `b`")),
        (json!({"exec": {"service": "s", "command": "c", "matches": "^b$"}}), output(0, "a\nb\n", ""), Ok("a b")),
        (
            json!({"exec": {"service": "s", "command": "c"}}),
            output(86, "", "no running container of p/s"),
            Err("no running"),
        ),
        (json!({"pg_isready": {"service": "db"}}), output(0, "accepting connections\n", ""), Ok("accepting")),
        (json!({"pg_isready": {"service": "db"}}), output(2, "no response\n", ""), Err("exit code 2: no response")),
        (sql(json!({"value": 1})), output(0, "1\n", ""), Ok("the value is 1")),
        (sql(json!({"value": 2})), output(0, "1|x\n", ""), Err("\"1\" instead of \"2\"")),
        (sql(json!({"min_rows": 3})), output(0, "a\nb\n", ""), Err("2 rows, at least 3")),
        (sql(json!({"rows": 0})), output(0, "", ""), Ok("0 rows")),
        (sql(json!({"max_rows": 1})), output(0, "a\nb\n", ""), Err("at most 1")),
        (sql(json!({})), output(2, "", "FATAL: password authentication failed"), Err("password authentication")),
        (sql(json!({"query": "DELETE FROM x"})), output(0, "", ""), Err("only looks")),
        (json!({"redis_ping": {"service": "r"}}), output(0, "PONG\n", ""), Ok("PONG")),
        (json!({"redis_ping": {"service": "r"}}), output(0, "NOAUTH\n", ""), Err("no PONG: NOAUTH")),
        (json!({"log": {"must_not": ["ERROR"]}}), output(0, "a\nb\n", ""), Ok("2 lines")),
        (
            json!({"log": {"must_not": ["ERROR"]}}),
            output(0, "a\nERROR b\n", ""),
            Err("1 of 2 lines match `ERROR`: ERROR b"),
        ),
        (json!({"log": {"must": ["ready"]}}), output(0, "a\n", ""), Err("none of 1 lines")),
        (json!({"log": {}}), output(0, "", ""), Err("`must` or `must_not`")),
        (json!({"smtp": {"host": "m"}}), output(0, "", ""), Ok("m:587 answers")),
        (json!({"smtp": {"host": "m", "user": "u"}}), output(67, "", ""), Err("does not let `u` in")),
        (json!({"script": {"file": "checks/a.sh", "text": ""}}), output(1, "no config\n", ""), Err("no config")),
        (json!({"cert": {"host": "x"}}), output(0, "", ""), Err("operator's side")),
        (json!({"tcp": {"port": 1}, "log": {"must": ["a"]}}), output(0, "", ""), Err("exactly one kind")),
        (json!({"http": {"url": "http://x", "from": "container"}}), output(0, "", ""), Err("needs `service`")),
    ];
    for (check, found, expected) in table {
        match (judged(check.clone(), found), expected) {
            (Ok(said), Ok(wanted)) => assert!(said.contains(wanted), "{check}: {said}"),
            (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{check}: {said}"),
            (said, wanted) => panic!("{check}: {said:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn secrets_travel_on_standard_input_only() {
    let checks = [
        json!({"sql": {"service": "db", "user": "u", "password": "hunter2", "database": "d", "query": "SELECT 1"}}),
        json!({"redis_ping": {"service": "r", "password": "hunter2"}}),
        json!({"http": {"url": "http://x", "from": "container", "service": "s", "headers": {"Authorization": "hunter2"}}}),
        json!({"http": {"url": "http://x", "from": "host", "method": "POST", "body": {"k": "hunter2"}}}),
        json!({"exec": {"service": "s", "command": "true", "env": {"K": "hunter2"}}}),
        json!({"smtp": {"host": "m", "user": "u", "password": "hunter2"}}),
    ];
    for check in checks {
        let script = asked(check.clone());
        assert!(!script.render().contains("hunter2"), "{check}");
        let stdin = String::from_utf8(script.stdin.clone().unwrap()).unwrap();
        assert!(stdin.contains("hunter2"), "{check}");
        assert!(!format!("{script:?}").contains("hunter2"), "{check}");
    }
}

/// `docker container inspect` in the shape that is asked for.
fn inspected(name: &str, more: Value) -> String {
    let mut all = json!({"name": format!("/{name}"), "image": "i:1", "digest": "sha256:d", "user": "", "restarts": 0,
        "state": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z", "Health": {"Status": "healthy", "Log": []}},
        "policy": "unless-stopped", "ports": {"80/tcp": null}, "networks": {"n": {"IPAddress": "10.0.0.2"}},
        "service": name, "task": ""});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all.to_string()
}

#[test]
fn containers_are_well_or_not() {
    let sick =
        json!({"state": {"Status": "running", "Health": {"Status": "unhealthy", "Log": [{"Output": "no route"}]}}});
    let gone = json!({"state": {"Status": "exited", "ExitCode": 137}});
    let done = json!({"state": {"Status": "exited", "ExitCode": 0}, "policy": "no"});
    let table = [
        (json!({}), vec![inspected("web", json!({}))], Ok("1 of 1 are well")),
        (json!({}), vec![inspected("web", sick)], Err("web is unhealthy: no route")),
        (json!({}), vec![inspected("web", gone)], Err("web is exited (exit code 137)")),
        (json!({}), vec![inspected("web", json!({})), inspected("once", done)], Ok("1 of 1")),
        (json!({"max_restarts": 2}), vec![inspected("web", json!({"restarts": 3}))], Err("restarted 3 times")),
        (json!({"expected": ["web", "db"]}), vec![inspected("web", json!({}))], Err("db has no container")),
        (json!({}), vec![], Err("there are no containers")),
    ];
    for (container, lines, expected) in table {
        let found = output(0, &format!("@project p\n{}\n", lines.join("\n")), "");
        match (judged(json!({"container": container}), found), expected) {
            (Ok(said), Ok(wanted)) | (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{said}"),
            (said, wanted) => panic!("{said:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn ports_of_containers_are_tried_from_the_host() {
    let check = json!({"check": {"name": "c", "container": {"ports": true}}, "project": "p"});
    let module = build("service_check", check).unwrap();
    let published = json!({"ports": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18000"}], "9/udp": null}});
    // whether it is well nobody knows but by its port; `worker` says so itself
    let deaf = json!({"state": {"Status": "running", "ExitCode": 0}});
    let containers = [inspected("api", published), inspected("web", deaf), inspected("worker", json!({}))];
    let text = format!("@project p\n{}\n", containers.join("\n"));
    let mut more = vec![Answer::Output(output(0, &text, ""))];
    let plan = |more: &[Answer]| {
        let observed = Observed { answers: &[], more, elapsed: std::time::Duration::ZERO, changes: 0 };
        module.plan(&observed).unwrap()
    };
    let Plan::Ask(queries) = plan(&more) else { panic!("nothing is tried") };
    let tried: Vec<String> = queries.iter().map(|query| format!("{query:?}")).collect();
    assert!(tried.len() == 3 && tried[0].contains("127.0.0.1") && tried[0].contains("18000"), "{tried:?}");
    assert!(tried[1].contains("10.0.0.2"), "{tried:?}");
    more.extend(["open\n", "closed\n", "closed\n"].map(|said| Answer::Output(output(0, said, ""))));
    let Plan::NoChange(returned) = plan(&more) else { panic!("it goes on") };
    let containers = returned.values["containers"].as_array().unwrap();
    assert_eq!((&containers[0]["port"], &containers[0]["reachable"]), (&json!(18000), &json!(true)));
    assert_eq!((&containers[1]["port"], &containers[1]["reachable"]), (&json!(80), &json!(false)));
    assert_eq!((&containers[2]["port"], &containers[2]["reachable"]), (&Value::Null, &Value::Null));
    assert!(containers[0].get("doors").is_none());
}

#[test]
fn a_check_with_side_effects_is_an_operation() {
    let check =
        json!({"check": {"name": "c", "side_effects": true, "exec": {"service": "s", "command": "c"}}, "project": "p"});
    let module = build("service_check", check).unwrap();
    assert!(module.skipped_in_check_mode().is_some());
    let observed = Observed { answers: &[], more: &[], elapsed: std::time::Duration::ZERO, changes: 0 };
    assert!(matches!(module.plan(&observed), Ok(Plan::Change(_))));
    assert_eq!(module.finish(&[output(0, "done", "")]).unwrap().changed, Some(false));
}
