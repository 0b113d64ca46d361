//! `ocifs verify`: every kind of damage, what it names, and with which exit status it ends.

use crate::kit::{Blob, Done, Layout, Mount, Platform, gzip, media, named, run, sha256, tar, temp_dir};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

const AMD64: Platform<'_> = Platform("linux", "amd64", "");
const ARM64: Platform<'_> = Platform("linux", "arm64", "");

fn verify(layout: &Layout, arguments: &[&str]) -> Done {
    run(Mount::command(&temp_dir()).arg("verify").arg(layout.path()).args(arguments))
}

/// Verifies in both depths, which must agree, and returns the findings.
#[track_caller]
fn found(layout: &Layout, code: i32) -> Value {
    let mut last = Value::Null;
    for arguments in [&["--json"][..], &["--json", "--deep"][..]] {
        let done = verify(layout, arguments);
        assert_eq!(done.code(), code, "{arguments:?}: {done:?}");
        last = serde_json::from_str(&done.stdout).unwrap();
    }
    last
}

#[test]
fn a_good_layout() {
    let (layout, sample) = Layout::sample();
    let bytes: usize =
        sample.layers.iter().chain([&sample.config, &sample.manifest]).map(|b| b.bytes.len()).sum();
    let done = verify(&layout, &[]);
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""));
    assert!(done.stdout.starts_with("ok: 4 blobs good, "), "{done:?}");
    let value = found(&layout, 0);
    let members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        [
            "absent",
            "blobs",
            "damaged",
            "deep",
            "faults",
            "findings",
            "good",
            "good_bytes",
            "layers",
            "missing",
            "notes",
            "source",
            "status",
            "stopped",
            "unknown",
            "unpacked_bytes",
            "version"
        ]
    );
    assert_eq!(
        (&value["good"], &value["good_bytes"], &value["layers"], &value["status"]),
        (&json!(4), &json!(bytes), &json!(2), &json!("good"))
    );
    let done = verify(&layout, &["--deep"]);
    assert!(done.stdout.contains("2 layers good inside, 4.1 kB unpacked"), "{done:?}");
}

#[test]
fn every_kind_of_damage_is_named_with_its_place() {
    type Damage = fn(&Layout, &Blob);
    let damages: [(Damage, &str, &str); 4] = [
        (|layout, blob| layout.flip(blob, blob.bytes.len() / 2), "damaged", "content hashes to sha256:"),
        (|layout, blob| layout.overwrite(blob, &blob.bytes[..20]), "damaged", "has 20 bytes"),
        (
            |layout, blob| layout.overwrite(blob, &[&blob.bytes[..], b"more"].concat()),
            "damaged",
            "its descriptor says",
        ),
        (|layout, blob| layout.remove(blob), "missing", ""),
    ];
    for (damage, status, what) in damages {
        let (layout, sample) = Layout::sample();
        damage(&layout, &sample.layers[1]);
        let value = found(&layout, 1);
        let finding = &value["findings"][0];
        assert_eq!(
            (&finding["status"], &finding["digest"], &finding["places"]),
            (&json!(status), &json!(sample.layers[1].digest), &json!(["platforms/linux-amd64/layers/1"])),
            "{value}"
        );
        assert!(finding["what"].as_str().unwrap_or_default().contains(what), "{value}");
    }
    for pick in [|s: &crate::kit::Sample| s.config.clone(), |s: &crate::kit::Sample| s.manifest.clone()] {
        let (layout, sample) = Layout::sample();
        let document = pick(&sample);
        layout.flip(&document, 5);
        let value = found(&layout, 1);
        assert_eq!(value["findings"][0]["digest"], json!(document.digest), "{value}");
    }
}

/// A layout of one image whose only layer is `layer`, with a diff_id of its own.
fn with_diff_id(layer: &[u8], diff_id: &str) -> Layout {
    let layout = Layout::new();
    let layer = layout.blob(layer);
    let mut config = AMD64.json();
    config["rootfs"] = json!({"type": "layers", "diff_ids": [diff_id]});
    let config = layout.json(&config);
    let manifest = layout.manifest(&config, &[layer]);
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    layout
}

