//! What can be said on the command line: clap's structs, one for each thing ocifs does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};

use super::help::{ABOUT, AFTER_HELP, AFTER_LONG_HELP, LONG_ABOUT, VERSION};
use super::{mount_options, registry};
use crate::oci::Platform;
use crate::view::Symlinks;

/// The whole command line: a mount, unless its first word is a subcommand. Read by [`parse`].
#[derive(Parser, Debug)]
#[command(
    name = "ocifs",
    version = VERSION,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
    // A source of such a name is given as `./inspect`; a mount point of such a name is one.
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    mount: MountArgs,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Task {
    Mount(MountArgs),
    Other(Command),
}

/// Returns clap's description of the command line.
pub(super) fn command() -> clap::Command {
    Cli::command()
}

/// Reads a command line.
pub(super) fn parse(args: Vec<OsString>) -> Result<Task, clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    // The arguments of a mount are not there with a subcommand, so there is no whole `Cli` then.
    match matches.subcommand_name() {
        Some(_) => Command::from_arg_matches(&matches).map(Task::Other),
        None => MountArgs::from_arg_matches(&matches).map(Task::Mount),
    }
}

/// Reads a command line that can only be that of a mount.
pub(super) fn parse_mount(args: Vec<OsString>) -> Result<Task, clap::Error> {
    MountArgs::try_parse_from(args).map(Task::Mount)
}

/// What ocifs does besides mounting.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Say what is in there: images, platforms, ids, layers, sizes, history
    ///
    /// Reads documents only, never a layer; of a registry it asks for manifests and configurations.
    #[command(after_help = INSPECT_EXIT)]
    Inspect(InspectArgs),
    /// Check every blob that can be reached against its digest and its size
    ///
    /// Reads all bytes now, whatever was checked before, on all processors.
    #[command(after_help = VERIFY_EXIT)]
    Verify(VerifyArgs),
}

const INSPECT_EXIT: &str = "\
Exit status: 0 fine, 1 the source or a document in it is damaged or cannot be read, 2 wrong usage.";

const VERIFY_EXIT: &str = "\
Exit status: 0 all that is there is right, 1 something is damaged, 2 it could not be told (or wrong usage).";

/// `ocifs SOURCE MOUNTPOINT`.
#[derive(Parser, Debug)]
#[command(name = "ocifs")]
pub(super) struct MountArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// The directory to mount on
    #[arg(value_hint = ValueHint::DirPath)]
    pub(super) mountpoint: PathBuf,

    /// Stay in the foreground, log to the terminal
    #[arg(short, long)]
    pub(super) foreground: bool,

    /// Mount options, as in fstab: ro, allow_other, uid=N, image=NAME, platform=OS/ARCH, …
    ///
    /// The same as the long options: allow_other, allow_root, uid=, gid=, image=, platform=, symlinks=, cache_dir=,
    /// no_cache, tls_ca=, plain_http, timeout=, log_file=; and noexec. A comma in a value is written `\,`. What
    /// mount(8) and systemd put there for themselves is passed over.
    #[arg(short = 'o', value_name = "OPT[,OPT…]")]
    pub(super) options: Vec<String>,

    /// Let every user look in, by the permissions the files show
    ///
    /// Without it only who mounted can look in, and reads everything. Who is not root needs a line `user_allow_other`
    /// in /etc/fuse.conf.
    #[arg(long)]
    pub(super) allow_other: bool,

    /// Let root look in as well
    ///
    /// Both then read everything, whatever the modes are. Who is not root needs a line `user_allow_other` in /etc/fuse.conf.
    #[arg(long, conflicts_with = "allow_other")]
    pub(super) allow_root: bool,

    /// Show all files as this user's
    #[arg(long, value_name = "USER", value_parser = mount_options::user)]
    pub(super) uid: Option<u32>,

    /// Show all files as this group's
    #[arg(long, value_name = "GROUP", value_parser = mount_options::group)]
    pub(super) gid: Option<u32>,

    /// Show absolute symlinks of the image as they are, or relative, so that they stay inside the mount
    ///
    /// Followed from a mount, an absolute symlink leads into the host. `rebase` shows it with as many `..` as it
    /// stands deep in rootfs.
    #[arg(long, value_enum, default_value_t = SymlinksArg::Verbatim, value_name = "verbatim|rebase", hide_possible_values = true)]
    pub(super) symlinks: SymlinksArg,

    /// Append the log to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) log_file: Option<PathBuf>,
}

