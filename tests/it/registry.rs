//! A registry read lazily: what is asked of it, what comes back, what is kept, and what happens when it fails.

use crate::kit::{
    Act, Blob, Layout, Mount, Platform, Proxy, Registry, bytes, gzip, ls, media, named, noise, read_errno,
    run, sha256, tar, temp_dir, text, wait_until,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const AMD64: Platform<'_> = Platform("linux", "amd64", "");
const ARM64: Platform<'_> = Platform("linux", "arm64", "");

/// Bytes in the one large file of each layer: more than is fetched in one piece.
const LARGE: usize = 1 << 20;

/// The content of the large file of a layer.
fn large(seed: u8) -> Vec<u8> {
    noise(seed.into(), LARGE)
}

/// An image of one platform with a large layer.
struct Single {
    layout: Layout,
    layer: Blob,
    config: Blob,
    manifest: Blob,
}

fn single() -> Single {
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("etc/motd", b"welcome\n"), ("noise", &large(1))])));
    let (config, manifest, entry) = layout.image_of(AMD64, std::slice::from_ref(&layer));
    layout.index(&[named(entry, "v1")]);
    Single { layout, layer, config, manifest }
}

/// An image of two platforms, one large layer each.
struct Multi {
    layout: Layout,
    index: String,
    layers: [Blob; 2],
}

fn multi() -> Multi {
    let layout = Layout::new();
    let mut number = 0;
    let layers = [AMD64, ARM64].map(|platform| {
        number += 1;
        let layer = layout.blob(gzip(&tar(&[("arch", platform.1.as_bytes()), ("noise", &large(number))])));
        (layout.image_of(platform, std::slice::from_ref(&layer)).2, layer)
    });
    let entries = layers.each_ref().map(|(entry, _)| entry.clone());
    let nested = layout.nested(&entries);
    let index = nested["digest"].as_str().unwrap().to_owned();
    layout.index(&[named(nested, "v1")]);
    Multi { layout, index, layers: layers.map(|(_, layer)| layer) }
}

/// A registry with the single image in it, and a proxy before it.
fn served() -> (Registry, Proxy, Single) {
    let (registry, image) = (Registry::start(), single());
    registry.push(&image.layout, "v1", "some/app:v1", &[]);
    let proxy = Proxy::before(&registry);
    (registry, proxy, image)
}

/// How often the blob was asked for.
fn asked_for(proxy: &Proxy, blob: &Blob) -> usize {
    proxy.take().0.iter().filter(|asked| asked.target.contains(&blob.digest)).count()
}

/// Waits until nothing unfinished is in a store: a reader has the last byte a moment before the blob has its name.
#[track_caller]
fn settled(store: &Path) {
    assert!(wait_until(|| ls(store).iter().all(|name| !name.starts_with('.'))), "{:?}", ls(store));
}

