//! The fixed fields of a header block: v7, ustar, star and GNU; numbers that are checked.

/// Length of a block. Everything in an archive is padded to it.
pub(super) const BLOCK: usize = 512;

/// One block of the stream.
pub(super) type Block = [u8; BLOCK];

/// Says whether a block is all zeros: the end of the archive.
pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().fold(0, |all, byte| all | byte) == 0
}

/// Returns the bytes that fill `length` up to whole blocks.
pub(super) fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK as u64
}

/// A view of one header block.
#[derive(Clone, Copy)]
pub(super) struct Header<'a>(pub(super) &'a Block);

impl<'a> Header<'a> {
    /// Says whether the checksum holds, as the standard sums it (bytes unsigned) or as old systems did (signed).
    pub(super) fn checksum_holds(self) -> bool {
        let Some(stated) = number(&self.0[148..156]) else { return false };
        // The field itself counts as eight spaces.
        let field = &self.0[148..156];
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let unsigned = i64::from(sum(self.0) - sum(field)) + 8 * i64::from(b' ');
        if stated == unsigned {
            return true;
        }
        // Read as signed, each byte from 128 on is 256 less.
        let high = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte >> 7)).sum::<i64>();
        stated == unsigned - 256 * (high(self.0) - high(field))
    }

    pub(super) fn flag(self) -> u8 {
        self.0[156]
    }

    /// Returns the name, behind its prefix where the format has one.
    pub(super) fn path(self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(self.prefix());
        if prefix.is_empty() {
            return name.to_vec();
        }
        let mut path = Vec::with_capacity(prefix.len() + 1 + name.len());
        path.extend_from_slice(prefix);
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }

    pub(super) fn link(self) -> &'a [u8] {
        until_nul(&self.0[157..257])
    }

    pub(super) fn mode(self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(self) -> Option<i64> {
        number(&self.0[116..124])
    }

    /// Returns the number of bytes that follow; `None` when the field says nothing usable.
    pub(super) fn size(self) -> Option<u64> {
        number(&self.0[124..136]).and_then(|size| u64::try_from(size).ok())
    }

    pub(super) fn mtime(self) -> Option<i64> {
        number(&self.0[136..148])
    }

    pub(super) fn device_major(self) -> Option<i64> {
        if self.is_v7() { Some(0) } else { number(&self.0[329..337]) }
    }

    pub(super) fn device_minor(self) -> Option<i64> {
        if self.is_v7() { Some(0) } else { number(&self.0[337..345]) }
    }

    /// Returns the part of an old GNU sparse map that stands in the header, and whether blocks of it follow.
    pub(super) fn sparse(self) -> (&'a [u8], bool) {
        (&self.0[386..482], self.0[482] != 0)
    }

    /// Returns the full size of an old GNU sparse file.
    pub(super) fn real_size(self) -> Option<u64> {
        number(&self.0[483..495]).and_then(|size| u64::try_from(size).ok())
    }

    fn is_v7(self) -> bool {
        &self.0[257..262] != b"ustar"
    }

    fn prefix(self) -> &'a [u8] {
        // GNU puts times and the sparse map where POSIX has the prefix; star ends it earlier for its times.
        if &self.0[257..263] != b"ustar\0" {
            self.prefix_under_gnu_magic()
        } else if &self.0[508..512] == b"tar\0" {
            &self.0[345..476]
        } else {
            // star without its signature ends the prefix with a NUL, which will do.
            &self.0[345..500]
        }
    }

    /// Some writers (Go before 1.8) put a POSIX prefix under GNU's magic. It cannot be told from GNU's two times where it
    /// looks like numbers; where it does not, container tools take it for the prefix it is, and so do we.
    fn prefix_under_gnu_magic(self) -> &'a [u8] {
        let is_time = |field: &[u8]| field[0] == 0 || number(field).is_some();
        let text = until_nul(&self.0[345..500]);
        let is_gnu = &self.0[257..263] == b"ustar ";
        match is_gnu && !(is_time(&self.0[345..357]) && is_time(&self.0[357..369])) && text.is_ascii() {
            true => text,
            false => &[],
        }
    }
}

/// Returns the regions in a piece of an old GNU sparse map, up to the first that is not used.
pub(super) fn sparse_regions(fields: &[u8]) -> impl Iterator<Item = (Option<i64>, Option<i64>)> {
    fields
        .chunks_exact(24)
        .take_while(|region| region[12] != 0)
        .map(|region| (number(&region[..12]), number(&region[12..])))
}

/// Returns what stands before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Reads a number: octal digits between spaces and NULs, or GNU's base 256, two's complement.
///
/// An empty field is 0: writers leave out what they do not know.
fn number(field: &[u8]) -> Option<i64> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => base_256(*first, rest),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !blank(byte)) else { return Some(0) };
    let mut value = 0;
    for byte in &field[start..] {
        match byte {
            // At most twelve digits of three bits: no overflow.
            b'0'..=b'7' => value = value << 3 | i64::from(byte - b'0'),
            b' ' | 0 => break,
            _ => return None,
        }
    }
    Some(value)
}

fn base_256(first: u8, rest: &[u8]) -> Option<i64> {
    // The first bit marks the form, the second is the sign. Twelve bytes fit into an i128.
    let first = i128::from(first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
    let value = rest.iter().fold(first, |value, byte| value << 8 | i128::from(*byte));
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &[u8], expected: Option<i64>) {
        assert_eq!(number(field), expected, "{}", field.escape_ascii());
    }

    #[test]
    fn octal_numbers() {
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"644\0junk", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"        ", Some(0));
        check(b"777777777777", Some((1 << 36) - 1));
        check(b"00008\0\0\0", None);
        check(b"-0001\0\0\0", None);
        check(b"6 4x\0\0\0\0", Some(6));
    }

    #[test]
    fn base_256_numbers() {
        check(b"\x80\0\0\0\0\x2d\xc6\xc0", Some(3_000_000));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX));
        check(b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None);
        check(b"\xa0\0\0\0\0\0\0\0", Some(1 << 61));
        check(b"\xc0\0\0\0\0\0\0\0", Some(-1 << 62));
        check(b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN));
        check(b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None);
        check(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
    }

    #[test]
    fn padding_fills_blocks() {
        for (length, expected) in [(0, 0), (1, 511), (512, 0), (513, 511), (u64::MAX, 1)] {
            assert_eq!(padding(length), expected, "{length}");
        }
    }
}
