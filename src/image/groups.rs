//! Entries of index.json that are one image together.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Entry;
use crate::oci::{Digest, MediaType, image_name};

/// Entries of index.json that belong together: of one name, or unnamed manifests of different platforms.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name, as the annotations have it. May be anything, even empty.
    pub name: Option<String>,
    /// The entries, at least one, no digest twice, in the order of index.json.
    pub entries: Vec<Arc<Entry>>,
    /// The first group with exactly the same entries: this one is a further name of it.
    pub same_as: Option<usize>,
}

impl Group {
    /// Returns the entry that the group is, where it is one that may list others.
    pub fn index(&self) -> Option<&Arc<Entry>> {
        let [only] = &self.entries[..] else { return None };
        Some(only).filter(|_| self.may_list())
    }

    /// Says whether the entries may list others: a manifest alone does not.
    pub fn may_list(&self) -> bool {
        self.entries
            .iter()
            .any(|e| e.descriptor.kind() == MediaType::Index || e.descriptor.media_type.is_empty())
    }
}

/// Groups the entries of index.json, in the order in which each group's first one stands there.
pub(super) fn group(entries: &[Arc<Entry>]) -> Vec<Group> {
    let together = unnamed_are_one_image(entries);
    let mut groups: Vec<Group> = Vec::new();
    // By name the group, and the first entry of it: only where a second one comes is it asked which digests are there.
    let mut by_name: HashMap<Option<&str>, (usize, &Digest)> = HashMap::with_capacity(entries.len());
    let mut there: HashSet<(usize, &Digest)> = HashSet::new();
    let mut alone: HashSet<&Digest> = HashSet::new();
    for entry in entries {
        let (name, digest) = (image_name(&entry.descriptor.annotations), &entry.descriptor.digest);
        let is_alone = name.is_none() && !(together && is_manifest(entry));
        // Its digest is all it could be called by, and that is taken.
        if is_alone && !alone.insert(digest) {
            continue;
        }
        match by_name.get(&name).filter(|_| !is_alone) {
            Some(&(n, first)) => {
                if groups[n].entries.len() == 1 {
                    there.insert((n, first));
                }
                if there.insert((n, digest)) {
                    groups[n].entries.push(entry.clone());
                }
            }
            None => {
                if !is_alone {
                    by_name.insert(name, (groups.len(), digest));
                }
                let name = name.map(str::to_owned);
                groups.push(Group { name, entries: vec![entry.clone()], same_as: None });
            }
        }
    }
    mark_further_names(&mut groups);
    groups
}

/// Unnamed manifests side by side are one image when their stated platforms all differ (skopeo#2463). Two of one
/// platform, or one that states none, are images of their own: an older one whose name was taken away.
fn unnamed_are_one_image(entries: &[Arc<Entry>]) -> bool {
    let mut seen = HashSet::new();
    entries.iter().filter(|e| image_name(&e.descriptor.annotations).is_none() && is_manifest(e)).all(|e| {
        let platform = e.descriptor.platform.as_ref().filter(|p| p.is_stated());
        platform.is_some_and(|p| seen.insert((p.normalized().to_string(), p.os_version.clone())))
    })
}

/// A manifest that may be a platform's: BuildKit's attestations stand beside and do not count.
fn is_manifest(entry: &Entry) -> bool {
    let d = &entry.descriptor;
    d.kind() == MediaType::Manifest && !d.platform.as_ref().is_some_and(|p| p.is_unknown())
}

/// Entries that are the same where their digests are.
struct Entries<'a>(&'a [Arc<Entry>]);

impl<'a> Entries<'a> {
    fn digests(&self) -> impl Iterator<Item = &'a Digest> + use<'a> {
        self.0.iter().map(|entry| &entry.descriptor.digest)
    }
}

impl PartialEq for Entries<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.digests().eq(other.digests())
    }
}

impl Eq for Entries<'_> {}

impl Hash for Entries<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digests().for_each(|digest| digest.hash(state));
    }
}

fn mark_further_names(groups: &mut [Group]) {
    let mut first: HashMap<Entries<'_>, usize> = HashMap::with_capacity(groups.len());
    let mut further = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        match first.entry(Entries(&group.entries)) {
            Occupied(of) => further.push((n, *of.get())),
            Vacant(place) => drop(place.insert(n)),
        }
    }
    for (n, of) in further {
        groups[n].same_as = Some(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Index;
    use std::time::{Duration, Instant};

    /// Each entry was held against all before it: a large index.json of one name took a quarter of an hour to mount.
    #[test]
    fn tens_of_thousands_of_entries_of_one_name_are_grouped_in_no_time() {
        let entry = |n: usize| {
            let name = r#""annotations":{"org.opencontainers.image.ref.name":"app"}"#;
            format!(r#"{{"digest":"sha256:{:064x}","size":2,{name}}}"#, n % 60_000)
        };
        let list: Vec<String> = (0..120_000).map(entry).collect();
        let index = Index::parse(format!(r#"{{"manifests":[{}]}}"#, list.join(",")).as_bytes()).unwrap();
        let entries: Vec<_> = index
            .entries
            .into_iter()
            .map(|e| Arc::new(Entry { raw: e.raw, descriptor: e.descriptor.unwrap() }))
            .collect();
        let start = Instant::now();
        let groups = group(&entries);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(groups.iter().map(|g| g.entries.len()).collect::<Vec<_>>(), [60_000]);
    }
}
