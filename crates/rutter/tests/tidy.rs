//! House rules as tests: the arrows between crates and rooms, where `unsafe` may stand, what each file says first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What each crate may know of ours (ARCHITECTURE.md, "Crates"). `rutter` may know everyone and nobody may know it.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("runtime", &[]),
    ("api", &[]),
    ("kernel", &[]),
    ("client", &["api", "runtime"]),
    ("source", &["api", "client", "model", "runtime"]),
    ("apiserver", &["api", "runtime"]),
    ("controllers", &["api", "client", "runtime"]),
    ("node", &["api", "client", "kernel", "runtime"]),
    ("proxy", &["kernel", "model", "runtime"]),
    ("dns", &["kernel", "model", "runtime"]),
    ("ingress", &["model", "runtime"]),
];

/// What `model` may use of others: no time, no input or output, no async, no wire.
const MODEL_MAY_USE: &[&str] = &["ipnet", "rpds", "thiserror"];

/// The modes of `proxy`: rooms that never import one another.
const MODES: &[&str] = &["nftables", "iptables", "ipvs", "userspace"];

/// From here on a file is tiring to read and hides a second idea.
const MAX_LINES: usize = 800;

#[test]
fn crates_know_only_what_the_architecture_allows() {
    let mut wrong = String::new();
    for (name, manifest) in manifests() {
        if name == "rutter" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(krate, _)| *krate == name) else {
            let _ = writeln!(wrong, "crate {name} has no line in ARROWS");
            continue;
        };
        for dependency in dependencies(&manifest) {
            let ours = dependency == "rutter" || ARROWS.iter().any(|(krate, _)| *krate == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                let _ = writeln!(wrong, "{name} must not know {dependency}");
            }
            if name == "model" && !ours && !MODEL_MAY_USE.contains(&dependency.as_str()) {
                let _ = writeln!(wrong, "model must not use {dependency}");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_dependency_says_what_it_is_for_and_leaves_default_features_off() {
    let manifest = read(&root().join("Cargo.toml"));
    let table = manifest.split("\n[workspace.dependencies]\n").nth(1).expect("the table");
    let table = table.split("\n[").next().unwrap_or(table);
    let wrong: Vec<_> = table
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#') && !line.contains("path = "))
        .filter(|line| !line.contains(" # ") || !(line.contains("default-features = false") || line.starts_with("expect-test")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_in_kernel_alone_each_with_its_reason() {
    let mut wrong = String::new();
    for (path, text) in sources() {
        let in_kernel = path.starts_with("crates/kernel/");
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let is_unsafe = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            // A bench may count allocations, which takes an allocator of its own; this file only speaks of it.
            let exempt = path.ends_with("tidy.rs") || path.components().any(|part| part.as_os_str() == "benches");
            if !is_unsafe || exempt {
                continue;
            }
            let reasoned = lines[at.saturating_sub(6)..=at].iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !in_kernel || !reasoned {
                let _ = writeln!(wrong, "{}:{}: {}", path.display(), at + 1, line.trim());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_room_opens_with_what_it_owns() {
    let wrong: Vec<_> = sources()
        .filter(|(path, text)| path.components().any(|part| part.as_os_str() == "src") && !text.starts_with("//! "))
        .filter(|(path, _)| !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_longer_than_a_room_should_be() {
    let wrong: Vec<_> = sources().filter(|(_, text)| text.lines().count() > MAX_LINES).map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn modes_never_import_one_another() {
    let mut wrong = String::new();
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix("crates/proxy/src") else { continue };
        let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string());
        let Some(mode) = first.filter(|first| MODES.contains(&first.as_str())) else { continue };
        for other in MODES.iter().filter(|other| **other != mode) {
            if text.contains(&format!("crate::{other}")) {
                let _ = writeln!(wrong, "{} imports {other}", path.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_module_file_is_called_mod() {
    let wrong: Vec<_> = sources().map(|(path, _)| path).filter(|path| path.ends_with("mod.rs")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Crate name (as code says it) to manifest.
fn manifests() -> BTreeMap<String, String> {
    let crates = std::fs::read_dir(root().join("crates")).expect("crates/");
    crates
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), read(&path.join("Cargo.toml"))))
        .collect()
}

/// The names under `[dependencies]`; what only tests use is free.
fn dependencies(manifest: &str) -> Vec<String> {
    let table = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("");
    let table = table.split("\n[").next().unwrap_or(table);
    table.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).map(str::to_string).collect()
}

/// Every Rust file below `crates/`, its path from the root of the project.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.into_iter().map(move |path| (path.strip_prefix(&root).expect("below the root").to_path_buf(), read(&path)))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project's root")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
