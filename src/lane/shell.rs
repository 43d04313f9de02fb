//! One lane: a shell at the other end that carries out requests, one after the other, each within its time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::channel::{Channel, Link};
use super::frame::{self, Side, Step, Stream};
use super::hello::{self, Hello};
use super::{Become, Trouble, elevate};
use crate::event::Cause;
use crate::plan::{Output, quote};

/// How long the wire may be silent where the host has nothing to compute.
const SILENCE: Duration = Duration::from_secs(60);

/// A timeout beyond this is as good as none; adding it to the time must not overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A shell that said hello.
pub struct Shell {
    channel: Channel,
    pub hello: Hello,
}

/// How a request ended, with the outputs of the steps that ended.
pub struct Exchange {
    pub outputs: Vec<Output>,
    pub end: End,
}

pub enum End {
    /// All steps ran, or one was not accepted and the rest was not begun.
    Complete,
    /// The step after those that ended took too long; this much it had printed. The shell is unusable.
    TimedOut(Output),
    /// The stream ended in the middle. The shell is gone.
    Lost { stderr: Vec<u8> },
    /// Nothing came for a long time although nothing was running. The shell is unusable.
    Silent,
}

impl Shell {
    /// Opens a lane. `spent` counts the times we waited for the host.
    pub async fn open(
        link: &Link,
        who: Option<&Become>,
        sh: &str,
        spent: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Trouble> {
        elevate::check(who)?;
        let token = frame::token()?;
        let command = match who {
            None => format!("exec {} -s", quote(sh)),
            Some(_) => elevate::command(who, "exec \"$1\" -s", &[sh], &token),
        };
        let mut channel = Channel::open(link, &command).await?;
        if matches!(link, Link::Ssh(_)) {
            spent(frame::OPENING);
        }
        if elevate::must_converse(who) {
            spent(1);
            elevate::converse(&mut channel, who, &token).await?;
        }
        spent(1);
        let request = [Step { timeout: Duration::from_secs(30), ..Step::new("_pv_hello") }];
        let exchange = exchange(&mut channel, hello::PRELUDE, &request, frame::KEPT).await?;
        match (exchange.end, exchange.outputs.first()) {
            (End::Complete, Some(output)) => Ok(Shell { channel, hello: hello::parse(&output.stdout)? }),
            (End::Lost { stderr }, _) => Err(elevate::not_through(who, &stderr)),
            _ => Err(Trouble::new(Cause::Shell, "the shell on the host did not answer the handshake")
                .hint("log in by hand and run `sh -s`: something in the login user's start-up files may be waiting")),
        }
    }

    pub async fn exchange(&mut self, steps: &[Step], keep: usize) -> Result<Exchange, Trouble> {
        exchange(&mut self.channel, "", steps, keep).await
    }
}

/// Sends a request and reads what comes of it, both at once, so that neither side can block the other.
async fn exchange(channel: &mut Channel, prelude: &str, steps: &[Step], keep: usize) -> Result<Exchange, Trouble> {
    let token = frame::token()?;
    let text = frame::compose(&token, steps);
    let mut out = Stream::new(Side::Out, &token, keep);
    let mut err = Stream::new(Side::Err, &token, keep);
    let (mut out_open, mut err_open) = (true, true);
    let Channel { stdin: Some(stdin), stdout, stderr, .. } = channel else {
        return Err(Trouble::new(Cause::Lost, "the lane is closed"));
    };
    let send = async {
        stdin.write_all(prelude.as_bytes()).await?;
        stdin.write_all(&text).await?;
        stdin.flush().await
    };
    tokio::pin!(send);
    let mut sending = true;
    let (mut out_buffer, mut err_buffer) = (vec![0u8; 16 << 10], vec![0u8; 4 << 10]);
    // until it all arrived nothing begins: a slow line gets the time that 10 kB/s take
    let mut deadline = Instant::now() + SILENCE + Duration::from_millis((prelude.len() + text.len()) as u64 / 10);
    let mut seen = 0;
    while !(out.finished && err.finished) {
        tokio::select! {
            sent = &mut send, if sending => {
                // a broken pipe shows as the end of the streams, with the reason on one of them
                let _ = sent;
                sending = false;
            }
            read = stdout.read(&mut out_buffer), if out_open => match read {
                Ok(count) if count > 0 => out.feed(&out_buffer[..count]),
                _ => out_open = false,
            },
            read = stderr.read(&mut err_buffer), if err_open => match read {
                Ok(count) if count > 0 => err.feed(&err_buffer[..count]),
                _ => err_open = false,
            },
            () = tokio::time::sleep_until(deadline) => break,
        }
        // a script may close one of the streams of nobody but itself: the end is the end of both
        if !out_open && !err_open {
            break;
        }
        let now = out.begun + out.done.len();
        if now != seen {
            seen = now;
            // inside a step its own time counts, between steps the wire's
            let running = out.begun > out.done.len();
            let patience = steps.get(out.done.len()).filter(|_| running).map_or(SILENCE, |step| step.timeout);
            deadline = Instant::now() + patience.min(LONGEST);
        }
    }
    let running = out.begun > out.done.len();
    let end = if out.finished && err.finished {
        End::Complete
    } else if !out_open && !err_open {
        err.end();
        End::Lost { stderr: [std::mem::take(&mut err.stray), err.partial()].concat() }
    } else if running {
        out.end();
        err.end();
        End::TimedOut(Output { rc: 124, stdout: out.partial(), stderr: err.partial() })
    } else {
        End::Silent
    };
    let stderrs = err.done.into_iter().chain(std::iter::repeat_with(Vec::new));
    let outputs = out.done.into_iter().zip(out.codes).zip(stderrs);
    let outputs = outputs.map(|((stdout, rc), stderr)| Output { rc, stdout, stderr }).collect();
    Ok(Exchange { outputs, end })
}
