//! Manifests that speak of another one, beside it: in a layout, by their subject and by tags.

use crate::kit::{
    Layout, Mount, Platform, SIMPLE_SIGNING, annotate, bytes, list_errno, ls, media, named, read_errno, run,
    short, tag_of, text,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");

const NOTATION: &str = "application/vnd.cncf.notary.signature";

fn referrers(mount: &Mount) -> PathBuf {
    mount.join("platforms/linux-amd64/referrers")
}

/// A layout of one image and whatever else its index lists.
fn spoken_of(others: impl FnOnce(&Layout, &Value) -> Vec<Value>) -> (Layout, Mount, Value) {
    let layout = Layout::new();
    let image = layout.image(AMD64, "x");
    let others = others(&layout, &image);
    layout.index(&[&[named(image.clone(), "v1")][..], &others].concat());
    let mount = Mount::new(layout.path());
    (layout, mount, image)
}

#[test]
fn what_names_it_as_its_subject_is_an_artifact_beside_it() {
    let mut entry = Value::Null;
    let (_layout, mount, _) = spoken_of(|layout, image| {
        entry = layout
            .artifact("application/spdx+json")
            .of(image)
            .file("sbom.json", "{}")
            .file("a/b", "x")
            .entry();
        // oras lists what it pushed without a name.
        vec![entry.clone()]
    });
    let name = format!("spdx+json@{}", short(&entry));
    assert_eq!(ls(referrers(&mount)), [name.as_str()]);
    let directory = referrers(&mount).join(name);
    assert_eq!(
        ls(&directory),
        ["config.json", "descriptor.json", "digest", "files", "layers", "manifest.json"]
    );
    assert_eq!(ls(directory.join("files")), ["a", "sbom.json"]);
    assert_eq!(text(directory.join("files/a/b")), "x");
    assert_eq!(text(directory.join("digest")).trim_end(), entry["digest"].as_str().unwrap());
    let descriptor: Value = serde_json::from_str(&text(directory.join("descriptor.json"))).unwrap();
    assert_eq!(descriptor, entry);
    let same = [
        directory.join("manifest.json"),
        mount.join("blobs").join(entry["digest"].as_str().unwrap().replace(':', "/")),
    ];
    let numbers = same.map(|path| fs::metadata(path).unwrap().ino());
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn links_are_counted_with_them() {
    let (_layout, mount, _) = spoken_of(|layout, image| {
        vec![layout.artifact("application/x").of(image).file("t", "content").entry()]
    });
    let name = ls(referrers(&mount)).remove(0);
    let nlink = fs::metadata(referrers(&mount).join(name).join("layers/0")).unwrap().nlink();
    // blobs/, and layers/ and files/ both here and in artifacts/.
    assert_eq!(nlink, 5);
    let found = run(Command::new("find")
        .arg(mount.point())
        .args(["-samefile"])
        .arg(mount.join(crate::kit::Blob::of("sha256", "content").path())))
    .ok();
    assert_eq!(found.lines().count(), 5, "{found}");
}

#[test]
fn what_speaks_of_the_index_is_beside_the_index() {
    let layout = Layout::new();
    let platform = layout.image(AMD64, "x");
    let nested = layout.nested(std::slice::from_ref(&platform));
    let of_index = layout.artifact(NOTATION).of(&nested).entry();
    let of_platform = layout.artifact(NOTATION).of(&platform).entry();
    layout.index(&[named(nested.clone(), "v1"), of_index.clone(), of_platform.clone()]);
    let expected = |entry: &Value| [format!("vnd.cncf.notary.signature@{}", short(entry))];
    let mount = Mount::new(layout.path());
    assert!(ls(mount.point()).contains(&"image-index.json".to_owned()));
    assert_eq!(ls(mount.join("referrers")), expected(&of_index));
    assert_eq!(ls(referrers(&mount)), expected(&of_platform));
    // The same where there are several images.
    layout.index(&[
        named(nested, "v1"),
        named(layout.image(AMD64, "y"), "v2"),
        of_index.clone(),
        of_platform,
    ]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.join("images/v1/referrers")), expected(&of_index));
    assert_eq!(ls(mount.join("images/v2")), ["platforms"], "it has no index that could be spoken of");
}

#[test]
fn referrers_inside_the_images_own_index_are_found() {
    let layout = Layout::new();
    let platform = layout.image(AMD64, "x");
    let signature = layout.artifact(NOTATION).of(&platform).entry();
    layout.index(&[named(layout.nested(&[platform, signature.clone()]), "v1")]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(referrers(&mount)), [format!("vnd.cncf.notary.signature@{}", short(&signature))]);
}

#[test]
fn an_index_can_be_a_referrer() {
    let mut entry = Value::Null;
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let subject =
            json!({"mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"]});
        let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "artifactType": "application/x.list",
            "manifests": [layout.artifact("application/x").file("t", "t").entry()], "subject": subject});
        entry = layout.json(&index).descriptor(media::INDEX);
        vec![entry.clone()]
    });
    let name = format!("x.list@{}", short(&entry));
    assert_eq!(ls(referrers(&mount)), [name.as_str()]);
    assert_eq!(ls(referrers(&mount).join(name)), ["descriptor.json", "digest", "image-index.json"]);
}

