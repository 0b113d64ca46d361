//! Layers with a table of contents, in a registry: what is fetched of them, and what is shown.

use crate::kit::{
    Act, Asked, Form, Layer, Layout, Listed, Member, Mount, PLATFORM, Proxy, Registry, bytes, get_xattr,
    list_xattrs, listed, ls, noise, ocifs, read_errno, run, temp_dir, text, wait_until,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Chunks of the layers made here.
const CHUNK: usize = 256 << 10;

/// Bytes of each file of noise: with all of them a layer is worth not fetching.
const NOISE: usize = 400 << 10;

/// A layer's members with everything a layer can hold, and enough noise that it is worth not fetching it.
fn everything() -> Vec<Member> {
    let mut members = vec![
        Member::dir("etc").mode(0o1777).owner(3, 4),
        Member::file("etc/motd", "welcome\n"),
        Member::file("etc/suid", "x").mode(0o4755).owner(1_000_000, 70_000),
        Member::link("etc/hard", "etc/motd"),
        Member::link("etc/later", "etc/comes-later"),
        Member::symlink("etc/link", "../etc/motd"),
        Member::symlink("lib", "usr/lib"),
        Member::file("lib/through", "a symlinked parent"),
        Member::empty("etc/empty"),
        Member::file("etc/comes-later", "late"),
        Member::file("etc/labelled", "l").xattr("user.k", b"v\0\xff"),
        Member::device("dev/null", b'3', 1, 3),
        Member::device("dev/sda", b'4', 8, 0),
        Member::fifo("dev/pipe"),
        Member::file("./dot/file", "dotted"),
        Member::file("large", noise(1, 3 * CHUNK + 17)),
        Member::file("exact", noise(2, 2 * CHUNK)),
        Member::file("name-\u{e9}", "utf-8"),
        Member::empty("etc/.wh.gone"),
    ];
    members.extend((0..40).map(|n| Member::file(format!("many/{n}"), noise(100 + n, 5000 + n as usize))));
    members.extend((0..8).map(|n| Member::file(format!("noise/{n}"), noise(n + 10, NOISE))));
    members.push(Member::empty(".no.prefetch.landmark"));
    members
}

/// A registry with an image of some layers, and a proxy before it.
struct Served {
    layout: Layout,
    proxy: Proxy,
    registry: Registry,
}

fn served(layers: &[Layer]) -> Served {
    let registry = Registry::start();
    let layout = Layout::of_layers(layers);
    registry.push(&layout, "v1", "app:v1", &[]);
    Served { layout, proxy: Proxy::before(&registry), registry }
}

impl Served {
    fn mount(&self) -> Mount {
        Mount::new(self.proxy.image("app:v1"))
    }

    /// What was asked of a layer, and all bytes that came, since the last time.
    fn asked(&self, layer: &Layer) -> (Vec<Asked>, u64) {
        let (asked, sent) = self.proxy.take();
        (asked.into_iter().filter(|a| a.target.contains(&layer.blob.digest)).collect(), sent)
    }
}

fn plain(form: Form) -> Listed {
    listed(form, &everything(), CHUNK, |_| {})
}

/// Everything of a tree that can be seen, a line a file, in the order of the directories.
fn seen(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stack = vec![root.to_owned()];
    // What the root is, its layers say, and they are looked at with this.
    ls(root);
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match () {
            () if meta.is_file() => blake3::hash(&bytes(&path)).to_hex().to_string(),
            () if meta.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            () => String::new(),
        };
        let names = list_xattrs(&path, 4096).unwrap();
        // Of which blob it came is another matter.
        let names = names.iter().filter(|name| *name != "user.oci.layer.digest");
        // The kernel gives those of symlinks and devices to nobody.
        let xattrs: Vec<_> = names.map(|name| (name, get_xattr(&path, name, 4096).ok())).collect();
        lines.push(format!(
            "{} ino {} mode {:o} links {} owner {}:{} size {} blocks {} device {} time {}.{:09} {xattrs:?} {content}",
            path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii(),
            meta.ino(),
            meta.mode(),
            meta.nlink(),
            meta.uid(),
            meta.gid(),
            meta.size(),
            meta.blocks(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
        ));
        if meta.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines
}

/// Compares two trees line by line: all of them at once, nobody reads.
#[track_caller]
fn same(a: &[String], b: &[String], what: &str) {
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b, "{what}");
    }
    assert_eq!(a.len(), b.len(), "{what}");
}

