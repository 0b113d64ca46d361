//! Parse, run, print the error chain, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ocifs::cli::run(std::env::args_os())
}
