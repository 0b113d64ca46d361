//! A registry's image over time: what it costs in file descriptors, room, waiting and connections.

use crate::kit::{
    Act, Blob, Form, Layer, Layout, Member, Mount, PLATFORM, Platform, Proxy, Registry, bytes, gzip, listed,
    ls, named, noise, read_errno, tar, temp_dir, text, wait_until,
};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A registry with an image of so many layers, each of 512 KiB: more than is fetched in one piece.
fn served(layers: u64) -> (Registry, Proxy, Vec<Blob>) {
    let (registry, layout) = (Registry::start(), Layout::new());
    let layer = |n| layout.blob(gzip(&tar(&[(&format!("file{n}"), &noise(n, 512 << 10))])));
    let layers: Vec<Blob> = (0..layers).map(layer).collect();
    let (_, _, entry) = layout.image_of(Platform("linux", "amd64", ""), &layers);
    layout.index(&[named(entry, "v1")]);
    registry.push(&layout, "v1", "app:v1", &[]);
    let proxy = Proxy::before(&registry);
    (registry, proxy, layers)
}

/// Puts an image into a registry whose one layer is read in parts.
fn in_parts(registry: &Registry, name: &str) -> Layer {
    let mut members: Vec<Member> =
        (0..8).map(|n| Member::file(format!("noise/{n}"), noise(n, 400 << 10))).collect();
    members.push(Member::empty(".no.prefetch.landmark"));
    let layer = listed(Form::Stargz, &members, 256 << 10, |_| {}).layer;
    let layout = Layout::of_layers(std::slice::from_ref(&layer));
    registry.push(&layout, "v1", name, &[]);
    layer
}

/// What the daemon has open of its blobs.
fn open_blobs(mount: &Mount) -> Vec<PathBuf> {
    let directory = format!("/proc/{}/fd", mount.daemon());
    let links = ls(&directory).into_iter().filter_map(|fd| fs::read_link(format!("{directory}/{fd}")).ok());
    let mut open: Vec<PathBuf> = links.filter(|path| path.to_string_lossy().contains("/blobs/")).collect();
    open.sort();
    open
}

/// Each download that had ended kept a second descriptor, until there were none left.
#[test]
fn a_blob_that_was_downloaded_is_open_once() {
    let (_registry, proxy, layers) = served(6);
    let mount = Mount::new(proxy.image("app:v1"));
    for (n, layer) in layers.iter().enumerate() {
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/layers/{n}"))), layer.bytes);
    }
    let downloaded = |open: &[PathBuf]| {
        let of =
            |layer: &Blob| open.iter().filter(|path| path.to_string_lossy().contains(layer.hex())).count();
        layers.iter().map(of).collect::<Vec<_>>()
    };
    // The last reader has its bytes a moment before the download has ended.
    assert!(wait_until(|| downloaded(&open_blobs(&mount)) == [1; 6]), "{:#?}", open_blobs(&mount));
}

#[test]
fn parts_of_a_blob_go_when_it_is_whole() {
    let registry = Registry::start();
    let layer = in_parts(&registry, "app:v1");
    let proxy = Proxy::before(&registry);
    let mount = Mount::new(proxy.image("app:v1"));
    assert_eq!(bytes(mount.join(format!("{PLATFORM}/rootfs/noise/1"))), noise(1, 400 << 10));
    let in_parts =
        || open_blobs(&mount).iter().filter(|path| path.to_string_lossy().contains(".parts-")).count();
    assert_eq!(in_parts(), 1);
    assert_eq!(bytes(mount.join(format!("{PLATFORM}/layers/0"))), layer.blob.bytes);
    assert_eq!(bytes(mount.join(format!("{PLATFORM}/rootfs/noise/2"))), noise(2, 400 << 10));
    // What was being decoded ahead may have been open still.
    assert!(wait_until(|| in_parts() == 0), "{:#?}", open_blobs(&mount));
    assert!(text(mount.join(".ocifs/stats")).contains("layers"), "it is still served");
}

