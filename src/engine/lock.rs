//! One run per host at a time: a lock on the host that dies by itself with the connection.
//!
//! A background process on the host holds it and looks every second whether the lane's shell still lives; so a tool that was
//! killed leaves nothing that needs a hand, and a command that still runs on the host keeps the lock until it ends.
//! Who comes second is told who holds it, and does not wait, except for what a killed run of the same machine left running:
//! that ends by itself, and the same command again is to go on from there. Leaves out fairness.

use std::time::Duration;

use crate::plan::{Failure, Operation, Part, Script};

/// The exit code that means "somebody else holds it".
const HELD: i32 = 75;

/// How often to look whether a dead run's last command has ended, and for how long: a package manager may be at work.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
pub(super) const PATIENCE: Duration = Duration::from_secs(900);

/// Where locks lie unless `provision_lock_dir` says otherwise.
pub(super) const DIR: &str = "/run/lock";

/// `flock` where it is, else a directory with the holder's pid and the boot id. The holder ends when the lane's shell
/// (`$$`) is gone or when [`release`] removes its note.
const TAKE: &str = r#"
d=$PROVISION_LOCK_DIR
[ -d "$d" ] || d=/var/lock
[ -d "$d" ] || d=/tmp
f=$d/provision.lock
lane=$$
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo none)
note() {
    ( umask 022; printf 'owner=%s\nprocess=%s\nrun=%s\nsince=%s\nboot=%s\nlane=%s\n' "$PROVISION_OWNER" "$PROVISION_PROCESS" "$PROVISION_RUN" "$PROVISION_SINCE" "$boot" "$lane" >"$f.by.$PROVISION_RUN" ) 2>/dev/null
    ( rm -f "$f.by"; ln -s "provision.lock.by.$PROVISION_RUN" "$f.by" ) 2>/dev/null
}
mine() {
    [ -e "$f.by.$PROVISION_RUN" ] && grep -q "^run=$PROVISION_RUN\$" "$f.by" 2>/dev/null || return 1
    theirs=$(sed -n 's/^lane=//p' "$f.by.$PROVISION_RUN" 2>/dev/null)
    [ -n "$theirs" ] && kill -0 "$theirs" 2>/dev/null
}
told() { cat "$f.by" 2>/dev/null; exit 75; }
watch='while kill -0 "$1" 2>/dev/null && [ -e "$2.by.$3" ]; do sleep 1 9<&-; done; rm -f "$2.by.$3"; [ -e "$2.by" ] || rm -f "$2.by"; [ -e "$2.d/$3" ] && rm -rf "$2.d"; exit 0'
detach=
command -v setsid >/dev/null 2>&1 && detach=setsid
if command -v flock >/dev/null 2>&1; then
    [ -e "$f" ] || ( umask 0; : >"$f" ) 2>/dev/null
    [ -r "$f" ] || { echo "cannot make $f" >&2; exit 1; }
    exec 9<"$f"
    n=0
    until flock -n 9; do
        mine && exit 0
        n=$((n + 1))
        [ $n -ge 3 ] && told
        sleep 1
    done
    note
    $detach sh -c "$watch" provision-lock "$lane" "$f" "$PROVISION_RUN" </dev/null >/dev/null 2>&1 &
    printf 'holder=%s\n' "$!" >>"$f.by.$PROVISION_RUN"
    exit 0
fi
n=0
until mkdir "$f.d" 2>/dev/null; do
    mine && exit 0
    read -r pid was <"$f.d/holder" 2>/dev/null || { pid=; was=; }
    if [ -n "$pid" ] && { [ "$was" != "$boot" ] || ! kill -0 "$pid" 2>/dev/null; }; then rm -rf "$f.d"; continue; fi
    n=$((n + 1))
    [ $n -ge 3 ] && told
    sleep 1
done
note
: >"$f.d/$PROVISION_RUN"
$detach sh -c "$watch" provision-lock "$lane" "$f" "$PROVISION_RUN" </dev/null >/dev/null 2>&1 &
printf '%s %s\n' "$!" "$boot" >"$f.d/holder"
printf 'holder=%s\n' "$!" >>"$f.by.$PROVISION_RUN"
exit 0
"#;

