//! Framing, without any input or output: steps become one request text for a shell, and what the shell prints becomes
//! one output per step again.
//!
//! A request is one compound command, so a shell evaluates nothing of it unless all of it arrived. Every step runs as
//! `( eval '…' ) </dev/null`, which contains `exit`, `cd`, `set -e`, `exec`, traps and syntax errors. Marks around it
//! carry a token of 128 random bits, on stdout and on stderr, so the bytes between them are exact whatever they are;
//! bytes outside come from background children of earlier steps.

use std::time::Duration;

use memchr::memmem;
use zeroize::Zeroizing;

use super::trouble::Trouble;
use crate::event::Cause;
use crate::plan::{Script, quote};

/// How long a script may take if it does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// What a new channel costs before it takes any input: it is opened, then sshd starts the command and says how much
/// it will take.
pub const OPENING: u64 = 2;
/// How much of a stream is kept. The rest is read and dropped, so that the host does not block.
pub const KEPT: usize = 16 << 20;

/// One thing for a lane's shell to do. The text may hold secrets.
#[derive(Clone)]
pub struct Step {
    pub text: Zeroizing<String>,
    pub stdin: Option<Vec<u8>>,
    pub timeout: Duration,
    /// After another rc than these, the request's later steps are not begun. None: they are in any case.
    pub accept: Option<Vec<i32>>,
}

impl Step {
    pub fn new(text: impl Into<String>) -> Self {
        Step { text: Zeroizing::new(text.into()), stdin: None, timeout: DEFAULT_TIMEOUT, accept: None }
    }

    /// A script with its directory, environment and umask. The error is a sentence.
    pub fn of(script: &Script) -> Result<Self, String> {
        let mut text = String::new();
        if let Some(umask) = script.umask {
            text.push_str(&format!("umask {umask:03o}\n"));
        }
        if let Some(cwd) = &script.cwd {
            text.push_str(&format!("cd -- {} || exit 1\n", quote(cwd)));
        }
        for (name, value) in &script.env {
            if !is_variable(name) {
                return Err(format!("`{name}` cannot be the name of an environment variable"));
            }
            text.push_str(&format!("export {name}={}\n", value.render()));
        }
        text.push_str(&script.render());
        if text.contains('\0') || script.parts.iter().any(|part| part.render().contains('\0')) {
            return Err("a script cannot contain a NUL byte".to_owned());
        }
        let timeout = script.timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(Step { text: Zeroizing::new(text), stdin: script.stdin.clone(), timeout, accept: None })
    }

    /// Stops the request after any other rc.
    pub fn accept(mut self, codes: &[i32]) -> Self {
        self.accept = Some(codes.to_vec());
        self
    }
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// 128 random bits in hex.
pub fn token() -> Result<String, Trouble> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::new(Cause::Local, format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The request's text for the lane's standard input.
pub fn compose(token: &str, steps: &[Step]) -> Zeroizing<Vec<u8>> {
    let size: usize = steps.iter().map(|step| step.text.len() + step.stdin.as_ref().map_or(0, Vec::len) + 400).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(size + size / 4));
    let mut put = |piece: &str| text.extend_from_slice(piece.as_bytes());
    put("{ _pv_go=1\n");
    for step in steps {
        put(&format!("case $_pv_go in 1)\nprintf %s '{token}{{'; printf %s '{token}{{' >&2\n"));
        if let Some(stdin) = &step.stdin {
            put(&printer(stdin));
            put(" 2>/dev/null | ");
        }
        put("( eval ");
        put(&single_quoted(&step.text));
        put(if step.stdin.is_some() { " )\n" } else { " ) </dev/null\n" });
        put(&format!("_pv_rc=$?; printf '%s%s\\n' '{token}}}' $_pv_rc; printf %s '{token}}}' >&2\n"));
        if let Some(codes) = &step.accept {
            let codes: Vec<String> = codes.iter().map(i32::to_string).collect();
            let codes = if codes.is_empty() { "none".to_owned() } else { codes.join("|") };
            put(&format!("case $_pv_rc in {codes}) ;; *) _pv_go=0;; esac\n"));
        }
        put("esac\n");
    }
    put(&format!("printf %s '{token}.'; printf %s '{token}.' >&2\n}}\n"));
    text
}

fn single_quoted(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(text.len() + text.len() / 8 + 2));
    quoted.push('\'');
    for (i, piece) in text.split('\'').enumerate() {
        if i > 0 {
            quoted.push_str(r"'\''");
        }
        quoted.push_str(piece);
    }
    quoted.push('\'');
    quoted
}

/// A command of shell builtins that prints exactly these bytes.
pub fn printer(bytes: &[u8]) -> Zeroizing<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) && !bytes.contains(&b'\r') => {
            Zeroizing::new(format!("printf %s {}", *single_quoted(text)))
        }
        _ => {
            let mut command = Zeroizing::new(String::with_capacity(bytes.len() * 3 + 16));
            command.push_str("printf %b '");
            for &byte in bytes {
                match byte {
                    b'\\' | b'\'' | 0..=9 | 11..=31 | 127.. => command.push_str(&format!("\\0{byte:03o}")),
                    plain => command.push(char::from(plain)),
                }
            }
            command.push('\'');
            command
        }
    }
}

/// How many bytes [`printer`] makes of these.
pub fn printed_size(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) if !bytes.contains(&0) && !bytes.contains(&b'\r') => bytes.len(),
        _ => bytes.iter().map(|byte| if matches!(byte, 32..=126) { 1 } else { 5 }).sum(),
    }
}

/// Which of the two streams: only stdout carries the return codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Out,
    Err,
}

