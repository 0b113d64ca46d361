//! Hard links, also those whose target comes later in the archive.
//!
//! A link resolves first in its own layer, then in the tree below as it was before this layer's whiteouts. Whether
//! its own layer has the target is known for certain only when all its entries are in. Until then a link that
//! cannot be resolved holds its place with a node of its own kind; the end of the layer puts the target there, or
//! puts back what was there before.

use super::builder::{NONE, implied_directory};
use super::merge::Merge;
use super::name;
use super::node::{Row, Tag};
use super::problem::{self, Complaint};
use super::records::{RecordKind, Records, Stored};
use super::resolve::Stuck;

/// A hard link, as it comes.
pub(super) struct Link<'a> {
    pub(super) records: &'a Records,
    pub(super) stored: Stored<'a>,
    /// Where its record lies.
    pub(super) at: u32,
    /// What the tree below has for its target, or none.
    pub(super) below: u32,
    pub(super) target: &'a [u8],
    pub(super) parent: &'a [u8],
    pub(super) last: &'a [u8],
}

/// A hard link that waits for the end of its layer.
pub(super) struct Pending {
    /// Where its record lies.
    at: u32,
    node: u32,
    entry: u32,
    /// The earlier waiting link of the same layer that it leads to, if it does.
    earlier: u32,
    /// What the tree below has for its target.
    below: u32,
    /// Who made the entry that it took the place of.
    displaced_made: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Underway,
    /// Leads to this node.
    Leads(u32),
    /// Leads nowhere; what it took the place of is, or leads to, this node, or none.
    Lost(u32),
}

impl Merge {
    /// Returns what each hard link of a layer leads to in the tree below, and holds it there.
    pub(super) fn targets_below(&mut self, records: &Records) -> Vec<u32> {
        if records.hard_links() == 0 || self.tree.is_bare() {
            return Vec::new();
        }
        let mut targets = Vec::with_capacity(records.hard_links() as usize);
        for stored in records.iter() {
            if let RecordKind::HardLink { target } = stored.kind {
                let node = self.look(target).ok().flatten().map_or(NONE, |entry| self.tree.entry(entry).node);
                let linkable = node != NONE && self.tree.row(node).tag != Tag::Directory;
                if linkable {
                    self.tree.hold(node);
                }
                targets.push(if linkable { node } else { NONE });
            }
        }
        targets
    }

    /// Returns the entry at a raw path, through symlinked parents; a symbolic link at its end stands for itself.
    fn look(&mut self, raw: &[u8]) -> Result<Option<u32>, Stuck> {
        let mut path = std::mem::take(&mut self.target);
        let found = match name::clean(raw, &mut path) {
            Ok(_) => {
                let (parent, last) = name::split(&path);
                self.find(parent, last)
            }
            Err(_) => Ok(None),
        };
        self.target = path;
        found
    }

    /// Adds a hard link: at once if its own layer already has the target, else waiting.
    pub(super) fn link(&mut self, link: &Link<'_>) -> Result<(), Complaint> {
        // Why it cannot be reached is asked again should nothing else come of the link.
        let seen = self.look(link.target).ok().flatten();
        let node = seen.map_or(NONE, |entry| self.tree.entry(entry).node);
        let tag = seen.map(|_| self.tree.row(node).tag).filter(|tag| *tag != Tag::Directory);
        let own = seen.is_some_and(|entry| self.is_own(entry));
        let (mut earlier, mut below) = (NONE, link.below);
        match tag {
            Some(Tag::Pending) => earlier = node,
            Some(_) if own => return self.link_now(link, node),
            // Reached through a symbolic link of this layer: the tree below alone does not lead there.
            Some(_) if below == NONE => below = node,
            _ => {}
        }
        if earlier == NONE && below == NONE && !self.may_come(link) {
            return Err(self.dangling(link.target));
        }
        let held = [earlier, below];
        held.iter().filter(|node| **node != NONE).for_each(|node| self.tree.hold(*node));
        let placed = self.wait(link, earlier, below);
        if placed.is_err() {
            held.iter().filter(|node| **node != NONE).for_each(|node| self.tree.release(*node));
        }
        placed
    }

