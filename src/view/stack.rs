//! The layers of one platform on top of each other: all of them, the first few, and what is gone by the end.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ViewOptions;
use super::error::Error;
use super::files::{Files, LayerClaim};
use crate::blob::BlobError;
use crate::image::{ImageError, Objection, objections};
use crate::layer::LayerStore;
use crate::oci::{Descriptor, DescriptorError, Digest, ImageConfig, Manifest};

/// The layers of one platform, base first, or why they cannot be put together.
pub(super) struct Stack {
    claims: Result<Vec<Result<LayerClaim, Error>>, Error>,
    /// The root filesystem, which stands in two places: `rootfs` and the last of `at/`.
    whole: Mutex<Option<Arc<Files>>>,
    /// What each layer brought and the root filesystem does not show; made for all layers at once.
    deleted: Mutex<Option<Vec<Arc<Files>>>>,
}

impl Stack {
    /// Puts layers and diff_ids side by side, where the configuration vouches for all of them.
    pub(super) fn new(manifest: &Manifest, config: &Result<ImageConfig, ImageError>) -> Self {
        Self { claims: claims(manifest, config), whole: Mutex::default(), deleted: Mutex::default() }
    }

    /// Returns the layers from the base up to and with number `last`, or all of them.
    fn up_to(&self, last: Option<u32>) -> Result<&[Result<LayerClaim, Error>], Error> {
        let all = self.claims.as_ref()?;
        let end = last.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_add(1));
        Ok(&all[..end.unwrap_or(all.len()).min(all.len())])
    }

    /// Returns the blobs that a look at the first layers takes a pass over.
    pub(super) fn layers(&self, last: Option<u32>) -> impl Iterator<Item = &LayerClaim> {
        self.up_to(last).unwrap_or_default().iter().flatten()
    }

    fn wanted(&self, last: Option<u32>) -> Result<Vec<LayerClaim>, Error> {
        self.up_to(last)?.iter().cloned().collect()
    }

    /// Returns the root filesystem, made once for all places that show it.
    pub(super) fn whole(
        &self,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        let mut whole = self.whole.lock();
        if let Some(whole) = &*whole {
            return Ok(whole.clone());
        }
        let made = Arc::new(Files::of_image(store, &self.wanted(None)?, options, problem)?);
        Ok(whole.insert(made).clone())
    }

    /// Returns the root filesystem as it was after layer `last`. What is wrong with later layers does not matter.
    pub(super) fn at(
        &self,
        last: u32,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        let claims = self.wanted(Some(last))?;
        match claims.len() == self.up_to(None)?.len() {
            true => self.whole(store, options, problem),
            false => Ok(Arc::new(Files::of_image(store, &claims, options, problem)?)),
        }
    }

    /// Returns what layer `number` brought and the root filesystem does not show.
    pub(super) fn deleted(
        &self,
        number: u32,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        let mut deleted = self.deleted.lock();
        if deleted.is_none() {
            let made = Files::of_deleted(store, &self.wanted(None)?, options, problem)?;
            *deleted = Some(made.into_iter().map(Arc::new).collect());
        }
        let all = deleted.as_deref().unwrap_or_default();
        usize::try_from(number).ok().and_then(|n| all.get(n)).cloned().ok_or(Error::Stale)
    }
}

fn claims(
    manifest: &Manifest,
    config: &Result<ImageConfig, ImageError>,
) -> Result<Vec<Result<LayerClaim, Error>>, Error> {
    let config = match config {
        Ok(config) => config,
        // Missing is not wrong (image-layout.md): the manifest vouches for the layers' blobs all the same.
        Err(ImageError::Blob(BlobError::Absent { .. })) => {
            let claim = |layer: &Result<Descriptor, DescriptorError>| {
                Ok(LayerClaim { descriptor: layer.clone()?, diff_id: None })
            };
            return Ok(manifest.layers.iter().map(claim).collect());
        }
        Err(e) => return Err(e.clone().into()),
    };
    let digest = match &manifest.config {
        Some(Ok(descriptor)) => descriptor.digest.clone(),
        Some(Err(e)) => return Err(e.clone().into()),
        None => return Err(Error::Stale),
    };
    let refused = |objection| Error::Config { digest: digest.clone(), objection };
    // What concerns all layers comes first; a bad diff_id concerns one.
    match objections(manifest, config).next() {
        None | Some(Objection::DiffId { .. }) => {}
        Some(objection) => return Err(refused(objection)),
    }
    let claim = |(number, (layer, diff_id)): (usize, (&Result<_, DescriptorError>, &Result<_, String>))| {
        let bad = |what: &String| refused(Objection::DiffId { number, what: what.clone() });
        let diff_id: &Digest = diff_id.as_ref().map_err(bad)?;
        let descriptor: &Descriptor = layer.as_ref().map_err(|e| Error::from(e.clone()))?;
        Ok(LayerClaim { descriptor: descriptor.clone(), diff_id: Some(diff_id.clone()) })
    };
    Ok(manifest.layers.iter().zip(&config.diff_ids).enumerate().map(claim).collect())
}
