//! A source for tests, in memory.

use std::time::SystemTime;

use crate::oci::{Descriptor, Digest};
use crate::read_at::ReadAt;
use crate::source::{Source, SourceError};

/// An index.json, and what opens blobs.
pub(in super::super) struct Fake<F>(pub(in super::super) String, pub(in super::super) F);

impl<F: Fn(&Descriptor) -> Result<Box<dyn ReadAt>, SourceError> + Send + Sync> Source for Fake<F> {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.clone().into())
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Absent)
    }

    fn open(&self, d: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        (self.1)(d)
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        Ok(Vec::new())
    }

    fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}
