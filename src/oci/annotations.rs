//! Annotations: strings by name (annotations.md).

use super::members::Members;

/// The annotations of a descriptor or a document, each name once. An index may list tens of thousands of descriptors with one
/// or two each, so they take no more than their text and its places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Box<[Annotation]>);

type Annotation = (Box<str>, Box<str>);

impl Annotations {
    /// Reads the `annotations` of an object. Those that are not strings are passed over, not the object.
    pub(super) fn of(object: &Members<'_>) -> Self {
        let texts = object.object("annotations").unwrap_or_default().texts();
        texts.map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// Returns the value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Says whether there is one of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns these and those of `other`, which count where both have a name.
    pub fn and(self, other: &Self) -> Self {
        self.0.into_iter().chain(other.0.iter().cloned()).collect()
    }
}

impl FromIterator<Annotation> for Annotations {
    /// Of two with one name the last counts.
    fn from_iter<T: IntoIterator<Item = Annotation>>(all: T) -> Self {
        let mut all: Vec<Annotation> = all.into_iter().collect();
        // Stable, so those of one name stay in their order; of which the first is kept, so the last is put first.
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        Self(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(all: &[(&str, &str)]) -> Annotations {
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn each_name_is_there_once_and_the_last_counts() {
        let got = annotations(&[("b", "1"), ("a", "2"), ("b", "3"), ("", "4"), ("b", "5")]);
        assert_eq!(got.iter().collect::<Vec<_>>(), [("", "4"), ("a", "2"), ("b", "5")]);
        assert_eq!((got.get("b"), got.get("c"), got.contains("a")), (Some("5"), None, true));
        let both = got.and(&annotations(&[("a", "6"), ("c", "7")]));
        assert_eq!(both.iter().collect::<Vec<_>>(), [("", "4"), ("a", "6"), ("b", "5"), ("c", "7")]);
        assert!(annotations(&[]).is_empty() && !both.is_empty());
    }
}
