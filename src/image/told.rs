//! What documents were found to be, kept: an index may list one document ten thousand times, under as many names and as many
//! platforms.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::oci::{Data, Descriptor, Digest, MediaType};

/// Most documents of which it is kept; then all is forgotten, and asked anew.
const MAX_DOCUMENTS: usize = 1 << 16;

/// What was told of documents, by all that an answer rests on: as what the bytes are read, and which they are.
pub struct Told<T>(Mutex<HashMap<(MediaType, Digest, u64), T>>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Told<T> {
    /// Returns what `ask` says of a document, asking once. A failure is not kept.
    pub fn get_or_ask<E>(&self, d: &Descriptor, ask: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if d.data != Data::Absent {
            // Its bytes, or what is wrong with them, are this descriptor's own.
            return ask();
        }
        let key = (d.kind(), d.digest.clone(), d.size);
        let known = self.0.lock().get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let answer = ask()?;
        let mut all = self.0.lock();
        if all.len() >= MAX_DOCUMENTS {
            all.clear();
        }
        all.insert(key, answer.clone());
        Ok(answer)
    }
}