/// `ocifs inspect SOURCE`.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Print JSON, whose shape does not change
    #[arg(long)]
    pub(super) json: bool,
}

/// `ocifs verify SOURCE`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Print JSON, whose shape does not change
    #[arg(long)]
    pub(super) json: bool,

    /// Look into layers as well: checksums of the compression, diff_ids, the tar and its entries
    #[arg(long)]
    pub(super) deep: bool,
}

/// Which image, and how to get at it: the same for everything ocifs does.
#[derive(Args, Debug)]
pub(super) struct SourceArgs {
    /// The image: a layout directory or an archive, by its path; or `docker://HOST/NAME[:TAG|@DIGEST]`
    ///
    /// A path's content tells what it is. It can be said as well: `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`,
    /// `docker-archive:FILE[:NAME|:@NUMBER]`.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(super) source: String,

    /// This image only: a name, or a digest, which pins it
    ///
    /// A mount then has this image at its root. With a digest, platforms/ shows nothing that this digest does not vouch for, but in
    /// attestations/ and referrers/, where others speak of it.
    #[arg(long, value_name = "NAME|DIGEST")]
    pub(super) image: Option<String>,

    /// This platform only
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = Platform::parse)]
    pub(super) platform: Option<Platform>,

    /// Keep layer indexes here [default: $XDG_CACHE_HOME/ocifs, or ~/.cache/ocifs]
    ///
    /// With these the next mount of the same layer opens at once. It may be deleted at any time.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) cache_dir: Option<PathBuf>,

    /// Keep nothing on disk beyond the mount, and use nothing kept there: each indexes its layers anew
    #[arg(long, conflicts_with = "cache_dir")]
    pub(super) no_cache: bool,

    /// docker://: trust the certificate authorities in this PEM file as well
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) tls_ca: Option<PathBuf>,

    /// docker://: ask the registry without TLS (this machine's own is asked so anyway)
    #[arg(long)]
    pub(super) plain_http: bool,

    /// docker://: how long the registry may give nothing before it counts as gone [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = registry::seconds)]
    pub(super) timeout: Option<Duration>,

    /// Log more; twice for debugging (RUST_LOG works too)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(super) enum SymlinksArg {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subcommand_is_the_first_word_only() {
        for (line, expected) in [
            ("a b", "mount a b"),
            ("./inspect b", "mount ./inspect b"),
            ("a inspect", "mount a inspect"),
            ("-f inspect b", "mount inspect b"),
            ("inspect a", "inspect a"),
            ("inspect verify --json", "inspect verify"),
            ("verify a --deep", "verify a"),
            ("help b", "mount help b"),
        ] {
            let words = ["ocifs"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let got = match parse(words).unwrap() {
                Task::Mount(args) => format!("mount {} {}", args.source.source, args.mountpoint.display()),
                Task::Other(Command::Inspect(args)) => format!("inspect {}", args.source.source),
                Task::Other(Command::Verify(args)) => format!("verify {}", args.source.source),
            };
            assert_eq!(got, expected, "{line}");
        }
        for line in ["a", "inspect", "verify --deep", "inspect a b", "a b inspect", "inspect a --foreground"]
        {
            let words = ["ocifs"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            assert!(parse(words).is_err(), "{line}");
        }
    }

    #[test]
    fn what_clap_can_check_of_the_whole() {
        command().debug_assert();
    }

    #[test]
    fn a_mount_helper_knows_no_subcommands() {
        let got = parse_mount(["ocifs", "inspect", "b"].map(OsString::from).to_vec()).unwrap();
        assert!(matches!(got, Task::Mount(args) if args.source.source == "inspect"));
    }
}
