//! The command line: arguments to plain options, failures to sentences and exit codes.

mod args;
mod cache;
mod choose;
mod daemon;
mod help;
mod hints;
mod inspect;
mod log;
mod memory;
mod mount;
mod mount_options;
mod notify;
mod opening;
mod registry;
mod source;
mod terminal;
mod verify;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use args::{Command, MountArgs, Task};

/// Exit status: the image is bad, or the mount failed.
const FAILED: u8 = 1;
/// Exit status: the command line is wrong.
const USAGE: u8 = 2;

/// Returns what can be said on the command line, for those who make manuals and completions of it.
pub fn command() -> clap::Command {
    args::command()
}

/// Runs the command line `args`, program name included.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let helper = args.first().is_some_and(|program| is_mount_helper(program));
    let (parsed, fake) = match helper {
        // mount(8) has no subcommands: a source may have any name there.
        true => match mount_options::from_mount_helper(&args) {
            Ok((args, fake)) => (args::parse_mount(args), fake),
            Err(e) => return fail(&e, USAGE),
        },
        false => (args::parse(args), false),
    };
    match parsed {
        Ok(Task::Mount(args)) => mount_command(args, fake),
        Ok(Task::Other(Command::Inspect(args))) => inspect::command(args),
        Ok(Task::Other(Command::Verify(args))) => verify::command(args),
        Err(e) => {
            let _ = e.print();
            ExitCode::from(if e.use_stderr() { USAGE } else { 0 })
        }
    }
}

fn mount_command(args: MountArgs, fake: bool) -> ExitCode {
    let options = match mount::Options::new(args) {
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
    terminal::say(&text);
    ExitCode::from(status)
}
