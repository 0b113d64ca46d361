//! `ocifs inspect`: what it prints for people and for scripts, and what it reads for that.

use crate::kit::{
    Done, Layout, Mount, Platform, Proxy, Registry, annotate, gzip, ls, media, named, run, tar, temp_dir,
    text,
};
use serde_json::{Value, json};
use std::ffi::OsStr;

const AMD64: Platform<'_> = Platform("linux", "amd64", "");
const ARM64: Platform<'_> = Platform("linux", "arm64", "");

fn inspect<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Done {
    run(Mount::command(&temp_dir()).arg("inspect").args(arguments))
}

fn parsed(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

fn digest(value: &Value) -> &str {
    value["digest"].as_str().unwrap()
}

/// Two platforms and an attestation about the first, in an index named `v1`.
struct Multi {
    layout: Layout,
    index: Value,
    entries: [Value; 2],
    ids: [String; 2],
    statement: Value,
}

fn multi() -> Multi {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("etc/motd", b"welcome\n")])));
    let own = layout.blob(gzip(&tar(&[("bin/tool", b"tool\n")])));
    let [amd, arm] = [(AMD64, vec![layer.clone()]), (ARM64, vec![layer, own])]
        .map(|(platform, layers)| layout.image_of(platform, &layers));
    let blob = layout.blob(r#"{"predicateType":"https://slsa.dev/provenance/v1"}"#);
    let stated = annotate(
        blob.descriptor("application/vnd.in-toto+json"),
        "in-toto.io/predicate-type",
        "https://slsa.dev/provenance/v1",
    );
    let config = layout.json(&json!({"os": "unknown", "architecture": "unknown"}));
    let statement = layout.json(&json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": config.descriptor(media::CONFIG), "layers": [stated],
    }));
    let mut statement = statement.descriptor(media::MANIFEST);
    statement["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let statement = annotate(statement, "vnd.docker.reference.type", "attestation-manifest");
    let statement = annotate(statement, "vnd.docker.reference.digest", digest(&amd.2));
    let index = layout.nested(&[amd.2.clone(), arm.2.clone(), statement.clone()]);
    layout.index(&[named(index.clone(), "v1")]);
    let (entries, ids) = ([amd.2, arm.2], [amd.0.digest, arm.0.digest]);
    Multi { layout, index, entries, ids, statement }
}

#[test]
fn one_screen_answers_what_one_asks_first() {
    let Multi { layout, index, entries, ids, statement } = multi();
    let done = inspect([layout.path()]);
    assert_eq!(done.code(), 0, "{done:?}");
    let sizes = done.stdout.clone();
    let size = |layers: &str| {
        let at = sizes.find(layers).unwrap_or_else(|| panic!("{layers} is not in {sizes}"));
        sizes[at + layers.len()..].split(", architecture").next().unwrap().to_owned()
    };
    let expected = format!(
        "v1\n  index     {}\n  platforms 2, each with its own ImageID (and 1 attestation)\n\n\
         \x20 linux/amd64  1 layer, {}, architecture amd64\n    manifest  {}\n    image id  {}\n\
         \x20   referrer  https://slsa.dev/provenance/v1\n              {}\n\n\
         \x20 linux/arm64  2 layers, {}, architecture arm64\n    manifest  {}\n    image id  {}\n",
        digest(&index),
        size("1 layer, "),
        digest(&entries[0]),
        ids[0],
        digest(&statement),
        size("2 layers, "),
        digest(&entries[1]),
        ids[1],
    );
    assert_eq!(done.stdout, expected);
    assert_eq!(done.stderr, "");
}

#[test]
fn one_platform_is_shown_with_its_layers_and_history() {
    let Multi { layout, .. } = multi();
    let done = inspect([layout.path().as_os_str(), "--platform".as_ref(), "linux/arm64".as_ref()]);
    let table = done.stdout.split("LAYER").nth(1).unwrap_or_else(|| panic!("no table: {done:?}"));
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert_eq!((rows[0][0], rows[1][0]), ("0", "1"));
    assert!(table.contains("step number 1"), "{table}");
    assert!(!done.stdout.contains("linux/amd64"));
}

