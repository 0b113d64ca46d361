//! Making windows: what of them is kept, and packing several together.

use std::sync::Arc;

use zstd::bulk;

use super::super::{Checkpoint, CodecError, Compression, Entry};
use super::{Packed, Unpacked, Window, Windows};

/// A window before it is packed: where the bytes stand that are kept, and the bytes. See [`Windows::places`].
#[derive(Debug, Default, Clone)]
pub(in super::super) struct Sparse {
    places: Vec<u8>,
    bytes: Vec<u8>,
}

impl Sparse {
    /// Keeps of `window` what is marked in `used`.
    pub(in super::super) fn new(window: &[u8], used: &[bool]) -> Self {
        let mut sparse = Self::default();
        let first = used.iter().position(|used| *used).unwrap_or(used.len());
        put(&mut sparse.places, used.len() - first);
        let mut runs = 0;
        let mut pairs = Vec::new();
        let (mut end, mut at) = (first, first);
        while let Some(start) = used[at..].iter().position(|used| *used).map(|n| at + n) {
            at = used[start..].iter().position(|used| !*used).map_or(used.len(), |n| start + n);
            put(&mut pairs, start - end);
            put(&mut pairs, at - start);
            sparse.bytes.extend_from_slice(&window[start..at]);
            end = at;
            runs += 1;
        }
        put(&mut sparse.places, runs);
        sparse.places.extend_from_slice(&pairs);
        sparse
    }
}

/// Packs windows together; keeps what that needs from one group to the next.
pub(in super::super) struct Packer(bulk::Compressor<'static>);

impl Packer {
    /// Level 6 would take 5 % off the windows, and three times as long.
    const LEVEL: i32 = 3;

    pub(in super::super) fn new() -> Result<Self, CodecError> {
        bulk::Compressor::new(Self::LEVEL).map(Self).map_err(no_memory)
    }

    /// Packs windows, of which there are at most [`Windows::MAX`], and returns them in the same order.
    pub(in super::super) fn pack(&mut self, windows: &[&Sparse]) -> Result<Vec<Window>, CodecError> {
        let places: Vec<_> = windows.iter().map(|window| &window.places[..]).collect();
        let bytes: Vec<_> = windows.iter().map(|window| &window.bytes[..]).collect();
        let group = Windows { places: self.part(&places)?, bytes: self.part(&bytes)? };
        let group = Arc::new(group);
        (0..).take(windows.len()).map(|number| Window::new(group.clone(), number)).collect()
    }

    fn part(&mut self, parts: &[&[u8]]) -> Result<Packed, CodecError> {
        let all = parts.concat();
        let len = u32::try_from(all.len()).expect("eight windows are below a megabyte");
        Ok(Packed { len, frame: self.0.compress(&all).map_err(no_memory)?.into() })
    }
}

/// Packs the windows of `checkpoints` together anew, where some that they were packed with are gone.
///
/// Fails where a window does not unpack.
pub fn repack(checkpoints: &mut [Checkpoint]) -> Result<(), CodecError> {
    let mut packer = Packer::new()?;
    // Neighbours are in the same group: unpack it once.
    let mut open: Option<(Arc<Windows>, Unpacked)> = None;
    let mut windows: Vec<&mut Window> = checkpoints
        .iter_mut()
        .filter_map(|checkpoint| match &mut checkpoint.entry {
            Entry::Fresh => None,
            Entry::Block { window, .. } => Some(window),
        })
        .collect();
    for windows in windows.chunks_mut(Windows::MAX) {
        let mut sparse = Vec::new();
        for window in windows.iter() {
            let unpacked = match open.take_if(|(group, _)| Arc::ptr_eq(group, &window.group)) {
                Some((_, unpacked)) => unpacked,
                None => window.group.unpack()?,
            };
            sparse.push(unpacked.sparse(window.number)?);
            open = Some((window.group.clone(), unpacked));
        }
        for (window, anew) in windows.iter_mut().zip(packer.pack(&sparse.iter().collect::<Vec<_>>())?) {
            **window = anew;
        }
    }
    Ok(())
}

impl Unpacked {
    /// Returns the window with this number as it went into its group.
    fn sparse(&self, number: u8) -> Result<Sparse, CodecError> {
        let contradiction = || super::bad("window contradicts itself");
        let (mut places, mut bytes) = (&self.places[..], &self.bytes[..]);
        for _ in 0..number {
            super::skip(&mut places, &mut bytes).ok_or_else(contradiction)?;
        }
        let (mut places_behind, mut bytes_behind) = (places, bytes);
        super::skip(&mut places_behind, &mut bytes_behind).ok_or_else(contradiction)?;
        let places = places[..places.len() - places_behind.len()].to_vec();
        let bytes = bytes[..bytes.len() - bytes_behind.len()].to_vec();
        Ok(Sparse { places, bytes })
    }
}

/// Appends a number: seven bits a byte, low ones first.
fn put(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn no_memory(_: std::io::Error) -> CodecError {
    CodecError::OutOfMemory { compression: Compression::Gzip }
}
