//! Where the log goes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use ::log::LevelFilter;
use anyhow::Context as _;
use env_logger::{Builder, Env, Target};

use super::terminal::plain;

/// Starts logging: to `file`, or to the terminal. `RUST_LOG` goes before `verbose`. `quiet` is for those who
/// tell what is wrong with an image themselves.
pub(super) fn start(file: Option<&Path>, verbose: u8, quiet: bool) -> anyhow::Result<()> {
    // fuser's own warnings (an unmounted device) say nothing a user can use.
    let level = match verbose {
        0 if quiet => "error",
        0 => "warn,fuser=error",
        1 => "info,fuser=error",
        2 => "debug,fuser=warn",
        _ => "trace",
    };
    let mut builder = Builder::from_env(Env::default().default_filter_or(level));
    // They write down headers, and what is in those is as good as a password. Not even RUST_LOG may ask for it.
    for module in ["ureq", "ureq_proto"] {
        builder.filter_module(module, LevelFilter::Warn);
    }
    if let Some(path) = file {
        let open = File::options().create(true).append(true).open(path);
        let file = open.with_context(|| format!("{}: cannot open the log file", path.display()))?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    builder.format(|out, record| {
        let (time, level, target) = (out.timestamp(), record.level(), record.target());
        let style = out.default_level_style(level);
        // Names and texts of an image are in it: a line each, and nothing that a terminal would obey.
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {}", plain(&record.args().to_string()))
    });
    builder.init();
    Ok(())
}
