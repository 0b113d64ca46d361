//! What a process in the background has no use for, and would keep from others.

use std::fs::File;
use std::io;

use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout};

/// Lets go of the terminal, for which `null` takes its place, and of the working directory.
pub fn let_go(null: &File) -> io::Result<()> {
    chdir("/")?;
    dup2_stdin(null)?;
    dup2_stdout(null)?;
    dup2_stderr(null)?;
    Ok(())
}
