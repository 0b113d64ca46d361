//! Says from which commit a release build comes, for `ocifs --version`.
//!
//! Nothing is said where this is no git tree of its own, as in the sources that crates.io hands out, nor in debug
//! builds: each commit would compile everything anew.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes into the program, and makes it another one than its commit says.
const SOURCES: &[&str] = &["build.rs", "Cargo.lock", "Cargo.toml", "src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let mut version = variable("CARGO_PKG_VERSION");
    let top = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    // A tree of its own: sources that were unpacked inside somebody's repository are not of its commits.
    if variable("PROFILE") == "release" && top.join(".git").exists() {
        version += &commit(&top).map(|commit| format!(" ({commit})")).unwrap_or_default();
    }
    println!("cargo::rustc-env=OCIFS_VERSION={version}");
}

/// Returns the commit of the tree at `top`, its day, and whether the sources are still those of the commit.
fn commit(top: &Path) -> Option<String> {
    let mut commit = git(top, &["log", "-1", "--abbrev=10", "--format=%h %cs"])?;
    let changed = git(top, &[&["status", "--porcelain", "--"], SOURCES].concat())?;
    if !changed.is_empty() {
        commit.push_str(", modified");
    }
    // Where HEAD is written down; not everything is there always, and what is not there would run this each time.
    let branch = git(top, &["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    let recorded = ["HEAD", "logs/HEAD", "packed-refs", &branch];
    let recorded = recorded.iter().filter_map(|name| git(top, &["rev-parse", "--git-path", name]));
    for path in SOURCES.iter().map(|name| top.join(name)).chain(recorded.map(|path| top.join(path))) {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Some(commit)
}

fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    // It may be somebody else's tree: nothing of it is written to.
    let done =
        Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").current_dir(top).args(arguments).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