#[test]
fn a_table_gives_the_tree_that_the_layer_gives() {
    for form in Form::ALL {
        let upper = [
            Member::empty("etc/.wh.motd"),
            Member::empty("many/.wh..wh..opq"),
            Member::file("many/new", "n").xattr("user.empty", ""),
            Member::link("etc/of-lower", "etc/labelled"),
            Member::file("twice", "first"),
            Member::file("twice", "second"),
            Member::file("pad", noise(9, 2 << 20)),
        ];
        let layers = [plain(form).layer, listed(form, &upper, CHUNK, |_| {}).layer];
        let served = served(&layers);
        let (lazy, local) = (served.mount(), Mount::new(served.layout.path()));
        for tree in ["rootfs", "diffs/0", "diffs/1"] {
            let [a, b] = [&lazy, &local].map(|mount| seen(&mount.join(PLATFORM).join(tree)));
            assert!(a.len() > 5, "{form:?} {tree}");
            same(&a, &b, &format!("{form:?} {tree}"));
        }
        assert_eq!(lazy.problems(), local.problems(), "{form:?}");
        assert_eq!((lazy.stat("layer_tables_total"), lazy.stat("layer_passes_total")), (2, 0), "{form:?}");
        assert_eq!((local.stat("layer_tables_total"), local.stat("layer_passes_total")), (0, 2), "{form:?}");
        assert_eq!(lazy.rootfs("stargz.index.json").exists(), form != Form::ZstdChunked);
    }
}

#[test]
fn one_small_file_takes_next_to_nothing_of_a_large_image() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let mut members = everything();
        members.extend((0..56).map(|n| Member::file(format!("more/{n}"), noise(1000 + n, 1 << 20))));
        let layer = listed(form, &members, CHUNK, |_| {}).layer;
        let size = layer.blob.bytes.len() as u64;
        assert!(size > 55 << 20);
        let served = served(std::slice::from_ref(&layer));
        let mount = served.mount();
        assert_eq!(text(mount.rootfs("etc/motd")), "welcome\n");
        let (asked, sent) = served.asked(&layer);
        assert!(sent < size / 50, "{form:?}: {sent} of {size}");
        assert!(asked.len() <= 3, "{form:?}: {asked:#?}");
        // Looking at everything fetches no more.
        let done = run(Command::new("find").arg(mount.rootfs("")).arg("-ls"));
        assert!(done.stdout.lines().count() > 100, "{}", done.stderr);
        let (asked, sent) = served.asked(&layer);
        assert_eq!((asked.len(), sent), (0, 0), "{form:?}");
    }
}

#[test]
fn who_reads_on_needs_few_requests() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let layer = plain(form).layer;
        let served = served(std::slice::from_ref(&layer));
        let mount = served.mount();
        ls(mount.rootfs(""));
        served.asked(&layer);
        for n in 0..8 {
            assert_eq!(bytes(mount.rootfs(&format!("noise/{n}"))), noise(n + 10, NOISE));
        }
        let (asked, sent) = served.asked(&layer);
        assert!(asked.len() < 14, "{form:?}: {} requests for 16 chunks", asked.len());
        assert!(sent < 4 << 20, "{form:?}: nothing twice, but {sent}");
    }
}

