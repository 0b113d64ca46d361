//! Who speaks of a manifest: the referrers API, the tag that stands in for it, and cosign's tags.

use super::client::{Client, Document, What};
use super::failure::Failure;
use super::http::Url;
use super::index;
use super::patience::Patience;
use super::shared::{Shared, check, pause};
use crate::oci::{Digest, Index, IndexEntry, MAX_DOCUMENT, REFERRER_SUFFIXES, referrers_tag};

/// Most pages of an answer. Registries put a hundred and more on one.
const MAX_PAGES: usize = 200;

/// Most bytes of all pages, of which entries are held as they came: as much as MAX_ENTRIES of the usual length.
const MAX_BYTES: usize = 16 << 20;

/// Most entries taken; more than is shown.
const MAX_ENTRIES: usize = 20_000;

impl Shared {
    /// Asks who speaks of `subject`. Fetches lists and manifests, never a layer.
    pub(super) fn referrers(&self, subject: &Digest) -> Result<Vec<IndexEntry>, Failure> {
        self.check_pause()?;
        check(&self.no_referrers)?;
        // A pause of its own: what is asked here must not keep anybody from the image.
        self.ask_referrers(subject).inspect_err(|failure| pause(&self.no_referrers, failure))
    }

    fn ask_referrers(&self, subject: &Digest) -> Result<Vec<IndexEntry>, Failure> {
        let tag = referrers_tag(subject);
        let mut patience = self.client.patience();
        let patience = &mut patience;
        let mut found = match self.pages(subject, patience)? {
            Some(entries) => entries,
            // No such API: then who pushes a referrer keeps a list under a tag (distribution specification,
            // "Unavailable Referrers API").
            None => match self.by_tag(&tag, patience)? {
                Some(document) => {
                    Index::parse(&document.bytes)
                        .map_err(|e| self.client.wrong(&format!("{tag}: {e}")))?
                        .entries
                }
                None => Vec::new(),
            },
        };
        for suffix in REFERRER_SUFFIXES {
            let tag = format!("{tag}.{suffix}");
            if let Some(document) = self.by_tag(&tag, patience)? {
                found.extend(self.describe(&document, &tag)?);
            }
        }
        let manifests = found.iter().filter_map(|entry| entry.descriptor.as_ref().ok());
        self.manifests.lock().extend(manifests.map(|descriptor| descriptor.digest.clone()));
        Ok(found)
    }

    /// Returns what the referrers API says, all pages of it; nothing where there is no such API.
    fn pages(&self, subject: &Digest, patience: &mut Patience) -> Result<Option<Vec<IndexEntry>>, Failure> {
        let mut what = What::Referrers(subject.to_string());
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for page in 0..MAX_PAGES {
            let document = match self.client.document(&what, MAX_DOCUMENT, patience) {
                Ok(document) => document,
                Err(Failure::Absent(_)) if page == 0 => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let answer = match Index::parse(&document.bytes) {
                Ok(answer) => answer,
                // A web page, say, for every path there is.
                Err(_) if page == 0 && !document.media_type.contains("json") => return Ok(None),
                Err(e) => return Err(self.client.wrong(&format!("sent no list of referrers: {e}"))),
            };
            entries.extend(answer.entries);
            bytes += document.bytes.len();
            if entries.len() > MAX_ENTRIES || bytes > MAX_BYTES {
                let (host, count) = (self.client.host(), entries.len());
                log::warn!("{host} has more than the {count} referrers of {subject} that are read");
                break;
            }
            match document.link.as_deref().and_then(next) {
                Some(next) => what = What::Referrers(self.next_page(subject, next)?),
                None => break,
            }
        }
        Ok(Some(entries))
    }

    /// Returns what a link to the next page asks of the registry. It leads nowhere else: who we are is told to nobody.
    fn next_page(&self, subject: &Digest, link: &str) -> Result<String, Failure> {
        let path = match link.split_once("://") {
            _ if link.starts_with(['/', '?']) => Some(link),
            None => None,
            Some(_) => Url::parse(link).filter(|url| self.client.is_at(url)).and_then(|_| {
                let rest = link.split_once("://")?.1;
                rest.find('/').map(|at| &rest[at..])
            }),
        };
        match path {
            Some(path) if path.starts_with('/') && !path.starts_with("//") => Ok(path.to_owned()),
            Some(path) if path.starts_with('?') => Ok(format!("{subject}{path}")),
            _ => Err(self.client.wrong("sends us elsewhere for more referrers, and we do not go there")),
        }
    }

    /// Fetches the manifest or index under a tag; nothing where there is none.
    fn by_tag(&self, tag: &str, patience: &mut Patience) -> Result<Option<Document>, Failure> {
        match self.client.document(&What::Manifest(tag.to_owned()), MAX_DOCUMENT, patience) {
            Ok(document) => {
                index::check_claim(&document, None).map_err(|what| self.client.wrong(&what))?;
                Ok(Some(document))
            }
            Err(Failure::Absent(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes up the entry of what is under a tag, as index.json has it, and keeps the document.
    fn describe(&self, document: &Document, tag: &str) -> Result<Vec<IndexEntry>, Failure> {
        let top = index::describe(&document.bytes, &document.media_type, None);
        let top = top.map_err(|what| self.client.wrong(&what))?;
        self.keep(&top.digest, &document.bytes);
        let index = index::made_up(&top, Some(tag), None);
        Ok(Index::parse(&index).map_err(|e| self.client.wrong(&e.to_string()))?.entries)
    }
}

impl Client {
    /// Says whether a URL is of this registry.
    fn is_at(&self, url: &Url) -> bool {
        self.base().is_some_and(|base| url.has_origin_of(&base))
    }
}

/// Returns where a `Link` header says the next page is (RFC 8288).
fn next(header: &str) -> Option<&str> {
    // Links are separated by commas, which may stand in the URLs as well: those end with `>`.
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>')?;
        let parameters = &rest[end + 1..];
        let parameters = &parameters[..parameters.find('<').unwrap_or(parameters.len())];
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next {
            return Some(&rest[start + 1..end]);
        }
        rest = &rest[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::super::tests::kit;
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn links() {
        for (header, link) in [
            (
                r#"</v2/a/referrers/sha256:1?n=2&last=x>; rel="next""#,
                Some("/v2/a/referrers/sha256:1?n=2&last=x"),
            ),
            ("</a>; rel=next", Some("/a")),
            ("</a>;rel=NEXT;title=x", Some("/a")),
            (r#"</a,b>; rel="prev", </c,d>; rel="next""#, Some("/c,d")),
            (r#"</a>; rel="prev""#, None),
            ("</a>", None),
            ("</a", None),
            ("", None),
            ("rel=next", None),
        ] {
            assert_eq!(next(header), link, "{header}");
        }
    }

    #[test]
    fn pages_are_bounded_in_bytes() {
        let digest = Digest::of(Algorithm::Sha256, b"x").unwrap();
        let long = "x".repeat(3 << 20);
        let entry = format!(r#"{{"digest":"{digest}","size":1,"annotations":{{"long":"{long}"}}}}"#);
        let page = format!(r#"{{"manifests":[{entry}]}}"#);
        let port = kit::serve(move |_, connection| {
            let head = format!("Content-Length: {}\r\nLink: </v2/app/more>; rel=next", page.len());
            let _ = connection.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{page}").as_bytes());
        });
        let shared = kit::shared(port, Duration::from_secs(20));
        let entries = shared.pages(&digest, &mut shared.client.patience()).unwrap().unwrap();
        assert_eq!(entries.len(), 6);
    }
}
