//! Blobs of which only parts are here: a file with holes, and what it has is asked for no more.
//!
//! A part is fetched with a ranged request, in whole blocks, and kept in the store beside the whole blobs. Which blocks
//! are there stands behind them in the same file. As everything in the store they are claims: whoever reads them checks
//! them, and says with [`Parts::forget`] what turned out to be wrong.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use nix::fcntl::Flock;
use parking_lot::{Condvar, Mutex};

use super::client::{Client, Span, What};
use super::failure::{Failure, Trouble, of_connection};
use super::http::{Until, content_range, give_back};
use super::patience::Patience;
use super::store::Store;
use crate::oci::Digest;
use crate::read_at::ReadAt;

/// Bytes fetched and kept as one: a request takes longer to go and come than these take to follow.
const BLOCK: u64 = 64 << 10;

/// Largest blob that is kept in parts, in bytes: the note of its blocks takes 8 MiB.
pub(super) const MAX_BLOB: u64 = 512 << 30;

/// Most bytes asked for with one request.
const MAX_REQUEST: u64 = 16 << 20;

/// What a byte of the note says: a block is here. Anything else says that it is not.
const HERE: u8 = 0xb1;

/// Begins the note of the blocks: what is noted in another way is not read.
const MAGIC: [u8; 16] = *b"ocifs parts 64K\n";

/// What parts of all blobs have in common.
#[derive(Default)]
pub(super) struct PartsStats {
    /// Set once the registry has answered with all of a blob where it was asked for a part.
    pub(super) unsupported: AtomicBool,
    /// Requests made.
    pub(super) requests: AtomicU64,
    /// Bytes that came.
    pub(super) bytes: AtomicU64,
}

/// A blob of which parts are here.
pub(super) struct Parts {
    client: Arc<Client>,
    stats: Arc<PartsStats>,
    store: Arc<Store>,
    digest: Digest,
    size: u64,
    /// The shared lock keeps others from evicting it.
    file: Flock<File>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// For each block whether it is here, as the note has it.
    here: Vec<u8>,
    /// Blocks that somebody is fetching.
    under_way: Vec<Arc<Run>>,
}

/// The one who fetches a run, until it is dropped: a panic too must not leave others waiting.
struct Leading<'a> {
    parts: &'a Parts,
    run: &'a Arc<Run>,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.parts.state.lock().under_way.retain(|other| !Arc::ptr_eq(other, self.run));
        self.parts.changed.notify_all();
    }
}

/// A run of blocks that is being fetched.
struct Run {
    blocks: Range<usize>,
    /// Why they did not all come: whoever waits for them hears it, instead of waiting as long again.
    failed: OnceLock<Failure>,
}

impl Parts {
    /// Opens what is kept of a blob of `size` bytes, and begins with nothing where nothing is.
    pub(super) fn open(
        client: Arc<Client>,
        stats: Arc<PartsStats>,
        store: Arc<Store>,
        digest: &Digest,
        size: u64,
    ) -> Result<Self, Failure> {
        let keep = |e: io::Error| Failure::Local(format!("cannot keep parts of {digest}: {e}"));
        let file = store.parts(digest).map_err(keep)?;
        let blocks = usize::try_from(size.div_ceil(BLOCK)).expect("callers bound the size");
        let here = open_note(&file, size, blocks).map_err(keep)?;
        let state = Mutex::new(State { here, under_way: Vec::new() });
        Ok(Self { client, stats, store, digest: digest.clone(), size, file, state, changed: Condvar::new() })
    }

    /// Returns the blob's size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes it takes where nobody else counts them: in a file without a name.
    pub(super) fn uncounted(&self) -> u64 {
        match self.file.metadata().map(|meta| meta.nlink()) {
            Ok(0) => self.state.lock().here.iter().filter(|block| **block == HERE).count() as u64 * BLOCK,
            _ => 0,
        }
    }

    /// Forgets bytes that turned out to be wrong, so that they are fetched anew.
    pub(super) fn forget(&self, range: Range<u64>) {
        let mut state = self.state.lock();
        for block in self.blocks(range) {
            state.here[block] = 0;
            let _ = self.file.write_all_at(&[0], note_at(self.size) + block as u64);
        }
    }

    fn blocks(&self, range: Range<u64>) -> Range<usize> {
        let block = |n: u64| usize::try_from(n).expect("no more than the blob has");
        let end = range.end.min(self.size);
        block(range.start.min(end) / BLOCK)..block(end.div_ceil(BLOCK))
    }

    /// Says whether all of some bytes are here.
    pub(super) fn has(&self, offset: u64, len: usize) -> bool {
        let state = self.state.lock();
        self.blocks(offset..offset.saturating_add(len as u64)).all(|block| state.here[block] == HERE)
    }

    /// Fetches what is missing of some bytes. What somebody else is fetching is waited for.
    fn fetch(&self, range: Range<u64>) -> Result<(), Failure> {
        let blocks = self.blocks(range);
        loop {
            let mut state = self.state.lock();
            let Some(first) = blocks.clone().find(|n| state.here[*n] != HERE) else { return Ok(()) };
            let busy =
                |state: &State, n: usize| state.under_way.iter().find(|run| run.blocks.contains(&n)).cloned();
            if let Some(run) = busy(&state, first) {
                self.changed.wait(&mut state);
                match run.failed.get() {
                    Some(failure) if state.here[first] != HERE => return Err(failure.clone()),
                    _ => continue,
                }
            }
            let most = usize::try_from(MAX_REQUEST / BLOCK).expect("a small number");
            let wanted = (first..blocks.end).take(most);
            let run = wanted.take_while(|n| state.here[*n] != HERE && busy(&state, *n).is_none());
            let run = first..run.last().unwrap_or(first) + 1;
            let run = Arc::new(Run { blocks: run, failed: OnceLock::new() });
            state.under_way.push(run.clone());
            drop(state);
            let leading = Leading { parts: self, run: &run };
            let fetched = self.fetch_run(run.blocks.clone());
            if let Err(failure) = &fetched {
                let _ = run.failed.set(failure.clone());
            }
            drop(leading);
            fetched?;
        }
    }

