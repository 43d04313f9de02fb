//! The screens that docs/menu.md shows are those of the program: `PROVISION_WRITE_DOCS=1` writes them anew.

use std::path::Path;

use crate::stage;
use crate::terminal::{CLEAR, ENTER, ESC, Terminal};

/// Named screens, in the order of the document.
fn taken() -> Vec<(&'static str, String)> {
    let project = stage::project();
    let mut screens = Vec::new();
    let mut terminal = Terminal::start(stage::menu(&project));
    screens.push(("clients", terminal.wait("¿En qué clientes?")));
    terminal.press("ana\r");
    terminal.wait("¿Qué servicios?");
    terminal.press("shop,tiendas,infra,spoilt");
    screens.push(("services", terminal.wait("spoilt▏")));
    terminal.press(CLEAR);
    terminal.press("shop");
    terminal.press(ENTER);
    terminal.wait("¿Qué hacer?");
    // three of them: which verbs there are is not what the document is about
    terminal.press("instalar,simular,status");
    screens.push(("actions", terminal.wait("status▏")));
    terminal.press("\x03");
    assert_eq!(terminal.end(), 130);

    let mut terminal = Terminal::start(project.command(&["--host", "ana", "--services", "store"]));
    terminal.wait("paso 1/5");
    terminal.press(ENTER);
    terminal.wait("paso 2/5");
    terminal.press("https://tienda.example\r");
    screens.push(("question", terminal.wait("sin https://")));
    terminal.press(CLEAR);
    terminal.press("tienda.ana.example\r");
    terminal.wait("paso 3/5");
    terminal.press("admin@ana.example\r");
    terminal.wait("paso 4/5");
    terminal.press("\t");
    terminal.wait("[INFO]");
    terminal.press(ENTER);
    terminal.wait("paso 5/5");
    terminal.press("pk-1234\r");
    screens.push(("answers", terminal.wait("resumen")));
    terminal.press(ESC);
    assert_eq!(terminal.end(), 0);
    screens
}

#[test]
fn the_document_shows_the_screens_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/menu.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut new = text.clone();
    for (name, screen) in taken() {
        let begin = format!("<!-- screen: {name} -->\n```text\n");
        let (before, rest) = new.split_once(&begin).unwrap_or_else(|| panic!("docs/menu.md has no screen `{name}`"));
        let (_, after) = rest.split_once("\n```\n").expect("the screen ends");
        new = format!("{before}{begin}{}\n```\n{after}", squeezed(&screen));
    }
    if std::env::var_os("PROVISION_WRITE_DOCS").is_some() {
        std::fs::write(&path, new).unwrap();
    } else {
        assert_eq!(
            without_numbers(&new),
            without_numbers(&text),
            "PROVISION_WRITE_DOCS=1 cargo test --test menu writes them anew"
        );
    }
}

/// Without the empty half of a screen.
fn squeezed(screen: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in screen.lines() {
        if !line.is_empty() || lines.last().is_none_or(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// How many packages there are, and which number each has, is not what the document is about.
fn without_numbers(text: &str) -> String {
    let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let text: String = text.chars().map(digits).collect();
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
        .collect::<String>()
        .replace("##", "#")
}