/// One stream of replies, cut into the outputs of the steps.
pub struct Stream {
    side: Side,
    token: Vec<u8>,
    keep: usize,
    pending: Vec<u8>,
    inside: bool,
    current: Vec<u8>,
    dropped: usize,
    /// Of the steps that ended.
    pub done: Vec<Vec<u8>>,
    /// Of the steps that ended; on stdout only.
    pub codes: Vec<i32>,
    /// How many steps have begun.
    pub begun: usize,
    /// The request has ended.
    pub finished: bool,
    /// What came outside of any step: the host's greeting, late output of background children. Only its end is kept.
    pub stray: Vec<u8>,
}

impl Stream {
    pub fn new(side: Side, token: &str, keep: usize) -> Self {
        Stream {
            side,
            token: token.as_bytes().to_vec(),
            keep,
            pending: Vec::new(),
            inside: false,
            current: Vec::new(),
            dropped: 0,
            done: Vec::new(),
            codes: Vec::new(),
            begun: 0,
            finished: false,
            stray: Vec::new(),
        }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(at) = memmem::find(&self.pending[from..], &self.token).map(|at| from + at) {
            let kind = at + self.token.len();
            let end = match self.pending.get(kind) {
                None => break,
                Some(b'}') if self.side == Side::Out => match memchr::memchr(b'\n', &self.pending[kind..]) {
                    None => break,
                    Some(newline) => kind + newline + 1,
                },
                Some(_) => kind + 1,
            };
            self.sink(from, at);
            let mark = self.pending[kind..end].to_vec();
            self.mark(&mark);
            from = end;
        }
        // a token may be half arrived: leave what could be its beginning, or all from a whole one
        let rest = match memmem::find(&self.pending[from..], &self.token) {
            Some(at) => from + at,
            None => from.max(self.pending.len().saturating_sub(self.token.len() - 1)),
        };
        self.sink(from, rest);
        self.pending.drain(..rest);
    }

    /// The stream has ended: nothing more can be a mark.
    pub fn end(&mut self) {
        self.sink(0, self.pending.len());
        self.pending.clear();
    }

    /// What the step that is running has printed so far.
    pub fn partial(&mut self) -> Vec<u8> {
        self.take_current()
    }

    fn sink(&mut self, from: usize, to: usize) {
        let bytes = &self.pending[from..to];
        if self.inside {
            let fits = self.keep.saturating_sub(self.current.len()).min(bytes.len());
            self.current.extend_from_slice(&bytes[..fits]);
            self.dropped += bytes.len() - fits;
        } else {
            self.stray.extend_from_slice(bytes);
            let surplus = self.stray.len().saturating_sub(64 << 10);
            self.stray.drain(..surplus);
        }
    }

    fn mark(&mut self, mark: &[u8]) {
        match mark.first() {
            Some(b'{') => {
                self.inside = true;
                self.begun += 1;
            }
            Some(b'}') => {
                self.inside = false;
                let output = self.take_current();
                self.done.push(output);
                if self.side == Side::Out {
                    let code = std::str::from_utf8(&mark[1..]).ok().and_then(|text| text.trim().parse().ok());
                    self.codes.push(code.unwrap_or(255));
                }
            }
            Some(b'.') => self.finished = true,
            _ => {}
        }
    }

    fn take_current(&mut self) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.current);
        if self.dropped > 0 {
            output.extend_from_slice(format!("\n[{} more bytes were not kept]\n", self.dropped).as_bytes());
            self.dropped = 0;
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Part;
    use proptest::prelude::*;

    fn cut(side: Side, wire: &[u8], at: usize) -> Stream {
        let mut stream = Stream::new(side, "TOKEN", KEPT);
        for chunk in wire.chunks(at.max(1)) {
            stream.feed(chunk);
        }
        stream
    }

    proptest! {
        #[test]
        fn outputs_survive_any_cutting(outputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5), noise in ".{0,20}", at in 1usize..40) {
            prop_assume!(!noise.contains("TOKEN"));
            let mut wire = noise.clone().into_bytes();
            for output in &outputs {
                wire.extend(b"TOKEN{");
                wire.extend(output);
                wire.extend(b"TOKEN}7\n");
            }
            wire.extend(b"TOKEN.");
            let stream = cut(Side::Out, &wire, at);
            prop_assert_eq!(&stream.done, &outputs);
            prop_assert_eq!(stream.codes, vec![7; outputs.len()]);
            prop_assert!(stream.finished);
            prop_assert_eq!(stream.stray, noise.into_bytes());
        }
    }

    #[test]
    fn half_a_token_is_output_when_it_stays_half() {
        let mut stream = cut(Side::Err, b"TOKEN{abcTOKE", 1);
        stream.end();
        assert_eq!(stream.partial(), b"abcTOKE");
    }

    #[test]
    fn more_than_is_kept_is_counted() {
        let mut stream = Stream::new(Side::Err, "TOKEN", 3);
        stream.feed(b"TOKEN{abcdefTOKEN}TOKEN.");
        assert_eq!(stream.done, [b"abc\n[3 more bytes were not kept]\n".to_vec()]);
    }

    #[test]
    fn a_script_brings_its_surroundings() {
        let mut script = Script::new().raw("ls").cwd("/a b").env("A", Part::Quoted("x y".into()));
        script.umask = Some(0o27);
        let step = Step::of(&script).map(|step| step.text.to_string());
        assert_eq!(step.as_deref(), Ok("umask 027\ncd -- '/a b' || exit 1\nexport A='x y'\nls"));
        assert!(Step::of(&Script::new().env("a-b", Part::Quoted(String::new()))).is_err());
    }
}
