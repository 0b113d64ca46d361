//! Pure types of the OCI image specification.
//!
//! No I/O of any kind: everything here is parsed from bytes somebody else has read.

mod annotations;
mod descriptor;
mod digest;
mod document;
mod media_type;
mod members;
mod platform;
mod reference;

pub use annotations::Annotations;
pub use descriptor::{Data, Descriptor, DescriptorError};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use document::{
    DocumentError, History, ImageConfig, Index, IndexEntry, MAX_DOCUMENT, Manifest, pretty, steps,
};
pub use media_type::{LayerMedia, MediaType};
#[cfg(feature = "registry")]
pub(crate) use members::Members;
pub(crate) use members::{elements, text};
pub use platform::{Platform, PlatformError};
pub use reference::{
    ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, ANNOTATION_TITLE, REFERRER_SUFFIXES, image_name,
    referrers_tag,
};
