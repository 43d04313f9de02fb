//! Ansible's behaviour of the three editors as tables: arguments, text before, text after.

use serde_json::{Value, json};

use super::*;
use crate::modules::testing::{build, file_stat};
use crate::plan::Answer;

/// The text after the edit; `None` if nothing is to be done.
fn edit(module: &str, mut args: Value, before: Option<&str>) -> Result<Option<String>, Failure> {
    args["path"] = json!("/etc/x");
    let module = build(module, args)?;
    let stat = file_stat(FileKind::File);
    let answers = [
        Answer::Stat(before.map(|_| stat.clone())),
        Answer::Bytes(before.map(|text| text.as_bytes().to_vec())),
        Answer::Stat(Some(FileStat { kind: FileKind::Directory, ..stat })),
    ];
    let observed = Observed { answers: &answers, more: &[], elapsed: std::time::Duration::ZERO, changes: 0 };
    match module.plan(&observed)? {
        Plan::NoChange(_) => Ok(None),
        Plan::Change(change) => match change.operations.last() {
            Some(Operation::Write(write)) => Ok(Some(String::from_utf8(write.content.clone()).unwrap())),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn lineinfile() {
    let table = [
        (json!({"line": "b"}), "a\n", Some("a\nb\n")),
        (json!({"line": "a"}), "a\n", None),
        (json!({"line": "a"}), "a", None),
        (json!({"line": "b"}), "a", Some("a\nb\n")),
        (json!({"line": "b"}), "a\r\n", Some("a\r\nb\r\n")),
        (json!({"line": "x=2", "regexp": "^x="}), "x=1\ny\nx=1\n", Some("x=1\ny\nx=2\n")),
        (json!({"line": "x=2", "regexp": "^x=", "firstmatch": true}), "x=1\ny\nx=1\n", Some("x=2\ny\nx=1\n")),
        (json!({"line": "x=2", "regexp": "^x="}), "x=1\r\ny\r\n", Some("x=2\r\ny\r\n")),
        (json!({"line": "x=2", "regexp": "^x=1$"}), "x=1", Some("x=2")),
        (json!({"line": "x=2", "regexp": "^nothing"}), "x=2\n", None),
        (json!({"line": "x", "search_string": "a[b"}), "1\na[b]\n", Some("1\nx\n")),
        (json!({"line": r"\1=new", "regexp": r"^(\w+)=old$", "backrefs": true}), "k=old\n", Some("k=new\n")),
        (json!({"line": r"\1=new", "regexp": r"^(\w+)=old$", "backrefs": true}), "k=else\n", None),
        (json!({"line": "n", "insertafter": "^a"}), "a1\na2\nb\n", Some("a1\na2\nn\nb\n")),
        (json!({"line": "n", "insertafter": "^a", "firstmatch": true}), "a1\na2\nb\n", Some("a1\nn\na2\nb\n")),
        (json!({"line": "n", "insertbefore": "^b"}), "a\nb\n", Some("a\nn\nb\n")),
        (json!({"line": "n", "insertbefore": "BOF"}), "a\nb\n", Some("n\na\nb\n")),
        (json!({"line": "n", "insertafter": "EOF"}), "a\n", Some("a\nn\n")),
        (json!({"line": "n", "insertafter": "^zzz"}), "a\n", Some("a\nn\n")),
        (json!({"line": "n", "insertafter": "^b"}), "a\nb", Some("a\nb\nn\n")),
        (json!({"regexp": "^a", "state": "absent"}), "a1\nb\na2\n", Some("b\n")),
        (json!({"line": "b", "state": "absent"}), "a\nb", Some("a\n")),
        (json!({"line": "c", "state": "absent"}), "a\nb\n", None),
    ];
    for (args, before, after) in table {
        assert_eq!(edit("lineinfile", args.clone(), Some(before)).unwrap().as_deref(), after, "{args} on {before:?}");
        if let Some(after) = after {
            assert_eq!(edit("lineinfile", args.clone(), Some(after)).unwrap(), None, "second time: {args}");
        }
    }
    assert_eq!(edit("lineinfile", json!({"line": "a", "state": "absent"}), None).unwrap(), None);
    assert_eq!(edit("lineinfile", json!({"line": "a", "create": true}), None).unwrap().as_deref(), Some("a\n"));
    assert!(edit("lineinfile", json!({"line": "a"}), None).unwrap_err().msg.contains("does not exist"));
    for wrong in [json!({}), json!({"line": "a", "regexp": "("}), json!({"line": "a", "backrefs": true})] {
        assert!(edit("lineinfile", wrong.clone(), Some("")).is_err(), "{wrong}");
    }
}

#[test]
fn blockinfile() {
    let whole = "# BEGIN ANSIBLE MANAGED BLOCK\nx\ny\n# END ANSIBLE MANAGED BLOCK\n";
    let other = whole.replace("x\ny", "z");
    let table = [
        (json!({"block": "x\ny"}), String::new(), Some(whole.to_owned())),
        (json!({"block": "x\ny\n"}), format!("a\n{whole}b\n"), None),
        (json!({"block": "z"}), format!("a\n{whole}b\n"), Some(format!("a\n{other}b\n"))),
        (json!({"block": "z"}), "a".to_owned(), Some(format!("a\n{other}"))),
        (json!({"block": "z", "insertbefore": "BOF"}), "a\n".to_owned(), Some(format!("{other}a\n"))),
        (json!({"block": "z", "insertafter": "^a"}), "a\nb\n".to_owned(), Some(format!("a\n{other}b\n"))),
        (json!({"block": "z", "insertbefore": "^b"}), "a\nb\n".to_owned(), Some(format!("a\n{other}b\n"))),
        (
            json!({"block": "z", "prepend_newline": true, "insertafter": "^a", "append_newline": true}),
            "a\nb\n".to_owned(),
            Some(format!("a\n\n{other}\nb\n")),
        ),
        (json!({"state": "absent"}), format!("a\n{whole}b\n"), Some("a\nb\n".to_owned())),
        (json!({"block": ""}), format!("a\n{whole}"), Some("a\n".to_owned())),
        (json!({"state": "absent"}), "a\n".to_owned(), None),
        (
            json!({"block": "z", "marker": "; {mark} mine"}),
            "a\r\n".to_owned(),
            Some("a\r\n; BEGIN mine\r\nz\r\n; END mine\r\n".to_owned()),
        ),
    ];
    for (args, before, after) in table {
        assert_eq!(edit("blockinfile", args.clone(), Some(&before)).unwrap(), after, "{args} on {before:?}");
        if let Some(after) = after {
            assert_eq!(edit("blockinfile", args.clone(), Some(&after)).unwrap(), None, "second time: {args}");
        }
    }
    assert!(edit("blockinfile", json!({"block": "x", "marker": "same"}), Some("")).is_err());
    assert_eq!(edit("blockinfile", json!({"state": "absent"}), None).unwrap(), None);
}

#[test]
fn replace_in_files() {
    let table = [
        (json!({"regexp": "old", "replace": "new"}), "old old\n", Some("new new\n")),
        (json!({"regexp": "^a$", "replace": "b"}), "a\nx\na\n", Some("b\nx\nb\n")),
        (json!({"regexp": r"(\w+)@old", "replace": r"\1@new"}), "me@old\n", Some("me@new\n")),
        (json!({"regexp": "^#.*\n"}), "# c\na\n", Some("a\n")),
        (
            json!({"regexp": "x", "replace": "y", "after": "begin", "before": "end"}),
            "x begin x end x\n",
            Some("x begin y end x\n"),
        ),
        (json!({"regexp": "x", "replace": "y", "after": "nowhere"}), "x\n", None),
        (json!({"regexp": "zzz", "replace": "y"}), "x\n", None),
    ];
    for (args, before, after) in table {
        assert_eq!(edit("replace", args.clone(), Some(before)).unwrap().as_deref(), after, "{args} on {before:?}");
    }
    assert!(edit("replace", json!({"regexp": "a"}), None).is_err());
}
