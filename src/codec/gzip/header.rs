//! The header of a gzip member, read byte by byte: its fields may be of any length and are passed over.

use super::super::inflate::crc32;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];
/// Bytes that every header has: magic, method, flags, time, extra flags, system.
const FIXED: usize = 10;

const FHCRC: u8 = 0x02;
const FEXTRA: u8 = 0x04;
const FNAME: u8 = 0x08;
const FCOMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

/// How far a header is.
#[derive(Default)]
pub(super) struct Header {
    part: Part,
    flags: u8,
    /// Over every byte before the header's own checksum.
    crc: u32,
}

#[derive(Clone, Copy)]
enum Part {
    Fixed { have: usize },
    ExtraLen { low: Option<u8> },
    Extra { left: usize },
    Name,
    Comment,
    Crc { low: Option<u8> },
    Done,
}

impl Default for Part {
    fn default() -> Self {
        Self::Fixed { have: 0 }
    }
}

/// What came of [`Header::eat`].
pub(super) enum Progress {
    More,
    Done,
    /// No member begins here. So many bytes of the magic were consumed, now or before, until that showed.
    NoMember {
        matched: &'static [u8],
    },
    Bad(&'static str),
}

impl Header {
    /// Says whether no byte was seen yet.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.part, Part::Fixed { have: 0 })
    }

    /// Reads on, and says how many bytes were consumed.
    pub(super) fn eat(&mut self, input: &[u8]) -> (usize, Progress) {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let is_crc = matches!(self.part, Part::Crc { .. });
            let (n, part) = match self.part {
                Part::Fixed { have } if have < MAGIC.len() && rest[0] != MAGIC[have] => {
                    return (at, Progress::NoMember { matched: &MAGIC[..have] });
                }
                Part::Fixed { have } => {
                    if have == MAGIC.len() {
                        self.flags = rest[0];
                    }
                    (1, if have + 1 < FIXED { Part::Fixed { have: have + 1 } } else { self.first(FEXTRA) })
                }
                Part::ExtraLen { low: None } => (1, Part::ExtraLen { low: Some(rest[0]) }),
                Part::ExtraLen { low: Some(low) } => {
                    (1, self.extra(u16::from_le_bytes([low, rest[0]]).into()))
                }
                Part::Extra { left } => {
                    let n = left.min(rest.len());
                    (n, self.extra(left - n))
                }
                Part::Name => text(rest, Part::Name, self.first(FCOMMENT)),
                Part::Comment => text(rest, Part::Comment, self.first(FHCRC)),
                Part::Crc { low: None } => (1, Part::Crc { low: Some(rest[0]) }),
                Part::Crc { low: Some(low) } if u16::from_le_bytes([low, rest[0]]) != self.crc as u16 => {
                    return (at, Progress::Bad("header has another checksum than it says"));
                }
                Part::Crc { .. } => (1, Part::Done),
                Part::Done => return (at, Progress::Done),
            };
            if !is_crc {
                self.crc = crc32(self.crc, &rest[..n]);
            }
            if self.flags & RESERVED != 0 {
                // RFC 1952, 2.3.1.2: such a bit may announce a field, and we would take it for data.
                return (at, Progress::Bad("header with reserved flags"));
            }
            at += n;
            self.part = part;
            if matches!(part, Part::Done) {
                return (at, Progress::Done);
            }
        }
        (at, Progress::More)
    }

    fn extra(&self, left: usize) -> Part {
        if left > 0 { Part::Extra { left } } else { self.first(FNAME) }
    }

    /// Returns the first part there is from the one that `flag` announces on.
    fn first(&self, flag: u8) -> Part {
        let has = |other| self.flags & other != 0;
        match flag {
            FEXTRA if has(FEXTRA) => Part::ExtraLen { low: None },
            FEXTRA | FNAME if has(FNAME) => Part::Name,
            FEXTRA | FNAME | FCOMMENT if has(FCOMMENT) => Part::Comment,
            _ if has(FHCRC) => Part::Crc { low: None },
            _ => Part::Done,
        }
    }
}

/// Passes over text up to its NUL.
fn text(rest: &[u8], same: Part, next: Part) -> (usize, Part) {
    match rest.iter().position(|byte| *byte == 0) {
        Some(nul) => (nul + 1, next),
        None => (rest.len(), same),
    }
}
