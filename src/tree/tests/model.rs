//! Random layers against a model that knows nothing but a sorted map of full paths.
//!
//! The model has no nodes with names: a path maps to a file, and files with the same number are one. It resolves
//! links by running over strings. Slow and plain on purpose.

use super::super::*;
use super::kit::{layer, render};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq)]
enum File {
    Dir,
    Link(String),
    /// The word without its name: `=text`, `%p`.
    Other(String),
}

#[derive(Clone)]
struct Thing {
    inode: usize,
    file: File,
}

type Tree = BTreeMap<Vec<String>, Thing>;

#[derive(Clone, Default)]
struct Model {
    tree: Tree,
    inodes: usize,
    own: BTreeSet<Vec<String>>,
}

fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn remove(tree: &mut Tree, path: &[String]) {
    tree.retain(|other, _| !other.starts_with(path));
}

/// Resolves all but links at the end of `path`, and says which directories are missing; `None` where links go in circles
/// or lead to something that is no directory.
fn resolve(tree: &Tree, path: &[String], mut links: u32) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let mut done: Vec<String> = Vec::new();
    let mut missing = Vec::new();
    for (index, part) in path.iter().enumerate() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(part.clone());
        match tree.get(&done).filter(|_| !missing.contains(&done)).map(|thing| &thing.file) {
            Some(File::Dir) => {}
            Some(File::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                done.pop();
                let mut full = if target.starts_with('/') { Vec::new() } else { done };
                full.extend(parts(target));
                full.extend(path[index + 1..].iter().cloned());
                let (end, more) = resolve(tree, &full, links)?;
                missing.extend(more);
                return Some((end, missing));
            }
            Some(_) if links > 0 => return None,
            _ => missing.push(done.clone()),
        }
    }
    Some((done, missing))
}

/// Returns the symlinks of `below` that are hidden, or have a directory in their place.
fn links_gone(below: &Tree, words: &[String]) -> Vec<Vec<String>> {
    let names = words.iter().filter(|word| word.ends_with('/') || word.contains(".wh."));
    let mut gone = Vec::new();
    for mut name in names.map(|word| parts(word)) {
        let last = name.pop().unwrap();
        let Some((mut place, missing)) = resolve(below, &name, 0) else { continue };
        let replaced = last.strip_prefix(".wh.").unwrap_or(&last).to_owned();
        place.push(replaced.clone());
        if missing.is_empty() && below.get(&place).is_some_and(|thing| matches!(thing.file, File::Link(_))) {
            name.push(replaced);
            gone.push(name);
        }
    }
    gone
}

impl Model {
    fn add(&mut self, path: Vec<String>, file: File) {
        self.inodes += 1;
        self.tree.insert(path.clone(), Thing { inode: self.inodes, file });
        self.own.insert(path);
    }

    /// Makes the parents of an entry and returns where it belongs.
    fn place(&mut self, path: &[String]) -> Option<Vec<String>> {
        let (last, parent) = path.split_last()?;
        let (mut end, missing) = resolve(&self.tree, parent, 0)?;
        for dir in missing {
            remove(&mut self.tree, &dir);
            self.add(dir, File::Dir);
        }
        end.push(last.clone());
        Some(end)
    }

    /// Returns where an existing thing is.
    fn find(tree: &Tree, path: &str) -> Option<Vec<String>> {
        let path = parts(path);
        let (last, parent) = path.split_last()?;
        let (mut end, missing) = resolve(tree, parent, 0)?;
        end.push(last.clone());
        (missing.is_empty() && tree.contains_key(&end)).then_some(end)
    }

