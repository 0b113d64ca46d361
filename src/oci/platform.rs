//! Platforms: what an image runs on (image-spec, image-index.md, "platform"), after containerd's normalisation.

use std::fmt;

use super::members::Members;

/// An operating system and processor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Platform {
    /// `os`; empty where unstated.
    pub os: String,
    /// `architecture`; empty where unstated.
    pub architecture: String,
    /// `variant`; empty where unstated.
    pub variant: String,
    /// `os.version`; empty where unstated.
    pub os_version: String,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a platform: want OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as linux/arm64 or linux/arm/v7"
)]
pub struct PlatformError(String);

impl Platform {
    /// Reads the members a descriptor's `platform` and an image config have in common.
    pub(super) fn of(members: &Members<'_>) -> Self {
        Self {
            os: members.owned("os"),
            architecture: members.owned("architecture"),
            variant: members.owned("variant"),
            os_version: members.owned("os.version"),
        }
    }

    /// Parses what a user types: `OS/ARCHITECTURE[/VARIANT]`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if os.is_empty() || architecture.is_empty() {
            return Err(PlatformError(text.to_owned()));
        }
        let owned = str::to_owned;
        Ok(Self {
            os: owned(os),
            architecture: owned(architecture),
            variant: owned(variant),
            os_version: String::new(),
        }
        .normalized())
    }

    /// Says whether os and architecture are both stated, and are not BuildKit's `unknown/unknown`.
    pub fn is_stated(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty() && !self.is_unknown()
    }

    /// Says whether this is `unknown/unknown`, which marks what is no image (BuildKit's attestations).
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Returns the platform in the form users type, after containerd's rules.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = self.architecture.to_lowercase();
        let variant = self.variant.to_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (a, v) => (a, v),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: self.os_version.clone(),
        }
    }

    /// Says whether an image for `self` is what `wanted` (as parsed) asks for.
    pub fn matches(&self, wanted: &Self) -> bool {
        let own = self.normalized();
        own.os == wanted.os && own.architecture == wanted.architecture && own.variant == wanted.variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation() {
        for (typed, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v8.1", "linux/arm64/v8.1"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(Platform::parse(typed).unwrap().to_string(), normal, "{typed}");
        }
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
