//! Archives that change, and what is remembered of them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::*;

fn blob() -> Vec<u8> {
    noise(3_000_000, 5)
}

#[test]
fn a_change_is_told_when_a_blob_is_opened() {
    let bytes = layout(&[blob()]).end();
    for (packing, bytes) in packings(&bytes) {
        let place = Place::new();
        let source = open(&place.write(&bytes), Kind::Any, None).unwrap();
        let file = File::options().write(true).open(place.path()).unwrap();
        let mtime = file.metadata().unwrap().modified().unwrap();
        let digest = sha256(&blob());
        let says = |what: &str| match open_blob(&*source, &digest) {
            Err(SourceError::Io(e)) => assert!(e.to_string().contains("was written to"), "{e}"),
            _ => panic!("{packing}: {what} and nothing is said"),
        };
        assert!(open_blob(&*source, &digest).is_ok());
        file.set_len(bytes.len() as u64 + 1).unwrap();
        file.set_modified(mtime).unwrap();
        says("grown");
        file.set_len(bytes.len() as u64 - 1).unwrap();
        file.set_modified(mtime).unwrap();
        says("shrunk");
        std::fs::write(place.path(), &bytes).unwrap();
        file.set_modified(mtime + std::time::Duration::from_nanos(1)).unwrap();
        says("touched");
        file.set_modified(mtime).unwrap();
        assert!(open_blob(&*source, &digest).is_ok(), "as it was");
        // Another file of the name is another file: the one that was mounted is held.
        std::fs::rename(place.write(&bytes), place.dir.path().join("elsewhere")).unwrap();
        file.set_modified(mtime).unwrap();
        place.write(b"something else");
        assert!(read(&*source, &digest).unwrap() == blob(), "{packing}");
        assert_eq!(source.index().unwrap(), INDEX.as_bytes());
    }
}

/// Changes one byte in the middle of the file and puts its time back.
fn change_unseen(place: &Place) {
    let file = File::options().read(true).write(true).open(place.path()).unwrap();
    let (mtime, middle) = (file.metadata().unwrap().modified().unwrap(), file.metadata().unwrap().len() / 2);
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
    file.set_modified(mtime).unwrap();
}

#[test]
fn a_compressed_archive_changed_unseen_gives_no_other_bytes() {
    for (packing, bytes) in packings(&layout(&[blob()]).end()).into_iter().skip(1) {
        let place = Place::new();
        let source = open(&place.write(&bytes), Kind::Any, None).unwrap();
        change_unseen(&place);
        let open = open_blob(&*source, &sha256(&blob())).unwrap();
        let mut failed = 0;
        for at in (0..3_000_000).step_by(100_000) {
            let mut buf = vec![0; 100_000];
            match open.read_at(at as u64, &mut buf) {
                Ok(_) => assert!(buf == blob()[at..at + 100_000], "{packing}: other bytes at {at}"),
                Err(_) => failed += 1,
            }
        }
        assert!(failed > 0, "{packing}");
    }
}

fn archive_files(place: &Place) -> Vec<std::path::PathBuf> {
    let dir = std::fs::read_dir(place.dir.path().join("cache/index")).into_iter().flatten();
    dir.map(|entry| entry.unwrap().path()).collect()
}

fn is_remembered(place: &Place) -> bool {
    Archive::open(&place.path(), Some(&place.cache()), true).unwrap().is_remembered()
}

#[test]
fn what_took_a_pass_is_remembered() {
    for (n, (packing, bytes)) in packings(&layout(&[blob()]).end()).into_iter().enumerate() {
        let place = Place::new();
        place.write(&bytes);
        let first = everything(&*open(&place.path(), Kind::Any, Some(&place.cache())).unwrap());
        assert_eq!(archive_files(&place).len(), usize::from(n > 0), "{packing}");
        assert_eq!(is_remembered(&place), n > 0, "{packing}");
        let again = everything(&*open(&place.path(), Kind::Any, Some(&place.cache())).unwrap());
        assert!(first == again, "{packing}");
        for path in archive_files(&place) {
            let mut file = std::fs::read(&path).unwrap();
            let middle = file.len() / 2;
            file[middle] ^= 1;
            std::fs::write(&path, file).unwrap();
            assert!(!is_remembered(&place), "{packing}: damaged");
            std::fs::write(&path, "").unwrap();
            assert!(!is_remembered(&place), "{packing}: empty");
        }
    }
}

#[test]
fn a_digest_is_taken_once() {
    let layer = gzip(&noise(100_000, 9));
    let manifest = r#"[{"Config":"c","Layers":["l"]}]"#;
    let bytes = Tar::default().file("l", &layer).file("c", "{}").file("manifest.json", manifest).end();
    for (packing, bytes) in packings(&bytes) {
        let place = Place::new();
        place.write(&bytes);
        let first = everything(&*open(&place.path(), Kind::Any, Some(&place.cache())).unwrap());
        assert!(is_remembered(&place), "{packing}");
        let again = everything(&*open(&place.path(), Kind::Any, Some(&place.cache())).unwrap());
        assert!(first == again, "{packing}");
        assert!(first.2.iter().any(|(digest, _)| *digest == sha256(&layer)), "{packing}");
    }
}

/// A layer whose digest was remembered of other bytes could not be read at any later mount.
#[test]
fn a_digest_that_is_true_no_more_is_forgotten() {
    let tar = Tar::default().file("c", "{}").file("l", gzip(&noise(300_000, 9))).file("d", noise(100_000, 1));
    let place = Place::new();
    place.write(&tar.file("manifest.json", r#"[{"Config":"c","Layers":["l"]}]"#).end());
    let docker = || open(&place.path(), Kind::Any, Some(&place.cache())).unwrap();
    let wrong = || {
        let source = docker();
        let digests = source.blobs().unwrap().into_iter().map(|(digest, _)| digest);
        let wrong: Vec<_> =
            digests.filter(|digest| sha256(&read(&*source, digest).unwrap()) != *digest).collect();
        wrong.iter().for_each(|digest| source.distrust(digest));
        wrong.len()
    };
    assert_eq!(wrong(), 0);
    docker().distrust(&sha256(b"{}"));
    assert!(is_remembered(&place), "a digest that nobody took says nothing about what is remembered");
    change_unseen(&place);
    assert_eq!((wrong(), wrong()), (1, 0));
}

#[test]
fn what_is_remembered_wrongly_is_found_out_and_forgotten() {
    // The first and the last 64 KiB are looked at each time: the index is to lie elsewhere. Noise is stored by zstd as
    // it is, and without a checksum at the end, so that the two archives differ in the index alone.
    let archive = |index: &str| {
        let tar = Tar::default()
            .file("a", noise(1 << 20, 1))
            .file("index.json", index)
            .file("b", noise(1 << 20, 2));
        zstd::bulk::compress(&tar.end(), 1).unwrap()
    };
    let place = Place::new();
    place.write(&archive(INDEX));
    let before = open(&place.path(), Kind::Any, Some(&place.cache())).unwrap();
    assert_eq!(before.index().unwrap(), INDEX.as_bytes());
    drop(before);
    let mtime = std::fs::metadata(place.path()).unwrap().modified().unwrap();
    let other = INDEX.replace('2', "3");
    place.write(&archive(&other));
    File::options().write(true).open(place.path()).unwrap().set_modified(mtime).unwrap();
    assert!(is_remembered(&place), "the file looks as it did");
    let after = open(&place.path(), Kind::Any, Some(&place.cache())).unwrap();
    assert_eq!(after.index().unwrap(), other.as_bytes(), "read anew, neither refused nor as it was");
    assert!(is_remembered(&place));
}
