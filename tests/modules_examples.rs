//! The examples in the modules' own documentation: each is YAML, names a module of that file, and its arguments are
//! taken. A module without an example fails too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use provision::modules::{self, Build, Local, LocalKind};
use provision::plan::{Failure, Object};
use serde_json::{Value, json};

/// Every file is there and holds a line.
struct Anything;

impl Local for Anything {
    fn find(&self, _: LocalKind, name: &str) -> Result<PathBuf, Failure> {
        Ok(PathBuf::from("/nonexistent").join(name))
    }
    fn read(&self, _: &Path) -> Result<Vec<u8>, Failure> {
        Ok(b"a line\n".to_vec())
    }
    fn walk(&self, _: &Path) -> Result<Vec<(PathBuf, u32)>, Failure> {
        Ok(Vec::new())
    }
    fn render(&self, text: &str, _: &Path) -> Result<String, Failure> {
        Ok(text.to_owned())
    }
}

/// The tasks of all ```yaml blocks in the `//!` lines of a source file.
fn examples(source: &str) -> Vec<(String, Value)> {
    let lines =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut tasks = Vec::new();
    let mut block: Option<String> = None;
    for line in lines {
        match (&mut block, line) {
            (None, "```yaml") => block = Some(String::new()),
            (Some(text), "```") => {
                for document in
                    provision::yaml::parse(text, Path::new("example")).unwrap_or_else(|error| panic!("{error}\n{text}"))
                {
                    tasks.extend(document.to_value().as_array().cloned().unwrap_or_default());
                }
                block = None;
            }
            (Some(text), line) => text.push_str(&format!("{line}\n")),
            (None, _) => {}
        }
    }
    let named = tasks.into_iter().filter_map(|task| {
        let task = task.as_object()?.clone();
        let module = task.keys().find(|key| modules::find(key).is_some())?.clone();
        Some((module.clone(), task[&module].clone()))
    });
    named.collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn every_module_has_an_example_that_it_takes() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/modules"), &mut files);
    let facts = json!({"pkg_mgr": "apt", "user_dir": "/root", "service_mgr": "systemd"});
    let facts: Object = facts.as_object().cloned().unwrap();
    let mut shown = BTreeSet::new();
    for file in files {
        for (name, args) in examples(&std::fs::read_to_string(&file).unwrap()) {
            let spec = modules::find(&name).unwrap();
            let args = match (args, spec.free_form) {
                (Value::Object(args), _) => args,
                (Value::Null, _) => Object::new(),
                (text, Some(free_form)) => Object::from_iter([(free_form.to_owned(), text)]),
                (other, None) => panic!("{}: {name} takes a mapping, not {other}", file.display()),
            };
            let build = |args| (spec.build)(args, &Build { local: &Anything, facts: &facts, check: false });
            // what is a template here may be of another type by the time the module sees it
            let mut plain = args.clone();
            plain.retain(|_, value| !value.as_str().is_some_and(|text| text.starts_with("{{")));
            if let Err(failure) = build(args).or_else(|_| build(plain)) {
                panic!("{}: the example of {name} is refused: {} {:?}", file.display(), failure.msg, failure.hint);
            }
            shown.insert(spec.name);
        }
    }
    let without: Vec<&str> = modules::all().map(|spec| spec.name).filter(|name| !shown.contains(name)).collect();
    assert!(without.is_empty(), "modules without an example: {}", without.join(", "));
}

#[test]
fn no_name_or_argument_is_given_twice() {
    let mut names = BTreeSet::new();
    for spec in modules::all() {
        for name in spec.aliases.iter().chain([&spec.name]) {
            assert!(names.insert(*name), "{name} names two modules");
        }
        let arguments: BTreeSet<&&str> = spec.args.iter().collect();
        assert_eq!(arguments.len(), spec.args.len(), "{}: an argument is listed twice", spec.name);
    }
}
