//! The form of index files: little-endian numbers, lengths before bytes, a header in front and a checksum behind.
//!
//! A file proves itself or is a miss: magic, version, key, and a checksum over all of it.

use crate::cache::Key;
use crate::codec::Compression;

/// The checksum at the end: BLAKE3 of all before it.
const CHECKSUM: usize = 32;

/// Why bytes are not the index file that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Miss {
    /// No such file, or only its beginning.
    #[error("not an index file, or cut short")]
    NotAnIndex,
    /// Its checksum does not hold.
    #[error("damaged: its checksum does not hold")]
    Damaged,
    /// Written by another version of ocifs.
    #[error("version {0}, which this program does not read")]
    Version(u32),
    /// The index of something else.
    #[error("another one's")]
    Foreign,
    /// What it says cannot be.
    #[error("contradicts itself")]
    Unsound,
}

/// Writes an index file.
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins a file of the kind that `magic` and `version` say, about what `key` names.
    pub fn begin(magic: &[u8; 8], version: u32, key: &Key) -> Self {
        let mut w = Self(magic.to_vec());
        w.u32(version);
        w.text(key.as_str());
        w
    }

    /// Ends the file with its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        let checksum = blake3::hash(&self.0);
        self.raw(checksum.as_bytes());
        self.0
    }

    /// Writes bytes whose number the reader knows.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes one byte.
    pub fn u8(&mut self, n: u8) {
        self.raw(&[n]);
    }

    /// Writes two bytes.
    pub fn u16(&mut self, n: u16) {
        self.raw(&n.to_le_bytes());
    }

    /// Writes four bytes.
    pub fn u32(&mut self, n: u32) {
        self.raw(&n.to_le_bytes());
    }

    /// Writes eight bytes.
    pub fn u64(&mut self, n: u64) {
        self.raw(&n.to_le_bytes());
    }

    /// Writes a number of things in four bytes.
    pub fn count(&mut self, n: usize) -> std::io::Result<()> {
        self.u32(u32::try_from(n).map_err(|_| std::io::Error::other("an index beyond 4 GiB"))?);
        Ok(())
    }

    /// Writes bytes and, before them, how many there are.
    pub fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.count(bytes.len())?;
        self.raw(bytes);
        Ok(())
    }

    /// Writes a short text: a digest, a key.
    pub fn text(&mut self, text: &str) {
        self.u16(u16::try_from(text.len()).expect("a digest is shorter than 600 bytes"));
        self.raw(text.as_bytes());
    }

    /// Writes a compression in one byte.
    pub fn compression(&mut self, compression: Compression) {
        self.u8(match compression {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Zstd => 2,
            Compression::Xz => 3,
            Compression::Bzip2 => 4,
        });
    }
}

/// Reads what [`Writer`] wrote; every length is held against what is left.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins to read `file`, if it is of the kind and about the thing that [`Writer::begin`] was told.
    pub fn begin(file: &'a [u8], magic: &[u8; 8], version: u32, key: &Key) -> Result<Self, Miss> {
        let end = file.len().checked_sub(CHECKSUM).ok_or(Miss::NotAnIndex)?;
        let (body, checksum) = file.split_at(end);
        let mut r = Self(body);
        if r.take(magic.len())? != magic {
            return Err(Miss::NotAnIndex);
        }
        let found = r.u32()?;
        if found != version {
            return Err(Miss::Version(found));
        }
        if *blake3::hash(body).as_bytes() != checksum {
            return Err(Miss::Damaged);
        }
        if r.text()? != key.as_str() {
            return Err(Miss::Foreign);
        }
        Ok(r)
    }

    /// Says whether all was read.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Miss> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Miss::NotAnIndex)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads bytes whose number is known.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Miss> {
        self.take(N)?.try_into().map_err(|_| Miss::NotAnIndex)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Miss> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads two bytes.
    pub fn u16(&mut self) -> Result<u16, Miss> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads four bytes.
    pub fn u32(&mut self) -> Result<u32, Miss> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads eight bytes.
    pub fn u64(&mut self) -> Result<u64, Miss> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads bytes that have their number before them.
    pub fn bytes(&mut self) -> Result<&'a [u8], Miss> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| Miss::NotAnIndex)?)
    }

    /// Reads a short text.
    pub fn text(&mut self) -> Result<&'a str, Miss> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).map_err(|_| Miss::Unsound)
    }

    /// Reads a compression.
    pub fn compression(&mut self) -> Result<Compression, Miss> {
        Ok(match self.u8()? {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Zstd,
            3 => Compression::Xz,
            4 => Compression::Bzip2,
            _ => return Err(Miss::Unsound),
        })
    }
}
