//! Files that can be opened: the source's for reading, the cache's for reading and writing; by Landlock.
//!
//! What is open already stays open, so the log file needs no rule. Looking at names (stat) is not
//! refused, and needs none either.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
};

use super::Needs;

/// What is refused unless a rule grants it: all that this version of Landlock knows, as far as the kernel does too.
const VERSION: ABI = ABI::V5;

/// Where the system says how names of hosts are found, and what it loads for that. Directories, because such files are
/// replaced while a mount stands (a laptop that changes networks).
const FINDING_NAMES: [&str; 8] =
    ["/etc", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/run", "/nix/store", "/gnu/store"];

/// The rules, made and not in force yet.
pub(super) struct Files {
    rules: RulesetCreated,
}

impl Files {
    /// Makes the rules. What does not exist gets none.
    pub(super) fn new(needs: &Needs) -> io::Result<Self> {
        let all = AccessFs::from_all(VERSION);
        let mut ruleset = Ruleset::default().handle_access(all).map_err(io::Error::other)?;
        if !needs.network {
            ruleset = ruleset.handle_access(AccessNet::from_all(VERSION)).map_err(io::Error::other)?;
        }
        let mut files = Self { rules: ruleset.create().map_err(io::Error::other)? };
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let writing = reading
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile;
        for place in &needs.readable {
            files = files.allow(place, reading)?;
        }
        for directory in &needs.listable {
            files = files.allow(directory, AccessFs::ReadDir.into())?;
        }
        if let Some(cache) = &needs.cache {
            // It may not be there yet, and then nothing names it. As the cache itself makes it.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(cache);
            files = files.allow(cache, writing)?;
        }
        if let Some(device) = &needs.device {
            files = files.allow(device, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev)?;
        }
        if needs.network {
            for place in FINDING_NAMES {
                files = files.allow(Path::new(place), reading)?;
            }
            // What cannot be kept in the cache is downloaded to a file without a name.
            let nameless = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg;
            files = files.allow(&std::env::temp_dir(), nameless)?;
        }
        Ok(files)
    }

    /// Grants `access` to what `path` names now, and to all below.
    fn allow(self, path: &Path, access: BitFlags<AccessFs>) -> io::Result<Self> {
        // What is not there, and what we have no right to see, nobody opens later either.
        let (Ok(meta), Ok(place)) = (fs::metadata(path), PathFd::new(path)) else { return Ok(self) };
        let access = if meta.is_dir() { access } else { access & AccessFs::from_file(VERSION) };
        let rules = self.rules.add_rule(PathBeneath::new(place, access)).map_err(io::Error::other)?;
        Ok(Self { rules })
    }

    /// Closes this wall round the calling thread, and says by which version of Landlock: 0 where the kernel has none.
    pub(super) fn close(self) -> io::Result<u32> {
        let status: RestrictionStatus = self.rules.restrict_self().map_err(io::Error::other)?;
        Ok(match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => 0,
            (_, landlock::LandlockStatus::Available { effective_abi, .. }) => effective_abi as u32,
            _ => 0,
        })
    }
}
