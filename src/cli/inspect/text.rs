//! The form for people: the answers to what one asks first, on one screen.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::json::{kind, top};
use crate::cli::terminal::{BAD, BOLD, DIM, WARN, WIDTH, clip, count, plain, styled, wrap};
use crate::oci::{History, steps};
use crate::survey::{
    ArtifactReport, ImageReport, LayerReport, PlatformReport, ReferrerReport, Survey, Verdict,
};
use crate::view::human_size;

/// Most of one kind of thing listed of one platform: the rest is counted, and in the JSON.
const MAX_LISTED: usize = 12;

/// Renders a survey.
pub(super) fn render(survey: &Survey, problems: &str) -> String {
    let mut out = String::new();
    let platforms: usize = survey.images.iter().map(|image| image.platforms.len()).sum();
    for image in &survey.images {
        show_image(&mut out, image, platforms == 1);
        out.push('\n');
    }
    if !survey.artifacts.is_empty() {
        line(&mut out, 0, &styled(BOLD, "artifacts"));
        survey.artifacts.iter().for_each(|artifact| show_artifact(&mut out, artifact));
        out.push('\n');
    }
    if survey.images.is_empty() && survey.artifacts.is_empty() {
        out.push_str("index.json names no image and no artifact\n\n");
    }
    if !problems.is_empty() {
        line(&mut out, 0, &styled(WARN, "problems"));
        problems.lines().for_each(|problem| out.push_str(&wrap(&plain(problem), 2)));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn line(out: &mut String, indent: usize, text: &str) {
    writeln!(out, "{:indent$}{}", "", text.trim_end()).expect("a string takes everything");
}

/// Returns the different ImageIDs of an image.
pub(super) fn image_ids(image: &ImageReport) -> HashSet<&str> {
    image.platforms.iter().filter_map(|p| Some(p.image_id()?.as_str())).collect()
}

fn show_image(out: &mut String, image: &ImageReport, in_full: bool) {
    match &image.names[..] {
        [] => line(out, 0, &styled(BOLD, "unnamed image")),
        names => {
            for name in names {
                line(out, 0, &styled(BOLD, &clip(&plain(name), WIDTH)));
            }
        }
    }
    match (top(image), kind(image)) {
        (Some(d), "index") => line(out, 2, &format!("index     {}", d.digest)),
        (Some(d), kind) => line(out, 2, &format!("{kind}  {}", d.digest)),
        (None, _) => {
            line(out, 2, &format!("entries   {} side by side in index.json", image.entries.len()));
        }
    }
    if let Some((_, e)) = &image.failure {
        out.push_str(&styled(BAD, &wrap(&plain(&e.to_string()), 2)));
        return;
    }
    line(out, 2, &format!("platforms {}", summary(image)));
    show_referrers(out, 2, &image.referrers);
    for platform in &image.platforms {
        show_platform(out, platform, in_full);
    }
}

/// Says how many platforms there are, and whether they are one image in several builds.
fn summary(image: &ImageReport) -> String {
    let platforms = image.platforms.len();
    let is_absent = |p: &&PlatformReport| {
        p.manifest.as_ref().err().is_some_and(|e| Verdict::of_document(e) == Verdict::Absent)
    };
    let absent = image.platforms.iter().filter(is_absent).count();
    let unknown = image.platforms.iter().filter(|p| p.image_id().is_none()).count();
    let mut text = platforms.to_string();
    match (platforms - unknown, image_ids(image).len()) {
        (0 | 1, _) => {}
        (_, 1) => text.push_str(", all with the same ImageID"),
        (known, ids) if known == ids => text.push_str(", each with its own ImageID"),
        (known, ids) => write!(text, ", {ids} different ImageIDs in {known}").expect("a string"),
    }
    for (n, what) in [(absent, "whose manifest is not here"), (unknown - absent, "without a known ImageID")] {
        if n > 0 {
            write!(text, ", {n} {what}").expect("a string");
        }
    }
    match image.attestations.len() as u64 {
        0 => {}
        n => write!(text, " (and {})", count(n, "attestation", "attestations")).expect("a string"),
    }
    text
}

fn show_platform(out: &mut String, report: &PlatformReport, in_full: bool) {
    let name = plain(&report.platform.normalized().to_string());
    let version = match report.platform.os_version.as_str() {
        "" => String::new(),
        version => format!(" {}", plain(version)),
    };
    let shown = format!("{name}{version}");
    let shown = if shown == "/" { "platform not stated".to_owned() } else { clip(&shown, 40) };
    out.push('\n');
    line(out, 2, &format!("{}  {}", styled(BOLD, &shown), layers_summary(report)));
    line(out, 4, &format!("manifest  {}", report.entry.descriptor.digest));
    match (&report.manifest, report.image_id()) {
        (Err(e), _) if Verdict::of_document(e) == Verdict::Absent => return,
        (Err(e), _) => {
            out.push_str(&styled(BAD, &wrap(&plain(&e.to_string()), 4)));
            return;
        }
        (_, Some(id)) => line(out, 4, &format!("image id  {id}")),
        (_, None) => line(out, 4, "image id  none: the manifest has no usable config"),
    }
    match &report.config {
        Err(e) => out.push_str(&styled(BAD, &wrap(&plain(&e.to_string()), 4))),
        Ok(config) if in_full => {
            let own = &config.platform;
            let architecture = if own.architecture.is_empty() { "not stated" } else { &own.architecture };
            line(out, 4, &format!("arch      {}", clip(&plain(architecture), 80)));
            if !config.created.is_empty() {
                line(out, 4, &format!("created   {}", clip(&plain(&config.created), 80)));
            }
        }
        Ok(_) => {}
    }
    show_referrers(out, 4, &report.referrers);
    if in_full {
        show_layers(out, report);
    }
}

fn layers_summary(report: &PlatformReport) -> String {
    if let Err(e) = &report.manifest {
        let absent = Verdict::of_document(e) == Verdict::Absent;
        return if absent { "not in this source".to_owned() } else { String::new() };
    }
    let sizes = report.layers.iter().filter_map(|l| Some(l.descriptor.as_ref().ok()?.size));
    let mut text = format!(
        "{}, {}",
        count(report.layers.len() as u64, "layer", "layers"),
        human_size(sizes.fold(0, u64::saturating_add))
    );
    let unpacked: Option<u64> = report.layers.iter().map(|l| l.unpacked).sum();
    if let Some(unpacked) = unpacked.filter(|_| !report.layers.is_empty()) {
        write!(text, ", unpacked {}", human_size(unpacked)).expect("a string");
    }
    if let Ok(config) = &report.config {
        let own = &config.platform.architecture;
        write!(text, ", architecture {}", if own.is_empty() { "not stated" } else { own }).expect("a string");
    }
    let absent = report.layers.iter().filter(|l| l.held == Some(false)).count() as u64;
    if absent > 0 {
        write!(text, ", {absent} not here").expect("a string");
    }
    clip(&plain(&text), 56)
}

fn show_referrers(out: &mut String, indent: usize, referrers: &[ReferrerReport]) {
    for referrer in referrers.iter().take(MAX_LISTED) {
        let what = match referrer.predicates.is_empty() {
            true => plain(&referrer.kind),
            false => plain(&referrer.predicates.join(", ")),
        };
        let text = format!("{:<9} {what}", "referrer");
        line(out, indent, &clip(&text, WIDTH - indent));
        line(out, indent + 10, &styled(DIM, referrer.digest.as_str()));
    }
    if referrers.len() > MAX_LISTED {
        line(out, indent + 10, &format!("and {} more", referrers.len() - MAX_LISTED));
    }
}

/// The layers and the steps that made them, as one table.
fn show_layers(out: &mut String, report: &PlatformReport) {
    out.push('\n');
    let head =
        format!("{:>5}  {:>9}  {:>9}  {:<19}  {}", "LAYER", "SIZE", "UNPACKED", "DIGEST", "CREATED BY");
    line(out, 4, &styled(DIM, &head));
    let mut row = |layer: Option<(usize, &LayerReport)>, by: &str| {
        let (number, size, unpacked, digest) = match layer {
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned(), String::new()),
            Some((n, layer)) => {
                let unpacked = layer.unpacked.map_or_else(|| "?".to_owned(), human_size);
                match &layer.descriptor {
                    Ok(d) => (n.to_string(), human_size(d.size), unpacked, short(&d.digest)),
                    Err(_) => (n.to_string(), "?".to_owned(), unpacked, "bad descriptor".to_owned()),
                }
            }
        };
        let absent = if layer.is_some_and(|(_, l)| l.held == Some(false)) { "(not here) " } else { "" };
        let by = by.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = format!("{number:>5}  {size:>9}  {unpacked:>9}  {digest:<19}  {absent}{}", plain(&by));
        line(out, 4, &clip(&text, WIDTH - 4));
    };
    let history: &[History] = report.config.as_ref().map_or(&[], |c| &c.history);
    for (layer, step) in steps(history, report.layers.len()) {
        row(layer.map(|n| (n, &report.layers[n])), step.map_or("", |step| &step.created_by));
    }
}

fn short(digest: &crate::oci::Digest) -> String {
    format!("{}:{}", digest.algorithm_name(), digest.short())
}

fn show_artifact(out: &mut String, artifact: &ArtifactReport) {
    let d = &artifact.entry.descriptor;
    let name = artifact.names.first().map_or_else(|| "unnamed".to_owned(), |name| plain(name));
    let size: u64 = match &artifact.manifest {
        Ok(manifest) => manifest.layers.iter().flatten().map(|l| l.size).fold(0, u64::saturating_add),
        Err(_) => 0,
    };
    line(out, 2, &clip(&format!("{name}  {}, {}", plain(artifact.kind()), human_size(size)), WIDTH - 2));
    line(out, 4, &format!("manifest  {}", d.digest));
    if let Some(subject) = artifact.manifest.as_ref().ok().and_then(|m| m.subject.as_ref()) {
        line(out, 4, &format!("subject   {}", subject.digest));
    }
}
