//! Streams of every compression, held against the plain bytes.

use std::io::Write as _;

use super::*;
use crate::cache::{Cache, Key};
use crate::codec::{Entry, Packed, Window, Windows};

/// Compressed bytes that can be changed behind a stream's back.
struct Memory(Mutex<Vec<u8>>);

impl Input for Arc<Memory> {
    type Error = StreamError;

    fn open(&self) -> Result<Box<dyn ReadAt>, StreamError> {
        Ok(Box::new(self.0.lock().clone()))
    }

    fn error(&self, cause: StreamError) -> StreamError {
        cause
    }
}

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2];

fn compress(compression: Compression, plain: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => plain.to_vec(),
        Compression::Gzip => {
            let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            w.write_all(plain).unwrap();
            w.finish().unwrap()
        }
        Compression::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        Compression::Xz => {
            let mut w = liblzma::write::XzEncoder::new(Vec::new(), 0);
            w.write_all(plain).unwrap();
            w.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut w = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            w.write_all(plain).unwrap();
            w.finish().unwrap()
        }
    }
}

/// Half random, half not: it compresses, and has blocks of every kind.
fn pattern(len: usize) -> Vec<u8> {
    let byte = |n: usize| if n & 0x40 == 0 { (n.wrapping_mul(2_654_435_761) >> 13) as u8 } else { b'a' };
    (0..len).map(byte).collect()
}

fn stream_of(bytes: Vec<u8>) -> (Arc<Memory>, Stream<Arc<Memory>>) {
    let scan = scan(&bytes, bytes.len() as u64, (), ()).unwrap();
    let (index, oddities) = scan.decoded.unwrap();
    assert_eq!(oddities, []);
    let memory = Arc::new(Memory(Mutex::new(bytes)));
    let pool = Arc::new(Pool::new(CHUNK, Arc::default()));
    (memory.clone(), Stream::new(memory, index, pool, None))
}

#[test]
fn every_range_reads_as_it_is() {
    for len in [0, 1, 500_000, CHUNK as usize, 3_000_001] {
        let plain = pattern(len);
        for compression in ALL {
            let (_, stream) = stream_of(compress(compression, &plain));
            assert_eq!(stream.index().stream_len, len as u64);
            for offset in [0, 1, 70_000, 524_287, 524_288, 2_000_000, 2_999_999] {
                for want in [0, 1, 1000, 600_000] {
                    let mut buf = vec![0xaa; want];
                    let got = stream.read(offset as u64, &mut buf);
                    match plain.get(offset..offset + want) {
                        Some(expected) => assert!(got.is_ok() && buf == expected, "{compression} {offset}"),
                        None => assert!(matches!(got, Err(StreamError::PastEnd { .. })), "{offset} {want}"),
                    }
                }
            }
            assert!(stream.read(u64::MAX, &mut [0]).is_err());
        }
    }
}

#[test]
fn what_changes_after_the_pass_is_not_served() {
    let plain = pattern(3_000_000);
    for compression in ALL {
        let packed = compress(compression, &plain);
        // Somewhere in the second half, in the middle of data.
        for at in [packed.len() / 2, packed.len() * 3 / 4] {
            let (memory, stream) = stream_of(packed.clone());
            memory.0.lock()[at] ^= 0x10;
            let mut served = 0;
            for chunk in 0..plain.len().div_ceil(CHUNK as usize) {
                let from = chunk * CHUNK as usize;
                let mut buf = vec![0; plain.len().min(from + CHUNK as usize) - from];
                if stream.read(from as u64, &mut buf).is_ok() {
                    assert!(buf == plain[from..from + buf.len()], "{compression}: a wrong byte");
                    served += 1;
                }
            }
            assert!(
                served < plain.len().div_ceil(CHUNK as usize),
                "{compression}: the change went unnoticed"
            );
        }
        let (memory, stream) = stream_of(packed.clone());
        memory.0.lock().truncate(packed.len() / 2);
        assert!(stream.read(2_900_000, &mut [0; 10]).is_err(), "{compression}: cut short");
    }
}

