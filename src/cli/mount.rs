//! `ocifs SOURCE MOUNTPOINT`: source → catalog → view → session.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;

use super::args::MountArgs;
use super::daemon::{self, Role};
use super::notify::Manager;
use super::terminal::say;
use super::{hints, mount_options, opening};
use crate::fuse::{Access, MountOptions, mount};
use crate::layer::LayerStore;
use crate::view::{CageStats, Symlinks, View, ViewOptions};

/// A mount as it was asked for, whichever way the options were given.
#[derive(Debug)]
pub(super) struct Options {
    source: opening::Options,
    mountpoint: PathBuf,
    foreground: bool,
    access: Access,
    noexec: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    symlinks: Symlinks,
    log_file: Option<PathBuf>,
}

impl Options {
    pub(super) fn new(mut args: MountArgs) -> anyhow::Result<Self> {
        let mut noexec = false;
        for list in std::mem::take(&mut args.options) {
            noexec |= mount_options::read(&list, &mut args)?;
        }
        Ok(Self {
            source: opening::Options::new(args.source)?,
            mountpoint: args.mountpoint,
            foreground: args.foreground,
            access: match (args.allow_other, args.allow_root) {
                (true, _) => Access::All,
                (_, true) => Access::OwnerAndRoot,
                _ => Access::Owner,
            },
            noexec,
            uid: args.uid,
            gid: args.gid,
            symlinks: args.symlinks.into(),
            log_file: args.log_file,
        })
    }
}

/// Mounts, and serves until the end: in the background unless told otherwise. A rehearsal stops before mounting.
pub(super) fn run(options: &Options, rehearsal: bool) -> anyhow::Result<()> {
    // The cage's paths are looked up before mounting: the mountpoint may hide the source, or lie in it.
    let opened = options.source.open_for_mount(options.log_file.as_deref());
    let (opening::Opened { catalog, image, cache }, cage) =
        opened.map_err(|e| hints::swapped(e, options.source.path(), &options.mountpoint))?;
    if rehearsal {
        return Ok(());
    }
    let entries = catalog.groups().iter().filter(|g| g.same_as.is_none()).count();
    let layers = LayerStore::new(catalog.store().clone(), cache);
    let told = Arc::new(CageStats::default());
    let view = View::new(
        catalog,
        layers,
        ViewOptions {
            image,
            platform: options.source.platform.clone(),
            owner: (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            uid: options.uid,
            gid: options.gid,
            symlinks: options.symlinks,
            cage: told.clone(),
        },
    );
    let hides = hints::hides(&options.mountpoint);
    let close = move || {
        let walls = cage.close();
        told.seccomp.store(walls.seccomp.into(), Relaxed);
        told.landlock.store(walls.landlock.into(), Relaxed);
    };
    let mounted = mount(
        view,
        &MountOptions {
            source: options.source.shown.clone(),
            mountpoint: options.mountpoint.clone(),
            access: options.access,
            noexec: options.noexec,
        },
    )?;
    log::info!("mounted {} on {}", options.source.shown, options.mountpoint.display());
    if hides {
        let point = options.mountpoint.display();
        say(&format!("{point}: was not empty; what is in it is hidden for as long as the mount lasts"));
    }
    if image.is_none() && entries > 1 {
        say(&format!(
            "index.json has {entries} images and artifacts: each is in images/ or artifacts/, and at the root is an \
             image that is the only one (--image NAME puts one there)"
        ));
    }
    if options.foreground {
        let manager = Arc::new(Manager::from_env());
        let told_at_end = manager.clone();
        return Ok(mounted.serve(close, || manager.ready(), move || told_at_end.stopping())?);
    }
    let role = match daemon::split() {
        Ok(role) => role,
        Err(e) => {
            mounted.give_up();
            return Err(e).context("cannot go to the background");
        }
    };
    match role {
        Role::Foreground(waiting) => {
            // The mount belongs to the other process now: nothing of it may be undone here.
            std::mem::forget(mounted);
            match waiting.wait() {
                0 => Ok(()),
                status => std::process::exit(status),
            }
        }
        Role::Background(starting) => Ok(mounted.serve(close, || starting.ready(), || {})?),
    }
}
