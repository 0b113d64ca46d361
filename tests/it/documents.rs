//! The documents of an image, and every question of a first lab on layouts, answered by `ls` and `cat` alone.

use crate::kit::{Blob, Layout, Mount, Platform, bytes, gzip, ls, media, named, run, sha256, tar, text};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const AMD64: Platform<'_> = Platform("linux", "amd64", "");

/// One image for three platforms, with an attestation beside them as buildx writes it.
fn multi() -> (Layout, Vec<Value>) {
    let layout = Layout::new();
    let mut entries: Vec<Value> = [AMD64, Platform("linux", "arm64", "v8"), Platform("linux", "arm", "v7")]
        .iter()
        .map(|platform| layout.image(*platform, platform.1))
        .collect();
    let platforms = entries.clone();
    let (_, _, mut attestation) = layout.image_of(Platform("unknown", "unknown", ""), &[]);
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": entries[0]["digest"]});
    entries.push(attestation);
    layout.index(&[named(layout.nested(&entries), "v1")]);
    (layout, platforms)
}

/// What a shell prints, at the mountpoint.
#[track_caller]
fn shell(mount: &Mount, script: &str) -> String {
    run(Command::new("sh").args(["-euc", script]).current_dir(mount.point())).ok().trim_end().to_owned()
}

#[test]
fn lab_media_type_of_the_first_entry() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join("index.json")), bytes(layout.path().join("index.json")));
    assert!(shell(&mount, "cat index.json").contains(media::MANIFEST));
    // The same for eyes: the entry that led to a platform, one member a line.
    let pretty = shell(&mount, "cat platforms/linux-amd64/pretty/descriptor.json");
    assert!(pretty.contains(&format!("\n  \"mediaType\": \"{}\"", media::MANIFEST)), "{pretty}");
    assert!(pretty.contains(&sample.manifest.digest), "{pretty}");
}

#[test]
fn lab_number_of_layers() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(shell(&mount, "ls platforms/linux-amd64/layers | wc -l"), "2");
    assert_eq!(shell(&mount, "ls platforms/*/layers | wc -l"), "2");
}

#[test]
fn lab_architecture() {
    let (layout, _) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(shell(&mount, "ls platforms"), "linux-amd64");
    assert_eq!(
        shell(&mount, "grep '\"architecture\"' platforms/*/pretty/config.json"),
        "  \"architecture\": \"amd64\","
    );
}

#[test]
fn lab_image_id() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    assert_eq!(text(mount.join("platforms/linux-amd64/image-id")), format!("{}\n", sample.config.digest));
    assert_eq!(
        shell(&mount, "sha256sum < platforms/linux-amd64/config.json"),
        format!("{}  -", sample.config.hex())
    );
}

#[test]
fn lab_media_type_of_the_top_entry_of_a_multi_platform_layout() {
    let (layout, _) = multi();
    let mount = Mount::new(layout.path());
    let index: Value = serde_json::from_str(&shell(&mount, "cat index.json")).unwrap();
    assert_eq!(index["manifests"][0]["mediaType"], media::INDEX);
    let nested = shell(&mount, "cat images/v1/image-index.json");
    assert_eq!(sha256(nested.as_bytes()), index["manifests"][0]["digest"].as_str().unwrap());
}

#[test]
fn lab_number_of_platforms_without_attestations() {
    let (layout, _) = multi();
    let mount = Mount::new(layout.path());
    assert_eq!(shell(&mount, "ls platforms | wc -l"), "3");
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64", "linux-arm-v7", "linux-arm64"]);
}

#[test]
fn lab_manifest_digest_of_arm64() {
    let (layout, platforms) = multi();
    let mount = Mount::new(layout.path());
    assert_eq!(shell(&mount, "cat platforms/linux-arm64/digest"), platforms[1]["digest"].as_str().unwrap());
}

