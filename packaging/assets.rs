//! Writes what a package has besides the program: man pages, and completions for bash, zsh and fish.
//!
//! An example, so that neither the program nor `cargo install` carries it. `scripts/assets.sh` runs it.
//! The options come from the command line's own description; the rest is written by hand in `packaging/man/`.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// By hand, before the options and after them.
const BEFORE_OPTIONS: &str = include_str!("man/before-options.roff");
const AFTER_OPTIONS: &str = include_str!("man/after-options.roff");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: assets DIRECTORY DATE";
    let directory = PathBuf::from(arguments.next().ok_or(usage)?);
    let date = arguments.next().and_then(|date| date.into_string().ok()).ok_or(usage)?;
    fs::create_dir_all(&directory)?;

    // Without the commit that a release build says: the pages are of a version.
    let mut command = ocifs::cli::command().version(env!("CARGO_PKG_VERSION"));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), "ocifs", &directory)?;
    }
    command.build();
    main_page(&command, &date, &directory.join("ocifs.1"))?;
    for subcommand in command.get_subcommands() {
        let name = format!("ocifs-{}", subcommand.get_name());
        subcommand_page(subcommand.clone(), &name, &date, &directory.join(format!("{name}.1")))?;
    }
    Ok(())
}

fn titled(command: clap::Command, name: &str, date: &str) -> Man {
    let source = format!("ocifs {}", env!("CARGO_PKG_VERSION"));
    Man::new(command).title(name).section("1").date(date).source(source).manual("ocifs")
}

fn main_page(command: &clap::Command, date: &str, path: &Path) -> io::Result<()> {
    let page = titled(command.clone(), "OCIFS", date);
    let mut roff = Vec::new();
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    roff.extend_from_slice(BEFORE_OPTIONS.as_bytes());
    page.render_options_section(&mut roff)?;
    // What stands below the help is here too, at more length.
    roff.extend_from_slice(AFTER_OPTIONS.as_bytes());
    fs::write(path, ascii(&roff))
}

fn subcommand_page(command: clap::Command, name: &str, date: &str, path: &Path) -> io::Result<()> {
    let below = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let page = titled(command, &name.to_uppercase(), date);
    let mut roff = Vec::new();
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    page.render_synopsis_section(&mut roff)?;
    page.render_description_section(&mut roff)?;
    page.render_options_section(&mut roff)?;
    // Paragraphs such as `Exit status: 0 fine`: the words before the colon are the section's name.
    for paragraph in below.unwrap_or_default().split("\n\n") {
        let (title, text) = paragraph.split_once(':').unwrap_or(("Notes", paragraph));
        let text = text.trim().replace('\\', "\\e").replace('-', "\\-").replace('\n', "\n.br\n");
        writeln!(roff, ".SH \"{}\"\n{text}", title.trim().to_uppercase())?;
    }
    roff.extend_from_slice(b".SH \"SEE ALSO\"\n.BR ocifs (1)\n");
    fs::write(path, ascii(&roff))
}

/// Writes what is not ASCII as groff and mandoc both read it, whatever the locale is.
fn ascii(roff: &[u8]) -> String {
    let text = String::from_utf8_lossy(roff);
    let escaped = text.chars().map(|c| match c.is_ascii() {
        true => c.to_string(),
        false => format!("\\[u{:04X}]", u32::from(c)),
    });
    escaped.collect()
}
