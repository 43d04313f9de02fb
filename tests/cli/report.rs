//! `provision report` as a person sees it: real runs, their pages in a real browser, at a desk and on a phone, by day
//! and by night.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::browser::{Look, browser};
use crate::project::Project;

const SECRET: &str = "planted-4711-ñ";

const PLAY: &str = r#"- hosts: all
  gather_facts: false
  tasks:
    - name: Servicios
      include_services: {services: [shop], tasks: shop.yml}
"#;

const TASKS: &str = r#"- name: Configuración
  copy: {dest: "{{ playbook_dir }}/out/{{ inventory_hostname }}.conf", content: "ciudad=Logroño\nclave={{ ansible_password }}\n"}
- name: Nada que hacer
  command: "true"
  changed_when: false
- name: Un contenido para todos
  copy: {dest: "{{ playbook_dir }}/out/común", content: "uno\n"}
  when: false
- name: Migración
  shell: |
    echo "año <b>niño</b> {{ ansible_password }} https://elsewhere.example/x.png" >&2
    exit 3
  when: inventory_hostname is search('mal')
"#;

/// What a look at a page measures, at any width.
const LOOK: &str = r##"
  const all = [...page.querySelectorAll('body *')].filter(e => e.checkVisibility());
  const top = id => page.getElementById(id)?.getBoundingClientRect().top ?? null;
  const rgb = text => text.match(/[\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(window.getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const faint = [];
  for (const e of all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))) {
    const [a, b] = [light(rgb(window.getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faint.push(e.outerHTML.slice(0, 80) + ' ' + ratio.toFixed(2));
  }
  const first = name => { const e = page.querySelector(name); return e ? e.innerText.trim().split('\n')[0] : null; };
  const wide = all.filter(e => e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 80));
  const before = { text: page.body.innerText, paper: window.getComputedStyle(page.body).backgroundColor,
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth, wide, faint,
    tops: ['failures', 'warnings', 'matrix', 'diffs', 'hosts'].map(top).filter(t => t !== null),
    headings: [...page.querySelectorAll('h1, h2')].map(h => h.innerText),
    row: first('tbody tr th'), host: first('.host > summary b'), markup: page.querySelectorAll('dd b').length,
    unnamed: page.querySelectorAll('.timeline:not([aria-label]), .wide:not([tabindex="0"][aria-label]), html:not([lang])').length,
    bars: page.querySelectorAll('.timeline i').length, height: page.documentElement.scrollHeight,
    scripts: page.querySelectorAll('script, img, link, iframe, object').length,
    asked: window.performance.getEntriesByType('resource').map(r => r.name) };
  // by keyboard: the last client's link opens that host, wherever it is folded away
  const link = [...page.querySelectorAll('tbody a[href^="#host-"]')].pop();
  if (link) { window.location.hash = link.getAttribute('href');
    for (let i = 0; i < 40 && !page.querySelector(':target')?.checkVisibility(); i++) await new Promise(r => setTimeout(r, 50)); }
  return {...before, opened: page.querySelector(':target')?.checkVisibility() ?? null};
"##;

/// A run on hosts that are all this machine; the page of it.
fn report(hosts: &[&str], code: i32) -> (Project, PathBuf) {
    let project = Project::with_key();
    let mut list = "all:\n  hosts:\n".to_owned();
    hosts.iter().for_each(|host| writeln!(list, "    {host}:").unwrap());
    project.file("inventory/hosts.yml", &list);
    let lock = project.path("locks");
    // a folder that is not there would not be taken
    hosts.iter().for_each(|host| std::fs::create_dir_all(lock.join(host)).unwrap());
    std::fs::create_dir(project.path("out")).unwrap();
    project.file(
        "inventory/group_vars/all.yml",
        &format!(
            "ansible_connection: local\nansible_password: {SECRET}\nprovision_lock_dir: {}/{{{{ inventory_hostname }}}}\ndomain: x.example\nservices: [shop]\n",
            lock.display()
        ),
    );
    project.file("play.yml", PLAY);
    project.file("shop.yml", TASKS);
    let ended = project.run(&["run", "play.yml", "--diff"]);
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    let page = project.says(&["report"]);
    let page = project.path(page.trim());
    (project, page)
}

/// What holds for every page; the measures of the desk by day.
fn looked(browser: &Path, page: &Path) -> Value {
    let file = std::fs::read_to_string(page).unwrap();
    assert!(!file.contains(SECRET) && file.contains("********"), "the planted secret, or nothing in its place");
    let mut desk = Value::Null;
    for (width, dark) in [(1400, false), (390, true), (390, false), (1400, true)] {
        let look = Look { browser, page, width, dark };
        let seen = look.measure(LOOK);
        let at = format!("at {width} px, dark {dark}: {seen:#}");
        assert!(!seen["text"].as_str().unwrap().contains(SECRET), "{at}");
        assert_eq!((&seen["overflow"], &seen["wide"]), (&json!(0), &json!([])), "{at}");
        assert_eq!(seen["faint"], json!([]), "text that is hard to read, {at}");
        assert_eq!((&seen["asked"], &seen["scripts"]), (&json!([]), &json!(0)), "{at}");
        let tops: Vec<f64> = seen["tops"].as_array().unwrap().iter().map(|top| top.as_f64().unwrap()).collect();
        assert!(tops.len() >= 3 && tops.is_sorted(), "{at}");
        assert_eq!((&seen["unnamed"], &seen["opened"]), (&json!(0), &json!(true)), "{at}");
        assert!(seen["bars"].as_u64().unwrap() > 0, "{at}");
        let paper = if dark { "rgb(22, 24, 27)" } else { "rgb(255, 255, 255)" };
        assert_eq!(seen["paper"], paper, "{at}");
        if (width, dark) == (1400, false) {
            desk = seen;
        }
    }
    desk
}

#[test]
fn failures_come_first_and_every_text_is_a_text() {
    let Some(browser) = browser("failures_come_first_and_every_text_is_a_text") else { return };
    let (_project, page) =
        report(&["panadería-ñandú", "b", "un-nombre-muy-largo.clientes.provincia.example.com", "mal"], 1);
    let seen = looked(&browser, &page);
    let text = seen["text"].as_str().unwrap();
    assert_eq!(
        seen["headings"],
        json!(["1 of 4 hosts failed", "What failed", "Clients and services", "Diffs", "Timeline"])
    );
    assert_eq!((&seen["row"], &seen["host"]), (&json!("mal"), &json!("mal")), "failures first");
    assert!(text.contains("año <b>niño</b> ********") && seen["markup"] == 0, "{text}");
    assert!(text.contains("+ciudad=Logroño") && text.contains("+clave=********"), "{text}");
    assert!(text.contains("--host mal") || text.contains("--limit mal"), "the next command: {text}");
    assert!(text.contains("panadería-ñandú"), "{text}");
}

#[test]
fn hundreds_of_hosts_are_folded_and_still_one_click_away() {
    let Some(browser) = browser("hundreds_of_hosts_are_folded_and_still_one_click_away") else { return };
    let names: Vec<String> =
        (0..60).map(|n| if n % 25 == 24 { format!("cliente{n:02}-mal") } else { format!("cliente{n:02}") }).collect();
    let (_project, page) = report(&names.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    let seen = looked(&browser, &page);
    let text = seen["text"].as_str().unwrap();
    assert_eq!((&seen["row"], &seen["headings"][0]), (&json!("cliente24-mal"), &json!("2 of 60 hosts failed")));
    assert!(text.contains("58 clients without trouble") && text.contains("58 hosts without trouble"), "{text}");
    assert!(!text.contains("cliente07\n"), "{text}");
    let height = seen["height"].as_u64().unwrap();
    assert!(height < 6000, "{height} pixels for two failures: {text}");
}
