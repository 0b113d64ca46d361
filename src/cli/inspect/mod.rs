//! `ocifs inspect SOURCE`: what is in there, from the documents alone.

mod json;
mod text;

use std::process::ExitCode;

use super::args::InspectArgs;
use super::opening::{self, Opened};
use super::{FAILED, USAGE, fail, terminal};
use crate::image::Form;
use crate::layer::LayerStore;
use crate::survey::{Survey, Verdict};

/// Runs the command.
pub(super) fn command(args: InspectArgs) -> ExitCode {
    let as_json = args.json;
    let options = match opening::Options::new(args.source) {
        Ok(options) => options,
        Err(e) => return fail(&e, USAGE),
    };
    let Opened { catalog, image, cache } = match options.open_caged() {
        Ok(opened) => opened,
        Err(e) => return fail(&e, FAILED),
    };
    let layers = LayerStore::new(catalog.store().clone(), cache);
    let survey = Survey::new(&catalog, &layers, image, options.platform.as_ref());
    let problems = catalog.problems().text();
    let shown = match as_json {
        true => json::render(&options.shown, &survey, &problems),
        false => text::render(&survey, &problems),
    };
    terminal::print(&shown, if is_damaged(&survey) { FAILED } else { 0 })
}

/// Says whether a document that is there is not what it should be, or cannot be read. One that is not there is no failure.
fn is_damaged(survey: &Survey) -> bool {
    let bad = |e: &crate::image::ImageError| Verdict::of_document(e) != Verdict::Absent;
    let attestations = survey.images.iter().flat_map(|image| &image.attestations);
    let mut manifests = survey.artifacts.iter().chain(attestations).filter(|a| a.form == Form::Manifest);
    if manifests.any(|a| a.manifest.as_ref().err().is_some_and(bad)) {
        return true;
    }
    survey.images.iter().any(|image| {
        let platform_is_bad = |p: &crate::survey::PlatformReport| {
            p.manifest.as_ref().err().is_some_and(bad) || p.config.as_ref().err().is_some_and(bad)
        };
        image.failure.as_ref().is_some_and(|(_, e)| bad(e)) || image.platforms.iter().any(platform_is_bad)
    })
}
