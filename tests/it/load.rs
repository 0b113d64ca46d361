//! Large and hostile layers: what is not of them stays quick, memory stays bounded, one pass serves all.

use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, Random, archive, gzip, list_errno, ls, media, named, run_for,
    sha256,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Packs and hashes what is written.
struct Packer(Sha256, GzEncoder<Vec<u8>>);

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// Packs a tar that is too large to be held twice.
fn streamed(write: impl FnOnce(&mut dyn Write)) -> Layer {
    let mut packer = Packer(Sha256::new(), GzEncoder::new(Vec::new(), Compression::fast()));
    write(&mut packer);
    packer.write_all(&[0; 1024]).unwrap();
    let Packer(hasher, encoder) = packer;
    let diff_id: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Layer::raw(encoder.finish().unwrap(), media::LAYER, &format!("sha256:{diff_id}"))
}

/// The members alone, without the archive's end.
fn members(members: &[Member]) -> Vec<u8> {
    let mut tar = archive(members);
    tar.truncate(tar.len() - 1024);
    tar
}

/// Some 300 MB of words that compress as text does.
fn slow() -> Layer {
    streamed(|out| {
        let mut random = Random::new(0);
        let words: Vec<String> =
            (0..4096).map(|n: u32| format!("{:x} ", n.wrapping_mul(0x9e37_79b1) >> 7)).collect();
        for number in 0..75 {
            let mut text = Vec::with_capacity(4 << 20);
            while text.len() < 4 << 20 {
                text.extend_from_slice(words[random.below(words.len())].as_bytes());
            }
            out.write_all(&members(&[Member::file(format!("text{number}"), text)])).unwrap();
        }
    })
}

#[test]
fn nothing_else_waits_for_a_pass_and_lookers_share_it() {
    let layers = [slow(), Layer::of(&[Member::file("beside", "x")])];
    let layout = Layout::of_layers(&layers);
    let mount = Mount::new(layout.path());
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (mut longest, mut looks) = (Duration::ZERO, 0);
    let pass = scope(|threads| {
        let pass = threads.spawn(|| {
            let lookers = ["diffs/0", "rootfs", "diffs/0"].map(|place| {
                let path = mount.join(PLATFORM).join(place);
                threads.spawn(move || ls(path).len())
            });
            let found = lookers.map(|looker| looker.join().unwrap());
            done.store(true, Ordering::Relaxed);
            (found, start.elapsed())
        });
        while !done.load(Ordering::Relaxed) {
            let begin = Instant::now();
            ls(mount.point());
            for entry in fs::read_dir(mount.join(PLATFORM)).unwrap() {
                // As `ls -l` does: the layer's own directories are among them.
                entry.unwrap().metadata().unwrap();
            }
            ls(mount.diff(1, ""));
            longest = longest.max(begin.elapsed());
            looks += 1;
            sleep(Duration::from_millis(2));
        }
        pass.join().unwrap()
    });
    assert_eq!(pass.0, [75, 76, 75]);
    println!("pass {:?}, {looks} looks meanwhile, the longest {longest:?}", pass.1);
    assert!(looks > 5, "the pass was over before anybody could look: {:?}", pass.1);
    // A look that waited for the pass would take nearly all of it.
    assert!(longest < pass.1 / 2, "{longest:?} of {:?}", pass.1);
    assert_eq!(mount.stat("layer_passes_total"), 2);
}

#[test]
fn a_bomb_takes_little_memory() {
    let piece = vec![0; 1 << 20];
    let layer = streamed(|out| {
        // The header of a file of 1 GiB; its data follows in pieces.
        let header = members(&[Member::file("zeros", "").pax("size", (1_u64 << 30).to_string())]);
        out.write_all(&header).unwrap();
        for _ in 0..1024 {
            out.write_all(&piece).unwrap();
        }
        out.write_all(&members(&[Member::file("end", "here")])).unwrap();
    });
    assert!(layer.blob.bytes.len() < 8 << 20);
    let layout = Layout::of_layers(&[layer]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.rootfs("")), ["end", "zeros"]);
    let sum = run_for(Command::new("cksum").arg(mount.rootfs("zeros")), Duration::from_secs(120)).ok();
    assert!(sum.split(' ').nth(1) == Some("1073741824"), "{sum}");
    println!("a bomb of 1 GiB: {} KiB resident at most", mount.peak_memory());
    assert!(mount.peak_memory() < 96 << 10, "{} KiB", mount.peak_memory());
}

