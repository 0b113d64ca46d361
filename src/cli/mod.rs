//! The command line: arguments to plain options, failures to sentences and exit codes.

mod cache;
mod daemon;
mod log;
mod memory;
mod mount;
mod mount_options;
mod registry;
mod source;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::oci::Platform;
use crate::view::Symlinks;

/// Exit status: the image is bad, or the mount failed.
const FAILED: u8 = 1;
/// Exit status: the command line is wrong.
const USAGE: u8 = 2;

/// Mounts a container image as a read-only tree of verified files.
#[derive(Parser, Debug)]
#[command(name = "ocifs", version, about, after_help = AFTER_HELP)]
struct Args {
    /// The image: a layout directory or an archive, by its path, or as `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]` or
    /// `docker-archive:FILE[:NAME|:@NUMBER]`
    source: String,

    /// The directory to mount on
    mountpoint: PathBuf,

    /// Stay in the foreground, log to the terminal
    #[arg(short, long)]
    foreground: bool,

    /// Mount options, as in fstab: ro, allow_other, uid=N, image=NAME, platform=OS/ARCH, …
    #[arg(short = 'o', value_name = "OPT[,OPT…]")]
    options: Vec<String>,

    /// Show this image at the root: a name, or a digest, which pins it
    #[arg(long, value_name = "NAME|DIGEST")]
    image: Option<String>,

    /// Show this platform only
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = Platform::parse)]
    platform: Option<Platform>,

    /// Let every user look in, by the permissions the files show
    #[arg(long)]
    allow_other: bool,

    /// Let root look in as well
    #[arg(long, conflicts_with = "allow_other")]
    allow_root: bool,

    /// Show all files as this user's
    #[arg(long, value_name = "USER", value_parser = mount_options::user)]
    uid: Option<u32>,

    /// Show all files as this group's
    #[arg(long, value_name = "GROUP", value_parser = mount_options::group)]
    gid: Option<u32>,

    /// Show absolute symlinks of the image as they are, or relative, so that they stay inside the mount
    #[arg(long, value_enum, default_value_t = SymlinksArg::Verbatim, value_name = "verbatim|rebase")]
    symlinks: SymlinksArg,

    /// Keep layer indexes here [default: $XDG_CACHE_HOME/ocifs, or ~/.cache/ocifs]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Keep nothing on disk: every mount indexes its layers anew
    #[arg(long, conflicts_with = "cache_dir")]
    no_cache: bool,

    /// docker://: trust the certificate authorities in this PEM file as well
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// docker://: ask the registry without TLS (this machine's own is asked so anyway)
    #[arg(long)]
    plain_http: bool,

    /// docker://: how long the registry may give nothing before it counts as gone [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = registry::seconds)]
    timeout: Option<std::time::Duration>,

    /// Append the log to this file
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Log more; twice for debugging (RUST_LOG works too)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum SymlinksArg {
    Verbatim,
    Rebase,
}

impl From<SymlinksArg> for Symlinks {
    fn from(arg: SymlinksArg) -> Self {
        match arg {
            SymlinksArg::Verbatim => Self::Verbatim,
            SymlinksArg::Rebase => Self::Rebase,
        }
    }
}

const AFTER_HELP: &str = "\
The mount:  platforms/<os-arch>/{manifest.json,config.json,layers/N,diffs/N/…,rootfs/…}
            images/<name>/…   blobs/<algorithm>/<hex>   .ocifs/problems: what is wrong with the image
Unmount with `umount MOUNTPOINT`, or `fusermount3 -u MOUNTPOINT` when you are not root.

Exit status: 0 fine, 1 the image is bad or the mount failed, 2 wrong usage.";

/// Runs the command line `args`, program name included.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let helper = args.first().is_some_and(|program| is_mount_helper(program));
    let args = if helper { mount_options::from_mount_helper(&args) } else { Ok((args, false)) };
    let (args, fake) = match args {
        Ok(args) => args,
        Err(e) => return fail(&e, USAGE),
    };
    let parsed = match Args::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { USAGE } else { 0 });
        }
    };
    let options = match mount::Options::new(parsed) {
        Ok(options) => options,
        Err(e) => return fail(&e, USAGE),
    };
    match mount::run(&options, fake) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e, FAILED),
    }
}

/// mount(8) runs `mount.fuse.ocifs` for `mount -t fuse.ocifs` and for fstab.
fn is_mount_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with("mount.")
}

/// Prints an error with its causes, each once, as one sentence.
fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    eprintln!("ocifs: {text}");
    ExitCode::from(status)
}
