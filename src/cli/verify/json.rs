//! The shape for scripts. docs/inspect.md has it member by member; what stands there does not change.

use serde_json::{Value, json};

use super::report::{Finding, Report, Severity};
use crate::survey::{Hit, HitFiles, Verdict};

/// Changes when a member goes or means something else; new ones may come without.
const VERSION: u32 = 1;

/// Renders a report.
pub(super) fn render(report: &Report<'_>) -> String {
    let fault = |fault: &crate::survey::Fault| {
        let (status, what) = match &fault.verdict {
            Verdict::Damaged(what) => ("damaged", Some(what)),
            Verdict::Unknown(what) => ("unknown", Some(what)),
            Verdict::Absent => ("absent", None),
            Verdict::Good => ("good", None),
        };
        json!({"path": fault.path, "status": status, "what": what})
    };
    let notes = report.notes.iter().map(|(path, what)| json!({"path": path, "what": what}));
    let value = json!({
        "version": VERSION,
        "source": report.source,
        "status": report.status_name(),
        "deep": report.deep,
        "stopped": report.stopped,
        "blobs": report.blobs,
        "good": report.good.0,
        "good_bytes": report.good.1,
        "damaged": report.count(Severity::Damaged),
        "missing": report.count(Severity::Missing),
        "unknown": report.count(Severity::Unknown),
        "absent": report.count(Severity::Absent),
        "layers": if report.deep { json!(report.layers.0) } else { Value::Null },
        "unpacked_bytes": if report.deep { json!(report.layers.1) } else { Value::Null },
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn finding(finding: &Finding<'_>) -> Value {
    let d = &finding.target.descriptor;
    json!({
        "status": finding.severity.as_str(),
        "digest": d.digest.as_str(),
        "size": d.size,
        "media_type": d.media_type,
        "what": finding.what,
        "places": finding.target.places,
        "hit": finding.hit.map(hit),
    })
}

fn hit(hit: &Hit) -> Value {
    json!({
        "lost_bytes": hit.bytes(),
        "lost": hit.lost.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
        "layer": files(&hit.files),
        "rootfs": hit.rootfs.as_ref().map(|(path, found)| {
            let mut value = files(found);
            value["path"] = path.as_str().into();
            value
        }),
    })
}

fn files(files: &HitFiles) -> Value {
    json!({"files": files.names, "count": files.count})
}