#[test]
fn the_shape_for_scripts() {
    let Multi { layout, index, entries, ids, statement } = multi();
    let done = inspect([layout.path().as_os_str(), "--json".as_ref()]);
    assert_eq!(done.code(), 0);
    let value = parsed(&done);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&value), ["artifacts", "entries", "images", "problems", "source", "version"]);
    assert_eq!((&value["version"], &value["entries"]), (&json!(1), &json!(1)));
    assert_eq!((&value["artifacts"], &value["problems"]), (&json!([]), &json!([])));
    let image = &value["images"][0];
    assert_eq!(
        members(image),
        [
            "attestations",
            "digest",
            "distinct_image_ids",
            "error",
            "kind",
            "media_type",
            "names",
            "path",
            "platforms",
            "referrers",
            "size"
        ]
    );
    assert_eq!(
        (&image["kind"], digest(image), &image["names"], &image["path"], &image["distinct_image_ids"]),
        (&json!("index"), digest(&index), &json!(["v1"]), &json!(""), &json!(2))
    );
    assert_eq!(digest(&image["attestations"][0]), digest(&statement));
    let arm = &image["platforms"][1];
    assert_eq!(
        members(arm),
        [
            "architecture",
            "config_architecture",
            "created",
            "digest",
            "error",
            "history",
            "image_id",
            "layers",
            "layers_size",
            "media_type",
            "os",
            "os_version",
            "path",
            "platform",
            "referrers",
            "size",
            "variant"
        ]
    );
    assert_eq!(
        (&arm["platform"], digest(arm), &arm["image_id"], &arm["path"]),
        (&json!("linux/arm64"), digest(&entries[1]), &json!(ids[1]), &json!("platforms/linux-arm64/"))
    );
    assert_eq!((&arm["layers"].as_array().unwrap().len(), &arm["variant"]), (&2, &Value::Null));
    assert_eq!(
        members(&arm["layers"][0]),
        ["diff_id", "digest", "error", "media_type", "number", "present", "size", "unpacked_size"]
    );
    assert_eq!(
        (&arm["layers"][0]["present"], &arm["layers"][0]["unpacked_size"]),
        (&json!(true), &Value::Null)
    );
    let referrer = &image["platforms"][0]["referrers"][0];
    assert_eq!(
        (&referrer["how"], &referrer["predicates"], digest(referrer)),
        (&json!("attestation"), &json!(["https://slsa.dev/provenance/v1"]), digest(&statement))
    );
}

#[test]
fn signatures_are_found_by_subject_and_by_tag() {
    let (layout, sample) = Layout::sample();
    let empty = layout.blob("{}");
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": "application/x-signature",
        "config": empty.descriptor(media::EMPTY), "layers": [empty.descriptor("text/plain")],
    });
    let tagged = layout.json(&manifest).descriptor(media::MANIFEST);
    manifest["subject"] = sample.manifest.descriptor(media::MANIFEST);
    let by_subject = layout.json(&manifest).descriptor(media::MANIFEST);
    let tag = format!("{}.sig", sample.manifest.digest.replace(':', "-"));
    let image = named(sample.manifest.descriptor(media::MANIFEST), "v1");
    layout.index(&[image, by_subject.clone(), named(tagged.clone(), &tag)]);
    let value = parsed(&inspect([layout.path().as_os_str(), "--json".as_ref()]));
    let referrers = value["images"][0]["platforms"][0]["referrers"].as_array().unwrap();
    let mut got: Vec<_> = referrers.iter().map(|r| (r["how"].as_str().unwrap(), digest(r))).collect();
    got.sort_unstable();
    assert_eq!(got, [("subject", digest(&by_subject)), ("tag", digest(&tagged))]);
    assert_eq!(value["artifacts"].as_array().unwrap().len(), 2);
}