#[test]
fn what_was_fetched_is_there_for_the_next_mount_and_without_a_network() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let layer = plain(form).layer;
        let mut served = served(std::slice::from_ref(&layer));
        let cache = temp_dir();
        let options = ["--cache-dir", cache.path().to_str().unwrap(), "--timeout", "2"];
        let mount = Mount::with(served.proxy.image("app:v1"), &options);
        let digest = text(mount.join(PLATFORM).join("digest"));
        assert_eq!(text(mount.rootfs("etc/motd")), "welcome\n");
        drop(mount);
        served.registry.stop();
        served.proxy.rule(|_| Act::Cut(0));
        let offline = Mount::with(served.proxy.image(&format!("app@{}", digest.trim())), &options);
        assert_eq!(text(offline.rootfs("etc/motd")), "welcome\n", "{form:?}");
        assert!(ls(offline.rootfs("noise")).len() == 8, "{form:?}");
        assert_eq!(read_errno(offline.rootfs("noise/7")), libc::EIO, "{form:?}: never fetched");
    }
}

#[test]
fn a_layer_that_is_here_is_gone_over() {
    let layer = plain(Form::Stargz).layer;
    let served = served(std::slice::from_ref(&layer));
    let cache = temp_dir();
    let mount = Mount::with(served.proxy.image("app:v1"), &["--cache-dir", cache.path().to_str().unwrap()]);
    assert_eq!(bytes(mount.join(PLATFORM).join("layers/0")), layer.blob.bytes);
    // Who reads has the last byte a moment before the blob has its name.
    let kept = cache.join("blobs").join(layer.blob.digest.replace(':', "-"));
    assert!(wait_until(|| kept.exists()));
    assert_eq!(text(mount.rootfs("etc/motd")), "welcome\n");
    assert_eq!((mount.stat("layer_tables_total"), mount.stat("layer_passes_total")), (0, 1));
}

/// The bits of one chunk are turned over on the way, whatever is asked for.
fn spoil(served: &Served, digest: &str, at: u64) {
    let digest = digest.to_owned();
    served.proxy.rule(move |asked| {
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        match range.map(|(from, to)| (from.parse::<u64>().unwrap(), to.parse::<u64>().unwrap())) {
            Some((from, to)) if asked.target.contains(&digest) && (from..=to).contains(&at) => {
                Act::Flip(usize::try_from(at - from).unwrap())
            }
            _ => Act::Pass,
        }
    });
}

fn offset_of(table: &Value, name: &str) -> u64 {
    let entries = table["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == name && entry["type"] == "reg").unwrap();
    entry["offset"].as_u64().unwrap()
}

#[test]
fn a_wrong_chunk_is_an_error_and_never_a_wrong_byte() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let Listed { layer, table } = plain(form);
        let served = served(std::slice::from_ref(&layer));
        let mount = served.mount();
        ls(mount.rootfs(""));
        spoil(&served, &layer.blob.digest, offset_of(&table, "noise/3") + 4000);
        assert_eq!(read_errno(mount.rootfs("noise/3")), libc::EIO, "{form:?}");
        assert_eq!(bytes(mount.rootfs("noise/0")), noise(10, NOISE));
        let problems = mount.problems();
        let told = problems.iter().any(|line| line.contains("noise/3") && line.contains(&layer.blob.digest));
        assert!(told, "{form:?}: {problems:?}");
        // What was wrong was not kept.
        served.proxy.rule(|_| Act::Pass);
        assert_eq!(bytes(mount.rootfs("noise/3")), noise(13, NOISE), "{form:?}");
    }
}

