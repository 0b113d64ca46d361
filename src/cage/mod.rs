//! The cage: what the process gives up once it has what it needs, so that a bug in a decoder becomes no more than that.
//!
//! Two walls, each as far as the kernel has it. A seccomp filter refuses system calls that serving never makes
//! (`calls`); Landlock refuses files that are neither the source's nor the cache's (`files`). Both hold for the
//! calling thread and all that come from it, for good. docs/decisions/0018-cage.md says why so.

mod calls;
mod files;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

/// What must go on being possible inside.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// What is read, with all that is below.
    pub readable: Vec<PathBuf>,
    /// Directories of which names are read.
    pub listable: Vec<PathBuf>,
    /// The cache directory.
    pub cache: Option<PathBuf>,
    /// The device that requests of the kernel come through.
    pub device: Option<PathBuf>,
    /// Asking a registry: sockets, and the files by which the system finds names.
    pub network: bool,
}

/// A cage that stands open: its paths are looked up, and nothing is refused yet.
pub struct Cage {
    files: Option<files::Files>,
    network: bool,
}

/// Which walls stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Walls {
    /// Whether the filter of system calls holds.
    pub seccomp: bool,
    /// The version of the kernel's Landlock that holds; 0 where none does.
    pub landlock: u32,
}

impl Cage {
    /// Looks up the paths in `needs`: what they name now is what can be opened later, whatever is mounted over it.
    pub fn new(needs: &Needs) -> Self {
        let files = files::Files::new(needs).inspect_err(|e| log::warn!("no cage by Landlock: {e}")).ok();
        Self { files, network: needs.network }
    }

    /// Closes the cage round the calling thread and those it starts, and says which walls stand.
    ///
    /// Without a wall everything works, so what a kernel does not have is no failure.
    pub fn close(self) -> Walls {
        let landlock = match self.files.map(files::Files::close) {
            Some(Ok(version)) => version,
            Some(Err(e)) => {
                log::warn!("no cage by Landlock: {e}");
                0
            }
            None => 0,
        };
        let seccomp = calls::close(self.network).inspect_err(|e| log::warn!("no cage by seccomp: {e}"));
        let walls = Walls { seccomp: seccomp.is_ok(), landlock };
        log::debug!("caged: {walls}");
        walls
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.seccomp { "seccomp" } else { "no seccomp" })?;
        match self.landlock {
            0 => f.write_str(", this kernel has no Landlock"),
            version => write!(f, ", Landlock {version}"),
        }
    }
}
