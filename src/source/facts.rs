//! What is kept of an archive from one mount to the next: docs/index-format.md has the file byte by byte.
//!
//! None of it is trusted further than the archive itself: chunks are held against their digests, blobs against theirs.

use std::collections::BTreeMap;
use std::io;

use super::members::Members;
use crate::cache::{Cache, Key};
use crate::codec::Compression;
use crate::oci::Digest;
use crate::problems::Problem;
use crate::stream::{Miss, Reader, StreamIndex, Writer};

const MAGIC: &[u8; 8] = b"OCIFSARC";

/// Changes whenever the form does, or what any of it means.
const VERSION: u32 = 3;

/// What was learned of members, by where they begin and how long they are.
pub(super) type Learned = BTreeMap<(u64, u64), Known>;

/// What was learned of a member by reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// How it is compressed.
    pub(super) compression: Compression,
    /// Its digest, where it was taken.
    pub(super) sha256: Option<Digest>,
}

/// What was learned of an archive that takes a pass to know.
#[derive(Default)]
pub(super) struct Facts {
    /// How to read a compressed one, and its members. A plain one's headers are read each time.
    pub(super) stream: Option<(StreamIndex, Members)>,
    /// What was learned of its members.
    pub(super) learned: Learned,
    /// What was odd.
    pub(super) problems: Vec<Problem>,
}

/// Reads what is known of the archive `key`.
pub(super) fn read(cache: &Cache, key: &Key) -> Option<Facts> {
    let bytes = cache.read_index(key)?;
    decode(&bytes, key).inspect_err(|why| log::debug!("{} ignored: {why}", key.as_str())).ok()
}

/// Renders what is known of the archive `key`.
pub(super) fn encode(
    key: &Key,
    stream: Option<(&StreamIndex, &Members)>,
    learned: &Learned,
    problems: &[Problem],
) -> io::Result<Vec<u8>> {
    let mut w = Writer::begin(MAGIC, VERSION, key);
    w.u8(u8::from(stream.is_some()));
    if let Some((index, members)) = stream {
        index.encode(&mut w)?;
        members.encode(&mut w)?;
    }
    w.count(learned.len())?;
    for ((at, len), known) in learned {
        w.u64(*at);
        w.u64(*len);
        w.compression(known.compression);
        w.text(known.sha256.as_ref().map_or("", Digest::as_str));
    }
    w.count(problems.len())?;
    for problem in problems {
        w.bytes(problem.path.as_bytes())?;
        w.bytes(problem.what.as_bytes())?;
    }
    Ok(w.finish())
}

fn decode(bytes: &[u8], key: &Key) -> Result<Facts, Miss> {
    let mut r = Reader::begin(bytes, MAGIC, VERSION, key)?;
    let stream = match r.u8()? {
        0 => None,
        1 => Some((StreamIndex::decode(&mut r)?, Members::decode(&mut r)?)),
        _ => return Err(Miss::Unsound),
    };
    let mut learned = Learned::new();
    for _ in 0..r.u32()? {
        let place = (r.u64()?, r.u64()?);
        let compression = r.compression()?;
        let sha256 = match r.text()? {
            "" => None,
            text => Some(Digest::parse(text).map_err(|_| Miss::Unsound)?),
        };
        learned.insert(place, Known { compression, sha256 });
    }
    let mut problems = Vec::new();
    for _ in 0..r.u32()? {
        let path = String::from_utf8_lossy(r.bytes()?).into_owned();
        let what = String::from_utf8_lossy(r.bytes()?).into_owned();
        problems.push(Problem { path, what });
    }
    if r.is_done() { Ok(Facts { stream, learned, problems }) } else { Err(Miss::Unsound) }
}
