//! The pass over one gzip stream with several threads that decompress it.
//!
//! Workers decompress pieces further on, before it is known what comes before them ([`Seeker`]); the thread that has the
//! order comes to them, takes over what fits to the bit, and decompresses the rest as ever. So what comes out does not
//! depend on what was guessed, nor on who was how fast.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{PIECE, Pass};
use crate::codec::{Decoder, GzipScanner, Oddity, Part, Reach, Seeker};
use crate::side_by_side::cores;
use crate::stream::StreamError;
use crate::stream::index::SPACING;

/// Compressed bytes of the next piece that a worker may use to come to the end of a block.
const OVERLAP: usize = 256 << 10;

/// Most bytes made of one piece: six times as many as it has. A part takes twice that, for both twins, and there are two
/// parts a worker: some 16 MiB a worker for layers as they are, 27 MiB at worst.
const MAX_MADE: usize = 6 << 20;

/// Most workers: with so many beside the thread that has the order, hashing takes longer than decompressing.
const MAX_WORKERS: usize = 3;

/// Cores that a pass takes without any worker: one decompresses, the two that hash take no more than one together.
const PASS_CORES: usize = 2;

/// Fewest compressed bytes for which threads are started.
const MIN_LEN: u64 = 8 * PIECE as u64;

/// So many pieces in vain, one after the other, and only every sixteenth is tried: the stream has nothing to guess.
const FRUITLESS: u32 = 4;

/// Who decompresses a gzip stream beside the thread of the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as there are cores to spare now and while it lasts, if the stream is long enough.
    Spare,
    /// As many as said, in pieces of `piece` compressed bytes, whatever else runs: for tests and measuring.
    Exactly {
        /// How many; none is the pass as it is without.
        workers: usize,
        /// Bytes of a piece, at least 1.
        piece: usize,
    },
}

/// What of a pass is fixed before it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    workers: usize,
    /// Bytes of a piece, where it is not the usual.
    pub(super) piece: Option<usize>,
    /// Whether a worker waits for a core to spare.
    polite: bool,
}

impl Workers {
    pub(super) fn plan(self, len: u64) -> Plan {
        match self {
            Self::Exactly { workers, piece } => Plan { workers, piece: Some(piece.max(1)), polite: false },
            Self::Spare if len < MIN_LEN => Plan { workers: 0, piece: None, polite: true },
            Self::Spare => {
                let workers = cores().saturating_sub(PASS_CORES).min(MAX_WORKERS);
                Plan { workers, piece: None, polite: true }
            }
        }
    }
}

/// Cores in use by the passes and the workers of this process.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Some of the cores, while it lives.
pub(super) struct Cores(usize);

impl Cores {
    /// Takes what a pass needs, whatever else runs.
    pub(super) fn for_pass() -> Self {
        BUSY.fetch_add(PASS_CORES, Relaxed);
        Self(PASS_CORES)
    }

    /// Takes one if there is one to spare.
    fn spare() -> Option<Self> {
        let all = cores();
        let one_more = |busy: usize| (busy < all).then_some(busy + 1);
        BUSY.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self(1))
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        BUSY.fetch_sub(self.0, Relaxed);
    }
}

impl Plan {
    /// Says whether there is anybody to work beside.
    pub(super) fn is_abreast(self) -> bool {
        self.workers > 0
    }

    /// Pieces read ahead, the one at hand among them.
    fn window(self) -> usize {
        2 * self.workers + 1
    }

    /// Goes over the stream of `pass`. The outer failure is one of reading.
    pub(super) fn run(self, pass: &mut Pass<'_>) -> Result<Result<Vec<Oddity>, StreamError>, StreamError> {
        let board = Board { polite: self.polite, state: Mutex::default(), changed: Condvar::new() };
        let piece = pass.compressed.piece;
        let reach = Reach { seek: piece, piece, most: MAX_MADE };
        std::thread::scope(|scope| {
            let _over = Over(&board);
            for _ in 0..self.workers {
                let thread = std::thread::Builder::new().name("ahead".to_owned());
                // Without it the others have more to do.
                let _ = thread.spawn_scoped(scope, || {
                    if let Ok(mut seeker) = Seeker::new() {
                        while let Some(mut job) = board.job() {
                            job.work(&mut seeker, reach);
                        }
                    }
                });
            }
            let scanner = GzipScanner::new(SPACING)?;
            let output = pass.out.empty();
            Stitch { pass, board: &board, scanner, output, filled: 0 }.run(self.window())
        })
    }
}

