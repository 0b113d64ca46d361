//! What a check found, sorted by how bad it is; for both forms it is printed in.

use std::collections::HashSet;

use crate::survey::{Checked, Checklist, Fault, Hit, Target, Verdict};

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Severity {
    /// Not what it should be.
    Damaged,
    /// Not there, and others that belong to it are.
    Missing,
    /// It could not be told.
    Unknown,
    /// Not there, and that is no failure.
    Absent,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Absent => "absent",
        }
    }
}

/// A blob that is not simply good.
pub(super) struct Finding<'a> {
    pub(super) severity: Severity,
    pub(super) target: &'a Target,
    /// What is wrong, where there is more to say than that it is not there.
    pub(super) what: Option<&'a str>,
    pub(super) hit: Option<&'a Hit>,
}

/// Everything a check found.
pub(super) struct Report<'a> {
    pub(super) source: &'a str,
    pub(super) deep: bool,
    pub(super) stopped: bool,
    /// The worst first.
    pub(super) findings: Vec<Finding<'a>>,
    pub(super) faults: &'a [Fault],
    /// What is odd: where, and what.
    pub(super) notes: Vec<(String, String)>,
    /// Blobs that were looked at and are right, and their bytes.
    pub(super) good: (u64, u64),
    /// Layers looked into that are right, and the bytes of their contents.
    pub(super) layers: (u64, u64),
    pub(super) blobs: u64,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        source: &'a str,
        deep: bool,
        checklist: &'a Checklist,
        checked: &'a Checked,
        problems: &str,
    ) -> Self {
        let mut report = Self {
            source,
            deep,
            stopped: checked.stopped,
            findings: Vec::new(),
            faults: &checklist.faults,
            notes: Vec::new(),
            good: (0, 0),
            layers: (0, 0),
            blobs: checklist.targets.len() as u64,
        };
        let mut told: HashSet<&str> = checklist.faults.iter().map(|f| f.path.as_str()).collect();
        for (target, outcome) in checklist.targets.iter().zip(&checked.outcomes) {
            let (severity, what) = match &outcome.verdict {
                Verdict::Good => {
                    report.good.0 += 1;
                    report.good.1 = report.good.1.saturating_add(target.descriptor.size);
                    if let Some(unpacked) = outcome.unpacked {
                        report.layers.0 += 1;
                        report.layers.1 = report.layers.1.saturating_add(unpacked);
                    }
                    let place = target.places.first().map(String::as_str).unwrap_or_default();
                    report.notes.extend(outcome.notes.iter().map(|note| (place.to_owned(), note.clone())));
                    continue;
                }
                Verdict::Absent if outcome.missing => (Severity::Missing, None),
                Verdict::Absent => (Severity::Absent, None),
                Verdict::Damaged(what) => (Severity::Damaged, Some(what.as_str())),
                Verdict::Unknown(what) => (Severity::Unknown, Some(what.as_str())),
            };
            told.extend(target.places.iter().map(String::as_str));
            report.findings.push(Finding { severity, target, what, hit: outcome.hit.as_ref() });
        }
        report.findings.sort_by_key(|finding| finding.severity);
        // What reading the documents met, and no blob's verdict says.
        for line in problems.lines() {
            let (path, what) = line.split_once(": ").unwrap_or(("", line));
            if !told.contains(path) {
                report.notes.push((path.to_owned(), what.to_owned()));
            }
        }
        report.notes.extend(checked.notes.iter().cloned());
        report
    }

    pub(super) fn count(&self, severity: Severity) -> u64 {
        let blobs = self.findings.iter().filter(|finding| finding.severity == severity).count();
        blobs as u64
    }

    /// Returns the exit status: 0 fine, 1 damaged, 2 it could not be told.
    pub(super) fn status(&self) -> u8 {
        let fault =
            |damaged: bool| self.faults.iter().any(|f| matches!(f.verdict, Verdict::Damaged(_)) == damaged);
        match self.findings.iter().map(|finding| finding.severity).min() {
            Some(Severity::Damaged | Severity::Missing) => 1,
            _ if fault(true) => 1,
            Some(Severity::Unknown) => 2,
            _ if self.stopped || fault(false) => 2,
            Some(Severity::Absent) | None => 0,
        }
    }

    pub(super) fn status_name(&self) -> &'static str {
        match self.status() {
            0 => "good",
            1 => "damaged",
            _ => "unknown",
        }
    }
}
