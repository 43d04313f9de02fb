//! One run per host at a time, and holds: what an operator keeps for a while, a host or some of its services.
//!
//! A background process on the host holds the run's lock and looks every second whether the lane's shell still lives; so a
//! tool that was killed leaves nothing that needs a hand, and a command that still runs on the host keeps the lock until it
//! ends. A machine that fell asleep or off the net ends no lane; so this one gives a sign of life, and where none comes
//! for [`EXPIRY`] the holder ends the idle lane and with it the lock: whoever wakes up later has lost its connection and
//! cannot work between the lines of somebody else. Holds are files that say until when; one that is over is as good as gone.
//!
//! Who comes second is told who holds it, and does not wait, except for what a killed run of the same machine left running:
//! that ends by itself, and the same command again is to go on from there. Leaves out fairness.

use std::path::Path;
use std::time::Duration;

use crate::plan::{Failure, Operation, Part, Script};

/// The exit code that means "somebody else holds it".
const HELD: i32 = 75;

/// How often to look whether a dead run's last command has ended, and for how long: a package manager may be at work.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
pub const PATIENCE: Duration = Duration::from_secs(900);

/// Where locks lie unless `provision_lock_dir` says otherwise.
pub(super) const DIR: &str = "/run/lock";

/// Where holds lie unless `provision_hold_dir` says otherwise.
pub(super) const HOLDS: &str = "/var/lib/provision/holds";

/// After so many seconds without a sign of life an idle lane loses the lock, unless `provision_lock_expiry` says otherwise.
pub(super) const EXPIRY: u64 = 60;

/// How a lane is looked at and ended. A `sudo` around it stops and goes on with it, and has to go on so that its end is
/// noticed; until then the lane is a zombie, which is as good as gone.
const LOOK: &str = r#"
state() { sed -n 's/^[0-9]* (.*) \([A-Z]\) .*/\1/p' "/proc/$1/stat" 2>/dev/null; }
parent() { sed -n 's/^[0-9]* (.*) [A-Z] \([0-9]*\) .*/\1/p' "/proc/$1/stat" 2>/dev/null; }
alive() { kill -0 "$1" 2>/dev/null && [ "$(state "$1")" != Z ]; }
busy() {
    [ -r "/proc/$1/stat" ] || return 0
    sed -n 's/^[0-9]* (.*) \([A-Z]\) '"$1"' .*/\1/p' /proc/[0-9]*/stat 2>/dev/null | grep -q '[^Z]'
}
signal() {
    over=$(parent "$2")
    kill "-$1" "$2" 2>/dev/null
    [ "${over:-0}" -gt 1 ] || return 0
    above=$(parent "$over")
    kill -CONT "$over" 2>/dev/null
    [ "${above:-0}" -gt 1 ] && kill -CONT "$above" 2>/dev/null
    return 0
}
"#;

/// Held by a process with nothing else to do: `$1` the lane's process, `$2` the lock's file, `$3` the run, `$4` seconds
/// without a sign of life. The lane is stopped before it is looked at, so that nothing begins between look and end.
const WATCH: &str = r#"
eval "$PROVISION_LOOK"
n=0
was=
while alive "$1" && [ -e "$2.by.$3" ]; do
    sleep 1 9<&-
    beat=
    read -r beat 2>/dev/null <"$2.by.$3.beat"
    if [ "$beat" = "$was" ]; then n=$((n + 1)); else n=0; fi
    was=$beat
    [ "$n" -ge "$4" ] || continue
    n=0
    kill -STOP "$1" 2>/dev/null
    if busy "$1"; then signal CONT "$1"; else signal KILL "$1"; fi
done
rm -f "$2.by.$3" "$2.by.$3.beat"
[ -e "$2.by" ] || rm -f "$2.by"
[ -e "$2.d/$3" ] && rm -rf "$2.d"
exit 0
"#;

/// `flock` where it is, else a directory with the holder's pid and the boot id. The holder ends when the lane's shell
/// (`$$`) is gone or when [`release`] removes its note.
const TAKE: &str = r#"
d=$PROVISION_LOCK_DIR
if [ ! -d "$d" ]; then
    # two who look in two places would both find the host free
    [ "$d" = "$PROVISION_LOCK_USUAL" ] || { printf 'absent=%s\n' "$d"; exit 75; }
    d=/var/lock
    [ -d "$d" ] || d=/tmp
