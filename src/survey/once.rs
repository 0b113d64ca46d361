//! What documents lead to, held once: an index may list one ten thousand times, each time as another platform.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::oci::{Data, Descriptor, Digest};

/// What was made of documents, by their digests and sizes.
pub(super) struct Once<T>(Mutex<HashMap<(Digest, u64), T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Once<T> {
    /// Returns what `make` makes of a document, making it once; a failure counts for the whole survey.
    pub(super) fn get_or(&self, d: &Descriptor, make: impl FnOnce() -> T) -> T {
        if d.data != Data::Absent {
            // Its bytes, or what is wrong with them, are this descriptor's own.
            return make();
        }
        let key = (d.digest.clone(), d.size);
        let known = self.0.lock().get(&key).cloned();
        known.unwrap_or_else(|| {
            let made = make();
            self.0.lock().insert(key, made.clone());
            made
        })
    }
}
