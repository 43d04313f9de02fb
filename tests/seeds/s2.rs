//! VersatileHub: what a client is made of. One server gets the whole suite by the name of a profile, and then the document's
//! own commands in its order: the three modes, parts of services, environment, networks, the eight steps, data, security,
//! monitoring, updates.

use std::path::PathBuf;

use crate::SCENE;
use crate::stage::{self, Ran, Stage, counts, last_events};

const ROOT: &str = "/opt/ATS/VersatileHub";
const SUITE: [&str; 5] = ["infrastructure", "agent", "chat", "hub", "flow"];

struct Client<'s> {
    stage: &'s Stage,
    runs: PathBuf,
}

impl Client<'_> {
    fn says(&self, args: &[&str], code: i32) -> Ran {
        let verbs = usize::from(args.first().is_some_and(|word| !word.starts_with('-')));
        let args = [&args[..verbs], &["--host", "s2"], &args[verbs..]].concat();
        self.stage.must(&self.runs, &args, code)
    }

    fn changed(&self, args: &[&str]) -> u64 {
        self.says(args, 0);
        counts(&last_events(&self.runs), "s2", "changed")
    }

    fn inside(&self, script: &str) -> String {
        self.stage.inside("s2", script)
    }

    /// Running parts of a service, by the names in its stack.
    fn parts(&self, service: &str) -> String {
        let label = format!("label=com.docker.compose.project=versatile-{service}");
        let format = "{{.Label \"com.docker.compose.service\"}}";
        self.inside(&format!("docker ps --filter {label} --format '{format}' | sort | paste -sd' '"))
    }

    /// When each container began, by name.
    fn began(&self) -> String {
        self.inside("docker ps -q | xargs docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}' | sort")
    }

    /// The one command for all services, in the root of the suite.
    fn compose(&self, words: &str) -> String {
        self.inside(&format!("cd {ROOT} && ./compose {words} 2>&1"))
    }
}

#[test]
fn the_seed_s2_from_top_to_bottom() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "the_seed_s2_from_top_to_bottom") else { return };
    let client = Client { stage, runs: stage.runs("s2") };
    the_whole_suite(&client);
    the_root(&client);
    parts_of_services(&client);
    environment_and_networks(&client);
    verification_and_backup(&client);
    security_and_monitoring(&client);
    updates(&client);
}

/// Modes 1 and 2, and the client with everything: one word in the inventory.
fn the_whole_suite(client: &Client<'_>) {
    let listed = client.stage.must(&client.runs, &["inventory", "list", "s2"], 0).stdout;
    assert!(listed.contains("infrastructure, agent, chat, hub, flow") && listed.contains("completo"), "{listed}");
    // mode 2 first, so that mode 1 finds a part of it done: infrastructure and what is needed now
    let some = client.says(&["--services", "infrastructure,agent", "--yes"], 0);
    assert!(some.stdout.contains("agent") && !some.stdout.contains("hub "), "{}", some.stdout);
    assert_eq!(client.parts("hub"), "");
    // mode 3: one service for itself
    assert_eq!(client.changed(&["up", "--services", "agent", "--no-deps", "--yes"]), 0);
    let all = client.says(&["--yes"], 0);
    for service in ["agent", "chat", "hub", "flow"] {
        assert!(all.stdout.contains(&format!("https://{service}.cliente.example")), "{service}: {}", all.stdout);
    }
    assert_eq!(client.changed(&["--yes"]), 0);
    assert_eq!(
        client.changed(&["--services", "@crm-chat", "--yes"]),
        0,
        "a profile of the command line is a part of it"
    );
}

/// The suite's folder, and the document's commands in it.
fn the_root(client: &Client<'_>) {
    let folders = client.inside(&format!("cd {ROOT} && ls -d infrastructure services/* | paste -sd' '"));
    assert_eq!(folders, "infrastructure services/agent services/chat services/flow services/hub");
    let before = client.began();
    let all = client.compose("ps --format '{{.Project}}/{{.Service}}'");
    for part in
        ["versatile-infrastructure/", "versatile-chat/worker", "versatile-hub/backend", "versatile-flow/postgres"]
    {
        assert!(all.contains(part), "{part}: {all}");
    }
    client.compose("up -d");
    assert_eq!(client.began(), before, "by hand, it changes nothing either");
    assert_eq!(client.changed(&["--yes"]), 0, "and provision finds nothing to do");
    let logs = client.compose("logs --tail 2 chat-postgres hub/db");
    assert!(logs.contains("postgres") && logs.contains("db") && !logs.contains("gateway"), "{logs}");
    client.compose("restart chat-worker");
    let after = client.began();
    let moved: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(moved.len() == 1 && moved[0].contains("chat-worker"), "{moved:?}");
    let refused =
        client.inside(&format!("cd {ROOT} && ./compose down -v 2>&1; echo $?; ./compose restart chta 2>&1; echo $?"));
    assert!(refused.contains("provision down --purge") && refused.contains("nothing here is called chta"), "{refused}");
    assert_eq!(refused.lines().filter(|line| *line == "2").count(), 2, "{refused}");
    // a service's own folder does as well
    let own = client.inside(&format!("cd {ROOT}/services/chat && docker compose ps --services | sort | paste -sd' '"));
    assert_eq!(own, client.parts("chat"));
}