    fn apply(&mut self, words: &[String]) {
        let below = self.tree.clone();
        let gone = links_gone(&below, words);
        for word in words {
            let path = parts(word.split(['=', '-', '%']).next().unwrap());
            let (last, parent) = path.split_last().unwrap();
            let Some(hidden) = last.strip_prefix(".wh.") else { continue };
            if gone.iter().any(|link| parent.starts_with(link)) {
                continue;
            }
            let Some((mut dir, missing)) = resolve(&below, parent, 0) else { continue };
            if !missing.is_empty() {
                continue;
            }
            if hidden == ".wh..opq" {
                self.tree.retain(|path, _| !(path.starts_with(&dir) && path.len() > dir.len()));
            } else {
                dir.push(hidden.to_owned());
                remove(&mut self.tree, &dir);
            }
        }
        self.own.clear();
        for word in words {
            let name = word.split(['=', '-', '%']).next().unwrap();
            if name.contains(".wh.") {
                continue;
            }
            let path = parts(name);
            if let Some((_, target)) = word.split_once("=>") {
                // What the layer has already, or what those below have, or what its symlinks reach of that.
                let get = |tree: &Tree| Self::find(tree, target).map(|end| (tree[&end].clone(), end));
                let file = |(thing, _): &(Thing, _)| thing.file != File::Dir;
                let thing = get(&self.tree)
                    .filter(|(_, end)| self.own.contains(end))
                    .filter(file)
                    .or_else(|| get(&below).filter(file))
                    .or_else(|| get(&self.tree).filter(file))
                    .map(|(thing, _)| thing);
                let Some(thing) = thing else {
                    // Where another entry has such a name, the link waits for it in vain, in its place.
                    let last = |word: &String| parts(word.split(['=', '-', '%']).next().unwrap()).pop();
                    if words.iter().any(|word| last(word) == parts(target).pop()) {
                        self.place(&path);
                    }
                    continue;
                };
                let Some(end) = self.place(&path) else { continue };
                if self.tree.get(&end).is_none_or(|old| old.inode != thing.inode) {
                    remove(&mut self.tree, &end);
                    self.tree.insert(end.clone(), thing);
                    self.own.insert(end);
                }
                continue;
            }
            let Some(end) = self.place(&path) else { continue };
            let file = match word.split_once("->") {
                Some((_, target)) => File::Link(target.to_owned()),
                None if word.ends_with('/') => File::Dir,
                None => File::Other(word[name.len()..].to_owned()),
            };
            let keep = file == File::Dir && self.tree.get(&end).is_some_and(|old| old.file == File::Dir);
            if keep {
                self.own.insert(end);
            } else {
                remove(&mut self.tree, &end);
                self.add(end, file);
            }
        }
    }

    /// What each of some states, one after every layer, put in its place and the last one does not have there.
    fn deleted(states: &[Self]) -> Vec<String> {
        let Some(last) = states.last() else { return Vec::new() };
        let gone = |state: &Self| {
            let mut tree = Tree::new();
            for (path, thing) in &state.tree {
                let stays = last.tree.get(path).is_some_and(|now| now.inode == thing.inode);
                if thing.file == File::Dir || !state.own.contains(path) || stays {
                    continue;
                }
                for end in 1..path.len() {
                    tree.insert(path[..end].to_vec(), Thing { inode: 0, file: File::Dir });
                }
                tree.insert(path.clone(), thing.clone());
            }
            Self { tree, ..Self::default() }.render()
        };
        states.iter().map(gone).collect()
    }

    fn render(&self) -> String {
        let mut first = BTreeMap::new();
        let word = |(path, thing): (&Vec<String>, &Thing)| {
            let path = path.join("/");
            match (&thing.file, first.get(&thing.inode)) {
                (File::Dir, _) => format!("{path}/"),
                (_, Some(name)) => format!("{path}=>{name}"),
                (file, None) => {
                    first.insert(thing.inode, path.clone());
                    match file {
                        File::Link(target) => format!("{path}->{target}"),
                        File::Other(what) => format!("{path}{what}"),
                        File::Dir => unreachable!(),
                    }
                }
            }
        };
        self.tree.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-d]", 1..4).prop_map(|parts| parts.join("/"))
}

