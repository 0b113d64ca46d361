//! Archives made from the decisions in a fuzzer's input: headers of every form, extended headers, sparse maps, then damage.
//!
//! Bytes alone seldom have a checksum that holds, and never a map that fits its data; what is made here mostly does.

use libfuzzer_sys::arbitrary::{Result, Unstructured};

const BLOCK: usize = 512;

/// Most members of one archive: enough for each to meet each.
const MAX_MEMBERS: usize = 6;

/// Names and targets that readers take differently.
const NAMES: &[&[u8]] = &[
    b"a",
    b"d/",
    b"d/f",
    b"./x",
    b"/abs",
    b"../up",
    b"a//b",
    b"",
    b".",
    b"\xe9\xff",
    b"nul\0behind",
    b"new\nline",
    b"eq=ual",
    b"0 0",
    b"a/b/c/d/e/f/g/h",
    b"d/.wh.f",
    &[b'n'; 100],
    &[b'n'; 255],
    &[b'p'; 600],
];

/// Types that mean something to somebody, the common ones more than once.
const FLAGS: &[u8] = b"000000\x00\x00125555347SDVMNZsXg";

/// Texts where a record has a number.
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"5",
    b"511",
    b"512",
    b"513",
    b"1000",
    b"4294967295",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"-1",
    b"-5.5",
    b"1.25",
    b"1.",
    b"007",
    b"+3",
    b"",
    b"x",
    b" 1",
];

/// Keys of records, the ones we read and some that we do not.
const KEYS: &[&[u8]] = &[
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"SCHILY.devmajor",
    b"SCHILY.devminor",
    b"atime",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.size",
    b"GNU.sparse.realsize",
    b"GNU.sparse.name",
    b"GNU.sparse.numblocks",
    b"GNU.sparse.map",
    b"GNU.sparse.offset",
    b"GNU.sparse.numbytes",
    b"SCHILY.xattr.user.a",
    b"SCHILY.xattr.user.b",
    b"SCHILY.xattr.",
    b"LIBARCHIVE.xattr.user.a",
    b"hdrcharset",
    b"",
];

/// An archive under construction.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    /// Where the headers are, to sum them again after damage.
    headers: Vec<usize>,
}

/// Makes an archive of what the input decides; it ends where the input does.
pub fn make(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for _ in 0..u.int_in_range(1..=MAX_MEMBERS)? {
        archive.member(u)?;
        if u.is_empty() {
            break;
        }
    }
    let zeros = *u.choose(&[0, 1, 512, 1024, 1024, 1024, 4096])?;
    archive.bytes.resize(archive.bytes.len() + zeros, 0);
    if u.ratio(1, 16)? {
        archive.member(u)?;
    }
    archive.damage(u)?;
    Ok(archive.bytes)
}

