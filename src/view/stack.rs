//! The layers of one platform on top of each other: all of them, the first few, and what is gone by the end.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::Error;
use super::files::{Files, LayerClaim};
use super::{ViewOptions, history, names};
use crate::blob::BlobError;
use crate::image::{Catalog, Entry, ImageError, Objection, objections};
use crate::layer::LayerStore;
use crate::oci::{Descriptor, DescriptorError, Digest, ImageConfig, Manifest};
use crate::problems::Problem;

/// The layers of one platform, base first, and what its configuration says of them once somebody needs that: a platform is
/// there as soon as its manifest is.
pub(super) struct Stack {
    entry: Arc<Entry>,
    manifest: Manifest,
    /// Where the platform stands, for messages; ends in a slash.
    path: String,
    config: OnceLock<Config>,
    /// The root filesystem, which stands in two places: `rootfs` and the last of `at/`.
    whole: Mutex<Option<Arc<Files>>>,
    /// What each layer brought and the root filesystem does not show; made for all layers at once.
    deleted: Mutex<Option<Vec<Arc<Files>>>>,
}

/// What is kept of a configuration.
struct Config {
    /// The configuration without its history, which is the long part of it; or why there is none, for good.
    content: Result<ImageConfig, ImageError>,
    /// How many bytes the history takes as a table.
    history: usize,
}

impl Stack {
    /// Puts the layers of a manifest together. Reads nothing.
    pub(super) fn new(entry: &Arc<Entry>, manifest: Manifest, path: &str) -> Self {
        Self {
            entry: entry.clone(),
            manifest,
            path: path.to_owned(),
            config: OnceLock::new(),
            whole: Mutex::default(),
            deleted: Mutex::default(),
        }
    }

    /// Reads the configuration, unless that has been done. Fails only where the next try may go better.
    fn config(&self, catalog: &Catalog) -> Result<&Config, Error> {
        if let Some(known) = self.config.get() {
            return Ok(known);
        }
        let problem = |name: &str, what: &dyn std::fmt::Display| {
            catalog.problems().add(&Problem::new(format!("{}{name}", self.path), what));
        };
        let mut content = catalog.config(&self.entry.descriptor, &self.manifest);
        let mut history = 0;
        match &mut content {
            Ok(config) => {
                // The descriptor is what selects an image, the configuration what it is (rule 61).
                if let Some(what) = self.entry.contradiction(config) {
                    problem(names::DESCRIPTOR, &what);
                }
                history = history::table(config, self.layers()).len();
                config.history = Vec::new();
            }
            Err(e) => {
                problem(names::CONFIG, e);
                if catalog.may_pass(e) {
                    return Err(e.clone().into());
                }
            }
        }
        Ok(self.config.get_or_init(|| Config { content, history }))
    }

    /// Returns how many bytes the history has, as it is shown.
    pub(super) fn history_len(&self, catalog: &Catalog) -> Result<usize, Error> {
        let config = self.config(catalog)?;
        match config.content {
            Ok(_) => Ok(config.history),
            // A file of no bytes is never read, and reading says what is wrong.
            Err(_) => Ok(1),
        }
    }

    /// Returns the history beside the layers it made. It is made anew each time: few read it, and it may be long.
    pub(super) fn history(&self, catalog: &Catalog) -> Result<String, Error> {
        let config = catalog.config(&self.entry.descriptor, &self.manifest)?;
        Ok(history::table(&config, self.layers()))
    }

    /// Says whether the configuration has been read.
    pub(super) fn is_config_known(&self) -> bool {
        self.config.get().is_some()
    }

    /// Returns the layers, base first.
    pub(super) fn layers(&self) -> &[Result<Descriptor, DescriptorError>] {
        &self.manifest.layers
    }

