//! What a finished tree says about its nodes, and what it costs.

use super::super::builder::{Builder, Limits};
use super::super::problem::MAX_IN_ALL;
use super::super::*;
use super::kit::{complaints, layer, sparse};

/// Returns the layer of the node at a path.
fn layer_of(tree: &FileTree, path: &str) -> u32 {
    let step = |dir, name: &str| tree.child(dir, name.as_bytes()).unwrap();
    tree.node(path.split('/').fold(tree.root(), step)).layer()
}

#[test]
fn nodes_know_their_layer() {
    let layers = ["a=1 b=2 d/x e/@0700 f/", "a=3 c=>b d/y e/z", "f/@0711 h=>a ./"];
    let (tree, problems) = build_rootfs(layers.map(layer));
    assert_eq!(complaints(&problems), [""; 0]);
    for (path, expected) in
        [("a", 1), ("b", 0), ("c", 0), ("d", 0), ("d/y", 1), ("e", 0), ("e/z", 1), ("f", 2), ("h", 1)]
    {
        assert_eq!(layer_of(&tree, path), expected, "{path}");
    }
    assert_eq!(tree.node(tree.root()).layer(), 2);
    let (tree, _) = build_layer(7, &layer("a/b"));
    assert_eq!((layer_of(&tree, "a"), layer_of(&tree, "a/b")), (7, 7));
}

#[test]
fn sparse_files_keep_their_extents() {
    let pieces = [
        Extent { file_offset: 10, stream_offset: 1 << 40, length: 5 },
        Extent { file_offset: 100, stream_offset: (1 << 40) + 5, length: 7 },
    ];
    let whole = [Extent { file_offset: 0, stream_offset: u64::from(u32::MAX) + 9, length: 3 }];
    let table: [(&str, u64, &[Extent]); 4] =
        [("pieces", 1000, &pieces), ("hole", 5, &[]), ("empty", 0, &[]), ("whole", 3, &whole)];
    let mut records = Records::new();
    for (path, size, extents) in table {
        let record = Record {
            path: path.as_bytes(),
            kind: RecordKind::Regular,
            mode: 0,
            uid: u32::MAX,
            gid: 1,
            mtime: Time { seconds: -6, nanos: 500_000_000 },
            size,
            extents,
            xattrs: &[(b"user.a", b"1"), (b"security.capability", b"\0\xff")],
            header_offset: 0,
        };
        records.push(&record).unwrap();
    }
    let (tree, _) = build_rootfs([records]);
    for (path, size, extents) in table {
        let node = tree.node(tree.child(tree.root(), path.as_bytes()).unwrap());
        assert_eq!((node.size(), &*node.extents()), (size, extents), "{path}");
        assert_eq!((node.uid(), node.mode(), node.mtime().seconds), (u32::MAX, 0, -6));
        assert_eq!(node.xattr(b"security.capability"), Some(b"\0\xff".as_slice()));
        assert_eq!(node.xattr(b"user.b"), None);
        assert_eq!(node.xattrs().count(), 2);
    }
}

#[test]
fn extended_attributes_survive_the_sorting() {
    let words: String = (0..100).map(|i| format!("f{:02}@user.n={} ", (i * 37) % 100, i % 3)).collect();
    let (tree, _) = build_rootfs([layer(&words), layer(".wh.f03 d/g@user.n=2 f07@user.n=1")]);
    for i in (0..100).filter(|i| (i * 37) % 100 != 3) {
        let name = format!("f{:02}", (i * 37) % 100);
        let value = if name == "f07" { 1 } else { i % 3 };
        let node = tree.node(tree.child(tree.root(), name.as_bytes()).unwrap());
        assert_eq!(node.xattr(b"user.n"), Some(value.to_string().as_bytes()), "{name}");
    }
}

#[test]
fn problems_of_a_layer_are_bounded() {
    let many = "a=>no ".repeat(MAX_PROBLEMS + 10);
    let (_, problems) = build_rootfs([layer(&many), layer("b=>no")]);
    assert_eq!(problems.len(), MAX_PROBLEMS + 2);
    assert_eq!(problems[MAX_PROBLEMS].what, Complaint::More(10));
    assert_eq!(problems[MAX_PROBLEMS + 1].layer, 1);
    assert_eq!(
        problems[MAX_PROBLEMS + 1].to_string(),
        "layer 1: b: left out: a hard link to no, which does not exist"
    );
}

