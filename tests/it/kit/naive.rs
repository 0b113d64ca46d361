//! Layers applied the plain way: a tree of maps that is copied whole before each layer.
//!
//! Knows nothing of the crate and nothing of the kit, so that a fuzz target can include it too. Slow on purpose.

use std::collections::{BTreeMap, BTreeSet};

/// Symlinks followed in one path before it is given up, as Linux does.
const MAX_LINKS: u32 = 40;

/// What an entry of a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    File(String),
    Dir,
    Symlink(String),
    Link(String),
}

/// An entry of a layer: a path without empty components, `.` or `..`; markers are entries like others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) what: What,
    pub(crate) mode: u32,
}

#[derive(Clone, Debug)]
struct Inode {
    what: What,
    mode: u32,
    layer: usize,
    children: BTreeMap<String, usize>,
}

/// A root filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    inodes: Vec<Inode>,
    layers: usize,
    /// Which names the layer being applied has put where they are.
    own: BTreeSet<(usize, String)>,
    /// Those of them under which there is something else now.
    put: BTreeSet<(usize, String)>,
}

impl Default for Naive {
    fn default() -> Self {
        let root = Inode { what: What::Dir, mode: 0o755, layer: 0, children: BTreeMap::new() };
        Self { inodes: vec![root], layers: 0, own: BTreeSet::new(), put: BTreeSet::new() }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Naive {
    /// Applies the next layer: first its markers, to what lies below; then its entries, in order.
    pub(crate) fn apply(&mut self, entries: &[Entry]) {
        let below = self.clone();
        let gone = below.links_gone(entries);
        for entry in entries {
            let (parent, name) = split(&entry.path);
            let Some(hidden) = name.strip_prefix(".wh.") else { continue };
            let inside = format!("{parent}/");
            if gone.iter().any(|link| inside.starts_with(&format!("{link}/"))) {
                continue;
            }
            let Some(directory) = below.walk(0, parent, &mut 0) else { continue };
            match hidden {
                ".wh..opq" => self.inodes[directory].children.clear(),
                hidden => drop(self.inodes[directory].children.remove(hidden)),
            }
        }
        self.own.clear();
        self.put.clear();
        for entry in entries.iter().filter(|entry| !split(&entry.path).1.starts_with(".wh.")) {
            let before = self.clone();
            if self.add(entry, &below).is_none() {
                *self = before;
            }
        }
        self.layers += 1;
    }

    /// The symlinks here that entries of the next layer hide, or put a directory in the place of.
    fn links_gone(&self, entries: &[Entry]) -> Vec<String> {
        let mut gone = Vec::new();
        for entry in entries {
            let (parent, name) = split(&entry.path);
            let name = match name.strip_prefix(".wh.") {
                Some(hidden) => hidden,
                None if entry.what == What::Dir => name,
                None => continue,
            };
            let Some(directory) = self.walk(0, parent, &mut 0) else { continue };
            let child = self.inodes[directory].children.get(name);
            if child.is_some_and(|child| matches!(self.inodes[*child].what, What::Symlink(_))) {
                gone.push(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") });
            }
        }
        gone
    }

    fn add(&mut self, entry: &Entry, below: &Self) -> Option<()> {
        let (parent, name) = split(&entry.path);
        let target = match &entry.what {
            What::Link(target) => Some(self.linked(target, below)?),
            _ => None,
        };
        let directory = self.make(0, parent, &mut 0)?;
        self.own.insert((directory, name.to_owned()));
        let old = self.inodes[directory].children.get(name).copied();
        let number = match (target, old) {
            (Some(number), _) => number,
            (None, Some(old)) if entry.what == What::Dir && self.inodes[old].what == What::Dir => {
                (self.inodes[old].mode, self.inodes[old].layer) = (entry.mode, self.layers);
                old
            }
            _ => self.inode(entry.what.clone(), entry.mode),
        };
        if self.inodes[directory].children.insert(name.to_owned(), number) != Some(number) {
            self.put.insert((directory, name.to_owned()));
        }
        Some(())
    }

    fn inode(&mut self, what: What, mode: u32) -> usize {
        self.inodes.push(Inode { what, mode, layer: self.layers, children: BTreeMap::new() });
        self.inodes.len() - 1
    }

    /// Finds what a hard link means: this layer's own file of that name, else the one below, else whatever is there.
    fn linked(&self, target: &str, below: &Self) -> Option<usize> {
        let (parent, name) = split(target);
        let find = |tree: &Self| {
            let directory = tree.walk(0, parent, &mut 0)?;
            let number = *tree.inodes[directory].children.get(name)?;
            (tree.inodes[number].what != What::Dir).then_some((directory, number))
        };
        let here = find(self);
        let own = here.filter(|(directory, _)| self.own.contains(&(*directory, name.to_owned())));
        own.or_else(|| find(below)).or(here).map(|(_, number)| number)
    }

    /// Finds an existing directory, following symlinks inside the root.
    fn walk(&self, from: usize, path: &str, links: &mut u32) -> Option<usize> {
        // A directory does not know its parent: `..` goes back along the way that led here.
        let mut way = if path.starts_with('/') { vec![0] } else { self.way(from) };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let here = *way.last()?;
            if part == ".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let child = *self.inodes[here].children.get(part)?;
            match &self.inodes[child].what {
                What::Dir => way.push(child),
                What::Symlink(target) => {
                    *links += 1;
                    if *links > MAX_LINKS {
                        return None;
                    }
                    way = self.way(self.walk(here, target, links)?);
                }
                _ => return None,
            }
        }
        way.last().copied()
    }

    /// Like `walk`, but makes directories of what is missing or, where no symlink led there, no directory.
    fn make(&mut self, from: usize, path: &str, links: &mut u32) -> Option<usize> {
        let mut way = if path.starts_with('/') { vec![0] } else { self.way(from) };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let here = *way.last()?;
            if part == ".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let child = self.inodes[here].children.get(part).copied();
            match child.map(|child| (child, self.inodes[child].what.clone())) {
                Some((child, What::Dir)) => way.push(child),
                Some((_, What::Symlink(target))) => {
                    *links += 1;
                    if *links > MAX_LINKS {
                        return None;
                    }
                    let end = self.make(here, &target, links)?;
                    way = self.way(end);
                }
                Some(_) if *links > 0 => return None,
                _ => {
                    let made = self.inode(What::Dir, 0o755);
                    self.inodes[here].children.insert(part.to_owned(), made);
                    self.own.insert((here, part.to_owned()));
                    way.push(made);
                }
            }
        }
        way.last().copied()
    }

    /// The directories from the root to `to`.
    fn way(&self, to: usize) -> Vec<usize> {
        let mut stack = vec![vec![0]];
        while let Some(way) = stack.pop() {
            let here = *way.last().expect("a way has a beginning");
            if here == to {
                return way;
            }
            for child in self.inodes[here].children.values() {
                if self.inodes[*child].what == What::Dir {
                    stack.push(way.iter().copied().chain([*child]).collect());
                }
            }
        }
        // Only what is in the tree is asked for.
        vec![0]
    }

    /// Returns what the layer applied last put where it is, and `end` does not have there any more.
    pub(crate) fn deleted(&self, end: &Self) -> Self {
        let mut deleted = end.clone();
        deleted.inodes.iter_mut().for_each(|inode| inode.children.clear());
        self.pick(0, end, Some(0), &mut deleted);
        deleted
    }

    fn pick(&self, directory: usize, end: &Self, there: Option<usize>, deleted: &mut Self) -> bool {
        let mut any = false;
        for (name, &number) in &self.inodes[directory].children {
            let now = there.and_then(|there| end.inodes[there].children.get(name)).copied();
            let gone = match self.inodes[number].what {
                What::Dir => self.pick(number, end, now, deleted),
                _ => self.put.contains(&(directory, name.clone())) && now != Some(number),
            };
            if gone {
                deleted.inodes[directory].children.insert(name.clone(), number);
                any = true;
            }
        }
        any
    }

    /// Renders the tree, a line a name: path, type, mode, layer, content; further names of a file point to the first.
    /// Of a symlink the layer is left out: Linux lets nobody ask a symlink for a `user.` attribute.
    pub(crate) fn render(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut first = BTreeMap::new();
        self.render_into(0, "", &mut first, &mut lines);
        lines
    }

    fn render_into(
        &self,
        directory: usize,
        path: &str,
        first: &mut BTreeMap<usize, String>,
        lines: &mut Vec<String>,
    ) {
        for (name, &number) in &self.inodes[directory].children {
            let Inode { what, mode, layer, .. } = &self.inodes[number];
            let path = format!("{path}/{name}");
            let known = first.get(&number);
            lines.push(match (what, known) {
                (_, Some(first)) => format!("{path} => {first}"),
                (What::Dir, _) => format!("{path}/ {mode:o} {layer}"),
                (What::Symlink(target), _) => format!("{path} -> {target}"),
                (What::File(content) | What::Link(content), _) => {
                    format!("{path} {mode:o} {layer} {content:?}")
                }
            });
            if known.is_none() {
                first.insert(number, path.clone());
            }
            self.render_into(number, &path, first, lines);
        }
    }
}
