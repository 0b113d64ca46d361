//! What the markers of a layer hide of those below (image-spec, layer.md, "Whiteouts").

use std::collections::HashSet;

use super::builder::NONE;
use super::merge::Merge;
use super::name::{self, Marker};
use super::node::Tag;
use super::records::{RecordKind, Records};
use super::resolve::Missing;

impl Merge {
    /// Lets the layer's markers act on what lies below.
    ///
    /// All markers are resolved before the first acts, so that their order means nothing.
    pub(super) fn hide(&mut self, records: &Records) {
        let gone = self.links_gone(records);
        let (mut doomed, mut opaque) = (Vec::new(), Vec::new());
        let mut path = Vec::new();
        for stored in records.iter() {
            // A bad name is reported when the entry's turn to be added comes.
            if name::clean(stored.path, &mut path).is_err() {
                continue;
            }
            let (parent, last) = name::split(&path);
            let marker = name::marker(last);
            if !matches!(marker, Marker::Whiteout(_) | Marker::Opaque) || leads_through(&gone, parent) {
                continue;
            }
            match (self.walker.directory(&mut self.tree, parent, Missing::Stop), marker) {
                (Ok(Some(dir)), Marker::Whiteout(hidden)) => doomed.extend(self.tree.find(dir, hidden)),
                (Ok(Some(dir)), _) => opaque.push(dir),
                (Ok(None), _) => {}
                (Err(stuck), _) => self.report(&stored, stuck.into()),
            }
        }
        // Nothing is added meanwhile, so a number that is gone is not somebody else's yet.
        for dir in opaque {
            if self.tree.row(dir).tag == Tag::Directory {
                self.tree.clear(dir);
            }
        }
        for entry in doomed {
            if self.tree.entry(entry).node != NONE {
                self.tree.detach(entry);
            }
        }
    }

    /// Finds the symlinks below that this layer takes away, by a whiteout or by a directory in their place.
    ///
    /// A marker behind such a name speaks of the new directory, in which nothing lies below, and not of where the link
    /// led. `rm lib && mkdir lib` on overlayfs makes `lib/` and, in it, an opaque marker.
    fn links_gone(&mut self, records: &Records) -> HashSet<Vec<u8>> {
        let mut gone = HashSet::new();
        let mut path = Vec::new();
        for stored in records.iter() {
            if name::clean(stored.path, &mut path).is_err() {
                continue;
            }
            let (parent, last) = name::split(&path);
            let replaced = match (name::marker(last), stored.kind) {
                (Marker::Whiteout(hidden), _) => hidden,
                (Marker::None, RecordKind::Directory) => last,
                _ => continue,
            };
            // What leads nowhere is reported when its turn comes.
            let Ok(Some(entry)) = self.find(parent, replaced) else { continue };
            if self.tree.row(self.tree.entry(entry).node).tag == Tag::Symlink {
                gone.insert(name::join(parent, replaced));
            }
        }
        gone
    }
}

/// Says whether a path is one of `links` or lies behind one.
fn leads_through(links: &HashSet<Vec<u8>>, path: &[u8]) -> bool {
    if links.is_empty() {
        return false;
    }
    let mut ends = (0..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
    ends.any(|end| links.contains(&path[..end]))
}
