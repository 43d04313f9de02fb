//! Templates and conditions against what ansible-core 2.19 gives for them: `vars_templates.jsonl`, one case per line.
//!
//! `template` or `when` with `vars` gives `is`, or `fails` with an error that holds this text. Results of ansible-core
//! 2.19.14; `ours` replaces them where we word an error in our own way or are more lenient on purpose.

use std::sync::Arc;

use provision::vars::{Layer, NoWorld, Scope};
use serde_json::Value;

#[test]
fn templates_give_what_ansible_gives() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for (number, line) in include_str!("vars_templates.jsonl").lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let case: Value = serde_json::from_str(line).unwrap();
        let mut scope = Scope::new(Arc::new(NoWorld));
        if let Some(vars) = case["vars"].as_object() {
            scope.push(Layer::written(vars.clone()));
        }
        let (result, subject) = match case.get("when") {
            Some(when) => (scope.condition(when).map(Value::from), when),
            None => (scope.value(&case["template"]), &case["template"]),
        };
        let wanted = case.get("ours").unwrap_or(&case);
        let right = match (&result, wanted.get("is"), wanted.get("fails")) {
            (Ok(value), Some(is), _) => value == is,
            (Err(fault), None, Some(Value::String(text))) => fault.text.contains(text.as_str()),
            _ => false,
        };
        cases += 1;
        if !right {
            let got = match &result {
                Ok(value) => value.to_string(),
                Err(fault) => format!("fault: {} (hint: {:?})", fault.text, fault.hint),
            };
            wrong.push(format!("line {}: {subject}\n     got {got}\n  wanted {wanted}", number + 1));
        }
    }
    assert!(cases > 100, "the table is too small");
    assert!(wrong.is_empty(), "{} of {cases} cases differ\n{}", wrong.len(), wrong.join("\n"));
}
