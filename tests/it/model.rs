//! Random layers through a real mount, against a merger that is as naive as can be.

use crate::kit::naive::{Entry, Naive, What};
use crate::kit::{Layer, Layout, Member, Mount, PLATFORM, Packing, archive, get_xattr};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-d]", 1..4).prop_map(|parts| parts.join("/"))
}

fn marker(path: String) -> (String, What) {
    (path, What::File(String::new()))
}

fn plain() -> impl Strategy<Value = Entry> {
    let what = prop_oneof![
        4 => (path(), "[x-z]{0,3}").prop_map(|(path, content)| (path, What::File(content))),
        3 => path().prop_map(|path| (path, What::Dir)),
        3 => (path(), path(), "/?(\\.\\./)?").prop_map(|(path, to, up)| (path, What::Symlink(up + &to))),
        2 => (path(), "[a-d]").prop_map(|(path, name)| marker(format!("{path}/.wh.{name}"))),
        1 => "[a-g]".prop_map(|name| marker(format!(".wh.{name}"))),
        1 => path().prop_map(|path| marker(format!("{path}/.wh..wh..opq"))),
        1 => Just(marker(".wh..wh..opq".to_owned())),
    ];
    (what, 0..0o100_u32).prop_map(|((path, what), mode)| Entry { path, what, mode: 0o600 + mode })
}

/// Entries, and behind them hard links of names that nothing else has: where one takes the place of what another still
/// waits for, there is more than one right answer.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let link = ("[e-g]", prop_oneof![4 => path(), 1 => "[e-g]"]);
    (proptest::collection::vec(plain(), 0..12), proptest::collection::vec(link, 0..4)).prop_map(
        |(mut entries, links)| {
            for (index, (name, target)) in links.iter().enumerate() {
                let again = |(other, _): &(String, String)| other == name || other == target;
                if *name != *target && !links[index + 1..].iter().any(again) {
                    entries.push(Entry { path: name.clone(), what: What::Link(target.clone()), mode: 0o644 });
                }
            }
            entries
        },
    )
}

fn member(entry: &Entry) -> Member {
    let Entry { path, what, mode } = entry;
    match what {
        What::File(content) => Member::file(path, content),
        What::Dir => Member::dir(path),
        What::Symlink(target) => Member::symlink(path, target),
        What::Link(target) => Member::link(path, target),
    }
    .mode(*mode)
}

/// Renders what is mounted as [`Naive::render`] does.
fn render(directory: &Path, path: &str, first: &mut BTreeMap<u64, (String, u64)>, lines: &mut Vec<String>) {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let (real, path) = (directory.join(&name), format!("{path}/{}", name.to_str().unwrap()));
        let meta = fs::symlink_metadata(&real).unwrap();
        let layer = get_xattr(&real, "user.oci.layer", 10).map(|layer| String::from_utf8(layer).unwrap());
        let mode = meta.mode() & 0o7777;
        if let Some((known, links)) = first.get_mut(&meta.ino()) {
            lines.push(format!("{path} => {known}"));
            *links -= 1;
            continue;
        }
        lines.push(match meta.file_type() {
            kind if kind.is_dir() => format!("{path}/ {mode:o} {}", layer.unwrap()),
            kind if kind.is_symlink() => {
                format!("{path} -> {}", fs::read_link(&real).unwrap().display())
            }
            _ => {
                let content = fs::read_to_string(&real).unwrap();
                format!("{path} {mode:o} {} {content:?}", layer.unwrap())
            }
        });
        if meta.is_dir() {
            render(&real, &path, first, lines);
        } else {
            first.insert(meta.ino(), (path, meta.nlink() - 1));
        }
    }
}

fn cases() -> u32 {
    // A mount takes a while; `scripts/test.sh --long` asks for twenty thousand of everything.
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse::<u32>().ok());
    asked.map_or(24, |cases| (cases / 20).max(24))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mount_agrees_with_the_naive_merger(
        layers in proptest::collection::vec((entries(), 0..Packing::ALL.len()), 1..5),
    ) {
        let mut model = Naive::default();
        let mut states = Vec::new();
        for (entries, _) in &layers {
            model.apply(entries);
            states.push(model.clone());
        }
        let packed: Vec<Layer> = layers.iter().map(|(entries, packing)| {
            let members: Vec<Member> = entries.iter().map(member).collect();
            Layer::packed(&archive(&members), Packing::ALL[*packing])
        }).collect();
        let layout = Layout::of_layers(&packed);
        let mount = Mount::new(layout.path());
        let mut shown = vec![("rootfs".to_owned(), model.render())];
        for (n, state) in states.iter().enumerate() {
            shown.push((format!("at/{n}"), state.render()));
            if n + 1 < states.len() {
                shown.push((format!("deleted/{n}"), state.deleted(&model).render()));
            }
        }
        for (directory, expected) in shown {
            let (mut first, mut lines) = (BTreeMap::new(), Vec::new());
            render(&mount.join(PLATFORM).join(&directory), "", &mut first, &mut lines);
            prop_assert_eq!(lines, expected, "{}: {:#?}", directory, layers);
            for (path, unseen) in first.values() {
                prop_assert_eq!(*unseen, 0, "{}{}: a link count that is not its number of names", directory, path);
            }
        }
    }
}
