//! Archives made to do harm: nothing panics, nothing takes memory by what is claimed.

use super::*;

/// Looks at all of a source, whatever it answers.
fn look(bytes: &[u8]) {
    let Ok(source) = opened(bytes) else { return };
    let _ = source.index();
    let _ = source.oci_layout();
    let _ = source.problems();
    for (digest, _) in source.blobs().unwrap_or_default() {
        let Ok(blob) = open_blob(&*source, &digest) else { continue };
        for offset in [0, 1, 1000, blob.len().unwrap() / 2, blob.len().unwrap(), u64::MAX] {
            let mut buf = [0; 600];
            if let Ok(got) = blob.read_at(offset, &mut buf) {
                assert!(got <= buf.len());
            }
        }
    }
}

fn archives() -> [Vec<u8>; 2] {
    let blob = noise(700, 1);
    let manifest = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l1","l2","l3"]}]"#;
    let docker = Tar::default().file("c.json", r#"{"os":"linux"}"#).file("l1", noise(600, 2));
    let docker = docker.symlink("l2", "l1").file("l3", gzip(b"three")).file("manifest.json", manifest);
    let long = format!("{}/x", "long".repeat(40));
    let oci = layout(&[blob]).file(&long, "x").hardlink("y", "x").sparse("s", 9000, 100, b"sparse");
    [oci.end(), docker.end()]
}

#[test]
fn every_truncation() {
    for bytes in archives() {
        for len in (0..bytes.len()).step_by(111) {
            look(&bytes[..len]);
        }
        let packed = gzip(&bytes);
        for len in (0..packed.len()).step_by(29) {
            look(&packed[..len]);
        }
    }
}

#[test]
fn every_flipped_byte() {
    for bytes in archives() {
        for at in (0..bytes.len()).step_by(41) {
            for with in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= with;
                look(&bytes);
            }
        }
    }
}

#[test]
fn claimed_sizes_are_not_believed() {
    // A header that claims eight exabytes, in base 256, and nothing behind it.
    let huge = |name: &str| {
        let mut tar = Tar::default().file(name, "");
        tar.0[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0]);
        tar.0[148..156].fill(b' ');
        let sum: u32 = tar.0[..512].iter().map(|byte| u32::from(*byte)).sum();
        tar.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.0
    };
    refused(&huge("index.json"), Kind::Any, "and we read at most");
    refused(&huge("manifest.json"), Kind::Any, "and we read at most");
    let tar = layout(&[]);
    let source = opened(&[tar.0, huge(&blob_name(b"x"))].concat()).unwrap();
    assert_eq!(source.problems().len(), 1, "{:?}", source.problems());
    let blob = open_blob(&*source, &sha256(b"x")).unwrap();
    assert_eq!(blob.read_at(0, &mut [0; 100]).unwrap(), 0, "there is nothing to read");
    assert_eq!(blob.read_at(u64::MAX - 5, &mut [0; 100]).unwrap(), 0);

    // A layer that is one hole would be hashed for years.
    let manifest = r#"[{"Config":"c","Layers":["l"]}]"#;
    let tar = Tar::default().sparse("l", usize::MAX >> 2, 0, b"\x1f\x8b\x08").file("c", "{}");
    refused(&tar.file("manifest.json", manifest).end(), Kind::Any, "made of holes");
    // So would very many, each of which could be as large as the archive.
    let manifest = r#"[{"Config":"c","Layers":["0","1","2"]}]"#;
    let layers = |size: usize| {
        let tar = Tar::default().file("c", "{}").file("padding", noise(100_000, 1));
        let tar = (0..3).fold(tar, |tar, n| tar.sparse(&n.to_string(), size, 0, b"\x1f\x8b\x08"));
        tar.file("manifest.json", manifest).end()
    };
    refused(&layers(40_000), Kind::Any, "together larger than itself");
    opened(&layers(30_000)).unwrap();
}

#[test]
fn an_index_cut_short_is_refused() {
    let bytes = Tar::default().file("index.json", noise(5000, 1)).end();
    refused(&bytes[..2000], Kind::Any, "is cut short in the middle of index.json");
}

#[test]
fn limits_are_told() {
    let many = (0..70_000).map(|_| r#""l""#).collect::<Vec<_>>().join(",");
    let manifest = format!(r#"[{{"Config":"c","Layers":[{many}]}}]"#);
    refused(&Tar::default().file("manifest.json", manifest).end(), Kind::Any, "with 70000 layers");
    let named = |count: usize, name: &str, config: &str| {
        let names = format!("\"{name}\",").repeat(count);
        let manifest = format!(r#"[{{"Config":"c","RepoTags":[{}]}}]"#, names.trim_end_matches(','));
        Tar::default().file("c", config).file("manifest.json", manifest).end()
    };
    refused(&named(4_000_000, "a", "{}"), Kind::Any, "and 4000000 names");
    let long = format!(r#"{{"os":"linux","architecture":"{}"}}"#, "a".repeat(1 << 10));
    refused(&named(60_000, "a", &long), Kind::Any, "would make an index above");
    opened(&named(60_000, "a", "{}")).unwrap();
    let many = (0..10_001).map(|_| r#"{"Config":"c"}"#).collect::<Vec<_>>().join(",");
    let tar = Tar::default().file("c", "{}").file("manifest.json", format!("[{many}]"));
    refused(&tar.end(), Kind::Any, "names 10001 images");
    let big = vec![b' '; (16 << 20) + 1];
    refused(&Tar::default().file("manifest.json", big).end(), Kind::Any, "and we read at most");
    let config = vec![b' '; (4 << 20) + 1];
    let tar = Tar::default().file("c", config).file("manifest.json", r#"[{"Config":"c"}]"#);
    refused(&tar.end(), Kind::Any, "and we read at most");
    let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    refused(&Tar::default().file("manifest.json", deep).end(), Kind::Any, "image 0: is not an object");
}
