//! `ocifs inspect SOURCE`.

use std::process::ExitCode;

use super::args::InspectArgs;
use super::{FAILED, USAGE, fail, opening};

/// Runs the command.
pub(super) fn command(args: InspectArgs) -> ExitCode {
    let options = match opening::Options::new(args.source) {
        Ok(options) => options,
        Err(e) => return fail(&e, USAGE),
    };
    match options.open(None) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => fail(&e, FAILED),
    }
}
