//! Which blobs an image in a registry names.

use std::collections::HashMap;

use super::failure::Failure;
use super::shared::{Place, Shared};
use crate::oci::{Algorithm, Descriptor, Digest, Index, MAX_DOCUMENT, Manifest, MediaType};
use crate::source::SourceError;

/// Most bytes of documents looked into. What is kept of one grows with its length.
const MAX_BYTES: u64 = 10_000 * SHORTEST;

/// The bytes that a document counts for, however short it is: each takes a request.
const SHORTEST: u64 = 4 << 10;

impl Shared {
    /// Lists everything that the documents from `top` on name. For that, the manifests of all platforms are fetched, and
    /// nothing else.
    pub(super) fn blobs(&self, top: &Descriptor) -> Result<Vec<(Digest, u64)>, SourceError> {
        let mut found = HashMap::from([(top.digest.clone(), top.size)]);
        let mut todo = vec![top.clone()];
        let mut looked_into = 0;
        let mut patience = self.client.patience();
        while let Some(descriptor) = todo.pop() {
            // What we would not read has nothing below it that anybody is shown.
            if descriptor.size > MAX_DOCUMENT || descriptor.digest.algorithm() == Algorithm::Unknown {
                continue;
            }
            looked_into += descriptor.size.max(SHORTEST);
            if looked_into > MAX_BYTES {
                return Err(SourceError::TooLarge { size: looked_into, limit: MAX_BYTES });
            }
            let bytes = match self.checked(&descriptor, Place::Manifests, &mut patience) {
                Ok(bytes) => bytes,
                // Indexes may name platforms that were never pushed.
                Err(Failure::Absent(_)) => continue,
                // What came damaged too may come whole the next time, and the list is kept.
                Err(failure) => return Err(failure.into()),
            };
            self.manifests.lock().insert(descriptor.digest.clone());
            let (children, are_entries) = children(&descriptor, &bytes);
            for child in children {
                // The first counts: of what was looked into it held.
                if found.contains_key(&child.digest) {
                    continue;
                }
                found.insert(child.digest.clone(), child.size);
                if are_entries && Place::of(&child) != Place::Blobs {
                    todo.push(child);
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// Returns what a manifest or index names, and whether these are entries of an index: documents, where they do not say
/// otherwise. Of a document whose own type was left out, what lists something is an index.
fn children(of: &Descriptor, bytes: &[u8]) -> (Vec<Descriptor>, bool) {
    let index = Index::parse(bytes).ok().filter(|_| of.kind() != MediaType::Manifest);
    match index.filter(|index| of.kind() == MediaType::Index || !index.entries.is_empty()) {
        Some(index) => (index.entries.into_iter().filter_map(|entry| entry.descriptor.ok()).collect(), true),
        None => {
            let named =
                Manifest::parse(bytes).map(|manifest| manifest.config.into_iter().chain(manifest.layers));
            (named.into_iter().flatten().filter_map(Result::ok).collect(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::super::tests::kit;
    use super::*;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn described(content: &[u8], media_type: &str) -> Descriptor {
        let digest = Digest::of(Algorithm::Sha256, content).unwrap();
        let size = content.len();
        Descriptor::parse(&format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#))
            .unwrap()
    }

    /// The list grew until the mount was killed for its memory.
    #[test]
    fn a_registry_that_names_documents_without_end_is_refused() {
        // Twelve of the largest size that is read.
        let named = (0..12).map(|n: u8| {
            let digest = Digest::of(Algorithm::Sha256, &[n]).unwrap();
            format!(r#"{{"mediaType":"{INDEX}","digest":"{digest}","size":{MAX_DOCUMENT}}}"#)
        });
        let top = format!(r#"{{"manifests":[{}]}}"#, named.collect::<Vec<_>>().join(","));
        let (served, asked) = (top.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let descriptor = described(top.as_bytes(), INDEX);
        let digest = descriptor.digest.to_string();
        let port = kit::serve(move |request, connection| {
            let body = if request.contains(&digest) { served.as_str() } else { "" };
            counted.fetch_add(1, SeqCst);
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = connection.write_all(answer.as_bytes());
        });
        let listed = kit::shared(port, Duration::from_secs(10)).blobs(&descriptor);
        assert!(matches!(listed, Err(SourceError::TooLarge { limit: MAX_BYTES, .. })), "{listed:?}");
        assert!(asked.load(SeqCst) <= 11, "{asked:?}");
    }

    /// They were asked for as blobs, which registries do not have under the digest of a manifest.
    #[test]
    fn an_entry_without_a_type_is_looked_into() {
        let layer = Digest::of(Algorithm::Sha256, b"layer").unwrap();
        let manifest = format!(r#"{{"layers":[{{"digest":"{layer}","size":5}}]}}"#);
        let entry = described(manifest.as_bytes(), "");
        let index = format!(r#"{{"manifests":[{{"digest":"{}","size":{}}}]}}"#, entry.digest, entry.size);
        let top = described(index.as_bytes(), INDEX);
        let served: Vec<(String, String)> = [(&top, &index), (&entry, &manifest)]
            .map(|(d, text)| (format!("/manifests/{}", d.digest), text.clone()))
            .into();
        let port = kit::serve(move |request, connection| {
            let body = served.iter().find(|(path, _)| request.contains(path)).map(|(_, text)| text.as_str());
            let (status, body) = body.map_or(("404 Not Found", ""), |body| ("200 OK", body));
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = connection.write_all(answer.as_bytes());
        });
        let shared = kit::shared(port, Duration::from_secs(10));
        let mut patience = shared.client.patience();
        let got = shared.claimed(&entry.digest, entry.size, Place::of(&entry), &mut patience).unwrap();
        assert_eq!(*got, manifest.as_bytes());
        let listed: HashMap<_, _> = shared.blobs(&top).unwrap().into_iter().collect();
        assert_eq!(listed, HashMap::from([(top.digest, top.size), (entry.digest, entry.size), (layer, 5)]));
    }
}