#[test]
fn the_fallback_tag_lists_referrers() {
    let mut expected = Vec::new();
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let good = layout.artifact(NOTATION).of(image).entry();
        // Nowhere but in that list.
        expected.push(format!("vnd.cncf.notary.signature@{}", short(&good)));
        let of_other = layout.artifact(NOTATION).of(&layout.image(AMD64, "other")).entry();
        let of_none = layout.artifact("application/x").entry();
        let no_document = layout.blob("no JSON").descriptor("application/octet-stream");
        let nothing = [json!({"digest": "nonsense"}), json!(7)];
        let list = layout.nested(&[&[good, of_other, of_none, no_document][..], &nothing].concat());
        vec![named(list, &tag_of(image))]
    });
    assert_eq!(
        ls(referrers(&mount)),
        expected,
        "a list may say anything; what is in it tells of what it speaks"
    );
    assert_eq!(ls(mount.join("artifacts")).len(), 5, "the list, and everything in it");
}

#[test]
fn cosigns_tags_are_referrers() {
    let mut expected = Vec::new();
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let tag = tag_of(image);
        ["sig", "att", "sbom"]
            .map(|suffix| {
                let entry = layout.artifact("").layer(SIMPLE_SIGNING, suffix, &[]).entry();
                expected.push(format!("cosign.{suffix}@{}", short(&entry)));
                // As a whole reference, as podman and zarf write names.
                named(entry, &format!("ghcr.io/o/i:{tag}.{suffix}"))
            })
            .to_vec()
    });
    expected.sort();
    assert_eq!(ls(referrers(&mount)), expected);
    let name = expected.iter().find(|name| name.starts_with("cosign.sig")).unwrap();
    assert_eq!(text(referrers(&mount).join(name).join("layers/0")), "sig");
}

#[test]
fn a_signature_of_something_else_under_the_tag_is_refused() {
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let other = layout.artifact("").of(&layout.image(AMD64, "other")).entry();
        vec![named(other, &format!("{}.sig", tag_of(image)))]
    });
    let name = ls(referrers(&mount)).remove(0);
    assert_eq!(list_errno(referrers(&mount).join(&name)), libc::EIO);
    let problems = mount.problems();
    assert!(
        problems.iter().any(|l| l.contains(&name) && l.contains("listed as a referrer of")),
        "{problems:?}"
    );
}

#[test]
fn what_is_found_in_several_ways_is_there_once() {
    let mut name = String::new();
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let entry = layout.artifact(NOTATION).of(image).entry();
        name = format!("vnd.cncf.notary.signature@{}", short(&entry));
        let list = named(layout.nested(std::slice::from_ref(&entry)), &tag_of(image));
        let signed = named(entry.clone(), &format!("{}.sig", tag_of(image)));
        vec![entry, list, signed]
    });
    assert_eq!(ls(referrers(&mount)), [name]);
}

#[test]
fn names_never_meet() {
    let types = ["", "application/x", "x", "x_y", "x/y", "../..", "a@b", "ü", "\u{1}", &"long".repeat(200)];
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let entries = types.iter().flat_map(|artifact_type| {
            [0, 1].map(|n| layout.artifact(artifact_type).of(image).file("n", &n.to_string()).entry())
        });
        entries.collect()
    });
    let names = ls(referrers(&mount));
    assert_eq!(names.len(), 2 * types.len(), "{names:?}");
    for name in names {
        assert!(["0", "1"].contains(&text(referrers(&mount).join(&name).join("files/n")).as_str()), "{name}");
    }
}

