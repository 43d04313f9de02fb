//! Services written into a client's file.

use crate::project::Project;

const OWN: &str = "# Ana's shop\nservices: [shop]   # since 2024\n\ntimezone: UTC\n";

#[test]
fn a_client_gets_a_service_and_loses_it_again() {
    let project = Project::with_key();
    project.file("inventory/host_vars/ana.yml", OWN);
    let read = || project.read("inventory/host_vars/ana.yml");
    let declare =
        |more: &[&str]| project.run(&[&["declare", "--host", "ana", "--services", "shop@dos"], more].concat());

    let ended = declare(&["--check"]);
    assert!(ended.code == 0 && ended.stderr.contains("would write"), "{}", ended.stderr);
    assert_eq!(read(), OWN);
    assert_eq!(declare(&[]).code, 0);
    let with = OWN.replace("[shop]", "[shop, shop@dos]");
    assert_eq!(read(), with);
    let list = project.says(&["inventory", "list", "ana"]);
    assert!(list.contains("shop, shop@dos"), "{list}");
    // again: nothing
    assert!(declare(&[]).stderr.contains("nothing to change"));
    assert_eq!(read(), with);
    assert_eq!(declare(&["--remove"]).code, 0);
    assert_eq!(read(), OWN);
    assert!(declare(&["--remove"]).stderr.contains("nothing to change"));
}

#[test]
fn what_it_cannot_write_is_said_and_nothing_is_touched() {
    let project = Project::with_key();
    project.file("inventory/host_vars/ana.yml", OWN);
    let ended = project.run(&["declare", "--host", "ana", "--services", "shop@dos,shopp"]);
    assert!(ended.code == 2 && ended.stderr.contains("did you mean `shop`"), "{}", ended.stderr);
    // what a group says is about others too
    project.file("inventory/group_vars/all.yml", "\nservices: [shop]\n");
    project.file("inventory/host_vars/ana.yml", "timezone: UTC\n");
    let ended = project.run(&["declare", "--host", "ana", "--services", "shop@dos"]);
    assert!(ended.code == 2 && ended.stderr.contains("group_vars/all.yml:2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("host_vars/ana.yml"), "{}", ended.stderr);
}
