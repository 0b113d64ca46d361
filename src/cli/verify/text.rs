//! The form for people: what is wrong, where it shows, what it hit; and one line about all.

use std::fmt::Write as _;

use super::report::{Finding, Report, Severity};
use crate::cli::terminal::{BAD, DIM, GOOD, WARN, WIDTH, clip, count, plain, styled, wrap};
use crate::survey::{HitFiles, Verdict};
use crate::view::human_size;

/// Most places, and most files, named of one blob.
const MAX_LISTED: usize = 10;

/// Most lines about what is odd.
const MAX_NOTES: usize = 50;

/// Most absent blobs named: a partial export of a large image has hundreds.
const MAX_ABSENT: usize = 10;

/// Renders a report.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = String::new();
    for fault in report.faults {
        let (style, severity, what) = match &fault.verdict {
            Verdict::Damaged(what) => (BAD, "damaged", what.as_str()),
            Verdict::Unknown(what) => (WARN, "unknown", what.as_str()),
            Verdict::Good | Verdict::Absent => continue,
        };
        let text = wrap(&plain(&format!("{severity}  {}: {what}", fault.path).replace('\n', " ")), 0);
        out.push_str(&text.replacen(severity, &styled(style, severity), 1));
    }
    let mut absent = 0;
    for finding in &report.findings {
        if finding.severity == Severity::Absent {
            absent += 1;
            if absent > MAX_ABSENT {
                continue;
            }
        }
        show(&mut out, finding);
    }
    if absent > MAX_ABSENT {
        writeln!(out, "absent   {} more", absent - MAX_ABSENT).expect("a string takes everything");
    }
    for (path, what) in report.notes.iter().take(MAX_NOTES) {
        let path = if path.is_empty() { String::new() } else { format!("{}: ", plain(path)) };
        let text = wrap(&format!("odd      {path}{}", plain(what)), 0);
        out.push_str(&text.replacen("odd", &styled(WARN, "odd"), 1));
    }
    if report.notes.len() > MAX_NOTES {
        writeln!(out, "odd      {} more such lines", report.notes.len() - MAX_NOTES)
            .expect("a string takes everything");
    }
    out.push_str(&wrap(&summary(report), 0));
    out
}

fn show(out: &mut String, finding: &Finding<'_>) {
    let style = match finding.severity {
        Severity::Damaged | Severity::Missing => BAD,
        Severity::Unknown => WARN,
        Severity::Absent => DIM,
    };
    let d = &finding.target.descriptor;
    let severity = finding.severity.as_str();
    let pad = " ".repeat(9 - severity.len());
    writeln!(out, "{}{pad}{}, {}", styled(style, severity), d.digest, human_size(d.size))
        .expect("a string takes everything");
    if let Some(what) = finding.what {
        // The digest stands above already.
        let own = format!("{}: ", d.digest);
        out.push_str(&wrap(&plain(what.strip_prefix(&own).unwrap_or(what)), 4));
    }
    let places = &finding.target.places;
    for place in places.iter().take(MAX_LISTED) {
        writeln!(out, "    at {}", clip(&plain(place), WIDTH - 7)).expect("a string takes everything");
    }
    if places.len() > MAX_LISTED {
        writeln!(out, "    and at {} more places", places.len() - MAX_LISTED)
            .expect("a string takes everything");
    }
    let Some(hit) = finding.hit else { return };
    if hit.lost.is_empty() {
        out.push_str("    hits no file: the contents can still be had whole\n");
        return;
    }
    let (place, files) = match &hit.rootfs {
        Some((path, files)) => (plain(path), files),
        None => ("the layer".to_owned(), &hit.files),
    };
    let text = format!(
        "hits {} of the layer's contents, {} of {place}{}",
        human_size(hit.bytes()),
        count(files.count, "file", "files"),
        if files.count == 0 { "" } else { ":" }
    );
    out.push_str(&wrap(&text, 4));
    show_files(out, files);
}

fn show_files(out: &mut String, files: &HitFiles) {
    for name in files.names.iter().take(MAX_LISTED) {
        writeln!(out, "      {}", clip(&plain(name), WIDTH - 6)).expect("a string takes everything");
    }
    let shown = files.names.len().min(MAX_LISTED) as u64;
    if files.count > shown {
        writeln!(out, "      and {} more", files.count - shown).expect("a string takes everything");
    }
}

fn summary(report: &Report<'_>) -> String {
    let (blobs, bytes) = report.good;
    let good = match report.blobs {
        0 => "nothing to check: index.json leads to no blob".to_owned(),
        all if all == blobs => format!("{} good, {}", count(blobs, "blob", "blobs"), human_size(bytes)),
        all => format!("{blobs} of {} good, {}", count(all, "blob", "blobs"), human_size(bytes)),
    };
    let mut text = match report.status() {
        0 => format!("{}: {good}", styled(GOOD, "ok")),
        1 => format!("{}: {good}", styled(BAD, "damaged")),
        _ => format!("{}: {good}", styled(WARN, "could not tell")),
    };
    for severity in [Severity::Damaged, Severity::Missing, Severity::Unknown, Severity::Absent] {
        match report.count(severity) {
            0 => {}
            n => write!(text, "; {n} {}", severity.as_str()).expect("a string"),
        }
    }
    if !report.faults.is_empty() {
        let wrong = count(report.faults.len() as u64, "document says", "documents say");
        write!(text, "; {wrong} what cannot be").expect("a string");
    }
    if report.deep {
        let (layers, bytes) = report.layers;
        let looked = count(layers, "layer", "layers");
        write!(text, "; {looked} good inside, {} unpacked", human_size(bytes)).expect("a string");
    }
    if report.stopped {
        text.push_str("; stopped before its end");
    }
    text
}
