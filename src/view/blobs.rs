//! The blobs the mount shows, each one inode however many names it has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::ino::{Ino, SlotId};
use crate::oci::{Data, Descriptor, Digest};

/// A blob's number in this mount.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct BlobId(pub(super) u32);

impl BlobId {
    pub(super) fn ino(self) -> Ino {
        Ino::new(SlotId::BLOBS, self.0)
    }
}

/// What is known of one blob.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) descriptor: Arc<Descriptor>,
    /// Where it was first met, for messages.
    pub(super) path: Arc<str>,
}

/// A blob of a digest and a size is one inode. A descriptor that lies about the size, or contradicts itself, describes
/// something else: reading that one fails, and the true one's other names are not harmed.
type Key = (Digest, u64, bool);

/// Blobs by number, and their numbers by what describes them. Grows with what was looked at; numbers are never reused.
#[derive(Default)]
pub(super) struct BlobTable(RwLock<Rows>);

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    numbers: HashMap<Key, BlobId>,
}

impl BlobTable {
    /// Returns the number of the blob that `descriptor` means, giving it one where it has none.
    pub(super) fn intern(&self, descriptor: &Descriptor, path: impl FnOnce() -> String) -> BlobId {
        let key = key(descriptor);
        let mut table = self.0.write();
        if let Some(&id) = table.numbers.get(&key) {
            let row = &mut table.rows[id.0 as usize];
            // Met under blobs/ before: only now is it known what it is.
            let is_told = row.descriptor.media_type.is_empty() && !descriptor.media_type.is_empty();
            // Only this one may have the content, where the blob itself is missing.
            let brings_it = row.descriptor.data == Data::Absent && descriptor.data != Data::Absent;
            if is_told || brings_it {
                let data = if brings_it { &descriptor.data } else { &row.descriptor.data };
                row.descriptor = Arc::new(Descriptor { data: data.clone(), ..descriptor.clone() });
                row.path = path().into();
            }
            return id;
        }
        let id = BlobId(u32::try_from(table.rows.len()).expect("fewer blobs than inode numbers"));
        table.rows.push(Row { descriptor: Arc::new(descriptor.clone()), path: path().into() });
        table.numbers.insert(key, id);
        id
    }

    pub(super) fn get(&self, number: u32) -> Option<Row> {
        self.0.read().rows.get(number as usize).cloned()
    }
}

/// Returns what makes two descriptors mean one inode.
pub(super) fn key(descriptor: &Descriptor) -> Key {
    (descriptor.digest.clone(), descriptor.size, matches!(descriptor.data, Data::Wrong(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_only_one_descriptor_has_is_found_whichever_is_met_first() {
        let d = |data: &str| {
            let digest = Digest::of(crate::oci::Algorithm::Sha256, b"{}").unwrap();
            let json = format!(r#"{{"mediaType":"t","digest":"{digest}","size":2{data}}}"#);
            Descriptor::parse(&json).unwrap()
        };
        let (without, with) = (d(""), d(r#","data":"e30=""#));
        for order in [[&without, &with], [&with, &without]] {
            let table = BlobTable::default();
            let ids = order.map(|descriptor| table.intern(descriptor, String::new));
            assert_eq!(ids[0], ids[1]);
            assert_eq!(table.get(ids[0].0).unwrap().descriptor.data, with.data);
        }
    }
}
