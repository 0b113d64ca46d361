//! The form of checkpoints in an index file.

use std::sync::Arc;

use super::form::{Miss, Reader, Writer};
use crate::codec::{Checkpoint, Entry, Packed, Window, Windows};

/// What a checkpoint begins with.
mod kind {
    /// Nothing more has to be known.
    pub(super) const FRESH: u8 = 0;
    /// Its window is in the same group as the one before.
    pub(super) const BLOCK: u8 = 1;
    /// Its window is in a group that follows.
    pub(super) const GROUP: u8 = 2;
}

/// Writes checkpoints down.
pub(super) fn encode(checkpoints: &[Checkpoint], w: &mut Writer) -> std::io::Result<()> {
    w.count(checkpoints.len())?;
    let mut group: Option<&Arc<Windows>> = None;
    for checkpoint in checkpoints {
        w.u64(checkpoint.output_offset);
        w.u64(checkpoint.input_offset);
        let Entry::Block { bits, window } = &checkpoint.entry else {
            w.u8(kind::FRESH);
            continue;
        };
        let same = group.is_some_and(|group| Arc::ptr_eq(group, window.group()));
        w.u8(if same { kind::BLOCK } else { kind::GROUP });
        w.u8(*bits);
        w.u8(window.number());
        if !same {
            for part in [&window.group().places, &window.group().bytes] {
                w.u32(part.len);
                w.bytes(&part.frame)?;
            }
            group = Some(window.group());
        }
    }
    Ok(())
}

/// Reads checkpoints back. Whether a window unpacks shows only when it is needed.
pub(super) fn decode(r: &mut Reader<'_>) -> Result<Vec<Checkpoint>, Miss> {
    let mut group: Option<Arc<Windows>> = None;
    (0..r.u32()?).map(|_| one(r, &mut group)).collect()
}

/// Reads a checkpoint; `group` is the one that the window before it is in.
fn one(r: &mut Reader<'_>, group: &mut Option<Arc<Windows>>) -> Result<Checkpoint, Miss> {
    let (output_offset, input_offset) = (r.u64()?, r.u64()?);
    let kind = r.u8()?;
    if kind == kind::FRESH {
        return Ok(Checkpoint { output_offset, input_offset, entry: Entry::Fresh });
    }
    let (bits, number) = (r.u8()?, r.u8()?);
    match kind {
        kind::BLOCK => {}
        kind::GROUP => *group = Some(Arc::new(Windows { places: packed(r)?, bytes: packed(r)? })),
        _ => return Err(Miss::Unsound),
    }
    let group = group.clone().ok_or(Miss::Unsound)?;
    let window = Window::new(group, number).map_err(|_| Miss::Unsound)?;
    Ok(Checkpoint { output_offset, input_offset, entry: Entry::Block { bits, window } })
}

fn packed(r: &mut Reader<'_>) -> Result<Packed, Miss> {
    Ok(Packed { len: r.u32()?, frame: r.bytes()?.into() })
}
