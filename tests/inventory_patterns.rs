//! Which hosts a pattern selects, and what is said when it selects none.

use provision::inventory::Inventory;

const HOSTS: &str = "\
all:
  hosts: {lone.example: , '2001:db8::1': }
  children:
    web: {hosts: {web1: , web2: , web3: , web4: }}
    prod: {hosts: {web2: , web3: , db1: }}
    old: {hosts: {web3: }}
    empty:
    both: {children: {web: , prod: }}
";

fn inventory() -> Inventory {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts.yml");
    std::fs::write(&file, HOSTS).unwrap();
    Inventory::load(&[file]).unwrap()
}

#[test]
fn patterns_select_as_in_ansible() {
    let table = [
        ("web", "web1 web2 web3 web4"),
        ("web1", "web1"),
        ("web:&prod:!old", "web2"),
        ("!old:&prod:web", "web2"),
        ("web,!old", "web1 web2 web4"),
        ("prod,web", "web2 web3 db1 web1 web4"),
        ("prod:web", "web2 web3 db1 web1 web4"),
        ("db1,web1", "db1 web1"),
        ("web[0]", "web1"),
        ("web[-1]", "web4"),
        ("web[1:2]", "web2 web3"),
        ("web[1-2]", "web2 web3"),
        ("web[2:]", "web3 web4"),
        ("web[2:9]", "web3 web4"),
        ("web[0:1]:!web1", "web2"),
        ("web*", "web1 web2 web3 web4"),
        ("web?", "web1 web2 web3 web4"),
        ("web[12]*", "web1 web2"),
        ("web[!1]*", "web2 web3 web4"),
        ("*.example", "lone.example"),
        ("~^web[13]$", "web1 web3"),
        ("~eb", ""),
        ("x*", ""),
        ("empty", ""),
        ("both:!prod", "web1 web4"),
        ("lone.example", "lone.example"),
        ("2001:db8::1", "2001:db8::1"),
        ("!web:!prod", "lone.example 2001:db8::1"),
        ("&old", "web3"),
        ("ungrouped", "lone.example 2001:db8::1"),
        ("localhost", "localhost"),
        ("127.0.0.1", "localhost"),
        ("@failed", "web4 db1"),
        ("web:&@failed", "web4"),
        ("web:!@failed", "web1 web2 web3"),
        (" web1 , web2 ", "web1 web2"),
    ];
    let inventory = inventory();
    let failed = ["web4", "gone", "db1"].map(str::to_owned);
    for (pattern, expected) in table {
        let found = inventory.select(pattern, &failed).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(found.join(" "), expected, "{pattern}");
    }
    assert_eq!(inventory.select("all", &[]).unwrap().len(), 7);
    assert_eq!(inventory.select("*", &[]).unwrap().len(), 7);
    assert!(inventory.select("@failed", &[]).unwrap().is_empty());
}

#[test]
fn slips_are_answered() {
    let table = [
        ("wbe1", "unknown host or group `wbe1`\n       hint: did you mean `web1`?"),
        ("prdo", "did you mean `prod`?"),
        ("web:!odl", "unknown host or group `odl`"),
        ("web:&nothing", "unknown host or group `nothing`"),
        ("nothing", "groups: all, web, prod, old, empty, both; hosts: lone.example, 2001:db8::1, web1"),
        ("", "the host pattern is empty"),
        (" , ", "the host pattern is empty"),
        ("web[9]", "`web` has 4 hosts"),
        ("empty[0]", "`empty` has 0 hosts"),
        ("web[1", "does not close it"),
        ("~(", "not a valid regular expression"),
        ("@no-such-file", "the list of hosts `no-such-file` cannot be read"),
    ];
    let inventory = inventory();
    for (pattern, message) in table {
        let error = inventory.select(pattern, &[]).err().unwrap_or_else(|| panic!("{pattern}")).to_string();
        assert!(error.contains(message), "{pattern}: {error}");
    }
    let two = inventory.select("wbe1,prdo", &[]).unwrap_err();
    assert_eq!(two.also.len(), 1);
}

#[test]
fn a_file_lists_patterns() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list");
    std::fs::write(&file, "# comment\nweb1\n\nprod:!old\n").unwrap();
    let inventory = inventory();
    let pattern = format!("@{}", file.display());
    assert_eq!(inventory.select(&pattern, &[]).unwrap().join(" "), "web1 web2 db1");
    std::fs::write(&file, "web1\nwbe2\n").unwrap();
    let error = inventory.select(&pattern, &[]).unwrap_err().to_string();
    assert!(error.contains("list:2: unknown host or group `wbe2`"), "{error}");
}