#[test]
fn what_an_image_calls_itself_does_not_reach_the_terminal() {
    let (layout, sample) = Layout::sample();
    let entry = sample.manifest.descriptor(media::MANIFEST);
    layout.index(&[named(entry, "v\u{1b}[31m\u{9b}2J\r\n\u{202e}x")]);
    let done = run(Mount::command(&temp_dir()).arg("inspect").arg(layout.path()).env("CLICOLOR_FORCE", "1"));
    assert!(done.stdout.contains(r"v\u{1b}[31m\u{9b}2J\r\n\u{202e}x"), "{done:?}");
    assert!(done.stdout.contains("\x1b[1m"), "colour was asked for: {done:?}");
    let done = run(Mount::command(&temp_dir()).arg("inspect").arg(layout.path()).env("NO_COLOR", "1"));
    assert!(!done.stdout.contains('\x1b'), "{done:?}");
    assert!(!inspect([layout.path()]).stdout.contains('\x1b'), "no terminal, no colour");
}

#[test]
fn a_damaged_document_is_told_and_a_source_that_is_none() {
    let (layout, sample) = Layout::sample();
    layout.flip(&sample.config, 3);
    let done = inspect([layout.path()]);
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stdout.contains("platforms/linux-amd64/config.json"), "{done:?}");
    assert_eq!(inspect(["/no/such/layout"]).code(), 1);
    assert_eq!(inspect(Vec::<&str>::new()).code(), 2);
    layout.remove(&sample.config);
    assert_eq!(inspect([layout.path()]).code(), 0, "absent is not damaged");

    let layout = Layout::new();
    let image = named(layout.image(Platform("linux", "amd64", ""), "x"), "app:1");
    let chart = layout.artifact("application/vnd.example.chart").file("c", "c").store();
    let mut untyped = chart.descriptor("");
    untyped["artifactType"] = json!("application/vnd.example.chart");
    let charts = [chart.descriptor(media::MANIFEST), untyped].map(|entry| named(entry, "chart:1"));
    layout.index(&[image.clone(), charts[0].clone()]);
    let entries = |done: &Done| serde_json::from_str::<Value>(&done.stdout).unwrap()["entries"].clone();
    assert_eq!(entries(&inspect(["--json".as_ref(), layout.path()])), 2);
    layout.flip(&chart, 3);
    assert_eq!(inspect([layout.path()]).code(), 1, "an artifact's manifest");
    let chosen = ["--json".as_ref(), "--image=app:1".as_ref(), layout.path()];
    let done = inspect(chosen);
    assert_eq!((done.code(), entries(&done)), (0, json!(1)), "of the one that was asked for");
    layout.index(&[image, charts[1].clone()]);
    let done = inspect([layout.path()]);
    assert!(done.code() == 1 && done.stdout.contains("artifacts/chart:1/manifest.json"), "{done:?}");
}

/// One that has two names, and company under one of them, counted twice.
#[test]
fn an_entry_of_two_names_is_counted_once() {
    let Multi { layout, entries: [amd, arm], .. } = multi();
    layout.index(&[named(amd.clone(), "v1"), named(arm, "v1"), named(amd, "latest")]);
    assert_eq!(parsed(&inspect(["--json".as_ref(), layout.path()]))["entries"], json!(2));
}

/// A manifest that could not be told was called an index, at an `image-index.json` that no mount has.
#[test]
fn what_cannot_be_told_is_placed_where_a_mount_shows_it() {
    let (layout, sample) = Layout::sample();
    layout.index(&[named(sample.manifest.descriptor(media::MANIFEST), "v1")]);
    let path = layout.file(&sample.manifest);
    layout.remove(&sample.manifest);
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let done = inspect(["--json".as_ref(), "--image=v1".as_ref(), layout.path()]);
    assert_eq!(done.code(), 1, "{done:?}");
    let value = parsed(&done);
    assert_eq!(value["images"][0]["kind"], json!("manifest"), "{value}");
    let mount = Mount::with(layout.path(), &["--image=v1"]);
    assert!(ls(mount.point()).contains(&"platforms".to_owned()));
    assert_eq!(json!(mount.problems()), value["problems"]);
    let done = run(Mount::command(&temp_dir()).args(["verify", "--json", "--image=v1"]).arg(layout.path()));
    assert_eq!(done.code(), 2, "{done:?}");
    assert_eq!(parsed(&done)["findings"][0]["places"], json!([sample.manifest.path()]));
}

