//! A small language for layers and trees, and the checks that know the API.
//!
//! Words, separated by spaces: `d/`, `f=text`, `f` (empty), `s->target`, `h=>file`, `n%c1:3`, `n%b8:0`, `p%p`; behind
//! any of them `@` and attributes that differ from the usual: `@0700,5:6,t9,user.a=1`. A tree is its words in order;
//! of a file's several names all but the first are links to it.

use super::super::*;
use std::collections::HashMap;
use std::fmt::Write;

/// Makes the records of one layer.
pub(super) fn layer(words: &str) -> Records {
    let mut records = Records::new();
    for (number, word) in words.split_whitespace().enumerate() {
        push(&mut records, word, number as u64 * 512);
    }
    records
}

fn push(records: &mut Records, word: &str, header_offset: u64) {
    let (what, attributes) = word.split_once('@').unwrap_or((word, ""));
    let device = |text: &str| {
        let (major, minor) = text.split_once(':').unwrap();
        (major.parse().unwrap(), minor.parse().unwrap())
    };
    let mut text = "";
    let (path, kind, mut mode) = if let Some((path, target)) = what.split_once("=>") {
        (path, RecordKind::HardLink { target: target.as_bytes() }, 0o644)
    } else if let Some((path, target)) = what.split_once("->") {
        (path, RecordKind::Symlink { target: target.as_bytes() }, 0o777)
    } else if let Some((path, contents)) = what.split_once('=') {
        text = contents;
        (path, RecordKind::Regular, 0o644)
    } else if let Some((path, numbers)) = what.split_once("%c") {
        let (major, minor) = device(numbers);
        (path, RecordKind::CharDevice { major, minor }, 0o644)
    } else if let Some((path, numbers)) = what.split_once("%b") {
        let (major, minor) = device(numbers);
        (path, RecordKind::BlockDevice { major, minor }, 0o644)
    } else if let Some(path) = what.strip_suffix("%p") {
        (path, RecordKind::Fifo, 0o644)
    } else if what.ends_with('/') || matches!(what, "." | "..") {
        (what, RecordKind::Directory, 0o755)
    } else {
        (what, RecordKind::Regular, 0o644)
    };
    let (mut uid, mut gid, mut mtime, mut xattrs) = (0, 0, Time::default(), Vec::new());
    for attribute in attributes.split(',').filter(|a| !a.is_empty()) {
        if let Some((name, value)) = attribute.split_once('=') {
            xattrs.push((name.as_bytes(), value.as_bytes()));
        } else if let Some(time) = attribute.strip_prefix('t') {
            mtime = Time { seconds: time.parse().unwrap(), nanos: 5 };
        } else if attribute.contains(':') {
            (uid, gid) = device(attribute);
        } else {
            mode = u16::from_str_radix(attribute, 8).unwrap();
        }
    }
    // The text stands in the offset, so that no stream is needed to tell files apart.
    assert!(text.len() < 8, "{text}: too long for an offset");
    let mut packed = [0; 8];
    packed[..text.len()].copy_from_slice(text.as_bytes());
    let extent =
        Extent { file_offset: 0, stream_offset: u64::from_le_bytes(packed), length: text.len() as u64 };
    let extents = if text.is_empty() { [].as_slice() } else { std::slice::from_ref(&extent) };
    let record = Record {
        path: path.as_bytes(),
        kind,
        mode,
        uid,
        gid,
        mtime,
        size: text.len() as u64,
        extents,
        xattrs: &xattrs,
        header_offset,
    };
    records.push(&record).unwrap();
}

/// Makes the records of a layer of sparse files, of so many regions each.
pub(super) fn sparse(files: &[(&str, usize)]) -> Records {
    let mut records = Records::new();
    for (path, regions) in files {
        let region = |n: usize| Extent { file_offset: 2 * n as u64, stream_offset: 512, length: 1 };
        let extents: Vec<Extent> = (0..*regions).map(region).collect();
        let record = Record {
            path: path.as_bytes(),
            kind: RecordKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 1 << 40,
            extents: &extents,
            xattrs: &[],
            header_offset: 0,
        };
        records.push(&record).unwrap();
    }
    records
}

