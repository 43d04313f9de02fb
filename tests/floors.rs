//! The architecture as a test: a module imports only from lower floors, printing and the runtime stay where they
//! belong, and no service of the catalogue has a name in the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FLOORS: &[(u8, &[&str])] = &[
    (0, &["plan", "event", "yaml", "error", "shipped", "context"]),
    (1, &["vars", "secrets"]),
    (2, &["modules", "inventory"]),
    (3, &["playbook"]),
    (4, &["lane", "services"]),
    (5, &["engine"]),
    (6, &["report", "lab"]),
    (7, &["cli", "main"]),
];

struct Source {
    path: PathBuf,
    module: String,
    /// Without comments and without the tests at the end.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .filter(|path| path != &root.join("lib.rs"))
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let module = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            Source { path, module, code }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

fn floor(module: &str) -> u8 {
    let found = FLOORS.iter().find(|(_, modules)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to tests/floors.rs and lib.rs")).0
}

#[test]
fn modules_import_only_from_lower_floors() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        let mine = floor(&source.module);
        for piece in source.code.split("crate::").skip(1) {
            let other: String = piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if other == source.module || other.is_empty() {
                continue;
            }
            let same_floor_zero = mine == 0 && floor(&other) == 0;
            let sideways = source.module == "report" && other == "engine";
            if (floor(&other) >= mine && !same_floor_zero) || sideways {
                wrong.insert(format!("{} uses {other}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_runtime_and_printing_stay_where_they_belong() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        let module = source.module.as_str();
        if ["tokio::", "tokio_util::", "openssh::"].iter().any(|word| source.code.contains(word))
            && !["engine", "lane", "lab", "cli", "main"].contains(&module)
        {
            wrong.insert(format!("{} uses the runtime", source.path.display()));
        }
        if ["println!", "print!("].iter().any(|word| source.code.contains(word)) && !["report", "cli"].contains(&module)
        {
            wrong.insert(format!("{} prints", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_service_has_a_name_in_the_program() {
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("registry");
    // engines of databases are kinds that modules speak to, not only packages
    let kinds = ["postgres", "mariadb", "mysql", "redis", "pgvector"];
    let ids: Vec<String> = std::fs::read_dir(&registry)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|id| registry.join(id).join("manifest.json").exists() && !kinds.contains(&id.as_str()))
        .collect();
    assert!(ids.len() >= 5, "the catalogue is not where this test looks: {ids:?}");
    let mut wrong = BTreeSet::new();
    for source in sources() {
        for id in &ids {
            if source.code.contains(&format!("\"{id}\"")) || source.code.contains(&format!("versatile-{id}")) {
                wrong.insert(format!("{} names {id}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
