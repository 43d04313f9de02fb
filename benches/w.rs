//! W: 31 tasks of a typical bootstrap (`benches/w/W.yml`), by `provision run` and by plain `ssh host sh -s < script`,
//! in the same run on the same sshd. Counts round trips and memory, measures wall time.
//!
//! `cargo bench --bench w` · `W_HOSTS=1,10,50` · `W_REPEAT=3` · `W_ROUND_TRIP=100` (milliseconds, for the long way)
//!
//! Exits with 1 if a converged run costs a host more than 8 round trips, or a first one more than 8 and one per change;
//! if `provision` takes more than twice as long as plain ssh (the first run over the long way excepted); or more than
//! 40 MB at 50 hosts.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::delay::Delay;
use common::sshd::Sshd;

const PROVISION: &str = env!("CARGO_BIN_EXE_provision");
/// What a first run changes, each in a round trip of its own, and how many round trips there may be besides.
const CHANGES: u64 = 27;
const MOST_TRIPS: u64 = 8;
const MOST_TIMES_PLAIN: f64 = 2.0;
const MOST_MEMORY: u64 = 40 << 10;

fn main() {
    let Some(sshd) = Sshd::start() else { return };
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let hosts: Vec<usize> = setting("W_HOSTS", "1,10,50").split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let repeat: usize = setting("W_REPEAT", "3").parse().unwrap_or(3);
    let round_trip = Duration::from_millis(setting("W_ROUND_TRIP", "100").parse().unwrap_or(100));
    let line = Delay::start(([127, 0, 0, 1], sshd.port).into(), round_trip);
    let known = fs::read_to_string(&sshd.known_hosts).expect("known hosts");
    let far = known.replace(&format!(":{}", sshd.port), &format!(":{}", line.port));
    fs::write(&sshd.known_hosts, known + &far).expect("known hosts");
    let mut failures = Vec::new();
    println!("W, median of {repeat} (least–most); a first run changes {CHANGES} things, a second nothing");
    println!(
        "{:>9} {:>6} {:>6} {:>22} {:>22} {:>6} {:>6} {:>8}",
        "the way", "hosts", "run", "provision", "plain ssh", "ratio", "trips", "memory"
    );
    let here = hosts.into_iter().map(|count| (sshd.port, "here".to_owned(), count));
    for (port, way, count) in here.chain([(line.port, format!("{} ms", round_trip.as_millis()), 1)]) {
        let mut rows: [Row; 2] = Default::default();
        for _ in 0..repeat {
            let ground = Ground::new(&sshd, port, count);
            for row in &mut rows {
                let run = ground.provision();
                row.ours.push(run.wall);
                row.memory = run.memory.max(row.memory);
                row.trips = run.round_trips.max(row.trips);
                row.theirs.push(ground.plain());
            }
        }
        for (run, mut row) in ["first", "second"].into_iter().zip(rows) {
            let ratio = median(&mut row.ours).as_secs_f64() / median(&mut row.theirs).as_secs_f64();
            let (ours, theirs) = (spread(&mut row.ours), spread(&mut row.theirs));
            let (trips, memory) = (row.trips, row.memory);
            println!(
                "{way:>9} {count:>6} {run:>6} {ours:>22} {theirs:>22} {ratio:>6.2} {trips:>6} {:>5} MB",
                memory >> 10
            );
            let most_trips = if run == "first" { CHANGES + MOST_TRIPS } else { MOST_TRIPS };
            if trips > most_trips {
                failures.push(format!("{run} run, {way}: {trips} round trips, {most_trips} are allowed"));
            }
            // over a long way a first run costs a round trip per change, which a script does not
            if ratio > MOST_TIMES_PLAIN && (way == "here" || run == "second") {
                failures.push(format!("{run} run on {count} hosts, {way}: {ratio:.2} times plain ssh"));
            }
            if count <= 50 && memory > MOST_MEMORY {
                failures.push(format!("{run} run on {count} hosts: {} MB", memory >> 10));
            }
        }
    }
    for failure in &failures {
        println!("too much: {failure}");
    }
    std::process::exit(i32::from(!failures.is_empty()));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn spread(times: &mut [Duration]) -> String {
    let middle = median(times).as_millis();
    format!("{middle} ms ({}–{})", times[0].as_millis(), times[times.len() - 1].as_millis())
}

/// Hosts on which nothing was done yet: two directories per host, one for each side.
struct Ground {
    dir: tempfile::TempDir,
    ssh: Vec<String>,
    port: u16,
    count: usize,
}

/// What one line of the table is made of.
#[derive(Default)]
struct Row {
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    /// The most of all hosts and repetitions.
    trips: u64,
    memory: u64,
}

struct Run {
    wall: Duration,
    /// Of the host that needed most.
    round_trips: u64,
    /// The most that was resident, in KiB.
    memory: u64,
}

impl Ground {
    fn new(sshd: &Sshd, port: u16, count: usize) -> Ground {
        let dir = tempfile::Builder::new().prefix("w").tempdir().expect("directory");
        let w = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/w");
        copy_tree(&w, dir.path());
        let target = sshd.target(&address(0));
        let text = |path: Option<PathBuf>| path.unwrap_or_default().display().to_string();
        let (key, known_hosts) = (text(target.key_file), text(target.known_hosts));
        let user = target.user.unwrap_or_default();
        let mut inventory = format!(
            "all:\n  vars:\n    ansible_user: {user}\n    ansible_port: {port}\n    ansible_ssh_private_key_file: {key}\n    \
             ansible_ssh_common_args: -F /dev/null -o UserKnownHostsFile={known_hosts}\n  hosts:\n"
        );
        for n in 0..count {
            inventory.push_str(&format!("    h{n}: {{ansible_host: {}}}\n", address(n)));
            for side in ["ours", "plain"] {
                fs::create_dir_all(dir.path().join(side).join(format!("h{n}"))).expect("directory");
            }
        }
        fs::write(dir.path().join("hosts.yml"), inventory).expect("inventory");
        let port_text = port.to_string();
        let user_option = format!("User={user}");
        let known_option = format!("UserKnownHostsFile={known_hosts}");
        let ssh = ["-F", "/dev/null", "-i", &key, "-p", &port_text, "-o", &user_option, "-o", &known_option];
        let ssh = ssh.into_iter().chain(["-o", "BatchMode=yes"]).map(str::to_owned).collect();
        Ground { dir, ssh, port, count }
    }

    fn provision(&self) -> Run {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(PROVISION);
        command.arg("run").arg(at("W.yml")).arg("-i").arg(at("hosts.yml"));
        command.arg("-e").arg(format!("root={}", at("ours").display())).args(["--forks", "50"]);
        command.arg("--runs-dir").arg(at("runs")).current_dir(self.dir.path());
        command.env("RUST_LOG", "provision::lane=debug").env("NO_COLOR", "1").env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().expect("provision starts");
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let memory = watch(&mut child);
        let status = child.wait().expect("provision ends");
        let wall = begin.elapsed();
        let (out, err) = (out.join().expect("stdout"), err.join().expect("stderr"));
        assert!(status.success(), "port {}: {status}\n{out}\n{err}", self.port);
        let trips = err.split("round_trips").skip(1).filter_map(|rest| {
            let digits: String =
                rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        });
        Run { wall, round_trips: trips.max().unwrap_or(u64::MAX), memory }
    }

    /// All hosts at once, one ssh each.
    fn plain(&self) -> Duration {
        let script = fs::read_to_string(self.dir.path().join("plain.sh")).expect("script");
        let files: Vec<PathBuf> = (0..self.count)
            .map(|n| {
                let file = self.dir.path().join(format!("plain-{n}.sh"));
                let here = self.dir.path().join(format!("plain/h{n}"));
                fs::write(&file, format!("here={} name=h{n}\n{script}", here.display())).expect("script");
                file
            })
            .collect();
        let begin = Instant::now();
        let children: Vec<Child> = files
            .iter()
            .enumerate()
            .map(|(n, file)| {
                let script = fs::File::open(file).expect("script");
                let mut command = Command::new("ssh");
                command.args(&self.ssh).arg(address(n)).arg("sh -s").stdin(script).stdout(Stdio::null());
                command.spawn().expect("ssh starts")
            })
            .collect();
        for mut child in children {
            assert!(child.wait().expect("ssh ends").success(), "plain ssh failed");
        }
        begin.elapsed()
    }
}

fn address(n: usize) -> String {
    format!("127.0.{}.{}", 1 + n / 250, 1 + n % 250)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("directory");
    for entry in fs::read_dir(from).expect("directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("file");
        }
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Looks at the process until it ends. → the most memory that it had, in KiB
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().is_ok_and(|ended| ended.is_none()) {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        most = most.max(now);
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}
