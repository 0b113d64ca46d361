//! Small files come before they are asked for, to those who read one after the other, and to nobody else.

use crate::kit::{Layer, Layout, Member, Mount, bytes};
use std::fs;
use std::path::Path;

/// Directories, and files of each.
const DIRECTORIES: usize = 8;
const FILES: usize = 250;

fn content(directory: usize, file: usize) -> Vec<u8> {
    let word = format!("{directory}/{file} ");
    word.repeat(1 + directory * 977 % 131 * file % 1500).into_bytes()
}

fn layout() -> Layout {
    let files = (0..DIRECTORIES).flat_map(|directory| {
        (0..FILES).map(move |file| Member::file(format!("d{directory}/f{file:03}"), content(directory, file)))
    });
    Layout::of_layers(&[Layer::of(&files.collect::<Vec<_>>())])
}

/// Goes through a tree as tar does: lists a directory, and reads each file.
fn read_all(mount: &Mount, parent: &str) {
    for directory in 0..DIRECTORIES {
        let directory_path = mount.rootfs(&format!("{parent}d{directory}"));
        let names: Vec<_> =
            fs::read_dir(&directory_path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), FILES);
        for name in names {
            let file = name.to_str().unwrap()[1..].parse().unwrap();
            assert!(bytes(directory_path.join(&name)) == content(directory, file), "d{directory}/{file}");
        }
    }
}

#[test]
fn who_reads_on_gets_the_same_bytes_with_fewer_questions() {
    let layout = layout();
    let few = (DIRECTORIES * FILES / 2) as u64;
    let mut asked = Vec::new();
    // A reader may be quicker than the thread that goes before it, where many tests share few processors.
    for _ in 0..10 {
        let mount = Mount::new(layout.path());
        read_all(&mount, "");
        assert!(mount.stat("pushed_total") > 0);
        asked.push(mount.stat("reads_total"));
        if asked.last() < Some(&few) {
            return;
        }
    }
    panic!("reads that reached ocifs: {asked:?}");
}

#[test]
fn who_lists_and_describes_gets_no_bytes() {
    let layout = layout();
    let mount = Mount::new(layout.path());
    let look =
        |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum::<u64>();
    let all: u64 = (0..DIRECTORIES).map(|n| look(&mount.rootfs(&format!("d{n}")))).sum();
    assert!(all > 0);
    // The stats' own text is read, too.
    assert_eq!((mount.stat("pushed_total"), mount.stat("pushed_total")), (0, 0));
}

#[test]
fn who_reads_backwards_gets_little_else() {
    let layout = layout();
    let mount = Mount::new(layout.path());
    for file in (0..FILES).rev() {
        assert!(bytes(mount.rootfs(&format!("d1/f{file:03}"))) == content(1, file), "{file}");
    }
    // Answers of two threads may be noted the wrong way round, and look like reading on.
    assert!(mount.stat("pushed_total") < FILES as u64 / 5, "{}", mount.stat("pushed_total"));
}

/// Both of one layer: the files are inodes of two trees.
#[test]
fn two_readers_side_by_side_each_get_their_own() {
    let layout = layout();
    let mount = Mount::new(layout.path());
    std::thread::scope(|threads| {
        threads.spawn(|| read_all(&mount, ""));
        threads.spawn(|| read_all(&mount, "../diffs/0/"));
    });
    assert!(mount.stat("pushed_total") > 0);
}
