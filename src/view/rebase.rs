//! Symlinks that stay inside the tree they stand in, as in a chroot. Knows no names and no layers.

use std::collections::HashMap;

use crate::tree::{FileTree, Kind};

/// Rewrites a symlink's target, seen from `depth` directories below the tree's root, so that it stays in the tree: an
/// absolute one begins at the root, and `..` ends there, as in a chroot.
pub(super) fn inside(target: &[u8], depth: usize) -> Vec<u8> {
    let (mut up, mut clamped) = (0, false);
    let mut down: Vec<&[u8]> = Vec::new();
    if target.starts_with(b"/") {
        (up, clamped) = (depth, true);
    }
    for part in target.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        match part {
            b".." if down.pop().is_some() => {}
            b".." if up < depth => up += 1,
            b".." => clamped = true,
            part => down.push(part),
        }
    }
    if !clamped {
        return target.to_vec();
    }
    let parts: Vec<&[u8]> = std::iter::repeat_n(&b".."[..], up).chain(down).collect();
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// Finds how deep each symlink stands that may lead out of the tree, by its first name.
pub(super) fn leading_out(tree: &FileTree) -> HashMap<u32, usize> {
    let mut depths = HashMap::new();
    let mut todo = vec![(tree.root(), 0)];
    while let Some((directory, depth)) = todo.pop() {
        let children = tree.children(directory);
        for (_, id) in children.iter() {
            let node = tree.node(id);
            match node.kind() {
                Kind::Directory => todo.push((id, depth + 1)),
                Kind::Symlink
                    if node
                        .target()
                        .is_some_and(|t| t.starts_with(b"/") || t.windows(2).any(|w| w == b"..")) =>
                {
                    depths.entry(id.index()).or_insert(depth);
                }
                _ => {}
            }
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebased_symlinks_stay_inside() {
        for (target, depth, shown) in [
            ("/etc/passwd", 0, "etc/passwd"),
            ("/etc/passwd", 2, "../../etc/passwd"),
            ("//etc//./passwd", 1, "../etc/passwd"),
            ("/", 0, "."),
            ("/", 2, "../.."),
            ("/../../../etc/hostname", 0, "etc/hostname"),
            ("/a/../../../b", 1, "../b"),
            ("../x", 1, "../x"),
            ("../../x", 1, "../x"),
            ("a/../../../x", 1, "../x"),
            ("../..", 0, "."),
            ("a/./b//c", 3, "a/./b//c"),
            ("x..y", 0, "x..y"),
        ] {
            assert_eq!(inside(target.as_bytes(), depth), shown.as_bytes(), "{target} at {depth}");
        }
    }
}