/// The thread that has the order.
struct Stitch<'a, 'b> {
    pass: &'a mut Pass<'b>,
    board: &'a Board,
    scanner: GzipScanner,
    output: Vec<u8>,
    filled: usize,
}

/// A piece of the compressed stream; workers look at it too.
type Piece = Arc<Vec<u8>>;

impl Stitch<'_, '_> {
    fn run(mut self, window: usize) -> Result<Result<Vec<Oddity>, StreamError>, StreamError> {
        let mut failed = None;
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        let (mut read_to, mut at) = (0, 0);
        loop {
            while read_to < self.pass.len && (pieces.is_empty() || failed.is_none() && pieces.len() < window)
            {
                let piece = Arc::new(self.pass.read(read_to)?);
                read_to += piece.len() as u64;
                // The last but one can be gone over once the next is there to end in.
                if let Some(before) = pieces.back() {
                    self.board.offer(read_to - (piece.len() + before.len()) as u64, before, Some(&piece));
                }
                if read_to == self.pass.len {
                    self.board.offer(read_to - piece.len() as u64, &piece, None);
                }
                pieces.push_back(piece);
            }
            let Some(piece) = pieces.pop_front() else { break };
            let found = self.board.come_to(at, failed.is_some());
            if failed.is_none()
                && let Err(e) = self.go_over(&piece, at, found)
            {
                failed = Some(e);
            }
            at += piece.len() as u64;
            self.pass.compressed.put(Arc::unwrap_or_clone(piece));
        }
        Ok(match failed {
            Some(e) => Err(e),
            None => self.pass.end(&mut self.scanner, self.output, self.filled),
        })
    }

    /// Decompresses to the end of a piece at least, `at` which the stream is; what a worker made of it helps where it fits.
    fn go_over(&mut self, piece: &[u8], at: u64, found: Found) -> Result<(), StreamError> {
        let mut part = found.part;
        let mut fitted = false;
        loop {
            // Where the part of the piece before reached into this one, or beyond it, that much is done.
            let done = usize::try_from(self.scanner.input_offset() - at).unwrap_or(usize::MAX);
            let Some(input) = piece.get(done..).filter(|input| !input.is_empty()) else { break };
            let room = &mut self.output[self.filled..];
            let step = match &mut part {
                Some(ahead) if self.scanner.meets(ahead) => {
                    fitted = self.take(part.take())?;
                    continue;
                }
                Some(ahead) if !ahead.may_come(self.scanner.input_offset()) => {
                    self.board.give_back(part.take());
                    continue;
                }
                Some(ahead) => self.scanner.step_towards(ahead, input, room)?,
                None => self.scanner.step(input, room)?,
            };
            self.pass.advance(&mut self.scanner, step.produced, &mut self.output, &mut self.filled)?;
        }
        self.board.give_back(part);
        if found.was_tried {
            self.board.learn(fitted);
        }
        Ok(())
    }

    /// Takes over a part whose beginning is reached, and says whether it fitted.
    fn take(&mut self, part: Option<Part>) -> Result<bool, StreamError> {
        let Some(mut part) = part else { return Ok(false) };
        let mut fitted = false;
        if let Some(mut bytes) = self.scanner.take(&mut part)? {
            fitted = true;
            self.pass.ahead += bytes.len() as u64;
            while !bytes.is_empty() {
                let room = &mut self.output[self.filled..];
                let (now, later) = bytes.split_at(room.len().min(bytes.len()));
                room[..now.len()].copy_from_slice(now);
                bytes = later;
                self.pass.advance(&mut self.scanner, now.len(), &mut self.output, &mut self.filled)?;
            }
        }
        self.board.give_back(Some(part));
        Ok(fitted)
    }
}

/// What there is to do for workers, and what they did.
struct Board {
    polite: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The pieces ahead, in their order.
    slots: VecDeque<Slot>,
    spare: Vec<Part>,
    /// How many pieces came to nothing since one did.
    fruitless: u32,
    offered: u32,
    over: bool,
}

