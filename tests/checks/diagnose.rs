//! `provision diagnose`: the table, the report with its keys, the bundle without secrets; over ssh and on this machine.

use serde_json::Value;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_report_tells_what_works_and_what_does_not() {
    let Some((_turn, stage)) = super::enter("the_report_tells_what_works_and_what_does_not") else { return };
    let ran = super::look(stage, &["diagnose", "--json", "-"], 0);
    let table = ran.stdout.contains("versatile-lookout-web-1") && ran.stdout.contains("3 of 3 services are well");
    assert!(table, "{}", ran.stdout);
    let report = json_in(&ran.stdout);
    assert_eq!(keys(&report), ["timestamp", "modo", "docker_compose_file", "servicios", "resumen"]);
    assert_eq!(report["modo"], "produccion");
    assert_eq!(report["docker_compose_file"], "/opt/ATS/VersatileHub/services/lookout/docker-compose.yml");
    assert_eq!(keys(&report["servicios"]), ["web", "db", "cache"]);
    let db = &report["servicios"]["db"];
    assert_eq!(keys(db), ["contenedor", "estado", "puerto", "conectividad", "detalles"]);
    assert_eq!((&db["estado"], &db["puerto"], &db["conectividad"]), (&"healthy".into(), &5432.into(), &true.into()));
    let summary = ["servicios_saludables", "servicios_ejecutando", "total_servicios", "entorno_operativo"];
    assert_eq!(keys(&report["resumen"]), summary);
    assert_eq!(report["resumen"]["entorno_operativo"], true);

    stage.inside("a", "docker stop -t 1 versatile-lookout-cache-1");
    let file = stage.scratch.join("report.json");
    let broken = super::look(stage, &["diagnosticar", "--json", file.to_str().unwrap()], 1);
    super::revive(stage, "cache");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(report["servicios"]["cache"]["conectividad"], false, "{}", broken.stdout);
    assert_eq!(report["resumen"]["servicios_ejecutando"], 2);
    assert_eq!(report["resumen"]["entorno_operativo"], false);
    assert!(broken.stdout.contains("[FAIL] a/lookout redis_ping: no running container"), "{}", broken.stdout);
}

#[test]
fn the_bundle_has_logs_and_no_secret() {
    let Some((_turn, stage)) = super::enter("the_bundle_has_logs_and_no_secret") else { return };
    tell_the_key(stage);
    let folder = stage.scratch.join("bundle");
    let _ = std::fs::remove_dir_all(&folder);
    super::look(stage, &["diagnose", "--bundle", folder.to_str().unwrap()], 0);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(read("a/lookout/logs.txt").contains("the key is ********"));
    assert!(read("a/host.txt").contains("Filesystem"));
    let names = read("a/lookout/settings.txt");
    assert!(names.contains("API_KEY") && !names.contains('='), "{names}");
    assert!(read("a/lookout/docker-compose.yml").contains("${API_KEY}"));
    let all: String = ["report.json", "a/host.txt", "a/lookout/logs.txt"].iter().map(|name| read(name)).collect();
    for value in secrets(stage) {
        assert!(!all.contains(&value), "a secret is in the bundle");
    }
    // once more under the same name is refused
    super::look(stage, &["diagnose", "--bundle", folder.to_str().unwrap()], 2);
}

#[test]
fn this_machine_is_diagnosed_without_ssh() {
    let Some((_turn, stage)) = super::enter("this_machine_is_diagnosed_without_ssh") else { return };
    let runs = stage.runs("here");
    let args = ["diagnose", "-i", "tests/checks/here.yml", "--host", "here", "--json", "-"];
    let ran = stage.must(&runs, &[&args[..], super::REGISTRY].concat(), 1);
    let report = json_in(&ran.stdout);
    assert_eq!(report["modo"], "debug");
    assert_eq!(report["servicios"]["web"]["estado"], "missing", "{}", ran.stdout);
    assert_eq!(report["resumen"]["total_servicios"], 3);
}

/// The document behind the table.
fn json_in(stdout: &str) -> Value {
    let start = stdout.find("\n{").expect("there is a report");
    serde_json::from_str(&stdout[start..]).unwrap()
}

/// Makes the application write one of its secrets into its log.
pub fn tell_the_key(stage: &super::Stage) {
    stage.inside("a", "docker exec versatile-lookout-web-1 sh -c 'echo \"the key is $API_KEY\" >/proc/1/fd/1'");
}

/// The values of the host's `.env`.
pub fn secrets(stage: &super::Stage) -> Vec<String> {
    let text = stage.inside("a", "cat /opt/ATS/VersatileHub/services/lookout/.env");
    let values = text.lines().filter_map(|line| line.split_once('=')).map(|(_, value)| value.trim_matches(['"', '\'']));
    let values: Vec<String> = values.filter(|value| value.len() >= 16).map(str::to_owned).collect();
    assert_eq!(values.len(), 4);
    values
}
