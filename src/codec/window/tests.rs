use std::sync::Arc;

use super::super::tests::kit::Rng;
use super::*;

/// Makes a window of random bytes and marks some runs of it; some windows have none, some are used whole.
fn window(rng: &mut Rng, len: usize) -> (Vec<u8>, Vec<bool>) {
    let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8 | 1).collect();
    let kind = rng.below(5);
    let mut used = vec![kind == 0; len];
    let mut at = rng.below(len + 1);
    while kind > 1 && at < len {
        let end = len.min(at + 1 + rng.below(if kind == 2 { 1 } else { 300 }));
        used[at..end].fill(true);
        at = end + 1 + rng.below(if kind == 2 { 1 } else { 900 });
    }
    (bytes, used)
}

/// What a window must unpack to.
fn expected((bytes, used): &(Vec<u8>, Vec<bool>)) -> Vec<u8> {
    let first = used.iter().position(|used| *used).unwrap_or(used.len());
    (first..used.len()).map(|i| if used[i] { bytes[i] } else { 0 }).collect()
}

#[test]
fn windows_come_out_as_they_went_in_and_once_more_packed_with_others() {
    let mut rng = Rng(11);
    let mut packer = Packer::new().unwrap();
    for round in 0..40 {
        let lens: Vec<_> = (0..=round % Windows::MAX)
            .map(|n| if n == 0 { Window::MAX_LEN } else { rng.below(40_000).min(Window::MAX_LEN) })
            .collect();
        let plain: Vec<_> = lens.into_iter().map(|len| window(&mut rng, len)).collect();
        let sparse: Vec<_> = plain.iter().map(|(bytes, used)| Sparse::new(bytes, used)).collect();
        let packed = packer.pack(&sparse.iter().collect::<Vec<_>>()).unwrap();
        for (window, plain) in packed.iter().zip(&plain) {
            assert!(window.unpack().unwrap() == expected(plain));
        }
        // Every second one goes.
        let entry = |window: &Window| super::super::Entry::Block { bits: 3, window: window.clone() };
        let mut left: Vec<_> = packed
            .iter()
            .step_by(2)
            .map(|window| super::super::Checkpoint {
                output_offset: 1,
                input_offset: 1,
                entry: entry(window),
            })
            .collect();
        pack::repack(&mut left).unwrap();
        for (n, (checkpoint, plain)) in left.iter().zip(plain.iter().step_by(2)).enumerate() {
            let super::super::Entry::Block { window, .. } = &checkpoint.entry else {
                panic!("it was a block")
            };
            assert_eq!(usize::from(window.number()), n);
            assert!(window.unpack().unwrap() == expected(plain));
        }
    }
}

/// A group as somebody may have written it.
fn forged(places: &[u8], bytes: &[u8]) -> Arc<Windows> {
    let part =
        |part: &[u8]| Packed { len: part.len() as u32, frame: bulk::compress(part, 1).unwrap().into() };
    Arc::new(Windows { places: part(places), bytes: part(bytes) })
}

#[track_caller]
fn check(places: &[u8], number: u8, expected: Option<&[u8]>) {
    let window = Window::new(forged(places, b"abcdef"), number).unwrap();
    assert_eq!(window.unpack().ok().as_deref(), expected, "{places:?}, window {number}");
}

#[test]
fn stored_windows_are_checked() {
    // Reach, runs, then gap and length of each.
    check(&[5, 2, 0, 2, 1, 1], 0, Some(b"ab\0c\0"));
    check(&[0, 0], 0, Some(b""));
    check(&[3, 1, 0, 3, 2, 1, 0, 2], 1, Some(b"de"));
    check(&[3, 1, 0, 3], 1, None);
    check(&[3, 1, 0, 3], 7, None);
    check(&[], 0, None);
    check(&[2, 1, 0, 3], 0, None);
    check(&[9, 1, 0, 7], 0, None);
    check(&[9, 1, 10, 0], 0, None);
    check(&[9, 9, 0, 1], 0, None);
    check(&[0x81, 0x80, 2, 0], 0, None);
    check(&[0xff, 0xff, 0xff, 0], 0, None);
    check(&[0x80, 0x80, 2, 0], 0, Some(&[0; 32768]));
    check(&[9, 0xff, 0xff, 3, 0, 0], 0, None);
    assert!(Window::new(forged(&[0, 0], b""), 8).is_err());
}

#[test]
fn frames_that_unpack_to_something_else_are_errors() {
    let good = || Windows {
        places: Packed { len: 4, frame: bulk::compress(&[2, 1, 0, 2], 1).unwrap().into() },
        bytes: Packed { len: 2, frame: bulk::compress(b"ab", 1).unwrap().into() },
    };
    let unpack = |group: Windows| Window::new(Arc::new(group), 0).unwrap().unpack();
    assert_eq!(unpack(good()).unwrap(), b"ab");
    let spoilt: [fn(&mut Windows); 6] = [
        |group| group.places.len = 3,
        |group| group.places.len = 5,
        |group| group.places.len = u32::MAX,
        |group| group.bytes.len = 1,
        |group| group.bytes.frame = Box::new([]),
        |group| group.bytes.frame[0] ^= 1,
    ];
    for spoil in spoilt {
        let mut group = good();
        spoil(&mut group);
        assert!(unpack(group).is_err());
    }
}
