//! Tar headers: no panic, the same events however the stream is cut into pieces, and facts that hold together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::tar::{Entry, Event, Kind, MAX_NAME, MAX_XATTR_NAME, MAX_XATTR_VALUE, Parser, TarError};

fn parse(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Event>, Result<(), TarError>) {
    let mut events = Vec::new();
    let mut parser = Parser::new();
    for piece in pieces {
        parser.feed(piece, &mut |event| events.push(event));
    }
    let end = parser.finish(&mut |event| events.push(event));
    (events, end)
}

fn check(entry: &Entry) {
    assert!(entry.path.len() <= MAX_NAME && !entry.path.contains(&0));
    assert!(entry.mode <= 0o7777 && entry.mtime.nanos < 1_000_000_000);
    let mut end = 0;
    for extent in &entry.extents {
        assert!(extent.length > 0 && extent.file_offset >= end);
        end = extent.file_offset.checked_add(extent.length).expect("an extent ends");
        assert!(extent.stream_offset.checked_add(extent.length).is_some());
        assert!(extent.stream_offset > entry.header_offset, "data lies behind its header");
    }
    assert!(end <= entry.size);
    assert!(entry.kind == Kind::Regular || (entry.size == 0 && entry.extents.is_empty()));
    if let Kind::Symlink(target) | Kind::HardLink(target) = &entry.kind {
        assert!(!target.is_empty() && target.len() <= MAX_NAME && !target.contains(&0));
    }
    assert!(entry.xattrs.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, and each name once");
    for (name, value) in &entry.xattrs {
        assert!(name.len() <= MAX_XATTR_NAME && value.len() <= MAX_XATTR_VALUE && !name.contains(&0));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, archive)) = input.split_first() else { return };
    let whole = parse(&mut [archive].into_iter());
    let cut = parse(&mut archive.chunks(usize::from(cut) * 4 + 1));
    assert_eq!(whole, cut, "the pieces changed what was read");
    for event in &whole.0 {
        if let Event::Entry(entry) = event {
            check(entry);
        }
    }
});
