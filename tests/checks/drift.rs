//! `provision drift`: what was changed by hand is found, told without a secret, and left as it is.

use super::stage::Stage;

const ROOT: &str = "/opt/ATS/VersatileHub/services/lookout";

/// Files, containers, networks.
fn state(stage: &Stage) -> String {
    stage.inside("a", &format!("find {ROOT} /var/lib/provision -type f ! -name lock -exec sha256sum {{}} + | sort; docker ps -aq; docker network ls -q"))
}

#[test]
fn what_was_changed_by_hand_is_told_and_left() {
    let Some((_turn, stage)) = super::enter("what_was_changed_by_hand_is_told_and_left") else { return };
    super::look(stage, &["drift"], 0);

    let file = stage.inside("a", &format!("cat {ROOT}/.secrets/DB_PASSWORD"));
    let secrets = stage.inside("a", &format!("sed -n 's/^[A-Z_]*\\(KEY\\|PASSWORD\\)=//p' {ROOT}/.env"));
    stage.inside(
        "a",
        &format!(
            "set -e; cd {ROOT}; mkdir /tmp/kept; cp -p docker-compose.yml .env app.py /tmp/kept; \
             sed -i 's/stop_signal: SIGKILL/stop_signal: SIGTERM/; s/^  *API_KEY:.*/&\\n      X_TOKEN: written-by-hand/' docker-compose.yml; \
             sed -i 's/^API_KEY=.*/API_KEY=changed-by-hand/; /^WATCHED=/d' .env; echo MORE=1 >>.env; chmod 644 .env; \
             echo '# by hand' >>app.py; docker network rm lookout-spare; \
             docker run -d --name stray redis:8.0 sleep 600; docker network connect bridge versatile-lookout-web-1; \
             docker rm -f versatile-lookout-cache-1; chmod 755 .secrets; cd .secrets; cp -p DB_PASSWORD /tmp/secret; \
             printf put-there-by-hand >new; mv new DB_PASSWORD"
        ),
    );
    let before = state(stage);
    let ran = super::look(stage, &["drift"], 1);
    for told in [
        format!("a/lookout file {ROOT}/docker-compose.yml: another content"),
        "    -    stop_signal: SIGKILL".to_owned(),
        "    +    stop_signal: SIGTERM".to_owned(),
        "    +      X_TOKEN: ********".to_owned(),
        "a/lookout env API_KEY: another value on the host".to_owned(),
        "a/lookout env WATCHED: missing on the host".to_owned(),
        "a/lookout env MORE: not declared".to_owned(),
        format!("a/lookout file {ROOT}/.env: mode 644 instead of 600"),
        "    +# by hand".to_owned(),
        format!("a/lookout secret DB_PASSWORD: another value in {ROOT}/.secrets/DB_PASSWORD"),
        "a/lookout secret DB_PASSWORD: mode 644 instead of 444".to_owned(),
        format!("a/lookout file {ROOT}/.secrets: mode 755 instead of 700"),
        "a/lookout network lookout-spare: missing".to_owned(),
        "a/lookout network versatile-lookout-web-1: also in bridge".to_owned(),
        "a/lookout container cache: missing".to_owned(),
        "a/lookout container versatile-lookout-web-1: not made from the compose file and settings".to_owned(),
        "a extra stray: in no declared service: redis:8.0, running".to_owned(),
    ] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(&told)), "{told}\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("versatile-lookout-db-1"), "what nobody touched is not told: {}", ran.stdout);
    assert_eq!(state(stage), before, "nothing is touched");
    assert_eq!(secrets.lines().count(), 4, "the package has four");
    for secret in secrets.lines().chain([file.as_str(), "changed-by-hand", "written-by-hand", "put-there-by-hand"]) {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "a secret is shown");
    }

    let accepted = ["drift", "--json", "-e", "{drift_waivers: {extra/stray: the client's own}}"];
    let ran = super::look(stage, &accepted, 1);
    let lines: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.iter().any(|line| line["kind"] == "extra"), "{}", ran.stdout);
    assert!(lines.iter().any(|line| line["kind"] == "env" && line["name"] == "MORE" && line["host"] == "a"));
    assert!(ran.stderr.contains("1 accepted by drift_waivers"), "{}", ran.stderr);

    stage.inside("a", &format!("rm {ROOT}/.secrets/DB_PASSWORD"));
    let missing = format!("a/lookout secret DB_PASSWORD: its file {ROOT}/.secrets/DB_PASSWORD is missing\n");
    assert!(super::look(stage, &["drift"], 1).stdout.contains(&missing));

    // a deployment puts right what is declared; the rest is the operator's
    stage.inside("a", "docker rm -f stray; docker network disconnect bridge versatile-lookout-web-1");
    stage.must(&stage.runs("deploy"), &[&["--host", "a", "--yes"], super::REGISTRY].concat(), 0);
    let kept = "set -e; cd /tmp/kept; for f in * .env; do cmp $f $ROOT/$f; done; cmp /tmp/secret $ROOT/.secrets/DB_PASSWORD; \
        rm -r /tmp/kept /tmp/secret";
    stage.inside("a", &format!("ROOT={ROOT}; {kept}"));
    super::look(stage, &["drift"], 0);
}