#[test]
fn lab_whether_all_platforms_have_the_same_image_id() {
    let (layout, _) = multi();
    let mount = Mount::new(layout.path());
    assert_eq!(shell(&mount, "cat platforms/*/image-id | sort | uniq -c | wc -l"), "3");
    drop(mount);

    // Two manifests of one config: one ImageID.
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let (config, _, first) = layout.image_of(AMD64, std::slice::from_ref(&layer));
    let again = json!({"schemaVersion": 2, "config": config.descriptor(media::CONFIG),
        "layers": [layer.descriptor(media::LAYER)], "annotations": {"again": "yes"}});
    let mut second = layout.json(&again).descriptor(media::MANIFEST);
    second["platform"] = Platform("linux", "arm64", "").json();
    layout.index(&[named(layout.nested(&[first, second]), "v1")]);
    let mount = Mount::new(layout.path());
    let counted = shell(&mount, "cat platforms/*/image-id | sort | uniq -c");
    assert_eq!(counted.trim(), format!("2 {}", config.digest));
}

#[test]
fn a_platform_directory_holds_what_it_promises() {
    let (layout, sample) = Layout::sample();
    let mount = Mount::new(layout.path());
    let platform = mount.join("platforms/linux-amd64");
    let listed = ls(&platform);
    for name in [
        "at",
        "attestations",
        "config.json",
        "deleted",
        "descriptor.json",
        "diffs",
        "digest",
        "history",
        "image-id",
        "layers",
        "manifest.json",
        "pretty",
        "referrers",
        "rootfs",
    ] {
        assert!(listed.contains(&name.to_owned()), "{name} is not in {listed:?}");
    }
    assert_eq!(bytes(platform.join("manifest.json")), sample.manifest.bytes);
    assert_eq!(bytes(platform.join("config.json")), sample.config.bytes);
    assert_eq!(text(platform.join("digest")), format!("{}\n", sample.manifest.digest));
    assert_eq!(text(platform.join("image-id")), format!("{}\n", sample.config.digest));
    let descriptor: Value = serde_json::from_str(&text(platform.join("descriptor.json"))).unwrap();
    assert_eq!(descriptor["digest"], sample.manifest.digest.as_str());
    assert_eq!(descriptor["annotations"]["org.opencontainers.image.ref.name"], "v1");
    assert_eq!(descriptor["platform"]["architecture"], "amd64");
    assert_eq!(ls(platform.join("pretty")), ["config.json", "descriptor.json", "manifest.json"]);
}

#[test]
fn descriptor_json_keeps_members_nobody_knows() {
    let (layout, _) = Layout::sample();
    let mut index: Value = serde_json::from_str(&text(layout.path().join("index.json"))).unwrap();
    index["manifests"][0]["x-unknown"] = json!({"kept": [1, 2.5, null]});
    std::fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
    let mount = Mount::new(layout.path());
    let shown: Value =
        serde_json::from_str(&text(mount.join("platforms/linux-amd64/descriptor.json"))).unwrap();
    assert_eq!(shown, index["manifests"][0]);
}

