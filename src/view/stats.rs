//! Counters of a mount, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::state::State;

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
    /// Files handed out before they were asked for.
    pub pushed: AtomicU64,
    /// Bytes of those files.
    pub pushed_bytes: AtomicU64,
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

impl State {
    /// Returns the text of `.ocifs/stats`.
    pub(super) fn metrics(&self) -> String {
        let (view, store, layers) = (&self.stats, self.catalog.store().stats(), self.layers.stats());
        render(&[
            ("lookups_total", "counter", "Lookups of a name.", get(&view.lookups)),
            ("listings_total", "counter", "Pieces of directories listed.", get(&view.listings)),
            ("reads_total", "counter", "Reads of files that reached ocifs.", get(&view.reads)),
            ("read_bytes_total", "counter", "Bytes those reads returned.", get(&view.read_bytes)),
            (
                "pushed_total",
                "counter",
                "Small files put into the kernel's cache before they were read.",
                get(&view.pushed),
            ),
            ("pushed_bytes_total", "counter", "Bytes of those files.", get(&view.pushed_bytes)),
            ("failures_total", "counter", "Requests that failed because of the source.", get(&view.failures)),
            ("problems", "gauge", "Lines in .ocifs/problems.", self.catalog.problems().count()),
            ("blob_passes_total", "counter", "Blobs hashed in full.", get(&store.passes)),
            ("blob_hashed_bytes_total", "counter", "Bytes of those blobs.", get(&store.hashed)),
            (
                "blob_rechecked_bytes_total",
                "counter",
                "Bytes checked again on later reads.",
                get(&store.rechecked),
            ),
            ("layer_passes_total", "counter", "Layers gone over to index them.", get(&layers.passes)),
            (
                "layer_passed_bytes_total",
                "counter",
                "Bytes of those layers, compressed.",
                get(&layers.passed),
            ),
            (
                "layer_tables_total",
                "counter",
                "Layers listed by their tables of contents instead.",
                get(&layers.tables),
            ),
            (
                "part_requests_total",
                "counter",
                "Requests for parts of such layers.",
                self.catalog.store().parts_fetched().0,
            ),
            ("part_bytes_total", "counter", "Bytes of those parts.", self.catalog.store().parts_fetched().1),
            ("layer_cached_total", "counter", "Layer indexes found in the cache.", get(&layers.cached)),
            ("layer_chunks_total", "counter", "Chunks of layers decoded and checked.", get(&layers.chunks)),
            (
                "cage_seccomp",
                "gauge",
                "Whether system calls are refused that serving never makes.",
                get(&self.options.cage.seccomp),
            ),
            (
                "cage_landlock",
                "gauge",
                "Version of Landlock that keeps all files but the source and the cache away; 0 for none.",
                get(&self.options.cage.landlock),
            ),
            ("trees", "gauge", "Directories that can grow a tree.", self.slots.read().len() as u64),
        ])
    }
}

/// One metric: name, type, help, value.
type Metric = (&'static str, &'static str, &'static str, u64);

/// Renders metrics as Prometheus reads them.
fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in metrics {
        let _ =
            write!(text, "# HELP ocifs_{name} {help}\n# TYPE ocifs_{name} {kind}\nocifs_{name} {value}\n");
    }
    text
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
