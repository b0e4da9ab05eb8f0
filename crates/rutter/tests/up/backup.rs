//! `rutter backup` and `rutter restore`, on an API that runs and on one that does not.

use std::path::Path;

use serde_json::{Value, json};

use super::Machine;
use crate::cluster::{Process, rutter};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How a command ends, and what it says.
fn run(machine: &Machine, arguments: &[&str], data_dir: &Path, file: &Path) -> (i32, String) {
    let mut command = rutter();
    command.args(arguments).arg("--data-dir").arg(data_dir).arg(file);
    let mut process: Process = machine.process(command, arguments[0]);
    (process.exit_code().expect("an end of its own"), process.said())
}

fn map(machine: &Machine, name: &str) -> u64 {
    let made = machine.create(MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}));
    revision(&made)
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

#[test]
fn a_backup_of_a_running_api_is_restored_when_it_is_stopped() {
    let machine = Machine::new();
    let (data, file) = (machine.data_dir(), machine.files.path("backup"));
    machine.start_apiserver(&[]);
    map(&machine, "kept");
    assert_eq!(run(&machine, &["backup"], &data, &file).0, 0);
    let last = map(&machine, "lost");

    let (code, said) = run(&machine, &["restore", "--overwrite"], &data, &file);
    assert!(code == 1 && said.contains("another process has it open"), "{said}");
    machine.get(&format!("{MAPS}/lost"));

    assert_eq!(machine.stop(), Ok(0));
    let (code, said) = run(&machine, &["restore"], &data, &file);
    assert!(code == 1 && said.contains("--overwrite"), "{said}");
    assert_eq!(run(&machine, &["restore", "--overwrite"], &data, &file).0, 0);
    machine.start_apiserver(&[]);
    let names: Vec<_> = machine.get(MAPS)["items"].as_array().into_iter().flatten().map(|map| map["metadata"]["name"].clone()).collect();
    assert!(names.contains(&json!("kept")) && !names.contains(&json!("lost")), "{names:?}");
    assert!(map(&machine, "new") > last);
}
