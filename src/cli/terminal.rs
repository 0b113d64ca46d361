//! Text for people: what it may hold, how wide it is, what is coloured.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::{FAILED, fail};
use crate::problems::is_more_than_seen;

/// Columns of a line.
pub(super) const WIDTH: usize = 100;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Puts a style around a text.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Spells text from an image so that a terminal shows it and does nothing else: controls are escaped, and so is what
/// turns the direction of writing or is not seen.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_more_than_seen(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Cuts a text to a number of columns.
pub(super) fn clip(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// Breaks a text into lines of [`WIDTH`] columns at most, `indent` spaces before each and two more before all but the
/// first. A word that is longer than a line is broken.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut used = indent;
    let mut begun = false;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if begun && used + 1 + word.len() > WIDTH {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(indent + 2);
            used = indent + 2;
        } else if begun {
            line.push(' ');
            used += 1;
        }
        while used + word.len() > WIDTH {
            let rest = word.split_off(WIDTH - used);
            line.extend(word);
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            (word, used) = (rest, indent + 2);
        }
        used += word.len();
        line.extend(word);
        begun = true;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// Prints what a command found, in colour where it goes to a terminal and nobody minds, and returns `status`.
pub(super) fn print(text: &str, status: u8) -> ExitCode {
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads the beginning only has seen enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            fail(&anyhow::Error::from(e).context("standard output"), FAILED)
        }
        _ => ExitCode::from(status),
    }
}

/// Says something on standard error. Texts of an image may be in it, and paths.
pub(super) fn say(text: &str) {
    eprintln!("ocifs: {}", plain(text));
}

/// Says a number of things.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_escaped() {
        for (text, shown) in [
            ("v1", "v1"),
            ("grüße", "grüße"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb\t\r\0", "a\\nb\\t\\r\\u{0}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b\u{200d}", "a\\u{200b}b\\u{200d}"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn lines_are_never_too_wide() {
        let words = "word ".repeat(60);
        for text in [words.as_str(), &"x".repeat(450), "", "short", &format!("a {} b", "y".repeat(99))] {
            let wrapped = wrap(text, 4);
            assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH), "{wrapped}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            assert_eq!(letters(&wrapped), letters(text));
        }
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 4), "abc…");
    }
}
