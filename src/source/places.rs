//! Which files a source on this machine opens for as long as it lasts, for who keeps all others away.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::layout_dir::{LayoutDir, is, regular, step};
use crate::oci::{Algorithm, Digest};

/// Most places outside of a layout; each is a rule that the kernel keeps.
const MAX_PLACES: usize = 1 << 16;

/// Files and directories, by paths that name them now.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Of which bytes are read, and of a directory those of all below.
    pub read: Vec<PathBuf>,
    /// Directories of which names are read, and no bytes.
    pub listed: Vec<PathBuf>,
}

/// Returns what the source at `path` opens: itself, and of what links in a layout lead to no more than the layout needs.
///
/// A layout may be a stranger's, and its links lead where they like. A directory behind a link is one of blobs only if
/// nothing else is in it.
pub fn places(path: &Path) -> Places {
    let mut places = Places { read: vec![path.to_owned()], listed: Vec::new() };
    if let Ok(layout) = LayoutDir::open(path) {
        places.add_layout(&layout.dir, path);
        if places.is_full() {
            let path = path.display();
            log::warn!("{path}: its links lead to more than {MAX_PLACES} places; the rest cannot be read");
        }
    }
    places
}

impl Places {
    /// Adds what links of a layout lead to.
    fn add_layout(&mut self, layout: &OwnedFd, path: &Path) {
        for name in ["index.json", "oci-layout"] {
            if is_link(layout, name) && regular(layout, name).is_ok() {
                self.read.push(path.join(name));
            }
        }
        let Ok(blobs) = step(layout, "blobs") else { return };
        let are_outside = is_link(layout, "blobs");
        let path = path.join("blobs");
        if are_outside {
            self.listed.push(path.clone());
        }
        for (algorithm, kind) in entries(&blobs).into_iter().flatten() {
            if let Ok(dir) = step(&blobs, &algorithm)
                && !self.is_full()
            {
                let is_outside = are_outside || kind == Type::Symlink;
                self.add_blobs(&dir, &path.join(&algorithm), &algorithm, is_outside);
            }
        }
    }

    /// Adds what is needed of a directory of blobs, which stands outside of the layout or in it.
    fn add_blobs(&mut self, dir: &OwnedFd, path: &Path, algorithm: &str, is_outside: bool) {
        // The blobs of an algorithm that nobody can compute are listed, and never opened.
        let is_blob = |name: &str| {
            let digest = Digest::parse(&format!("{algorithm}:{name}"));
            digest.is_ok_and(|digest| digest.algorithm() != Algorithm::Unknown)
        };
        let is_file = |kind| matches!(kind, Type::File | Type::Symlink);
        let as_a_whole = is_outside
            && entries(dir).is_some_and(|mut all| all.all(|(name, kind)| is_file(kind) && is_blob(&name)));
        if is_outside {
            let places = if as_a_whole { &mut self.read } else { &mut self.listed };
            places.push(path.to_owned());
        }
        for (name, kind) in entries(dir).into_iter().flatten() {
            let is_covered = kind == Type::File && (as_a_whole || !is_outside);
            if !is_covered && is_blob(&name) && !self.is_full() && regular(dir, &name).is_ok() {
                self.read.push(path.join(name));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.read.len() + self.listed.len() >= MAX_PLACES
    }
}

fn is_link(dir: &OwnedFd, name: &str) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is(&stat, SFlag::S_IFLNK))
}

/// Lists a directory, if it can be read. A name that is no text comes out as none that a layout has.
fn entries(dir: &OwnedFd) -> Option<impl Iterator<Item = (String, Type)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listing = Dir::openat(dir, ".", flags, Mode::empty()).ok()?;
    Some(listing.into_iter().map_while(Result::ok).filter_map(move |entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not all filesystems tell.
        let kind = entry.file_type().unwrap_or_else(|| match is_link(dir, &name) {
            true => Type::Symlink,
            false => Type::File,
        });
        (name != "." && name != "..").then_some((name, kind))
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Says what a cage would open of a layout in which `links` (name, target) stand, relative to the directory of both.
    fn check(files: &[&str], links: &[(&str, &str)], expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path.replace('#', &"0".repeat(63)));
        for file in ["layout/index.json", "layout/blobs/sha512/x", "secret/key"].iter().chain(files) {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), "").unwrap();
        }
        for (name, target) in links {
            symlink(at(target), at(name)).unwrap();
        }
        let places = places(&at("layout"));
        let shown = |(how, path): (&str, &PathBuf)| {
            let path = path.strip_prefix(directory.path()).unwrap().display().to_string();
            format!("{how} {}", path.replace(&"0".repeat(63), "#"))
        };
        let read = places.read[1..].iter().map(|path| ("read", path));
        let mut got: Vec<_> =
            read.chain(places.listed.iter().map(|path| ("list", path))).map(shown).collect();
        got.sort();
        assert_eq!(got.join(", "), expected, "{files:?} {links:?}");
    }

    #[test]
    fn links_lead_to_blobs_and_nowhere_else() {
        let store = ["store/sha256/#1", "store/sha256/#2"];
        // None of these is anything to a layout.
        check(&[], &[("layout/x", "secret"), ("layout/blobs/sha512/x2", "secret/key")], "");
        check(&["layout/blobs/sha256/#1"], &[("layout/blobs/sha256/#2", "secret")], "");
        // Blobs that stand together, and those that stand among others.
        check(&store, &[("layout/blobs/sha256", "store/sha256")], "read layout/blobs/sha256");
        let strays = [store[0], store[1], "store/sha256/x"];
        let each = "list layout/blobs/sha256, read layout/blobs/sha256/#1, read layout/blobs/sha256/#2";
        check(&strays, &[("layout/blobs/sha256", "store/sha256")], each);
        let below = [store[0], "store/sha256/#2/key"];
        let one = "list layout/blobs/sha256, read layout/blobs/sha256/#1";
        check(&below, &[("layout/blobs/sha256", "store/sha256")], one);
        check(&[], &[("layout/blobs/sha256", "secret")], "list layout/blobs/sha256");
        // What fits an algorithm that we do not know is any name.
        check(&[], &[("layout/blobs/ssh", "secret")], "list layout/blobs/ssh");
        // Single ones, and documents.
        let single = [("layout/blobs/sha256/#3", "store/sha256/#1"), ("layout/oci-layout", "secret/key")];
        let both = "read layout/blobs/sha256/#3, read layout/oci-layout";
        check(&[store[0], "layout/blobs/sha256/#1"], &single, both);
    }

    #[test]
    fn all_blobs_of_a_layout_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, store) = (directory.path().join("layout"), directory.path().join("store"));
        fs::create_dir_all(store.join("sha256")).unwrap();
        fs::create_dir_all(store.join("other")).unwrap();
        fs::create_dir(&layout).unwrap();
        fs::write(layout.join("index.json"), "").unwrap();
        fs::write(store.join("other/key"), "").unwrap();
        symlink(&store, layout.join("blobs")).unwrap();
        let places = places(&layout);
        assert_eq!(places.read, [layout.clone(), layout.join("blobs/sha256")]);
        assert_eq!(places.listed, [layout.join("blobs"), layout.join("blobs/other")]);
    }
}
