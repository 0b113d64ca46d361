//! What is wrong with a source, collected where a person looks: a line each, each once.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;

/// Most lines kept. A source with more wrong than this is not read line by line.
const MAX_PROBLEMS: usize = 10_000;

/// Most problems that are told from one another: what was met is not counted again, and takes some bytes for that.
const MAX_TOLD_APART: usize = 10 * MAX_PROBLEMS;

/// Longest line kept, in bytes: names in an image have no bound.
const MAX_LINE: usize = 2_000;

/// One thing that is wrong: where, what, and what was expected and found where that can be said.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Problem {
    /// The path in the mount, or the document, it shows at.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    /// Makes a problem out of a path and what is wrong there.
    pub fn new(path: impl Into<String>, what: impl fmt::Display) -> Self {
        Self { path: path.into(), what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    /// Writes one line, with what does something to a terminal or to the reader escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for c in [&*self.path, ": ", &*self.what].into_iter().flat_map(str::chars) {
            let end = line.len();
            match is_more_than_seen(c) {
                true => line.extend(c.escape_default()),
                false => line.push(c),
            }
            if line.len() > MAX_LINE {
                line.truncate(end);
                line.push('…');
                break;
            }
        }
        f.write_str(&line)
    }
}

/// Says whether a character does something other than stand in a text: a control, what turns the direction of writing,
/// and what is there and not seen. With those a line reads as another one.
pub fn is_more_than_seen(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    c.is_control() || is_format
}

/// The problems met so far. Adding one that is there already does nothing.
#[derive(Default, Debug)]
pub struct Problems(Mutex<Lines>);

#[derive(Default, Debug)]
struct Lines {
    in_order: Vec<String>,
    seen: HashSet<u64>,
    dropped: u64,
    /// Whether there were more than are told from one another.
    uncounted: bool,
}

impl Problems {
    /// Adds a problem and logs it, the first time it is met.
    pub fn add(&self, problem: &Problem) {
        self.add_for(problem, 1);
    }

    /// Adds a problem that stands for `count` of them: so many are counted where it is not kept.
    pub fn add_for(&self, problem: &Problem, count: u64) {
        let line = problem.to_string();
        let key = fingerprint(&line);
        let mut lines = self.0.lock();
        if lines.seen.contains(&key) {
            return;
        }
        if lines.seen.len() == MAX_TOLD_APART {
            lines.uncounted = true;
            return;
        }
        lines.seen.insert(key);
        if lines.in_order.len() == MAX_PROBLEMS {
            lines.dropped += count;
            return;
        }
        lines.in_order.push(line.clone());
        drop(lines);
        log::warn!("{line}");
    }

    /// Returns how many problems were met, as far as they are told from one another.
    pub fn count(&self) -> u64 {
        let lines = self.0.lock();
        lines.in_order.len() as u64 + lines.dropped
    }

    /// Returns all lines as one text.
    pub fn text(&self) -> String {
        let lines = self.0.lock();
        let mut text = String::new();
        for line in &lines.in_order {
            text.push_str(line);
            text.push('\n');
        }
        if lines.dropped > 0 {
            let at_least = if lines.uncounted { "at least " } else { "" };
            text.push_str(&format!("… and {at_least}{} more\n", lines.dropped));
        }
        text
    }
}

fn fingerprint(line: &str) -> u64 {
    let hash = blake3::hash(line.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each_and_each_once() {
        let problems = Problems::default();
        for _ in 0..3 {
            problems.add(&Problem::new("a\nb", "wrong"));
        }
        problems.add(&Problem::new("c", "x".repeat(3 * MAX_LINE)));
        problems.add(&Problem::new("c", "\u{1}".repeat(MAX_LINE)));
        let text = problems.text();
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("a\\nb: wrong\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= MAX_LINE + "…".len()), "{}", text.len());
    }

    /// A name could turn a line round, so that it accused another file.
    #[test]
    fn what_is_not_seen_or_turns_the_writing_is_escaped() {
        for (name, shown) in [
            ("grüße", "grüße"),
            ("שלום", "שלום"),
            ("a\u{202a}b\u{202e}c", "a\\u{202a}b\\u{202e}c"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
            ("a\u{200b}\u{200d}\u{200e}\u{200f}", "a\\u{200b}\\u{200d}\\u{200e}\\u{200f}"),
            ("\u{feff}\u{61c}\u{2060}x\u{2028}", "\\u{feff}\\u{61c}\\u{2060}x\\u{2028}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(Problem::new(name, "wrong").to_string(), format!("{shown}: wrong"));
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let problems = Problems::default();
        for n in (0..MAX_PROBLEMS + 5).chain(0..MAX_PROBLEMS + 5) {
            problems.add(&Problem::new("p", n));
        }
        assert_eq!(problems.count(), MAX_PROBLEMS as u64 + 5);
        assert!(problems.text().ends_with("… and 5 more\n"));
        problems.add_for(&Problem::new("a", "100 more"), 100);
        assert!(problems.text().ends_with("… and 105 more\n"));
        for n in 0..2 * MAX_TOLD_APART {
            problems.add(&Problem::new("q", n));
        }
        let more = MAX_TOLD_APART - MAX_PROBLEMS + 99;
        assert!(problems.text().ends_with(&format!("… and at least {more} more\n")));
        assert_eq!(problems.count(), (MAX_PROBLEMS + more) as u64);
    }
}
