//! The house rules that a compiler does not check: directions of dependencies, and what may be named where.

use crate::kit::repository;
use std::fs;
use std::path::{Path, PathBuf};

/// The lines of the house, lowest first; a module may use those on lower lines only.
const LINES: [&[&str]; 9] = [
    &["flight", "oci", "problems", "read_at", "side_by_side"],
    &["cache", "codec", "tar", "tree"],
    &["stream"],
    &["source", "toc"],
    &["blob"],
    &["image", "layer"],
    &["view"],
    &["cage", "fuse", "survey"],
    &["cli"],
];

/// A module of `src/`: its first path component, and its code with comments and tests left out.
struct Module {
    name: String,
    file: PathBuf,
    code: String,
    whole: String,
}

/// Every Rust file below `src/`.
fn modules() -> Vec<Module> {
    let top = repository().join("src");
    let mut found = Vec::new();
    let mut stack = vec![top.clone()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&top).unwrap().to_owned();
                let name = file.components().next().unwrap().as_os_str().to_str().unwrap();
                let name = name.trim_end_matches(".rs").to_owned();
                let whole = fs::read_to_string(&path).unwrap();
                found.push(Module { name, code: without_tests(&whole, &file), file, whole });
            }
        }
    }
    assert!(found.len() > 3, "src/ was found");
    found
}

/// Leaves out comments, and what stands under `#[cfg(test)]` (which is last in a file, or a file of its own that is declared
/// anywhere).
fn without_tests(text: &str, file: &Path) -> String {
    let test_file = file.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs")
    });
    if test_file {
        return String::new();
    }
    let text = text.replace("#[cfg(test)]\nmod tests;", "");
    let production = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = production.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

fn line_of(module: &str) -> Option<usize> {
    LINES.iter().position(|line| line.contains(&module))
}

/// The first path components after every `crate::` (and `ocifs::`, for main.rs), braces opened.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "ocifs::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + start.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.push(identifier(rest));
            }
        }
    }
    found
}

/// The heads of `a::{b, c}, d::e}`: a and d.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut head, mut heads) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => head = true,
            c if head && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_reading_of_use_lines_itself() {
    for (code, expected) in [
        ("use crate::blob::Store;", &["blob"][..]),
        ("use crate::{blob, image::{Image, walk}, oci::Digest};", &["blob", "image", "oci"][..]),
        ("let x = crate::view::View::new(crate::oci::x());", &["view", "oci"][..]),
        ("pub(crate) fn crate_x() {} mycrate::z", &[][..]),
        ("ocifs::cli::run()", &["cli"][..]),
        ("use crate::{\n    tree::{\n  Name,\n },\n    tar,\n};", &["tree", "tar"][..]),
    ] {
        assert_eq!(used(code), expected, "{code}");
    }
}

#[test]
fn every_edge_points_downward() {
    let mut wrong = Vec::new();
    for module in modules() {
        if module.name == "lib" || module.name == "main" {
            continue;
        }
        let Some(own) = line_of(&module.name) else {
            panic!(
                "src/{} is on no line of the house: extend LINES and docs/architecture.md",
                module.file.display()
            );
        };
        for other in used(&module.code) {
            if other == module.name {
                continue;
            }
            match line_of(&other) {
                Some(line) if line < own => {}
                Some(_) => wrong.push(format!("src/{} uses {other}", module.file.display())),
                None => wrong
                    .push(format!("src/{}: crate::{other} is no module of the house", module.file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "not downward:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_above_blob_reads_from_a_source_but_cli_opens_one() {
    let blob = line_of("blob").unwrap();
    for module in modules() {
        if line_of(&module.name).is_some_and(|line| line > blob) && module.name != "cli" {
            assert!(!used(&module.code).contains(&"source".to_owned()), "src/{}", module.file.display());
        }
    }
}

#[test]
fn nothing_below_fuse_knows_the_kernel() {
    let fuse = line_of("fuse").unwrap();
    for module in modules() {
        if line_of(&module.name).is_some_and(|line| line < fuse) {
            for word in ["fuser::", "use fuser", "Errno::", "libc::E", "errno(", "EIO", "ENODATA", "ENOENT"] {
                // The oci and source modules may be told "no such file" by the system; they ask io::ErrorKind.
                let named = module.code.lines().find(|line| line.contains(word));
                assert!(named.is_none(), "src/{}: {}", module.file.display(), named.unwrap_or_default());
            }
        }
    }
}

#[test]
fn the_survey_asks_the_view_what_files_of_the_mount_are_called() {
    let all = modules();
    let names = all.iter().find(|m| m.file == Path::new("view/names.rs")).expect("there is a names.rs");
    // The names of files and directories come first.
    let constants = names.code.lines().take_while(|line| !line.contains("NAME_MAX"));
    let constants = constants.filter(|line| line.contains(": &str = "));
    let names: Vec<&str> = constants.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.contains(&"manifest.json") && names.contains(&"rootfs"), "names were found: {names:?}");
    for module in all.iter().filter(|m| m.name == "survey") {
        for (name, before) in names.iter().flat_map(|name| ['"', '}', '/'].map(|before| (name, before))) {
            let word = format!("{before}{name}\"");
            assert!(!module.code.contains(&word), "src/{} has {word}", module.file.display());
        }
    }
}

#[test]
fn clap_and_printing_stay_in_cli() {
    for module in modules() {
        if module.name != "cli" && module.name != "main" {
            for word in ["clap", "println!", "print!("] {
                assert!(!module.code.contains(word), "src/{} has {word}", module.file.display());
            }
        }
    }
}

#[test]
fn no_unwrap_outside_tests_and_every_expect_has_a_reason() {
    for module in modules() {
        for word in [".unwrap()", "panic!(", "todo!(", "unimplemented!(", ".expect(\"\")"] {
            let line = module.code.lines().find(|line| line.contains(word));
            assert!(line.is_none(), "src/{}: {}", module.file.display(), line.unwrap_or_default());
        }
    }
}

#[test]
fn unsafe_stands_beside_its_reason() {
    for module in modules() {
        let lines: Vec<&str> = module.whole.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl") {
                let above = &lines[number.saturating_sub(6)..number];
                assert!(
                    above.iter().any(|line| line.contains("SAFETY")),
                    "src/{}:{}",
                    module.file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn every_module_says_what_lives_there() {
    for module in modules() {
        // A file of tests belongs to the module it tests.
        let tests = module.code.is_empty() && module.file.ends_with("tests.rs");
        assert!(tests || module.whole.starts_with("//! "), "src/{} has no header", module.file.display());
        let lines = module.whole.lines().count();
        assert!(
            lines <= 900,
            "src/{} has {lines} lines: look for the second subject in it",
            module.file.display()
        );
    }
}

#[test]
fn lib_lists_modules_and_has_no_code() {
    let lib = modules().into_iter().find(|module| module.name == "lib").expect("there is a lib.rs");
    for line in lib.code.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("pub mod ") || line.starts_with("mod ") || line.starts_with('#'), "{line}");
    }
}