/// Mends the checksum of every block that looks like a header: what stands in them is then read.
pub fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        sum(block);
    }
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Archive {
    /// Adds a member with its extended headers and its data.
    fn member(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut flag = *u.choose(FLAGS)?;
        let mut data = vec![b'.'; usize::from(*u.choose(&[0_u16, 0, 1, 5, 511, 512, 513, 1500])?)];
        for _ in 0..*u.choose(&[0, 0, 0, 1, 1, 2, 3])? {
            match u.int_in_range(0..=8)? {
                0..=3 => self.records(u, &[])?,
                4 => {
                    let name = *u.choose(NAMES)?;
                    self.extended(u, b'L', &[name, b"\0"].concat())?;
                }
                5 => {
                    let name = *u.choose(NAMES)?;
                    self.extended(u, b'K', &[name, b"\0"].concat())?;
                }
                6 => self.extended(u, b'g', b"18 comment=global\n")?,
                _ => {
                    flag = *u.choose(b"0000\x007")?;
                    data = self.sparse_records(u)?;
                }
            }
        }
        let old_sparse = flag == b'S' || u.ratio(1, 16)?;
        if old_sparse {
            return self.old_sparse(u);
        }
        self.head(u, flag, data.len() as u64)?;
        self.data(&data);
        Ok(())
    }

    /// Adds a header block.
    fn head(&mut self, u: &mut Unstructured<'_>, flag: u8, size: u64) -> Result<&mut [u8]> {
        let at = self.bytes.len();
        self.headers.push(at);
        self.bytes.resize(at + BLOCK, 0);
        let name = *u.choose(NAMES)?;
        let link = *u.choose(NAMES)?;
        let prefix = if u.ratio(1, 6)? { *u.choose(NAMES)? } else { b"" };
        let magic: &[u8] =
            *u.choose(&[&b"ustar\x0000"[..], b"ustar\x0000", b"ustar  \0", b"ustar  \0", b"", b"ustar\0xx"])?;
        let block = &mut self.bytes[at..];
        put(block, 0, 100, name);
        put(block, 100, 8, b"0000644");
        put(block, 108, 8, b"0001750");
        put(block, 116, 8, b"0001750");
        put(block, 124, 12, format!("{size:011o}").as_bytes());
        put(block, 136, 12, b"07346545000");
        block[156] = flag;
        put(block, 157, 100, if matches!(flag, b'1' | b'2') { link } else { b"" });
        put(block, 257, 8, magic);
        put(block, 345, 155, prefix);
        if u.ratio(1, 16)? {
            put(block, 508, 4, b"tar");
        }
        if u.ratio(1, 3)? {
            let (at, len) =
                *u.choose(&[(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)])?;
            let field = number(u, len, size)?;
            put(block, at, len, &field);
        }
        sum(block);
        Ok(block)
    }

    /// Adds content, padded to whole blocks.
    fn data(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn extended(&mut self, u: &mut Unstructured<'_>, flag: u8, content: &[u8]) -> Result<()> {
        self.head(u, flag, content.len() as u64)?;
        self.data(content);
        Ok(())
    }

    /// Adds a PAX header with the given records and some more.
    fn records(&mut self, u: &mut Unstructured<'_>, first: &[Vec<u8>]) -> Result<()> {
        let mut content: Vec<u8> = first.iter().flat_map(|text| record(text)).collect();
        for _ in 0..u.int_in_range(u8::from(first.is_empty())..=3)? {
            let key = *u.choose(KEYS)?;
            let value: &[u8] = match key {
                b"path" | b"linkpath" | b"GNU.sparse.name" => u.choose(NAMES)?,
                b"GNU.sparse.map" => {
                    u.choose(&[&b"0,5"[..], b"0,3,7,2", b"3,1,2,1", b"0,0", b"", b"1", b"0,99999"])?
                }
                _ => u.choose(NUMBERS)?,
            };
            content.extend(record(&[key, b"=", value].concat()));
        }
        if u.ratio(1, 16)? {
            content.resize(content.len() + 3, 0);
        }
        let flag = if u.ratio(1, 16)? { b'X' } else { b'x' };
        self.extended(u, flag, &content)
    }

    /// Adds the PAX header of a sparse file in one of the three forms, and returns the data that belong to it.
    fn sparse_records(&mut self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let regions = regions(u)?;
        let stored: u64 = regions.iter().map(|(_, length)| length).sum();
        let size = regions.last().map_or(0, |(offset, length)| offset + length) + *u.choose(&[0, 0, 7])?;
        let text = |key: &str, value: u64| format!("GNU.sparse.{key}={value}").into_bytes();
        let mut records = Vec::new();
        let mut data = Vec::new();
        match u.int_in_range(0..=2)? {
            0 => {
                records.extend([text("size", size), text("numblocks", regions.len() as u64)]);
                for (offset, length) in &regions {
                    records.extend([text("offset", *offset), text("numbytes", *length)]);
                }
            }
            1 => {
                let map: Vec<_> =
                    regions.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
                records.push(text("size", size));
                records.push(format!("GNU.sparse.map={}", map.join(",")).into_bytes());
                records.push(b"GNU.sparse.name=sparse".to_vec());
            }
            _ => {
                records.extend([text("major", 1), text("minor", 0), text("realsize", size)]);
                records.push(b"GNU.sparse.name=sparse".to_vec());
                let mut map = format!("{}\n", regions.len());
                map.extend(regions.iter().map(|(offset, length)| format!("{offset}\n{length}\n")));
                data.extend_from_slice(map.as_bytes());
                data.resize(data.len().next_multiple_of(BLOCK), 0);
            }
        }
        self.records(u, &records)?;
        data.resize(data.len() + stored as usize, b's');
        Ok(data)
    }

    /// Adds a sparse file of GNU's old form: four regions in the header, the others in blocks behind it.
    fn old_sparse(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let regions = regions(u)?;
        let stored: u64 = regions.iter().map(|(_, length)| length).sum();
        let size = regions.last().map_or(0, |(offset, length)| offset + length);
        let gnu = !u.ratio(1, 8)?;
        let block = self.head(u, b'S', stored)?;
        if gnu {
            put(block, 257, 8, b"ustar  \0");
        }
        block[345..].fill(0);
        let field = |n: u64| format!("{n:011o}").into_bytes();
        let (here, mut behind) = regions.split_at(regions.len().min(4));
        for (n, (offset, length)) in here.iter().enumerate() {
            put(block, 386 + 24 * n, 12, &field(*offset));
            put(block, 398 + 24 * n, 12, &field(*length));
        }
        block[482] = u8::from(!behind.is_empty());
        put(block, 483, 12, &field(size));
        sum(block);
        while !behind.is_empty() {
            let (here, rest) = behind.split_at(behind.len().min(21));
            behind = rest;
            let mut block = [0; BLOCK];
            for (n, (offset, length)) in here.iter().enumerate() {
                put(&mut block, 24 * n, 12, &field(*offset));
                put(&mut block, 12 + 24 * n, 12, &field(*length));
            }
            block[504] = u8::from(!behind.is_empty());
            self.bytes.extend(block);
        }
        self.data(&vec![b's'; stored as usize]);
        Ok(())
    }

    /// Changes some bytes; the checksums hold afterwards, mostly.
    fn damage(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.bytes.is_empty() || !u.ratio(1, 2)? {
            return Ok(());
        }
        for _ in 0..u.int_in_range(1..=4)? {
            // Mostly in the headers: what data say is nobody's business.
            let at = match u.ratio(3, 4)? {
                true => u.choose(&self.headers)? + u.int_in_range(0..=BLOCK - 1)?,
                false => u.int_in_range(0..=self.bytes.len() - 1)?,
            };
            let byte = if u.arbitrary()? { u.arbitrary()? } else { *u.choose(b"0179 ,=\n\0\x80\xff")? };
            self.bytes[at] = byte;
        }
        if !u.ratio(1, 16)? {
            for at in &self.headers {
                sum(&mut self.bytes[*at..][..BLOCK]);
            }
        }
        if u.ratio(1, 16)? {
            self.bytes.truncate(u.int_in_range(0..=self.bytes.len())?);
        }
        Ok(())
    }
}

/// Makes regions that ascend, a few of them, or more than a header holds.
fn regions(u: &mut Unstructured<'_>) -> Result<Vec<(u64, u64)>> {
    let mut end = 0;
    let count = *u.choose(&[0, 1, 2, 3, 5, 26])?;
    (0..count)
        .map(|_| {
            let offset = end + u64::from(*u.choose(&[0_u16, 1, 512, 1000])?);
            let length = u64::from(*u.choose(&[0_u16, 1, 5, 512, 600])?);
            end = offset + length;
            Ok((offset, length))
        })
        .collect()
}

/// Makes a numeric field: another number, or the size in another form.
fn number(u: &mut Unstructured<'_>, len: usize, size: u64) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=6)? {
        0 => format!("{size:o} ").into_bytes(),
        1 => format!("{size:>width$o} ", width = len - 1).into_bytes(),
        2 => {
            let mut field = vec![0; len];
            field[len - 8..].copy_from_slice(&size.to_be_bytes());
            field[0] |= 0x80;
            field
        }
        3 => vec![0xff; len],
        4 => vec![*u.choose(b" \x000789\x80\xc0")?; len],
        5 => [&b"\0"[..], b"0000017"].concat(),
        _ => u.bytes(len.min(u.len()))?.to_vec(),
    })
}

/// Puts text into a field, as much of it as fits.
fn put(block: &mut [u8], at: usize, len: usize, text: &[u8]) {
    let field = &mut block[at..at + len];
    field.fill(0);
    let len = text.len().min(len);
    field[..len].copy_from_slice(&text[..len]);
}

/// Puts the length before a record and a newline behind.
fn record(text: &[u8]) -> Vec<u8> {
    let mut length = text.len() + 2;
    while length != text.len() + 2 + length.to_string().len() {
        length = text.len() + 2 + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", text, b"\n"].concat()
}