#[test]
fn only_deep_looks_into_layers() {
    let plain = tar(&[("a", b"content of a\n")]);
    let good = gzip(&plain);
    let mut bad_crc = good.clone();
    let at = bad_crc.len() - 8;
    bad_crc[at] ^= 1;
    for (layer, diff_id, what) in [
        (good.clone(), sha256(b"other"), "the configuration's diff_id is"),
        (bad_crc, sha256(&plain), "content has CRC"),
        (good[..good.len() - 12].to_vec(), sha256(&plain), "ends early"),
        (gzip(&[b'x'; 2048]), sha256(&[b'x'; 2048]), "wrong checksum"),
    ] {
        let layout = with_diff_id(&layer, &diff_id);
        assert_eq!(verify(&layout, &[]).code(), 0, "{what}: the bytes are what their digest says");
        let done = verify(&layout, &["--deep"]);
        assert_eq!(done.code(), 1, "{what}: {done:?}");
        let joined = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains(what), "{what}: {done:?}");
        assert!(done.stdout.contains("at platforms/linux-amd64/layers/0\n"), "{done:?}");
    }
}

#[test]
fn what_is_odd_is_told_and_no_damage() {
    let plain = tar(&[("a", b"1"), ("a", b"2"), (".wh...", b"")]);
    let mut odd = gzip(&plain);
    odd.extend(b"garbage");
    let layout = with_diff_id(&odd, &sha256(&plain));
    let value = found(&layout, 0);
    let notes: Vec<&str> =
        value["notes"].as_array().unwrap().iter().map(|n| n["what"].as_str().unwrap()).collect();
    for word in ["replaces an earlier entry", "whiteout", "7 stray bytes"] {
        assert!(notes.iter().any(|note| note.contains(word)), "{word} is not in {notes:?}");
    }
}

#[test]
fn a_platform_that_was_left_out_is_no_damage_unless_asked_for() {
    let layout = Layout::new();
    let layers = ["a", "b", "c"].map(|name| layout.blob(gzip(&tar(&[(name, name.as_bytes())]))));
    let (_, _, amd) = layout.image_of(AMD64, &layers[..1]);
    let (_, manifest, arm) = layout.image_of(ARM64, &layers[1..]);
    layout.index(&[named(layout.nested(&[amd, arm]), "v1")]);
    layout.remove(&layers[1]);
    assert_eq!(found(&layout, 1)["missing"], json!(1), "one of two layers");
    assert_eq!(verify(&layout, &["--platform", "linux/amd64"]).code(), 0);
    layout.remove(&layers[2]);
    assert_eq!(found(&layout, 0)["absent"], json!(2), "no layer at all");
    layout.remove(&manifest);
    assert_eq!(found(&layout, 0)["absent"], json!(1), "not even a manifest");
    let done = verify(&layout, &["--platform", "linux/arm64"]);
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stdout.contains("missing"), "{done:?}");
}

#[test]
fn the_files_that_damage_hits_are_named() {
    let layout = Layout::new();
    let mut noise = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let files: Vec<(String, &[u8])> =
        noise.chunks(1 << 20).enumerate().map(|(n, piece)| (format!("usr/file{n}"), piece)).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let layer = layout.blob(gzip(&tar(&files)));
    // A manifest may list a layer twice.
    let (_, _, entry) = layout.image_of(AMD64, &[layer.clone(), layer.clone()]);
    layout.index(&[named(entry, "v1")]);
    let cache = temp_dir();
    let with_cache = |deep: bool| {
        let mut command = Mount::command(&temp_dir());
        command.arg("verify").arg(layout.path()).arg("--json").arg("--cache-dir").arg(cache.path());
        run(if deep { command.arg("--deep") } else { &mut command })
    };
    assert_eq!(with_cache(true).code(), 0);
    layout.flip(&layer, layer.bytes.len() * 5 / 8);
    let done = with_cache(false);
    assert_eq!(done.code(), 1);
    let value: Value = serde_json::from_str(&done.stdout).unwrap();
    let hit = &value["findings"][0]["hit"];
    assert_eq!(hit["layer"]["files"], json!(["usr/file2"]), "{value}");
    assert_eq!(
        (&hit["rootfs"]["path"], &hit["rootfs"]["files"]),
        (&json!("platforms/linux-amd64/rootfs"), &json!(["usr/file2"]))
    );
    assert!(hit["lost_bytes"].as_u64().unwrap() < 1 << 20, "{hit}");
    let text = run(Mount::command(&temp_dir())
        .arg("verify")
        .arg(layout.path())
        .arg("--cache-dir")
        .arg(cache.path()));
    assert!(text.stdout.contains("      usr/file2\n"), "{text:?}");
}

