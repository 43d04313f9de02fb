//! Becoming another user: the command line, and the conversation about the password.
//!
//! Whether anything has to be done is decided at the other end, without a round trip: if the login is that user
//! already, nothing is. Without a password sudo is told not to ask (`-n`), so the first request can be sent at once.
//! With one, it is sent only after the prompt was seen, so a password never ends up as input of something else.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::channel::Channel;
use super::{Become, BecomeMethod, Trouble};
use crate::event::Cause;
use crate::plan::quote;

/// How long sudo may take to ask or to let us in: it waits some seconds after a wrong password, LDAP may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What login shells do not leave alone between single quotes: csh's `!` and newlines, fish's backslashes.
const ODD: [char; 4] = ['!', '\\', '\n', '\''];

/// Spelt for `printf %b`, in characters that every login shell leaves alone between single quotes.
fn spelt(word: &str) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./-".contains(byte);
    word.bytes().map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("\\0{byte:03o}") }).collect()
}

/// Reads such words back into `$@`.
const READ: &str = "for a; do shift; a=$(printf %b. \"$a\"); set -- \"$@\" \"${a%.}\"; done; ";

/// The command line that runs `sh -c INNER sh ARGS…` as the user, after printing the token and a dot.
pub fn command(who: Option<&Become>, inner: &str, args: &[&str], token: &str) -> String {
    let odd = args.iter().any(|arg| arg.contains(ODD));
    let words: Vec<String> = args.iter().map(|arg| if odd { quote(&spelt(arg)) } else { quote(arg) }).collect();
    let words = words.join(" ");
    // the token comes first, as $1 of the inner script
    let read = if odd { READ } else { "" };
    let inner = format!("printf %s. \"$1\"; shift; {read}{inner}");
    let Some(who) = who else {
        return format!("exec sh -c {} sh {token} {words}", quote(&inner));
    };
    let elevated = match (who.method, &who.password) {
        (BecomeMethod::Sudo, None) => "exec sudo -n -H -u \"$u\" -- sh -c \"$s\" sh \"$@\"",
        (BecomeMethod::Sudo, Some(_)) => "exec sudo -S -H -p \"$1:\" -u \"$u\" -- sh -c \"$s\" sh \"$@\"",
        (BecomeMethod::Doas, _) => "exec doas -n -u \"$u\" sh -c \"$s\" sh \"$@\"",
        (BecomeMethod::Su, _) => "exec su -s /bin/sh \"$u\" -c \"$s\" sh \"$@\"",
    };
    let outer = format!(
        "u=$1; s=$2; shift 2; if [ \"$(id -un)\" = \"$u\" ]; then exec sh -c \"$s\" sh \"$@\"; else {elevated}; fi"
    );
    format!("exec sh -c {} sh {} {} {token} {words}", quote(&outer), quote(&who.user), quote(&inner))
}

const DOAS: &str =
    "allow it without one (`permit nopass` in /etc/doas.conf) and leave out the become password, or use sudo";

/// Whether the first request has to wait for [`converse`].
pub fn must_converse(who: Option<&Become>) -> bool {
    who.is_some_and(|who| who.password.is_some() || who.method == BecomeMethod::Su)
}

/// Refuses what cannot work, before anything is opened.
pub fn check(who: Option<&Become>) -> Result<(), Trouble> {
    match who {
        Some(Become { method: BecomeMethod::Doas, password: Some(_), .. }) => {
            Err(Trouble::new(Cause::Become, "doas reads passwords from a terminal only").hint(DOAS))
        }
        _ => Ok(()),
    }
}

/// Sees us through to the user: past the greetings of the login, and the prompt, which is answered once. → what came on stdout after that
pub async fn converse(channel: &mut Channel, who: Option<&Become>, token: &str) -> Result<Vec<u8>, Trouble> {
    let through = format!("{token}.");
    let prompt = match who.map(|who| who.method) {
        Some(BecomeMethod::Su) => "assword:".to_owned(),
        Some(BecomeMethod::Sudo | BecomeMethod::Doas) | None => format!("{token}:"),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut answered, mut err_open) = (false, true);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let read = tokio::select! {
            read = channel.stdout.read_buf(&mut out) => read,
            read = channel.stderr.read_buf(&mut err), if err_open => {
                // what ends quickly may close it before its stdout was looked at
                err_open = read.is_ok_and(|count| count > 0);
                Ok(1)
            }
            () = tokio::time::sleep_until(deadline) => {
                return Err(too_long(who));
            }
        };
        if let Some(at) = memchr::memmem::find(&out, through.as_bytes()) {
            return Ok(out.split_off(at + through.len()));
        }
        if read.map_or(true, |count| count == 0) {
            drain(channel, &mut err).await;
            return Err(not_through(who, &err));
        }
        if let (Some(at), Some(who)) = (memchr::memmem::find(&err, prompt.as_bytes()), who) {
            err.drain(..at + prompt.len());
            let Some(password) = who.password.as_ref().filter(|_| !answered) else {
                return Err(wrong(who));
            };
            answered = true;
            let line = zeroize::Zeroizing::new(format!("{}\n", password.reveal()));
            let sent = match &mut channel.stdin {
                Some(stdin) => {
                    async {
                        stdin.write_all(line.as_bytes()).await?;
                        stdin.flush().await
                    }
                    .await
                }
                None => Err(std::io::ErrorKind::BrokenPipe.into()),
            };
            if sent.is_err() {
                drain(channel, &mut err).await;
                return Err(explain(who, &err));
            }
        }
    }
}