fi
f=$d/provision.lock
lane=$$
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo none)
note() {
    ( umask 022; rm -f "$f.last"; printf '%s %s\n' "$PROVISION_RUN" "$PROVISION_OWNER" >"$f.last" ) 2>/dev/null
    ( umask 022; echo 0 >"$f.by.$PROVISION_RUN.beat" ) 2>/dev/null
    ( umask 022; printf 'owner=%s\nprocess=%s\nrun=%s\nsince=%s\nboot=%s\nlane=%s\n' "$PROVISION_OWNER" "$PROVISION_PROCESS" "$PROVISION_RUN" "$PROVISION_SINCE" "$boot" "$lane" >"$f.by.$PROVISION_RUN" ) 2>/dev/null
    ( rm -f "$f.by"; ln -s "provision.lock.by.$PROVISION_RUN" "$f.by" ) 2>/dev/null
}
mine() {
    [ -e "$f.by.$PROVISION_RUN" ] && grep -q "^run=$PROVISION_RUN\$" "$f.by" 2>/dev/null || return 1
    theirs=$(sed -n 's/^lane=//p' "$f.by.$PROVISION_RUN" 2>/dev/null)
    [ -n "$theirs" ] && kill -0 "$theirs" 2>/dev/null
}
eval "$PROVISION_LOOK"
# what runs there now is let end, nothing new begins
steal() {
    [ -n "$PROVISION_STEAL" ] || return 1
    theirs=$(sed -n 's/^lane=//p' "$f.by" 2>/dev/null)
    [ -n "$theirs" ] || return 1
    kill -STOP "$theirs" 2>/dev/null || return 0
    n=0
    while busy "$theirs"; do
        n=$((n + 1))
        [ "$n" -lt "$PROVISION_STEAL" ] || { signal CONT "$theirs"; PROVISION_STEAL=; return 1; }
        sleep 1
    done
    signal KILL "$theirs"
    PROVISION_STEAL=
    n=-3
}
# a lock without a note is being taken or given back: a little later one of both is true
told() {
    by=$(cat "$f.by" 2>/dev/null)
    [ -n "$by" ] || [ "$n" -ge 8 ] || return 0
    printf '%s\n' "$by"
    exit 75
}
# somebody keeps this host, or one of these services, or has worked here since this run lost the lock
kept() {
    # a lane that broke may come back, but not behind somebody else's work
    last=$(cat "$f.last" 2>/dev/null)
    if [ -n "$PROVISION_AGAIN" ] && [ -n "$last" ] && [ "${last%% *}" != "$PROVISION_RUN" ]; then
        printf 'lost=%s\n' "$last"
        return 0
    fi
    now=$(date +%s)
    for hold in "$PROVISION_HOLDS"/*; do
        [ -f "$hold" ] || continue
        name=${hold##*/}
        case " host $PROVISION_NAMES " in *" $name "*) ;; *' * '*) ;; *) continue ;; esac
        until=$(sed -n 's/^until=//p' "$hold")
        [ "${until:-0}" -gt "$now" ] || continue
        who=$(sed -n 's/^owner=//p' "$hold")
        [ "$PROVISION_KEPT" = any ] && continue
        [ "$PROVISION_KEPT" = own ] && [ "$who" = "$PROVISION_OWNER" ] && continue
        printf 'hold=%s\n' "$name"
        cat "$hold"
        return 0
    done
    return 1
}
detach=
command -v setsid >/dev/null 2>&1 && detach=setsid
if command -v flock >/dev/null 2>&1; then
    [ -e "$f" ] || ( umask 0; : >"$f" ) 2>/dev/null
    [ -r "$f" ] || { echo "cannot make $f" >&2; exit 1; }
    exec 9<"$f"
    n=0
    until flock -n 9; do
        mine && exit 0
        steal && continue
        n=$((n + 1))
        [ $n -ge 3 ] && told
        sleep 1
    done
    kept && exit 75
    note
    $detach sh -c "$PROVISION_WATCH" provision-lock "$lane" "$f" "$PROVISION_RUN" "$PROVISION_EXPIRY" </dev/null >/dev/null 2>&1 &
    printf 'holder=%s\n' "$!" >>"$f.by.$PROVISION_RUN"
    exit 0
fi
n=0
until mkdir "$f.d" 2>/dev/null; do
    mine && exit 0
    read -r pid was <"$f.d/holder" 2>/dev/null || { pid=; was=; }
    if [ -n "$pid" ] && { [ "$was" != "$boot" ] || ! kill -0 "$pid" 2>/dev/null; }; then rm -rf "$f.d"; continue; fi
    steal && continue
    n=$((n + 1))
    [ $n -ge 3 ] && told
    sleep 1
