//! What is missing is asked for, checked, shown once more, and written where it belongs; nothing before the yes.

use crate::project::Project;
use crate::stage;
use crate::terminal::{CLEAR, ENTER, ESC, Terminal};

const API_KEY: &str = "pk-Zq81-planted";
const HOST_VARS: &str = "# Ana\nservices: [shop]   # what she gets\n\nsettings:\n  shop:\n    SHOP_PORT: 8081 # behind her proxy\n\ntimezone: UTC\n";

fn install(project: &Project) -> Terminal {
    Terminal::start(project.command(&["--host", "ana", "--services", "store"]))
}

/// From the first question to the overview.
fn answer_all(terminal: &mut Terminal) {
    let network = terminal.wait("paso 1/5");
    assert!(network.contains("Ingrese el nombre de la red Docker") && network.contains("orion_net"), "{network}");
    terminal.press(ENTER);
    let domain = terminal.wait("paso 2/5");
    assert!(domain.contains("Ingrese el dominio de la tienda") && domain.contains("ana · store"), "{domain}");
    terminal.press("https://tienda.example\r");
    terminal.wait("sin https://");
    terminal.press(CLEAR);
    terminal.press("tienda.ana.example\r");
    terminal.wait("paso 3/5");
    terminal.press("nadie\r");
    terminal.wait("no es una dirección de correo");
    terminal.press("@ana.example\r");
    terminal.wait("paso 4/5");
    terminal.press("\t");
    terminal.wait("[INFO]");
    terminal.press(ENTER);
    terminal.wait("paso 5/5");
    terminal.press(&format!("{API_KEY}\r"));
    terminal.wait("resumen");
}

