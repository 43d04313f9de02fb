//! Six clients over months: updates one after the other, most of them with something that goes wrong, while a service
//! writes numbered lines into a volume. After each of them every client runs the old version well, or the new one, or it
//! is named as failed, with a command that really repairs it; no line is lost or written twice; and the journal says
//! what is so.
//!
//! The order of faults is drawn from a seed and the same each time. `MONTHS_UPDATES=90 MONTHS_SEED=7` makes another
//! story. The operators' clock is moved a week ahead for each update, by libfaketime, so that it never is the hosts' own.

#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

mod fleet;

use std::time::{Duration, Instant};

use fleet::{Fleet, HOSTS, Rng};
use provision::lab::Fault;
use stage::starts;

/// What goes wrong during an update.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Nothing,
    /// Its image does not exist.
    BadImage,
    BadHealth,
    BadMigration,
    /// No room for the backup, for the release so far, or for the service's own files, on one client.
    FullDisk(&'static str),
    /// One client is gone before the update, or in the middle of it.
    DeadBefore,
    DeadMidway,
    KilledController,
    TwoOperators,
    /// The operator's clock has gone back by weeks, and one client fails.
    ClockBack,
    /// A client's clock was ahead by more than a year for one update.
    HostAhead,
}

use Trouble::*;

const BACKUPS: &str = "/var/lib/provision/backup";
const RELEASES: &str = "/var/lib/provision/releases";
const FILES: &str = "/opt/ATS/VersatileHub/services/libro";

/// One round; each kind of trouble is in it.
const ROUND: [Trouble; 13] = [
    Nothing,
    BadImage,
    BadHealth,
    BadMigration,
    FullDisk(BACKUPS),
    FullDisk(RELEASES),
    FullDisk(FILES),
    DeadBefore,
    DeadMidway,
    KilledController,
    TwoOperators,
    ClockBack,
    HostAhead,
];

/// No second round begins later than this.
const ENOUGH: Duration = Duration::from_secs(150);

/// Tasks in whose middle a program or a host goes away.
const MOMENTS: [&str; 7] =
    ["Newer images", "Backup of libro", "Release so far", "Environment", "Compose file", "Containers", "migrate"];

#[test]
fn six_clients_over_months_lose_nothing_and_the_history_is_true() {
    let Some(mut fleet) = Fleet::enter("six_clients_over_months_lose_nothing_and_the_history_is_true") else { return };
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let mut rng = Rng(number("MONTHS_SEED", 20261126));
    let (mut round, began) = (Vec::new(), Instant::now());
    for step in 1..=number("MONTHS_UPDATES", 30) {
        if round.is_empty() {
            // a slow machine comes to its end after each kind of trouble, unless a number was asked for
            if step > 1 && began.elapsed() > ENOUGH && std::env::var_os("MONTHS_UPDATES").is_none() {
                println!("after {} updates {:?} are over; MONTHS_UPDATES=30 makes all", step - 1, ENOUGH);
                break;
            }
            round = rng.shuffled(&ROUND);
        }
        let trouble = round.pop().unwrap();
        let before = fleet.at.clone();
        fleet.day += 7;
        eprintln!("\n== update {step} of {:?}: {trouble:?}", before);
        update(&mut fleet, &mut rng, step, trouble);
        fleet.settled();
    }
    fleet.looks_back();
}

/// Sets `fleet.at` to what each client has to run afterwards.
fn update(fleet: &mut Fleet, rng: &mut Rng, step: u64, trouble: Trouble) {
    let new = step.to_string();
    let host = rng.of(&HOSTS);
    match trouble {
        Nothing => {
            fleet.update(&new, &["--canary"], 0);
            fleet.all_at(&new);
        }
        BadImage | BadHealth | BadMigration => {
            let word = match trouble {
                BadImage => "image",
                BadHealth => "health",
                _ => "migration",
            };
            let policies: [&[&str]; 4] = [
                &["--canary", "--on-fail", "rollback"],
                &["--batch", "2", "--max-fail", "1", "--on-fail", "rollback-all"],
                &["--batch", "3,100%", "--on-fail", "rollback-batch"],
                &["--canary"],
            ];
            let policy = rng.of(&policies);
            let ran = fleet.update(&format!("{new}-{word}"), policy, 1);
            if trouble == BadMigration {
                assert!(ran.stdout.contains("column \"año\" already exists"), "why: {}", ran.stdout);
            }
            if !policy.contains(&"--on-fail") {
                // it stays where it stopped, and says what brings it back
                fleet.repair(&ran.said_command("provision rollback "));
            }
        }
        FullDisk(folder) => {
            fleet.fill(host, folder);
            // one that fails before anything is replaced stays where it is, and does not go back further
            let ran = fleet.update(&new, &["--on-fail", rng.of(&["continue", "rollback"])], 1);
            assert_eq!(ran.failed, [host]);
            fleet.only_others_at(&new, host);
            fleet.free(host, folder);
            fleet.repair(&ran.then());
            fleet.all_at(&new);
        }
        DeadBefore | DeadMidway => {
            let ran = if trouble == DeadBefore {
                fleet.inject(host, &Fault::Killed);
                fleet.update(&new, &["--on-fail", "continue"], 1)
            } else {
                let mut going = fleet.start("ana", &new, &["--on-fail", "continue"]);
                assert!(going.reaches(starts(host, rng.of(&MOMENTS))), "the run did not come so far");
                fleet.inject(host, &Fault::Killed);
                fleet.ended(going, &new, 1)
            };
            assert_eq!(ran.failed, [host]);
            fleet.boot(host);
            fleet.repair(&ran.then());
            fleet.all_at(&new);
        }
        KilledController => {
            let mut going = fleet.start("ana", &new, &["--batch", "2"]);
            assert!(going.reaches(starts(host, rng.of(&MOMENTS))), "the run did not come so far");
            going.kill();
            assert_eq!(going.end().code, None);
            fleet.last_is("interrupted (killed)");
            fleet.repair("provision --resume last --yes");
            fleet.all_at(&new);
        }
        TwoOperators => {
            let mut ana = fleet.start("ana", &new, &[]);
            assert!(ana.reaches(|event| stage::is(event, "task_started")), "ana's run did not begin");
            let other = format!("{new}-eva");
            let eva = fleet.start("eva", &other, &[]).end();
            if eva.code == Some(0) {
                // ana was done, or gave way, before eva came to the hosts
                ana.end();
                fleet.all_at(&other);
            } else {
                eva.expect(1);
                assert!(eva.stdout.contains("ana@"), "who has it: {}", eva.stdout);
                fleet.ended(ana, &new, 0);
                fleet.all_at(&new);
            }
        }
        ClockBack => {
            fleet.day -= 40;
            fleet.fill(host, BACKUPS);
            let ran = fleet.update(&new, &["--on-fail", "continue"], 1);
            assert_eq!(ran.failed, [host]);
            fleet.only_others_at(&new, host);
            fleet.free(host, BACKUPS);
            fleet.last_is("failed");
            fleet.repair("provision --resume last --yes");
            fleet.day += 40;
            fleet.all_at(&new);
        }
        HostAhead => {
            fleet.update(&new, &[], 0);
            // what a clock that is ahead leaves behind
            fleet.stage.inside(host, "touch -d '+400 days' /var/lib/provision/services/libro.json");
            fleet.update(&format!("{new}.1"), &[], 0);
            fleet.all_at(&format!("{new}.1"));
            fleet.repair(&format!("provision rollback --host {host} --services libro"));
            let at = HOSTS.iter().position(|name| *name == host).unwrap();
            fleet.at[at].clone_from(&new);
        }
    }
}
