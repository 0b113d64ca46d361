//! What is odd about the trees that layers make together: links to nothing, names that cannot be, whiteouts that
//! name nothing. No failure: what can be shown is shown.

use std::collections::HashSet;

use super::{Checklist, Outcome, rootfs};
use crate::tree::Problem;

/// Most lines about one root filesystem.
const MAX_LINES: usize = 1_000;

/// Makes each root filesystem once, and returns where something is odd, and what.
pub(super) fn trees(checklist: &Checklist, outcomes: &[Outcome]) -> Vec<(String, String)> {
    let mut seen = HashSet::new();
    let mut notes = Vec::new();
    for (path, unit) in checklist.units.iter().filter_map(|unit| Some((unit.rootfs.as_ref()?, unit))) {
        let layers: Vec<usize> = unit.layers.iter().map(|(n, _)| *n).collect();
        let known = layers.iter().all(|n| outcomes[*n].index.is_some());
        if !known || !seen.insert(layers) {
            continue;
        }
        let records = |n: usize| outcomes[n].index.as_ref()?.entries().ok();
        let Some((_, problems)) = rootfs::made(unit, records) else { continue };
        let more: u64 = problems.iter().skip(MAX_LINES).map(Problem::count).sum();
        notes.extend(problems.iter().take(MAX_LINES).map(|problem| (path.clone(), problem.to_string())));
        if more > 0 {
            notes.push((path.clone(), format!("{more} more of the kind")));
        }
    }
    notes
}
