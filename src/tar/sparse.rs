//! Maps of sparse files: which regions are stored; checked before anybody believes them.

use super::{Extent, Fault, MAX_EXTENTS};

/// A sparse map under construction.
///
/// Regions are ascending and do not overlap; they may be empty, and those are dropped.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// With stream offsets counted from the first byte of data.
    extents: Vec<Extent>,
    file_end: u64,
    stored: u64,
}

impl Map {
    /// Adds the next region.
    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), Fault> {
        if offset < self.file_end {
            return Err(Fault::Sparse("regions overlap or go backwards"));
        }
        self.file_end = offset.checked_add(length).ok_or(Fault::Sparse("region too large"))?;
        if length == 0 {
            return Ok(());
        }
        if self.extents.len() == MAX_EXTENTS {
            return Err(Fault::TooManyExtents);
        }
        self.extents.push(Extent { file_offset: offset, stream_offset: self.stored, length });
        // Regions do not overlap, so together they are at most `file_end`.
        self.stored += length;
        Ok(())
    }

    /// Returns the extents of a file of `size` bytes, `available` of which are stored from `data_offset` on.
    pub(super) fn finish(
        mut self,
        size: u64,
        data_offset: u64,
        available: u64,
    ) -> Result<Vec<Extent>, Fault> {
        if self.file_end > size {
            return Err(Fault::Sparse("region beyond the end of the file"));
        }
        if self.stored > available {
            return Err(Fault::Sparse("more data mapped than stored"));
        }
        for extent in &mut self.extents {
            extent.stream_offset = extent
                .stream_offset
                .checked_add(data_offset)
                .ok_or(Fault::Sparse("data beyond the end of the stream"))?;
        }
        Ok(self.extents)
    }
}

/// What PAX records say about a sparse file (GNU formats 0.0, 0.1 and 1.0).
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// `GNU.sparse.size` or `.realsize`.
    pub(super) real_size: Option<u64>,
    /// `GNU.sparse.name`.
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.numblocks`.
    count: Option<u64>,
    /// Offset, length, offset, length … from formats 0.0 and 0.1.
    numbers: Option<Vec<u64>>,
}

/// Where a sparse file's map is.
pub(super) enum Form {
    /// The file is not sparse.
    Dense,
    /// In the records, here complete.
    Known(Map),
    /// At the start of the data.
    InData,
}

impl SparseRecords {
    /// Takes a record; the key is without its `GNU.sparse.`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let bad = Fault::Sparse("not a number");
        let decimal = || super::pax::decimal(value).ok_or(bad);
        match key {
            b"major" => self.major = Some(decimal()?),
            b"minor" => self.minor = Some(decimal()?),
            b"size" | b"realsize" => {
                self.real_size = Some(super::pax::size(value).ok_or(Fault::Sparse("size out of range"))?)
            }
            b"numblocks" => self.count = Some(decimal()?),
            b"name" => self.name = Some(value.to_vec()).filter(|name| !name.is_empty()),
            b"map" => {
                self.numbers = Some(Vec::new());
                if !value.is_empty() {
                    for number in value.split(|byte| *byte == b',') {
                        let number = super::pax::decimal(number).ok_or(Fault::Sparse("not a number"))?;
                        self.push(number)?;
                    }
                }
            }
            b"offset" | b"numbytes" => {
                let count = self.numbers.as_ref().map_or(0, Vec::len);
                if (key == b"offset") != count.is_multiple_of(2) {
                    return Err(Fault::Sparse("offset and length do not alternate"));
                }
                self.push(decimal()?)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, number: u64) -> Result<(), Fault> {
        let numbers = self.numbers.get_or_insert_default();
        if numbers.len() == 2 * MAX_EXTENTS {
            return Err(Fault::TooManyExtents);
        }
        numbers.push(number);
        Ok(())
    }

    /// Says where the map is, and reads it when it is here.
    pub(super) fn form(&self) -> Result<Form, Fault> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => return Ok(Form::InData),
            (None, None) if self.numbers.is_none() => return Ok(Form::Dense),
            (None, None) | (Some(0), Some(0 | 1)) => {}
            _ => return Err(Fault::Sparse("unknown version")),
        }
        if self.numbers.is_none() && self.count != Some(0) {
            // Go refuses such a member too. Its bytes would be neither a hole nor in any region, and so lost.
            return Err(Fault::Sparse("no map"));
        }
        let numbers = self.numbers.as_deref().unwrap_or_default();
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Fault::Sparse("offset without a length"));
        }
        if self.count.is_some_and(|count| count != pairs.len() as u64) {
            return Err(Fault::Sparse("number of regions is not as stated"));
        }
        let mut map = Map::default();
        for [offset, length] in pairs {
            map.push(*offset, *length)?;
        }
        Ok(Form::Known(map))
    }
}

/// Reads the map at the start of the data (GNU format 1.0): lines of one decimal number, the first how many
/// regions there are, then offset and length of each.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    map: Map,
    /// Regions still to come, once the first line is read.
    left: Option<u64>,
    /// The offset that waits for its length.
    offset: Option<u64>,
    number: Option<u64>,
    /// Bytes taken so far.
    taken: u64,
}

impl MapReader {
    /// Takes bytes of the map until it is complete, and says whether it is and how many bytes that took.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(usize, bool), Fault> {
        for (at, byte) in piece.iter().enumerate() {
            self.taken += 1;
            if self.byte(*byte)? {
                return Ok((at + 1, true));
            }
        }
        Ok((piece.len(), false))
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn into_map(self) -> Map {
        self.map
    }

    fn byte(&mut self, byte: u8) -> Result<bool, Fault> {
        let bad = || Fault::Sparse("not a number");
        if byte.is_ascii_digit() {
            let number = self.number.unwrap_or(0).checked_mul(10);
            let number = number.and_then(|number| number.checked_add(u64::from(byte - b'0')));
            self.number = Some(number.ok_or_else(bad)?);
            return Ok(false);
        }
        let number = self.number.take().filter(|_| byte == b'\n').ok_or_else(bad)?;
        match (self.left, self.offset.take()) {
            (None, _) if number > MAX_EXTENTS as u64 => return Err(Fault::TooManyExtents),
            (None, _) => self.left = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(left), Some(offset)) => {
                self.map.push(offset, number)?;
                self.left = Some(left - 1);
            }
        }
        Ok(self.left == Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_bounded() {
        let mut map = Map::default();
        let mut records = SparseRecords::default();
        for i in 0..MAX_EXTENTS as u64 {
            assert_eq!(map.push(2 * i, 1), Ok(()));
            assert_eq!(records.take(b"offset", b"0"), Ok(()));
            assert_eq!(records.take(b"numbytes", b"0"), Ok(()));
        }
        assert_eq!(map.push(1 << 40, 0), Ok(()));
        assert_eq!(map.push(1 << 41, 1), Err(Fault::TooManyExtents));
        assert_eq!(records.take(b"offset", b"0"), Err(Fault::TooManyExtents));
    }
}
