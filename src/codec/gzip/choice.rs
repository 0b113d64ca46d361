//! Which of several places becomes a checkpoint: the one whose window needs fewest bytes.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::super::inflate::Inflater;
use super::super::window::{Packer, Sparse};
use super::super::{Checkpoint, CodecError, Entry, Window, Windows};
use super::trace::{Needs, Progress, Trace};

/// A window with no more bytes than this is as good as none: nothing better is looked for.
const FEW: usize = 256;

/// Most candidates waiting to be looked at: with the streams behind them, 1.6 MiB.
const MAX_WAITING: usize = 16;

/// Where a block or a member begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) output_offset: u64,
    pub(super) input_offset: u64,
    pub(super) bits: u8,
}

/// A block's beginning, and what has to be known to see which bytes of its window are copied.
pub(super) struct Candidate {
    zone: u64,
    pub(super) place: Place,
    /// The byte in which it begins.
    byte: u8,
    /// What comes before it, at the end of the array.
    window: Box<[u8; Window::MAX_LEN]>,
    len: usize,
    /// The stream behind it, from that byte's successor on.
    pub(super) input: Vec<u8>,
    /// Whether `input` goes as far as can be copied from the window, or to the stream's end.
    pub(super) is_whole: bool,
}

impl Candidate {
    /// Takes the window of the place where `inflater` stands.
    pub(super) fn new(zone: u64, place: Place, byte: u8, inflater: &Inflater) -> Self {
        let mut window = Box::new([0; Window::MAX_LEN]);
        let len = inflater.window(&mut window);
        Self { zone, place, byte, window, len, input: Vec::new(), is_whole: false }
    }
}

/// What may become a checkpoint of a zone.
pub(super) enum Found {
    Block(Candidate),
    /// The beginning of a member, which is better than all other places of its zone.
    Fresh {
        zone: u64,
        place: Place,
    },
}

/// Chooses among the candidates of each zone. Looking at one costs inflating 32 KiB twice, so that is done on a thread of its own,
/// from the first one on; here where none is to be had. What comes out is the same.
pub(super) struct Chooser {
    work: Work,
    ready: VecDeque<Checkpoint>,
}

enum Work {
    Here(Box<Choice>),
    Beside {
        found: SyncSender<Found>,
        chosen: Receiver<Checkpoint>,
        thread: JoinHandle<Result<(), CodecError>>,
    },
    /// It is done, or it failed.
    Over,
}

impl Chooser {
    pub(super) fn new() -> Result<Self, CodecError> {
        let ready = VecDeque::from([Checkpoint::START]);
        Ok(Self { work: Work::Here(Box::new(Choice::new()?)), ready })
    }

    /// Takes what was found next.
    pub(super) fn put(&mut self, found: Found) -> Result<(), CodecError> {
        self.work = match std::mem::replace(&mut self.work, Work::Over) {
            Work::Here(choice) => beside(choice),
            begun => begun,
        };
        match &mut self.work {
            Work::Beside { found: to, .. } => match to.send(found) {
                Ok(()) => Ok(()),
                // It ended early, which only a failure makes it do.
                Err(_) => self.finish(),
            },
            Work::Here(choice) => choice.take(found, &mut |checkpoint| self.ready.push_back(checkpoint)),
            Work::Over => Ok(()),
        }
    }

    pub(super) fn next_checkpoint(&mut self) -> Option<Checkpoint> {
        if self.ready.is_empty()
            && let Work::Beside { chosen, .. } = &self.work
        {
            return chosen.try_recv().ok();
        }
        self.ready.pop_front()
    }