/// `docker compose up -d chat-web chat-postgres …`: parts, with what they depend on.
fn parts_of_services(client: &Client<'_>) {
    let all = client.parts("chat");
    assert!(all.contains("web") && all.contains("worker"), "{all}");
    let before = client.began();
    assert_eq!(client.changed(&["restart", "--services", "chat/worker", "--yes"]), 1);
    let after = client.began();
    let moved: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(moved.len() == 1 && moved[0].contains("chat-worker"), "{moved:?}");
    assert_eq!(client.changed(&["down", "--services", "chat/worker", "--yes"]), 1);
    assert_eq!(client.changed(&["down", "--services", "chat/worker", "--yes"]), 0);
    assert_eq!(client.parts("chat"), all.replace(" worker", ""));
    client.says(&["down", "--services", "chat", "--no-backup", "--yes"], 0);
    assert_eq!(client.parts("chat"), "");
    client.says(&["up", "--services", "chat/postgres,hub/frontend", "--no-deps", "--yes"], 0);
    assert_eq!(client.parts("chat"), "postgres");
    assert_eq!(client.changed(&["up", "--services", "chat/postgres,hub/frontend", "--no-deps", "--yes"]), 0);
    let logs = client.says(&["logs", "chat/postgres", "--tail", "3"], 0).stdout;
    assert!(logs.lines().count() > 0 && logs.lines().all(|line| line.starts_with("s2 chat/postgres ")), "{logs}");
    let unknown = client.says(&["restart", "--services", "chat/wroker", "--yes"], 2).stderr;
    assert!(unknown.contains("did you mean `worker`"), "{unknown}");
    client.says(&["up", "--services", "chat", "--yes"], 0);
    assert_eq!(client.parts("chat"), all);
}

fn environment_and_networks(client: &Client<'_>) {
    let modes = client.inside(&format!("find {ROOT} -name .env -exec stat -c '%a %U' {{}} + | sort -u"));
    assert_eq!(modes, "600 root");
    let explained = client.says(&["explain", "hub/FRAPPE_COMPANY_NAME"], 0).stdout;
    assert!(explained.contains("Cliente A S.A.") && explained.contains("host_vars/s2.yml"), "{explained}");
    let company = client.inside("docker exec versatile-hub-backend sh -c 'printf %s \"$FRAPPE_COMPANY_NAME\"'");
    assert_eq!(company, "Cliente A S.A.");
    let networks = client.inside("docker network ls --format '{{.Name}}' | sort");
    for network in
        ["web", "versatile-shared", "versatile-chat-internal", "versatile-hub-internal", "versatile-flow-internal"]
    {
        assert!(networks.lines().any(|line| line == network), "{network}: {networks}");
    }
    // made once by its exact name, never by hand
    assert_eq!(networks.lines().filter(|line| *line == "web").count(), 1);
}

/// Steps 1 and 4 to 8 of the typical process.
fn verification_and_backup(client: &Client<'_>) {
    client.inside("docker --version && docker compose version");
    let first = client.says(&["ps", "infrastructure"], 0).stdout;
    assert!(first.contains("traefik") && !first.contains("chat"), "{first}");
    let status = client.says(&["status"], 0).stdout;
    for service in SUITE {
        let row = status.lines().find(|line| line.contains(&format!(" {service} "))).unwrap_or_default();
        assert!(row.contains("healthy"), "{service}: {status}");
    }
    client.says(&["verify"], 0);
    client.says(&["backup", "--services", "chat,flow", "--yes"], 0);
    for (folder, what) in [("chat", "postgres"), ("flow", "")] {
        let found = client.inside(&format!("find {ROOT}/services/{folder}/database/backups -type f | wc -l"));
        assert_ne!(found, "0", "{folder}");
        assert!(what.is_empty() || client.inside(&format!("ls {ROOT}/services/{folder}/data")).contains(what));
    }
    let data = client.inside(&format!("ls -d {ROOT}/services/hub/data/sites {ROOT}/services/chat/data/redis | wc -l"));
    assert_eq!(data, "2");
}

fn security_and_monitoring(client: &Client<'_>) {
    // a laboratory has no restic and no real certificates, and is told so; what the suite itself is made of is well
    let list = client.stage.run(&client.runs, &["verify", "--security", "--host", "s2"]).stdout;
    assert!(list.contains("s2") && list.to_lowercase().contains("firewall"), "{list}");
    client.stage.must(&client.runs, &["secrets", "check"], 0);
    let top = client.says(&["top"], 0).stdout;
    assert!(top.contains("chat/postgres") && top.contains("hub/"), "{top}");
}

fn updates(client: &Client<'_>) {
    let before = client.began();
    client.says(&["update", "--services", "flow", "--yes"], 0);
    assert_eq!(client.began(), before, "nothing newer, so nothing stops");
    // a site that an older image migrated: a backup, then the migration in maintenance mode, once and whatever the verb
    let ledger = "/home/frappe/frappe-bench/sites/.provision-*";
    client.inside(&format!(
        "docker exec versatile-hub-backend sh -c \"sed -i 's/^version .*/version v16.0.0/' {ledger}\""
    ));
    let kept = || client.inside(&format!("find {ROOT}/services/hub/database/backups -type f 2>/dev/null | wc -l"));
    assert_eq!(kept(), "0");
    let up = ["up", "--services", "hub", "--no-deps", "--yes"];
    client.says(&up, 0);
    let events = last_events(&client.runs);
    let at = |task: &str| {
        let ended = |event: &serde_json::Value| stage::is(event, "task_finished") && event["task"]["name"] == task;
        events.iter().position(ended).unwrap_or_else(|| panic!("{task} did not run"))
    };
    assert!(at("Backup of hub") < at("migrate"), "the backup comes first");
    assert_ne!(kept(), "0");
    assert_eq!(client.changed(&up), 0);
}
