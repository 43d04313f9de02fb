//! Updates of a small service on real hosts: in batches, with a bad version that stops at the first client and goes back
//! by itself, and back and forth between releases by hand.

#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

mod fresh;
mod job;
mod lockout;
mod odd;
mod swarm;

use provision::services::FleetLock;
use serde_json::Value;
use stage::{Ran, Stage, counts, is, last_events};

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-update",
    hosts: &["u1", "u2", "u3"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/update/inventory",
    images: &["redis:8.0", "traefik:v3.7.9"],
};

const REGISTRY: [&str; 2] = ["--registry", "tests/update/registry"];

/// Asks the proxy all the time, until there is /tmp/enough.
const ASK: &str = "rm -f /tmp/enough /tmp/codes; setsid sh -c 'while [ ! -e /tmp/enough ]; do \
    curl -s -m 5 -o /dev/null -w \"%{http_code}\\n\" http://127.0.0.1/; done' >/tmp/codes 2>/dev/null </dev/null &";

/// How many were answered well, and how many were not.
const COUNT: &str = "touch /tmp/enough; n=0; while pgrep -f 'tmp/[e]nough' >/dev/null && [ $n -lt 100 ]; do n=$((n+1)); \
    sleep 0.1; done; echo $(grep -c '^200$' /tmp/codes) $(grep -vc '^200$' /tmp/codes)";

fn until_web(answer: &str) -> String {
    format!(
        "n=0; until [ \"$(curl -s -m 5 http://127.0.0.1/)\" = '{answer}' ]; do n=$((n+1)); [ $n -lt 150 ] || exit 1; sleep 0.2; done"
    )
}

/// In front of the real one: when a pull begins and ends, which takes a while. All hosts of the lab have one clock.
const NOTE_PULLS: &str = r#"cat >/usr/local/bin/docker <<'END'
#!/bin/sh
[ "$1" = pull ] || exec /usr/bin/docker "$@"
began=$(date +%s%N)
/usr/bin/docker "$@"
code=$?
sleep 0.5
echo "$began $(date +%s%N)" >>/tmp/pulls
exit $code
END
chmod 755 /usr/local/bin/docker; rm -f /tmp/pulls; [ -x /usr/bin/docker ]"#;

/// Waits for a container.
const UNHEALTHY: &str = "n=0; until docker inspect --format '{{.State.Health.Status}}' sick | grep -q unhealthy; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.2; done";

