//! The shape for scripts. docs/inspect.md has it member by member; what stands there does not change.

use serde_json::{Value, json};

use crate::oci::{Descriptor, History, steps};
use crate::survey::{ArtifactReport, ImageReport, LayerReport, PlatformReport, ReferrerReport, Survey};
use crate::view::Place;

/// Changes when a member goes or means something else; new ones may come without.
const VERSION: u32 = 1;

/// Renders a survey.
pub(super) fn render(source: &str, survey: &Survey, problems: &str) -> String {
    let value = json!({
        "version": VERSION,
        "source": source,
        "entries": survey.entries,
        "images": survey.images.iter().map(image).collect::<Vec<_>>(),
        "artifacts": survey.artifacts.iter().map(artifact).collect::<Vec<_>>(),
        "problems": problems.lines().collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn image(image: &ImageReport) -> Value {
    json!({
        "names": image.names,
        "path": image.path.as_str(),
        "kind": kind(image),
        "digest": top(image).map(|d| d.digest.as_str()),
        "size": top(image).map(|d| d.size),
        "media_type": top(image).map(|d| d.media_type.as_str()),
        "platforms": image.platforms.iter().map(platform).collect::<Vec<_>>(),
        "distinct_image_ids": super::text::image_ids(image).len(),
        "attestations": image.attestations.iter().map(artifact).collect::<Vec<_>>(),
        "referrers": image.referrers.iter().map(referrer).collect::<Vec<_>>(),
        "error": image.failure.as_ref().map(|(_, e)| e.to_string()),
    })
}

/// Says what the top entry of an image is: one index, one manifest, or several entries side by side.
pub(super) fn kind(image: &ImageReport) -> &'static str {
    match (&image.entries[..], &image.index) {
        (_, Some(_)) => "index",
        ([_], None) => "manifest",
        _ => "entries",
    }
}

/// Returns the entry of index.json that is the image, where it is one.
pub(super) fn top(image: &ImageReport) -> Option<&Descriptor> {
    match &image.entries[..] {
        [only] => Some(&only.descriptor),
        _ => None,
    }
}

fn platform(report: &PlatformReport) -> Value {
    let p = &report.platform;
    let d = &report.entry.descriptor;
    let config = report.config.as_ref().ok();
    let absent_is_null = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let packed = report.layers.iter().filter_map(|l| Some(l.descriptor.as_ref().ok()?.size));
    let error = report.manifest.as_ref().err().or(report.config.as_ref().err());
    json!({
        "path": report.path.as_str(),
        "platform": p.normalized().to_string(),
        "os": absent_is_null(&p.os),
        "architecture": absent_is_null(&p.architecture),
        "variant": absent_is_null(&p.variant),
        "os_version": absent_is_null(&p.os_version),
        "digest": d.digest.as_str(),
        "size": d.size,
        "media_type": d.media_type,
        "image_id": report.image_id().map(|d| d.as_str()),
        "config_architecture": config.map(|c| absent_is_null(&c.platform.architecture)),
        "created": config.map(|c| absent_is_null(&c.created)),
        "layers": report.layers.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "layers_size": packed.fold(0_u64, u64::saturating_add),
        "history": config.map(|c| history(&c.history, report.layers.len())),
        "referrers": report.referrers.iter().map(referrer).collect::<Vec<_>>(),
        "error": error.map(ToString::to_string),
    })
}

fn layer((number, layer): (usize, &LayerReport)) -> Value {
    let d = layer.descriptor.as_ref().ok();
    json!({
        "number": number,
        "digest": d.map(|d| d.digest.as_str()),
        "size": d.map(|d| d.size),
        "media_type": d.map(|d| d.media_type.as_str()),
        "diff_id": layer.diff_id.as_ref().map(|d| d.as_str()),
        "unpacked_size": layer.unpacked,
        "present": layer.held,
        "error": layer.descriptor.as_ref().err().map(ToString::to_string),
    })
}

fn history(history: &[History], layers: usize) -> Vec<Value> {
    let one = |(layer, step): (Option<usize>, Option<&History>)| {
        let step = step?;
        Some(json!({
            "created": step.created,
            "created_by": step.created_by,
            "comment": step.comment,
            "empty_layer": step.empty_layer,
            "layer": layer,
        }))
    };
    steps(history, layers).filter_map(one).collect()
}

fn referrer(referrer: &ReferrerReport) -> Value {
    json!({
        "how": referrer.how.as_str(),
        "kind": referrer.kind,
        "digest": referrer.digest.as_str(),
        "size": referrer.size,
        "predicates": referrer.predicates,
        "subject": referrer.subject.as_str(),
    })
}

fn artifact(artifact: &ArtifactReport) -> Value {
    let d = &artifact.entry.descriptor;
    let subject = artifact.manifest.as_ref().ok().and_then(|m| m.subject.as_ref());
    json!({
        "names": artifact.names,
        "path": artifact.path.as_ref().map(Place::as_str),
        "kind": artifact.kind(),
        "digest": d.digest.as_str(),
        "size": d.size,
        "media_type": d.media_type,
        "subject": subject.map(|s| s.digest.as_str()),
        "error": artifact.manifest.as_ref().err().map(ToString::to_string),
    })
}
