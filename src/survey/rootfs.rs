//! Root filesystems, made of what is known of their layers.

use super::checklist::Unit;
use crate::tree::{FileTree, Problem, Records, build_rootfs};

/// Makes the root filesystem of a platform; none where the entries of a layer are not known.
///
/// `records` gives the entries of a target. One layer's at a time are asked for: they are what takes memory.
pub(super) fn made(
    unit: &Unit,
    mut records: impl FnMut(usize) -> Option<Records>,
) -> Option<(FileTree, Vec<Problem>)> {
    let mut is_whole = true;
    let layers = unit.layers.iter().map_while(|(n, _)| {
        let records = records(*n);
        is_whole &= records.is_some();
        records
    });
    let made = build_rootfs(layers);
    is_whole.then_some(made)
}
