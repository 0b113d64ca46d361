//! A tar archive, plain or compressed: its members by name, each read where it lies.
//!
//! A plain one is opened by its headers alone, with the data skipped. A compressed one is gone over once; what that
//! yields is kept in the cache under a key made from the file, so the next mount opens at once. Nothing is unpacked.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::SourceError;
use super::facts::{self, Known, Learned};
use super::held::{Held, Packed};
use super::members::{Collector, Members, Piece};
use crate::cache::{Cache, Shelf};
use crate::codec::Compression;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::problems::Problem;
use crate::read_at::ReadAt;
use crate::stream::{self, Pool, Scan, Sink, Spill, SpillWriter, Stream};

/// Memory for decompressed chunks of a compressed archive, in bytes: readers of it have caches of their own above.
const CHUNKS: u64 = 8 << 20;

/// Bytes read at once while headers are looked for: many members are small documents, side by side.
const WALK: usize = 16 << 10;

/// Bytes hashed at once.
const HASH: usize = 1 << 20;

/// An archive held open.
pub(super) struct Archive {
    held: Arc<Held>,
    bytes: Arc<Bytes>,
    members: Members,
    problems: Vec<Problem>,
    cache: Option<Arc<Cache>>,
    learned: Mutex<Learned>,
    /// Whether something was learned that the cache does not have.
    news: AtomicBool,
    /// Bytes of members that were hashed.
    hashed: AtomicU64,
    remembered: bool,
}

/// The archive's tar stream.
enum Bytes {
    Plain(Arc<Held>),
    Compressed(Stream<Packed>),
}

impl Archive {
    /// Opens the archive at `path`; what `cache` has of it is believed where `trusting`, and checked on each read.
    pub(super) fn open(path: &Path, cache: Option<&Arc<Cache>>, trusting: bool) -> Result<Self, SourceError> {
        let held = Arc::new(Held::open(path)?);
        let refuse = |what: String| SourceError::NotALayout { path: path.to_owned(), what };
        if held.size() == 0 {
            return Err(refuse("is empty; it was not saved to its end, or not at all".to_owned()));
        }
        let compression = stream::sniff(&*held).map_err(|e| refuse(e.to_string()))?;
        let spill_of = |index: &stream::StreamIndex| Spill::open(cache?, held.key(), index.stream_len);
        let remembered = cache.filter(|_| trusting).and_then(|cache| {
            let facts = facts::read(cache, held.key())?;
            let spill = facts.stream.as_ref().and_then(|(index, _)| spill_of(index));
            // Without its decompressed copy, which went to make room, each read of it would start over.
            let whole =
                facts.stream.as_ref().is_none_or(|(index, _)| !Spill::is_wanted(index) || spill.is_some());
            whole.then_some((facts, spill))
        });
        let is_remembered = remembered.is_some();
        let mut passed = false;
        let (facts::Facts { stream, learned, problems }, spill) = remembered.unwrap_or_default();
        let cache_of = cache.cloned();
        let (bytes, members, problems) = match (compression, stream) {
            (Compression::None, _) => {
                let (members, problems) = walk(&held).map_err(|e| match e {
                    WalkError::Io(e) => e.into(),
                    WalkError::Refused(what) => refuse(what),
                })?;
                (Bytes::Plain(held.clone()), members, problems)
            }
            (_, Some((index, members))) => {
                (Bytes::Compressed(stream_of(&held, cache_of, index, spill)), members, problems)
            }
            (_, None) => {
                passed = true;
                let spill = SpillWriter::new(cache, held.key(), compression);
                let output = Pass { collector: Collector::default(), spill };
                let done = stream::scan(&*held, held.size(), (), output);
                let Scan { decoded, output, .. } = done.map_err(|e| refuse(e.to_string()))?;
                let (index, oddities) =
                    decoded.map_err(|e| refuse(format!("cannot be decompressed: {e}")))?;
                let (members, mut problems) = output.collector.finish().map_err(refuse)?;
                problems.extend(oddities.iter().map(|oddity| Problem::new("archive", oddity)));
                // Written to while we went over it, it is of two minds, and must not be remembered.
                held.unchanged()?;
                if let Some(spill) = output.spill {
                    spill.finish(&index.checkpoints);
                }
                let spill = spill_of(&index);
                (Bytes::Compressed(stream_of(&held, cache_of, index, spill)), members, problems)
            }
        };
        Ok(Self {
            held,
            bytes: Arc::new(bytes),
            members,
            problems,
            cache: cache.cloned(),
            learned: Mutex::new(learned),
            news: AtomicBool::new(passed),
            hashed: AtomicU64::new(0),
            remembered: is_remembered,
        })
    }

