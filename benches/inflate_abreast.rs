//! One gzip stream decompressed by one thread, and with workers beside it: nothing is hashed but the chunks.

mod kit;

use kit::Work;
use ocifs::stream::{Workers, scan_abreast};

fn main() {
    let blob = match std::env::args().find_map(|a| a.strip_prefix("--blob=").map(str::to_owned)) {
        Some(path) => std::fs::read(path).expect("the blob can be read"),
        None => kit::compress(&kit::tar(200, 256 << 10), "tar+gzip"),
    };
    for workers in 0..=3 {
        let how = Workers::Exactly { workers, piece: 1 << 20 };
        let pass = || {
            let scan = scan_abreast(&blob, blob.len() as u64, (), (), how).expect("memory is read");
            (scan.decoded.expect("the stream is sound").0.stream_len, scan.ahead)
        };
        let (len, ahead) = pass();
        let share = 100 * ahead / len.max(1);
        let before = cpu();
        let start = std::time::Instant::now();
        pass();
        let (wall, cpu) = (start.elapsed(), cpu() - before);
        println!("{workers} workers made {share} % ahead; once: {wall:.2?} wall, {cpu:.2} s of CPU");
        kit::measure(&format!("gzip, {workers} workers"), &Work::Bytes(len), pass);
    }
}

/// Seconds of CPU this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
