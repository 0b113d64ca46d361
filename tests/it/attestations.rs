//! Statements about a platform, beside it: BuildKit's, cosign's, sigstore's.

use crate::kit::{
    DSSE, IN_TOTO, Layout, Mount, Platform, bytes, list_errno, ls, named, read_errno, tag_of, text,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const AMD64: Platform<'_> = Platform("linux", "amd64", "");
const ARM64: Platform<'_> = Platform("linux", "arm64", "");

const SPDX: &str = "https://spdx.dev/Document";
const SLSA: &str = "https://slsa.dev/provenance/v0.2";

fn attestations(mount: &Mount, platform: &str) -> PathBuf {
    mount.join("platforms").join(platform).join("attestations")
}

/// A layout of one platform and whatever speaks of it.
fn attested(others: impl FnOnce(&Layout, &Value) -> Vec<Value>) -> (Layout, Mount) {
    let layout = Layout::new();
    let image = layout.image(AMD64, "x");
    let others = others(&layout, &image);
    layout.index(&[&[named(image, "v1")][..], &others].concat());
    let mount = Mount::new(layout.path());
    (layout, mount)
}

#[test]
fn what_buildkit_states_is_beside_its_platform() {
    let layout = Layout::new();
    let images = [AMD64, ARM64].map(|platform| layout.image(platform, platform.1));
    let others = images.each_ref().map(|image| {
        let of = image["platform"]["architecture"].as_str().unwrap();
        let statements = [(SPDX, format!("{{\"sbom\":\"{of}\"}}")), (SLSA, format!("{{\"made\":\"{of}\"}}"))];
        layout.attestation(image, &statements.each_ref().map(|(predicate, text)| (*predicate, text.as_str())))
    });
    layout.index(&[named(layout.nested(&[images, others].concat()), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm64"]);
    for architecture in ["amd64", "arm64"] {
        let directory = attestations(&mount, &format!("linux-{architecture}"));
        assert_eq!(ls(&directory), ["provenance.json", "spdx.json"]);
        let sbom = text(directory.join("spdx.json"));
        assert_eq!(sbom, format!("{{\"sbom\":\"{architecture}\"}}"));
        let blob = crate::kit::Blob::of("sha256", sbom);
        let (one, other) = (directory.join("spdx.json"), mount.join(blob.path()));
        let (one, other) = (fs::metadata(one).unwrap(), fs::metadata(other).unwrap());
        assert_eq!(one.ino(), other.ino(), "the blob itself, by another name");
        // blobs/, attestations/: statements have no other place.
        assert_eq!((one.nlink(), one.mode() & 0o7777), (2, 0o444));
    }
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn kinds_are_told_by_their_predicates() {
    let (_layout, mount) = attested(|layout, image| {
        let statements = [
            ("https://cyclonedx.org/bom/v1.5", "a"),
            ("https://spdx.dev/Document/v2.3", "b"),
            ("https://slsa.dev/provenance/v1", "c"),
            ("https://in-toto.io/attestation/vulns/v0.1", "d"),
            ("cosign.sigstore.dev/attestation/v1", "e"),
        ];
        let untold = layout.artifact("").layer(IN_TOTO, "f", &[]).layer("text/plain", "no statement", &[]);
        let untold = untold.of(image).entry();
        vec![layout.attestation(image, &statements), untold]
    });
    let directory = attestations(&mount, "linux-amd64");
    let shown: Vec<String> =
        ls(&directory).iter().map(|name| format!("{name} {}", text(directory.join(name)))).collect();
    assert_eq!(
        shown,
        [
            "=cosign.sigstore.dev+attestation+v1.json e",
            "cyclonedx.json a",
            "in-toto.io+attestation+vulns+v0.1.json d",
            "in-toto.json f",
            "provenance.json c",
            "spdx.json b",
        ]
    );
}

#[test]
fn several_of_one_kind_are_numbered_in_their_order() {
    let (_layout, mount) = attested(|layout, image| {
        let one = layout.attestation(image, &[(SPDX, "first"), ("https://spdx.dev/Document/v3", "second")]);
        // The same statement twice is one.
        let other = layout.attestation(image, &[(SPDX, "third"), (SPDX, "first")]);
        vec![one, other]
    });
    let directory = attestations(&mount, "linux-amd64");
    assert_eq!(ls(&directory), ["spdx.json", "spdx@2.json", "spdx@3.json"]);
    assert_eq!(text(directory.join("spdx.json")), "first");
    assert_eq!(text(directory.join("spdx@2.json")), "second");
    assert_eq!(text(directory.join("spdx@3.json")), "third");
}

#[test]
fn cosign_and_sigstore_state_things_too() {
    let (_layout, mount) = attested(|layout, image| {
        let cosign = layout.artifact("").layer(DSSE, "cosign", &[("predicateType", SLSA)]).entry();
        let bundle = layout
            .artifact("application/vnd.dev.sigstore.bundle.v0.3+json")
            .layer("application/vnd.dev.sigstore.bundle.v0.3+json", "bundle", &[])
            .with("annotations", json!({"dev.sigstore.bundle.predicateType": SPDX}))
            .of(image)
            .entry();
        let untold = layout.artifact("").layer(DSSE, "untold", &[]).of(image).entry();
        vec![named(cosign, &format!("{}.att", tag_of(image))), bundle, untold]
    });
    let directory = attestations(&mount, "linux-amd64");
    assert_eq!(ls(&directory), ["dsse.json", "provenance.json", "spdx.json"]);
    assert_eq!(text(directory.join("provenance.json")), "cosign");
    assert_eq!(text(directory.join("spdx.json")), "bundle");
}

#[test]
fn one_manifest_that_is_found_in_two_ways_states_things_once() {
    let (_layout, mount) = attested(|layout, image| {
        let newer = layout
            .artifact("application/vnd.docker.attestation.manifest.v1+json")
            .layer(IN_TOTO, "x", &[("in-toto.io/predicate-type", SPDX)])
            .of(image)
            .entry();
        let digest = image["digest"].as_str().unwrap();
        let newer = crate::kit::annotate(newer, "vnd.docker.reference.type", "attestation-manifest");
        vec![crate::kit::annotate(newer, "vnd.docker.reference.digest", digest)]
    });
    assert_eq!(ls(attestations(&mount, "linux-amd64")), ["spdx.json"]);
    let referrers = ls(mount.join("platforms/linux-amd64/referrers"));
    assert_eq!(referrers.len(), 1);
    assert!(referrers[0].starts_with("vnd.docker.attestation.manifest.v1+json@"), "{referrers:?}");
}

/// One document of the layout that could not be read hid the statements that the image's own index names as well.
#[test]
fn what_the_index_names_is_there_though_another_document_cannot_be_read() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "x");
    let sbom = layout.attestation(&image, &[(SPDX, "the sbom")]);
    let other = layout.artifact("application/x").entry();
    layout.index(&[named(layout.nested(&[image, sbom]), "v1"), named(other.clone(), "other")]);
    let path = layout.path().join("blobs").join(other["digest"].as_str().unwrap().replace(':', "/"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let mount = Mount::new(layout.path());
    assert_eq!(text(attestations(&mount, "linux-amd64").join("spdx.json")), "the sbom");
    let problems = mount.problems();
    assert!(problems.iter().any(|line| line.contains("only what the image's index names")), "{problems:?}");
}

#[test]
fn a_manifest_of_statements_that_is_no_document_is_told_of() {
    let (_layout, mount) = attested(|layout, image| {
        let mut entry = layout.attestation(image, &[(SPDX, "the sbom")]);
        let blob = layout.blob("no JSON");
        (entry["digest"], entry["size"]) = (json!(blob.digest), json!(blob.bytes.len()));
        vec![entry]
    });
    assert_eq!(ls(attestations(&mount, "linux-amd64")), [""; 0]);
    let problems = mount.problems();
    let start = "platforms/linux-amd64/attestations: sha256:";
    assert!(problems.iter().any(|line| line.starts_with(start) && line.contains("JSON")), "{problems:?}");
}

#[test]
fn nothing_stated_is_an_empty_directory() {
    let (_layout, mount) = attested(|_, _| Vec::new());
    assert!(ls(mount.join("platforms/linux-amd64")).contains(&"attestations".to_owned()));
    assert_eq!(ls(attestations(&mount, "linux-amd64")), [""; 0]);
}

#[test]
fn statements_about_others_are_not_shown() {
    let (_layout, mount) = attested(|layout, _| {
        let other = layout.image(ARM64, "other");
        vec![layout.attestation(&other, &[(SPDX, "x")])]
    });
    assert_eq!(ls(attestations(&mount, "linux-amd64")), [""; 0]);
}

#[test]
fn a_manifest_of_statements_that_is_missing_stands_for_them() {
    let (layout, mount) = attested(|layout, image| {
        let missing = layout.attestation(image, &[(SPDX, "missing")]);
        let path = missing["digest"].as_str().unwrap().replace(':', "/");
        fs::remove_file(layout.path().join("blobs").join(path)).unwrap();
        vec![missing, layout.attestation(image, &[(SLSA, "there")])]
    });
    let directory = attestations(&mount, "linux-amd64");
    assert_eq!(ls(&directory), ["attestation-manifest.json", "provenance.json"]);
    assert_eq!(read_errno(directory.join("attestation-manifest.json")), libc::ENODATA);
    assert_eq!(text(directory.join("provenance.json")), "there");
    drop(layout);
}

#[test]
fn a_statement_that_was_changed_is_refused() {
    let (layout, mount) = attested(|layout, image| {
        let entry = layout.attestation(image, &[(SPDX, "good"), (SLSA, "changed")]);
        let changed = crate::kit::Blob::of("sha256", "changed");
        layout.flip(&changed, 3);
        vec![entry]
    });
    let directory = attestations(&mount, "linux-amd64");
    assert_eq!(bytes(directory.join("spdx.json")), b"good");
    assert_eq!(read_errno(directory.join("provenance.json")), libc::EIO);
    assert!(mount.problems().iter().any(|line| line.contains("content hashes to")));
    drop(layout);
}

#[test]
fn a_platform_without_its_manifest_is_still_spoken_of() {
    let layout = Layout::new();
    let (_, manifest, image) = layout.image_of(AMD64, &[]);
    let sbom = layout.attestation(&image, &[(SPDX, "sbom")]);
    layout.index(&[named(layout.nested(&[image, sbom]), "v1")]);
    layout.remove(&manifest);
    let mount = Mount::new(layout.path());
    assert_eq!(list_errno(mount.join("platforms/linux-amd64/layers")), libc::ENODATA);
    assert_eq!(text(attestations(&mount, "linux-amd64").join("spdx.json")), "sbom");
}
