//! Decoders between two reads: who reads on does not start over.

use std::ops::RangeInclusive;

use parking_lot::Mutex;

use super::cursor::Cursor;

/// Most decoders parked of one stream: that many readers go forward in it at once.
const MAX_OF_ONE: usize = 8;

/// Most bytes that all of them hold, of all streams together. The one parked last stays in any case.
const MAX_BYTES: usize = 32 << 20;

/// Parked decoders of all streams, the one parked last at the end.
#[derive(Default)]
pub(super) struct Parked(Mutex<Vec<Place>>);

struct Place {
    stream: u32,
    cursor: Cursor,
    bytes: usize,
}

impl Parked {
    /// Takes out the decoder of a stream that is furthest on within `range`.
    pub(super) fn take(&self, stream: u32, range: &RangeInclusive<u64>) -> Option<Cursor> {
        let mut places = self.0.lock();
        let on_the_way = |place: &Place| place.stream == stream && range.contains(&place.cursor.at);
        let n = (0..places.len()).filter(|n| on_the_way(&places[*n])).max_by_key(|n| places[*n].cursor.at)?;
        Some(places.remove(n).cursor)
    }

    /// Parks a decoder; others go that were parked long ago.
    pub(super) fn park(&self, stream: u32, mut cursor: Cursor) {
        let bytes = cursor.memory();
        let mut places = self.0.lock();
        let of_one = places.iter().filter(|place| place.stream == stream).count();
        if of_one == MAX_OF_ONE
            && let Some(n) = places.iter().position(|place| place.stream == stream)
        {
            places.remove(n);
        }
        let mut sum = bytes + places.iter().map(|place| place.bytes).sum::<usize>();
        let mut gone = Vec::new();
        while sum > MAX_BYTES && !places.is_empty() {
            let oldest = places.remove(0);
            sum -= oldest.bytes;
            gone.push(oldest);
        }
        places.push(Place { stream, cursor, bytes });
        drop(places);
        // Their windows are given back without anybody waiting.
        drop(gone);
    }

    /// Lets go of the decoders of a stream that is no more.
    pub(super) fn leave(&self, stream: u32) {
        self.0.lock().retain(|place| place.stream != stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Checkpoint, Compression};

    fn cursor(at: u64) -> Cursor {
        let start = Checkpoint { output_offset: at, ..Checkpoint::START };
        Cursor::start(Compression::Zstd, &start).unwrap()
    }

    fn parked(parked: &Parked) -> Vec<(u32, u64)> {
        parked.0.lock().iter().map(|place| (place.stream, place.cursor.at)).collect()
    }

    #[test]
    fn the_furthest_on_the_way_is_taken() {
        let parked = Parked::default();
        for (stream, at) in [(1, 10), (1, 30), (1, 20), (2, 25)] {
            parked.park(stream, cursor(at));
        }
        assert_eq!(parked.take(1, &(0..=29)).unwrap().at, 20);
        assert_eq!(parked.take(1, &(0..=29)).unwrap().at, 10);
        assert!(parked.take(1, &(0..=29)).is_none());
        parked.leave(2);
        assert!(parked.take(2, &(0..=29)).is_none());
    }

    #[test]
    fn one_stream_leaves_room_for_others() {
        let streams = Parked::default();
        streams.park(7, cursor(0));
        (0..20).for_each(|at| streams.park(8, cursor(at)));
        let expected: Vec<_> = [(7, 0)].into_iter().chain((12..20).map(|at| (8, at))).collect();
        assert_eq!(parked(&streams), expected);
    }

    #[test]
    fn together_they_are_bounded() {
        let streams = Parked::default();
        for stream in 0..10_000 {
            streams.park(stream, cursor(0));
        }
        let places = streams.0.lock();
        let sum: usize = places.iter().map(|place| place.bytes).sum();
        assert!(sum <= MAX_BYTES, "{sum}");
        assert_eq!(places.last().unwrap().stream, 9_999, "the last one stays");
        let least = places.first().unwrap().stream;
        assert!(least > 0 && places.len() == (10_000 - least) as usize, "the oldest ones went");
    }
}
