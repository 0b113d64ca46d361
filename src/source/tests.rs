//! Archives from literals: what is in them, and what becomes of the damaged and the hostile.

mod change;
mod docker;
mod hostile;
mod kit;

use super::*;
use kit::*;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// A layout of some blobs, as a directory.
fn directory(blobs: &[Vec<u8>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    std::fs::write(dir.path().join("index.json"), INDEX).unwrap();
    std::fs::write(dir.path().join("oci-layout"), "{}").unwrap();
    for blob in blobs {
        std::fs::write(dir.path().join(blob_name(blob)), blob).unwrap();
    }
    dir
}

fn layout(blobs: &[Vec<u8>]) -> Tar {
    let tar = Tar::default().file("index.json", INDEX).file("oci-layout", "{}");
    blobs.iter().fold(tar, |tar, blob| tar.file(&blob_name(blob), blob))
}

#[test]
fn an_archive_is_the_directory_it_was_made_of() {
    let blobs: Vec<_> = [0, 1, 511, 512, 513, 100_000, 1_500_000].map(|len| noise(len, len)).into();
    let dir = directory(&blobs);
    let expected = everything(&*open(dir.path(), Kind::Any, None).unwrap());
    assert_eq!(expected.2.len(), blobs.len());
    let dotted = blobs
        .iter()
        .rev()
        .fold(Tar::default().dir("./"), |tar, blob| tar.file(&format!("./{}", blob_name(blob)), blob));
    let dotted = dotted.dir("./blobs/").file("./oci-layout", "{}").file("./index.json", INDEX);
    let absolute =
        blobs.iter().fold(Tar::default(), |tar, blob| tar.file(&format!("/{}", blob_name(blob)), blob));
    let absolute = absolute.file("/index.json", INDEX).file("/oci-layout", "{}");
    let unended = Tar(layout(&blobs).0);
    for (how, bytes) in [
        ("as it is", layout(&blobs).end()),
        ("dotted, last first", dotted.end()),
        ("absolute", absolute.end()),
        ("without an end", unended.0),
    ] {
        for (packing, bytes) in packings(&bytes) {
            for kind in [Kind::Any, Kind::LayoutTar] {
                let got = everything(&*opened_as(&bytes, kind).unwrap());
                assert!(got == expected, "{how}, {packing}");
            }
        }
    }
}

#[test]
fn a_member_reads_the_same_anywhere() {
    let blob = noise(1_200_000, 7);
    for (packing, bytes) in packings(&layout(std::slice::from_ref(&blob)).end()) {
        let source = opened(&bytes).unwrap();
        let open = open_blob(&*source, &sha256(&blob)).unwrap();
        for offset in [0, 1, 524_287, 600_000, 1_199_999, 1_200_000, 2_000_000] {
            for want in [0, 1, 1000, 600_000] {
                let mut buf = vec![0xaa; want];
                let got = open.read_at(offset as u64, &mut buf).unwrap();
                let from = offset.min(blob.len());
                assert!(buf[..got] == blob[from..blob.len().min(from + want)], "{packing} {offset} {want}");
            }
        }
        assert_eq!(open.read_at(u64::MAX, &mut [0]).unwrap(), 0);
    }
}

#[test]
fn sparse_members_are_whole() {
    let mut blob = vec![0; 300_000];
    blob[100_000..100_600].copy_from_slice(&noise(600, 1));
    let tar = Tar::default().file("index.json", INDEX);
    let tar = tar.sparse(&blob_name(&blob), blob.len(), 100_000, &noise(600, 1)).end();
    for (packing, bytes) in packings(&tar) {
        let source = opened(&bytes).unwrap();
        assert!(read(&*source, &sha256(&blob)).unwrap() == blob, "{packing}");
        let open = open_blob(&*source, &sha256(&blob)).unwrap();
        for (offset, want) in [(0, 10), (99_990, 20), (100_100, 50), (100_590, 20), (200_000, 200_000)] {
            let mut buf = vec![0xaa; want];
            let got = open.read_at(offset as u64, &mut buf).unwrap();
            assert!(buf[..got] == blob[offset..blob.len().min(offset + want)], "{packing} {offset}");
        }
    }
}

/// Checks what is found under the name of the blob `hello`.
#[track_caller]
fn check_hello(tar: Tar, expected: Result<&str, &str>) {
    let source = opened(&tar.file("index.json", INDEX).end()).unwrap();
    let got = read(&*source, &sha256(b"hello")).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(got.as_deref().map_err(ToString::to_string), expected.map_err(str::to_owned));
}

#[test]
fn links_are_followed_inside_the_archive() {
    let absent = Err("not in this source");
    let name = blob_name(b"hello");
    let tar = || Tar::default().file("stash/x", "hello");
    check_hello(tar().symlink(&name, "../../stash/x"), Ok("hello"));
    check_hello(
        tar().symlink("blobs/sha256", "../b").symlink(&name.replace("blobs/sha256", "b"), "../stash/x"),
        Ok("hello"),
    );
    check_hello(tar().hardlink(&name, "./stash/x"), Ok("hello"));
    check_hello(tar().hardlink("y", "stash/x").symlink(&name, ".././../y"), Ok("hello"));
    check_hello(tar().symlink(&name, "/stash/x"), absent);
    check_hello(tar().symlink(&name, "../../../stash/x"), absent);
    check_hello(tar().symlink(&name, "../../stash/y"), absent);
    check_hello(tar().symlink(&name, "../../stash/x/"), Ok("hello"));
    check_hello(tar().symlink(&name, "../../stash/x/y"), absent);
    check_hello(tar().symlink(&name, "../../stash"), absent);
    check_hello(tar().symlink(&name, &name), absent);
    check_hello(
        tar()
            .symlink(&name, "a")
            .symlink(&name.replace(sha256(b"hello").encoded(), "a"), sha256(b"hello").encoded()),
        absent,
    );
    check_hello(tar().hardlink(&name, &name), absent);
    check_hello(tar().dir(&name), Err("is a directory, not a regular file"));
    check_hello(tar().file(&format!("../{name}"), "hello"), absent);
}

#[test]
fn the_last_of_one_name_counts() {
    let name = blob_name(b"hello");
    check_hello(Tar::default().file(&name, "first").file(&name, "hello"), Ok("hello"));
    check_hello(Tar::default().file(&name, "first").file(&format!("./{name}"), "hello"), Ok("hello"));
    check_hello(Tar::default().file(&name, "hello").dir(&name), Err("is a directory, not a regular file"));
    check_hello(Tar::default().symlink(&name, "nowhere").file(&name, "hello"), Ok("hello"));
}

#[test]
fn what_lies_around_is_no_blob() {
    let tar = layout(&[b"hello".to_vec()]).file("blobs/sha256/.DS_Store", "x").file("blobs/x", "y");
    let tar = tar.file("blobs/sha256/._abc", "").dir("blobs/sha256/").file("blobs/", "");
    let blobs = opened(&tar.end()).unwrap().blobs().unwrap();
    assert_eq!(blobs, [(sha256(b"hello"), 5)]);
}

#[test]
fn what_is_no_image_is_refused_in_a_sentence() {
    let one = |name: &str| Tar::default().file(name, "{}").end();
    let any = Kind::Any;
    refused(b"", any, "is empty");
    refused(b"hello", any, "is no tar archive");
    refused(&noise(5000, 3), any, "is no tar archive");
    refused(&gzip(b"hello, hello, hello"), any, "is no tar archive");
    refused(&gzip(&one("index.json"))[..60], any, "cannot be decompressed");
    refused(&[0; 10240], any, "is an empty archive");
    refused(&one("a"), any, "archive of something else");
    refused(&one("layout/index.json"), any, "not at its top");
    refused(&one("repositories"), any, "before version 1.10");
    refused(&Tar::default().file("ab/json", "{}").file("ab/layer.tar", "").end(), any, "before version 1.10");
    refused(&one("index.json"), Kind::DockerArchive(None), "say `oci-archive:`");
    refused(&one("manifest.json"), Kind::LayoutTar, "say `docker-archive:`");
    refused(&one("index.json"), Kind::LayoutDir, "say `oci-archive:`");
    refused(&Tar::default().dir("index.json").end(), any, "its index.json is a directory");
    refused(
        &Tar::default().symlink("index.json", "/etc/passwd").end(),
        any,
        "its index.json not in this source",
    );
    let dir = tempfile::tempdir().unwrap();
    for kind in [Kind::LayoutTar, Kind::DockerArchive(None)] {
        assert!(open(dir.path(), kind, None).is_err_and(|e| e.to_string().contains("is a directory")));
    }
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(open(&fifo, any, None).is_err_and(|e| e.to_string().contains("neither a directory nor")));
    assert!(open(&dir.path().join("x"), any, None).is_err_and(|e| e.to_string().contains("no such file")));
}
