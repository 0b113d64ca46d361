//! Path names from archives: cleaning, component rules, and what a `.wh.` name means.
//!
//! Everything here is lexical; symbolic links are the business of `resolve`.

/// Longest path component in bytes: Linux's `NAME_MAX`, above which no name can be looked up.
pub const MAX_NAME: usize = 255;

/// Longest symlink target in bytes: Linux's `PATH_MAX` without the closing NUL, all that `readlink` can give.
pub const MAX_TARGET: usize = 4095;

/// What the names of whiteout markers begin with.
const WHITEOUT: &[u8] = b".wh.";

/// What the names of AUFS bookkeeping begin with; never part of a root filesystem.
pub(super) const METADATA: &[u8] = b".wh..wh.";

/// The name that makes its directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a path name cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameError {
    /// A component is longer than [`MAX_NAME`].
    #[error("a component of the name has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// The name holds a NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
}

/// Cleans `raw` lexically into `out`: components joined by `/`, none at either end, clamped at the root.
///
/// The root is the empty path. Says whether a `..` was taken out on the way.
pub(super) fn clean(raw: &[u8], out: &mut Vec<u8>) -> Result<bool, NameError> {
    out.clear();
    let mut climbs = false;
    for part in raw.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                climbs = true;
                out.truncate(out.iter().rposition(|&b| b == b'/').unwrap_or(0));
            }
            _ => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    out.split(|&b| b == b'/').try_for_each(check)?;
    Ok(climbs)
}

/// Checks the length and the bytes of one component.
pub(super) fn check(component: &[u8]) -> Result<(), NameError> {
    if component.len() > MAX_NAME {
        Err(NameError::TooLong(component.len()))
    } else if component.contains(&0) {
        Err(NameError::Nul)
    } else {
        Ok(())
    }
}

/// Splits a clean path into its parent and its last component.
pub(super) fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&clean[..slash], &clean[slash + 1..]),
        None => (&[], clean),
    }
}

/// Puts a clean parent and a component together.
pub(super) fn join(parent: &[u8], last: &[u8]) -> Vec<u8> {
    match parent {
        b"" => last.to_vec(),
        _ => [parent, b"/", last].concat(),
    }
}

/// What the last component of an entry's path says about the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    /// Nothing: an entry like any other.
    None,
    /// The sibling of this name in the layers below is gone.
    Whiteout(&'a [u8]),
    /// Everything in the same directory in the layers below is gone.
    Opaque,
    /// AUFS bookkeeping: deletes nothing, and is not shown.
    Metadata,
    /// A marker for nothing, for `.` or for `..`: must never delete.
    Invalid,
}

/// Reads the last component of a path as a marker.
pub(super) fn marker(name: &[u8]) -> Marker<'_> {
    match name.strip_prefix(WHITEOUT) {
        None => Marker::None,
        Some(_) if name == OPAQUE => Marker::Opaque,
        Some(_) if name.starts_with(METADATA) => Marker::Metadata,
        Some(b"" | b"." | b"..") => Marker::Invalid,
        Some(hidden) => Marker::Whiteout(hidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_clean(raw: &str, expected: &str, climbs: bool) {
        let mut out = b"left over".to_vec();
        assert_eq!(clean(raw.as_bytes(), &mut out), Ok(climbs), "{raw}");
        assert_eq!(String::from_utf8_lossy(&out), expected, "{raw}");
    }

    #[test]
    fn paths_are_cleaned_lexically_and_clamped() {
        for root in ["", ".", "/", "./", "//", "/./."] {
            check_clean(root, "", false);
        }
        for same in ["a/b", "/a/b", "./a/b", "a//b", "a/b/", "a/./b", "//a/b//"] {
            check_clean(same, "a/b", false);
        }
        check_clean("../e", "e", true);
        check_clean("a/../b", "b", true);
        check_clean("/../../c", "c", true);
        check_clean("a/..", "", true);
        check_clean("a/b/../c", "a/c", true);
        check_clean("...", "...", false);
        check_clean("a\\b/..c", "a\\b/..c", false);
    }

    #[test]
    fn components_end_at_255_bytes() {
        let mut out = Vec::new();
        let name = |n| [b"d/".as_slice(), &vec![b'x'; n]].concat();
        assert_eq!(clean(&name(255), &mut out), Ok(false));
        assert_eq!(clean(&name(256), &mut out), Err(NameError::TooLong(256)));
        assert_eq!(clean(&[&name(256), b"/../y".as_slice()].concat(), &mut out), Ok(true));
        assert_eq!(clean(b"a\0b", &mut out), Err(NameError::Nul));
    }

    #[test]
    fn markers_are_told_by_the_whole_name() {
        let table: [(&str, Marker<'_>); 14] = [
            ("x", Marker::None),
            (".whx", Marker::None),
            (".WH.x", Marker::None),
            ("x.wh.y", Marker::None),
            (".wh.x", Marker::Whiteout(b"x")),
            (".wh..x", Marker::Whiteout(b".x")),
            (".wh....", Marker::Whiteout(b"...")),
            (".wh..wh", Marker::Whiteout(b".wh")),
            (".wh.", Marker::Invalid),
            (".wh..", Marker::Invalid),
            (".wh...", Marker::Invalid),
            (".wh..wh..opq", Marker::Opaque),
            (".wh..wh.opq", Marker::Metadata),
            (".wh..wh.", Marker::Metadata),
        ];
        for (name, expected) in table {
            assert_eq!(marker(name.as_bytes()), expected, "{name}");
        }
    }
}