/// Writes a tree in the small language, checking on the way what every tree promises.
pub(super) fn render(tree: &FileTree) -> String {
    let mut words = Vec::new();
    let mut first_names: HashMap<NodeId, (String, u32)> = HashMap::new();
    let mut entries = 0;
    let root = attributes(&tree.node(tree.root()), 0o755);
    if !root.is_empty() {
        words.push(format!("/{root}"));
    }
    assert_eq!(tree.parent(tree.root()), Some(tree.root()));
    let mut stack = vec![(String::new(), tree.root())];
    let mut directories = 0;
    // Depth first with a stack: a directory's children are pushed in reverse.
    while let Some((path, id)) = stack.pop() {
        let node = tree.node(id);
        if id != tree.root() {
            words.push(word(&path, id, &node, &mut first_names));
        }
        if node.kind() != Kind::Directory {
            assert_eq!(tree.parent(id), None);
            assert!(tree.children(id).is_empty());
            continue;
        }
        directories += 1;
        let children: Vec<_> = tree.children(id).iter().collect();
        assert!(children.is_sorted_by(|a, b| a.0 < b.0), "{path}: children in order, each name once");
        entries += children.len();
        let is_directory = |child: &&(&[u8], NodeId)| tree.node(child.1).kind() == Kind::Directory;
        assert_eq!(node.nlink() as usize, 2 + children.iter().filter(is_directory).count(), "{path}");
        for (index, (name, child)) in children.iter().enumerate().rev() {
            assert_eq!(tree.children(id).nth(index), Some((*name, *child)));
            assert_eq!(tree.child(id, name), Some(*child));
            if is_directory(&&(*name, *child)) {
                assert_eq!(tree.parent(*child), Some(id));
            }
            let slash = if path.is_empty() { "" } else { "/" };
            stack.push((format!("{path}{slash}{}", name.escape_ascii()), *child));
        }
        assert_eq!(tree.children(id).nth(children.len()), None);
    }
    assert_eq!(tree.entry_count(), entries, "no entry outside the tree");
    assert_eq!(tree.node_count() as usize, directories + first_names.len(), "no node outside the tree");
    for (id, (name, count)) in first_names {
        assert_eq!(tree.node(id).nlink(), count, "links of {name}");
    }
    words.join(" ")
}

fn word(path: &str, id: NodeId, node: &Node<'_>, first_names: &mut HashMap<NodeId, (String, u32)>) -> String {
    if node.kind() == Kind::Directory {
        return format!("{path}/{}", attributes(node, 0o755));
    }
    if let Some((first, count)) = first_names.get_mut(&id) {
        *count += 1;
        return format!("{path}=>{first}");
    }
    first_names.insert(id, (path.to_owned(), 1));
    let device = |letter| node.rdev().map(|(major, minor)| format!("%{letter}{major}:{minor}")).unwrap();
    let what = match node.kind() {
        Kind::Symlink => format!("->{}", node.target().unwrap().escape_ascii()),
        Kind::CharDevice => device('c'),
        Kind::BlockDevice => device('b'),
        Kind::Fifo => "%p".to_owned(),
        Kind::Regular => match &*node.extents() {
            [] => String::new(),
            [one] => {
                assert_eq!((one.file_offset, one.length), (0, node.size()));
                let text = one.stream_offset.to_le_bytes();
                format!("={}", text[..one.length as usize].escape_ascii())
            }
            many => panic!("{path}: {many:?}"),
        },
        Kind::Directory => unreachable!(),
    };
    let usual = if node.kind() == Kind::Symlink { 0o777 } else { 0o644 };
    format!("{path}{what}{}", attributes(node, usual))
}

fn attributes(node: &Node<'_>, usual_mode: u16) -> String {
    let mut out = String::new();
    if node.mode() != usual_mode {
        write!(out, ",{:04o}", node.mode()).unwrap();
    }
    if (node.uid(), node.gid()) != (0, 0) {
        write!(out, ",{}:{}", node.uid(), node.gid()).unwrap();
    }
    if node.mtime() != Time::default() {
        assert_eq!(node.mtime().nanos, 5);
        write!(out, ",t{}", node.mtime().seconds).unwrap();
    }
    for (name, value) in node.xattrs() {
        write!(out, ",{}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
    }
    if !out.is_empty() {
        out.replace_range(..1, "@");
    }
    out
}

/// Writes problems as `layer:path:Complaint`.
pub(super) fn complaints(problems: &[Problem]) -> Vec<String> {
    let short = |problem: &Problem| {
        let what = format!("{:?}", problem.what);
        let end = what.find(|c: char| !c.is_alphanumeric()).unwrap_or(what.len());
        format!("{}:{}:{}", problem.layer, problem.path.escape_ascii(), &what[..end])
    };
    problems.iter().map(short).collect()
}

/// Checks that layers make a tree and nothing is wrong with them.
#[track_caller]
pub(super) fn check(layers: &[&str], expected: &str) {
    flawed(layers, expected, &[]);
}

/// Checks that layers make a tree, and what is wrong with them.
#[track_caller]
pub(super) fn flawed(layers: &[&str], expected: &str, problems: &[&str]) {
    let (tree, found) = build_rootfs(layers.iter().map(|words| layer(words)));
    assert_eq!(render(&tree), expected, "{layers:?}");
    assert_eq!(complaints(&found), problems, "{layers:?}");
}

/// Checks the tree of one layer alone, and what is wrong with it.
#[track_caller]
pub(super) fn alone(words: &str, expected: &str, problems: &[&str]) {
    let (tree, found) = build_layer(0, &layer(words));
    assert_eq!(render(&tree), expected, "{words}");
    assert_eq!(complaints(&found), problems, "{words}");
}