#[test]
fn pretty_has_sorted_keys_and_two_spaces() {
    let layout = Layout::new();
    // Written by hand: order, spacing, a big number and an escape are the point.
    let config = layout.blob(
        r#"{"rootfs":{"type":"layers","diff_ids":[]},"os":"linux","n":12345678901234567890,
            "architecture":"amd64","a\u00e9":[ 1 , {"z":1,"b":{}} , [] ], "config": {"Env":["A=1"]}}"#,
    );
    layout.index(&[named(layout.manifest(&config, &[]).descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    let expected = r#"{
  "architecture": "amd64",
  "aé": [
    1,
    {
      "b": {},
      "z": 1
    },
    []
  ],
  "config": {
    "Env": [
      "A=1"
    ]
  },
  "n": 12345678901234567890,
  "os": "linux",
  "rootfs": {
    "diff_ids": [],
    "type": "layers"
  }
}
"#;
    assert_eq!(text(mount.join("platforms/linux-amd64/pretty/config.json")), expected);
}

#[test]
fn pretty_of_two_spellings_of_one_document_is_the_same() {
    let layout = Layout::new();
    let spellings = [
        r#"{"os":"linux","architecture":"arm64","rootfs":{"type":"layers","diff_ids":[]}}"#,
        "{ \"rootfs\" : {\"diff_ids\":[],\n\"type\":\"layers\"},\t\"architecture\":\"arm64\", \"os\":\"linux\"}",
    ];
    let entries: Vec<Value> = spellings
        .iter()
        .zip(["a", "b"])
        .map(|(spelling, name)| {
            named(layout.manifest(&layout.blob(*spelling), &[]).descriptor(media::MANIFEST), name)
        })
        .collect();
    layout.index(&entries);
    let mount = Mount::new(layout.path());
    let pretty = |name| text(mount.join(format!("images/{name}/platforms/linux-arm64/pretty/config.json")));
    assert_eq!(pretty("a"), pretty("b"));
}

#[test]
fn history_is_a_table_for_people() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let config = layout.json(&json!({"os": "linux", "architecture": "amd64",
    "rootfs": {"type": "layers", "diff_ids": [layer.digest, layer.digest]},
    "history": [
        {"created": "2024-01-02T03:04:05Z", "created_by": "ADD first / # buildkit", "comment": "a comment"},
        {"created": "2024-01-02T03:04:06Z", "created_by": "ENV PATH=/bin", "empty_layer": true},
        {"created": "2024-01-02T03:04:07Z", "created_by": "RUN two\nlines\tand \u{1b}[31mcolour"},
    ]}));
    layout
        .index(&[named(layout.manifest(&config, &[layer.clone(), layer]).descriptor(media::MANIFEST), "v1")]);
    let mount = Mount::new(layout.path());
    let table = text(mount.join("platforms/linux-amd64/history"));
    let row = |needle: &str| {
        table.lines().find(|line| line.contains(needle)).unwrap_or_else(|| panic!("no {needle} in:\n{table}"))
    };
    assert!(row("ADD first").starts_with('0') || row("ADD first").trim_start().starts_with('0'), "{table}");
    assert!(row("ADD first").contains("2024-01-02") && row("ADD first").contains("a comment"), "{table}");
    assert!(
        !row("ENV PATH").trim_start().starts_with(|c: char| c.is_ascii_digit()),
        "an empty layer has no number: {table}"
    );
    assert!(row("RUN two").trim_start().starts_with('1'), "{table}");
    assert!(!table.contains('\u{1b}'), "control characters reach the terminal: {table:?}");
}

#[test]
fn history_that_does_not_fit_the_layers_is_still_a_table() {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("a", b"a")])));
    let histories = [
        json!(null),
        json!([]),
        json!([{"created_by": "one"}, {"created_by": "two"}]),
        json!([null, 7, "x"]),
    ];
    let entries: Vec<Value> = histories
        .iter()
        .enumerate()
        .map(|(n, history)| {
            let config = layout.json(&json!({"os": "linux", "architecture": "amd64", "history": history,
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}));
            let manifest = layout.manifest(&config, std::slice::from_ref(&layer));
            named(manifest.descriptor(media::MANIFEST), &format!("h{n}"))
        })
        .collect();
    layout.index(&entries);
    let mount = Mount::new(layout.path());
    for n in 0..histories.len() {
        let table = text(mount.join(format!("images/h{n}/platforms/linux-amd64/history")));
        let layer_rows = table.lines().filter(|line| line.trim_start().starts_with('0')).count();
        assert_eq!(layer_rows, 1, "h{n}: the layer has its row:\n{table}");
    }
}

#[test]
fn sizes_are_true_before_the_first_read() {
    let (layout, _) = multi();
    let mount = Mount::new(layout.path());
    let mut seen = 0;
    let listing =
        run(Command::new("find").args([".", "-type", "f", "-printf", "%s %p\n"]).current_dir(mount.point()));
    for line in listing.stdout.lines() {
        let (size, path) = line.split_once(' ').unwrap();
        assert_eq!(bytes(mount.join(path)).len().to_string(), size, "{path}");
        seen += 1;
    }
    assert!(seen > 20, "{seen} files only");
}

#[test]
fn a_document_that_is_not_what_it_should_be_is_refused_and_its_bytes_stay() {
    let (layout, bad) = {
        let layout = Layout::new();
        let config = layout.blob("this is no JSON");
        let (_, _, good) = layout.image_of(Platform("linux", "arm64", ""), &[]);
        let mut entry = layout.manifest(&config, &[]).descriptor(media::MANIFEST);
        entry["platform"] = AMD64.json();
        layout.index(&[named(layout.nested(&[entry, good]), "v1")]);
        (layout, config)
    };
    let mount = Mount::new(layout.path());
    assert_eq!(bytes(mount.join("platforms/linux-amd64/config.json")), bad.bytes);
    assert_eq!(crate::kit::read_errno(mount.join("platforms/linux-amd64/pretty/config.json")), libc::EIO);
    assert!(!bytes(mount.join("platforms/linux-arm64/pretty/config.json")).is_empty());
}

