//! The jobs of the package `hub`, in the lab's ERPNext image on a real MariaDB and Redis: what was begun is completed,
//! nothing is made twice, nothing of worth is destroyed, and no password shows. One test for each trap that Frappe sets.
//!
//! Not here: the containers of the stack around them (config.rs, the rollout on lab hosts).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stage::{Ran, Stage, docker, eventually, job, try_docker};
use provision::services::{Catalogue, render};

const ADMIN: &str = "Admin@\"pass\\8264";
const SITE: &str = "erp.cliente.example";

/// A bench with its database, configured as the stack's one-shot does it.
struct Bench {
    stage: Stage,
    sites: String,
    backend: String,
    /// The database's root password: another one on each bench, so that one test sees its own leaks only.
    root: String,
}

impl Bench {
    fn open() -> Option<Bench> {
        let mut stage = Stage::open(&["mariadb:11.8", "redis:8.0", "frappe/erpnext:v16.32.3"])?;
        let root = format!("root's $ecret {}", stage.network);
        let db = stage.run("hub-db", &[("MARIADB_ROOT_PASSWORD", &root)], &[], &["mariadb:11.8"]);
        stage.run("hub-redis-cache", &[], &[], &["redis:8.0"]);
        stage.run("hub-redis-queue", &[], &[], &["redis:8.0"]);
        let sites = stage.volume("sites");
        let mut bench = Bench { stage, sites, backend: String::new(), root };
        bench.start_backend("backend");
        bench.sh(&configurator());
        eventually("MariaDB is up", 60, || {
            try_docker(&["exec", &db, "healthcheck.sh", "--connect", "--innodb_initialized"]).status.success()
        });
        Some(bench)
    }

    fn start_backend(&mut self, alias: &str) {
        let volume = format!("{}:/home/frappe/frappe-bench/sites", self.sites);
        let env = [("ERPNEXT_VERSION", "v16.32.3"), ("FRAPPE_SITE_NAME", SITE)];
        self.backend = self.stage.run(alias, &env, &["-v", &volume], &["frappe/erpnext:v16.32.3"]);
    }

    fn sh(&self, script: &str) -> String {
        docker(&["exec", &self.backend, "bash", "-c", script])
    }

    fn job(&self, script: &str) -> Ran {
        self.job_with(script, &self.root)
    }

    fn job_with(&self, script: &str, root: &str) -> Ran {
        let env = BTreeMap::from([
            ("FRAPPE_SITE_NAME", SITE),
            ("FRAPPE_APPS", "erpnext"),
            ("FRAPPE_TIMEZONE", "America/Mexico_City"),
            ("DB_ROOT_PASSWORD", root),
            ("ADMIN_PASSWORD", ADMIN),
        ]);
        job(&self.backend, Some("frappe"), "hub", script, &env)
    }

    /// `bench new-site` as a person would type it.
    fn by_hand(&self, options: &str) {
        let command = format!("bench new-site {SITE} --db-root-password \"$P\" --admin-password x {options}");
        try_docker(&["exec", "-e", &format!("P={}", self.root), &self.backend, "bash", "-c", &command]);
    }

    /// The job as the deploy playbook goes about it; gives what `run` said.
    fn converge(&self) -> Ran {
        assert_ne!(self.job("jobs/site-check.sh").rc, 0, "there is something to do");
        let ran = self.job("jobs/site.sh");
        assert_eq!(ran.rc, 0, "{}", ran.text);
        let check = self.job("jobs/site-check.sh");
        assert_eq!(check.rc, 0, "{}", check.text);
        ran
    }

    fn sql(&self, statement: &str) -> String {
        let mysql = format!("MYSQL_PWD=\"$DB\" mariadb --skip-ssl -N -B -h hub-db -uroot -e \"{statement}\"");
        docker(&["exec", "-e", &format!("DB={}", self.root), &self.backend, "bash", "-c", &mysql])
    }

    fn ping(&self) -> String {
        eventually("the backend listens", 60, || {
            try_docker(&["exec", &self.backend, "bash", "-c", ": </dev/tcp/127.0.0.1/8000"]).status.success()
        });
        let url = "http://127.0.0.1:8000/api/method/ping";
        self.sh(&format!("curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {SITE}' {url}"))
    }
}

