//! PAX records: `length key=value`, the keys that matter here, and extended attributes.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::sparse::SparseRecords;
use super::{Fault, MAX_XATTR_BYTES, MAX_XATTR_LIST, MAX_XATTR_NAME, MAX_XATTR_VALUE, Time, Xattr};

/// libarchive leaves the padding away; others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the extended headers before a member say. `None` leaves the word to the header.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    /// The inner `None` is a size that was given and means nothing.
    pub(super) size: Option<Option<u64>>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    /// As with the size; nobody asks unless the member is a device.
    pub(super) device_major: Option<Option<u32>>,
    pub(super) device_minor: Option<Option<u32>>,
    pub(super) sparse: SparseRecords,
    pub(super) xattrs: Xattrs,
}

impl Records {
    /// Takes the records of one extended header; a later record of a key replaces an earlier one.
    ///
    /// A record whose value is bad does not end the reading: one behind it may state the size, and that leads to
    /// the next member. A record that breaks the grammar does, as nobody knows where the next one starts.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<(), Fault> {
        let mut result = Ok(());
        while !block.is_empty() {
            // Some writers count the padding.
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let (record, rest) = split_record(block)?;
            let Some(equals) = record.iter().position(|byte| *byte == b'=') else {
                return Err(Fault::Pax("record without ="));
            };
            let (key, value) = record.split_at(equals);
            result = result.and(self.take(key, &value[1..]));
            block = rest;
        }
        result
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if key.is_empty() {
            return Err(Fault::Pax("record without a key"));
        }
        if key.contains(&0) {
            return Err(Fault::Pax("key with a NUL byte"));
        }
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push(name, value, Origin::Schily);
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            self.xattrs.push_encoded(name, value);
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        match key {
            b"path" => self.path = given(value).map(<[u8]>::to_vec),
            b"linkpath" => self.linkpath = given(value).map(<[u8]>::to_vec),
            b"size" => self.size = given(value).map(size),
            b"uid" => self.uid = id(value, "uid")?,
            b"gid" => self.gid = id(value, "gid")?,
            b"SCHILY.devmajor" => self.device_major = given(value).map(small),
            b"SCHILY.devminor" => self.device_minor = given(value).map(small),
            b"mtime" => {
                let time = |value| time(value).ok_or(Fault::Number("mtime"));
                self.mtime = given(value).map(time).transpose()?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the value, or nothing when it is empty: that takes back what an earlier record said.
fn given(value: &[u8]) -> Option<&[u8]> {
    Some(value).filter(|value| !value.is_empty())
}

fn id(value: &[u8], what: &'static str) -> Result<Option<u32>, Fault> {
    let number = |value| small(value).ok_or(Fault::Number(what));
    given(value).map(number).transpose()
}

/// Reads decimal digits that make a number of 32 bits.
fn small(value: &[u8]) -> Option<u32> {
    decimal(value).and_then(|number| u32::try_from(number).ok())
}

/// Splits the first record off: `key=value` without length and newline, and what follows.
fn split_record(block: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let bad = Fault::Pax("bad record length");
    let space = block.iter().position(|byte| *byte == b' ').ok_or(bad.clone())?;
    let length =
        decimal(&block[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(bad.clone())?;
    // At least the digits, the space and the newline; at most what there is.
    if length < space + 2 || length > block.len() {
        return Err(bad);
    }
    let (record, rest) = block.split_at(length);
    match record[space + 1..].split_last() {
        Some((b'\n', record)) => Ok((record, rest)),
        _ => Err(Fault::Pax("record without a newline")),
    }
}

/// Reads decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Reads decimal digits that make a file's size.
pub(super) fn size(digits: &[u8]) -> Option<u64> {
    decimal(digits).filter(|size| i64::try_from(*size).is_ok())
}

/// Reads seconds with an optional sign and fraction; digits past the ninth are finer than any clock.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).ok()?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    let mut nanos = 0;
    let mut unit = 100_000_000;
    for byte in fraction {
        if !byte.is_ascii_digit() {
            return None;
        }
        nanos += u32::from(byte - b'0') * unit;
        unit /= 10;
    }
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        // Seconds round down, so the fraction always counts upwards.
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Whose key an attribute stood under; the later one here wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Libarchive,
    Schily,
}

/// Extended attributes as they come in. What is malformed or too large is left out, and the first reason kept.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    list: Vec<(Vec<u8>, Origin, Vec<u8>)>,
    bytes: usize,
    /// Length of the names, each with a NUL behind it.
    listed: usize,
    fault: Option<&'static str>,
}

impl Xattrs {
    // An empty value is a value here: tar writes one for every attribute that is set to nothing.
    fn push(&mut self, name: &[u8], value: &[u8], origin: Origin) {
        let bytes = self.bytes + name.len() + value.len();
        let listed = self.listed + name.len() + 1;
        let fault = match () {
            () if name.is_empty() || name.contains(&0) => "malformed name",
            () if name.len() > MAX_XATTR_NAME => "name too long",
            () if value.len() > MAX_XATTR_VALUE => "value too long",
            // Twice, because some writers give each attribute in both forms.
            () if bytes > MAX_XATTR_BYTES || listed > 2 * MAX_XATTR_LIST => "too many",
            () => {
                (self.bytes, self.listed) = (bytes, listed);
                self.list.push((name.to_vec(), origin, value.to_vec()));
                return;
            }
        };
        self.fault.get_or_insert(fault);
    }

    fn push_encoded(&mut self, name: &[u8], value: &[u8]) {
        match (url_decode(name), BASE64.decode(value)) {
            (Some(name), Ok(value)) => self.push(&name, &value, Origin::Libarchive),
            (None, _) => _ = self.fault.get_or_insert("malformed name"),
            (_, Err(_)) => _ = self.fault.get_or_insert("value is not base64"),
        }
    }

    /// Returns the attributes sorted by name, of each name the last, and what was left out.
    pub(super) fn finish(mut self) -> (Vec<Xattr>, Option<Fault>) {
        if self.list.is_empty() {
            return (Vec::new(), self.fault.map(Fault::Xattr));
        }
        // Stable: among equals the archive's order stays, and the last one counts.
        self.list.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut xattrs: Vec<Xattr> = Vec::with_capacity(self.list.len());
        let mut listed = 0;
        for (name, _, value) in self.list {
            match xattrs.last_mut() {
                Some(last) if last.0 == name => last.1 = value,
                _ if listed + name.len() + 1 > MAX_XATTR_LIST => _ = self.fault.get_or_insert("too many"),
                _ => {
                    listed += name.len() + 1;
                    xattrs.push((name, value));
                }
            }
        }
        (xattrs, self.fault.map(Fault::Xattr))
    }
}

/// Decodes `%41` to `A`; a percent sign before anything but two hexadecimal digits is an error.
fn url_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>()?;
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(hex(digits[0])? << 4 | hex(digits[1])?);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, expected: Option<(i64, u32)>| {
            let found = time(text.as_bytes()).map(|time| (time.seconds, time.nanos));
            assert_eq!(found, expected, "{text}");
        };
        check("0", Some((0, 0)));
        check("1350244992.023960108", Some((1_350_244_992, 23_960_108)));
        check("1.5", Some((1, 500_000_000)));
        check("1.", Some((1, 0)));
        check("1.0000000019", Some((1, 1)));
        check("-1", Some((-1, 0)));
        check("-5.5", Some((-6, 500_000_000)));
        check("-0.25", Some((-1, 750_000_000)));
        check("99999999999999999", Some((99_999_999_999_999_999, 0)));
        check("9223372036854775807", Some((i64::MAX, 0)));
        check("9223372036854775808", None);
        check("-9223372036854775807.9", Some((i64::MIN, 100_000_000)));
        for bad in ["", "-", ".5", "1.x", "x", "1e9", "+1", "--1", "1.-5"] {
            check(bad, None);
        }
    }

    #[test]
    fn url_decoding() {
        for (text, expected) in [
            (&b"user.a"[..], Some(&b"user.a"[..])),
            (b"user.%3D%c3", Some(b"user.=\xc3")),
            (b"%", None),
            (b"%4", None),
            (b"%zz", None),
        ] {
            assert_eq!(url_decode(text).as_deref(), expected, "{}", text.escape_ascii());
        }
    }
}