#[test]
fn a_layout_without_oci_layout_or_blobs_still_mounts() {
    let layout = Layout::new();
    layout.index(&[]);
    std::fs::remove_file(layout.path().join("oci-layout")).unwrap();
    std::fs::remove_dir_all(layout.path().join("blobs")).unwrap();
    let mount = Mount::new(layout.path());
    assert!(ls(mount.point()).contains(&"index.json".to_owned()));
    // What was made up is said, after somebody has seen it.
    assert!(text(mount.join("oci-layout")).contains("1.0.0"));
    assert!(mount.problems().iter().any(|line| line.contains("oci-layout")), "{:?}", mount.problems());
}

#[test]
fn the_empty_descriptor_needs_no_blob() {
    let layout = Layout::new();
    let empty = Blob::of("sha256", "{}");
    let manifest = layout.json(&json!({"schemaVersion": 2, "artifactType": "application/vnd.example",
        "config": empty.descriptor(media::EMPTY), "layers": [empty.descriptor(media::EMPTY)]}));
    layout.index(&[named(manifest.descriptor(media::MANIFEST), "thing")]);
    let mount = Mount::new(layout.path());
    assert_eq!(text(mount.join("artifacts/thing/config.json")), "{}");
}

#[test]
fn documents_are_read_only_when_somebody_looks() {
    let (layout, sample) = Layout::sample();
    // Damaged after the mount: a document that had been read at mount time would not notice.
    let mount = Mount::new(layout.path());
    layout.flip(&sample.manifest, 3);
    assert!(std::fs::read(mount.join("platforms/linux-amd64/manifest.json")).is_err());
    assert!(Path::new(&mount.join("index.json")).exists());
}

/// The pretty form of a config, or its errno.
fn pretty(config: &[u8]) -> (Mount, std::io::Result<Vec<u8>>) {
    let layout = Layout::new();
    let mut entry = layout.manifest(&layout.blob(config), &[]).descriptor(media::MANIFEST);
    entry["platform"] = AMD64.json();
    layout.index(&[named(entry, "v1")]);
    let mount = Mount::new(layout.path());
    let result = std::fs::read(mount.join("platforms/linux-amd64/pretty/config.json"));
    assert_eq!(
        bytes(mount.join("platforms/linux-amd64/config.json")),
        config,
        "the bytes are there in any case"
    );
    (mount, result)
}

#[test]
fn pretty_changes_no_number() {
    for number in
        ["123456789012345678901234567890", "0.1", "1.00", "1e400", "-0", "1E5", "3.14159265358979323846"]
    {
        let (_mount, result) = pretty(format!("{{\"n\":{number}}}").as_bytes());
        // An exponent may be spelled otherwise; the digits may not change.
        let spelled = String::from_utf8(result.unwrap()).unwrap().replace("e+", "e");
        assert_eq!(spelled, format!("{{\n  \"n\": {}\n}}\n", number.to_lowercase()));
    }
}

#[test]
fn pretty_of_hostile_json_is_refused_and_the_mount_lives() {
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    for config in [
        &deep[..],
        b"\xff\xfe{\x00}\x00",
        b"{\"a\":\"\xc3\x28\"}",
        b"{\"a\":1}{}",
        b"",
        b"{\"a\":\"\\ud800\"}",
    ] {
        let (mount, result) = pretty(config);
        assert_eq!(crate::kit::errno(result), libc::EIO);
        assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    }
}

#[test]
fn pretty_does_not_grow_without_bound() {
    // Two spaces a level: nesting makes a short document long. It stays within what the input could be worth.
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let (_mount, result) = pretty(deep.as_bytes());
    assert!(result.unwrap().len() < 100 * 250);
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(1 << 20));
    let (_mount, result) = pretty(wide.as_bytes());
    assert!(result.is_ok());
}
