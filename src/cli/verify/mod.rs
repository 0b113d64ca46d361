//! `ocifs verify SOURCE`: reads everything now, and says what is not what it should be.

mod bar;
mod json;
mod report;
mod text;

use std::process::ExitCode;

use super::args::VerifyArgs;
use super::opening::{self, Opened};
use super::{FAILED, USAGE, fail, terminal};
use crate::image::CatalogError;
use crate::layer::LayerStore;
use crate::survey::{Checklist, Progress, Survey, check};

use report::Report;

/// Exit status: it could not be told.
const UNKNOWN: u8 = 2;

/// Runs the command.
pub(super) fn command(args: VerifyArgs) -> ExitCode {
    let (as_json, deep) = (args.json, args.deep);
    let options = match opening::Options::new(args.source) {
        Ok(options) => options,
        Err(e) => return fail(&e, USAGE),
    };
    let Opened { catalog, image, cache } = match options.open_caged() {
        Ok(opened) => opened,
        Err(e) => {
            let damaged = matches!(e.downcast_ref(), Some(CatalogError::Document(_)));
            return fail(&e, if damaged { FAILED } else { UNKNOWN });
        }
    };
    let progress = Progress::default();
    if let Err(e) = stop_at_signals(&progress) {
        return fail(&e.into(), UNKNOWN);
    }
    let layers = LayerStore::new(catalog.store().clone(), cache);
    let survey = Survey::new(&catalog, &layers, image, options.platform.as_ref());
    let checklist = Checklist::new(&catalog, &survey, options.platform.is_some());
    let checked = bar::beside(&progress, || check(&catalog, &layers, &checklist, deep, &progress));
    let report = Report::new(&options.shown, deep, &checklist, &checked, &catalog.problems().text());
    let shown = if as_json { json::render(&report) } else { text::render(&report) };
    terminal::print(&shown, report.status())
}

/// Ends the check early at Ctrl-C and SIGTERM; what was found by then is told. At the second one the process ends.
fn stop_at_signals(progress: &Progress) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the second signal finds the flag set by the first.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, progress.stop.clone())?;
        signal_hook::flag::register(signal, progress.stop.clone())?;
    }
    Ok(())
}