/// A bomb that does not end in a tar: two headers' worth of PAX records that claim gigabytes.
#[test]
fn a_pax_header_of_a_gigabyte_takes_little_memory() {
    let piece = vec![b'1'; 1 << 20];
    let layer = streamed(|out| {
        let mut header = members(&[Member::file("x", "")]);
        header[124..135].copy_from_slice(b"10000000000");
        header[156] = b'x';
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.write_all(&header).unwrap();
        for _ in 0..1024 {
            out.write_all(&piece).unwrap();
        }
        out.write_all(&members(&[Member::file("hidden", ""), Member::file("end", "here")])).unwrap();
    });
    let layout = Layout::of_layers(&[layer]);
    let mount = Mount::new(layout.path());
    assert_eq!(ls(mount.rootfs("")), ["end"]);
    println!("PAX records of 1 GiB: {} KiB resident at most", mount.peak_memory());
    assert!(mount.peak_memory() < 96 << 10, "{} KiB", mount.peak_memory());
}

/// Attributes whose names filled what Linux lists, and two of ours beside them: the list could not be read at all.
#[test]
fn attributes_by_the_thousand_can_be_listed() {
    let mut many = Member::file("many", "x");
    for number in 0..3000 {
        many = many.xattr(&format!("user.attribute-number-{number}"), "v");
    }
    let huge = Member::file("huge", "y")
        .xattr("user.large", "l".repeat(65536))
        .xattr("user.larger", "l".repeat(65537));
    let (_layout, mount) = crate::kit::mounted(&[&[many, huge]]);
    // However many there are, the list can be had: it is never longer than Linux allows.
    let listed = crate::kit::list_xattrs(&mount.rootfs("many"), 65536).unwrap();
    assert!(listed.iter().any(|name| name == "user.oci.layer"), "{} listed", listed.len());
    assert_eq!(crate::kit::get_xattr(&mount.rootfs("huge"), "user.large", 65536).unwrap().len(), 65536);
    assert!(mount.problems().iter().any(|line| line.contains("attribute")), "{:#?}", mount.problems());
}

/// A million entries. Some 30 seconds: `scripts/test.sh --long` runs it.
#[test]
#[ignore = "takes long; scripts/test.sh --long runs it"]
fn a_million_entries_fit_in_memory() {
    let layer = streamed(|out| {
        for directory in 0..1000 {
            let files: Vec<Member> = (0..999)
                .map(|n| Member::file(format!("usr/share/directory-{directory:04}/file-{n:04}.txt"), ""))
                .collect();
            out.write_all(&members(&[Member::dir(format!("usr/share/directory-{directory:04}"))])).unwrap();
            out.write_all(&members(&files)).unwrap();
        }
    });
    let layout = Layout::of_layers(&[layer]);
    let mount = Mount::new(layout.path());
    let start = Instant::now();
    let find = format!("find {} | wc -l", mount.rootfs("").display());
    let found = run_for(Command::new("sh").args(["-c", &find]), Duration::from_secs(300)).ok();
    println!(
        "a million entries: found in {:?}, {} KiB resident at most",
        start.elapsed(),
        mount.peak_memory()
    );
    assert_eq!(found.trim(), "1000003");
    assert!(mount.peak_memory() <= 256 << 10, "{} KiB", mount.peak_memory());
}

/// A broken stream that claims to be large is refused as soon as it is read.
#[test]
fn a_stream_of_nothing_but_headers_is_refused() {
    let member = gzip(b"");
    let bytes: Vec<u8> =
        member.iter().copied().cycle().take(member.len() * 100_000).chain([0x1f, 0x8b, 8]).collect();
    let layer = Layer::raw(bytes, media::LAYER, &sha256(b""));
    let layout = Layout::of_layers(&[layer]);
    let mount = Mount::new(layout.path());
    assert_eq!(list_errno(mount.rootfs("")), libc::EIO);
    assert!(mount.peak_memory() < 96 << 10, "{} KiB", mount.peak_memory());
}

/// Documents spelled for people stayed in memory, some megabytes a platform, for as long as the mount lasted.
#[test]
fn pretty_documents_of_many_platforms_fit_in_memory() {
    let layout = Layout::new();
    let nested = format!("{{\"x\":{}{}1{}}}", "[".repeat(120), "1,".repeat(50_000), "]".repeat(120));
    let config = layout.blob(nested).descriptor(media::CONFIG);
    let manifest = layout.json(&json!({"schemaVersion": 2, "config": config, "layers": []}));
    let platforms = (0..40).map(|n| {
        let mut entry = manifest.descriptor(media::MANIFEST);
        entry["platform"] = json!({"os": "windows", "architecture": "amd64", "os.version": n.to_string()});
        entry
    });
    layout.index(&[named(layout.nested(&platforms.collect::<Vec<_>>()), "v1")]);
    let mount = Mount::new(layout.path());
    let pretty =
        |n: u32| fs::read(mount.join(format!("platforms/windows-amd64-{n}/pretty/config.json"))).unwrap();
    let first = pretty(0);
    assert!(first.len() > 12_000_000, "{}", first.len());
    assert!((1..40).chain([0]).all(|n| pretty(n) == first));
    assert!(mount.peak_memory() < 160 << 10, "{} KiB", mount.peak_memory());
}
