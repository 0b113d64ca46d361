//! Layers from literals: tars with everything a layer can hold, and the ways to pack them.

use super::layout::sha256;
use super::{Blob, Layout, Mount, Platform, gzip, media, named};
use serde_json::{Value, json};
use std::io::Write;

/// A member of a tar.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) time: i64,
    pub(super) target: Vec<u8>,
    pub(super) data: Vec<u8>,
    pub(super) device: (u32, u32),
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    fn new(path: impl AsRef<[u8]>, kind: u8, mode: u32) -> Self {
        let path = path.as_ref().to_vec();
        let (target, data, records) = (Vec::new(), Vec::new(), Vec::new());
        Self { path, kind, mode, owner: (0, 0), time: 1_700_000_000, target, data, device: (0, 0), records }
    }

    /// A regular file of mode 0644.
    pub(crate) fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        Self { data: data.as_ref().to_vec(), ..Self::new(path, b'0', 0o644) }
    }

    /// A directory of mode 0755.
    pub(crate) fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, b'5', 0o755)
    }

    /// A symlink.
    pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { target: target.as_ref().to_vec(), ..Self::new(path, b'2', 0o777) }
    }

    /// A hard link.
    pub(crate) fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { target: target.as_ref().to_vec(), ..Self::new(path, b'1', 0o644) }
    }

    /// A whiteout marker, or any other empty file.
    pub(crate) fn empty(path: impl AsRef<[u8]>) -> Self {
        Self::file(path, b"")
    }

    /// A device: `kind` is `3` for a character device and `4` for a block device, as in the header.
    pub(crate) fn device(path: impl AsRef<[u8]>, kind: u8, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::new(path, kind, 0o660) }
    }

    /// A FIFO.
    pub(crate) fn fifo(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, b'6', 0o600)
    }

    /// Sets the mode.
    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Sets the owner.
    pub(crate) fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    /// Adds a PAX record.
    pub(crate) fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds an extended attribute.
    pub(crate) fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(format!("SCHILY.xattr.{name}"), value)
    }

    /// The name.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it is a symlink.
    pub(crate) fn is_symlink(&self) -> bool {
        self.kind == b'2'
    }

    pub(super) fn write(&self, archive: &mut Vec<u8>) {
        let mut records = self.records.clone();
        if self.path.len() > 100 {
            records.push((b"path".to_vec(), self.path.clone()));
        }
        if self.target.len() > 100 {
            records.push((b"linkpath".to_vec(), self.target.clone()));
        }
        if !records.is_empty() {
            let mut body = Vec::new();
            records.iter().for_each(|(key, value)| body.extend(record(key, value)));
            Self { data: body, ..Self::new("PaxHeader", b'x', 0o644) }.write(archive);
        }
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, &self.path[..self.path.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.owner.0).as_bytes());
        put(116, format!("{:07o}\0", self.owner.1).as_bytes());
        put(124, format!("{:011o}\0", self.data.len()).as_bytes());
        put(136, format!("{:011o}\0", self.time).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.target[..self.target.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(&self.data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
}

/// A PAX record, whose length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key, b"=", value, b"\n"].concat();
    let mut digits = 1;
    while (rest.len() + digits).to_string().len() != digits {
        digits += 1;
    }
    [(rest.len() + digits).to_string().as_bytes(), &rest].concat()
}

/// Writes a tar.
pub(crate) fn archive(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    members.iter().for_each(|member| member.write(&mut archive));
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A way to pack a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    /// gzip, a member for every 700 bytes.
    Members,
    Zstd,
    /// zstd, a frame for every 700 bytes.
    Frames,
    /// zstd, with skippable frames before, between and behind.
    Skippable,
    Xz,
    Bzip2,
}

impl Packing {
    pub(crate) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Gzip,
        Self::Members,
        Self::Zstd,
        Self::Frames,
        Self::Skippable,
        Self::Xz,
        Self::Bzip2,
    ];

    pub(crate) fn pack(self, plain: &[u8]) -> Vec<u8> {
        let zstd = |piece: &[u8]| zstd::bulk::compress(piece, 3).unwrap();
        let skippable = |n: u8| vec![0x50 | n, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, b's', b'k', b'i', b'p'];
        match self {
            Self::Plain => plain.to_vec(),
            Self::Gzip => gzip(plain),
            Self::Members => plain.chunks(700).flat_map(gzip).collect(),
            Self::Zstd => zstd(plain),
            Self::Frames => plain.chunks(700).flat_map(zstd).collect(),
            Self::Skippable => {
                let frames = plain.chunks(700).flat_map(|piece| [skippable(1), zstd(piece)].concat());
                frames.chain(skippable(15)).collect()
            }
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// The media type that says so, where there is one.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Plain => media::TAR,
            Self::Zstd | Self::Frames | Self::Skippable => media::ZSTD,
            Self::Gzip | Self::Members | Self::Xz | Self::Bzip2 => media::LAYER,
        }
    }
}

