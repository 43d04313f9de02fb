//! `provision shell`: a person's terminal in a container and on the server, by a real pseudo-terminal.

use std::process::Stdio;

use crate::terminal::{INTERRUPT, Terminal};

#[test]
fn a_terminal_reaches_into_a_container_and_back() {
    let Some((_turn, stage)) = super::enter("a_terminal_reaches_into_a_container_and_back") else { return };
    let runs = stage.runs("shell");
    let args = |words: &[&'static str]| [&["shell"], words, super::REGISTRY].concat();
    let ran = stage.must(&runs, &args(&["a", "lookout/web"]), 2);
    assert!(ran.stderr.contains("a shell needs a terminal"), "{}", ran.stderr);

    let name = stage.inside("a", "docker inspect -f '{{.Config.Hostname}}' versatile-lookout-web-1");
    let open = |words: &[&'static str]| {
        let mut command = stage.program(&runs, &args(words));
        command.stdin(Stdio::inherit());
        Terminal::start(command)
    };
    // what is waited for is never what was typed: the terminal echoes that
    let mut terminal = open(&["a", "lookout/web"]);
    terminal.press("echo \"at-$(cat /etc/hostname)-$((40 + 2))\"\r");
    terminal.wait(&format!("at-{name}-42"));
    terminal.press("until [ \"$(stty size)\" = '30 110' ]; do sleep 0.1; done; echo size-$((40 + 3))\r");
    terminal.wait("size-43");
    // Ctrl-C is for what runs there
    terminal.press("echo going-$((40 + 4)); sleep 600\r");
    terminal.wait("going-44");
    terminal.press(INTERRUPT);
    terminal.press("echo \"code-$?-$((40 + 5))\"\r");
    terminal.wait("code-130-45");
    terminal.press("exit 7\r");
    assert_eq!(terminal.end(), 7, "the code is the shell's");

    let mut terminal = open(&["a"]);
    terminal.press("ls -d /opt/ATS/VersatileHub && echo server-$((40 + 6))\r");
    terminal.wait("server-46");
    terminal.press("exit\r");
    assert_eq!(terminal.end(), 0);
}
