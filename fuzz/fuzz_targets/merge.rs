//! Layers applied: any records make a tree with true counts, and plain ones the tree that a naive merger makes.

#![no_main]

#[path = "../../tests/it/kit/naive.rs"]
mod naive;

use libfuzzer_sys::fuzz_target;
use naive::{Entry, Naive, What};
use ocifs::tree::{FileTree, Kind, NodeId, Record, RecordKind, Records, Time, build_layer, build_lost, build_rootfs};
use std::collections::HashMap;

/// Reads records as a hostile index file would have them.
fn hostile(bytes: &[u8]) {
    let Ok(records) = Records::decode(bytes) else { return };
    assert_eq!(records.as_bytes(), bytes, "what is read is what is written");
    check(&build_layer(7, &records).0);
    check(&build_rootfs([&records, &records]).0);
    if let Ok(lost) = build_lost([&records, &records]) {
        lost.iter().for_each(check);
    }
}

/// Goes through a tree: names sorted, directories once, links counted.
fn check(tree: &FileTree) {
    let mut names: HashMap<NodeId, u32> = HashMap::new();
    let mut todo = vec![tree.root()];
    while let Some(directory) = todo.pop() {
        let mut last: Option<&[u8]> = None;
        for (name, id) in tree.children(directory).iter() {
            assert!(last.is_none_or(|last| last < name) && !name.is_empty() && name.len() <= 255);
            assert!(!name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..");
            assert_eq!(tree.child(directory, name), Some(id));
            last = Some(name);
            *names.entry(id).or_default() += 1;
            let node = tree.node(id);
            if node.kind() == Kind::Directory {
                assert_eq!(tree.parent(id), Some(directory));
                todo.push(id);
            }
            for extent in node.extents().iter() {
                assert!(extent.file_offset.checked_add(extent.length).is_some_and(|end| end <= node.size()));
            }
        }
    }
    for (id, count) in names {
        let node = tree.node(id);
        assert_eq!(if node.kind() == Kind::Directory { 1 } else { node.nlink() }, count);
    }
}

/// Reads layers from bytes: each entry is three of them. Hard links are named e to g, stand at the root, and come last.
fn layers(input: &[u8]) -> Vec<Vec<Entry>> {
    let mut layers = vec![Vec::new()];
    let mut links: Vec<Entry> = Vec::new();
    let path = |byte: u8| {
        let part = |n: u8| char::from(b'a' + (byte >> n & 3)).to_string();
        match byte >> 6 {
            0 => part(0),
            1 | 2 => format!("{}/{}", part(0), part(2)),
            _ => format!("{}/{}/{}", part(0), part(2), part(4)),
        }
    };
    for (number, triple) in input.chunks_exact(3).take(60).enumerate() {
        let [kind, first, second] = [triple[0], triple[1], triple[2]];
        let (parent, mode) = (path(first), 0o600 + u32::from(second & 0o77));
        let (path, what) = match kind % 16 {
            0..4 => (parent, What::File(number.to_string())),
            4..7 => (parent, What::Dir),
            7 => (parent, What::Symlink(path(second))),
            8 => (parent, What::Symlink(format!("/{}", path(second)))),
            9 => (parent, What::Symlink(format!("../{}", path(second)))),
            10 => (format!("{parent}/.wh.{}", path(second & 3)), What::File(String::new())),
            11 => (format!("{parent}/.wh..wh..opq"), What::File(String::new())),
            12 => (format!(".wh.{}", char::from(b'a' + second % 7)), What::File(String::new())),
            13 | 14 => {
                let name = char::from(b'e' + first % 3).to_string();
                if links.iter().all(|link| link.path != name) {
                    links.push(Entry { path: name, what: What::Link(path(second)), mode });
                }
                continue;
            }
            _ => {
                layers.last_mut().expect("there is one").append(&mut links);
                layers.push(Vec::new());
                continue;
            }
        };
        layers.last_mut().expect("there is one").push(Entry { path, what, mode });
    }
    layers.last_mut().expect("there is one").append(&mut links);
    layers
}

fn records(entries: &[Entry]) -> Records {
    let mut records = Records::new();
    for Entry { path, what, mode } in entries {
        let kind = match what {
            What::File(_) => RecordKind::Regular,
            What::Dir => RecordKind::Directory,
            What::Symlink(target) => RecordKind::Symlink { target: target.as_bytes() },
            What::Link(target) => RecordKind::HardLink { target: target.as_bytes() },
        };
        // The content's place is taken by an attribute: the merger knows no bytes.
        let content = match what {
            What::File(content) => content.as_str(),
            _ => "",
        };
        let record = Record {
            path: path.as_bytes(),
            kind,
            mode: *mode as u16,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            extents: &[],
            xattrs: &[(b"user.content", content.as_bytes())],
            header_offset: 0,
        };
        records.push(&record).expect("the entry is sound");
    }
    records
}

fn render(tree: &FileTree, directory: NodeId, path: &str, first: &mut HashMap<NodeId, String>, lines: &mut Vec<String>) {
    for (name, id) in tree.children(directory).iter() {
        let (node, path) = (tree.node(id), format!("{path}/{}", name.escape_ascii()));
        let (mode, layer) = (node.mode(), node.layer());
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        lines.push(match (node.kind(), first.get(&id)) {
            (_, Some(first)) => format!("{path} => {first}"),
            (Kind::Directory, _) => format!("{path}/ {mode:o} {layer}"),
            (Kind::Symlink, _) => format!("{path} -> {}", text(node.target())),
            _ => format!("{path} {mode:o} {layer} {:?}", text(node.xattr(b"user.content"))),
        });
        first.entry(id).or_insert_with(|| path.clone());
        render(tree, id, &path, first, lines);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        return hostile(rest);
    }
    let layers = layers(rest);
    let mut model = Naive::default();
    let mut states = Vec::new();
    for layer in &layers {
        model.apply(layer);
        states.push(model.clone());
    }
    let (tree, _) = build_rootfs(layers.iter().map(|layer| records(layer)));
    let lost = build_lost(layers.iter().map(|layer| records(layer))).expect("there are few entries");
    assert_eq!(lost.len(), states.len());
    let deleted = states.iter().map(|state| state.deleted(&model).render());
    for (tree, expected) in std::iter::once(&tree).chain(&lost).zip(std::iter::once(model.render()).chain(deleted)) {
        check(tree);
        let mut lines = Vec::new();
        render(tree, tree.root(), "", &mut HashMap::new(), &mut lines);
        assert_eq!(lines, expected, "{layers:#?}");
    }
});