    /// Fetches a run of blocks, in one request where nothing breaks off.
    fn fetch_run(&self, mut run: Range<usize>) -> Result<(), Failure> {
        let mut patience = self.client.patience();
        while !run.is_empty() {
            if let Err(trouble) = self.receive(&mut run, &mut patience) {
                patience.again(trouble)?;
            }
        }
        Ok(())
    }

    /// Asks for a run of blocks, and takes off its front what has come.
    fn receive(&self, run: &mut Range<usize>, patience: &mut Patience) -> Result<(), Trouble> {
        let (from, to) = (run.start as u64 * BLOCK, (run.end as u64 * BLOCK).min(self.size));
        let span = Span { from, to: Some(to) };
        self.stats.requests.fetch_add(1, Relaxed);
        let response = self.client.get_part(
            &What::Blob(self.digest.to_string()),
            span,
            Until::Head(patience.deadline()),
        )?;
        let all = response.status().as_u16() == 200 && (from, to) == (0, self.size);
        // A shorter answer is asked for the rest.
        if !all && content_range(&response).is_none_or(|(first, last)| first != from || last >= to) {
            self.stats.unsupported.store(true, Relaxed);
            let what = format!("{} does not give parts of blobs", self.client.host());
            return Err(Failure::NoParts(what).into());
        }
        let announced = response.body().content_length() == Some(to - from);
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; usize::try_from(BLOCK).expect("a small number")];
        while let Some(number) = run.next() {
            let at = number as u64 * BLOCK;
            let len = usize::try_from((to - at).min(BLOCK)).expect("within a block");
            if let Err(trouble) = self.fill(&mut body, &mut block[..len], patience) {
                run.start = number;
                return Err(trouble);
            }
            self.keep(number, &block[..len])?;
        }
        give_back(body, announced);
        Ok(())
    }

    fn fill(
        &self,
        body: &mut impl io::Read,
        block: &mut [u8],
        patience: &mut Patience,
    ) -> Result<(), Trouble> {
        let host = self.client.host();
        let mut filled = 0;
        while filled < block.len() {
            let got = body.read(&mut block[filled..]).map_err(|e| of_connection(host, e.into()))?;
            if got == 0 {
                return Err(Trouble::again(Failure::Network(format!("{host} broke off"))));
            }
            filled += got;
            patience.progress(got as u64);
            self.stats.bytes.fetch_add(got as u64, Relaxed);
            if patience.is_over() {
                return Err(Failure::TimedOut(format!("{host} sends next to nothing")).into());
            }
        }
        Ok(())
    }

    fn keep(&self, number: usize, block: &[u8]) -> Result<(), Failure> {
        let write = || {
            self.file.write_all_at(block, number as u64 * BLOCK)?;
            self.file.write_all_at(&[HERE], note_at(self.size) + number as u64)
        };
        write().map_err(|e| Failure::Local(format!("cannot keep parts of {}: {e}", self.digest)))?;
        self.state.lock().here[number] = HERE;
        self.changed.notify_all();
        self.store.make_room(block.len() as u64);
        Ok(())
    }
}

impl ReadAt for Parts {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.size);
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(buf.len());
        if len == 0 {
            return Ok(0);
        }
        self.fetch(offset..end)?;
        ReadAt::read_at(&*self.file, offset, &mut buf[..len])
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// Where the note of the blocks begins, behind its magic.
fn note_at(size: u64) -> u64 {
    size + MAGIC.len() as u64
}

/// Reads which blocks are here; a file that is none of ours, or of another blob's size, begins anew.
fn open_note(file: &File, size: u64, blocks: usize) -> io::Result<Vec<u8>> {
    let len = note_at(size) + blocks as u64;
    let mut magic = [0; MAGIC.len()];
    let known = file.metadata()?.len() == len && ReadAt::read_at(file, size, &mut magic)? == magic.len();
    let mut here = vec![0; blocks];
    if known && magic == MAGIC {
        ReadAt::read_at(file, note_at(size), &mut here)?;
        return Ok(here);
    }
    file.set_len(0)?;
    file.set_len(len)?;
    file.write_all_at(&MAGIC, size)?;
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_a_strange_one_begins_anew() {
        let file = tempfile::tempfile().unwrap();
        let size = 3 * BLOCK + 1;
        assert_eq!(open_note(&file, size, 4).unwrap(), [0; 4]);
        file.write_all_at(b"content", 0).unwrap();
        file.write_all_at(&[HERE], note_at(size) + 2).unwrap();
        assert_eq!(open_note(&file, size, 4).unwrap(), [0, 0, HERE, 0]);
        assert_eq!(open_note(&file, size + 1, 4).unwrap(), [0; 4], "of another size");
        let mut content = [1; 7];
        ReadAt::read_at(&file, 0, &mut content).unwrap();
        assert_eq!(content, [0; 7]);
        file.write_all_at(b"x", size + 1).unwrap();
        file.write_all_at(&[HERE], note_at(size + 1)).unwrap();
        assert_eq!(open_note(&file, size + 1, 4).unwrap(), [0; 4], "noted in another way");
    }
}
