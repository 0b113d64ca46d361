//! Tables of contents: whatever they say, what is taken of them is in order, inside the blob, and bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::codec::Compression;
use ocifs::oci::{Algorithm, Descriptor, Digest};
use ocifs::toc::{self, Claim, MAX_CHUNK};

/// Where the files' bytes of the blob end.
const END: u64 = 1 << 40;

/// Reads a table, and checks what the stream of chunks will rely on.
fn table(json: &[u8], own: Option<&toc::Table>) {
    let mut ends = Vec::new();
    let read = toc::read(json, END, own, &mut |entry| {
        assert!(entry.mode <= 0o7777 && entry.mtime.nanos < 1_000_000_000 && !entry.path.contains(&0));
        assert!(entry.xattrs.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let [extent] = entry.extents[..] else {
            assert!(entry.extents.is_empty() && entry.size == 0);
            return;
        };
        assert_eq!((extent.file_offset, extent.length), (0, entry.size));
        ends.push((extent.stream_offset, extent.stream_offset + extent.length));
    });
    let Ok(contents) = read else { return };
    assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "files follow each other");
    assert_eq!(ends.last().map_or(0, |last| last.1), contents.len);
    assert!(contents.chunks.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    assert!(contents.chunks.first().is_none_or(|first| first.offset == 0));
    for (n, chunk) in contents.chunks.iter().enumerate() {
        let end = contents.chunks.get(n + 1).map_or(contents.len, |next| next.offset);
        assert!(end > chunk.offset);
        if !chunk.is_zeros() {
            assert!(end - chunk.offset <= MAX_CHUNK && chunk.packed_len > 0);
            assert!(own.is_some() || chunk.packed_offset + u64::from(chunk.packed_len) <= END);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => table(rest, None),
        1 => {
            if let Ok(json) = toc::unpack(Compression::Zstd, rest, 1 << 20) {
                table(&json, None);
            }
        }
        2 => {
            if let Ok(place) = toc::footer(rest, 1 << 20) {
                assert!(place.start < place.end && place.end < 1 << 20);
            }
            // The digest cannot be guessed, so the table is given the one it has.
            let Some(empty) = Digest::of(Algorithm::Sha256, b"") else { return };
            let found = match toc::open_member(rest, &empty) {
                Err(toc::TocError::Digest { found, .. }) => found,
                _ => return,
            };
            let own = toc::open_member(rest, &found).expect("its digest holds");
            table(&own.json, Some(&own));
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(rest)
                && let Ok(descriptor) = Descriptor::parse(text)
                && let Some(Ok(Claim::ZstdChunked { position, length, .. })) = Claim::of(&descriptor)
            {
                assert!(position + length <= descriptor.size);
            }
        }
    }
});