    /// Says whether any entry of the layer could be what the link leads to, going by last components alone.
    ///
    /// A link that surely dangles must leave no trace, not even parents; most that dangle are told here.
    fn may_come(&mut self, link: &Link<'_>) -> bool {
        let names = self.last_names.get_or_insert_with(|| {
            let mut path = Vec::new();
            let mut last = |stored: Stored<'_>| {
                name::clean(stored.path, &mut path).ok()?;
                Some(self.tree.hash_name(name::split(&path).1))
            };
            link.records.iter().filter_map(&mut last).collect()
        });
        let mut path = Vec::new();
        name::clean(link.target, &mut path).is_ok()
            && names.contains(&self.tree.hash_name(name::split(&path).1))
    }

    /// Says what is wrong with a link that leads to no file.
    fn dangling(&mut self, raw: &[u8]) -> Complaint {
        let target = problem::shown(raw);
        let mut path = Vec::new();
        if name::clean(raw, &mut path).is_ok() && path.is_empty() {
            return Complaint::LinkToDirectory { target };
        }
        match self.look(raw) {
            Err(Stuck::Loop) => Complaint::LinkLoop { target },
            Err(stuck) => stuck.into(),
            Ok(Some(entry)) if self.tree.row(self.tree.entry(entry).node).tag == Tag::Directory => {
                Complaint::LinkToDirectory { target }
            }
            Ok(_) => Complaint::LinkMissing { target },
        }
    }

    fn link_now(&mut self, link: &Link<'_>, node: u32) -> Result<(), Complaint> {
        // Held, for making room for the link may take the target's own name away.
        self.tree.hold(node);
        let placed = self.parent(link.parent).and_then(|dir| match self.tree.find(dir, link.last) {
            Some(entry) if self.tree.entry(entry).node == node => Ok(()),
            old => self.place(&link.stored, dir, link.last, old, node),
        });
        self.tree.release(node);
        placed
    }

    /// Puts a node of its own kind in the link's place.
    fn wait(&mut self, link: &Link<'_>, earlier: u32, below: u32) -> Result<(), Complaint> {
        let dir = self.parent(link.parent)?;
        let number = self.pending.len() as u32;
        let made = self.explicit();
        let row = Row { tag: Tag::Pending, a: number, b: NONE, ..implied_directory(self.layer) };
        let old = self.tree.find(dir, link.last);
        let node = self.tree.add_node(row)?;
        let (entry, displaced_made) = match old {
            None => (self.tree.attach(dir, link.last, node, made)?, 0),
            Some(entry) => {
                self.note_duplicate(&link.stored, entry, false);
                let displaced_made = self.tree.entry(entry).made;
                self.tree.displace(entry, node, made);
                (entry, displaced_made)
            }
        };
        let at = link.at;
        self.pending.push(Pending { at, node, entry, earlier, below, displaced_made, state: State::Waiting });
        Ok(())
    }

    fn let_go(&mut self, waiting: &Pending) {
        for node in [waiting.earlier, waiting.below] {
            if node != NONE {
                self.tree.release(node);
            }
        }
    }

    /// Puts the targets in the places of the links that waited for them.
    pub(super) fn settle(&mut self, records: &Records) {
        let mut circles = false;
        for number in 0..self.pending.len() {
            circles |= self.resolve(number, records);
        }
        // Where the tree below breaks a circle of links, those that closed it found nothing yet.
        if circles {
            let lost = |waiting: &&mut Pending| matches!(waiting.state, State::Lost(_));
            self.pending.iter_mut().filter(lost).for_each(|waiting| waiting.state = State::Waiting);
            for number in 0..self.pending.len() {
                self.resolve(number, records);
            }
        }
        let pending = std::mem::take(&mut self.pending);
        let leads = |waiting: &Pending| match waiting.state {
            State::Leads(node) => Some(node),
            _ => None,
        };
        pending.iter().filter_map(leads).for_each(|node| self.tree.hold(node));
        // Backwards: what a link took the place of may be a link that waited longer.
        for (number, waiting) in pending.iter().enumerate().rev() {
            if !self.lives(number, waiting) || self.tree.entry(waiting.entry).node != waiting.node {
                continue;
            }
            if let Some(node) = leads(waiting) {
                self.tree.point(waiting.entry, node, self.explicit());
                continue;
            }
            self.tree.restore(waiting.entry, waiting.displaced_made);
            let stored = records.at(waiting.at);
            let what = self.dangling(target(&stored));
            self.report(&stored, what);
        }
        pending.iter().filter_map(leads).for_each(|node| self.tree.release(node));
        pending.iter().for_each(|waiting| self.let_go(waiting));
    }

    /// Says whether a waiting link still has a node; a later entry may have taken its place, and yet another its
    /// numbers.
    fn lives(&self, number: usize, waiting: &Pending) -> bool {
        let row = self.tree.row(waiting.node);
        row.tag == Tag::Pending && row.a as usize == number
    }

    /// Finds out where a waiting link leads, and on the way where those lead that it leads through.
    ///
    /// Says whether it came back to a link it was coming from.
    fn resolve(&mut self, number: usize, records: &Records) -> bool {
        let mut circle = false;
        if !self.lives(number, &self.pending[number]) {
            return circle;
        }
        let mut chain = vec![number];
        while let Some(&number) = chain.last() {
            let state = match self.pending[number].state {
                State::Waiting | State::Underway => {
                    self.pending[number].state = State::Underway;
                    match self.step(number, records, &mut circle) {
                        Step::Through(next) => {
                            chain.push(next);
                            continue;
                        }
                        Step::Leads(node) => State::Leads(node),
                        Step::Lost(node) => State::Lost(node),
                    }
                }
                done => done,
            };
            self.pending[number].state = state;
            chain.pop();
        }
        circle
    }

    fn step(&mut self, number: usize, records: &Records, circle: &mut bool) -> Step {
        let Pending { at, node, earlier, below, .. } = self.pending[number];
        if let Some(step) = self.through(earlier, circle) {
            return step;
        }
        let seen = self.look(target(&records.at(at))).ok().flatten();
        if let Some(entry) = seen.filter(|entry| self.is_own(*entry))
            && let Some(step) = self.through(self.tree.entry(entry).node, circle)
        {
            return step;
        }
        if below != NONE {
            return Step::Leads(below);
        }
        match self.through(self.tree.row(node).b, circle) {
            None => Step::Lost(NONE),
            Some(Step::Leads(node)) => Step::Lost(node),
            Some(step) => step,
        }
    }

    /// Follows a name that may be a waiting link's; `None` if it is of no file, or the way comes back to where it
    /// began.
    fn through(&self, node: u32, circle: &mut bool) -> Option<Step> {
        if node == NONE {
            return None;
        }
        let row = self.tree.row(node);
        match row.tag {
            Tag::Directory => None,
            Tag::Pending => match self.pending[row.a as usize].state {
                State::Waiting => Some(Step::Through(row.a as usize)),
                State::Underway => {
                    *circle = true;
                    None
                }
                State::Lost(NONE) => None,
                State::Leads(node) | State::Lost(node) => Some(Step::Leads(node)),
            },
            _ => Some(Step::Leads(node)),
        }
    }
}

/// Returns the raw target of a hard link.
fn target<'a>(stored: &Stored<'a>) -> &'a [u8] {
    match stored.kind {
        RecordKind::HardLink { target } => target,
        _ => unreachable!("only hard links wait"),
    }
}

enum Step {
    /// It depends on this waiting link.
    Through(usize),
    /// See [`State::Leads`].
    Leads(u32),
    /// See [`State::Lost`].
    Lost(u32),
}