    /// Says whether what the cache had of the archive was believed.
    pub(super) fn is_remembered(&self) -> bool {
        self.remembered
    }

    /// Returns where the archive is.
    pub(super) fn path(&self) -> &Path {
        self.held.path()
    }

    /// Returns when it was last written.
    pub(super) fn modified(&self) -> SystemTime {
        self.held.modified()
    }

    /// Returns what is odd about it.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns its members.
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Refuses the archive, in a sentence.
    pub(super) fn refuse(&self, what: impl Into<String>) -> SourceError {
        SourceError::NotALayout { path: self.path().to_owned(), what: what.into() }
    }

    /// Opens the bytes of a member. Unchecked, and fails where the archive was written to.
    pub(super) fn open_piece(&self, piece: Piece) -> Result<Box<dyn ReadAt>, SourceError> {
        self.held.unchanged()?;
        Ok(Box::new(PieceBytes { bytes: self.bytes.clone(), piece }))
    }

    /// Reads a small member whole.
    pub(super) fn document(&self, name: &[u8], limit: u64) -> Result<Vec<u8>, SourceError> {
        let piece = self.members.find(name)?;
        let size = piece.len();
        if size > limit {
            return Err(SourceError::TooLarge { size, limit });
        }
        let mut bytes = vec![0; usize::try_from(size).expect("below a limit of ours")];
        let got = self.open_piece(piece)?.read_at(0, &mut bytes)?;
        match got == bytes.len() {
            true => Ok(bytes),
            false => Err(self.refuse(format!("is cut short in the middle of {}", name.escape_ascii()))),
        }
    }

    /// Says how a member is compressed, and its sha256 where it is or where `digest` asks for it.
    ///
    /// What an earlier mount found out is not found out again.
    pub(super) fn describe(&self, piece: &Piece, digest: bool) -> Result<Known, SourceError> {
        let place = piece.place();
        let known = self.learned.lock().get(&place).cloned();
        let mut known = match known {
            Some(known) => known,
            None => Known { compression: self.sniff(piece)?, sha256: None },
        };
        if known.sha256.is_none() && (digest || known.compression != Compression::None) {
            known.sha256 = Some(self.hash(piece)?);
        }
        if self.learned.lock().insert(place, known.clone()).as_ref() != Some(&known) {
            // What takes one read of a plain archive is not worth a file.
            let cheap = known.sha256.is_none() && matches!(*self.bytes, Bytes::Plain(_));
            self.news.fetch_or(!cheap, Relaxed);
        }
        Ok(known)
    }

    fn sniff(&self, piece: &Piece) -> Result<Compression, SourceError> {
        let mut head = [0; Compression::SNIFF_LEN];
        let got = self.open_piece(piece.clone())?.read_at(0, &mut head)?;
        Ok(Compression::sniff(&head[..got]))
    }

    fn hash(&self, piece: &Piece) -> Result<Digest, SourceError> {
        // Members lie side by side: without holes, all together are no longer than the archive.
        let hashed = self.hashed.fetch_add(piece.len(), Relaxed).saturating_add(piece.len());
        if hashed > self.bytes.len() {
            return Err(self.refuse("has layers that are together larger than itself, made of holes"));
        }
        let mut hasher = Hasher::new(Algorithm::Sha256).expect("sha256 is known");
        let bytes = self.open_piece(piece.clone())?;
        let mut buf = vec![0; usize::try_from(piece.len()).unwrap_or(HASH).min(HASH)];
        let mut at = 0;
        while at < piece.len() {
            let n = usize::try_from(piece.len() - at).unwrap_or(HASH).min(HASH);
            let got = bytes.read_at(at, &mut buf[..n])?;
            if got < n {
                return Err(self.refuse("is cut short in the middle of a layer"));
            }
            hasher.update(&buf[..n]);
            at += n as u64;
        }
        Ok(hasher.finish())
    }

