//! A docker-archive (`docker save`), shown as the OCI layout it could have been.
//!
//! `oci-layout`, index.json and the manifests are made up, the same ones from the same archive each time; configurations
//! and layers are the archive's own bytes. Digests are taken here only where a manifest has to name one that nobody
//! states. They are claims like any other: what is read later is checked against them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::archive::Archive;
use super::facts::Known;
use super::members::Piece;
use super::saved::{self, Images, Saved};
use super::{MAX_INDEX, Source, SourceError};
use crate::codec::Compression;
use crate::oci::{Algorithm, Descriptor, Digest, ImageConfig, MAX_DOCUMENT};
use crate::problems::Problem;
use crate::read_at::ReadAt;

/// Largest manifest.json we read. An image takes some kilobytes in it.
const MAX_MANIFEST_JSON: u64 = 16 << 20;

/// Longest name in a platform that is put into the index, in bytes.
const MAX_PLATFORM_NAME: usize = 1 << 10;

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A docker-archive as an OCI layout.
pub struct DockerArchive {
    archive: Archive,
    index: Vec<u8>,
    blobs: BTreeMap<Digest, Blob>,
    problems: Vec<Problem>,
}

/// Where a blob's bytes are.
#[derive(Clone)]
enum Blob {
    Made(Arc<[u8]>),
    Member(Piece),
}

/// An image with its parts found.
struct Found<'a> {
    saved: &'a Saved,
    config: Arc<FoundConfig>,
    layers: Vec<FoundLayer>,
}

/// What is kept of a configuration. Not its diff_ids, of which megabytes may state very many: each layer has its own.
struct FoundConfig {
    piece: Piece,
    digest: Digest,
    platform: Option<Value>,
}

/// A configuration, and the images that name it, with their numbers.
struct Sharing<'a> {
    piece: Piece,
    images: Vec<(usize, &'a Saved)>,
}

/// A layer: its bytes where the archive has them, and the digest of its contents where the configuration states one.
struct FoundLayer {
    piece: Option<Piece>,
    diff_id: Option<Digest>,
}

impl DockerArchive {
    /// Takes the images that `archive` has by its manifest.json: all of them, or the one of this number.
    pub(super) fn new(archive: Archive, saved: Images, only: Option<usize>) -> Result<Self, SourceError> {
        if saved.is_empty() {
            return Err(archive.refuse("its manifest.json names no image"));
        }
        if let Some(n) = only.filter(|n| *n >= saved.len()) {
            let has = saved.len();
            return Err(archive.refuse(format!("there is no image @{n}: it has {has}, counted from @0")));
        }
        let mut problems = archive.problems().to_vec();
        let images = find(&archive, &saved, only, &mut problems);
        if images.is_empty() {
            let first = problems.iter().find(|p| p.path == "manifest.json");
            let why = first.map_or_else(String::new, |p| format!(": {}", p.what));
            return Err(archive.refuse(format!("its manifest.json has no usable image{why}")));
        }
        let layers = describe_layers(&archive, &images)?;
        let (index, blobs) = make_up(&images, &layers).map_err(|what| archive.refuse(what))?;
        Ok(Self { archive, index, blobs, problems })
    }
}

/// Reads the manifest.json of `archive`.
pub(super) fn images(archive: &Archive) -> Result<Images, SourceError> {
    let json = archive.document(b"manifest.json", MAX_MANIFEST_JSON).map_err(|e| match e {
        SourceError::Io(_) | SourceError::NotALayout { .. } => e,
        other => archive.refuse(format!("its manifest.json {other}")),
    })?;
    saved::parse(&json).map_err(|what| archive.refuse(what))
}

/// Says whether any of these images is there.
pub(super) fn is_usable(archive: &Archive, images: &Images) -> bool {
    images.iter().flatten().any(|image| archive.members().find(image.config.as_bytes()).is_ok())
}

impl<'a> Found<'a> {
    fn new(
        archive: &Archive,
        saved: &'a Saved,
        config: Arc<FoundConfig>,
        stated: &ImageConfig,
        problem: &mut dyn FnMut(String),
    ) -> Result<Self, String> {
        let name = &saved.config;
        if stated_digest(name).is_some_and(|hex| !hex.eq_ignore_ascii_case(config.digest.encoded())) {
            problem(format!("its configuration {name:?} hashes to {}", config.digest));
        }
        let matching = stated.diff_ids.len() == saved.layers.len();
        let mut layers = Vec::with_capacity(saved.layers.len());
        for (n, layer) in saved.layers.iter().enumerate() {
            let diff_id = stated.diff_ids.get(n).filter(|_| matching).and_then(|d| d.as_ref().ok());
            let diff_id = diff_id.filter(|d| d.algorithm() != Algorithm::Unknown).cloned();
            let piece = match archive.members().find(layer.as_bytes()) {
                Ok(piece) => Some(piece),
                Err(e) if diff_id.is_none() => return Err(format!("its layer {n}, {layer:?}: {e}")),
                Err(e) => {
                    problem(format!("its layer {n}, {layer:?}: {e}"));
                    None
                }
            };
            layers.push(FoundLayer { piece, diff_id });
        }
        Ok(Self { saved, config, layers })
    }
}