#[test]
fn thousands_of_referrers_are_listed() {
    let (_layout, mount, _) = spoken_of(|layout, image| {
        (0..3_000).map(|n| layout.artifact("application/x").of(image).with("n", json!(n)).entry()).collect()
    });
    let start = Instant::now();
    assert_eq!(ls(referrers(&mount)).len(), 3_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn damage_stays_where_it_is() {
    let (layout, mount, _) = spoken_of(|layout, image| {
        let good = layout.artifact("application/good").of(image).file("t", "good").entry();
        let lost = layout.artifact("application/lost").of(image).file("t", "lost").entry();
        let flipped = layout.artifact("application/flipped").of(image).file("t", "flipped").entry();
        let mut huge = layout.artifact("application/huge").of(image).entry();
        huge["size"] = json!(100 << 20);
        let list = layout.nested(&[good, lost.clone(), flipped.clone(), huge]);
        for (entry, remove) in [(lost, true), (flipped, false)] {
            let path = layout.path().join("blobs").join(entry["digest"].as_str().unwrap().replace(':', "/"));
            match remove {
                true => fs::remove_file(path).unwrap(),
                false => fs::write(path, "something else").unwrap(),
            }
        }
        vec![named(list, &tag_of(image))]
    });
    let names = ls(referrers(&mount));
    let place = |kind: &str| {
        referrers(&mount)
            .join(names.iter().find(|name| name.starts_with(kind)).unwrap_or_else(|| panic!("{names:?}")))
    };
    assert_eq!(text(place("good").join("files/t")), "good");
    assert_eq!(read_errno(place("lost").join("manifest.json")), libc::ENODATA);
    assert_eq!(list_errno(place("lost").join("layers")), libc::ENODATA);
    assert_eq!(read_errno(place("flipped").join("manifest.json")), libc::EIO);
    assert_eq!(list_errno(place("huge").join("layers")), libc::EFBIG);
    drop(layout);
}

/// A signature that is damaged was passed over without a word, as if there were none.
#[test]
fn a_damaged_document_that_may_speak_of_the_image_is_told_of() {
    let (_layout, mount, _) = spoken_of(|layout, image| {
        let good = layout.artifact("application/good").of(image).entry();
        let flipped = layout.artifact("application/flipped").of(image).entry();
        let path = layout.path().join("blobs").join(flipped["digest"].as_str().unwrap().replace(':', "/"));
        fs::write(path, "something else").unwrap();
        vec![good, flipped]
    });
    let names = ls(referrers(&mount));
    assert!(names.len() == 1 && names[0].starts_with("good@"), "{names:?}");
    let told = mount.problems();
    assert!(told.iter().any(|line| line.contains("cannot be asked what it speaks of")), "{told:?}");
}

#[test]
fn circles_of_tags_end() {
    let layout = Layout::new();
    let one = layout.artifact("application/one").file("t", "1").entry();
    let other = layout.artifact("application/other").file("t", "2").entry();
    let tagged = |entry: &Value, of: &Value| named(entry.clone(), &format!("{}.sig", tag_of(of)));
    layout.index(&[tagged(&one, &other), tagged(&other, &one), tagged(&one, &one)]);
    let mount = Mount::new(layout.path());
    let found = run(Command::new("find").arg(mount.point()).args(["-name", "t"])).ok();
    // In artifacts/ both, three names; and each beside the other.
    assert_eq!(found.lines().count(), 6, "{found}");
}

#[test]
fn a_chart_and_its_signature() {
    let layout = Layout::new();
    let config = layout.blob(r#"{"name":"web","version":"1.2.3"}"#);
    let chart = layout
        .artifact("")
        .with("config", config.descriptor("application/vnd.cncf.helm.config.v1+json"))
        .layer(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "chart",
            &[("org.opencontainers.image.title", "web-1.2.3.tgz")],
        )
        .layer(
            "application/vnd.cncf.helm.chart.provenance.v1.prov",
            "prov",
            &[("org.opencontainers.image.title", "web-1.2.3.tgz.prov")],
        )
        .entry();
    let signature = layout.artifact("").layer(SIMPLE_SIGNING, "signed", &[]).entry();
    layout.index(&[named(chart.clone(), "1.2.3"), named(signature, &format!("{}.sig", tag_of(&chart)))]);
    let mount = Mount::new(layout.path());
    let directory = mount.join("artifacts/1.2.3");
    assert_eq!(ls(directory.join("files")), ["web-1.2.3.tgz", "web-1.2.3.tgz.prov"]);
    assert_eq!(text(directory.join("files/web-1.2.3.tgz")), "chart");
    // A layer is a file tree only by its own media type: `tar+gzip` at the end makes none.
    assert!(!ls(&directory).contains(&"rootfs".to_owned()));
    assert_eq!(bytes(directory.join("config.json")), config.bytes);
    let names = ls(directory.join("referrers"));
    assert_eq!(names.len(), 1);
    assert_eq!(text(directory.join("referrers").join(&names[0]).join("layers/0")), "signed");
}

#[test]
fn listing_a_platform_looks_for_no_referrers() {
    let (_layout, mount, image) = spoken_of(|layout, image| {
        let entry = layout.artifact(NOTATION).of(image).entry();
        vec![annotate(entry, "x", "y")]
    });
    assert!(ls(mount.join("platforms/linux-amd64")).contains(&"referrers".to_owned()));
    let name = format!("x@{}", short(&image));
    let missing = fs::metadata(referrers(&mount).join(name)).unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
}