    /// Forgets what the cache has of the archive, if `digest` was taken of a member: that is not true of it any more, and
    /// the next mount is to look anew.
    pub(super) fn distrust(&self, digest: &Digest) {
        let taken = self.learned.lock().values().any(|known| known.sha256.as_ref() == Some(digest));
        if let Some(cache) = self.cache.as_ref().filter(|_| taken) {
            cache.remove(Shelf::Index, self.held.key());
        }
    }

    /// Keeps in the cache what took reading more than headers to know, if there is anything new.
    pub(super) fn remember(&self) {
        let Some(cache) = &self.cache else { return };
        if !self.news.swap(false, Relaxed) {
            return;
        }
        let stream = match &*self.bytes {
            Bytes::Plain(_) => None,
            Bytes::Compressed(stream) => Some((stream.index(), &self.members)),
        };
        match facts::encode(self.held.key(), stream, &self.learned.lock(), &self.problems) {
            Ok(bytes) => cache.write(Shelf::Index, self.held.key(), &bytes),
            Err(e) => cache.complain(&e),
        }
    }
}

fn stream_of(
    held: &Arc<Held>,
    cache: Option<Arc<Cache>>,
    index: stream::StreamIndex,
    spill: Option<Spill>,
) -> Stream<Packed> {
    let pool = Arc::new(Pool::new(CHUNKS, Arc::default()));
    Stream::new(Packed { held: held.clone(), cache }, index, pool, spill)
}

enum WalkError {
    Io(io::Error),
    Refused(String),
}

/// Reads the headers of a plain archive.
fn walk(held: &Held) -> Result<(Members, Vec<Problem>), WalkError> {
    let mut collector = Collector::default();
    let mut buf = vec![0; WALK];
    let mut at = 0;
    while at < held.size() && !collector.has_failed() {
        let unwanted = collector.parser.unwanted().min(held.size() - at);
        if unwanted > 0 {
            collector.parser.skip(unwanted);
            at += unwanted;
            continue;
        }
        let got = held.read_at(at, &mut buf).map_err(WalkError::Io)?;
        if got == 0 {
            break;
        }
        collector.take(&buf[..got]);
        at += got as u64;
    }
    collector.finish().map_err(WalkError::Refused)
}

/// What is done with the stream of a compressed archive in the pass over it.
struct Pass {
    collector: Collector,
    spill: Option<SpillWriter>,
}

impl Sink for Pass {
    fn take(&mut self, piece: &[u8]) {
        if !self.collector.has_failed() {
            self.collector.take(piece);
        }
        if let Some(spill) = &mut self.spill {
            spill.take(piece);
        }
    }
}

impl Bytes {
    fn len(&self) -> u64 {
        match self {
            Self::Plain(held) => held.size(),
            Self::Compressed(stream) => stream.index().stream_len,
        }
    }

    /// Reads from the tar stream. A short count is its end.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(held) => held.read_at(offset, buf),
            Self::Compressed(stream) => {
                let left = self.len().saturating_sub(offset);
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                stream.read(offset, &mut buf[..n])?;
                Ok(n)
            }
        }
    }
}

/// The bytes of one member.
struct PieceBytes {
    bytes: Arc<Bytes>,
    piece: Piece,
}

impl ReadAt for PieceBytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.piece.len().saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..n];
        if n == 0 {
            return Ok(0);
        }
        match &self.piece {
            Piece::Run { at, .. } => {
                let at = at.checked_add(offset).ok_or_else(|| io::Error::other("a member beyond 2^64"))?;
                self.bytes.read(at, buf)
            }
            Piece::Sparse { extents, .. } => {
                buf.fill(0);
                let end = offset + n as u64;
                let first = extents.partition_point(|e| e.file_offset.saturating_add(e.length) <= offset);
                for extent in extents[first..].iter().take_while(|e| e.file_offset < end) {
                    let from = extent.file_offset.max(offset);
                    let to = extent.file_offset.saturating_add(extent.length).min(end);
                    let within = |n: u64| usize::try_from(n - offset).expect("within the buffer");
                    let at = extent.stream_offset.checked_add(from - extent.file_offset);
                    let at = at.ok_or_else(|| io::Error::other("a member beyond 2^64"))?;
                    let part = &mut buf[within(from)..within(to)];
                    let got = self.bytes.read(at, part)?;
                    if got < part.len() {
                        return Ok(within(from) + got);
                    }
                }
                Ok(n)
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.piece.len())
    }
}