/// Finds the parts of the images, or of the one of this number.
fn find<'a>(
    archive: &Archive,
    saved: &'a Images,
    only: Option<usize>,
    problems: &mut Vec<Problem>,
) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    let mut told: Vec<(usize, String)> = Vec::new();
    // Each configuration is read once, however many images name it, and dropped before the next is.
    let mut by_config: BTreeMap<(u64, u64), Sharing<'_>> = BTreeMap::new();
    for (n, saved) in saved.iter().enumerate().filter(|(n, _)| only.is_none_or(|only| only == *n)) {
        let place = saved.as_ref().map_err(Clone::clone).and_then(|saved| {
            let piece = archive.members().find(saved.config.as_bytes());
            let piece = piece.map_err(|e| format!("its configuration {:?}: {e}", saved.config))?;
            Ok((piece, saved))
        });
        match place {
            Ok((piece, saved)) => {
                let sharing = by_config.entry(piece.place());
                sharing.or_insert(Sharing { piece, images: Vec::new() }).images.push((n, saved));
            }
            Err(what) => told.push((n, format!("{what}; left out"))),
        }
    }
    for Sharing { piece, images } in by_config.into_values() {
        let read = archive.document(images[0].1.config.as_bytes(), MAX_DOCUMENT).map(|bytes| {
            // One that cannot be parsed is shown all the same: who looks at the image is told what is wrong with it.
            let stated = ImageConfig::parse(&bytes).unwrap_or_default();
            (Arc::new(FoundConfig { piece, digest: sha256(&bytes), platform: platform(&stated) }), stated)
        });
        for (n, saved) in images {
            let image = match &read {
                Ok((config, stated)) => {
                    Found::new(archive, saved, config.clone(), stated, &mut |what| told.push((n, what)))
                }
                Err(e) => Err(format!("its configuration {:?}: {e}", saved.config)),
            };
            match image {
                Ok(image) => found.push((n, image)),
                Err(what) => told.push((n, format!("{what}; left out"))),
            }
        }
    }
    found.sort_by_key(|(n, _)| *n);
    told.sort_by_key(|(n, _)| *n);
    problems.extend(
        told.into_iter().map(|(n, what)| Problem::new("manifest.json", format!("image {n}: {what}"))),
    );
    found.into_iter().map(|(_, image)| image).collect()
}