#[test]
fn damaged_bytes_have_no_index_and_all_of_them_are_seen() {
    struct Count(usize);
    impl Sink for Count {
        fn take(&mut self, piece: &[u8]) {
            self.0 += piece.len();
        }
    }
    for compression in &ALL[1..] {
        let mut packed = compress(*compression, &pattern(3_000_000));
        let middle = packed.len() / 2;
        packed[middle..middle + 40].fill(0xff);
        let scan = scan(&packed, packed.len() as u64, Count(0), ()).unwrap();
        assert_eq!(scan.input.0, packed.len());
        assert!(scan.decoded.is_err() || *compression == Compression::Zstd, "{compression}");
    }
    let packed = compress(Compression::Gzip, b"hello");
    let short = super::scan(&packed, packed.len() as u64 + 1, (), ());
    assert!(matches!(short, Err(StreamError::Short { .. })));
}

#[test]
fn an_index_comes_back_from_its_file_and_no_damaged_one_does() {
    let (_, stream) = stream_of(compress(Compression::Gzip, &pattern(3_000_000)));
    let key = Key::derived("test", &[b"a"]);
    let mut w = Writer::begin(b"OCIFSTST", 1, &key);
    stream.index().encode(&mut w).unwrap();
    let file = w.finish();
    let read = |file: &[u8], key: &Key| {
        let mut r = Reader::begin(file, b"OCIFSTST", 1, key)?;
        StreamIndex::decode(&mut r)
    };
    assert!(read(&file, &key).unwrap() == *stream.index());
    assert!(matches!(read(&file, &Key::derived("test", &[b"b"])), Err(Miss::Foreign)));
    for at in (0..file.len()).step_by(file.len() / 50) {
        let mut file = file.clone();
        file[at] ^= 1;
        assert!(read(&file, &key).is_err(), "{at}");
        assert!(read(&file[..at], &key).is_err(), "{at}");
    }
}

/// Windows are looked into only when they are needed: then a wrong one must give an error, and never wrong bytes.
#[test]
fn a_group_of_windows_that_is_not_the_streams_is_an_error() {
    let plain = pattern(8_000_000);
    let bytes = compress(Compression::Gzip, &plain);
    let decoded = scan(&bytes, bytes.len() as u64, (), ()).unwrap().decoded;
    let good = decoded.unwrap().0;
    let frame = |bytes: &[u8]| Packed {
        len: bytes.len() as u32,
        frame: zstd::bulk::compress(bytes, 1).unwrap().into(),
    };
    // No windows, empty ones, one short of bytes, one too long, and none that unpacks.
    let forged = [
        (frame(b""), frame(b"")),
        (frame(&[0; 16]), frame(b"")),
        (frame(&[9, 1, 0, 9].repeat(8)), frame(b"short")),
        (frame(&[9, 1, 0, 10].repeat(8)), frame(&[7; 80])),
        (Packed { len: u32::MAX, frame: [0x28, 0xb5, 0x2f, 0xfd].into() }, frame(b"")),
    ];
    for (places, contents) in forged {
        let group = Arc::new(Windows { places, bytes: contents });
        let mut index = good.clone();
        let mut blocks = 0;
        for checkpoint in &mut index.checkpoints {
            if let Entry::Block { window, .. } = &mut checkpoint.entry {
                *window = Window::new(group.clone(), window.number()).unwrap();
                blocks += 1;
            }
        }
        assert!(blocks > 3, "one of them says nothing about several");
        let memory = Arc::new(Memory(Mutex::new(bytes.clone())));
        let stream = Stream::new(memory, index.clone(), Arc::new(Pool::new(CHUNK, Arc::default())), None);
        let mut failed = 0;
        for checkpoint in &index.checkpoints {
            let at = checkpoint.output_offset.next_multiple_of(CHUNK);
            let mut buf = [0; 1000];
            match stream.read(at, &mut buf) {
                Ok(()) => assert!(buf == plain[at as usize..][..1000], "wrong bytes at {at}"),
                Err(_) => failed += 1,
            }
        }
        assert!(failed > 0, "the windows were not used");
    }
}