fn too_long(who: Option<&Become>) -> Trouble {
    match who {
        Some(who) => Trouble::new(Cause::Become, format!("becoming `{}` took longer than 30 s", who.user))
            .hint("log in by hand and try `sudo -v`: it may wait for a directory server or a second factor"),
        None => Trouble::new(Cause::Shell, "the login took longer than 30 s to start a shell")
            .hint("something in the login user's start-up files may be waiting"),
    }
}

/// The channel ended before we were through.
pub fn not_through(who: Option<&Become>, stderr: &[u8]) -> Trouble {
    match who {
        Some(who) => explain(who, stderr),
        None => super::hello::no_shell(stderr),
    }
}

async fn drain(channel: &mut Channel, err: &mut Vec<u8>) {
    let rest = channel.stderr.read_to_end(err);
    let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
}

fn wrong(who: &Become) -> Trouble {
    match who.password {
        Some(_) => Trouble::new(Cause::Become, format!("the password for becoming `{}` was not accepted", who.user))
            .hint(
                "check `ansible_become_password`: sudo wants the password of the login user, su that of the other one",
            ),
        None => {
            Trouble::new(Cause::Become, format!("becoming `{}` needs a password", who.user)).hint(match who.method {
                BecomeMethod::Sudo | BecomeMethod::Su => "give it with --ask-become-pass or `ansible_become_password`",
                BecomeMethod::Doas => DOAS,
            })
        }
    }
}

/// What sudo said → what is wrong and what to do.
pub fn explain(who: &Become, stderr: &[u8]) -> Trouble {
    let said = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.last().copied().unwrap_or("it said nothing");
    let has = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    let user = &who.user;
    let trouble = |msg: String| Trouble::new(Cause::Become, msg);
    if has(&["incorrect password", "Sorry, try again", "Authentication failure", "incorrect authentication"]) {
        wrong(who)
    } else if has(&["a password is required", "Authentication required", "Authorization required"]) {
        wrong(&Become { password: None, ..who.clone() })
    } else if has(&["not in the sudoers file", "is not allowed to", "may not run sudo", "Operation not permitted"]) {
        trouble(format!("the login user may not become `{user}`: {last}")).hint(match who.method {
            BecomeMethod::Sudo | BecomeMethod::Su => {
                "allow it on the host: a file in /etc/sudoers.d, checked with visudo -c"
            }
            BecomeMethod::Doas => "allow it on the host: `permit nopass` in /etc/doas.conf, checked with doas -C",
        })
    } else if has(&["doas is not enabled"]) {
        trouble("doas is not set up on the host".to_owned()).hint(DOAS)
    } else if has(&["not found", "No such file"]) {
        trouble(format!("the host has no program to become `{user}` with: {last}"))
            .hint("install sudo on the host, log in as that user, or set `ansible_become_method: su`")
    } else if has(&["unknown user", "does not exist"]) {
        trouble(format!("the user `{user}` does not exist on the host")).hint("check `become_user`")
    } else if has(&["must have a tty"]) {
        trouble("sudo on the host insists on a terminal".to_owned())
            .hint("remove `Defaults requiretty` from its sudoers")
    } else {
        trouble(format!("could not become `{user}`: {last}"))
            .hint(format!("log in by hand and try: sudo -u {} true", quote(user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sudo_says_is_explained() {
        let table = [
            ("sudo: 1 incorrect password attempt\n", "was not accepted"),
            ("sudo: a password is required\n", "needs a password"),
            ("joe is not in the sudoers file.\n", "may not become"),
            ("sh: 1: exec: sudo: not found\n", "no program to become"),
            ("sudo: unknown user nobdy\n", "does not exist"),
            ("doas: doas is not enabled, /etc/doas.conf: No such file or directory\n", "not set up"),
            ("sudo: sorry, you must have a tty to run sudo\n", "terminal"),
            ("", "it said nothing"),
        ];
        let who = Become::sudo("root", Some(crate::plan::Secret::new("x")));
        for (said, expected) in table {
            let trouble = explain(&who, said.as_bytes());
            assert!(trouble.msg.contains(expected), "{said}: {trouble}");
            assert_eq!(trouble.cause, Cause::Become);
        }
    }

    #[test]
    fn a_password_is_not_in_the_command_line() {
        let who = Become::sudo("root", Some(crate::plan::Secret::new("hunter2")));
        assert!(!command(Some(&who), "exec sh -s", &[], "T").contains("hunter2"));
    }
}