/// A manifest that listed a blob of 52 KB four hundred times took 3.2 GB.
#[test]
fn problems_of_all_layers_are_bounded_together() {
    let many = layer(&"a=>no ".repeat(MAX_PROBLEMS + 10));
    let (_, problems) = build_rootfs(std::iter::repeat_n(&many, 12));
    let counted: Vec<&Problem> =
        problems.iter().filter(|problem| matches!(problem.what, Complaint::More(_))).collect();
    assert_eq!(problems.len() - counted.len(), MAX_IN_ALL - 9, "nine layers say how many more they have");
    let all = problems.iter().map(Problem::count).sum::<u64>();
    assert_eq!(all, 12 * (MAX_PROBLEMS as u64 + 10), "none is forgotten");
    assert_eq!(counted.iter().map(|problem| problem.layer).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    let long = "n".repeat(200) + "/";
    let many = layer(&format!("{0}a=>{0}no ", long.repeat(5)).repeat(900));
    let (_, problems) = build_rootfs(std::iter::repeat_n(&many, 12));
    assert!(problems.len() < 8_500, "{}", problems.len());
    assert_eq!(problems.iter().map(Problem::count).sum::<u64>(), 12 * 900);
}

#[test]
fn problems_keep_no_endless_names() {
    let long = "d/".repeat(10_000);
    let (_, problems) = build_rootfs([layer(&format!("{long}x=>no a=>{long}"))]);
    let lengths = |problem: &Problem| match &problem.what {
        Complaint::LinkMissing { target } => (problem.path.len(), target.len()),
        other => panic!("{other}"),
    };
    assert_eq!(problems.iter().map(lengths).collect::<Vec<_>>(), [(1000, 2), (1, 1000)]);
}

#[test]
fn a_full_tree_takes_no_more() {
    let mut merge = Merge::new();
    merge.tree = Builder::with_limits(Limits { nodes: 5, ..Limits::default() });
    merge.apply(0, &layer("a/b c d e f g=>c h/i j=>a/b k->no"));
    merge.apply(1, &layer(".wh.a l m d=2"));
    let (tree, problems) = merge.finish();
    assert_eq!(super::kit::render(&tree), "c d g=>c j l");
    let names = ["0:e:Full", "0:f:Full", "0:h/i:Full", "0:k:Full", "1:m:Full", "1:d:Full"];
    assert_eq!(complaints(&problems), names);
}

/// A layer of 499 KB, sixty sparse files of 2^20 regions each, took 3 GB.
#[test]
fn regions_of_sparse_files_are_bounded_together() {
    let mut merge = Merge::new();
    merge.tree.limits.regions = 10;
    merge.apply(0, &sparse(&[("a", 4), ("b", 7), ("c", 6), ("d", 1)]));
    let (tree, problems) = merge.finish();
    assert_eq!(complaints(&problems), ["0:b:Full", "0:d:Full"]);
    let regions = |path: &str| tree.node(tree.child(tree.root(), path.as_bytes()).unwrap()).extents().len();
    assert_eq!((tree.entry_count(), regions("a"), regions("c")), (2, 4, 6));
    let files: Vec<(String, usize)> = (0..17).map(|n| (format!("f{n:02}"), 1 << 20)).collect();
    let files: Vec<(&str, usize)> = files.iter().map(|(path, regions)| (&**path, *regions)).collect();
    assert_eq!(complaints(&build_rootfs([sparse(&files)]).1), ["0:f16:Full"]);
}

/// Attributes that went were kept, up to 4 GiB of them.
#[test]
fn names_and_attributes_are_bounded() {
    let again = |n: usize| format!("a@user.n={n:0>40} ");
    let words: String = (0..50).map(again).collect();
    let mut merge = Merge::new();
    merge.tree.limits.bytes = 1000;
    merge.apply(0, &layer(&words));
    assert!(merge.tree.bytes.len() <= 1000);
    merge.apply(1, &layer("b c->target"));
    let (tree, problems) = merge.finish();
    let full = complaints(&problems).into_iter().filter(|problem| problem == "0:a:Full").count();
    assert!((20..40).contains(&full), "{full}");
    let value = tree.node(tree.child(tree.root(), b"a").unwrap()).xattr(b"user.n").unwrap();
    assert_eq!(value, format!("{:0>40}", 49 - full).as_bytes(), "the last that has room");
    assert_eq!(tree.entry_count(), 3, "what takes little still has room");
}

#[test]
fn a_node_number_is_checked() {
    let (tree, _) = build_rootfs([layer("a b")]);
    assert_eq!(tree.node_id(2).map(NodeId::index), Some(2));
    assert_eq!(tree.node_id(3), None);
    assert_eq!(tree.node_id(0), Some(tree.root()));
}

#[test]
fn trees_stay_small() {
    let words: String = (0..2000).map(|i| format!("d{}/f{i:07}=x ", i % 50)).collect();
    let (tree, _) = build_rootfs([layer(&words)]);
    assert!(tree.memory() < 2050 * (56 + 13 + 8) + 200, "{} bytes", tree.memory());
}
