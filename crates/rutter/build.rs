//! Which commit this is: `RUTTER_COMMIT` if whoever builds says it, else what the checkout's own files say (no git is needed), else `unknown`.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=RUTTER_COMMIT");
    let told = std::env::var("RUTTER_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(|| head(Path::new("../../.git"))).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=RUTTER_COMMIT={}", commit.trim());
}

/// The commit that is checked out. `.git` is a folder, or in a further worktree a file that names one.
fn head(git: &Path) -> Option<String> {
    let folder = match std::fs::read_to_string(git) {
        Ok(file) => PathBuf::from(file.strip_prefix("gitdir:")?.trim()),
        Err(_) => git.to_path_buf(),
    };
    let text = read(&folder.join("HEAD"))?;
    let Some(name) = text.strip_prefix("ref:").map(str::trim) else { return Some(text) };
    // Branches stand in the folder that all worktrees share.
    let shared = std::fs::read_to_string(folder.join("commondir")).map_or(folder.clone(), |path| folder.join(path.trim()));
    read(&shared.join(name)).or_else(|| {
        let packed = read(&shared.join("packed-refs"))?;
        packed.lines().find_map(|line| line.strip_suffix(name)?.split_whitespace().next().map(str::to_owned))
    })
}

/// Also builds anew when it changes.
fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}