done
kept && { rm -rf "$f.d"; exit 75; }
note
: >"$f.d/$PROVISION_RUN"
$detach sh -c "$PROVISION_WATCH" provision-lock "$lane" "$f" "$PROVISION_RUN" "$PROVISION_EXPIRY" </dev/null >/dev/null 2>&1 &
printf '%s %s\n' "$!" "$boot" >"$f.d/holder"
printf 'holder=%s\n' "$!" >>"$f.by.$PROVISION_RUN"
exit 0
"#;

const RELEASE: &str = r#"
for d in "$PROVISION_LOCK_DIR" /var/lock /tmp; do
    f=$d/provision.lock
    [ -e "$f.by.$PROVISION_RUN" ] || continue
    holder=$(sed -n 's/^holder=//p' "$f.by.$PROVISION_RUN")
    rm -f "$f.by.$PROVISION_RUN" "$f.by.$PROVISION_RUN.beat"
    [ -e "$f.by" ] || rm -f "$f.by"
    [ -n "$holder" ] && kill "$holder" 2>/dev/null
    [ -e "$f.d/$PROVISION_RUN" ] && rm -rf "$f.d"
done
exit 0
"#;

const BEAT: &str = r#"
for d in "$PROVISION_LOCK_DIR" /var/lock /tmp; do
    beat=$d/provision.lock.by.$PROVISION_RUN.beat
    [ -e "$beat" ] || continue
    read -r n <"$beat"
    echo $((n + 1)) >"$beat"
done
exit 0
"#;

/// When a run takes the hosts' locks, and what it makes of holds.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// All hosts before anything is done, or none; else each with its first change.
    pub before: bool,
    pub kept: Kept,
    /// The holds that are in the way: `host`, services, `*` for any. None: those of the services that the job brings.
    pub names: Option<Vec<String>>,
    /// Another run's lock is taken away; what that is doing now may take so many seconds to end.
    pub steal: Option<u64>,
}

/// Whose holds are not in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    #[default]
    Nobodys,
    Own,
    Anybodys,
}

/// A host's variables about its lock.
#[derive(Clone, Debug, Default)]
pub(super) struct LockVars {
    pub dir: Option<String>,
    pub holds: Option<String>,
    pub expiry: Option<u64>,
}

/// Who wants the lock, and for what.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub dir: String,
    pub holds: String,
    pub expiry: u64,
    pub locks: Locks,
    /// This run had the lock before, and lost it.
    pub again: bool,
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

    /// A sign of life.
    pub fn beat(&self) -> Operation {
        Operation::run(self.script(BEAT).title("keep the host's lock"))
    }

    /// How long to wait between two of them.
    pub fn pulse(&self) -> Duration {
        Duration::from_secs(self.expiry.max(4)) / 4
    }

    fn script(&self, body: &'static str) -> Script {
        let kept = match self.locks.kept {
            Kept::Nobodys => "",
            Kept::Own => "own",
            Kept::Anybodys => "any",
        };
        let steal = self.locks.steal.map(|seconds| seconds.to_string()).unwrap_or_default();
        let names = self.locks.names.clone().unwrap_or_else(|| vec!["*".to_owned()]);
        Script::new()
            .raw(body)
            .env("PROVISION_HOLDS", Part::Quoted(self.holds.clone()))
            .env("PROVISION_NAMES", Part::Quoted(names.join(" ")))
            .env("PROVISION_KEPT", Part::Quoted(kept.to_owned()))
            .env("PROVISION_STEAL", Part::Quoted(steal))
            .env("PROVISION_EXPIRY", Part::Quoted(self.expiry.max(4).to_string()))
            .env("PROVISION_AGAIN", Part::Quoted(if self.again { "yes" } else { "" }.to_owned()))
            .env("PROVISION_LOOK", Part::Quoted(LOOK.to_owned()))
            .env("PROVISION_WATCH", Part::Quoted(WATCH.to_owned()))
            .env("PROVISION_LOCK_DIR", Part::Quoted(self.dir.clone()))
            .env("PROVISION_LOCK_USUAL", Part::Quoted(DIR.to_owned()))
            .env("PROVISION_OWNER", Part::Quoted(self.owner.clone()))
            .env("PROVISION_PROCESS", Part::Quoted(self.process.to_string()))
            .env("PROVISION_RUN", Part::Quoted(self.run.clone()))
            .env("PROVISION_SINCE", Part::Quoted(self.since.clone()))
            .timeout(Duration::from_secs(20 + self.locks.steal.unwrap_or(0)))
    }
}

/// Whether [`Claim::take`] failed because somebody has the lock.
pub(super) fn is_held(failure: &Failure) -> bool {
    failure.values.get("rc").and_then(serde_json::Value::as_i64) == Some(i64::from(HELD))
}

