//! `ocifs SOURCE MOUNTPOINT`: source → catalog → view → session.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::daemon::{self, Role};
use super::{Args, cache, log as logging, memory, mount_options, registry, source};
use crate::blob::BlobStore;
use crate::cache::Cache;
use crate::fuse::{Access, MountOptions, mount};
use crate::image::{Catalog, Group};
use crate::layer::LayerStore;
use crate::oci::{Digest, Index, Platform};
use crate::problems::Problems;
use crate::view::{Symlinks, View, ViewOptions};

/// Most names listed in an error.
const MAX_NAMES: usize = 20;

/// A mount as it was asked for, whichever way the options were given.
#[derive(Debug)]
pub(super) struct Options {
    source: source::Location,
    registry: registry::Options,
    shown_source: String,
    mountpoint: PathBuf,
    foreground: bool,
    image: Option<String>,
    platform: Option<Platform>,
    access: Access,
    noexec: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    symlinks: Symlinks,
    cache_dir: Option<PathBuf>,
    log_file: Option<PathBuf>,
    verbose: u8,
}

impl Options {
    pub(super) fn new(mut args: Args) -> anyhow::Result<Self> {
        let mut noexec = false;
        for list in std::mem::take(&mut args.options) {
            noexec |= mount_options::read(&list, &mut args)?;
        }
        let source = source::parse(&args.source)?;
        if source.in_registry {
            registry::check(&source.path.to_string_lossy())?;
        }
        if args.image.is_some() && source.image.is_some() {
            bail!("the image is named twice: in {} and by --image", args.source);
        }
        Ok(Self {
            image: args.image.or_else(|| source.image.clone()),
            source,
            registry: registry::Options {
                tls_ca: args.tls_ca,
                plain_http: args.plain_http,
                timeout: args.timeout,
            },
            shown_source: args.source,
            mountpoint: args.mountpoint,
            foreground: args.foreground,
            platform: args.platform,
            access: match (args.allow_other, args.allow_root) {
                (true, _) => Access::All,
                (_, true) => Access::OwnerAndRoot,
                _ => Access::Owner,
            },
            noexec,
            uid: args.uid,
            gid: args.gid,
            symlinks: args.symlinks.into(),
            cache_dir: if args.no_cache { None } else { cache::directory(args.cache_dir)? },
            log_file: args.log_file,
            verbose: args.verbose,
        })
    }
}

/// Mounts, and serves until the end: in the background unless told otherwise. A rehearsal stops before mounting.
pub(super) fn run(options: &Options, rehearsal: bool) -> anyhow::Result<()> {
    memory::bound();
    logging::start(options.log_file.as_deref(), options.verbose)?;
    let cache = options.cache_dir.clone().map(|dir| Arc::new(Cache::new(dir)));
    let source = match options.source.in_registry {
        true => {
            let reference = options.source.path.to_string_lossy();
            registry::open(&reference, &options.registry, options.cache_dir.as_deref())?
        }
        false => crate::source::open(&options.source.path, options.source.kind, cache.as_ref())?,
    };
    let mut catalog = Catalog::read(Arc::new(BlobStore::new(source)), Arc::new(Problems::default()))
        .with_context(|| options.source.path.display().to_string())?;
    let image = options.image.as_deref().map(|wanted| choose(&mut catalog, wanted)).transpose()?;
    if let Some(wanted) = &options.platform {
        check_platform(&catalog, image, wanted)?;
    }
    let entries = catalog.groups().iter().filter(|g| g.same_as.is_none()).count();
    if image.is_none() && entries > 1 {
        eprintln!(
            "ocifs: {entries} different entries in index.json: they are under images/ and artifacts/ \
             (--image NAME puts one at the root)"
        );
    }
    if rehearsal {
        return Ok(());
    }
    let layers = LayerStore::new(catalog.store().clone(), cache);
    let view = View::new(
        catalog,
        layers,
        ViewOptions {
            image,
            platform: options.platform.clone(),
            owner: (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            uid: options.uid,
            gid: options.gid,
            symlinks: options.symlinks,
        },
    );
    let mounted = mount(
        view,
        &MountOptions {
            source: options.shown_source.clone(),
            mountpoint: options.mountpoint.clone(),
            access: options.access,
            noexec: options.noexec,
        },
    )?;
    log::info!("mounted {} on {}", options.shown_source, options.mountpoint.display());
    if options.foreground {
        return Ok(mounted.serve(|| {})?);
    }
    match daemon::split().context("cannot go to the background")? {
        Role::Foreground(waiting) => {
            // The mount belongs to the other process now: nothing of it may be undone here.
            std::mem::forget(mounted);
            match waiting.wait() {
                0 => Ok(()),
                status => std::process::exit(status),
            }
        }
        Role::Background(starting) => Ok(mounted.serve(|| starting.ready())?),
    }
}

/// Spells a name as docker writes it into its archives: with a tag, and without what goes without saying.
fn docker_name(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").map(|name| name.strip_prefix("library/").unwrap_or(name));
    let name = short.unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// Finds the image that `wanted` means: a name first, then a digest anywhere below index.json, then a number in it.
fn choose(catalog: &mut Catalog, wanted: &str) -> anyhow::Result<usize> {
    if let Some(n) = catalog.find(wanted).or_else(|| catalog.find(&docker_name(wanted))) {
        return Ok(n);
    }
    if let Some(number) = source::number(wanted) {
        let entries = Index::parse(&catalog.store().index()?)?.entries;
        let count = entries.len();
        let entry = entries.into_iter().nth(number).with_context(|| {
            format!("image {wanted}: there are {count} entries in index.json, counted from @0")
        })?;
        let digest = entry.descriptor?.digest;
        return catalog.pin(&digest).with_context(|| format!("image {wanted}: {digest} is not to be found"));
    }
    // Docker and its archives write names in full; people do not.
    let ending = format!("/{wanted}");
    let is_meant =
        |g: &Group| g.same_as.is_none() && g.name.as_ref().is_some_and(|name| name.ends_with(&ending));
    let mut meant = (0..catalog.groups().len()).filter(|n| is_meant(&catalog.groups()[*n]));
    if let (Some(only), None) = (meant.next(), meant.next()) {
        return Ok(only);
    }
    if let Ok(digest) = Digest::parse(wanted) {
        return catalog
            .pin(&digest)
            .with_context(|| format!("{wanted}: no manifest or index of this digest in the source"));
    }
    let names: Vec<&str> = catalog.groups().iter().filter_map(|g| g.name.as_deref()).collect();
    let listed = names.iter().take(MAX_NAMES).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => {
            bail!("image {wanted:?}: no image in this source has a name; leave --image out, or give a digest")
        }
        n if n > MAX_NAMES => {
            bail!("image {wanted:?} is not in this source; there are {listed} and {} more", n - MAX_NAMES)
        }
        _ => bail!("image {wanted:?} is not in this source; there is {listed}"),
    }
}

/// Says so when nothing would be shown.
fn check_platform(catalog: &Catalog, image: Option<usize>, wanted: &Platform) -> anyhow::Result<()> {
    let Some(n) = image.or_else(|| catalog.sole_image()) else { return Ok(()) };
    let n = catalog.groups()[n].same_as.unwrap_or(n);
    let Ok(image) = catalog.image(n) else { return Ok(()) };
    if image.platforms.iter().any(|p| p.platform.matches(wanted)) {
        return Ok(());
    }
    let there: Vec<String> = image.platforms.iter().map(|p| p.platform.normalized().to_string()).collect();
    bail!("the image has nothing for {wanted}; it has {}", there.join(", "))
}