const RELEASE: &str = r#"
for d in "$PROVISION_LOCK_DIR" /var/lock /tmp; do
    f=$d/provision.lock
    [ -e "$f.by.$PROVISION_RUN" ] || continue
    holder=$(sed -n 's/^holder=//p' "$f.by.$PROVISION_RUN")
    rm -f "$f.by.$PROVISION_RUN"
    [ -e "$f.by" ] || rm -f "$f.by"
    [ -n "$holder" ] && kill "$holder" 2>/dev/null
    [ -e "$f.d/$PROVISION_RUN" ] && rm -rf "$f.d"
done
exit 0
"#;

/// Who wants the lock, and for what.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub dir: String,
    pub owner: String,
    /// This program's process on the operator's machine.
    pub process: u32,
    pub run: String,
    pub since: String,
}

impl Claim {
    /// Fails with [`HELD`] and the holder's note on stdout if another run has it, so that what follows is not begun.
    pub fn take(&self) -> Operation {
        Operation::run(self.script(TAKE).title("lock the host for this run"))
    }

    pub fn release(&self) -> Operation {
        Operation::run(self.script(RELEASE).title("unlock the host"))
    }

    fn script(&self, body: &'static str) -> Script {
        Script::new()
            .raw(body)
            .env("PROVISION_LOCK_DIR", Part::Quoted(self.dir.clone()))
            .env("PROVISION_OWNER", Part::Quoted(self.owner.clone()))
            .env("PROVISION_PROCESS", Part::Quoted(self.process.to_string()))
            .env("PROVISION_RUN", Part::Quoted(self.run.clone()))
            .env("PROVISION_SINCE", Part::Quoted(self.since.clone()))
            .timeout(Duration::from_secs(20))
    }
}

/// Whether [`Claim::take`] failed because somebody has the lock.
pub(super) fn is_held(failure: &Failure) -> bool {
    failure.values.get("rc").and_then(serde_json::Value::as_i64) == Some(i64::from(HELD))
}

/// The holder's note in such a failure.
pub(super) fn note_of(failure: &Failure) -> String {
    failure.values.get("stdout").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn field<'n>(note: &'n str, key: &str) -> Option<&'n str> {
    note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// Whether the holder was started on this machine and no longer runs: only its last command still does, on the host.
pub(super) fn left_by_a_dead_run(note: &str, claim: &Claim) -> bool {
    let process = field(note, "process").and_then(|text| rustix::process::Pid::from_raw(text.parse().ok()?));
    let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    field(note, "owner") == Some(claim.owner.as_str()) && process.is_some_and(gone)
}

/// The sentence for whoever came second, out of the holder's note.
pub(super) fn held_by(host: &str, note: &str) -> String {
    match (field(note, "owner"), field(note, "run"), field(note, "since")) {
        (Some(owner), Some(run), Some(since)) => {
            format!("another run is working on {host}: {owner}, run {run}, since {since}")
        }
        _ => format!("another run is working on {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_run_of_this_machine_is_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let alive = std::process::id();
        let claim = Claim {
            dir: String::new(),
            owner: "ana@desk".into(),
            process: alive,
            run: "2".into(),
            since: String::new(),
        };
        let note = |owner: &str, process: u32| format!("owner={owner}\nprocess={process}\nrun=1\n");
        assert!(left_by_a_dead_run(&note("ana@desk", dead), &claim));
        assert!(!left_by_a_dead_run(&note("ana@desk", alive), &claim));
        assert!(!left_by_a_dead_run(&note("ana@laptop", dead), &claim));
        assert!(!left_by_a_dead_run("owner=ana@desk\nrun=1\n", &claim));
    }

    #[test]
    fn the_sentence_names_owner_run_and_time() {
        let note = "owner=ana@desk\nrun=20261123-1\nsince=2026-11-23T10:00:00Z\nboot=x\n";
        assert_eq!(
            held_by("clienteA", note),
            "another run is working on clienteA: ana@desk, run 20261123-1, since 2026-11-23T10:00:00Z"
        );
        assert_eq!(held_by("clienteA", ""), "another run is working on clienteA");
    }
}
