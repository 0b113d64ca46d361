//! From what was said about the source to an open one: the way every command begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::args::SourceArgs;
use super::{cache, choose, hints, log as logging, memory, registry, source};
use crate::blob::BlobStore;
use crate::cache::Cache;
use crate::cage::{Cage, Needs};
use crate::image::Catalog;
use crate::oci::Platform;
use crate::problems::Problems;
use crate::source::places;

/// A source as it was asked for.
#[derive(Debug)]
pub(super) struct Options {
    location: source::Location,
    registry: registry::Options,
    /// The source as the user wrote it.
    given: String,
    /// The source as mount(8) shows it.
    pub(super) shown: String,
    image: Option<String>,
    /// The only platform wanted.
    pub(super) platform: Option<Platform>,
    cache_dir: Option<PathBuf>,
    verbose: u8,
}

/// An open source.
pub(super) struct Opened {
    pub(super) catalog: Catalog,
    /// The group that was asked for.
    pub(super) image: Option<usize>,
    pub(super) cache: Option<Arc<Cache>>,
}

impl Options {
    /// Reads the arguments. Opens nothing; a failure is one of usage.
    pub(super) fn new(args: SourceArgs) -> anyhow::Result<Self> {
        let location = source::parse(&args.source)?;
        if location.in_registry {
            registry::check(&location.path.to_string_lossy())?;
        }
        if args.image.is_some() && location.image.is_some() {
            bail!("the image is named twice: in {} and by --image", args.source);
        }
        Ok(Self {
            image: args.image.or_else(|| location.image.clone()),
            registry: registry::Options {
                tls_ca: args.tls_ca,
                plain_http: args.plain_http,
                timeout: args.timeout,
            },
            shown: location.shown(&args.source),
            given: args.source,
            location,
            platform: args.platform,
            cache_dir: if args.no_cache { None } else { cache::directory(args.cache_dir)? },
            verbose: args.verbose,
        })
    }

    /// Returns where the source is, if it is on this machine.
    pub(super) fn path(&self) -> Option<&Path> {
        Some(self.location.path.as_path()).filter(|_| !self.location.in_registry)
    }

    /// Opens the source for a command that needs nothing else, and closes a cage round it. What is wrong with the image
    /// is the command's answer, so the log has failures of ocifs's own alone.
    pub(super) fn open_caged(&self) -> anyhow::Result<Opened> {
        self.start_log(None, true)?;
        self.open(Some(Cage::new(&self.needs(None))))
    }

    /// Opens the source for a mount. The cage is the caller's to close, once it is mounted; looking up its paths goes
    /// over the whole layout, and so is done beside. The log goes to a file, or to the terminal.
    pub(super) fn open_for_mount(&self, log_file: Option<&Path>) -> anyhow::Result<(Opened, Cage)> {
        self.start_log(log_file, false)?;
        let cage = || Cage::new(&self.needs(Some(PathBuf::from("/dev/fuse"))));
        std::thread::scope(|scope| {
            let beside = std::thread::Builder::new().spawn_scoped(scope, cage);
            let opened = self.open(None)?;
            let cage = match beside.map(|thread| thread.join()) {
                Ok(cage) => cage.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No thread is to be had.
                Err(_) => cage(),
            };
            Ok((opened, cage))
        })
    }

    fn start_log(&self, file: Option<&Path>, quiet: bool) -> anyhow::Result<()> {
        memory::bound();
        logging::start(file, self.verbose, quiet)
    }

    /// Returns what a cage must leave possible once the source is open.
    fn needs(&self, device: Option<PathBuf>) -> Needs {
        let places = self.path().map(places).unwrap_or_default();
        Needs {
            readable: places.read,
            listable: places.listed,
            cache: self.cache_dir.clone(),
            device,
            network: self.location.in_registry,
        }
    }

    /// Opens the source, reads its index.json and finds the image asked for, and closes `cage` on the way.
    fn open(&self, cage: Option<Cage>) -> anyhow::Result<Opened> {
        // Asking a registry begins with what a cage would not have: roots of TLS, programs that keep credentials.
        let (at_once, then) = if self.location.in_registry { (None, cage) } else { (cage, None) };
        at_once.map(Cage::close);
        let cache = self.cache_dir.clone().map(|dir| Arc::new(Cache::new(dir)));
        let source = match self.location.in_registry {
            true => {
                let reference = self.location.path.to_string_lossy();
                registry::open(&reference, &self.registry, self.cache_dir.as_deref())?
            }
            false => crate::source::open(&self.location.path, self.location.kind, cache.as_ref())
                .map_err(|e| hints::with_hint(e, &self.given, &self.location.path))?,
        };
        then.map(Cage::close);
        let mut catalog = Catalog::read(Arc::new(BlobStore::new(source)), Arc::new(Problems::default()))
            .with_context(|| self.given.clone())?;
        let image = self.image.as_deref().map(|wanted| choose::image(&mut catalog, wanted)).transpose()?;
        if let Some(wanted) = &self.platform {
            choose::check_platform(&catalog, image, wanted)?;
        }
        Ok(Opened { catalog, image, cache })
    }
}