    /// Waits until everything is chosen.
    pub(super) fn finish(&mut self) -> Result<(), CodecError> {
        match std::mem::replace(&mut self.work, Work::Over) {
            Work::Here(mut choice) => choice.finish(&mut |checkpoint| self.ready.push_back(checkpoint)),
            Work::Beside { found, chosen, thread } => {
                drop(found);
                self.ready.extend(chosen);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Work::Over => Ok(()),
        }
    }
}

/// Starts the thread, or gives the work back where there is none to be had.
fn beside(choice: Box<Choice>) -> Work {
    let (found, candidates) = sync_channel(MAX_WAITING);
    let (out, chosen) = channel();
    // What a thread is started with is gone where it does not start.
    let (give, take) = sync_channel::<Box<Choice>>(1);
    let run = move || {
        let Ok(mut choice) = take.recv() else { return Ok(()) };
        // Nobody hears what a pass that failed would have chosen.
        let mut out = |checkpoint| drop(out.send(checkpoint));
        while let Ok(found) = candidates.recv() {
            choice.take(found, &mut out)?;
        }
        choice.finish(&mut out)
    };
    match Builder::new().name("windows".to_owned()).spawn(run) {
        Ok(thread) => match give.send(choice) {
            Ok(()) => Work::Beside { found, chosen, thread },
            Err(back) => Work::Here(back.0),
        },
        Err(_) => Work::Here(choice),
    }
}

/// The choice itself.
struct Choice {
    trace: Trace,
    best: Option<Best>,
    packer: Packer,
    /// Checkpoints whose windows are packed together, at most [`Windows::MAX`], in order; a window where it is not a fresh one.
    waiting: Vec<(Checkpoint, Option<(u8, Sparse)>)>,
}

/// The best candidate of a zone so far.
struct Best {
    zone: u64,
    place: Place,
    needs: Needs,
    window: Sparse,
}

type Out<'a> = dyn FnMut(Checkpoint) + 'a;

impl Choice {
    fn new() -> Result<Self, CodecError> {
        Ok(Self { trace: Trace::new()?, best: None, packer: Packer::new()?, waiting: Vec::new() })
    }

    fn take(&mut self, found: Found, out: &mut Out<'_>) -> Result<(), CodecError> {
        let (Found::Block(Candidate { zone, .. }) | Found::Fresh { zone, .. }) = &found;
        if self.best.as_ref().is_some_and(|best| best.zone != *zone) {
            self.settle(out)?;
        }
        match found {
            Found::Block(candidate) => {
                self.compare(candidate);
                Ok(())
            }
            Found::Fresh { place, .. } => {
                self.best = None;
                self.push(place, None, out)
            }
        }
    }

    /// Holds a candidate against the best of its zone.
    fn compare(&mut self, candidate: Candidate) {
        let most = self.best.as_ref().map(|best| &best.needs);
        if most.is_some_and(|most| total(most) <= FEW) {
            return;
        }
        let Candidate { zone, place, byte, window, len, input, is_whole } = candidate;
        self.trace.begin(window, len, place.bits, byte);
        let (needs, window) = match self.trace.feed(&input, most) {
            Ok(Progress::More) if !is_whole => self.trace.all(),
            Ok(Progress::More | Progress::Done) => self.trace.end(),
            // That it is no deflate stream the decoder would have said.
            Ok(Progress::Worse) | Err(_) => return,
        };
        if most.is_none_or(|most| total(&needs) < total(most)) {
            self.best = Some(Best { zone, place, needs, window });
        }
    }

    /// Takes the best candidate, if there is one.
    fn settle(&mut self, out: &mut Out<'_>) -> Result<(), CodecError> {
        let Some(Best { place, window, .. }) = self.best.take() else { return Ok(()) };
        self.push(place, Some((place.bits, window)), out)
    }

    fn push(
        &mut self,
        place: Place,
        window: Option<(u8, Sparse)>,
        out: &mut Out<'_>,
    ) -> Result<(), CodecError> {
        let Place { output_offset, input_offset, .. } = place;
        self.waiting.push((Checkpoint { output_offset, input_offset, entry: Entry::Fresh }, window));
        if self.waiting.len() == Windows::MAX { self.pack(out) } else { Ok(()) }
    }

    /// Lets out what waits.
    fn pack(&mut self, out: &mut Out<'_>) -> Result<(), CodecError> {
        let waiting = std::mem::take(&mut self.waiting);
        let sparse: Vec<_> = waiting.iter().filter_map(|(_, window)| Some(&window.as_ref()?.1)).collect();
        let mut windows = self.packer.pack(&sparse)?.into_iter();
        for (mut checkpoint, window) in waiting {
            if let Some((bits, _)) = window {
                let window = windows.next().expect("as many come out as went in");
                checkpoint.entry = Entry::Block { bits, window };
            }
            out(checkpoint);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Out<'_>) -> Result<(), CodecError> {
        self.settle(out)?;
        self.pack(out)
    }
}

fn total(needs: &Needs) -> usize {
    needs.last().copied().unwrap_or(0)
}