#[test]
fn a_damaged_part_is_fetched_anew() {
    let Listed { layer, table } = plain(Form::Stargz);
    let served = served(std::slice::from_ref(&layer));
    let cache = temp_dir();
    let options = ["--cache-dir", cache.path().to_str().unwrap()];
    let mount = Mount::with(served.proxy.image("app:v1"), &options);
    assert_eq!(bytes(mount.rootfs("noise/3")), noise(13, NOISE));
    drop(mount);
    let blobs = cache.join("blobs");
    let parts = ls(&blobs).into_iter().find(|name| name.starts_with(".parts-")).expect("parts are kept");
    let mut kept = bytes(blobs.join(&parts));
    for at in [offset_of(&table, "noise/3") as usize + 100, layer.blob.bytes.len() - 200] {
        kept[at] ^= 1;
    }
    fs::write(blobs.join(&parts), kept).unwrap();
    let mount = Mount::with(served.proxy.image("app:v1"), &options);
    assert_eq!(bytes(mount.rootfs("noise/3")), noise(13, NOISE));
    assert_eq!(mount.stat("layer_tables_total"), 1, "the table was fetched anew as well");
    assert_eq!(mount.problems(), [""; 0]);
}

/// Mounts an image of one such layer, and says whether its table was used. The tree is right either way.
#[track_caller]
fn used(layer: &Layer, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> (bool, Vec<String>) {
    let served = served(std::slice::from_ref(layer));
    served.proxy.rule(rule);
    let mount = served.mount();
    assert_eq!(text(mount.rootfs("etc/motd")), "welcome\n");
    assert_eq!(bytes(mount.rootfs("noise/5")), noise(15, NOISE));
    assert_eq!(mount.stat("layer_tables_total") + mount.stat("layer_passes_total"), 1);
    (mount.stat("layer_tables_total") == 1, mount.problems())
}

#[test]
fn a_table_that_is_of_no_use_costs_a_download_and_nothing_else() {
    let none: [&str; 0] = [];
    let says = |problems: &[String], what: &str| problems.len() == 1 && problems[0].contains(what);
    for form in [Form::Stargz, Form::ZstdChunked] {
        let good = plain(form).layer;
        assert_eq!(used(&good, |_| Act::Pass), (true, Vec::new()), "{form:?}");
        // Nothing is annotated.
        let bare = Layer { annotations: json!({}), ..good.clone() };
        assert_eq!(used(&bare, |_| Act::Pass), (false, Vec::new()), "{form:?}");
        // Another digest is annotated.
        let mut lying = good.clone();
        for (name, value) in lying.annotations.as_object_mut().unwrap() {
            if name.contains("digest") || name.contains("checksum") {
                *value = json!(format!("sha256:{}", "0".repeat(64)));
            }
        }
        let (is_used, problems) = used(&lying, |_| Act::Pass);
        assert!(!is_used && says(&problems, "annotation says sha256:0000"), "{form:?}: {problems:?}");
        // An entry that no tar has, a chunk without a digest, one that is too large, a name that is lost.
        for (name, value) in [
            ("type", json!("socket")),
            ("chunkDigest", json!("md5:1")),
            ("chunkOffset", json!(7)),
            ("offset", json!(u64::MAX)),
            ("size", json!(1_u64 << 60)),
            ("name", json!("etc/motd\u{fffd}")),
        ] {
            let change = |table: &mut Value| table["entries"][1][name] = value;
            let odd = listed(form, &everything(), CHUNK, change).layer;
            let (is_used, problems) = used(&odd, |_| Act::Pass);
            assert!(!is_used, "{form:?} {name}");
            assert_eq!(problems, none, "{form:?} {name}");
        }
    }
}

#[test]
fn a_registry_without_ranges_gives_the_whole_layer() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let layer = plain(form).layer;
        let served = served(std::slice::from_ref(&layer));
        served.proxy.rule(|asked| if asked.is_blob() { Act::Whole } else { Act::Pass });
        let mount = served.mount();
        assert_eq!(text(mount.rootfs("etc/motd")), "welcome\n");
        assert_eq!((mount.stat("layer_tables_total"), mount.stat("layer_passes_total")), (0, 1));
        assert_eq!(mount.problems(), [""; 0]);
        drop(mount);
        // It may stop giving ranges when the table is in use already.
        served.proxy.rule(|_| Act::Pass);
        let mount = served.mount();
        ls(mount.rootfs(""));
        served.proxy.rule(|asked| if asked.is_blob() { Act::Whole } else { Act::Pass });
        assert_eq!(bytes(mount.rootfs("noise/5")), noise(15, NOISE), "{form:?}");
        assert_eq!(mount.stat("layer_tables_total"), 1);
    }
}