/// The text that the rendered stack gives to the one-shot.
fn configurator() -> String {
    let catalogue = Catalogue::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
    let stack = render::sample(&catalogue, catalogue.get("hub").unwrap(), "compose").unwrap();
    stack["services"]["configurator"]["command"][0].as_str().unwrap().replace("$$", "$")
}

#[test]
fn a_site_is_made_once_and_its_passwords_never_show() {
    let Some(bench) = Bench::open() else { return };
    let seen = watched(&[&bench.root, ADMIN], || drop(bench.converge()));
    assert!(seen.samples > 20, "only {} samples", seen.samples);
    assert_eq!(seen.leaks, Vec::<String>::new());

    // trap 1: an address-bound user would be locked out of the next container
    assert_eq!(bench.sql("select distinct host from mysql.user where user like '\\_%'"), "%");
    assert_eq!(bench.ping(), "200");
    let config = bench.sh("cat sites/common_site_config.json; stat -c %a sites/common_site_config.json");
    assert!(!config.contains("password") && !config.contains("root_login") && config.ends_with("644"), "{config}");
    assert_eq!(
        bench.sh(&format!(
            "bench --site {SITE} execute frappe.db.get_single_value --args \"['System Settings', 'time_zone']\""
        )),
        "America/Mexico_City"
    );
    let login = format!(
        "curl -s -H 'Host: {SITE}' http://127.0.0.1:8000/api/method/login --data-urlencode usr=Administrator --data-urlencode 'pwd={ADMIN}'"
    );
    assert!(bench.sh(&login).contains("Logged In"));

    let databases = bench.sql("select count(*) from information_schema.schemata");
    let again = bench.job("jobs/site.sh");
    assert_eq!((again.rc, again.text.contains("creating")), (0, false), "{}", again.text);
    assert_eq!(bench.sql("select count(*) from information_schema.schemata"), databases);

    // the migration is due only when the image is another one
    assert_eq!(bench.job("jobs/migrate-check.sh").rc, 0);
    bench.sh(&format!("sed -i 's/^version .*/version v16.0.0/' sites/.provision-{SITE}"));
    assert_ne!(bench.job("jobs/migrate-check.sh").rc, 0);
    // trap 13: the bench's own backup shows the site's password to everybody; the job on the way to an update does not
    let password = bench.sh(&format!("jq -r .db_password sites/{SITE}/site_config.json"));
    let seen = watched(&[&password], || drop(bench.sh(&format!("bench --site {SITE} backup"))));
    assert!(!seen.leaks.is_empty(), "the trap is gone, or these eyes are shut");
    let mut migrated = None;
    let seen = watched(&[&password, &bench.root, ADMIN], || migrated = Some(bench.job("jobs/migrate.sh")));
    assert_eq!(seen.leaks, Vec::<String>::new());
    let migrated = migrated.unwrap();
    assert_eq!((migrated.rc, bench.job("jobs/migrate-check.sh").rc), (0, 0), "{}", migrated.text);
    assert_eq!(bench.ping(), "200", "out of maintenance again");

    // one that fails: the site stays closed, it is said, and the next deployment tries again and opens it
    bench.sh(&format!(
        "sed -i 's/^version .*/version v16.0.0/' sites/.provision-{SITE}; echo '{SITE} migrate' > sites/.standin-fault"
    ));
    let failed = bench.job("jobs/migrate.sh");
    assert!(
        failed.rc != 0 && failed.text.contains("the site is in maintenance mode"),
        "{}: {}",
        failed.rc,
        failed.text
    );
    assert_eq!(bench.ping(), "503");
    assert_ne!(bench.job("jobs/migrate-check.sh").rc, 0);
    assert_eq!((bench.job("jobs/migrate.sh").rc, bench.ping().as_str()), (0, "200"));
    // what a person closed stays closed
    bench.sh(&format!("bench --site {SITE} set-maintenance-mode on"));
    let migrated = bench.job("jobs/migrate.sh");
    assert!(migrated.rc == 0 && migrated.text.contains("in maintenance mode"), "{}", migrated.text);
    assert_eq!(bench.ping(), "503");
    bench.sh(&format!("touch sites/.provision-{SITE}.maintenance"));
    assert_eq!((bench.job("jobs/migrate.sh").rc, bench.ping().as_str()), (0, "200"));
}

