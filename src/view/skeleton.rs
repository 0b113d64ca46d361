//! A small immutable tree of directories, documents, blobs and grafts: what can be shown without reading a blob.

use std::sync::Arc;

use super::blobs::BlobId;
use super::error::Error;
use super::graft::Graft;
use super::stack::Stack;
use crate::image::Class;

/// A tree of what is known without looking into blobs. Node 0 is its root; children are sorted by their bytes.
pub(super) struct Skeleton {
    pub(super) nodes: Vec<Node>,
    /// What grows at the graft nodes, by their numbers.
    pub(super) grafts: Vec<Graft>,
    /// Whether nodes depend on what groups turn out to be: see [`Skeleton::only_when`].
    pub(super) is_conditional: bool,
}

pub(super) struct Node {
    pub(super) name: Box<str>,
    pub(super) parent: u32,
    /// Reachable by name, and not listed.
    pub(super) hidden: bool,
    /// Shown only if this group of the catalog is of this class, which takes a document to know.
    pub(super) when: Option<(usize, Class)>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Directory(Vec<u32>),
    File(Content),
    Symlink(Box<str>),
    /// Another tree, by its number in `grafts`.
    Graft(u32),
}

/// What a file of the skeleton holds.
#[derive(Clone)]
pub(super) enum Content {
    /// A blob's bytes: an inode of its own, shared by all its names.
    Blob(BlobId),
    /// Text made when the tree was built.
    Text(Arc<Vec<u8>>),
    /// The history of a platform, for which its configuration is read when somebody asks.
    History(Arc<Stack>),
    /// Something that should be there and cannot be read; the size is what is claimed.
    Failed(Box<Error>, u64),
    /// The list of problems, as it is when it is read.
    Problems,
    /// The counters, as they are when they are read.
    Stats,
}

impl Skeleton {
    /// Returns a tree with nothing in it but its root.
    pub(super) fn new() -> Self {
        let root =
            Node { name: "".into(), parent: 0, hidden: false, when: None, kind: Kind::Directory(Vec::new()) };
        Self { nodes: vec![root], grafts: Vec::new(), is_conditional: false }
    }

    /// Returns one whose nodes may depend on what groups turn out to be: see [`Skeleton::only_when`].
    pub(super) fn of_groups() -> Self {
        Self { is_conditional: true, ..Self::new() }
    }

    /// Adds a directory below `parent`, where there is none of that name.
    pub(super) fn directory(&mut self, parent: u32, name: &str) -> u32 {
        self.add(parent, name, Kind::Directory(Vec::new()))
    }

    /// Adds a file.
    pub(super) fn file(&mut self, parent: u32, name: &str, content: Content) {
        self.add(parent, name, Kind::File(content));
    }

    /// Adds a file of text.
    pub(super) fn text(&mut self, parent: u32, name: &str, text: impl Into<Vec<u8>>) {
        self.file(parent, name, Content::Text(Arc::new(text.into())));
    }

    /// Adds a symlink.
    pub(super) fn symlink(&mut self, parent: u32, name: &str, target: &str) {
        self.add(parent, name, Kind::Symlink(target.into()));
    }

    /// Adds a place where another tree grows when somebody looks.
    pub(super) fn graft(&mut self, parent: u32, name: &str, graft: Graft) {
        let number = u32::try_from(self.grafts.len()).expect("fewer grafts than nodes");
        self.grafts.push(graft);
        self.add(parent, name, Kind::Graft(number));
    }

    /// Takes a node out of listings.
    pub(super) fn hide(&mut self, node: u32) {
        self.nodes[node as usize].hidden = true;
    }

    /// Makes the node added last depend on what a group turns out to be.
    pub(super) fn only_when(&mut self, group: usize, class: Class) {
        if let Some(last) = self.nodes.last_mut() {
            last.when = Some((group, class));
        }
    }

    /// Says whether a node is there at all. A directory of groups is, where any of them is.
    pub(super) fn is_shown<E>(
        &self,
        node: u32,
        class: &dyn Fn(usize) -> Result<Class, E>,
    ) -> Result<bool, E> {
        let Some(found) = self.node(node) else { return Ok(false) };
        match (&found.when, &found.kind) {
            (Some((group, wanted)), _) => Ok(class(*group)? == *wanted),
            (None, Kind::Directory(children)) if self.is_conditional && node != 0 => {
                let mut untold = None;
                for child in children {
                    match self.is_shown(*child, class) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(e) => untold = Some(e),
                    }
                }
                untold.map_or(Ok(false), Err)
            }
            _ => Ok(true),
        }
    }

    fn add(&mut self, parent: u32, name: &str, kind: Kind) -> u32 {
        let number = u32::try_from(self.nodes.len()).expect("a skeleton is small");
        self.nodes.push(Node { name: name.into(), parent, hidden: false, when: None, kind });
        if let Kind::Directory(children) = &mut self.nodes[parent as usize].kind {
            children.push(number);
        }
        number
    }

    /// Sorts all directories, which looking up rests on. The tree is finished then.
    pub(super) fn finish(mut self) -> Self {
        for n in 0..self.nodes.len() {
            if let Kind::Directory(children) = &mut self.nodes[n].kind {
                let mut children = std::mem::take(children);
                children.sort_by(|a, b| self.nodes[*a as usize].name.cmp(&self.nodes[*b as usize].name));
                self.nodes[n].kind = Kind::Directory(children);
            }
        }
        self
    }

    /// Returns what should be there and cannot be had, each with its reason.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Error> {
        let files = self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::File(Content::Failed(why, _)) => Some(&**why),
            _ => None,
        });
        files.chain(self.grafts.iter().filter_map(|graft| match graft {
            Graft::Failed(why) => Some(&**why),
            _ => None,
        }))
    }

    pub(super) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    /// Says whether a node is described without reading a document.
    pub(super) fn is_described_at_once(&self, number: u32) -> bool {
        match self.node(number).map(|node| &node.kind) {
            Some(Kind::File(Content::History(stack))) => stack.is_config_known(),
            _ => true,
        }
    }

    /// Finds a child by name in a finished tree.
    pub(super) fn child(&self, directory: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        let children = self.children(directory)?;
        let at = children.binary_search_by(|c| self.nodes[*c as usize].name.as_bytes().cmp(name));
        Ok(at.ok().map(|at| children[at]))
    }

    /// Returns a directory's children, hidden ones included.
    pub(super) fn children(&self, directory: u32) -> Result<&[u32], Error> {
        match &self.node(directory).ok_or(Error::Stale)?.kind {
            Kind::Directory(children) => Ok(children),
            _ => Err(Error::NotADirectory),
        }
    }

    /// Returns the bytes of memory the tree takes, roughly: those of its nodes and texts.
    pub(super) fn memory(&self) -> usize {
        let text = |node: &Node| match &node.kind {
            Kind::File(Content::Text(text)) => text.len(),
            _ => 0,
        };
        self.nodes.iter().map(|node| size_of::<Node>() + node.name.len() + text(node)).sum()
    }

    /// Returns all blobs this tree names, one for each name.
    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::File(Content::Blob(id)) => Some(*id),
            _ => None,
        })
    }

    /// Returns the path of a node below this tree's root.
    pub(super) fn path(&self, node: usize) -> String {
        let mut parts = Vec::new();
        let mut at = node;
        while at != 0 {
            parts.push(&*self.nodes[at].name);
            at = self.nodes[at].parent as usize;
        }
        parts.reverse();
        parts.join("/")
    }
}