/// A mount that must be refused, and what it says.
#[track_caller]
fn refused(source: &str, options: &[&str], env: &[(&str, &Path)]) -> String {
    let directory = temp_dir();
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let mut command = Mount::command(&directory);
    let done = run(command.envs(env.iter().copied()).args(options).arg(source).arg(&point));
    assert_eq!(done.code(), 1, "{}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done.stderr
}

#[test]
fn an_image_is_the_tree_it_is_in_a_layout() {
    let (_registry, proxy, image) = served();
    let mount = Mount::new(proxy.image("some/app:v1"));
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n");
    assert_eq!(bytes(mount.join("platforms/linux-amd64/rootfs/noise")), large(1));
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/manifest.json")), image.manifest.bytes);
    let local = Mount::new(image.layout.path());
    for directory in [
        "",
        "platforms/linux-amd64",
        "platforms/linux-amd64/rootfs/etc",
        "blobs/sha256",
        "images",
        "platforms",
    ] {
        assert_eq!(ls(mount.join(directory)), ls(local.join(directory)), "{directory}");
    }
    assert_eq!(mount.problems(), [""; 0]);
}

#[test]
fn skopeo_takes_the_mount_for_a_layout() {
    let (_registry, proxy, image) = served();
    let mount = Mount::new(proxy.image("some/app:v1"));
    let copy = temp_dir();
    let from = format!("oci:{}:v1", mount.point().display());
    let to = format!("oci:{}:v1", copy.join("copy").display());
    let mut skopeo = Command::new("skopeo");
    let done = run(skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", &from, &to]));
    assert_eq!(done.code(), 0, "{}", done.stderr);
    for blob in [&image.layer, &image.manifest] {
        assert_eq!(bytes(copy.join("copy").join(blob.path())), blob.bytes);
    }
}

#[test]
fn looking_around_costs_a_few_small_requests() {
    let (registry, image) = (Registry::start(), multi());
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    let mount = Mount::new(proxy.image("app:v1"));
    assert!(text(mount.join("platforms/linux-arm64/config.json")).contains("arm64"));
    let (asked, sent) = proxy.take();
    assert!(asked.len() <= 5, "{asked:#?}");
    assert!(sent < 50_000, "{sent}");
    // A stat of everything, and every document: sizes come from descriptors.
    for platform in ["linux-amd64", "linux-arm64"] {
        let at = mount.join("platforms").join(platform);
        for name in ls(&at) {
            fs::symlink_metadata(at.join(name)).unwrap();
        }
        text(at.join("manifest.json"));
        assert!(fs::metadata(at.join("layers/0")).unwrap().size() > LARGE as u64);
        fs::metadata(at.join("diffs/0")).unwrap();
    }
    assert_eq!(ls(mount.join("blobs/sha256")).len(), 7, "an index, and three for each platform");
    nix::sys::statvfs::statvfs(mount.point()).unwrap();
    let (asked, sent) = proxy.take();
    let layer = asked.iter().find(|a| image.layers.iter().any(|layer| a.target.contains(&layer.digest)));
    assert!(layer.is_none() && sent < 50_000, "{asked:#?}");
    // One platform's tree does not fetch another's layers.
    assert_eq!(text(mount.join("platforms/linux-arm64/rootfs/arch")), "arm64");
    let (asked, _) = proxy.take();
    let of = |n: usize| asked.iter().filter(|a| a.target.contains(&image.layers[n].digest)).count();
    assert_eq!((of(0), of(1)), (0, 1), "{asked:#?}");
}

#[test]
fn what_was_fetched_is_there_for_the_next_mount_and_without_a_network() {
    let (mut registry, image) = (Registry::start(), multi());
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    let cache = temp_dir();
    let options = ["--cache-dir", cache.path().to_str().unwrap(), "--timeout", "5"];
    let arm = "platforms/linux-arm64";
    let mount = Mount::with(proxy.image("app:v1"), &options);
    assert_eq!(bytes(mount.join(arm).join("rootfs/noise")), large(2));
    proxy.take();
    let second = Mount::with(proxy.image("app:v1"), &options);
    assert_eq!(bytes(second.join(arm).join("rootfs/noise")), large(2));
    assert_eq!(bytes(second.join(arm).join("layers/0")), image.layers[1].bytes);
    let (asked, _) = proxy.take();
    assert_eq!(asked.len(), 1, "what the tag means, and nothing else: {asked:#?}");
    drop(second);
    registry.stop();
    proxy.rule(|_| Act::Cut(0));
    assert_eq!(bytes(mount.join(arm).join("layers/0")), image.layers[1].bytes, "read before");
    let start = Instant::now();
    assert_eq!(read_errno(mount.join("platforms/linux-amd64/layers/0")), libc::EIO, "never read");
    assert!(start.elapsed() < Duration::from_secs(15));
    drop(mount);
    let offline = Mount::with(proxy.image(&format!("app@{}", image.index)), &options);
    assert_eq!(bytes(offline.join(arm).join("rootfs/noise")), large(2));
    let store = cache.join("blobs");
    assert_eq!(fs::metadata(&store).unwrap().mode() & 0o7777, 0o700);
    settled(&store);
    for name in ls(&store) {
        let (algorithm, hex) = name.split_once('-').unwrap();
        assert_eq!(sha256(&bytes(store.join(&name))), format!("{algorithm}:{hex}"));
    }
    drop(offline);
    assert!(refused(&proxy.image("app:v1"), &options, &[]).contains("127.0.0.1"), "a tag is asked for");
}

#[test]
fn a_damaged_copy_is_fetched_anew() {
    let (_registry, proxy, image) = served();
    let cache = temp_dir();
    let options = ["--cache-dir", cache.path().to_str().unwrap()];
    let mount = Mount::with(proxy.image("some/app:v1"), &options);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
    drop(mount);
    let kept = cache.join("blobs").join(image.layer.digest.replace(':', "-"));
    let mut damaged = image.layer.bytes.clone();
    damaged[LARGE / 2] ^= 1;
    fs::write(&kept, damaged).unwrap();
    let mount = Mount::with(proxy.image("some/app:v1"), &options);
    // The kernel asks again when a page does not come, and by then the copy is gone.
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
}

#[test]
fn nothing_is_kept_when_nothing_is_to_be_kept() {
    let (_registry, proxy, image) = served();
    let directory = temp_dir();
    let mount = Mount::with_env(
        proxy.image("some/app:v1"),
        &["--no-cache"],
        &[("XDG_CACHE_HOME", directory.path()), ("TMPDIR", directory.path())],
    );
    assert_eq!(bytes(mount.join("platforms/linux-amd64/rootfs/noise")), large(1));
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
    assert_eq!(ls(directory.path()), [""; 0]);
    assert_eq!(asked_for(&proxy, &image.layer), 1);
}

/// An answer of status 401 that sends for a token.
fn wants_token(port: u16) -> Act {
    let realm = format!("http://127.0.0.1:{port}/token");
    Act::Answer(
        format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\",scope=\"x\""),
        String::new(),
    )
}

/// A file of credentials, for `127.0.0.1:port` (u, geheim).
fn auth_file(directory: &Path, port: u16) -> std::path::PathBuf {
    let path = directory.join("auth.json");
    fs::write(&path, format!(r#"{{"auths":{{"127.0.0.1:{port}":{{"auth":"dTpnZWhlaW0="}}}}}}"#)).unwrap();
    path
}

#[test]
fn a_token_is_fetched_once_and_told_to_the_registry_alone() {
    let (_registry, proxy, image) = served();
    let storage = Proxy::before(&_registry);
    let (port, storage_port) = (proxy.port, storage.port);
    let json = "200 OK\r\nContent-Type: application/json".to_owned();
    proxy.rule(move |asked| match asked.header("authorization") {
        _ if asked.target.starts_with("/token") => match asked.header("authorization") {
            Some("Basic dTpnZWhlaW0=") if asked.target.contains("scope=repository:some/app:pull") => {
                Act::Answer(json.clone(), r#"{"token":"good","expires_in":300}"#.to_owned())
            }
            _ => Act::Answer("401 Unauthorized".to_owned(), String::new()),
        },
        Some("Bearer good") if asked.is_blob() => Act::Answer(
            format!(
                "307 Temporary Redirect\r\nLocation: http://127.0.0.1:{storage_port}{}?signed",
                asked.target
            ),
            String::new(),
        ),
        Some("Bearer good") => Act::Pass,
        _ => wants_token(port),
    });
    let directory = temp_dir();
    let file = auth_file(directory.path(), port);
    let log = directory.join("log");
    let options = ["-vvv", "--log-file", log.to_str().unwrap()];
    let mount = Mount::with_env(proxy.image("some/app:v1"), &options, &[("REGISTRY_AUTH_FILE", &file)]);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
    let (asked, _) = proxy.take();
    assert_eq!(asked.iter().filter(|a| a.target.starts_with("/token")).count(), 1, "{asked:#?}");
    let (stored, _) = storage.take();
    assert!(!stored.is_empty());
    for asked in &stored {
        assert_eq!(asked.header("authorization"), None, "{asked:?}");
    }
    let log = text(&log);
    assert!(log.contains("127.0.0.1"), "the requests are logged");
    for secret in ["geheim", "dTpnZWhlaW0", "good", "?signed"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let nobody = directory.join("nobody.json");
    fs::write(&nobody, "{}").unwrap();
    let said = refused(&proxy.image("some/app:v1"), &[], &[("REGISTRY_AUTH_FILE", &nobody)]);
    assert!(said.contains("podman login 127.0.0.1") && said.contains("docker login"), "{said}");
}

#[test]
fn a_registry_with_passwords() {
    // As `htpasswd -nbBC 4 u geheim` writes it.
    let line = "u:$2y$04$qh3j48o5dWx73lxmLBn4b.KeOmXdgpAo0onXzcHbfcGt3x1XPA842\n";
    let registry = Registry::start_with("", |directory| {
        let file = directory.join("htpasswd");
        fs::write(&file, line).unwrap();
        format!("auth:\n  htpasswd: {{realm: here, path: {}}}\n", file.display())
    });
    let image = single();
    registry.push(&image.layout, "v1", "app:v1", &["--dest-creds", "u:geheim"]);
    let source = format!("docker://127.0.0.1:{}/app:v1", registry.port);
    let directory = temp_dir();
    let docker = directory.join("config.json");
    fs::rename(auth_file(directory.path(), registry.port), docker).unwrap();
    let (config, none) = (directory.path(), directory.join("none"));
    let known = [("DOCKER_CONFIG", config), ("XDG_RUNTIME_DIR", &none), ("XDG_CONFIG_HOME", &none)];
    let mount = Mount::with_env(&source, &[], &known);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/rootfs/noise")), large(1));
    let unknown = [("DOCKER_CONFIG", &*none), ("XDG_RUNTIME_DIR", &none), ("XDG_CONFIG_HOME", &none)];
    assert!(refused(&source, &[], &unknown).contains("podman login"));
    let helper = directory.join("docker-credential-ours");
    fs::write(&helper, "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"u\",\"Secret\":\"geheim\"}'\n")
        .unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(directory.join("config.json"), r#"{"auths":{},"credsStore":"ours"}"#).unwrap();
    let mut path = directory.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let helped = [known[0], known[1], known[2], ("PATH", Path::new(&path))];
    assert_eq!(
        text(Mount::with_env(&source, &[], &helped).join("platforms/linux-amd64/rootfs/etc/motd")),
        "welcome\n"
    );
}

#[test]
fn a_registry_with_a_certificate_of_its_own() {
    let directory = temp_dir();
    let (key, certificate) = (directory.join("key.pem"), directory.join("cert.pem"));
    let registry = Registry::with_certificate(&key, &certificate);
    let image = single();
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let source = format!("docker://127.0.0.1:{}/app:v1", registry.port);
    let said = refused(&source, &["--timeout", "5"], &[]);
    assert!(said.contains("--tls-ca"), "{said}");
    let mount = Mount::with(&source, &["--tls-ca", certificate.to_str().unwrap()]);
    assert_eq!(bytes(mount.join("platforms/linux-amd64/rootfs/noise")), large(1));
    let said = refused(&source, &["--tls-ca", key.to_str().unwrap()], &[]);
    assert!(said.contains("no certificate"), "{said}");
}

#[test]
fn what_breaks_off_is_resumed() {
    let (_registry, proxy, image) = served();
    proxy.rule(|asked| match asked.is_blob() {
        true if asked.before < 3 => Act::Cut(300_000),
        _ => Act::Pass,
    });
    let mount = Mount::new(proxy.image("some/app:v1"));
    assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes);
    let (asked, _) = proxy.take();
    let ranges: Vec<_> = asked
        .iter()
        .filter(|a| a.target.contains(&image.layer.digest))
        .map(|a| a.header("range").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ranges, ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]);
    assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n");
}

#[test]
fn who_is_turned_away_for_a_while_comes_back() {
    let (_registry, proxy, image) = served();
    proxy.rule(|asked| match asked.before {
        0 => Act::Answer("429 Too Many Requests\r\nRetry-After: 1".to_owned(), String::new()),
        1 => Act::Answer("503 Service Unavailable".to_owned(), String::new()),
        _ => Act::Pass,
    });
    let start = Instant::now();
    let mount = Mount::new(proxy.image("some/app:v1"));
    assert!(start.elapsed() > Duration::from_secs(1), "the registry said when");
    assert_eq!(bytes(mount.join("platforms/linux-amd64/rootfs/noise")), large(1));
    assert_eq!(asked_for(&proxy, &image.layer), 3);
}

#[test]
fn a_fault_is_an_errno_in_bounded_time_and_never_a_wrong_byte() {
    let (_registry, proxy, image) = served();
    let answer = |head: &str| Act::Answer(head.to_owned(), String::new());
    for (fault, expected) in [
        (answer("500 Internal Server Error"), libc::EIO),
        (answer("429 Too Many Requests\r\nRetry-After: 3600"), libc::EIO),
        (answer("404 Not Found"), libc::ENODATA),
        (answer("403 Forbidden"), libc::EACCES),
        (answer("307 Temporary Redirect\r\nLocation: /v2/"), libc::EIO),
        (answer("307 Temporary Redirect\r\nLocation: file:///etc/passwd"), libc::EIO),
        (answer("200 OK"), libc::EIO),
        (answer("204 No Content"), libc::EIO),
        (Act::Cut(0), libc::EIO),
        (Act::Flip(7), libc::EIO),
        (Act::Flip(LARGE / 2), libc::EIO),
        (Act::Length(100), libc::EIO),
        (Act::Length(-100), libc::EIO),
        (Act::Hang, libc::ETIMEDOUT),
        (Act::HangAfter(100_000), libc::ETIMEDOUT),
    ] {
        let digest = image.layer.digest.clone();
        let shown = format!("{fault:?}");
        let of_layer = fault.clone();
        proxy.rule(move |asked| match (asked.target.contains(&digest), &of_layer) {
            (true, Act::HangAfter(_)) if asked.header("range").is_some() => Act::Hang,
            (true, fault) => fault.clone(),
            _ => Act::Pass,
        });
        let mount = Mount::with(proxy.image("some/app:v1"), &["--timeout", "2"]);
        for path in ["platforms/linux-amd64/layers/0", "platforms/linux-amd64/rootfs/etc/motd"] {
            let start = Instant::now();
            assert_eq!(read_errno(mount.join(path)), expected, "{shown}: {path}");
            assert!(start.elapsed() < Duration::from_secs(8), "{shown}: {path}: {:?}", start.elapsed());
        }
        assert!(!mount.problems().is_empty(), "{shown}");
        assert!(
            text(mount.join("platforms/linux-amd64/config.json")).contains("amd64"),
            "{shown}: the rest is there"
        );
        // When it is over, it is over: nothing of the failure is remembered for long.
        proxy.rule(|_| Act::Pass);
        if expected == libc::ETIMEDOUT {
            std::thread::sleep(Duration::from_secs(5));
        }
        assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes, "{shown}");
        assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n", "{shown}");
    }
}

#[test]
fn documents_fail_as_layers_do() {
    let (registry, image) = (Registry::start(), multi());
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    for (fault, expected) in [
        (Act::Answer("404 Not Found".to_owned(), String::new()), libc::ENODATA),
        (Act::Answer("401 Unauthorized".to_owned(), String::new()), libc::EACCES),
        (Act::Flip(20), libc::EIO),
        (Act::Length(1), libc::EIO),
        (Act::Hang, libc::ETIMEDOUT),
    ] {
        let shown = format!("{fault:?}");
        let mount = Mount::with(proxy.image("app:v1"), &["--timeout", "2"]);
        proxy.rule(move |_| fault.clone());
        let path = mount.join("platforms/linux-arm64/manifest.json");
        let start = Instant::now();
        assert_eq!(read_errno(&path), expected, "{shown}");
        assert!(start.elapsed() < Duration::from_secs(8), "{shown}");
        proxy.rule(|_| Act::Pass);
        if expected == libc::ETIMEDOUT {
            std::thread::sleep(Duration::from_secs(5));
        }
        assert!(text(&path).contains("layers"), "{shown}");
        // That there is no such manifest is an answer, and stays one.
        if expected != libc::ENODATA {
            let config = text(mount.join("platforms/linux-arm64/config.json"));
            assert!(config.contains("arm64"), "{shown}");
        }
    }
}

/// The mount showed, and handed on in index.json, the platform of a configuration that was not the image's.
#[test]
fn a_configuration_that_came_damaged_names_no_platform() {
    let (_registry, proxy, image) = served();
    let digest = image.config.digest.clone();
    let at = image.config.bytes.windows(5).position(|word| word == b"amd64").unwrap();
    proxy.rule(move |asked| if asked.target.contains(&digest) { Act::Flip(at) } else { Act::Pass });
    let mount = Mount::new(proxy.image(&format!("some/app@{}", image.manifest.digest)));
    proxy.rule(|_| Act::Pass);
    assert_eq!(ls(mount.join("platforms")), ["linux-amd64"]);
    assert!(!text(mount.join("index.json")).contains("platform"), "{}", text(mount.join("index.json")));
    assert_eq!(mount.problems(), [""; 0]);
}

/// Until the next mount `blobs/` had files that are in no image, and not those that are.
#[test]
fn a_damaged_manifest_is_not_what_blobs_are_listed_by() {
    let (registry, image) = (Registry::start(), multi());
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    let mount = Mount::new(proxy.image("app:v1"));
    let (digest, top) = (image.layers[0].digest.clone(), image.index.clone());
    proxy.rule(move |asked| match asked.target.contains("/manifests/") && !asked.target.contains(&top) {
        true => Act::Flip(220),
        false => Act::Pass,
    });
    assert_eq!(fs::read_dir(mount.join("blobs/sha256")).unwrap_err().raw_os_error(), Some(libc::EIO));
    proxy.rule(|_| Act::Pass);
    let listed = ls(mount.join("blobs/sha256"));
    assert_eq!(listed, ls(Mount::new(image.layout.path()).join("blobs/sha256")));
    assert!(listed.contains(&digest["sha256:".len()..].to_owned()));
}

#[test]
fn an_interrupted_download_is_taken_up_by_the_next_mount() {
    let (_registry, proxy, image) = served();
    let cache = temp_dir();
    let options = ["--cache-dir", cache.path().to_str().unwrap(), "--timeout", "2"];
    let digest = image.layer.digest.clone();
    proxy.rule(move |asked| match asked.target.contains(&digest) {
        true if asked.header("range").is_some() => Act::Hang,
        true => Act::HangAfter(400_000),
        false => Act::Pass,
    });
    let mount = Mount::with(proxy.image("some/app:v1"), &options);
    assert_eq!(read_errno(mount.join("platforms/linux-amd64/layers/0")), libc::ETIMEDOUT);
    drop(mount);
    let blobs = cache.join("blobs");
    let unfinished: Vec<_> = ls(&blobs).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");
    let have = fs::metadata(blobs.join(&unfinished[0])).unwrap().len();
    assert!(have >= 400_000);
    // Torn by a crash: what is there is no good, and everything is fetched.
    for torn in [false, true] {
        if torn {
            fs::remove_file(blobs.join(image.layer.digest.replace(':', "-"))).unwrap();
            fs::write(blobs.join(&unfinished[0]), vec![7; 500_000]).unwrap();
        }
        proxy.rule(|_| Act::Pass);
        proxy.take();
        let mount = Mount::with(proxy.image("some/app:v1"), &options);
        assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes, "torn: {torn}");
        let (asked, _) = proxy.take();
        let layer: Vec<_> = asked.iter().filter(|a| a.target.contains(&image.layer.digest)).collect();
        let from = if torn { 500_000 } else { have };
        assert_eq!(layer[0].header("range"), Some(&*format!("bytes={from}-")), "torn: {torn}");
        assert_eq!(layer.len(), if torn { 2 } else { 1 });
        settled(&blobs);
    }
}

#[test]
fn two_mounts_may_fetch_the_same_blob() {
    let (_registry, proxy, image) = served();
    let cache = temp_dir();
    let options = ["--cache-dir", cache.path().to_str().unwrap()];
    let mounts = [(); 2].map(|()| Mount::with(proxy.image("some/app:v1"), &options));
    std::thread::scope(|scope| {
        for mount in &mounts {
            scope
                .spawn(|| assert_eq!(bytes(mount.join("platforms/linux-amd64/layers/0")), image.layer.bytes));
            scope
                .spawn(|| assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n"));
        }
    });
    assert!(asked_for(&proxy, &image.layer) <= 2);
    settled(&cache.join("blobs"));
}

#[test]
fn what_cannot_be_mounted_is_told_in_a_sentence() {
    let (_registry, proxy, image) = served();
    let (other, good) = (sha256(b"other"), image.manifest.digest.clone());
    let at = |name: &str| proxy.image(name);
    let says = |source: &str, word: &str| {
        let said = refused(source, &["--timeout", "2"], &[]);
        assert!(said.contains(word) && said.contains("docker://127.0.0.1"), "{source}: {said}");
    };
    says(&at("some/app:v2"), "v2");
    says(&at("some/other:v1"), "some/other");
    says(&at(&format!("some/app@{other}")), &other);
    says("docker://127.0.0.1:1/app", "127.0.0.1:1");
    proxy.rule(|_| Act::Flip(30));
    says(&at(&format!("some/app@{good}")), "hashes to");
    says(&at("some/app:v1"), "hashes to");
    proxy.rule(|_| {
        let head = "200 OK\r\nContent-Type: application/vnd.docker.distribution.manifest.v1+prettyjws";
        Act::Answer(head.to_owned(), r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned())
    });
    says(&at("some/app:v1"), "schema 1");
    proxy.rule(|_| Act::Answer("200 OK".to_owned(), "<html>welcome</html>".to_owned()));
    says(&at("some/app:v1"), "not JSON");
    proxy.rule(|_| Act::Hang);
    let start = Instant::now();
    says(&at("some/app:v1"), "does not answer");
    assert!(start.elapsed() < Duration::from_secs(8));
    let usage = run(Mount::command(&temp_dir()).args(["docker://127.0.0.1:1/A:b", "/mnt"]));
    assert_eq!(usage.code(), 2, "{}", usage.stderr);
}

#[test]
fn a_manifest_of_dockers_types_is_read_as_well() {
    let (registry, image) = (Registry::start(), single());
    registry.push(&image.layout, "v1", "app:v1", &[]);
    let mut skopeo = Command::new("skopeo");
    let port = registry.port;
    let (from, to) =
        (format!("docker://127.0.0.1:{port}/app:v1"), format!("docker://127.0.0.1:{port}/app:v2"));
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--format", "v2s2"]);
    skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false", &from, &to]);
    let done = run(&mut skopeo);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let mount = Mount::new(&to);
    assert!(
        text(mount.join("platforms/linux-amd64/manifest.json"))
            .contains("vnd.docker.distribution.manifest.v2+json")
    );
    assert_eq!(text(mount.join("platforms/linux-amd64/rootfs/etc/motd")), "welcome\n");
    assert!(media::MANIFEST.contains("oci"), "the other mount is of the other type");
}
