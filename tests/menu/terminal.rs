//! A pseudo-terminal with the program in it, and what stands on its screen.

use std::io::Write;
use std::num::NonZeroU16;
use std::process::Command;
use std::time::{Duration, Instant};

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;

const COLUMNS: u16 = 110;
const ROWS: u16 = 30;

pub struct Terminal {
    session: OsSession,
    parser: vt100::Parser,
}

/// Keys by their names; everything else is typed as it is.
pub const ENTER: &str = "\r";
pub const ESC: &str = "\x1b";
pub const PAGE_DOWN: &str = "\x1b[6~";
pub const CLEAR: &str = "\x15";
pub const INTERRUPT: &str = "\x03";

impl Terminal {
    pub fn start(mut command: Command) -> Terminal {
        command.env("TERM", "xterm-256color");
        let mut session = OsSession::spawn(command).expect("a pseudo-terminal");
        session.get_process_mut().set_window_size(COLUMNS, ROWS).expect("the terminal's size");
        let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZeroU16::new(size).expect("a size"));
        Terminal { session, parser: vt100::Parser::new(rows, columns, 0) }
    }

    /// Takes in what was written meanwhile.
    fn listen(&mut self) {
        let mut bytes = [0; 8192];
        while let Ok(count) = self.session.try_read(&mut bytes) {
            if count == 0 {
                break;
            }
            self.parser.process(&bytes[..count]);
        }
    }

    pub fn screen(&mut self) -> String {
        self.listen();
        let rows = self.parser.screen().rows(0, COLUMNS);
        let text: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        text.join("\n").trim_end().to_owned()
    }

    /// Waits until a text stands on the screen; gives back the whole screen.
    #[track_caller]
    pub fn wait(&mut self, text: &str) -> String {
        self.wait_until(&format!("`{text}`"), |screen| screen.contains(text))
    }

    #[track_caller]
    pub fn wait_gone(&mut self, text: &str) -> String {
        self.wait_until(&format!("no `{text}`"), |screen| !screen.contains(text))
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, good: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let screen = self.screen();
            if good(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "there is not {what} on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.session.write_all(keys.as_bytes()).expect("the terminal takes keys");
        self.session.flush().expect("the terminal takes keys");
    }

    /// Waits until the program has ended; its exit code.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            self.listen();
            match self.session.get_process().status() {
                Ok(WaitStatus::Exited(_, code)) => return code,
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(15));
                }
                other => panic!("the program did not end well: {other:?}\n{}", self.screen()),
            }
        }
    }
}
