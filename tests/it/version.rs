//! `ocifs --version`: what the build script says about the commit. It is run here as cargo does.

use crate::kit::{TempDir, ocifs, repository, run, temp_dir};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The build script, compiled, beside a tree to run it in.
struct Build {
    directory: TempDir,
}

impl Build {
    fn new() -> Self {
        let directory = temp_dir();
        let script = repository().join("build.rs");
        run(Command::new("rustc").arg("--edition=2024").arg(script).arg("-o").arg(directory.join("build")))
            .ok();
        for name in ["tree/src/main.rs", "tree/build.rs", "tree/Cargo.toml", "tree/README.md"] {
            fs::create_dir_all(directory.join(name).parent().unwrap()).unwrap();
            fs::write(directory.join(name), "one").unwrap();
        }
        Self { directory }
    }

    fn git(&self, directory: &str, line: &str) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]);
        run(git.args(line.split(' ')).current_dir(self.directory.join(directory))).ok().trim().to_owned()
    }

    /// The version in brackets, and the files that are watched.
    fn says(&self, profile: &str) -> (String, Vec<String>) {
        let tree = self.directory.join("tree");
        let out = run(Command::new(self.directory.join("build"))
            .env("CARGO_PKG_VERSION", "1.2.3")
            .env("CARGO_MANIFEST_DIR", &tree)
            .env("PROFILE", profile))
        .ok();
        let version =
            out.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=OCIFS_VERSION=1.2.3")).unwrap();
        let watched = out.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
        let watched: Vec<String> = watched.map(str::to_owned).collect();
        for path in &watched {
            assert!(tree.join(path).exists(), "{path} is not there, so each build would be a new one");
        }
        (version.to_owned(), watched)
    }
}

#[test]
fn the_commit_of_a_release_build() {
    let build = Build::new();
    assert_eq!(build.says("release").0, "", "no git tree");
    build.git(".", "init -q");
    assert_eq!(build.says("release").0, "", "a git tree around it is another's");

    build.git("tree", "init -q");
    build.git("tree", "add .");
    build.git("tree", "commit -q -m one --date=2024-01-02T03:04:05Z");
    let commit = |rest: &str| {
        let named = build.git("tree", "log -1 --abbrev=10 --format=%h");
        let day = build.git("tree", "log -1 --format=%cs");
        format!(" ({named} {day}{rest})")
    };
    assert_eq!(build.says("debug").0, "");
    let (version, watched) = build.says("release");
    assert_eq!(version, commit(""));
    for name in ["HEAD", "refs/heads/main", "src", "Cargo.toml"] {
        assert!(watched.iter().any(|path| path.ends_with(name)), "{name} is not in {watched:?}");
    }

    let write = |name: &str, text: &str| fs::write(build.directory.join("tree").join(name), text).unwrap();
    write("README.md", "two");
    assert_eq!(build.says("release").0, commit(""), "what is not built does not count");
    write("src/main.rs", "two");
    assert_eq!(build.says("release").0, commit(", modified"));
    build.git("tree", "commit -q -a -m two");
    assert_eq!(build.says("release").0, commit(""));
    write("src/new.rs", "");
    assert_eq!(build.says("release").0, commit(", modified"));
    fs::remove_file(build.directory.join("tree/src/new.rs")).unwrap();
    build.git("tree", "pack-refs --all");
    build.git("tree", "checkout -q --detach");
    assert_eq!(build.says("release").0, commit(""));
}

#[test]
fn the_version_is_the_packages() {
    let said = run(Command::new(ocifs()).arg("--version")).ok();
    let rest =
        said.strip_prefix(concat!("ocifs ", env!("CARGO_PKG_VERSION"))).unwrap_or_else(|| panic!("{said}"));
    // A debug build says no commit; what a release build says is tested above.
    let bracketed = rest.starts_with(" (") && rest.ends_with(")\n") && Path::new("build.rs").exists();
    assert!(rest == "\n" || bracketed, "{said}");
}
