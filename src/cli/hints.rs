//! What somebody probably meant, where what was given will not do.

use std::path::Path;

use crate::source::SourceError;

use super::registry;

/// Most names listed in an error.
const MAX_NAMES: usize = 20;

/// Least likeness (Jaro-Winkler, 0 to 1) at which a name is taken for a misspelling of another.
const ALIKE: f64 = 0.8;

/// Adds to the failure to open a source what to do about it. `given` is what was typed, `path` what it means.
pub(super) fn with_hint(error: SourceError, given: &str, path: &Path) -> anyhow::Error {
    let hint = match &error {
        SourceError::NoSuchSource(_) => no_such_source(given),
        SourceError::NotALayout { .. } => no_layout(path),
        _ => None,
    };
    match hint {
        Some(hint) => anyhow::anyhow!("{error}; {hint}"),
        None => error.into(),
    }
}

/// Says how an image in a registry is written, where what is no path could be one.
fn no_such_source(given: &str) -> Option<String> {
    let url = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://"));
    let image = url.unwrap_or(given).trim_end_matches('/');
    if given.starts_with(['/', '.', '~']) || registry::check(&format!("//{image}")).is_err() {
        return None;
    }
    Some(match url {
        Some(_) => format!("an image in a registry is written docker://{image}"),
        None => format!("if an image in a registry is meant, write docker://{image}"),
    })
}

/// Asks whether the arguments are in the wrong order, where the mountpoint could be an image and the source cannot.
pub(super) fn swapped(error: anyhow::Error, source: Option<&Path>, mountpoint: &Path) -> anyhow::Error {
    let is_dir = source.is_some_and(|source| source.is_dir() && !is_layout(source));
    if is_dir && (is_layout(mountpoint) || mountpoint.is_file()) {
        let mountpoint = mountpoint.display();
        return anyhow::anyhow!("{error}; are SOURCE and MOUNTPOINT swapped? {mountpoint} could be an image");
    }
    error
}

fn is_layout(path: &Path) -> bool {
    path.join("index.json").is_file()
}

/// Says where the layout is, where one is near.
fn no_layout(path: &Path) -> Option<String> {
    if path.join("version").is_file() && path.join("manifest.json").is_file() {
        let path = path.display();
        return Some(format!(
            "it looks like a `dir:`: `skopeo copy dir:{path} oci:LAYOUT:NAME` makes a layout"
        ));
    }
    if path.join("manifest.json").is_file() {
        let path = path.display();
        return Some(format!(
            "it looks like an unpacked docker-archive: `tar -C {path} -cf FILE .` packs it"
        ));
    }
    let parent = path.ancestors().skip(1).take(3).find(|parent| is_layout(parent));
    let child =
        || std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).find(|child| is_layout(child));
    let near = parent.map(Path::to_owned).or_else(child)?;
    Some(format!("{} is one", near.display()))
}

/// Says which images there are instead of the one that is wanted, and which was probably meant.
pub(super) fn no_such_image(wanted: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return format!(
            "image {wanted:?}: no image in this source has a name; leave --image out, or give a digest"
        );
    }
    let listed: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("{name:?}")).collect();
    let listed = listed.join(", ");
    let meant = match nearest(wanted, names) {
        Some(name) if names.len() > 1 => format!(", did you mean {name:?}?"),
        _ => ";".to_owned(),
    };
    match names.len() {
        1 => format!("image {wanted:?} is not in this source{meant} there is {listed}"),
        n if n > MAX_NAMES => {
            format!(
                "image {wanted:?} is not in this source{meant} there are {listed} and {} more",
                n - MAX_NAMES
            )
        }
        _ => format!("image {wanted:?} is not in this source{meant} there are {listed}"),
    }
}

/// Returns the name most like `wanted`, if it is like it at all.
fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(wanted, name);
    let rated = names.iter().map(|name| (likeness(name), *name)).filter(|(likeness, _)| *likeness >= ALIKE);
    rated.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

/// Says whether mounting there hides something.
pub(super) fn hides(mountpoint: &Path) -> bool {
    // What the kernel has kept of a dead mount can still be listed, and is taken away rather than hidden.
    let is_alive = nix::sys::statvfs::statvfs(mountpoint).is_ok();
    is_alive && std::fs::read_dir(mountpoint).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_a_registry() {
        for (given, expected) in [
            ("alpine", Some("docker://alpine")),
            ("ghcr.io/a/b:1", Some("docker://ghcr.io/a/b:1")),
            ("https://ghcr.io/a/b", Some("docker://ghcr.io/a/b")),
            ("/alpine", None),
            ("./alpine", None),
            ("no image at all", None),
        ] {
            let got = no_such_source(given);
            // Without registries nothing leads there.
            let expected = expected.filter(|_| cfg!(feature = "registry"));
            assert_eq!(got.is_some(), expected.is_some(), "{given}: {got:?}");
            assert!(expected.is_none_or(|e| got.is_some_and(|got| got.ends_with(e))), "{given}");
        }
    }

    #[test]
    fn the_name_that_was_meant() {
        let names = ["app:1.4", "app:1.5", "web:2"];
        for (wanted, expected) in
            [("ap:1.5", Some("app:1.5")), ("wbe:2", Some("web:2")), ("database", None), ("", None)]
        {
            assert_eq!(nearest(wanted, &names), expected, "{wanted}");
        }
    }

    #[test]
    fn the_list_of_names_ends() {
        let many: Vec<String> = (0..1000).map(|n| format!("image-{n:04}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = no_such_image("imag-0999", &names);
        assert!(said.contains("did you mean \"image-0999\"?"), "{said}");
        assert!(said.ends_with("and 980 more") && said.len() < 600, "{said}");
    }
}