    fn len_to(&self, last: Option<u32>) -> usize {
        let end = last.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_add(1));
        end.unwrap_or(self.layers().len()).min(self.layers().len())
    }

    /// Returns the blobs that are read for a look at the first layers.
    pub(super) fn blobs(&self, last: Option<u32>) -> impl Iterator<Item = &Descriptor> {
        self.config_blob().chain(self.layers()[..self.len_to(last)].iter().flatten())
    }

    /// Returns the blobs that are read for a look at one layer.
    pub(super) fn blobs_of(&self, number: u32) -> impl Iterator<Item = &Descriptor> {
        let layer = usize::try_from(number).ok().and_then(|n| self.layers().get(n)?.as_ref().ok());
        self.config_blob().chain(layer)
    }

    fn config_blob(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.config.iter().flatten().filter(|_| !self.is_config_known())
    }

    /// Returns what is said of one layer. Its diff_id is left out where the configuration has none that can be used.
    pub(super) fn claim(&self, number: u32, catalog: &Catalog) -> Result<LayerClaim, Error> {
        let number = usize::try_from(number).map_err(|_| Error::Stale)?;
        let descriptor = self.layers().get(number).ok_or(Error::Stale)?.clone()?;
        let config = self.config(catalog)?.content.as_ref().ok();
        let diff_id = config.and_then(|config| config.diff_ids.get(number)?.clone().ok());
        Ok(LayerClaim { descriptor, diff_id })
    }

    /// Puts layers and diff_ids side by side, where the configuration vouches for all of them.
    fn claims(&self, last: Option<u32>, catalog: &Catalog) -> Result<Vec<LayerClaim>, Error> {
        let vouching = self.vouching(catalog)?;
        let claim = |(number, layer): (usize, &Result<Descriptor, DescriptorError>)| {
            let diff_id = vouching.map(|(digest, config)| {
                let refused = |what| Error::Config {
                    digest: digest.clone(),
                    objection: Objection::DiffId { number, what },
                };
                config.diff_ids[number].clone().map_err(refused)
            });
            Ok(LayerClaim { descriptor: layer.clone()?, diff_id: diff_id.transpose()? })
        };
        self.layers()[..self.len_to(last)].iter().enumerate().map(claim).collect()
    }

    /// Returns the configuration and its digest, where it has a diff_id for each layer; nothing where it is not in the source.
    fn vouching(&self, catalog: &Catalog) -> Result<Option<(&Digest, &ImageConfig)>, Error> {
        let config = match &self.config(catalog)?.content {
            Ok(config) => config,
            // Missing is not wrong (image-layout.md): the manifest vouches for the layers' blobs all the same.
            Err(ImageError::Blob(BlobError::Absent { .. })) => return Ok(None),
            Err(e) => return Err(e.clone().into()),
        };
        let Some(Ok(Descriptor { digest, .. })) = &self.manifest.config else { return Ok(None) };
        // What concerns all layers comes first; a bad diff_id concerns one.
        match objections(&self.manifest, config).next() {
            None | Some(Objection::DiffId { .. }) => Ok(Some((digest, config))),
            Some(objection) => Err(Error::Config { digest: digest.clone(), objection }),
        }
    }

    /// Returns the root filesystem, made once for all places that show it.
    pub(super) fn whole(
        &self,
        catalog: &Catalog,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        let mut whole = self.whole.lock();
        if let Some(whole) = &*whole {
            return Ok(whole.clone());
        }
        let claims = self.claims(None, catalog)?;
        let made = Arc::new(Files::of_image(store, &claims, options, problem)?);
        Ok(whole.insert(made).clone())
    }

    /// Says whether what it was after layer `last` is the root filesystem.
    pub(super) fn is_whole(&self, last: u32) -> bool {
        self.len_to(Some(last)) == self.layers().len()
    }

    /// Returns the root filesystem as it was after layer `last`. What is wrong with later layers does not matter.
    pub(super) fn at(
        &self,
        last: u32,
        catalog: &Catalog,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        if self.is_whole(last) {
            return self.whole(catalog, store, options, problem);
        }
        let claims = self.claims(Some(last), catalog)?;
        Ok(Arc::new(Files::of_image(store, &claims, options, problem)?))
    }

    /// Returns what layer `number` brought and the root filesystem does not show.
    pub(super) fn deleted(
        &self,
        number: u32,
        catalog: &Catalog,
        store: &Arc<LayerStore>,
        options: &ViewOptions,
        problem: &mut dyn FnMut(String, u64),
    ) -> Result<Arc<Files>, Error> {
        let mut deleted = self.deleted.lock();
        if deleted.is_none() {
            let claims = self.claims(None, catalog)?;
            let made = Files::of_deleted(store, &claims, options, problem)?;
            *deleted = Some(made.into_iter().map(Arc::new).collect());
        }
        let all = deleted.as_deref().unwrap_or_default();
        usize::try_from(number).ok().and_then(|n| all.get(n)).cloned().ok_or(Error::Stale)
    }
}
