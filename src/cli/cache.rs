//! Where the cache is, when nobody says.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Returns the cache directory: `given`, else ocifs's own below the user's. None where a user has no home at all.
pub(super) fn directory(given: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(given) = given {
        // The daemon works from another directory.
        let absolute =
            std::path::absolute(&given).with_context(|| format!("{}: no such place", given.display()))?;
        return Ok(Some(absolute));
    }
    // A relative one is to be ignored (XDG base directory specification).
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    // At boot there is no home: what fstab mounts keeps its indexes where the system keeps such things.
    let system = || nix::unistd::geteuid().is_root().then(|| Path::new("/var/cache").to_owned());
    Ok(below.or_else(system).map(|below| below.join("ocifs")))
}