/// Every blob above 256 KiB was an EIO.
#[test]
fn without_a_usable_cache_directory_an_image_is_there_all_the_same() {
    let (_registry, proxy, layers) = served(2);
    let directory = temp_dir();
    let (file, log) = (directory.join("file"), directory.join("log"));
    fs::write(&file, "no directory").unwrap();
    let cache = file.join("cache");
    let options = ["--cache-dir", cache.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let mount = Mount::with(proxy.image("app:v1"), &options);
    for (n, layer) in layers.iter().enumerate() {
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/layers/{n}"))), layer.bytes);
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/rootfs/file{n}"))), noise(n as u64, 512 << 10));
    }
    let asked = proxy.take().0.iter().filter(|asked| asked.target.contains(&layers[0].digest)).count();
    assert_eq!(asked, 1, "it is kept all the same");
    assert_eq!(text(&log).matches("blobs cannot be kept").count(), 1, "{}", text(&log));
}

/// Reads a file of the platform, which is to end in ETIMEDOUT before `most` has passed.
#[track_caller]
fn times_out(mount: &Mount, file: &str, most: Duration) {
    let start = Instant::now();
    assert_eq!(read_errno(mount.join(PLATFORM).join(file)), libc::ETIMEDOUT);
    assert!(start.elapsed() < most, "{:?}", start.elapsed());
}

/// A reader waited, and held one of the few places for passes over layers, for as long as a registry kept trickling.
#[test]
fn a_trickle_is_as_good_as_silence() {
    let (_registry, proxy, layers) = served(1);
    let digest = layers[0].digest.clone();
    proxy.rule(move |asked| match asked.target.contains(&digest) {
        true => Act::Trickle(4800),
        false => Act::Pass,
    });
    let mount = Mount::with(proxy.image("app:v1"), &["--timeout", "4"]);
    times_out(&mount, "rootfs/file0", Duration::from_secs(20));
}

/// The time limit began anew with each redirect, each token and each try.
#[test]
fn all_steps_before_a_body_share_one_time_limit() {
    let (_registry, proxy, layers) = served(1);
    let (digest, port) = (layers[0].digest.clone(), proxy.port);
    proxy.rule(move |asked| {
        if !asked.target.contains(&digest) {
            return Act::Pass;
        }
        std::thread::sleep(Duration::from_millis(900));
        let (path, hops) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let to = format!("http://127.0.0.1:{port}{path}?{hops}x");
        match hops.len() {
            0..5 => Act::Answer(format!("307 Temporary Redirect\r\nLocation: {to}"), String::new()),
            _ => Act::Pass,
        }
    });
    let mount = Mount::with(proxy.image("app:v1"), &["--timeout", "3"]);
    times_out(&mount, "layers/0", Duration::from_millis(4500));
}

/// The roots were read at the first request, which may come when the files can be opened no more.
#[test]
fn tls_roots_are_read_before_the_cage_closes() {
    let directory = temp_dir();
    let (key, certificate) = (directory.join("key.pem"), directory.join("cert.pem"));
    let registry = Registry::with_certificate(&key, &certificate);
    let layout = Layout::new();
    let layer = layout.blob(gzip(&tar(&[("file", b"content")])));
    let (_, manifest, entry) = layout.image_of(Platform("linux", "amd64", ""), std::slice::from_ref(&layer));
    layout.index(&[named(entry, "v1")]);
    registry.push(&layout, "v1", "app:v1", &[]);
    let cache = directory.join("cache");
    let options = ["--cache-dir", cache.to_str().unwrap()];
    let image = format!("docker://127.0.0.1:{}/app@{}", registry.port, manifest.digest);
    let system: &[(&str, &Path)] = &[("SSL_CERT_FILE", &certificate)];
    drop(Mount::with_env(&image, &options, system));
    // Nobody is asked for anything: all of it is in the store.
    let mount = Mount::with_env(&image, &options, system);
    fs::remove_file(&certificate).unwrap();
    assert_eq!(bytes(mount.join(format!("{PLATFORM}/layers/0"))), layer.bytes);
}

/// Passes bytes on to a registry, and counts the connections.
fn wire(registry: &Registry) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (own, port) = (listener.local_addr().unwrap().port(), registry.port);
    let made = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&made);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            counted.fetch_add(1, SeqCst);
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    (own, made)
}

/// Each blob, and each part of one, had a connection of its own.
#[test]
fn a_connection_serves_one_blob_after_the_other() {
    let (registry, _, layers) = served(8);
    let (port, made) = wire(&registry);
    let mount = Mount::new(format!("docker://127.0.0.1:{port}/app:v1"));
    for (n, layer) in layers.iter().enumerate() {
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/layers/{n}"))), layer.bytes);
    }
    // The next blob may be asked for a moment before the last one's connection is back.
    assert!(made.load(SeqCst) <= 4, "{made:?} for {} layers", layers.len());
    in_parts(&registry, "parts:v1");
    let mount = Mount::new(format!("docker://127.0.0.1:{port}/parts:v1"));
    let before = made.load(SeqCst);
    for n in 0..8 {
        assert_eq!(bytes(mount.join(format!("{PLATFORM}/rootfs/noise/{n}"))), noise(n, 400 << 10));
    }
    let stats = text(mount.join(".ocifs/stats"));
    let requests = stats.lines().find_map(|line| line.strip_prefix("ocifs_part_requests_total ")).unwrap();
    // How many there are is the kernel's readahead's choice, and that of decoding ahead.
    assert!(requests.parse::<usize>().unwrap() >= 4, "{requests}");
    assert!(made.load(SeqCst) - before <= 2, "{made:?}, {before} of them before, for {requests} requests");
}
