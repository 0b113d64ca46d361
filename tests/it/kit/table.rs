//! Layers with a table of contents, in both forms: as the tools write them, or changed by a test on the way.

use super::archive::{Layer, Member};
use super::layout::sha256;
use super::{gzip, media};
use base64::Engine as _;
use serde_json::{Value, json};

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Stargz,
    /// eStargz with several files in one gzip member.
    StargzInner,
    ZstdChunked,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Stargz, Self::StargzInner, Self::ZstdChunked];

    fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::Stargz | Self::StargzInner => gzip(plain),
            Self::ZstdChunked => zstd::bulk::compress(plain, 1).unwrap(),
        }
    }
}

/// A layer with a table, and what it says.
pub(crate) struct Listed {
    pub(crate) layer: Layer,
    pub(crate) table: Value,
}

/// A blob that grows member by member.
struct Packer {
    form: Form,
    blob: Vec<u8>,
    /// What the member that is open has, decompressed.
    open: Vec<u8>,
    /// All that was put in, decompressed.
    plain: Vec<u8>,
}

impl Packer {
    fn put(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        self.plain.extend_from_slice(bytes);
    }

    /// Ends the member that is open, and says where the next one begins.
    fn cut(&mut self) -> usize {
        if !self.open.is_empty() {
            self.blob.extend(self.form.pack(&std::mem::take(&mut self.open)));
        }
        self.blob.len()
    }
}

/// Packs members as a layer whose table is what `change` makes of it; files are cut into chunks of so many bytes.
pub(crate) fn listed(
    form: Form,
    members: &[Member],
    chunk: usize,
    change: impl FnOnce(&mut Value),
) -> Listed {
    let mut packer = Packer { form, blob: Vec::new(), open: Vec::new(), plain: Vec::new() };
    let mut entries = Vec::new();
    for member in members {
        let mut archive = Vec::new();
        member.write(&mut archive);
        let padded = member.data.len().next_multiple_of(512);
        packer.put(&archive[..archive.len() - padded]);
        let mut entry = entry(member);
        let chunks: Vec<&[u8]> = member.data.chunks(chunk).collect();
        for (n, piece) in chunks.iter().enumerate() {
            if n > 0 {
                let next = json!({"type": "chunk", "name": entry["name"]});
                entries.push(std::mem::replace(&mut entry, next));
                entry["chunkOffset"] = json!(n * chunk);
            }
            let offset = match form {
                Form::StargzInner if packer.open.len() < 3 * chunk => {
                    entry["innerOffset"] = json!(packer.open.len());
                    packer.blob.len()
                }
                _ => packer.cut(),
            };
            entry["offset"] = json!(offset);
            let whole = chunks.len() == 1;
            if !whole || form != Form::ZstdChunked {
                entry["chunkDigest"] = json!(sha256(piece));
            }
            if !whole && (form == Form::ZstdChunked || n + 1 < chunks.len()) {
                entry["chunkSize"] = json!(piece.len());
            }
            packer.put(piece);
            if form == Form::ZstdChunked {
                packer.cut();
            }
        }
        entries.push(entry);
        packer.put(&vec![0; padded - member.data.len()]);
    }
    let mut table = json!({"version": 1, "entries": entries});
    change(&mut table);
    match form {
        Form::ZstdChunked => zstd_chunked(packer, table),
        _ => stargz(packer, table),
    }
}

fn entry(member: &Member) -> Value {
    let kind = match member.kind {
        b'0' => "reg",
        b'1' => "hardlink",
        b'2' => "symlink",
        b'3' => "char",
        b'4' => "block",
        b'5' => "dir",
        _ => "fifo",
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut entry = json!({"type": kind, "name": text(&member.path), "mode": member.mode});
    let mut put = |name: &str, value: Value| {
        // What is nothing is left out.
        if value != json!(0) && value != json!("") {
            entry[name] = value;
        }
    };
    put("uid", json!(member.owner.0));
    put("gid", json!(member.owner.1));
    put("linkName", json!(text(&member.target)));
    put("devMajor", json!(member.device.0));
    put("devMinor", json!(member.device.1));
    put("modtime", json!(time(member.time)));
    if member.kind == b'0' {
        put("size", json!(member.data.len()));
        put("digest", json!(if member.data.is_empty() { String::new() } else { sha256(&member.data) }));
    }
    for (key, value) in &member.records {
        if let Some(name) = text(key).strip_prefix("SCHILY.xattr.") {
            entry["xattrs"][name] = json!(base64::engine::general_purpose::STANDARD.encode(value));
        }
    }
    entry
}

/// Writes a time as tables do.
fn time(seconds: i64) -> String {
    let done = super::run(std::process::Command::new("date").args([
        "-u",
        "-d",
        &format!("@{seconds}"),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]));
    done.ok().trim().to_owned()
}

fn stargz(mut packer: Packer, table: Value) -> Listed {
    let at = packer.cut();
    let json = serde_json::to_vec_pretty(&table).unwrap();
    let mut own = Vec::new();
    let mut member = Member::file("stargz.index.json", &json).mode(0);
    member.time = 0;
    member.write(&mut own);
    own.resize(own.len() + 1024, 0);
    packer.put(&own);
    packer.cut();
    // An empty gzip member with a field that says where the table is.
    packer.blob.extend([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0]);
    packer.blob.extend(format!("{at:016x}STARGZ").bytes());
    packer.blob.extend([1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut layer = Layer::raw(packer.blob, media::LAYER, &sha256(&packer.plain));
    layer.annotations = json!({"containerd.io/snapshot/stargz/toc.digest": sha256(&json)});
    Listed { layer, table }
}

fn zstd_chunked(mut packer: Packer, table: Value) -> Listed {
    packer.put(&[0; 1024]);
    packer.cut();
    let json = table.to_string().into_bytes();
    let packed = Form::ZstdChunked.pack(&json);
    let skippable = |bytes: &[u8]| {
        [&[0x50, 0x2a, 0x4d, 0x18][..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
    };
    let at = packer.blob.len() + 8;
    packer.blob.extend(skippable(&packed));
    packer.blob.extend(skippable(&[0; 64]));
    let mut layer = Layer::raw(packer.blob, media::ZSTD, &sha256(&packer.plain));
    layer.annotations = json!({
        "io.github.containers.zstd-chunked.manifest-checksum": sha256(&packed),
        "io.github.containers.zstd-chunked.manifest-position":
            format!("{at}:{}:{}:1", packed.len(), json.len()),
    });
    Listed { layer, table }
}
