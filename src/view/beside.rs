//! What others say of an image, beside it: `attestations/` and `referrers/`.
//!
//! Made when somebody looks into them, for a registry must be asked. Nothing here opens a layer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::directories::{Built, Plan};
use super::error::Error;
use super::graft::Graft;
use super::names;
use super::skeleton::Skeleton;
use crate::blob::BlobError;
use crate::image::{Entry, ImageError, PlatformImage, Referrer, ReferrerKind, predicate};
use crate::oci::{Descriptor, Manifest, MediaType};

impl Plan<'_> {
    /// Makes `attestations/` of a platform: the statements themselves, by what they state.
    pub(super) fn attestations(&self, image: &PlatformImage) -> Built {
        let subject = &image.entry.descriptor.digest;
        let mut statements =
            Statements { plan: self, tree: Skeleton::new(), numbers: HashMap::new(), seen: HashSet::new() };
        for entry in &image.attestations {
            statements.manifest(entry, None)?;
        }
        let others = self.catalog.attestations(subject);
        match others.and_then(|others| Ok((others, self.catalog.referrers(subject)?))) {
            Ok((others, referrers)) => {
                for entry in &others {
                    statements.manifest(entry, None)?;
                }
                for referrer in self.in_order(&referrers).into_iter().map(|(_, referrer)| referrer) {
                    if self.may_attest(referrer) {
                        statements.manifest(&referrer.entry, Some(referrer))?;
                    }
                }
            }
            // What the image's own index names is had without asking anybody.
            Err(e) if !statements.seen.is_empty() => {
                let what = format!(
                    "only what the image's index names is shown, for others cannot be asked for: {e}"
                );
                self.problem("", &what);
            }
            Err(e) => return Err(e.into()),
        }
        Ok(statements.tree.finish())
    }

    /// Makes `referrers/` of a manifest or index: a directory for each manifest that speaks of it.
    pub(super) fn referrers(&self, subject: &Entry) -> Built {
        let mut tree = Skeleton::new();
        let found = self.catalog.referrers(&subject.descriptor.digest)?;
        for (name, referrer) in self.in_order(&found) {
            tree.graft(0, &name, Graft::Referrer(Arc::new(referrer.clone())));
        }
        Ok(tree.finish())
    }

    /// Makes the directory of a referrer, if it is one.
    pub(super) fn referrer(&self, referrer: &Referrer) -> Built {
        self.check_subject(referrer)?;
        self.artifact(&referrer.entry)
    }

    /// Names referrers, in an order that does not depend on who was asked.
    fn in_order<'a>(&self, referrers: &'a [Referrer]) -> Vec<(String, &'a Referrer)> {
        let mut sorted: Vec<&Referrer> = referrers.iter().collect();
        sorted.sort_by(|a, b| a.entry.descriptor.digest.cmp(&b.entry.descriptor.digest));
        let mut taken = HashSet::new();
        let mut named = Vec::new();
        for referrer in sorted {
            let name = names::referrer(&referrer.kind, &referrer.entry.descriptor.digest, &taken);
            taken.insert(name.clone());
            named.push((name, referrer));
        }
        named
    }

    /// Says whether a referrer is worth reading for statements. Where that costs a download, its type must sound like it.
    fn may_attest(&self, referrer: &Referrer) -> bool {
        match &referrer.kind {
            ReferrerKind::Cosign(suffix) => *suffix == "att",
            ReferrerKind::Type(text) => {
                let words = ["in-toto", "sigstore", "dsse", "attestation", "provenance"];
                !self.catalog.store().is_remote() || text.is_empty() || words.iter().any(|w| text.contains(w))
            }
        }
    }

    /// Refuses what only claims to be a referrer: a list may say anything, a manifest's digest holds.
    fn check_subject(&self, referrer: &Referrer) -> Result<(), Error> {
        let d = &referrer.entry.descriptor;
        let found = match self.catalog.subject(d) {
            Ok(found) => found,
            // It may be asked the next time; and what is too large to be asked is not believed.
            Err(e @ ImageError::Blob(BlobError::TooLarge { .. })) => return Err(e.into()),
            Err(e) if self.catalog.may_pass(&e) => return Err(e.into()),
            // Missing or damaged: shown, with its failure.
            Err(_) => return Ok(()),
        };
        match &found {
            Some(found) if *found == referrer.subject => Ok(()),
            // cosign's older signatures have no subject; their tag has it.
            None if matches!(referrer.kind, ReferrerKind::Cosign(_)) => Ok(()),
            _ => {
                let (digest, subject) = (d.digest.clone(), referrer.subject.clone());
                Err(Error::NotAReferrer { digest, subject, found: found.map(|d| d.to_string()) })
            }
        }
    }
}

/// `attestations/` in the making.
struct Statements<'a> {
    plan: &'a Plan<'a>,
    tree: Skeleton,
    /// How many there are of each kind.
    numbers: HashMap<String, usize>,
    /// Manifests and statements that were met.
    seen: HashSet<(String, String)>,
}

impl Statements<'_> {
    /// Adds the statements of one manifest; `referrer` says why it is thought to speak of the platform, where not the
    /// image's own index says so.
    fn manifest(&mut self, entry: &Entry, referrer: Option<&Referrer>) -> Result<(), Error> {
        let d = &entry.descriptor;
        if !self.seen.insert((String::new(), d.digest.to_string())) {
            return Ok(());
        }
        if let Some(referrer) = referrer
            && let Err(e) = self.plan.check_subject(referrer)
        {
            if e.may_pass(self.plan.catalog.store()) {
                return Err(e);
            }
            self.plan.problem("", &e);
            return Ok(());
        }
        match self.plan.catalog.manifest(d) {
            Ok(manifest) => self.layers(d, &manifest),
            Err(e) if self.plan.catalog.may_pass(&e) => return Err(e.into()),
            // Its bytes can be read, which would say nothing.
            Err(e @ ImageError::Document { .. }) => self.plan.problem("", &e),
            Err(_) => {
                // Known to hold statements: it stands for them, and reading it says what is wrong.
                if referrer.is_none_or(|r| matches!(r.kind, ReferrerKind::Cosign(_))) {
                    self.add(names::ATTESTATION_MANIFEST.to_owned(), d);
                }
            }
        }
        Ok(())
    }

    fn layers(&mut self, of: &Descriptor, manifest: &Manifest) {
        for layer in manifest.layers.iter().flatten() {
            let media_type = &layer.media_type;
            let form = if layer.kind() == MediaType::InToto {
                names::IN_TOTO
            } else if media_type.starts_with("application/vnd.dsse.envelope") {
                names::DSSE
            } else if media_type.starts_with("application/vnd.dev.sigstore.bundle") {
                names::BUNDLE
            } else {
                continue;
            };
            let kind = predicate(layer, manifest, of).map(names::predicate);
            self.add(kind.unwrap_or_else(|| form.to_owned()), layer);
        }
    }

    fn add(&mut self, kind: String, blob: &Descriptor) {
        if !self.seen.insert((kind.clone(), blob.digest.to_string())) {
            return;
        }
        let number = self.numbers.entry(kind.clone()).or_default();
        *number += 1;
        let name = names::attestation(&kind, *number);
        let content = self.plan.blob(blob, &name);
        self.tree.file(0, &name, content);
    }
}
