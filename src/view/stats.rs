//! Counters of a mount, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of what was asked of the view.
#[derive(Default, Debug)]
pub struct ViewStats {
    /// Lookups of a name.
    pub lookups: AtomicU64,
    /// Listings of a directory, a piece each.
    pub listings: AtomicU64,
    /// Reads of a file.
    pub reads: AtomicU64,
    /// Bytes those reads returned.
    pub read_bytes: AtomicU64,
    /// Requests that failed because of the source.
    pub failures: AtomicU64,
}

/// The cage round the process, told once it stands.
#[derive(Default, Debug)]
pub struct CageStats {
    /// 1 where system calls are refused by seccomp.
    pub seccomp: AtomicU64,
    /// The version of Landlock by which files are refused; 0 where none are.
    pub landlock: AtomicU64,
}

/// One metric: name, type, help, value.
pub(super) type Metric = (&'static str, &'static str, &'static str, u64);

/// Renders metrics as Prometheus reads them.
pub(super) fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in metrics {
        let _ =
            write!(text, "# HELP ocifs_{name} {help}\n# TYPE ocifs_{name} {kind}\nocifs_{name} {value}\n");
    }
    text
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
