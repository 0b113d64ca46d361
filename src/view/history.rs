//! The history of an image as a table for people.

use crate::oci::{Descriptor, DescriptorError, History, ImageConfig, steps};
use crate::problems::is_more_than_seen;

/// Longest command and longest comment shown, in characters: some carry whole scripts, and a table of them cannot be read.
const MAX_COMMAND: usize = 1_000;

/// Longest time shown: RFC 3339 with nanoseconds and a zone has 35 characters.
const MAX_CREATED: usize = 40;

/// Most lines. Builders stop at some hundred steps.
const MAX_ROWS: usize = 10_000;

/// Renders `config`'s history beside the layers: number, size, created, created_by, comment.
pub(super) fn table(config: &ImageConfig, layers: &[Result<Descriptor, DescriptorError>]) -> String {
    let mut rows = vec![["LAYER", "SIZE", "CREATED", "CREATED BY", "COMMENT"].map(str::to_owned)];
    let mut steps = steps(&config.history, layers.len());
    for (layer, step) in steps.by_ref().take(MAX_ROWS) {
        let (number, size) = match layer.map(|n| (n, &layers[n])) {
            Some((n, Ok(d))) => (n.to_string(), size(d.size)),
            Some((n, Err(_))) => (n.to_string(), "?".to_owned()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let text =
            |of: fn(&History) -> &str, most| step.map(|step| one_line(of(step), most)).unwrap_or_default();
        let created = text(|step| &step.created, MAX_CREATED);
        let by = text(|step| &step.created_by, MAX_COMMAND);
        rows.push([number, size, created, by, text(|step| &step.comment, MAX_COMMAND)]);
    }
    let more = steps.count();
    align(&rows) + &if more > 0 { format!("… and {more} more\n") } else { String::new() }
}

fn align(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3).min(60)];
    let mut text = String::new();
    for [number, size, created, by, comment] in rows {
        let [a, b, c, d] = widths;
        let line = format!("{number:>a$}  {size:>b$}  {created:<c$}  {by:<d$}  {comment}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A size for people: three digits and a unit of 1000 bytes, as skopeo and docker show it.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        // From here on it would be rounded to 1000.0.
        if value < 999.95 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} PB")
}

fn one_line(text: &str, most: usize) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|c| !is_more_than_seen(c));
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_history_are_matched_in_order_and_both_are_shown_whole() {
        let config = ImageConfig::parse(
            br#"{"history":[{"created":"2026-01-01T00:00:00Z","created_by":"ADD\u202e x\n  /"},
                {"created_by":"ENV a=b","empty_layer":true},{"created_by":"RUN y","comment":"c"},{"created_by":"z"}]}"#,
        )
        .unwrap();
        let d = r#"{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":1234567}"#;
        let layer = Descriptor::parse(d);
        let got = table(&config, &[layer.clone(), layer]);
        assert_eq!(
            got,
            "LAYER    SIZE  CREATED               CREATED BY  COMMENT\n    \
             0  1.2 MB  2026-01-01T00:00:00Z  ADD x /\n    \
             -       -                        ENV a=b\n    \
             1  1.2 MB                        RUN y       c\n    \
             -       -                        z\n"
        );
    }

    #[test]
    fn sizes_have_three_digits_before_the_point_at_most() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (999_950_000_000_000, "1.0 PB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn a_hostile_history_makes_a_table_of_some_megabytes() {
        let long = format!(r#"{{"created":"{0}","created_by":"{0}"}},"#, "y".repeat(100_000));
        let json = format!(r#"{{"history":[{long}{}{{}}]}}"#, r#"{"created_by":"x"},"#.repeat(200_000));
        let got = table(&ImageConfig::parse(json.as_bytes()).unwrap(), &[]);
        assert!(got.len() < 2_000_000, "{}", got.len());
        assert!(got.ends_with("… and 190002 more\n"), "{}", &got[got.len() - 100..]);
    }
}