#[test]
fn another_image_of_the_same_layer_has_a_table_of_its_own() {
    let honest = plain(Form::Stargz).layer;
    let registry = Registry::start();
    let bare = Layer { annotations: json!({}), ..honest.clone() };
    // The same blob twice in one image: by its table, and by nothing but its digest.
    let layout = Layout::of_layers(&[honest, bare]);
    registry.push(&layout, "v1", "app:v1", &[]);
    let mount = Mount::new(format!("docker://127.0.0.1:{}/app:v1", registry.port));
    assert_eq!(text(mount.diff(0, "etc/motd")), "welcome\n");
    assert_eq!((mount.stat("layer_tables_total"), mount.stat("layer_passes_total")), (1, 0));
    assert_eq!(text(mount.diff(1, "etc/motd")), "welcome\n");
    assert_eq!((mount.stat("layer_tables_total"), mount.stat("layer_passes_total")), (1, 1));
}

#[test]
fn a_table_that_lies_is_told_of_once_the_layer_is_here() {
    for form in [Form::Stargz, Form::ZstdChunked] {
        let lie = |table: &mut Value| table["entries"][2]["mode"] = json!(0o755);
        let layers = [plain(form).layer, listed(form, &everything(), CHUNK, lie).layer];
        let served = served(&layers);
        let cache = temp_dir();
        let options = ["--cache-dir", cache.path().to_str().unwrap()];
        let mount = Mount::with(served.proxy.image("app:v1"), &options);
        let mode = |mount: &Mount| fs::metadata(mount.diff(1, "etc/suid")).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode(&mount), mount.problems().len()),
            (0o755, 0),
            "{form:?}: who looks lazily sees the table"
        );
        for (n, layer) in layers.iter().enumerate() {
            bytes(mount.join(PLATFORM).join(format!("layers/{n}")));
            let kept = cache.join("blobs").join(layer.blob.digest.replace(':', "-"));
            assert!(wait_until(|| kept.exists()));
        }
        drop(mount);
        let mount = Mount::with(served.proxy.image("app:v1"), &options);
        assert_eq!(mode(&mount), 0o4755);
        ls(mount.diff(0, ""));
        let said = "its table of contents disagrees with its tar, at etc/suid";
        assert_eq!(mount.problems(), [format!("{PLATFORM}/diffs/1: {said}")]);
        let verified =
            run(Command::new(ocifs()).args(["verify", "--deep", "--no-cache"]).arg(served.layout.path()));
        let told = verified.stdout.matches(said).count() + verified.stderr.matches(said).count();
        assert_eq!(told, 1, "{form:?}: {}{}", verified.stdout, verified.stderr);
    }
}

#[test]
fn what_skopeo_writes_as_zstd_chunked_is_read() {
    let registry = Registry::start();
    let layout = Layout::of_layers(&[Layer::of(&everything())]);
    let from = format!("oci:{}:v1", layout.path().display());
    let to = format!("docker://127.0.0.1:{}/app:v1", registry.port);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-compress-format", "zstd:chunked"]);
    skopeo.args(["--dest-tls-verify=false", &from, &to]);
    run(&mut skopeo).ok();
    let proxy = Proxy::before(&registry);
    let mount = Mount::new(proxy.image("app:v1"));
    let local = Mount::new(layout.path());
    let [a, b] = [&mount, &local].map(|mount| seen(&mount.rootfs("")));
    same(&a, &b, "skopeo");
    assert_eq!((mount.stat("layer_tables_total"), mount.stat("layer_passes_total")), (1, 0));
    assert_eq!(mount.problems(), local.problems());
}