struct Slot {
    /// Where the piece begins.
    at: u64,
    work: Work,
}

enum Work {
    /// Nobody has taken it up.
    Open(Piece, Option<Piece>),
    /// Nobody shall.
    Closed,
    Taken,
    Done(Option<Part>),
}

/// What the thread that has the order finds where it comes to a piece.
struct Found {
    part: Option<Part>,
    was_tried: bool,
}

/// A piece that a worker has taken up. When it goes, the piece is done, whatever came of it.
struct Job<'a> {
    board: &'a Board,
    at: u64,
    pieces: Option<(Piece, Option<Piece>)>,
    part: Option<Part>,
    found: bool,
    _core: Option<Cores>,
}

impl Board {
    fn offer(&self, at: u64, piece: &Piece, next: Option<&Piece>) {
        // Nobody need guess how a stream begins.
        if at == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.offered = state.offered.wrapping_add(1);
        let open = state.fruitless < FRUITLESS || state.offered.is_multiple_of(16);
        let work = if open { Work::Open(piece.clone(), next.cloned()) } else { Work::Closed };
        state.slots.push_back(Slot { at, work });
        drop(state);
        self.changed.notify_all();
    }

    /// Returns the next piece to go over, once there is one; nothing when all is over.
    fn job(&self) -> Option<Job<'_>> {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return None;
            }
            if let Some(job) = self.take_up(&mut state) {
                return Some(job);
            }
            self.changed.wait(&mut state);
        }
    }

    fn take_up(&self, state: &mut MutexGuard<'_, State>) -> Option<Job<'_>> {
        // The furthest: it will be done by the time it is come to, and nearer ones are not waited for. The very next is
        // left to the thread that has the order, which needs half as much work for it.
        let slot = state.slots.iter_mut().skip(1).rev().find(|slot| matches!(slot.work, Work::Open(..)))?;
        let core = if self.polite { Some(Cores::spare()?) } else { None };
        let at = slot.at;
        let Work::Open(piece, next) = std::mem::replace(&mut slot.work, Work::Taken) else { return None };
        let part = state.spare.pop().unwrap_or_default();
        Some(Job {
            board: self,
            at,
            pieces: Some((piece, next)),
            part: Some(part),
            found: false,
            _core: core,
        })
    }

    /// Returns what was made of the piece that begins `at`, waiting for who is at it. From now on nobody takes it up.
    fn come_to(&self, at: u64, all_is_lost: bool) -> Found {
        let mut state = self.state.lock();
        loop {
            state.over |= all_is_lost;
            match state.slots.front_mut() {
                Some(slot) if slot.at == at => match &mut slot.work {
                    Work::Taken => {}
                    work => {
                        let work = std::mem::replace(work, Work::Closed);
                        state.slots.pop_front();
                        return match work {
                            Work::Done(part) => Found { part, was_tried: true },
                            _ => Found { part: None, was_tried: false },
                        };
                    }
                },
                _ => return Found { part: None, was_tried: false },
            }
            self.changed.wait(&mut state);
        }
    }

    /// Hears what a guess came to.
    fn learn(&self, fitted: bool) {
        let mut state = self.state.lock();
        state.fruitless = if fitted { 0 } else { state.fruitless.saturating_add(1) };
    }

    fn give_back(&self, part: Option<Part>) {
        self.state.lock().spare.extend(part);
    }
}

impl Job<'_> {
    fn work(&mut self, seeker: &mut Seeker, reach: Reach) {
        let (Some(part), Some((piece, next))) = (&mut self.part, self.pieces.take()) else { return };
        let next = next.as_deref().map_or(&[][..], |next| &next[..next.len().min(OVERLAP)]);
        part.load(self.at, [&piece[..], next]);
        drop(piece);
        self.found = seeker.seek(part, reach);
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut state = self.board.state.lock();
        let part = self.part.take();
        let done = if self.found {
            part
        } else {
            state.spare.extend(part);
            None
        };
        if let Some(slot) = state.slots.iter_mut().find(|slot| slot.at == self.at) {
            slot.work = Work::Done(done);
        }
        drop(state);
        self.board.changed.notify_all();
    }
}

/// Sends the workers home when it goes.
struct Over<'a>(&'a Board);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.changed.notify_all();
    }
}