/// A layer as a manifest and a config speak of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) blob: Blob,
    pub(crate) media_type: String,
    pub(crate) diff_id: String,
    /// The descriptor's size, which is the blob's own unless a test says otherwise.
    pub(crate) size: usize,
    /// The descriptor's annotations.
    pub(crate) annotations: Value,
}

impl Layer {
    /// A layer of these members, packed as gzip.
    pub(crate) fn of(members: &[Member]) -> Self {
        Self::packed(&archive(members), Packing::Gzip)
    }

    /// A layer of this tar.
    pub(crate) fn packed(tar: &[u8], packing: Packing) -> Self {
        Self::raw(packing.pack(tar), packing.media_type(), &sha256(tar))
    }

    /// A layer of any bytes.
    pub(crate) fn raw(bytes: Vec<u8>, media_type: &str, diff_id: &str) -> Self {
        let blob = Blob::of("sha256", bytes);
        let size = blob.bytes.len();
        let (media_type, diff_id) = (media_type.to_owned(), diff_id.to_owned());
        Self { blob, media_type, diff_id, size, annotations: json!({}) }
    }
}

impl Layout {
    /// A layout of one image, `v1` for linux/amd64.
    pub(crate) fn of_layers(layers: &[Layer]) -> Self {
        Self::of_layers_with(layers, |_| {})
    }

    /// The same with a config that was changed.
    pub(crate) fn of_layers_with(layers: &[Layer], change: impl FnOnce(&mut Value)) -> Self {
        let layout = Self::new();
        let platform = Platform("linux", "amd64", "");
        let mut config = platform.json();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        change(&mut config);
        let config = layout.json(&config);
        let descriptors = layers.iter().map(|layer| {
            layout.store(&layer.blob.digest, &layer.blob.bytes);
            let annotations = &layer.annotations;
            let mut descriptor =
                json!({"mediaType": layer.media_type, "digest": layer.blob.digest, "size": layer.size});
            if annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
                descriptor["annotations"] = annotations.clone();
            }
            descriptor
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config.descriptor(media::CONFIG),
            "layers": descriptors.collect::<Vec<_>>(),
        });
        let mut entry = layout.json(&manifest).descriptor(media::MANIFEST);
        entry["platform"] = platform.json();
        layout.index(&[named(entry, "v1")]);
        layout
    }
}

/// The one platform of the layouts above.
pub(crate) const PLATFORM: &str = "platforms/linux-amd64";

/// Mounts an image of gzip layers.
#[track_caller]
pub(crate) fn mounted(layers: &[&[Member]]) -> (Layout, Mount) {
    let layers: Vec<Layer> = layers.iter().map(|members| Layer::of(members)).collect();
    let layout = Layout::of_layers(&layers);
    let mount = Mount::new(layout.path());
    (layout, mount)
}

impl Mount {
    /// A path in the root filesystem.
    pub(crate) fn rootfs(&self, path: &str) -> std::path::PathBuf {
        self.join(PLATFORM).join("rootfs").join(path)
    }

    /// A path in a layer's own files.
    pub(crate) fn diff(&self, number: usize, path: &str) -> std::path::PathBuf {
        self.join(PLATFORM).join(format!("diffs/{number}")).join(path)
    }

    /// A counter of `.ocifs/stats`.
    #[track_caller]
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = super::text(self.join(".ocifs/stats"));
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("ocifs_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {stats}")).parse().unwrap()
    }

    /// The most memory the daemon ever had resident, in KiB.
    #[track_caller]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = super::text(format!("/proc/{}/status", self.daemon()));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