#[test]
fn what_an_interrupted_run_began_is_completed() {
    let Some(bench) = Bench::open() else { return };

    // trap 2: new-site fails after it made the database: the site "exists", and lists no app with rc 0
    bench.sh(&format!("echo '{SITE} new-site' > sites/.standin-fault"));
    let failed = bench.job("jobs/site.sh");
    assert_ne!(failed.rc, 0);
    assert!(!bench.sh("cat sites/common_site_config.json").contains("password"), "cleaned up after a failure");
    assert_eq!(bench.sh(&format!("bench --site {SITE} list-apps")), "");
    let first = bench.converge();
    assert!(first.text.contains("half made"), "{}", first.text);

    // trap 3: an installation fails midway, and from then on the app counts as installed
    let wipe = "rm -rf sites/erp.* sites/.provision-*";
    bench.sh(wipe);
    let name = bench.sql("select schema_name from information_schema.schemata where schema_name like '\\_%'");
    bench.sql(&format!("drop database \\`{name}\\`"));
    bench.sh(&format!("echo '{SITE} install-app erpnext' > sites/.standin-fault"));
    assert_ne!(bench.job("jobs/site.sh").rc, 0);
    assert!(bench.sh(&format!("bench --site {SITE} execute frappe.get_installed_apps")).contains("erpnext"));
    assert!(
        bench.sh(&format!("bench --site {SITE} install-app erpnext")).contains("already installed"),
        "rc 0, and wrong"
    );
    let second = bench.converge();
    assert!(second.text.contains("repeating"), "{}", second.text);
    // trap 4: the JSON form is empty although all is well, so nothing of ours may ask it
    assert!(bench.sh(&format!("bench --site {SITE} list-apps --format json")).contains("[]"));

    // kill -9 leaves the passwords behind: the next run notices and removes them
    bench.sh("jq '.root_password = \"left\"' sites/common_site_config.json > /tmp/c && cat /tmp/c > sites/common_site_config.json");
    bench.converge();
    assert!(!bench.sh("cat sites/common_site_config.json").contains("left"));
}

#[test]
fn a_user_bound_to_an_address_is_freed() {
    let Some(mut bench) = Bench::open() else { return };
    // as the seed's own command makes it: no login scope
    bench.by_hand("--install-app erpnext");
    assert_eq!(bench.ping(), "200");
    let old = bench.backend.clone();
    bench.start_backend("backend-recreated");
    docker(&["rm", "-fv", &old]);
    assert_eq!(bench.ping(), "500", "the trap: another container, another address, access denied");
    let ran = bench.converge();
    assert!(ran.text.contains("was bound to"), "{}", ran.text);
    assert_eq!(bench.ping(), "200");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(bench) = Bench::open() else { return };
    // a half-made site that somebody else began
    bench.sh(&format!("echo '{SITE} new-site' > sites/.standin-fault"));
    bench.by_hand("--no-mariadb-socket");
    let refused = bench.job("jobs/site.sh");
    assert!(refused.rc != 0 && refused.text.contains("not this tool that began it"), "{refused:?}");

    // a database whose site directory was lost: making the site again would drop it
    bench.sh("rm -rf sites/erp.* sites/.provision-*");
    for _ in 0..2 {
        let refused = bench.job("jobs/site.sh");
        assert!(refused.rc != 0 && refused.text.contains("restore data/sites"), "{refused:?}");
    }
    assert_ne!(bench.sql("select count(*) from information_schema.schemata where schema_name like '\\_%'"), "0");

    // a root password that the database does not know
    let refused = bench.job_with("jobs/site.sh", "another");
    assert!(refused.rc != 0 && refused.text.contains("refuses DB_ROOT_PASSWORD"), "{refused:?}");
}

struct Seen {
    samples: usize,
    leaks: Vec<String>,
}

/// Looks at every process of this machine, those inside of containers too, for as long as the work takes.
fn watched(secrets: &[&str], work: impl FnOnce()) -> Seen {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch_process_lists(secrets, &stop));
        work();
        stop.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

fn watch_process_lists(secrets: &[&str], stop: &AtomicBool) -> Seen {
    let mut seen = Seen { samples: 0, leaks: Vec::new() };
    while !stop.load(Ordering::Relaxed) {
        seen.samples += 1;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(cmdline) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
            if secrets.iter().any(|secret| cmdline.contains(secret)) {
                seen.leaks.push(cmdline);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    seen
}