#[test]
fn answers_are_checked_shown_again_edited_and_written() {
    let project = stage::project();
    project.file("inventory/host_vars/ana.yml", HOST_VARS);
    let mut terminal = install(&project);
    answer_all(&mut terminal);
    let overview = terminal.screen();
    assert!(overview.contains("tienda.ana.example") && !overview.contains(API_KEY), "{overview}");
    assert!(!overview.contains("STORE_ZONE"));
    // back to the third answer, then the settings that have a value anyway
    for key in ["\x1b[B", "\x1b[B", ENTER] {
        terminal.press(key);
    }
    terminal.wait("nadie@ana.example");
    terminal.press(CLEAR);
    terminal.press("tienda@ana.example\ro");
    let more = terminal.wait("STORE_ZONE");
    assert!(more.contains("UTC") && more.contains("tienda@ana.example"), "{more}");
    assert_eq!(project.read("inventory/host_vars/ana.yml"), HOST_VARS, "not before the yes");
    terminal.press("s");
    terminal.wait("¿Continuar?");
    terminal.press("s\r");
    assert_eq!(terminal.end(), 0);

    let text = project.read("inventory/host_vars/ana.yml");
    let block =
        "  store:\n    STORE_DOMAIN: tienda.ana.example\n    STORE_EMAIL: tienda@ana.example\n    STORE_LEVEL: INFO\n";
    let expected = HOST_VARS.replace("her proxy\n", &format!("her proxy\n{block}")) + "docker_network: orion_net\n";
    assert_eq!(text, expected);
    let stored = project.says(&["secrets", "get", "store/STORE_API_KEY", "--host", "ana"]);
    assert_eq!(stored.trim(), API_KEY);
    for (path, content) in project.snapshot() {
        assert!(!String::from_utf8_lossy(&content).contains(API_KEY), "{}", path.display());
    }
    assert!(project.path("notes/ana/store.json").exists());

    // a second run has nothing to ask
    let mut terminal = install(&project);
    terminal.wait("¿Continuar?");
    terminal.press("n\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn leaving_the_form_writes_nothing() {
    let project = stage::project();
    let before = project.snapshot();
    let mut terminal = install(&project);
    terminal.wait("paso 1/5");
    terminal.press(ESC);
    terminal.wait("nothing was touched");
    assert_eq!(terminal.end(), 0);
    let mut terminal = install(&project);
    answer_all(&mut terminal);
    terminal.press("n");
    terminal.wait("nothing was touched");
    assert_eq!(terminal.end(), 0);
    assert!(project.snapshot() == before);
}

#[test]
fn without_a_terminal_everything_missing_is_said_at_once() {
    let project = stage::project();
    for extra in [&["--yes"][..], &["--check"], &[]] {
        let ended = project.run(&[&["--host", "ana,beto", "--services", "store"], extra].concat());
        assert_eq!(ended.code, 2);
        for host in ["ana", "beto"] {
            for key in ["STORE_DOMAIN", "STORE_EMAIL", "STORE_LEVEL", "STORE_API_KEY"] {
                let text = format!("host `{host}`: service `store` needs `{key}`");
                assert!(ended.stderr.contains(&text), "{text}\n{}", ended.stderr);
            }
        }
    }
}

#[test]
fn a_variable_that_settings_are_made_from_is_asked_once() {
    let project = stage::project();
    project.file("inventory/group_vars/all.yml", "services: [shop]\n");
    let mut terminal = Terminal::start(project.command(&["--host", "beto"]));
    let screen = terminal.wait("Variable `domain` del cliente");
    assert!(screen.contains("beto · cliente"), "{screen}");
    terminal.press("beto.example\r");
    terminal.wait("resumen");
    terminal.press("s");
    terminal.wait("¿Continuar?");
    terminal.press("s\r");
    assert_eq!(terminal.end(), 0);
    assert_eq!(project.read("inventory/host_vars/beto.yml"), "domain: beto.example\n");
}

#[test]
fn dependencies_that_nobody_chose_are_offered() {
    let project = stage::project();
    project.file("inventory/group_vars/all.yml", "domain: x.example\n");
    let settings =
        "docker_network: web\nsettings: {store: {STORE_DOMAIN: a.b, STORE_EMAIL: a@b.co, STORE_LEVEL: INFO}}\n";
    project.file("inventory/host_vars/ana.yml", settings);
    let ended = project.run_with(project.command(&["secrets", "set", "store/STORE_API_KEY", "--host", "ana"]), API_KEY);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (answer, overview) in [("\r", Some("shop 1.2, store 2.1")), ("solo\r", Some("ana  store 2.1")), ("n\r", None)] {
        let mut terminal = install(&project);
        terminal.wait("Hace falta también: shop");
        terminal.press(answer);
        match overview {
            Some(overview) => {
                terminal.wait("¿Continuar?");
                assert!(terminal.screen().contains(overview), "{}", terminal.screen());
                terminal.press("n\r");
            }
            None => drop(terminal.wait("nothing was touched")),
        }
        assert_eq!(terminal.end(), 0);
    }
    for (flag, with) in [("--with-deps", true), ("--no-deps", false)] {
        let mut terminal = Terminal::start(project.command(&["--host", "ana", "--services", "store", flag]));
        let screen = terminal.wait("¿Continuar?");
        assert_eq!(screen.contains("shop 1.2"), with, "{screen}");
        terminal.press("n\r");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn configure_shows_all_settings_and_writes_what_was_changed() {
    let project = stage::project();
    let ended = project.run(&["configure", "--host", "ana"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("on a terminal"), "{}", ended.stderr);
    let mut terminal = Terminal::start(project.command(&["configure", "--host", "ana"]));
    let screen = terminal.wait("resumen");
    assert!(screen.contains("shop.ana.example") && screen.contains("8080"), "{screen}");
    for key in ["\x1b[B", ENTER] {
        terminal.press(key);
    }
    terminal.wait("Correo");
    terminal.press("duena@ana.example\r");
    terminal.wait("resumen");
    terminal.press("s");
    terminal.wait("inventory/host_vars/ana.yml: SHOP_OWNER");
    assert_eq!(terminal.end(), 0);
    assert_eq!(project.read("inventory/host_vars/ana.yml"), "settings:\n  shop:\n    SHOP_OWNER: duena@ana.example\n");
    let mut terminal = Terminal::start(project.command(&["configure", "--host", "ana"]));
    terminal.wait("duena@ana.example");
    terminal.press("s");
    terminal.wait("nothing to change");
    assert_eq!(terminal.end(), 0);
}
