//! Who speaks of an image in a registry: the referrers API, and the tags that stand in for it.

use crate::kit::{
    Act, Blob, Layout, Mount, Platform, Proxy, Registry, SIMPLE_SIGNING, Sample, annotate, list_errno, ls,
    media, named, short, tag_of, text,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");

const SPDX: &str = "https://spdx.dev/Document";

fn referrers(mount: &Mount) -> PathBuf {
    mount.join("platforms/linux-amd64/referrers")
}

/// The sample image in a registry, a proxy before it, and the entry of its manifest.
fn served() -> (Registry, Proxy, Layout, Value) {
    let (layout, Sample { manifest, .. }) = Layout::sample();
    let registry = Registry::start();
    registry.push(&layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    (registry, proxy, layout, manifest.descriptor(media::MANIFEST))
}

/// Sends one request to a registry, and returns the answer's head.
#[track_caller]
fn send(registry: &Registry, request: &str, body: &[u8]) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", registry.port)).unwrap();
    write!(connection, "{request}\r\nContent-Length: {}\r\n", body.len()).unwrap();
    write!(connection, "Host: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", registry.port).unwrap();
    connection.write_all(body).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{request}: {answer}");
    answer
}

/// Uploads a blob into the repository `app`.
fn put_blob(registry: &Registry, blob: &Blob) {
    let answer = send(registry, "POST /v2/app/blobs/uploads/ HTTP/1.1", b"");
    let place =
        answer.lines().find_map(|line| line.strip_prefix("Location: ")).expect("uploads have a place");
    let path = &place[place.find("/v2/").unwrap()..];
    let kind = "Content-Type: application/octet-stream";
    send(registry, &format!("PUT {path}&digest={} HTTP/1.1\r\n{kind}", blob.digest), &blob.bytes);
}

/// Uploads a manifest of a layout, its blobs before, under a tag or its digest.
fn put(registry: &Registry, layout: &Layout, entry: &Value, tag: &str) {
    let read = |entry: &Value| {
        let digest = entry["digest"].as_str().unwrap();
        Blob::of("sha256", fs::read(layout.path().join("blobs").join(digest.replace(':', "/"))).unwrap())
    };
    let manifest = read(entry);
    let document: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    for blob in document["layers"].as_array().into_iter().flatten().chain(document.get("config")) {
        put_blob(registry, &read(blob));
    }
    let kind = entry["mediaType"].as_str().unwrap();
    let path = format!("PUT /v2/app/manifests/{tag} HTTP/1.1\r\nContent-Type: {kind}");
    send(registry, &path, &manifest.bytes);
}

/// A referrers API: which page there is under which query, and where the next one is.
fn api(proxy: &Proxy, subject: &Value, pages: HashMap<String, (Vec<Value>, String)>) {
    let path = format!("/v2/app/referrers/{}", subject["digest"].as_str().unwrap());
    proxy.rule(move |asked| {
        let Some(query) = asked.target.strip_prefix(&path) else { return Act::Pass };
        let Some((entries, link)) = pages.get(query) else {
            return Act::Answer("404 Not Found".to_owned(), String::new());
        };
        let link = if link.is_empty() { String::new() } else { format!("\r\nLink: <{link}>; rel=\"next\"") };
        let body = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": entries}).to_string();
        Act::Answer(format!("200 OK\r\nContent-Type: {}{link}", media::INDEX), body)
    });
}

fn one_page(entries: Vec<Value>) -> HashMap<String, (Vec<Value>, String)> {
    HashMap::from([(String::new(), (entries, String::new()))])
}

#[test]
fn a_registry_without_the_api_has_tags() {
    let (registry, proxy, layout, image) = served();
    let sbom = layout.artifact("application/spdx+json").of(&image).file("sbom.json", "the sbom").entry();
    put(&registry, &layout, &sbom, sbom["digest"].as_str().unwrap());
    put(&registry, &layout, &layout.nested(std::slice::from_ref(&sbom)), &tag_of(&image));
    let signature = layout.artifact("").layer(SIMPLE_SIGNING, "signed", &[]).entry();
    put(&registry, &layout, &signature, &format!("{}.sig", tag_of(&image)));
    let mount = Mount::new(proxy.image("app:v1"));
    ls(mount.point());
    ls(mount.join("platforms/linux-amd64"));
    fs::metadata(referrers(&mount)).unwrap();
    let asked = proxy.take().0;
    assert!(
        asked.iter().all(|asked| !asked.target.contains("referrers") && !asked.target.contains("sha256-"))
    );
    let names = [format!("cosign.sig@{}", short(&signature)), format!("spdx+json@{}", short(&sbom))];
    assert_eq!(ls(referrers(&mount)), names);
    let asked = proxy.take().0;
    // The API, the fallback tag, three tags of cosign; and nothing that was found.
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(asked.iter().all(|asked| !asked.is_blob()));
    assert_eq!(ls(referrers(&mount).join(&names[1]).join("files")), ["sbom.json"]);
    assert_eq!(text(referrers(&mount).join(&names[1]).join("files/sbom.json")), "the sbom");
    assert_eq!(text(referrers(&mount).join(&names[0]).join("layers/0")), "signed");
    let asked = proxy.take().0;
    // One manifest (the other one was read under its tag), two blobs.
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(ls(mount.join("platforms/linux-amd64/attestations")), [""; 0]);
    assert_eq!(proxy.take().0.len(), 0, "the registry is asked once");
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn all_pages_of_the_api_are_read() {
    let (_registry, proxy, layout, image) = served();
    let entries: Vec<Value> =
        (0..3).map(|n| layout.artifact("application/x").of(&image).with("n", json!(n)).entry()).collect();
    let digest = image["digest"].as_str().unwrap();
    let absolute = format!("http://127.0.0.1:{}/v2/app/referrers/{digest}?n=1&last=b", proxy.port);
    let pages = HashMap::from([
        (String::new(), (vec![entries[0].clone()], format!("/v2/app/referrers/{digest}?n=1&last=a://x"))),
        ("?n=1&last=a://x".to_owned(), (vec![entries[1].clone(), json!(7)], absolute)),
        ("?n=1&last=b".to_owned(), (vec![entries[2].clone()], String::new())),
    ]);
    api(&proxy, &image, pages);
    let mount = Mount::new(proxy.image("app:v1"));
    let mut names: Vec<String> = entries.iter().map(|entry| format!("x@{}", short(entry))).collect();
    names.sort();
    assert_eq!(ls(referrers(&mount)), names);
    assert_eq!(mount.problems().len(), 1, "one entry was none");
}

#[test]
fn a_link_to_elsewhere_is_not_followed() {
    let (_registry, proxy, layout, image) = served();
    let entry = layout.artifact("application/x").of(&image).entry();
    for link in ["http://127.0.0.1:1/v2/x", "//127.0.0.1/x", "x"] {
        api(&proxy, &image, HashMap::from([(String::new(), (vec![entry.clone()], link.to_owned()))]));
        let mount = Mount::new(proxy.image("app:v1"));
        assert_eq!(list_errno(referrers(&mount)), libc::EIO, "{link}");
    }
    // Pages without end: the next one is the same.
    let again = format!("/v2/app/referrers/{}", image["digest"].as_str().unwrap());
    api(&proxy, &image, HashMap::from([(String::new(), (vec![entry.clone()], again))]));
    let mount = Mount::new(proxy.image("app:v1"));
    assert_eq!(ls(referrers(&mount)).len(), 1);
}

#[test]
fn what_the_registry_lists_is_asked_of_what_it_speaks() {
    let (registry, proxy, layout, image) = served();
    let other = layout.image(AMD64, "other");
    let of_other = layout.artifact("application/x").of(&other).entry();
    put(&registry, &layout, &of_other, of_other["digest"].as_str().unwrap());
    let missing = layout.artifact("application/y").of(&image).entry();
    let mut lying = layout.artifact("application/z").of(&image).file("t", "z").entry();
    put(&registry, &layout, &lying, lying["digest"].as_str().unwrap());
    lying["size"] = json!(lying["size"].as_u64().unwrap() + 1);
    api(&proxy, &image, one_page(vec![of_other, missing, lying]));
    let mount = Mount::new(proxy.image("app:v1"));
    let names = ls(referrers(&mount));
    assert_eq!(names.iter().map(|name| &name[..1]).collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(list_errno(referrers(&mount).join(&names[0])), libc::EIO);
    assert_eq!(list_errno(referrers(&mount).join(&names[1]).join("layers")), libc::ENODATA);
    assert_eq!(list_errno(referrers(&mount).join(&names[2])), libc::EIO);
    assert!(
        mount.problems().iter().any(|line| line.contains("listed as a referrer of")),
        "{:?}",
        mount.problems()
    );
}

/// A list of something else was shown for good, where it could not be read when its directory was first looked into.
#[test]
fn what_cannot_be_asked_now_is_asked_the_next_time() {
    let (registry, proxy, layout, _) = served();
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": []});
    let of_none = layout.json(&index).descriptor(media::INDEX);
    put(&registry, &layout, &of_none, of_none["digest"].as_str().unwrap());
    let digest = of_none["digest"].as_str().unwrap().to_owned();
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    proxy.rule(move |asked| match asked.target.contains("/referrers/") {
        true => Act::Answer("200 OK".to_owned(), json!({"manifests": [of_none]}).to_string()),
        false if asked.target.ends_with(&digest) && down.load(Ordering::SeqCst) => {
            Act::Answer("403 Forbidden".to_owned(), String::new())
        }
        false => Act::Pass,
    });
    let mount = Mount::new(proxy.image("app:v1"));
    let directory = referrers(&mount).join(ls(referrers(&mount)).remove(0));
    assert_eq!(list_errno(&directory), libc::EACCES);
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(list_errno(&directory), libc::EIO);
    assert!(mount.problems().iter().any(|line| line.contains("its own subject is none")));
}

#[test]
fn a_failing_registry_fails_only_who_asks_it() {
    let (_registry, proxy, layout, image) = served();
    let entry = layout.artifact("application/x").of(&image).entry();
    let digest = image["digest"].as_str().unwrap().to_owned();
    let down = Arc::new(AtomicBool::new(true));
    for (answer, errno) in [
        (Act::Answer("403 Forbidden".to_owned(), String::new()), libc::EACCES),
        (Act::Answer("418 Teapot".to_owned(), String::new()), libc::EIO),
        (Act::Hang, libc::ETIMEDOUT),
    ] {
        let (is_down, digest, entry) = (down.clone(), digest.clone(), entry.clone());
        down.store(true, Ordering::SeqCst);
        proxy.rule(move |asked| match asked.target.contains(&format!("/referrers/{digest}")) {
            true if is_down.load(Ordering::SeqCst) => answer.clone(),
            true => Act::Answer(
                "200 OK\r\nContent-Type: application/json".to_owned(),
                json!({"manifests": [entry]}).to_string(),
            ),
            false => Act::Pass,
        });
        let mount = Mount::with(proxy.image("app:v1"), &["--timeout=2"]);
        assert!(ls(mount.join("platforms/linux-amd64")).contains(&"referrers".to_owned()));
        assert_eq!(list_errno(referrers(&mount)), errno);
        assert_eq!(list_errno(mount.join("platforms/linux-amd64/attestations")), errno);
        assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n");
        down.store(false, Ordering::SeqCst);
        if errno == libc::ETIMEDOUT {
            // For a while nobody else is made to wait for referrers.
            std::thread::sleep(std::time::Duration::from_millis(5_200));
        }
        assert_eq!(ls(referrers(&mount)).len(), 1, "the next look asks again");
    }
}

#[test]
fn what_the_index_names_is_had_without_asking() {
    let layout = Layout::new();
    let image = layout.image(AMD64, "x");
    let sbom = layout.attestation(&image, &[(SPDX, "the sbom")]);
    layout.index(&[named(layout.nested(&[image.clone(), sbom.clone()]), "v1")]);
    let registry = Registry::start();
    for entry in [&image, &sbom] {
        put(&registry, &layout, entry, entry["digest"].as_str().unwrap());
    }
    put(&registry, &layout, &layout.nested(&[image, sbom]), "v1");
    let proxy = Proxy::before(&registry);
    proxy.rule(|asked| match asked.target.contains("/referrers/") {
        true => Act::Answer("418 Teapot".to_owned(), String::new()),
        false => Act::Pass,
    });
    let mount = Mount::new(proxy.image("app:v1"));
    let directory = mount.join("platforms/linux-amd64/attestations");
    assert_eq!(ls(&directory), ["spdx.json"]);
    assert_eq!(text(directory.join("spdx.json")), "the sbom");
    let problems = mount.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("platforms/linux-amd64/attestations: only what"), "{problems:?}");
}

#[test]
fn only_what_sounds_like_a_statement_is_read_for_statements() {
    let (registry, proxy, layout, image) = served();
    let bundle = layout
        .artifact("application/vnd.dev.sigstore.bundle.v0.3+json")
        .layer("application/vnd.dev.sigstore.bundle.v0.3+json", "bundle", &[("predicateType", SPDX)])
        .of(&image)
        .entry();
    put(&registry, &layout, &bundle, bundle["digest"].as_str().unwrap());
    let others = (0..40).map(|n| layout.artifact("application/x").of(&image).with("n", json!(n)).entry());
    let entries = std::iter::once(annotate(bundle, "note", "kept")).chain(others).collect();
    api(&proxy, &image, one_page(entries));
    let mount = Mount::new(proxy.image("app:v1"));
    ls(mount.join("platforms/linux-amd64"));
    proxy.take();
    assert_eq!(ls(mount.join("platforms/linux-amd64/attestations")), ["spdx.json"]);
    // The API, three tags, one manifest.
    assert_eq!(proxy.take().0.len(), 5);
    assert_eq!(ls(referrers(&mount)).len(), 41);
    assert_eq!(proxy.take().0.len(), 0);
}
