//! Starts that cannot be: each is told in one line that names the thing, before anything was touched.

use super::Machine;
use crate::cluster::rutter;

/// The last line of a `rutter up` that ends by itself, and its exit code.
fn check(machine: &Machine, arguments: &[&str], expected: (i32, &str)) {
    let mut command = rutter();
    command.args(["up", "--node-name", "node1"]).args(arguments);
    let mut process = machine.process(command, "refused");
    let code = process.exit_code().expect("an end of its own");
    let said = process.said();
    let last = said.lines().last().unwrap_or_default();
    assert_eq!((code, last), expected, "{said}");
    let bridge = machine.node.run(|| kernel::rtnl::links().expect("links").iter().any(|link| link.name == "rutter0"));
    assert!(!bridge, "{arguments:?} made a bridge");
}

#[test]
fn a_start_that_cannot_be_names_the_thing_and_touches_nothing() {
    let machine = Machine::new();
    let data = machine.data_dir().display().to_string();
    let file = |name: &str, text: &str| {
        let path = machine.files.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (text, no_yaml) = (file("text", "no folder"), file("no.yaml", "a: [\n"));
    let no_file = machine.files.path("none.yaml").display().to_string();

    check(&machine, &["--data-dir", &text], (1, &format!("rutter: --data-dir {text}: File exists (os error 17)")));
    let missing = format!("rutter: -f {no_file}: No such file or directory (os error 2)");
    check(&machine, &["--data-dir", &data, "-f", &no_file], (64, &missing));
    let broken = format!("rutter: -f {no_yaml}: no YAML or JSON: line 1 column 4: unclosed bracket '['");
    check(&machine, &["--data-dir", &data, "-f", &no_yaml], (64, &broken));

    machine.start_apiserver(&[]);
    check(&machine, &["--data-dir", &data], (1, &format!("rutter: --data-dir {data}: another rutter runs on it")));
}
