//! Small files that are likely to be read next.
//!
//! Who reads many of them (tar, grep -r, cp -r) takes those of a directory in the order of its listing, and asks for one after
//! the other: most of the time goes into asking. What lies in memory already can be handed out before it is asked for.

use std::collections::VecDeque;

use super::graft::Tree;
use super::ino::Ino;
use super::state::State;
use super::stats::add;

/// The largest file handed out unasked, in bytes. Larger ones are read ahead by the kernel itself.
const MAX_FILE: u64 = 128 << 10;

/// Most files handed out for one question.
const MAX_WINDOW: usize = 256;

/// The files handed out for the first question that follows another one; they double with each.
const FIRST_WINDOW: usize = 4;

/// How many entries may stand between two files that are read one after the other: directories, links, what is in the kernel's
/// cache.
const GAP: usize = 16;

/// Most entries of a directory looked at for one question.
const MAX_LOOKED_AT: usize = 4 * MAX_WINDOW;

/// Directories whose reading is remembered. A walk comes back to those above when it is through with those below.
const MAX_PLACES: usize = 32;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The beginning of a directory's listing.
    Listed(Ino),
    /// The beginning of a file.
    Read(Ino),
}

/// Follows who reads, and says how far to go before them.
#[derive(Default, Debug)]
pub struct Foresight {
    /// How many files to go ahead; none until reads follow one another.
    window: usize,
    /// How many more to hand out for listings. Reading a file shows that somebody reads what is listed, and earns new ones.
    credit: usize,
    /// How far directories were read or handed out, the latest last.
    places: VecDeque<Place>,
}

/// How far a directory was read or handed out.
#[derive(Debug)]
struct Place {
    directory: Ino,
    /// The first child that was neither, as packed.
    next: usize,
    /// How many before that were handed out.
    given: usize,
}

/// What to hand out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// The first child, as packed.
    from: usize,
    /// Most files.
    most: usize,
}

impl Foresight {
    /// Says whether listings matter now.
    pub fn heeds_listings(&self) -> bool {
        self.credit > 0
    }

    /// Notes that the child at `index` of a directory was read. Returns what to hand out.
    fn read(&mut self, directory: Ino, index: usize) -> Option<Run> {
        let place = match self.places.iter().position(|place| place.directory == directory) {
            // The first of a directory tells nothing about the order.
            None => Place { directory, next: index + 1, given: 0 },
            Some(at) => {
                let place = self.places.remove(at)?;
                if index < place.next && index + place.given >= place.next {
                    // Asked for while it was handed out.
                    self.remember(place);
                    return None;
                }
                let follows = (place.next..=place.next + GAP).contains(&index);
                self.window = if follows { (self.window * 2).clamp(FIRST_WINDOW, MAX_WINDOW) } else { 0 };
                Place { directory, next: index + 1, given: 0 }
            }
        };
        self.remember(place);
        self.credit = self.window;
        (self.window > 0).then_some(Run { from: index + 1, most: self.window })
    }

    /// Notes that a directory is listed. Returns what to hand out.
    fn listed(&mut self, directory: Ino) -> Option<Run> {
        let is_new = !self.places.iter().any(|place| place.directory == directory);
        (is_new && self.credit > 0).then(|| Run { from: 0, most: self.credit.min(self.window) })
    }

    /// Notes that `run` was handed out up to `next`, in `count` files.
    fn given(&mut self, directory: Ino, run: Run, next: usize, count: usize) {
        self.credit = self.credit.saturating_sub(count);
        self.places.retain(|place| place.directory != directory);
        self.remember(Place { directory, next, given: next.saturating_sub(run.from) });
    }

    fn remember(&mut self, place: Place) {
        if self.places.len() == MAX_PLACES {
            self.places.pop_front();
        }
        self.places.push_back(place);
    }
}

impl State {
    /// Hands to `give` the files that are likely to be asked for after what was `seen`, each whole, as far as their bytes are in
    /// memory and it says yes.
    pub(super) fn foresee(
        &self,
        foresight: &mut Foresight,
        seen: Seen,
        give: &mut dyn FnMut(Ino, &[u8]) -> bool,
    ) {
        let (Seen::Listed(ino) | Seen::Read(ino)) = seen;
        let Ok((slot, node)) = Self::place(ino) else { return };
        let Some(tree) = self.slot(slot).ok().and_then(|slot| slot.grown()) else { return };
        let Tree::Files(files) = &*tree else { return };
        let wanted = match seen {
            Seen::Listed(directory) => foresight.listed(directory).map(|run| (node, run)),
            Seen::Read(_) => files.place_as_packed(node).and_then(|(directory, index)| {
                foresight.read(Ino::new(slot, directory), index).map(|run| (directory, run))
            }),
        };
        let Some((directory, run)) = wanted else { return };
        let Ok(children) = files.children(directory) else { return };
        let (mut next, mut count) = (run.from, 0);
        while count < run.most && next - run.from < MAX_LOOKED_AT {
            let Some((_, child)) = children.nth_as_packed(next) else { break };
            if files.is_small(child.index(), MAX_FILE) {
                let Some(bytes) = files.at_hand(child.index()) else { break };
                if !give(Ino::new(slot, child.index()), &bytes) {
                    break;
                }
                add(&self.stats.pushed, 1);
                add(&self.stats.pushed_bytes, bytes.len() as u64);
                count += 1;
            }
            next += 1;
        }
        foresight.given(Ino::new(slot, directory), run, next, count);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::ino::SlotId;
    use super::*;

    fn directory(n: u32) -> Ino {
        Ino::new(SlotId(7), n)
    }

    #[test]
    fn who_reads_on_is_gone_before_ever_further() {
        let mut foresight = Foresight::default();
        // The files that were handed out, and how many were asked for.
        let (mut given, mut asked, mut most) = (HashSet::new(), 0, 0);
        for index in 0..100_000 {
            if given.contains(&index) {
                continue;
            }
            asked += 1;
            if let Some(run) = foresight.read(directory(1), index) {
                most = most.max(run.most);
                let end = run.from + run.most;
                given.extend(run.from..end);
                foresight.given(directory(1), run, end, run.most);
            }
        }
        assert_eq!(most, MAX_WINDOW);
        assert!(asked < 100_000 / 200, "{asked}");
    }

    #[test]
    fn who_jumps_about_gets_nothing() {
        let mut foresight = Foresight::default();
        for index in [500, 100, 300, 200, 400, 50, 450] {
            assert_eq!(foresight.read(directory(1), index), None, "{index}");
            assert!(!foresight.heeds_listings());
        }
        for n in 2..100 {
            assert_eq!(foresight.read(directory(n), 0), None, "the first of each directory");
        }
    }

    #[test]
    fn a_walk_that_reads_nothing_soon_gets_nothing() {
        let mut foresight = Foresight::default();
        for index in 0..20 {
            let _ = foresight.read(directory(1), index);
        }
        let mut given = 0;
        for n in 2..1_000 {
            if let Some(run) = foresight.listed(directory(n)) {
                let count = run.most.min(10);
                foresight.given(directory(n), run, count, count);
                given += count;
            }
        }
        assert!(given <= MAX_WINDOW, "{given}");
        assert!(!foresight.heeds_listings());
    }

    #[test]
    fn directories_without_end_are_not_all_remembered() {
        let mut foresight = Foresight::default();
        for n in 0..10_000 {
            let _ = foresight.read(directory(n), 0);
        }
        assert!(foresight.places.len() <= MAX_PLACES);
    }
}