/// One test, for each step stands on the one before.
#[test]
fn a_bad_version_stops_at_the_first_client_and_goes_back() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "a_bad_version_stops_at_the_first_client_and_goes_back") else {
        return;
    };
    let runs = stage.runs("update");
    let version = |version: &str| format!("{{versions: {{app: '{version}'}}}}");
    let verb = |words: &[&str], code: i32| -> (Ran, Vec<Value>) {
        let ran = stage.must(&runs, &[words, &REGISTRY, &["--yes"]].concat(), code);
        (ran, last_events(&runs))
    };
    let app = |host: &str| stage.inside(host, "cat /opt/ATS/VersatileHub/services/app/conf/app.conf");

    verb(&["--all"], 0);
    assert_eq!(app("u2"), "version 1");

    // one client first, then the others; a second time nothing is left to do
    let two = version("2");
    let (_, events) = verb(&["update", "--all", "--canary", "--soak", "1", "-e", &two], 0);
    assert!(
        ended_task(&events, "u1", "Containers") < began_task(&events, "u2", "Newer images"),
        "the first client is looked at before the others begin"
    );
    assert_eq!(app("u3"), "version 2");
    let (_, events) = verb(&["update", "--all", "-e", &two], 0);
    assert_eq!(counts(&events, "u1", "changed") + counts(&events, "u2", "changed"), 0);

    // --check finds what would change and touches nothing
    let before = state(stage, "u1");
    let (ran, _) = verb(&["update", "--host", "u1", "--check", "-e", &version("3")], 0);
    assert!(ran.stdout.contains("would change"), "{}", ran.stdout);
    assert_eq!(state(stage, "u1"), before);

    // the bad one: the canary fails and is well again, the others were not touched
    let (ran, events) = verb(&["update", "--all", "--canary", "--on-fail", "rollback", "-e", &version("bad")], 1);
    assert!(ran.stdout.contains("back on the release before"), "{}", ran.stdout);
    assert!(ran.stdout.contains("not tried, because of what failed before: u2, u3"), "{}", ran.stdout);
    assert_eq!((counts(&events, "u1", "failed"), counts(&events, "u2", "changed")), (1, 0));
    assert_eq!((app("u1"), app("u2")), ("version 2".to_owned(), "version 2".to_owned()));
    assert_eq!(health(stage, "u1"), "healthy");
    let ran = stage.must(&runs, &["status", REGISTRY[0], REGISTRY[1], "--host", "u1", "-e", &two], 0);
    assert!(ran.stdout.contains("healthy 1/1  no"), "{}", ran.stdout);

    // one that is not well comes first; the batch goes back as a whole, also the client that had taken it well
    stage
        .inside("u3", "docker run -d --name sick --health-cmd false --health-interval 1s --health-retries 1 redis:8.0");
    stage.inside("u3", UNHEALTHY);
    let mixed = "{versions: {app: \"{{ 'bad' if inventory_hostname == 'u1' else '3' }}\"}}";
    let rules =
        ["--batch", "2,1", "--max-fail-batch", "1", "--max-fail", "0", "--on-fail", "rollback-batch", "--pulls", "1"];
    ["u1", "u3"].iter().for_each(|host| drop(stage.inside(host, NOTE_PULLS)));
    let (ran, events) = verb(&[&["update", "--all"][..], &rules, &["-e", mixed]].concat(), 1);
    assert!(
        ran.stdout.contains("not tried, because of what failed before: u2 (1 of 3 failed, none may)"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("well by itself, but taken back with the others"), "{}", ran.stdout);
    began_task(&events, "u3", "Newer images");
    assert_eq!(["u1", "u2", "u3"].map(app), ["version 2"; 3].map(str::to_owned));
    assert_eq!(health(stage, "u3"), "healthy");
    stage.inside("u3", "docker rm -f sick");
    // --pulls 1: both of the batch pulled, never both at once
    let pulls = ["u1", "u3"].map(|host| {
        let noted = stage.inside(host, "cat /tmp/pulls; rm /tmp/pulls /usr/local/bin/docker");
        let times: Vec<u64> = noted.split_whitespace().map(|time| time.parse().unwrap()).collect();
        times.chunks(2).map(|pull| (pull[0], pull[1])).collect::<Vec<_>>()
    });
    assert!(pulls.iter().all(|own| !own.is_empty()), "{pulls:?}");
    let apart = |a: &(u64, u64), b: &(u64, u64)| a.1 <= b.0 || b.1 <= a.0;
    assert!(pulls[0].iter().all(|a| pulls[1].iter().all(|b| apart(a, b))), "{pulls:?}");
    // everything goes back, also what an earlier batch had taken well; and whatever fails, all are done
    let last = "{versions: {app: \"{{ 'bad' if inventory_hostname == 'u3' else '3' }}\"}}";
    let (ran, _) = verb(&["update", "--all", "--batch", "1", "--on-fail", "rollback-all", "-e", last], 1);
    assert!(ran.stdout.contains("1 of 3 failed, none may"), "{}", ran.stdout);
    assert_eq!(["u1", "u2", "u3"].map(app), ["version 2"; 3].map(str::to_owned));
    let first = "{versions: {app: \"{{ 'bad' if inventory_hostname == 'u1' else '2' }}\"}}";
    let (_, events) = verb(&["update", "--all", "--canary", "--on-fail", "continue", "-e", first], 1);
    assert_eq!((counts(&events, "u1", "failed"), counts(&events, "u3", "failed")), (1, 0));
    assert_eq!(app("u1"), "version bad");
    began_task(&events, "u3", "Newer images");
    verb(&["rollback", "--host", "u1"], 0);
    assert_eq!(app("u1"), "version 2");

    // without --on-fail it stays as it is; a rollback by hand brings the last good one back, and only once
    verb(&["update", "--host", "u1", "-e", &version("bad")], 1);
    assert_eq!(app("u1"), "version bad");
    verb(&["rollback", "--host", "u1"], 0);
    assert_eq!((app("u1"), health(stage, "u1")), ("version 2".to_owned(), "healthy".to_owned()));
    // a secret file that the older one does not know goes; what is no setting's is left alone
    let secrets = || stage.inside("u1", "cd /opt/ATS/VersatileHub/services/app/.secrets; grep -H . * | paste -sd,");
    stage.inside("u1", "echo own >/opt/ATS/VersatileHub/services/app/.secrets/own.pem");
    assert_eq!(secrets(), "TOKEN:tk-2,own.pem:own");
    verb(&["rollback", "--host", "u1"], 0);
    assert_eq!((app("u1"), health(stage, "u1")), ("version 1".to_owned(), "healthy".to_owned()));
    assert_eq!(secrets(), "own.pem:own");
    let (ran, _) = verb(&["rollback", "--host", "u1"], 1);
    assert!(ran.stdout.contains("app has no older release on u1"), "{}", ran.stdout);

    // forward again by its name, twice; a name that is none
    let names = stage.inside("u1", "ls /var/lib/provision/releases/app");
    let two_kept = "cd /var/lib/provision/releases/app; grep -l 'version 2' */files/conf/app.conf | cut -d/ -f1";
    let newest = &stage.inside("u1", two_kept);
    verb(&["rollback", "--host", "u1", "--services", "app", "--to", newest], 0);
    assert_eq!(app("u1"), "version 2");
    let (_, events) = verb(&["rollback", "--host", "u1", "--services", "app", "--to", newest], 0);
    assert_eq!(counts(&events, "u1", "changed"), 0);
    let (ran, _) = verb(&["rollback", "--host", "u1", "--services", "app", "--to", "nope"], 1);
    assert!(ran.stdout.contains(&format!("no release nope on u1; there are: {}", names.replace('\n', ", "))));

    // a service without state is replaced without losing a request; one that writes to a volume stops first, and it is told
    let web = |version: &str| format!("{{versions: {{web: '{version}'}}}}");
    let slice = ["--host", "u2", "--services", "proxy,web", "-e"];
    verb(&[&slice[..], &[&web("1")]].concat(), 0);
    stage.inside("u2", &until_web("version 1"));
    let update = |version: &str| {
        stage.inside("u2", ASK);
        let update = ["update", "--host", "u2", "--services", "web", "-e"];
        let ran = verb(&[&update[..], &[&web(version)]].concat(), 0).0;
        stage.inside("u2", &until_web(&format!("version {version}")));
        let counted = stage.inside("u2", COUNT);
        let (well, lost) = counted.split_once(' ').unwrap();
        (ran, well.parse::<u32>().unwrap(), lost.parse::<u32>().unwrap())
    };
    let (ran, well, lost) = update("2");
    assert!(
        well > 50 && lost == 0,
        "{well} requests were answered, {lost} lost: {}",
        stage.inside("u2", "sort /tmp/codes | uniq -c")
    );
    assert!(!ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    assert_eq!(stage.inside("u2", "docker ps -a --format '{{.Names}}' --filter name=web"), "versatile-web-web-1");
    let (ran, _, lost) = update("3-disk");
    assert!(ran.stderr.contains("web stops first: it writes to data"), "{}", ran.stderr);
    assert!(lost > 0, "a service that stops first is away for a moment");
    let again = ["update", "--host", "u2", "--services", "web", "-e"];
    let (_, events) = verb(&[&again[..], &[&web("3-disk")]].concat(), 0);
    assert_eq!(counts(&events, "u2", "changed"), 0);

    // environments are in there
    let modes = stage.inside("u1", "stat -c '%U %a' /var/lib/provision/releases /var/lib/provision/releases/app");
    assert_eq!(modes, "root 700\nroot 700");
}

/// A tag of the lab's registry gets a new image.
fn move_tag(stage: &Stage, tag: &str, dockerfile: &str) {
    let image = format!("pv-moves:{tag}");
    let build = "printf '%b' \"$2\" | docker build -q -t \"$1\" - >/dev/null";
    stage::shell(build, &[&image, &format!("FROM redis:8.0\\n{dockerfile}\\n")]);
    stage.block_on(provision::lab::push(&stage.options, &[image], &mut |_| {})).unwrap();
}

#[test]
fn every_batch_gets_the_digest_of_the_first() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "every_batch_gets_the_digest_of_the_first") else {
        return;
    };
    let runs = stage.runs("digests");
    let lock = stage.scratch.join("fleet.lock");
    let _ = std::fs::remove_file(&lock);
    let verb = |words: &[&str], code: i32| {
        stage.must(&runs, &[words, &["--services", "moves"], &REGISTRY, &["--yes"]].concat(), code)
    };
    let digest = |host: &str| {
        let script = "docker inspect --format '{{.Image}}' versatile-moves-moves-1 | \
            xargs docker image inspect --format '{{join .RepoDigests \" \"}}'";
        let said = stage.inside(host, script);
        said.split('@').nth(1).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    move_tag(stage, "1", "LABEL number=one");
    verb(&["--host", "u1,u2"], 0);
    let one = digest("u1");

    // what there is now, from the registry; neither the clients nor the project are touched
    move_tag(stage, "1", "LABEL number=two");
    move_tag(stage, "1.1", "LABEL number=other");
    move_tag(stage, "2", "LABEL number=newer");
    let before = state(stage, "u1");
    let look = ["update", "--host", "u1,u2", "--check", "--lock"];
    let ran = verb(&[&look[..], &["--json", "--detailed-exitcode"]].concat(), 3);
    let found: Vec<Value> = ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let found: Vec<&Value> = found.iter().filter(|line| is(line, "newer_image")).collect();
    let two = found[0]["moved"].as_str().unwrap().to_owned();
    assert_eq!(found.len(), 2, "{}", ran.stdout);
    assert_eq!((&found[1]["host"], &found[1]["running"]), (&Value::from("u2"), &Value::from(one.as_str())));
    // the registry is not only this test's
    let newer = found[0]["newer"].as_array().unwrap();
    assert!(newer.contains(&"2".into()) && !newer.contains(&"1.1".into()), "tags of the same kind: {newer:?}");
    // a pin with a reason is no alarm
    let held = "{versions: {moves: {version: '1', reason: the customer tests it}}}";
    let ran = verb(&[&look[..], &["--detailed-exitcode", "-e", held]].concat(), 0);
    assert!(ran.stdout.contains("the customer tests it"), "{}", ran.stdout);
    assert_eq!((state(stage, "u1"), lock.exists()), (before, false));

    // the tag moves once more when the first client has pulled; the second cannot have begun, for it is held
    let words = ["update", "--host", "u1,u2", "--services", "moves", "--batch", "1", "--soak", "3", "--lock", "--yes"];
    let mut going = stage.start(&runs, &[&words[..], &REGISTRY].concat());
    let pulled =
        |event: &Value| is(event, "task_finished") && event["host"] == "u1" && event["task"]["name"] == "Newer images";
    assert!(going.reaches(pulled));
    stage::shell("docker pause \"$1\" >/dev/null", &["pv-update-u2"]);
    let begun = going.events().iter().any(stage::starts("u2", "Newer images"));
    move_tag(stage, "1", "RUN touch /bad");
    stage::shell("docker unpause \"$1\" >/dev/null", &["pv-update-u2"]);
    assert!(!begun, "the second batch began before the first had ended");
    assert_ne!(one, two);
    // killed when the second begins: the file has what the first has taken well, and whoever takes the run up brings the
    // second to the same, although the tag means something else by now
    assert!(going.reaches(stage::starts("u2", "Newer images")));
    going.kill();
    assert_eq!(going.end().code, None);
    let locked = || std::fs::read_to_string(&lock).unwrap();
    assert!(locked().contains(&format!("pv-moves:1: {two}\n")), "{}", locked());
    assert_eq!([digest("u1"), digest("u2")], [two.clone(), one.clone()]);
    let mut late = FleetLock::read(&lock).unwrap().unwrap();
    late.set("pv-moves:1", &one);
    late.set("gone:1", &one);
    late.write(&lock).unwrap();
    stage.must(&runs, &["--resume", "last", "--yes"], 0);
    assert_eq!([digest("u1"), digest("u2")], [two.clone(), two.clone()]);
    assert!(locked().contains(&format!("pv-moves:1: {two}\n")), "{}", locked());

    // a new client gets what the fleet runs, and nothing changes a second time
    verb(&["--host", "u3"], 0);
    assert_eq!(digest("u3"), two);
    verb(&["up", "--host", "u1"], 0);
    assert_eq!(counts(&last_events(&runs), "u1", "changed"), 0);

    // what the tag means now is not well: the first client goes back, and the lock stays
    let ran = verb(&["update", "--host", "u1,u2", "--canary", "--on-fail", "rollback"], 1);
    assert!(ran.stdout.contains("back on the release before"), "{}", ran.stdout);
    assert!(ran.stderr.contains("no client took them well"), "{}", ran.stderr);
    assert_eq!([digest("u1"), digest("u2")], [two.clone(), two.clone()]);
    assert!(locked().contains(&two), "{}", locked());

    // who runs something else than the lock says
    let status = || stage.must(&runs, &["status", REGISTRY[0], REGISTRY[1], "--host", "u1,u2"], 0).stdout;
    assert!(status().contains("same") && !status().contains("lags"), "{}", status());
    std::fs::write(&lock, locked().replace(&two, &one)).unwrap();
    assert!(status().contains("lags: pv-moves:1"), "{}", status());

    // what no client's inventory has any more goes with the update that brings all of them everything; not what one of them
    // has all the same
    assert!(locked().contains("gone:1"), "{}", locked());
    let ran = stage.must(&runs, &[&["update", "--all", "--yes"][..], &REGISTRY].concat(), 0);
    assert!(ran.stderr.contains("nobody has it any more: gone:1\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("declared nowhere but installed on u1, u2, u3: pv-moves:1"), "{}", ran.stderr);
    assert!(!locked().contains("gone:1") && locked().contains(&format!("pv-moves:1: {one}")), "{}", locked());
    assert!(locked().contains("redis:8.0: sha256:"), "{}", locked());
    std::fs::remove_file(&lock).unwrap();
    stage::shell("docker rmi pv-moves:1 pv-moves:1.1 pv-moves:2 >/dev/null", &[]);
}

fn health(stage: &Stage, host: &str) -> String {
    stage.inside(host, "docker inspect --format '{{.State.Health.Status}}' versatile-app-app-1")
}

/// What may not change under --check.
fn state(stage: &Stage, host: &str) -> String {
    let script =
        "find /opt/ATS /var/lib/provision -type f ! -name lock -exec sha256sum {} +; docker ps -q; docker images -q";
    stage.inside(host, script)
}

fn position(events: &[Value], wanted: impl Fn(&Value) -> bool) -> usize {
    events.iter().position(wanted).unwrap()
}

/// Position of the event.
fn began_task(events: &[Value], host: &str, task: &str) -> usize {
    position(events, stage::starts(host, task))
}

fn ended_task(events: &[Value], host: &str, task: &str) -> usize {
    let ends = |event: &Value| is(event, "task_finished") && event["host"] == host && event["task"]["name"] == task;
    events.iter().rposition(ends).unwrap()
}
