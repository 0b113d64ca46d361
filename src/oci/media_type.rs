//! Media types: what a descriptor says its blob is.

/// What a descriptor says its blob is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaType {
    /// An OCI image index or a Docker manifest list.
    Index,
    /// An OCI or Docker image manifest.
    Manifest,
    /// An OCI or Docker image configuration.
    Config,
    /// A file tree: tar, whatever its compression is said to be.
    Layer(LayerMedia),
    /// An in-toto statement.
    InToto,
    /// Anything else: opaque bytes.
    Other,
}

/// How a layer's media type says it is compressed. A claim: the bytes decide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LayerMedia {
    /// A plain tar.
    Tar,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with zstd.
    Zstd,
    /// Docker's `rootfs.diff.tar`: containerd writes any compression under it.
    Unstated,
}

impl MediaType {
    /// Recognises the text of a `mediaType` member.
    pub fn of(text: &str) -> Self {
        match text {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Self::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Self::Manifest,
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json" => {
                Self::Config
            }
            "application/vnd.in-toto+json" => Self::InToto,
            _ => layer(text).map_or(Self::Other, Self::Layer),
        }
    }
}

fn layer(text: &str) -> Option<LayerMedia> {
    if let Some(rest) = text.strip_prefix("application/vnd.docker.image.rootfs.") {
        return match rest {
            "diff.tar" | "foreign.diff.tar" => Some(LayerMedia::Unstated),
            "diff.tar.gzip" | "foreign.diff.tar.gzip" => Some(LayerMedia::Gzip),
            "diff.tar.zstd" | "foreign.diff.tar.zstd" => Some(LayerMedia::Zstd),
            _ => None,
        };
    }
    let rest = text.strip_prefix("application/vnd.oci.image.layer.")?;
    match rest.strip_prefix("nondistributable.").unwrap_or(rest) {
        "v1.tar" => Some(LayerMedia::Tar),
        "v1.tar+gzip" => Some(LayerMedia::Gzip),
        "v1.tar+zstd" => Some(LayerMedia::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let layer = |media| MediaType::Layer(media);
        for (text, kind) in [
            ("application/vnd.oci.image.index.v1+json", MediaType::Index),
            ("application/vnd.docker.distribution.manifest.list.v2+json", MediaType::Index),
            ("application/vnd.docker.distribution.manifest.v2+json", MediaType::Manifest),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", MediaType::Other),
            ("application/vnd.oci.image.layer.v1.tar", layer(LayerMedia::Tar)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", layer(LayerMedia::Zstd)),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", layer(LayerMedia::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar", layer(LayerMedia::Unstated)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", layer(LayerMedia::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", MediaType::Other),
            ("application/vnd.oci.image.layer.nydus.blob.v1", MediaType::Other),
            ("application/vnd.erofs.layer.v1", MediaType::Other),
            ("", MediaType::Other),
        ] {
            assert_eq!(MediaType::of(text), kind, "{text}");
        }
    }
}
