//! Times as tables write them: RFC 3339, with a fraction and an offset where there is one.

use crate::tar::Time;

/// Reads a time; nothing where it is none.
pub(super) fn rfc3339(text: &str) -> Option<Time> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = match date.as_bytes() {
        [y @ .., b'-', m1, m2, b'-', d1, d2] if y.len() == 4 => {
            (number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?)
        }
        _ => return None,
    };
    let rest = rest.strip_prefix(['T', 't'])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = match clock.as_bytes() {
        [h1, h2, b':', m1, m2, b':', s1, s2] => {
            (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?)
        }
        _ => return None,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            (fraction(&rest.as_bytes()[..end])?, &rest[end..])
        }
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Time { seconds, nanos })
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value * 10 + i64::from(digit - b'0')),
        _ => None,
    })
}

/// Reads the digits behind the point; those past the ninth are finer than any clock.
fn fraction(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let nine = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(nine.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts the days of the calendar we have now, also where it was not in use.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leaps(before) - leaps(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2019-08-20T10:30:43Z", Some((1_566_297_043, 0))),
            ("2024-02-29T23:59:59.5Z", Some((1_709_251_199, 500_000_000))),
            ("2000-03-01T00:00:00+01:30", Some((951_863_400, 0))),
            ("2000-03-01T00:00:00.000000001-00:30", Some((951_870_600, 1))),
            ("2000-03-01T00:00:00.1234567899Z", Some((951_868_800, 123_456_789))),
            ("1969-12-31T23:59:59Z", Some((-1, 0))),
            ("1900-03-01T00:00:00Z", Some((-2_203_891_200, 0))),
            ("0001-01-01T00:00:00Z", Some((-62_135_596_800, 0))),
            ("9999-12-31T23:59:59Z", Some((253_402_300_799, 0))),
            ("2023-02-29T00:00:00Z", None),
            ("2023-00-01T00:00:00Z", None),
            ("2023-13-01T00:00:00Z", None),
            ("2023-04-31T00:00:00Z", None),
            ("2023-04-30T24:00:00Z", None),
            ("2023-04-30T00:60:00Z", None),
            ("2023-04-30T00:00:60Z", None),
            ("2023-04-30T00:00:00", None),
            ("2023-04-30T00:00:00.Z", None),
            ("2023-04-30T00:00:00.5", None),
            ("2023-04-30T00:00:00+24:00", None),
            ("2023-04-30T00:00:00+1:00", None),
            ("2023-04-30 00:00:00Z", None),
            ("10000-01-01T00:00:00Z", None),
            ("2023-04-3\u{e9}T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text).map(|time| (time.seconds, time.nanos)), expected, "{text}");
        }
    }
}