/// Words without hard links.
fn plain() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (path(), "[x-z]").prop_map(|(path, text)| format!("{path}={text}")),
        3 => path().prop_map(|path| format!("{path}/")),
        3 => (path(), path(), "/?(\\.\\./)?").prop_map(|(path, target, up)| format!("{path}->{up}{target}")),
        1 => path().prop_map(|path| format!("{path}%p")),
        2 => (path(), "[a-d]").prop_map(|(path, name)| format!("{path}/.wh.{name}")),
        1 => "[a-d]".prop_map(|name| format!(".wh.{name}")),
        1 => path().prop_map(|path| format!("{path}/.wh..wh..opq")),
    ]
}

/// A layer whose hard links come last, so that none leads to a later entry; and several only under names of their
/// own, so that none takes the place of what another waits for. `links` has tables for those.
fn words() -> impl Strategy<Value = Vec<String>> {
    let target = || prop_oneof![3 => path(), 1 => "[e-g]"];
    let any = (path(), target()).prop_map(|(path, target)| vec![format!("{path}=>{target}")]);
    let own = ("([a-d]/)?[e-g]", target()).prop_map(|(path, target)| format!("{path}=>{target}"));
    let links = prop_oneof![any, proptest::collection::vec(own, 0..4)];
    (proptest::collection::vec(plain(), 0..12), links).prop_map(|(mut words, links)| {
        for (index, link) in links.iter().enumerate() {
            let target = link.split_once("=>").unwrap().1;
            let comes = |later: &String| later.split_once("=>").unwrap().0 == target;
            if !links[index..].iter().any(comes) {
                words.push(link.clone());
            }
        }
        words
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn merging_agrees_with_the_model(layers in proptest::collection::vec(words(), 1..5)) {
        let mut model = Model::default();
        layers.iter().for_each(|words| model.apply(words));
        let (tree, _) = build_rootfs(layers.iter().map(|words| layer(&words.join(" "))));
        prop_assert_eq!(render(&tree), model.render());
    }

    #[test]
    fn what_is_lost_agrees_with_the_model(layers in proptest::collection::vec(words(), 1..5)) {
        let (mut model, mut states) = (Model::default(), Vec::new());
        for words in &layers {
            model.apply(words);
            states.push(model.clone());
        }
        let lost = build_lost(layers.iter().map(|words| layer(&words.join(" ")))).unwrap();
        let lost: Vec<String> = lost.iter().map(render).collect();
        prop_assert_eq!(lost, Model::deleted(&states));
    }

    /// Hard links anywhere, in any order: whatever comes out is a tree with true counts of links.
    #[test]
    fn any_layers_make_a_tree(
        layers in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![plain(), (path(), path()).prop_map(|(path, target)| format!("{path}=>{target}"))],
                0..15,
            ),
            1..4,
        ),
    ) {
        let records: Vec<_> = layers.iter().map(|words| layer(&words.join(" "))).collect();
        let (tree, _) = build_rootfs(&records);
        render(&tree);
        // A tree may be let go and made again: its numbers are the inode numbers.
        let numbers = |tree: &FileTree| -> Vec<Vec<(Vec<u8>, NodeId)>> {
            let children = |id| tree.children(id).iter().map(|(name, id)| (name.to_vec(), id)).collect();
            (0..tree.node_count()).filter_map(|n| tree.node_id(n)).map(children).collect()
        };
        prop_assert_eq!(numbers(&tree), numbers(&build_rootfs(&records).0));
        for records in &records {
            render(&build_layer(0, records).0);
        }
        let lost = build_lost(&records).unwrap();
        prop_assert_eq!(lost.len(), records.len());
        lost.iter().for_each(|tree| drop(render(tree)));
        prop_assert_eq!(render(lost.last().unwrap()), "", "nothing comes after the last layer");
    }
}