/// It was placed in `artifacts/`, which shows no statements.
#[test]
fn a_statement_beside_its_image_in_index_json_is_in_no_directory() {
    let Multi { layout, entries, statement, .. } = multi();
    let [image, _] = entries;
    layout.index(&[named(image, "v1"), statement.clone()]);
    let value = parsed(&inspect(["--json".as_ref(), layout.path()]));
    let artifact = &value["artifacts"][0];
    assert_eq!((digest(artifact), &artifact["path"]), (digest(&statement), &Value::Null), "{value}");
    assert_eq!(ls(Mount::new(layout.path()).join("artifacts")), [""; 0]);
}

/// Each was placed in a directory called after itself, where a mount has one of all.
#[test]
fn unnamed_artifacts_of_several_platforms_are_placed_where_a_mount_shows_them() {
    let layout = Layout::new();
    layout.index(&[AMD64, ARM64].map(|platform| {
        let mut entry = layout.artifact("application/vnd.example").file("f", platform.1).entry();
        entry["platform"] = platform.json();
        entry
    }));
    let value = parsed(&inspect(["--json".as_ref(), layout.path()]));
    let mount = Mount::new(layout.path());
    let shown = |n: usize| text(mount.join(value["artifacts"][n]["path"].as_str().unwrap()).join("files/f"));
    assert_eq!([shown(0), shown(1)], ["amd64", "arm64"], "{value}");
}

#[test]
fn a_damaged_statement_is_a_damaged_document() {
    let Multi { layout, statement, .. } = multi();
    let path = layout.path().join("blobs").join(digest(&statement).replace(':', "/"));
    std::fs::write(&path, "x").unwrap();
    assert_eq!(inspect([layout.path()]).code(), 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(inspect([layout.path()]).code(), 0, "absent is not damaged");
}

/// A damaged manifest was said to be one that is not here.
#[test]
fn platforms_without_an_image_id_are_told_apart() {
    let Multi { layout, entries, .. } = multi();
    let path = layout.path().join("blobs").join(digest(&entries[1]).replace(':', "/"));
    let says = |what: &str| {
        let done = inspect([layout.path()]);
        let line = done.stdout.lines().find(|line| line.contains("platforms 2")).unwrap().to_owned();
        assert!(line.contains(what), "{line}");
    };
    std::fs::write(&path, "x").unwrap();
    says("platforms 2, 1 without a known ImageID (and");
    std::fs::remove_file(&path).unwrap();
    says("platforms 2, 1 whose manifest is not here (and");
}

#[test]
fn no_layer_is_read() {
    let (layout, sample) = Layout::sample();
    sample.layers.iter().for_each(|layer| layout.flip(layer, 20));
    assert_eq!(inspect([layout.path()]).code(), 0);
    sample.layers.iter().for_each(|layer| layout.remove(layer));
    let done = inspect([layout.path()]);
    assert_eq!(done.code(), 0);
    assert!(done.stdout.contains("2 not here"), "{done:?}");
}

#[test]
fn of_a_registry_documents_alone_are_asked_for() {
    let Multi { layout, .. } = multi();
    let registry = Registry::start();
    registry.push(&layout, "v1", "multi:v1", &["--all"]);
    let proxy = Proxy::before(&registry);
    let done = inspect([proxy.image("multi:v1")]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("platforms 2, each with its own ImageID"), "{done:?}");
    let (asked, _) = proxy.take();
    let blobs = asked.iter().filter(|a| a.is_blob()).count();
    assert!(blobs <= 3, "two configurations, no layer: {blobs} of {}", asked.len());
}
