//! A pass over a compressed stream, and a start at each of its checkpoints: both must give the same bytes.

use ocifs::codec::{At, Checkpoint, CodecError, Compression, Decoder, resume, scan};

/// Most bytes decompressed of one input: enough for many checkpoints, and a bomb ends soon.
pub const MAX_OUTPUT: usize = 1 << 20;

/// Most checkpoints started at.
const MAX_STARTS: usize = 64;

/// Decodes until the end, an error, or `MAX_OUTPUT`; says how it ended, `None` where it did not.
fn run(
    decoder: &mut dyn Decoder,
    mut input: &[u8],
    room: usize,
    after: &mut dyn FnMut(&mut dyn Decoder),
) -> (Vec<u8>, Option<Result<(), CodecError>>) {
    let mut all = Vec::new();
    let mut output = vec![0; room];
    let mut idle = 0;
    while all.len() < MAX_OUTPUT {
        let piece = &input[..input.len().min(room * 3 / 2 + 1)];
        let step = match decoder.step(piece, &mut output) {
            Ok(step) => step,
            Err(error) => return (all, Some(Err(error))),
        };
        assert!(step.consumed <= piece.len() && step.produced <= room);
        input = &input[step.consumed..];
        all.extend_from_slice(&output[..step.produced]);
        after(decoder);
        idle = if step.consumed == 0 && step.produced == 0 { idle + 1 } else { 0 };
        if idle > 0 && (input.is_empty() || step.at == At::End) {
            return (all, Some(decoder.finish().map(drop)));
        }
        assert!(idle < 2, "a step neither takes nor gives");
    }
    (all, None)
}

/// Scans `stream` and starts at its checkpoints; returns what it decompresses to, where it is sound and short enough.
pub fn check(compression: Compression, stream: &[u8], spacing: u64) -> Option<Vec<u8>> {
    let mut scanner = scan(compression, spacing).expect("a scanner is made");
    let mut checkpoints = Vec::new();
    let mut all = Vec::new();
    let mut output = vec![0; 4096];
    let mut input = stream;
    let end = loop {
        if all.len() >= MAX_OUTPUT {
            break None;
        }
        let piece = &input[..input.len().min(1000)];
        let step = match scanner.step(piece, &mut output) {
            Ok(step) => step,
            Err(error) => break Some(Err(error)),
        };
        input = &input[step.consumed..];
        all.extend_from_slice(&output[..step.produced]);
        checkpoints.extend(std::iter::from_fn(|| scanner.next_checkpoint()));
        if step.produced == 0 && input.is_empty() {
            let end = scanner.finish().map(drop);
            checkpoints.extend(std::iter::from_fn(|| scanner.next_checkpoint()));
            break Some(end);
        }
        assert!(step.consumed + step.produced > 0, "a step neither takes nor gives");
    };
    assert!(checkpoints.first().is_none_or(|first| *first == Checkpoint::START));
    assert!(checkpoints.windows(2).all(|pair| pair[0].output_offset < pair[1].output_offset));
    let stride = checkpoints.len().div_ceil(MAX_STARTS).max(1);
    for checkpoint in checkpoints.iter().step_by(stride) {
        let (from, input) = (checkpoint.output_offset as usize, checkpoint.input_offset as usize);
        let mut decoder = resume(compression, checkpoint).expect("an own checkpoint can be started at");
        let (tail, _) = run(&mut *decoder, &stream[input..], 777, &mut |_| {});
        let expected = &all[from.min(all.len())..];
        let common = tail.len().min(expected.len());
        assert_eq!(tail[..common], expected[..common], "started at {from}");
        if end == Some(Ok(())) {
            assert_eq!(tail.len().min(MAX_OUTPUT), expected.len().min(MAX_OUTPUT), "started at {from}");
        }
    }
    (end == Some(Ok(()))).then_some(all)
}
