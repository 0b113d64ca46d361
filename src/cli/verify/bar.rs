//! How far a check has come: a bar on a terminal, now and then a line elsewhere. On standard error.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal::say;
use crate::survey::Progress;
use crate::view::human_size;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// How often a line is written where no bar can be: a log that is read later should have few.
const LINE: Duration = Duration::from_secs(10);

/// Runs `work` and shows how far it has come.
pub(super) fn beside<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        // Without a thread for it there is no bar.
        let _ = std::thread::Builder::new().spawn_scoped(scope, move || {
            let show: Box<dyn Fn(u64, u64)> = match io::stderr().is_terminal() {
                true => {
                    let bar = bar();
                    Box::new(move |bytes, total| {
                        bar.set_length(total);
                        bar.set_position(bytes);
                    })
                }
                false => Box::new(|bytes, total| {
                    say(&format!("{} of {} checked", human_size(bytes), human_size(total)));
                }),
            };
            let every = if io::stderr().is_terminal() { TICK } else { LINE };
            // The sender goes with the work, however that ends.
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(every) {
                show(progress.bytes.load(Relaxed), progress.total.load(Relaxed));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn bar() -> ProgressBar {
    let style = "{bytes:>10} of {total_bytes}  {wide_bar}  {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // What was found is told below; the bar leaves nothing behind.
    bar.with_style(style).with_finish(indicatif::ProgressFinish::AndClear)
}