#[test]
fn what_cannot_be_told_has_a_status_of_its_own() {
    let (layout, sample) = Layout::sample();
    let unknown = "foo:abc";
    layout.store(unknown, b"x");
    let manifest = layout.json(&json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": sample.config.descriptor(media::CONFIG),
        "layers": [{"mediaType": media::LAYER, "digest": unknown, "size": 1},
                   sample.layers[1].descriptor(media::LAYER)],
    }));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let done = verify(&layout, &[]);
    assert_eq!(done.code(), 2, "{done:?}");
    assert!(done.stdout.contains("cannot be checked"), "{done:?}");
    let none = run(Mount::command(&temp_dir()).args(["verify", "/no/such/layout"]));
    assert_eq!(none.code(), 2);
    fs::write(layout.path().join("index.json"), "{").unwrap();
    assert_eq!(verify(&layout, &[]).code(), 1, "an index.json that is none");
}

/// A blob was missing where a descriptor without its content was met first.
#[test]
fn content_in_one_of_two_descriptors_is_enough() {
    let (layout, sample) = Layout::sample();
    let mut config = sample.config.descriptor(media::CONFIG);
    config["data"] = json!(STANDARD.encode(&sample.config.bytes));
    let layers: Vec<Value> = sample.layers.iter().map(|layer| layer.descriptor(media::LAYER)).collect();
    let other = layout.json(&json!({"schemaVersion": 2, "config": config, "layers": layers}));
    let entries = [&sample.manifest, &other].map(|manifest| manifest.descriptor(media::MANIFEST));
    layout.remove(&sample.config);
    for [first, second] in [[0, 1], [1, 0]] {
        layout.index(&[named(entries[first].clone(), "v1"), named(entries[second].clone(), "v2")]);
        assert_eq!(found(&layout, 0)["good"], json!(5));
    }
}

/// Verified as good, though its root filesystem is one that no mount makes.
#[test]
fn more_layers_than_a_mount_puts_together_are_told() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"1")])));
    let (_, _, entry) = layout.image_of(AMD64, &vec![layer; 4_097]);
    layout.index(&[named(entry, "v1")]);
    let value = found(&layout, 2);
    let fault = json!({
        "path": "platforms/linux-amd64/rootfs", "status": "unknown",
        "what": "4097 layers, and we put at most 4096 together",
    });
    assert_eq!((&value["faults"], &value["good"]), (&json!([fault]), &json!(3)), "{value}");
}

/// A platform that no mount puts together was named as one whose files were hit.
#[test]
fn damage_is_not_placed_in_a_root_filesystem_that_is_refused() {
    let layout = Layout::new();
    let mut noise = vec![0; 1 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let layer = layout.blob(gzip(&tar(&[("file", &noise)])));
    let mut config = AMD64.json();
    config["rootfs"] = json!({"type": "layers", "diff_ids": []});
    let manifest = layout.manifest(&layout.json(&config), std::slice::from_ref(&layer));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "v1")]);
    let cache = temp_dir();
    let hit = |arguments: &[&str]| {
        let mut command = Mount::command(&temp_dir());
        command.arg("verify").arg(layout.path()).args(["--json", "--cache-dir"]).arg(cache.path());
        let done = run(command.args(arguments));
        let value: Value = serde_json::from_str(&done.stdout).unwrap();
        value["findings"][0]["hit"].clone()
    };
    assert_eq!(hit(&["--deep"]), Value::Null);
    layout.flip(&layer, layer.bytes.len() / 2);
    let hit = hit(&[]);
    assert_eq!((&hit["layer"]["files"], &hit["rootfs"]), (&json!(["file"]), &Value::Null));
}

#[test]
fn verifying_believes_no_cache() {
    let (layout, sample) = Layout::sample();
    let cache = temp_dir();
    let deep = |layout: &Path| {
        let arguments: [&OsStr; 5] = [
            "verify".as_ref(),
            layout.as_ref(),
            "--deep".as_ref(),
            "--cache-dir".as_ref(),
            cache.path().as_ref(),
        ];
        run(Mount::command(&temp_dir()).args(arguments))
    };
    assert_eq!(deep(layout.path()).code(), 0);
    layout.flip(&sample.layers[0], 15);
    assert_eq!(deep(layout.path()).code(), 1);
}
