//! Docker-archives as layouts.

use serde_json::Value;

use super::*;

/// A docker-archive under construction: one image whose layers are named.
struct Save {
    tar: Tar,
    config: String,
    config_name: String,
    layers: Vec<String>,
    tags: &'static str,
}

fn config(layers: &[&[u8]]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", sha256(layer))).collect();
    let diff_ids = diff_ids.join(",");
    format!(
        r#"{{"os":"linux","architecture":"arm","variant":"v7","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#
    )
}

fn save(layers: &[&[u8]]) -> Save {
    let config = config(layers);
    let config_name = format!("{}.json", sha256(config.as_bytes()).encoded());
    Save { tar: Tar::default(), config, config_name, layers: Vec::new(), tags: r#"["a:1"]"# }
}

impl Save {
    fn layer(mut self, name: &str, content: &[u8]) -> Self {
        self.tar = self.tar.file(name, content);
        self.layers.push(name.to_owned());
        self
    }

    fn entry(&self) -> String {
        let Self { config_name, layers, tags, .. } = self;
        format!(r#"{{"Config":"{config_name}","RepoTags":{tags},"Layers":{layers:?}}}"#)
    }

    fn end(self) -> Vec<u8> {
        let entry = self.entry();
        self.end_with(&format!("[{entry}]"))
    }

    fn end_with(self, manifest: &str) -> Vec<u8> {
        self.tar.file(&self.config_name, &self.config).file("manifest.json", manifest).end()
    }
}

/// What the layout made of an archive says, each image a line: name, layers as types and contents.
#[track_caller]
fn check(bytes: &[u8], expected: &[&str]) -> Box<dyn Source> {
    let source = opened(bytes).unwrap();
    assert_eq!(lines(&*source), expected);
    source
}

fn lines(source: &dyn Source) -> Vec<String> {
    let (index, layout, blobs) = everything(source);
    assert_eq!(layout.unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    for (digest, bytes) in &blobs {
        assert_eq!(sha256(bytes), *digest, "a blob that is not what it is said to be");
    }
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let of = |descriptor: &Value| {
        let digest = Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
        let bytes = read(source, &digest);
        assert!(
            bytes.as_ref().is_ok_and(|bytes| descriptor["size"] == bytes.len()) || bytes.is_err(),
            "{digest}"
        );
        bytes.unwrap_or_else(|e| e.to_string().into_bytes())
    };
    let line = |entry: &Value| {
        let manifest = parse(&of(entry));
        assert!(parse(&of(&manifest["config"])).is_object());
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or("-");
        let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| {
            let kind =
                layer["mediaType"].as_str().unwrap().strip_prefix("application/vnd.oci.image.layer.v1.");
            let mut content = of(layer);
            if kind == Some("tar+gzip") {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&content[..]), &mut plain)
                    .unwrap();
                content = plain;
            }
            format!(" {}={}", kind.unwrap(), content.escape_ascii())
        });
        format!("{name}:{}", layers.collect::<String>())
    };
    parse(&index)["manifests"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn an_image_becomes_a_layout() {
    let bytes = save(&[b"one", b"two"]).layer("1/layer.tar", b"one").layer("2/layer.tar", b"two").end();
    let source = check(&bytes, &["a:1: tar=one tar=two"]);
    assert_eq!(source.problems(), []);
    let index: Value = serde_json::from_slice(&source.index().unwrap()).unwrap();
    let platform = &index["manifests"][0]["platform"];
    assert_eq!(platform.to_string(), r#"{"architecture":"arm","os":"linux","variant":"v7"}"#);
    assert_eq!(source.blobs().unwrap().len(), 4, "two layers, a configuration and a manifest");
    for (packing, bytes) in packings(&bytes) {
        assert!(everything(&*opened(&bytes).unwrap()) == everything(&*source), "{packing}");
    }
}

/// The digests of what is made up are part of what ocifs promises: people pin them.
#[test]
fn what_is_made_up_never_changes() {
    let source = opened(&save(&[b"one"]).layer("1/layer.tar", b"one").end()).unwrap();
    let index = source.index().unwrap();
    assert_eq!(
        String::from_utf8(index).unwrap(),
        concat!(
            r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a:1"},"digest":"#,
            r#""sha256:e40bd07a9fde96d844fc6a629d7d5bd31a341b8bc6aa189b02e3149468d19ae9","#,
            r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""platform":{"architecture":"arm","os":"linux","variant":"v7"},"size":394}],"#,
            r#""mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#
        )
    );
}

#[test]
fn names() {
    let with = |tags| {
        let mut save = save(&[b"one"]);
        save.tags = tags;
        save.layer("1", b"one").end()
    };
    check(&with("null"), &["-: tar=one"]);
    check(&with("[]"), &["-: tar=one"]);
    check(&with(r#"["docker.io/library/x:1"]"#), &["docker.io/library/x:1: tar=one"]);
    check(&with(r#"["a:1","b/c:2"]"#), &["a:1: tar=one", "b/c:2: tar=one"]);
}

#[test]
fn configurations_have_many_names() {
    let hex = sha256(config(&[b"one"]).as_bytes()).encoded().to_owned();
    for (name, problems) in [
        (format!("{hex}.json"), 0),
        (format!("sha256:{hex}"), 0),
        (format!("{}.json", hex.to_uppercase()), 0),
        (format!("blobs/sha256/{hex}"), 0),
        ("config.json".to_owned(), 0),
        (format!("{}.json", "0".repeat(64)), 1),
    ] {
        let mut save = save(&[b"one"]);
        save.config_name = name;
        let source = check(&save.layer("1", b"one").end(), &["a:1: tar=one"]);
        assert_eq!(source.problems().len(), problems, "{:?}", source.problems());
    }
}

#[test]
fn layers_may_be_compressed_linked_and_listed_twice() {
    let packed = gzip(b"one");
    check(&save(&[b"one"]).layer("1.tar.gz", &packed).end(), &["a:1: tar+gzip=one"]);
    check(
        &save(&[b"one", b"one"]).layer("1.tar.gz", &packed).layer("2", b"one").end(),
        &["a:1: tar+gzip=one tar=one"],
    );
    let mut twice = save(&[b"one", b"one"]).layer("1/layer.tar", b"one");
    twice.tar = twice.tar.symlink("2/layer.tar", "../1/layer.tar");
    twice.layers.push("2/layer.tar".to_owned());
    let source = check(&twice.end(), &["a:1: tar=one tar=one"]);
    assert_eq!(source.blobs().unwrap().len(), 3);
    let mut twice = save(&[b"one", b"one"]).layer("1", b"one");
    twice.layers.push("1".to_owned());
    check(&twice.end(), &["a:1: tar=one tar=one"]);
    check(&save(&[b""]).layer("1/layer.tar", b"").end(), &["a:1: tar="]);
    check(&save(&[]).end(), &["a:1:"]);
}

/// Read once for all of them; with a copy for each, these would take 1.2 GB.
#[test]
fn images_may_share_a_configuration() {
    let mut shared = save(&[b"one"]).layer("1", b"one");
    shared.config.push_str(&" ".repeat(3 << 20));
    shared.config_name = "shared.json".to_owned();
    let entry = |n: usize| shared.entry().replace("a:1", &format!("a:{n:04}"));
    let own = r#"{"Config":"own.json","RepoTags":["own:1"],"Layers":["none"]}"#.to_owned();
    let mut entries: Vec<String> = (0..400).map(entry).collect();
    entries.insert(100, own);
    let mut expected: Vec<String> = (0..400).map(|n| format!("a:{n:04}")).collect();
    expected.insert(100, "own:1".to_owned());
    shared.tar = shared.tar.file("own.json", config(&[b"not here"]));
    let source = opened(&shared.end_with(&format!("[{}]", entries.join(",")))).unwrap();
    let lines = lines(&*source);
    let names = lines.iter().filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
    assert!(names.eq(&expected), "in the order of manifest.json");
    assert_eq!(lines[399], "a:0398: tar=one");
    let problems: Vec<String> = source.problems().iter().map(|p| p.what.clone()).collect();
    assert!(problems.len() == 1 && problems[0].starts_with("image 100: its layer 0"), "{problems:?}");
}

#[test]
fn layers_the_configuration_does_not_state_are_hashed() {
    check(&save(&[]).layer("1", b"one").end(), &["a:1: tar=one"]);
    check(&save(&[b"one", b"two"]).layer("1", b"one").end(), &["a:1: tar=one"]);
    let mut other = save(&[b"one"]).layer("1", b"one");
    other.config = other.config.replace("sha256:", "md5:");
    check(&other.end(), &["a:1: tar=one"]);
    let mut none = save(&[]).layer("1", b"one");
    none.config = "{}".to_owned();
    check(&none.end(), &["a:1: tar=one"]);
}

#[test]
fn a_missing_layer_stays_visible_and_what_cannot_be_made_is_left_out() {
    let mut gone = save(&[b"one", b"two"]).layer("1", b"one");
    gone.layers.push("2".to_owned());
    let source = check(&gone.end(), &["a:1: tar=one tar=not in this source"]);
    assert_eq!(source.problems().len(), 1);

    let good = save(&[b"one"]).layer("1", b"one");
    let (entry, config) = (good.entry(), good.config_name.clone());
    let manifest =
        format!(r#"[7,{{"Config":"nowhere.json"}},{entry},{{"Config":"{config}","Layers":["x","1"]}}]"#);
    let source = check(&good.end_with(&manifest), &["a:1: tar=one"]);
    assert_eq!(source.problems().len(), 3, "{:?}", source.problems());
    assert!(source.problems().iter().all(|p| p.what.ends_with("left out")), "{:?}", source.problems());
}

#[test]
fn a_layer_may_be_there_under_another_images_name() {
    let save = save(&[b"one"]).layer("1", b"one");
    let manifest = format!(r#"[{{"Config":"{}","Layers":["x"]}},{}]"#, save.config_name, save.entry());
    let source = check(&save.end_with(&manifest), &["-: tar=one", "a:1: tar=one"]);
    assert_eq!(source.problems().len(), 1);
}

/// What an image states is no reason to give another one its bytes for what that one really has.
#[test]
fn a_stated_digest_does_not_take_the_place_of_a_true_one() {
    let good = save(&[b"one"]).layer("1", b"one");
    let liar = good.config.replace(sha256(b"one").encoded(), sha256(good.config.as_bytes()).encoded());
    let entry = r#"{"Config":"liar.json","Layers":["x"]}"#;
    for manifest in [format!("[{entry},{}]", good.entry()), format!("[{},{entry}]", good.entry())] {
        let save = save(&[b"one"]).layer("1", b"one");
        let tar = save.tar.file("liar.json", &liar).file("x", "something else");
        let source = opened(&Save { tar, ..save }.end_with(&manifest)).unwrap();
        assert!(read(&*source, &sha256(good.config.as_bytes())).unwrap() == good.config.as_bytes());
    }
}

#[test]
fn one_of_several_by_its_number() {
    let first = save(&[b"one"]).layer("1", b"one");
    let mut second = save(&[b"two"]).layer("2", b"two");
    second.tags = "null";
    let manifest = format!("[{},{}]", first.entry(), second.entry());
    let tar = Tar([first.tar.0, second.tar.0].concat()).file(&second.config_name, &second.config);
    let bytes = Save { tar, ..first }.end_with(&manifest);
    check(&bytes, &["a:1: tar=one", "-: tar=two"]);
    for (kind, expected) in [
        (Kind::DockerArchive(None), &["a:1: tar=one", "-: tar=two"][..]),
        (Kind::DockerArchive(Some(0)), &["a:1: tar=one"]),
        (Kind::DockerArchive(Some(1)), &["-: tar=two"]),
    ] {
        assert_eq!(lines(&*opened_as(&bytes, kind).unwrap()), expected);
    }
    refused(&bytes, Kind::DockerArchive(Some(2)), "no image @2: it has 2");
}

#[test]
fn what_names_no_image_is_refused() {
    for (manifest, sentence) in [
        ("null", "names no image"),
        ("[]", "names no image"),
        ("{}", "is not a list"),
        ("[", "is not JSON"),
        ("", "is not JSON"),
        (r#"[{"Config":"x"}]"#, "has no usable image: image 0: its configuration \"x\": not in this source"),
    ] {
        refused(&Tar::default().file("manifest.json", manifest).end(), Kind::Any, sentence);
    }
}

#[test]
fn in_a_combined_archive_the_layout_counts_unless_it_leads_nowhere() {
    let layout = |manifests: &str| format!(r#"{{"schemaVersion":2,"manifests":{manifests}}}"#);
    let descriptor = |kind: &str, bytes: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}.v1+json","digest":"{}","size":{}}}"#,
            sha256(bytes.as_bytes()),
            bytes.len()
        )
    };
    let is_layout = |index: &str, blobs: &[&str], layers: bool| {
        let docker = if layers { save(&[b"one"]).layer("1", b"one") } else { save(&[]) };
        let tar = Tar(docker.tar.0.clone()).file("index.json", index);
        let tar = blobs.iter().fold(tar, |tar, blob| tar.file(&blob_name(blob.as_bytes()), blob));
        let entry = docker.entry();
        let bytes = Save { tar, ..docker }.end_with(&format!("[{entry}]"));
        opened_as(&bytes, Kind::DockerArchive(None)).unwrap();
        opened(&bytes).unwrap().index().unwrap() == index.as_bytes()
    };
    let full = r#"{"layers":[{"digest":"sha256:x","size":1}]}"#;
    let bare = r#"{"layers":null}"#;
    let index = |blob: &str| layout(&format!("[{}]", descriptor("manifest", blob)));
    assert!(is_layout(&index(full), &[full], true));
    assert!(!is_layout(&index(full), &[], true), "the manifest is not there");
    assert!(!is_layout(&index(bare), &[bare], true), "docker 25.0 left the layers out");
    assert!(is_layout(&index(bare), &[bare], false), "from scratch");
    for nothing in ["null", "[]", "[7]"] {
        assert!(!is_layout(&layout(nothing), &[], true), "{nothing}");
    }
    assert!(!is_layout("{", &[], true));
    let nested = index(full);
    let outer = layout(&format!("[{}]", descriptor("index", &nested)));
    assert!(is_layout(&outer, &[&nested, full], true));
    assert!(!is_layout(&outer, &[&nested], true));
    assert!(!is_layout(&outer, &[], true));
    // Where neither is of use, the layout is.
    let neither = Tar::default().file("index.json", INDEX).file("manifest.json", "null").end();
    assert_eq!(opened(&neither).unwrap().index().unwrap(), INDEX.as_bytes());
}
