//! What `registry new` writes, rolled out as it is.

use super::{SCENE, stage};
use stage::{counts, last_events, text};

/// Something that speaks HTTP on the port, in the lab's registry.
const DOCKERFILE: &str =
    "FROM traefik:v3.7.9\\nENTRYPOINT []\\nWORKDIR /srv\\nCMD [\"python3\", \"-m\", \"http.server\", \"3000\"]\\n";

#[test]
fn a_package_as_it_was_begun_comes_up() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "a_package_as_it_was_begun_comes_up") else { return };
    let runs = stage.runs("fresh");
    let image = "pv-fresh:1.4";
    stage::shell("printf \"$2\" | docker build -q -t \"$1\" - >/dev/null", &[image, DOCKERFILE]);
    stage.block_on(provision::lab::push(&stage.options, &[image.to_owned()], &mut |_| {})).unwrap();
    let shelf = text(&stage.scratch.join("fresh"));
    // asked over HTTP, and by a command of its own
    for (id, more) in [("fresh", &[][..]), ("fresh-two", &["--name", "Dos", "--health", "test -d /data"])] {
        let new = ["registry", "new", id, "--image", image, "--port", "3000", "--into", &shelf];
        let ran = stage.must(&runs, &[&new[..], more].concat(), 0);
        assert!(ran.stdout.contains(&format!("{id} ok")), "{}", ran.stdout);
    }
    let inventory = stage.scratch.join("fresh-inventory");
    std::fs::create_dir_all(&inventory).unwrap();
    std::fs::write(inventory.join("hosts.yml"), "all: {hosts: {u1: {services: [fresh, fresh-two]}}}\n").unwrap();
    let inventory = text(&inventory);
    let slice = ["--host", "u1", "-i", &inventory, "--registry", &shelf];
    stage.must(&runs, &[&slice[..], &["--yes"]].concat(), 0);
    for id in ["fresh", "fresh-two"] {
        // by the proxy, which the package wants
        let at = format!("--resolve {id}.u1.example:443:127.0.0.1 https://{id}.u1.example/");
        let ask = format!("curl -sk -o /dev/null -w '%{{http_code}}' {at}");
        assert_eq!(stage.inside("u1", &ask), "200", "{id}");
    }
    let status = stage.must(&runs, &[&["status"][..], &slice].concat(), 0).stdout;
    let well = status.lines().filter(|line| line.contains(" fresh") && line.contains("healthy 1/1  no"));
    assert_eq!(well.count(), 2, "{status}");
    stage.must(&runs, &[&["up", "--yes"][..], &slice].concat(), 0);
    assert_eq!(counts(&last_events(&runs), "u1", "changed"), 0);
    let down = ["down", "--services", "fresh,fresh-two,infrastructure", "--purge", "--no-backup", "--yes-really"];
    stage.must(&runs, &[&down[..], &slice].concat(), 0);
    stage::shell("docker rmi pv-fresh:1.4 >/dev/null", &[]);
}
