//! The end of building: a [`Builder`] becomes a [`FileTree`].
//!
//! Rows are moved together in place and children sorted directory by directory, so that at the peak there is
//! little more than the builder and the finished tree's names.

use super::builder::{Builder, NONE};
use super::node::{Name, Tag, name_at, packed_at};
use super::{FileTree, varint};
use std::collections::HashMap;

/// Finishes a tree: sorts, drops what is no longer used, counts links.
pub(super) fn freeze(builder: Builder) -> FileTree {
    let Builder { mut nodes, entries, bytes: old_bytes, extents: old_extents, .. } = builder;

    let numbers = if nodes.iter().any(|row| row.tag == Tag::Free) {
        let mut next = 0;
        let number = |tag| {
            if tag == Tag::Free {
                NONE
            } else {
                next += 1;
                next - 1
            }
        };
        nodes.iter().map(|row| row.tag).map(number).collect()
    } else {
        Vec::new()
    };
    let number = |node: u32| numbers.get(node as usize).copied().unwrap_or(node);
    nodes.retain(|row| row.tag != Tag::Free);

    let mut names = Vec::with_capacity(entries.iter().filter(|entry| entry.node != NONE).count());
    let mut order: Vec<u32> = Vec::with_capacity(names.capacity());
    let mut bytes = vec![0];
    let mut extents = Vec::new();
    let mut children = Vec::new();
    let mut moved_xattrs = HashMap::new();
    for row in &mut nodes {
        match row.tag {
            Tag::Directory => {
                let mut entry = row.a;
                while entry != NONE {
                    children.push(entry);
                    entry = entries[entry as usize].next;
                }
                children.sort_unstable_by_key(|entry| name_at(&old_bytes, entries[*entry as usize].name));
                row.a = names.len() as u32;
                row.size = number(row.size as u32).into();
                row.links = 2;
                for entry in children.drain(..) {
                    let entry = entries[entry as usize];
                    let name = name_at(&old_bytes, entry.name);
                    let at = bytes.len() as u32;
                    bytes.push(name.len() as u8);
                    bytes.extend_from_slice(name);
                    names.push(Name { name: at, node: number(entry.node) });
                }
                let own = &names[row.a as usize..];
                order.extend(0..own.len() as u32);
                order[row.a as usize..].sort_unstable_by_key(|nth| own[*nth as usize].node);
            }
            Tag::Symlink => {
                let target = &old_bytes[row.a as usize..][..row.b as usize];
                row.a = bytes.len() as u32;
                bytes.extend_from_slice(target);
            }
            Tag::Pieces => {
                let pieces = &old_extents[row.a as usize..][..row.b as usize];
                row.a = extents.len() as u32;
                extents.extend_from_slice(pieces);
            }
            Tag::Whole | Tag::CharDevice | Tag::BlockDevice | Tag::Fifo => {}
            Tag::Pending | Tag::Free => unreachable!("links are settled at the end of each layer"),
        }
        if row.xattrs != 0 {
            // Once for each set, however many share it: so the bytes never outgrow the builder's.
            row.xattrs = *moved_xattrs.entry(row.xattrs).or_insert_with_key(|old| {
                let at = bytes.len() as u32;
                varint::put_bytes(&mut bytes, packed_at(&old_bytes, *old));
                at
            });
        }
    }
    for index in 1..nodes.len() {
        if nodes[index].tag == Tag::Directory {
            let parent = nodes[index].size as usize;
            nodes[parent].links += 1;
        }
    }
    nodes.shrink_to_fit();
    bytes.shrink_to_fit();
    extents.shrink_to_fit();
    FileTree { nodes, names, order, bytes, extents }
}
