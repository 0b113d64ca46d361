//! Blobs of which only parts are here: a file with holes, and what it has is asked for no more.
//!
//! A part is fetched with a ranged request, in whole blocks, and kept in the store beside the whole blobs. Which blocks
//! are there stands behind them in the same file. As everything in the store they are claims: whoever reads them checks
//! them, and says with [`Parts::forget`] what turned out to be wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use nix::fcntl::Flock;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::client::{Client, Span, What};
use super::failure::{Failure, Trouble, of_connection};
use super::http::{content_range, give_back};
use super::patience::Patience;
use super::store::Store;
use crate::oci::Digest;
use crate::read_at::ReadAt;

/// Bytes fetched and kept as one: a request takes longer to go and come than these take to follow.
const BLOCK: u64 = 64 << 10;

/// Largest blob fetched, in bytes: where it is kept in parts, the note of its blocks takes 8 MiB.
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
                self.wait_for(&run, first, &mut state)?;
                continue;
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

    /// Waits until a block is here, or the run that was to bring it has ended. Not for ever, where nothing of it comes.
    fn wait_for(
        &self,
        run: &Arc<Run>,
        block: usize,
        state: &mut MutexGuard<'_, State>,
    ) -> Result<(), Failure> {
        let came = |state: &State| run.blocks.clone().filter(|n| state.here[*n] == HERE).count();
        let mut before = None;
        let mut until = Instant::now();
        while state.here[block] != HERE && state.under_way.iter().any(|other| Arc::ptr_eq(other, run)) {
            let now = Some(came(state));
            if before != now {
                (before, until) = (now, Instant::now() + self.client.longest_wait());
            } else if Instant::now() >= until {
                return Err(Failure::TimedOut(format!("{}: nothing comes any more", self.digest)));
            }
            self.changed.wait_until(state, until);
        }
        match run.failed.get() {
            Some(failure) if state.here[block] != HERE => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Fetches a run of blocks, in one request where nothing breaks off.
    fn fetch_run(&self, mut run: Range<usize>) -> Result<(), Failure> {
        let mut patience = self.client.patience();
        let mut front = Vec::new();
        while !run.is_empty() {
            if let Err(trouble) = self.receive(&mut run, &mut front, &mut patience) {
                patience.again(trouble)?;
            }
        }
        Ok(())
    }

    /// Asks for a run of blocks, of whose first `front` is here already, and takes off what has come. An answer may have
    /// fewer bytes than were asked for, and not even a block (RFC 9110, section 15.3.7).
    fn receive(
        &self,
        run: &mut Range<usize>,
        front: &mut Vec<u8>,
        patience: &mut Patience,
    ) -> Result<(), Trouble> {
        let (mut at, end) =
            (run.start as u64 * BLOCK + front.len() as u64, (run.end as u64 * BLOCK).min(self.size));
        let host = self.client.host();
        self.stats.requests.fetch_add(1, Relaxed);
        let response = self.client.get(
            &What::Blob(self.digest.to_string()),
            Span { from: at, to: Some(end) },
            patience.body(end - at),
        )?;
        let all = response.status().as_u16() == 200 && (at, end) == (0, self.size);
        let to = match content_range(&response) {
            _ if all => end,
            Some((first, last)) if first == at && last < end => last + 1,
            _ => {
                self.stats.unsupported.store(true, Relaxed);
                return Err(Failure::NoParts(format!("{host} does not give parts of blobs")).into());
            }
        };
        let announced = response.body().content_length() == Some(to - at);
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; usize::try_from(BLOCK).expect("a small number")];
        while at < to {
            let block_end = ((run.start as u64 + 1) * BLOCK).min(end);
            let most = usize::try_from(to.min(block_end) - at).expect("within a block");
            let got = body.read(&mut piece[..most]).map_err(|e| of_connection(host, e.into()))?;
            if got == 0 {
                return Err(Trouble::again(Failure::Network(format!("{host} broke off"))));
            }
            front.extend_from_slice(&piece[..got]);
            at += got as u64;
            if at == block_end {
                self.keep(run.start, front)?;
                front.clear();
                run.start += 1;
            }
            patience.progress(got as u64);
            self.stats.bytes.fetch_add(got as u64, Relaxed);
            if patience.is_over() {
                return Err(Failure::TimedOut(format!("{host} sends next to nothing")).into());
            }
        }
        give_back(body, announced);
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
    use std::io::Write as _;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::super::tests::kit;
    use super::*;
    use crate::oci::Algorithm;

    /// What came of a block was thrown away and counted as progress: the read never ended.
    #[test]
    fn answers_shorter_than_a_block_add_up() {
        let blob: Vec<u8> = (0..2 * BLOCK as usize + 5000).map(|n| (n / 7) as u8).collect();
        let (served, asked) = (blob.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        // In turn as many as may be given at once, and an answer that breaks off.
        let port = kit::serve(move |request, connection| {
            let (from, to) = kit::range(request).unwrap();
            let to = to.unwrap().min(from + 20_000);
            let breaks_off = counted.fetch_add(1, Relaxed) % 4 == 3;
            let sent = if breaks_off { to.min(from + 9_000) } else { to };
            let head = format!("Content-Range: bytes {from}-{}/{}", to - 1, served.len());
            let length = to - from;
            let head = format!("HTTP/1.1 206 Partial Content\r\n{head}\r\nContent-Length: {length}\r\n\r\n");
            let _ = connection.write_all(&[head.as_bytes(), &served[from..sent]].concat());
        });
        let digest = Digest::of(Algorithm::Sha256, &blob).unwrap();
        let parts = kit::shared(port, Duration::from_secs(20)).parts(&digest, blob.len() as u64).unwrap();
        let mut got = vec![0; blob.len()];
        assert_eq!(parts.read_at(0, &mut got).unwrap(), blob.len());
        assert!(got == blob, "bytes of another place");
        assert!(asked.load(Relaxed) < 12, "{asked:?}");
    }

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
