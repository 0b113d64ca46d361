//! What a manifest and its configuration say of the same layers. Pure: nothing here reads a document.

use crate::oci::{ImageConfig, Manifest};

/// Why a configuration does not vouch for the layers of a manifest (config.md, "rootfs").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Layers of a kind we do not know, which must be refused.
    #[error("rootfs.type is {0:?}, want \"layers\"")]
    Type(String),
    /// A manifest and a configuration of different images, it seems.
    #[error("the configuration has {diff_ids} diff_ids for {layers} layers")]
    Count {
        /// How many diff_ids the configuration has.
        diff_ids: usize,
        /// How many layers the manifest has.
        layers: usize,
    },
    /// A diff_id that is no digest. The other layers have theirs.
    #[error("rootfs.diff_ids[{number}]: {what}")]
    DiffId {
        /// Which one.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// Returns everything that stands against a configuration's vouching for the layers; what concerns all of them first.
pub fn objections<'a>(
    manifest: &Manifest,
    config: &'a ImageConfig,
) -> impl Iterator<Item = Objection> + use<'a> {
    let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
    let kind = (config.rootfs_type != "layers").then(|| Objection::Type(config.rootfs_type.clone()));
    let count = (layers != diff_ids).then_some(Objection::Count { diff_ids, layers });
    let bad = config.diff_ids.iter().enumerate().filter_map(|(number, diff_id)| {
        let what = diff_id.as_ref().err()?.clone();
        Some(Objection::DiffId { number, what })
    });
    kind.into_iter().chain(count).chain(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_against_a_configuration() {
        let layer = format!(r#"{{"digest":"sha256:{}","size":2}}"#, "ab".repeat(32));
        let manifest = Manifest::parse(format!(r#"{{"layers":[{layer},{layer}]}}"#).as_bytes()).unwrap();
        let good = format!(r#""sha256:{}""#, "cd".repeat(32));
        for (rootfs, expected) in [
            (format!(r#"{{"type":"layers","diff_ids":[{good},{good}]}}"#), ""),
            (
                format!(r#"{{"diff_ids":[{good}]}}"#),
                "rootfs.type is \"\", want \"layers\"; the configuration has 1 diff_ids for 2 layers",
            ),
            (
                format!(r#"{{"type":"layers","diff_ids":[{good},"x"]}}"#),
                "rootfs.diff_ids[1]: \"x\" is not a digest: want `algorithm:encoded`",
            ),
        ] {
            let config = ImageConfig::parse(format!(r#"{{"rootfs":{rootfs}}}"#).as_bytes()).unwrap();
            let all: Vec<String> = objections(&manifest, &config).map(|o| o.to_string()).collect();
            assert_eq!(all.join("; "), expected, "{rootfs}");
        }
    }
}
