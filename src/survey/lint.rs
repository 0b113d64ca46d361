//! What is odd about the trees that layers make together: links to nothing, names that cannot be, whiteouts that
//! name nothing. No failure: what can be shown is shown.

use std::collections::HashSet;

use super::{Outcome, Plan};
use crate::tree::{Merge, Problem};

/// Most lines about one root filesystem.
const MAX_LINES: usize = 1_000;

/// Makes each root filesystem once, and returns where something is odd, and what.
pub(super) fn trees(plan: &Plan, outcomes: &[Outcome]) -> Vec<(String, String)> {
    let mut seen = HashSet::new();
    let mut notes = Vec::new();
    for (path, unit) in plan.units.iter().filter_map(|unit| Some((unit.rootfs.as_ref()?, unit))) {
        let layers: Vec<usize> = unit.layers.iter().map(|(n, _)| *n).collect();
        let known = layers.iter().all(|n| outcomes[*n].index.is_some());
        if !known || !seen.insert(layers.clone()) {
            continue;
        }
        let mut merge = Merge::new();
        let mut whole = true;
        for (number, n) in (0..).zip(&layers) {
            // One layer's entries at a time: they are what takes memory.
            match outcomes[*n].index.as_ref().map(|index| index.entries()) {
                Some(Ok(records)) => merge.apply(number, &records),
                _ => whole = false,
            }
        }
        if !whole {
            continue;
        }
        let (_, problems) = merge.finish();
        let more: u64 = problems.iter().skip(MAX_LINES).map(Problem::count).sum();
        notes.extend(problems.iter().take(MAX_LINES).map(|problem| (path.clone(), problem.to_string())));
        if more > 0 {
            notes.push((path.clone(), format!("{more} more of the kind")));
        }
    }
    notes
}
