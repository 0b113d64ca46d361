//! An image in a registry, read lazily over the distribution API.
//!
//! When it is opened, one or two small documents are fetched; everything else comes when somebody reads it, and is
//! kept in a store that later mounts share. Like every source this one proves nothing: what it hands out is checked
//! by [`crate::blob`], and what it kept and turns out to be wrong is fetched anew.

mod auth;
mod client;
mod credentials;
mod download;
mod failure;
mod http;
mod index;
mod lazy;
mod listing;
mod nameless;
mod parts;
mod patience;
mod reference;
mod referrers;
mod shared;
mod store;
mod token;
mod unfinished;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::{Source, SourceError};
use crate::oci::{Data, Descriptor, Digest, IndexEntry, MediaType};
use crate::read_at::ReadAt;
use client::Client;
use failure::Failure;
use http::Http;
use lazy::{Lazy, Partly};
use parts::MAX_BLOB;
use shared::{Place, Shared};
use store::Store;

pub use reference::{Reference, ReferenceError};

/// Most bytes of blobs kept: some tens of large images.
const MAX_STORE: u64 = 20 << 30;

/// Largest blob fetched in one piece, in bytes; larger ones can be read while they come.
const MAX_SMALL: u64 = 256 << 10;

/// How to read from a registry.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Where blobs are kept; nowhere but in nameless files if there is none.
    pub store: Option<PathBuf>,
    /// A file of further certificate authorities, in PEM form.
    pub tls_ca: Option<PathBuf>,
    /// Asks without TLS, whatever the host.
    pub plain_http: bool,
    /// How long a registry may give nothing before it counts as gone.
    pub timeout: Duration,
}

/// How long a registry may give nothing, when nobody says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// An image in a registry.
pub struct Registry {
    shared: Arc<Shared>,
    index: Vec<u8>,
    /// What index.json names.
    top: Descriptor,
    opened: SystemTime,
}

impl Registry {
    /// Fetches the manifest or index that `reference` means, and makes up the index.json that names it.
    pub fn open(reference: &Reference, options: &RegistryOptions) -> Result<Self, SourceError> {
        let refuse = |failure: Failure| SourceError::NotALayout {
            path: reference.to_string().into(),
            what: failure.to_string(),
        };
        // Half of the limit for each silence: then there is time to try once more.
        let http = Http::new(options.timeout / 2, options.tls_ca.as_deref()).map_err(refuse)?;
        let tls = options.tls_ca.is_some();
        let client = Client::new(reference.clone(), http, tls, options.plain_http, options.timeout);
        let store = Store::new(options.store.clone(), MAX_STORE);
        let shared = Arc::new(Shared::new(client, store));
        let mut top = shared.top(reference).map_err(refuse)?;
        shared.manifests.lock().insert(top.descriptor.digest.clone());
        if top.descriptor.kind() == MediaType::Manifest {
            // An index would state the platform; without it, everybody who looks would fetch the configuration.
            top.platform = shared.platform(&top.bytes);
        }
        shared.client.prepare();
        let index = index::made_up(&top.descriptor, reference.tag(), top.platform.as_ref());
        Ok(Self { shared, index, top: top.descriptor, opened: SystemTime::now() })
    }
}

impl Source for Registry {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.index.clone())
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Ok(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        if let Data::Content(bytes) = &descriptor.data {
            return Ok(Box::new(bytes.to_vec()));
        }
        if descriptor.size > MAX_BLOB {
            return Err(SourceError::TooLarge { size: descriptor.size, limit: MAX_BLOB });
        }
        Ok(Box::new(Lazy {
            shared: self.shared.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            place: Place::of(descriptor),
            blob: OnceLock::new(),
        }))
    }

    fn parts(&self, descriptor: &Descriptor) -> Option<Box<dyn ReadAt>> {
        let supported = !self.shared.parts_stats.unsupported.load(Relaxed);
        (supported && descriptor.size <= MAX_BLOB).then(|| {
            let (shared, digest) = (self.shared.clone(), descriptor.digest.clone());
            Box::new(Partly { shared, digest, size: descriptor.size }) as _
        })
    }

    fn distrust_part(&self, digest: &Digest, range: Range<u64>) {
        // A whole copy is where it was read from, if there is one.
        self.shared.store.remove(digest);
        let parts = self.shared.parts.lock().get(digest).cloned();
        if let Some((parts, _)) = parts {
            parts.forget(range);
        }
    }

    fn parts_fetched(&self) -> (u64, u64) {
        let stats = &self.shared.parts_stats;
        (stats.requests.load(Relaxed), stats.bytes.load(Relaxed))
    }

    fn is_near(&self, descriptor: &Descriptor) -> bool {
        self.shared.store.has(&descriptor.digest, descriptor.size)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn distrust(&self, digest: &Digest) {
        self.shared.store.remove(digest);
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        self.shared.blobs(&self.top)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<IndexEntry>, SourceError> {
        Ok(self.shared.referrers(subject)?)
    }

    fn modified(&self) -> SystemTime {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    pub(super) mod kit;
}