/// Looks at the layers in the order of the archive: a compressed one is best gone through forwards.
fn describe_layers(
    archive: &Archive,
    images: &[Found<'_>],
) -> Result<HashMap<(u64, u64), Known>, SourceError> {
    let mut wanted: BTreeMap<(u64, u64), (&Piece, bool)> = BTreeMap::new();
    for layer in images.iter().flat_map(|image| &image.layers) {
        if let Some(piece) = &layer.piece {
            wanted.entry(piece.place()).or_insert((piece, false)).1 |= layer.diff_id.is_none();
        }
    }
    let mut described = HashMap::new();
    for (place, (piece, unstated)) in wanted {
        described.insert(place, archive.describe(piece, unstated)?);
    }
    archive.remember();
    Ok(described)
}

/// Makes up the index and the manifests. Fails where the index were larger than any that is read.
fn make_up(
    images: &[Found<'_>],
    described: &HashMap<(u64, u64), Known>,
) -> Result<(Vec<u8>, BTreeMap<Digest, Blob>), String> {
    // A layer that is not under its name may be there under another image's.
    let mut plain: HashMap<&Digest, &Piece> = HashMap::new();
    for FoundLayer { piece, diff_id } in images.iter().flat_map(|image| &image.layers) {
        if let (Some(piece), Some(diff_id)) = (piece, diff_id)
            && described.get(&piece.place()).is_some_and(|known| known.compression == Compression::None)
        {
            plain.entry(diff_id).or_insert(piece);
        }
    }
    let mut blobs = BTreeMap::new();
    // Text at once: as a value, an entry takes ten times as much.
    let mut index = String::from(r#"{"manifests":["#);
    for image in images {
        let mut layers = Vec::with_capacity(image.layers.len());
        for FoundLayer { piece, diff_id } in &image.layers {
            let piece = piece.as_ref().or_else(|| diff_id.as_ref().and_then(|id| plain.get(id).copied()));
            let known = piece.and_then(|piece| described.get(&piece.place()));
            let sha256 = known.and_then(|known| known.sha256.as_ref());
            let compression = known.map_or(Compression::None, |known| known.compression);
            // The contents' digest is the blob's own where the blob is nothing but the contents.
            let digest = match compression {
                Compression::None => diff_id.as_ref().or(sha256),
                _ => sha256,
            };
            let digest = digest.expect("a layer that states none was hashed, one that is absent states one");
            layers.push(descriptor(layer_type(compression), digest, piece.map_or(0, Piece::len)));
            // What was hashed takes the place of what is only said to have that digest: configurations too, below.
            match piece {
                Some(piece) if sha256 == Some(digest) => {
                    blobs.insert(digest.clone(), Blob::Member(piece.clone()));
                }
                Some(piece) => {
                    blobs.entry(digest.clone()).or_insert_with(|| Blob::Member(piece.clone()));
                }
                None => {}
            }
        }
        let FoundConfig { piece, digest, platform } = &*image.config;
        let config = descriptor(CONFIG, digest, piece.len());
        blobs.insert(digest.clone(), Blob::Member(piece.clone()));
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = manifest.to_string().into_bytes();
        let digest = sha256(&manifest);
        let mut entry = descriptor(MANIFEST, &digest, manifest.len() as u64);
        if let Some(platform) = platform {
            entry["platform"] = platform.clone();
        }
        blobs.insert(digest, Blob::Made(manifest.into()));
        let names = image.saved.tags.iter().map(Some);
        let unnamed = image.saved.tags.is_empty().then_some(None);
        for name in names.chain(unnamed) {
            if let Some(name) = name {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            }
            let comma = if index.ends_with('[') { "" } else { "," };
            write!(index, "{comma}{entry}").expect("a string takes everything");
            if index.len() as u64 > MAX_INDEX {
                return Err(format!("its images would make an index above {MAX_INDEX} bytes"));
            }
        }
    }
    write!(index, r#"],"mediaType":"{INDEX}","schemaVersion":2}}"#).expect("a string takes everything");
    Ok((index.into_bytes(), blobs))
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.as_str(), "size": size})
}

fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        // For the other two there is no media type; readers look at the bytes.
        Compression::None | Compression::Xz | Compression::Bzip2 => "application/vnd.oci.image.layer.v1.tar",
    }
}

fn platform(config: &ImageConfig) -> Option<Value> {
    let platform = &config.platform;
    let mut value = json!({"architecture": platform.architecture, "os": platform.os});
    for (name, text) in [("variant", &platform.variant), ("os.version", &platform.os_version)] {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    // Each is kept, of images that may be very many; who needs more than a name can have reads the configuration.
    let is_a_name = |text: &String| text.len() <= MAX_PLATFORM_NAME;
    let names = [&platform.architecture, &platform.os, &platform.variant, &platform.os_version];
    (platform.is_stated() && names.into_iter().all(is_a_name)).then_some(value)
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes).expect("sha256 is known")
}

/// Returns the digest that a configuration's name states: docker, kaniko and docker 25 each put it in, jib does not.
fn stated_digest(name: &str) -> Option<&str> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let hex = hex.strip_suffix(".json").unwrap_or(hex);
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

impl Source for DockerArchive {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.index.clone())
    }

    fn oci_layout(&self) -> Result<Vec<u8>, SourceError> {
        Ok(OCI_LAYOUT.to_vec())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn ReadAt>, SourceError> {
        match self.blobs.get(&descriptor.digest) {
            Some(Blob::Made(bytes)) => Ok(Box::new(bytes.to_vec())),
            Some(Blob::Member(piece)) => self.archive.open_piece(piece.clone()),
            None => Err(SourceError::Absent),
        }
    }

    fn blobs(&self) -> Result<Vec<(Digest, u64)>, SourceError> {
        let size = |blob: &Blob| match blob {
            Blob::Made(bytes) => <[u8]>::len(bytes) as u64,
            Blob::Member(piece) => piece.len(),
        };
        Ok(self.blobs.iter().map(|(digest, blob)| (digest.clone(), size(blob))).collect())
    }

    fn distrust(&self, digest: &Digest) {
        self.archive.distrust(digest);
    }

    fn modified(&self) -> SystemTime {
        self.archive.modified()
    }

    fn problems(&self) -> Vec<Problem> {
        self.problems.clone()
    }
}