/// Checkpoints of a hostile index: a window of a group that was not given, one beyond any group, an unknown kind.
#[test]
fn checkpoints_that_cannot_be_are_a_miss() {
    let group = [&[0_u8; 4][..], &[0; 4], &[0; 4], &[0; 4]].concat();
    let checkpoint = |kind: u8, rest: &[u8]| [&[0; 16][..], &[kind], rest].concat();
    let read = |checkpoints: &[Vec<u8>]| {
        let key = Key::derived("test", &[b"a"]);
        let mut w = Writer::begin(b"OCIFSTST", 1, &key);
        w.count(checkpoints.len()).unwrap();
        checkpoints.iter().for_each(|checkpoint| w.raw(checkpoint));
        let file = w.finish();
        let mut r = Reader::begin(&file, b"OCIFSTST", 1, &key).unwrap();
        checkpoints::decode(&mut r).map(|checkpoints| checkpoints.len())
    };
    let with_group = checkpoint(2, &[&[0, 0][..], &group].concat());
    assert_eq!(read(&[checkpoint(0, &[]), with_group.clone(), checkpoint(1, &[7, 7])]).unwrap(), 3);
    assert!(read(&[checkpoint(1, &[0, 0])]).is_err());
    assert!(read(&[with_group.clone(), checkpoint(1, &[0, 8])]).is_err());
    assert!(read(&[with_group, checkpoint(3, &[0, 0])]).is_err());
    assert!(read(&[checkpoint(2, &[0, 0])]).is_err());
}

#[test]
fn a_decompressed_copy_is_kept_where_there_is_no_way_in_and_is_checked() {
    let plain = pattern(20 << 20);
    let packed = compress(Compression::Zstd, &plain);
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::new(dir.path().to_owned()));
    let key = Key::derived("test", &[b"spill"]);
    let spill = SpillWriter::new(Some(&cache), &key, Compression::Zstd).unwrap();
    let scan = scan(&packed, packed.len() as u64, (), spill).unwrap();
    let (index, _) = scan.decoded.unwrap();
    scan.output.finish(&index.checkpoints);
    let memory = Arc::new(Memory(Mutex::new(packed)));
    let pool = Arc::new(Pool::new(CHUNK, Arc::default()));
    let spill = Spill::open(&cache, &key, index.stream_len);
    assert!(spill.is_some() && Spill::open(&cache, &key, index.stream_len + 1).is_none());
    let path = dir.path().join("spill").join(key.as_str());
    let stream = Stream::new(memory.clone(), index, pool, spill);
    let mut buf = [0; 1000];
    let packed = std::mem::take(&mut *memory.0.lock());
    stream.read(19 << 20, &mut buf).unwrap();
    assert!(buf == plain[19 << 20..][..1000], "from the copy alone");
    *memory.0.lock() = packed;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 5 << 20).unwrap();
    stream.read(5 << 20, &mut buf).unwrap();
    assert!(buf == plain[5 << 20..][..1000], "from the stream itself");
    assert!(!path.exists(), "the damaged copy is gone");
}

#[test]
fn who_reads_on_finds_the_next_chunks_at_hand() {
    let plain = pattern(5_000_000);
    let bytes = compress(Compression::Gzip, &plain);
    let scan = scan(&bytes, bytes.len() as u64, (), ()).unwrap();
    let pool = Arc::new(Pool::new(8 << 20, Arc::default()));
    let memory = Arc::new(Memory(Mutex::new(bytes)));
    let stream = Arc::new(Stream::new(memory, scan.decoded.unwrap().0, pool, None));
    stream.read_on(0, &mut [0; 4096]).unwrap();
    let begin = std::time::Instant::now();
    while !stream.is_at_hand(CHUNK, 2 * CHUNK) {
        assert!(begin.elapsed().as_secs() < 20, "nothing is decoded ahead");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
