//! From the first screen to a rollout and back.

use std::time::{Duration, Instant};

use crate::project::Project;
use crate::stage;
use crate::terminal::{CLEAR, ENTER, ESC, INTERRUPT, PAGE_DOWN, Terminal};

#[test]
fn the_menu_needs_a_terminal_and_help_does_not() {
    let project = stage::project();
    assert!(project.says(&[]).contains("Usage: provision"));
    let ended = project.run(&["menu"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("the menu needs a terminal"), "{}", ended.stderr);
}

#[test]
fn every_way_out_leaves_the_terminal_as_it_was() {
    let project = stage::project();
    for (keys, code) in [("q\r", 0), ("sair\r", 0), ("exit\r", 0), (ESC, 0), (INTERRUPT, 130)] {
        let mut terminal = Terminal::start(stage::menu(&project));
        terminal.wait("¿En qué clientes?");
        terminal.press(keys);
        assert_eq!(terminal.end(), code, "{keys:?}");
    }
    assert!(!project.path("runs").exists(), "nothing was run");
}

#[test]
fn a_service_is_chosen_installed_and_then_waits_for_an_update() {
    let project = stage::project();
    let mut terminal = Terminal::start(stage::menu(&project));
    let clients = terminal.wait("¿En qué clientes?");
    assert!(clients.contains("ana") && clients.contains("beto") && clients.contains("2 clientes"), "{clients}");
    terminal.press("ana");
    terminal.press(ENTER);
    let services = terminal.wait("ana · ¿Qué servicios?");
    assert!(services.contains("Atención al cliente"), "by category:\n{services}");
    terminal.press("tienda");
    let found = terminal.wait_gone("Atención al cliente");
    assert!(found.contains("store") && found.contains("[2/4]") && found.contains("2.1 · disponible"), "{found}");
    assert!(found.contains("shop"), "an alias is found as well:\n{found}");
    // the alias of one of them by its whole name
    terminal.press(CLEAR);
    terminal.press("shop");
    terminal.press(ENTER);
    let actions = terminal.wait("¿Qué hacer?");
    assert!(actions.contains("provision --host ana --services shop"), "{actions}");
    terminal.press(ENTER);
    terminal.wait("¿Continuar?");
    terminal.press("s\r");
    terminal.wait("terminado con código 0");
    terminal.press(ENTER);
    terminal.wait("¿Qué servicios?");
    terminal.press("I");
    let installed = terminal.wait("[I instalados 1]");
    assert!(installed.contains("1.2 · instalado"), "{installed}");

    // a newer version comes into the registry
    let manifest = project.read("registry/shop/manifest.json").replace("\"1.2\"", "\"1.3\"");
    project.file("registry/shop/manifest.json", &manifest);
    terminal.press(ESC);
    terminal.wait("[T todos");
    terminal.press(ESC);
    terminal.wait("¿En qué clientes?");
    terminal.press("1\r");
    terminal.wait("¿Qué servicios?");
    terminal.press("U");
    let pending = terminal.wait("[U por actualizar 1]");
    assert!(pending.contains("1.2 → 1.3 · por actualizar"), "{pending}");
    terminal.press("q\r");
    assert_eq!(terminal.end(), 0);

    let journal = std::fs::read_dir(project.path("runs")).unwrap().flatten().next().unwrap();
    let text = std::fs::read_to_string(journal.path().join("events.jsonl")).unwrap();
    assert!(text.contains(r#""command":["provision","--host","ana","--services","shop"]"#), "{text}");
}

#[test]
fn saying_no_touches_nothing() {
    let project = stage::project();
    let before = project.snapshot();
    let mut terminal = Terminal::start(stage::menu(&project));
    terminal.wait("¿En qué clientes?");
    terminal.press("1,2\r");
    terminal.wait("all · ¿Qué servicios?");
    terminal.press("shop\r");
    terminal.wait("provision --all --services shop");
    terminal.press(ENTER);
    terminal.wait("¿Continuar?");
    terminal.press("n\r");
    terminal.wait("nothing was touched");
    terminal.press("q\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(names(&project.snapshot()), names(&before));
}

fn names(files: &[(std::path::PathBuf, Vec<u8>)]) -> Vec<String> {
    files.iter().map(|(path, _)| path.display().to_string()).collect()
}

#[test]
fn broken_packages_are_shown_and_cannot_be_chosen() {
    let project = stage::project();
    let mut terminal = Terminal::start(stage::menu(&project));
    terminal.wait("¿En qué clientes?");
    terminal.press("1\r");
    terminal.wait("¿Qué servicios?");
    terminal.press("spoilt");
    let screen = terminal.wait("Rotos");
    assert!(
        screen.contains("registry/spoilt/manifest.json:1") && screen.contains("did you mean `version`?"),
        "{screen}"
    );
    terminal.press(ENTER);
    terminal.wait("no se puede elegir: spoilt está roto");
    terminal.press(INTERRUPT);
    assert_eq!(terminal.end(), 130);
}

#[test]
fn long_lists_have_pages() {
    let project = stage::project();
    for number in 0..40 {
        let id = format!("extra{number}");
        project.file(
            &format!("registry/{id}/manifest.json"),
            &format!("{{\"id\": \"{id}\", \"name\": \"{id}\", \"category\": \"Extras\"}}"),
        );
    }
    let mut terminal = Terminal::start(stage::menu(&project));
    terminal.wait("¿En qué clientes?");
    terminal.press("1\r");
    terminal.wait("página 1/");
    for page in 2..=3 {
        terminal.press(PAGE_DOWN);
        terminal.wait(&format!("página {page}/"));
    }
    let screen = terminal.screen();
    assert!(screen.contains("Extras (sigue)"), "a heading goes on:\n{screen}");
    terminal.press("extra39\r");
    terminal.wait("extra39 · ¿Qué hacer?");
    terminal.press(INTERRUPT);
    assert_eq!(terminal.end(), 130);
}

#[test]
fn a_client_that_does_not_answer_is_not_waited_for() {
    // its address is a door behind which nobody ever speaks
    let project = Project::with_key();
    let mut terminal = Terminal::start(stage::menu(&project));
    terminal.wait("¿En qué clientes?");
    terminal.press("1\r");
    terminal.wait("Consultando ana");
    let deadline = Instant::now() + Duration::from_secs(90);
    while !project.was_called() {
        assert!(Instant::now() < deadline, "nobody was asked");
        std::thread::sleep(Duration::from_millis(15));
    }
    terminal.press(ESC);
    let screen = terminal.wait("¿Qué servicios?");
    assert!(screen.contains("sin datos"), "{screen}");
    terminal.press("q\r");
    assert_eq!(terminal.end(), 0);
}