/// Whether the run of this process keeps the lock that lies in `dir`, by the note on this very host: for a run's own part
/// that was begun here and has to let it end first.
pub fn is_kept_by(dir: &Path, process: u32) -> bool {
    // where `TAKE` looks
    let places: &[&Path] = match dir.is_dir() {
        true => &[dir],
        false => &[Path::new("/var/lock"), Path::new("/tmp")],
    };
    let notes = places.iter().filter_map(|dir| std::fs::read_to_string(dir.join("provision.lock.by")).ok());
    notes.into_iter().any(|note| field(&note, "process") == Some(process.to_string().as_str()))
}

/// The holder's note in such a failure, or what else keeps this run out.
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

/// Whether the holder's run began after this one: it gives way where both come at once.
pub(super) fn came_later(note: &str, claim: &Claim) -> bool {
    field(note, "run").is_some_and(|run| run > claim.run.as_str())
}

/// The sentence for whoever came second, out of the holder's note, and what to do about it.
pub(super) fn refusal(host: &str, note: &str, owner: &str) -> (String, String) {
    if let Some((run, who)) = field(note, "lost").and_then(|last| last.split_once(' ')) {
        let text =
            format!("connection lost: this run had to let {host} go, and {who} has worked there since, run {run}");
        return (text, "look at what that run did, then run the same command again".to_owned());
    }
    if let Some(dir) = field(note, "absent") {
        let text = format!("the lock of {host} is to lie in {dir} (`provision_lock_dir`), and there is no such folder");
        let hint =
            format!("make it there, for whoever works on it (`install -d -m 1777 {dir}`), or take the variable out");
        return (text, hint);
    }
    if let Some(name) = field(note, "hold") {
        let what = if name == "host" { host.to_owned() } else { format!("{name} on {host}") };
        let get = |key| field(note, key).unwrap_or("?");
        let until = get("until").parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let until = until.map_or_else(|| "?".to_owned(), |until| until.to_string());
        let text = format!("{what} is held by {} until {until}: {}", get("owner"), get("reason"));
        let services = if name == "host" { String::new() } else { format!(" --services {name}") };
        let hint = match get("owner") == owner {
            true => format!(
                "it is yours: add --held to work on it, or end it with `provision lock release --host {host}{services}`"
            ),
            false => format!(
                "wait or ask; `provision lock steal --host {host}{services} --reason …` takes it over if that cannot be"
            ),
        };
        return (text, hint);
    }
    let text = match (field(note, "owner"), field(note, "run"), field(note, "since")) {
        (Some(owner), Some(run), Some(since)) => {
            format!("another run is working on {host}: {owner}, run {run}, since {since}")
        }
        _ => format!("another run is working on {host}"),
    };
    let hint = format!(
        "wait until it has ended, then run the same command again; `provision lock status --host {host}` shows it"
    );
    (text, hint)
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
            holds: String::new(),
            expiry: EXPIRY,
            locks: Locks::default(),
            again: false,
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
    fn who_keeps_a_lock_is_read_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("provision.lock.by");
        assert!(!is_kept_by(dir.path(), 41));
        std::fs::write(dir.path().join("provision.lock.by.r1"), "owner=ana@desk\nprocess=41\nrun=r1\n").unwrap();
        std::os::unix::fs::symlink("provision.lock.by.r1", &note).unwrap();
        assert!(is_kept_by(dir.path(), 41));
        assert!(!is_kept_by(dir.path(), 4), "somebody else's");
        // given back: the note goes before the name that leads to it
        std::fs::remove_file(dir.path().join("provision.lock.by.r1")).unwrap();
        assert!(!is_kept_by(dir.path(), 41));
    }

    #[test]
    fn the_sentence_names_owner_run_and_time() {
        let note = "owner=ana@desk\nrun=20261123-1\nsince=2026-11-23T10:00:00Z\nboot=x\n";
        let (text, hint) = refusal("clienteA", note, "eva@desk");
        assert_eq!(text, "another run is working on clienteA: ana@desk, run 20261123-1, since 2026-11-23T10:00:00Z");
        assert!(hint.contains("run the same command again"));
        assert_eq!(refusal("clienteA", "", "").0, "another run is working on clienteA");
    }

    #[test]
    fn a_hold_says_who_why_until_when_and_what_to_do() {
        let note = "hold=chat\nowner=ana@desk\nuntil=1795680000\nreason=demo at noon\n";
        let (text, hint) = refusal("clienteA", note, "eva@desk");
        assert_eq!(text, "chat on clienteA is held by ana@desk until 2026-11-26T08:00:00Z: demo at noon");
        assert!(hint.contains("provision lock steal --host clienteA --services chat"), "{hint}");
        assert!(refusal("clienteA", note, "ana@desk").1.contains("--held"));
    }
}
