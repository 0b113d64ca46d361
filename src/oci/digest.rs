//! Digests and the algorithms behind them (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::sync::Arc;

use sha2::Digest as _;

/// Longest algorithm or encoded part we take: each is one path component of the layout.
const MAX_PART: usize = 255;

/// A hash algorithm of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// `sha256`, which everybody must implement.
    Sha256,
    /// `sha384`, in no table of the specification, but known to the common Go library.
    Sha384,
    /// `sha512`.
    Sha512,
    /// `blake3` with 256 bits of output.
    Blake3,
    /// Fits the grammar, and we cannot compute it.
    Unknown,
}

impl Algorithm {
    fn of_name(name: &str) -> Self {
        match name {
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "blake3" => Self::Blake3,
            _ => Self::Unknown,
        }
    }

    /// Returns how many hex digits the encoded part has, where the algorithm is known.
    fn hex_len(self) -> Option<usize> {
        match self {
            Self::Sha256 | Self::Blake3 => Some(64),
            Self::Sha384 => Some(96),
            Self::Sha512 => Some(128),
            Self::Unknown => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
            Self::Unknown => "unknown",
        }
    }
}

/// A checked digest string: `algorithm:encoded`.
///
/// Of a known algorithm it has exactly the right number of lower-case hex digits; of an unknown one it fits the
/// grammar. Either part is a safe, single path component. [`Digest::parse`] and [`Hasher::finish`] are the only ways in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Arc<str>,
}

/// Why a string is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:encoded`.
    #[error("{0:?} is not a digest: want `algorithm:encoded`")]
    Grammar(String),
    /// A known algorithm with something else than its hex digits.
    #[error("{text:?} is not a {algorithm} digest: want {want} lower-case hex digits")]
    Encoding {
        /// The string.
        text: String,
        /// The algorithm it names.
        algorithm: &'static str,
        /// How many digits that algorithm has.
        want: usize,
    },
}

impl Digest {
    /// Parses `algorithm:encoded`, by the grammar and, for known algorithms, by their length and alphabet.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let bad = || DigestError::Grammar(text.chars().take(2 * MAX_PART).collect());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(bad)?;
        let known = Algorithm::of_name(algorithm);
        let fits = known.hex_len().is_some_and(|want| encoded.len() == want && is_lower_hex(encoded));
        if !fits && (!is_algorithm(algorithm) || !is_encoded(encoded)) {
            return Err(bad());
        }
        if let Some(want) = known.hex_len().filter(|_| !fits) {
            return Err(DigestError::Encoding { text: text.to_owned(), algorithm: known.name(), want });
        }
        Ok(Self { text: text.into() })
    }

    /// Returns the digest of `bytes`, or nothing where the algorithm is unknown.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let mut hasher = Hasher::new(algorithm)?;
        hasher.update(bytes);
        Some(hasher.finish())
    }

    /// Returns the sha256 whose bytes these are.
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        Self { text: format!("sha256:{}", hex(bytes)).into() }
    }

    /// Returns the bytes of a sha256; nothing for another algorithm.
    pub fn sha256_bytes(&self) -> Option<[u8; 32]> {
        if self.algorithm() != Algorithm::Sha256 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(self.encoded().as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(bytes)
    }

    /// Returns where the blob stands in a layout (image-layout.md, "Blobs").
    pub fn blob_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm_name(), self.encoded())
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::of_name(self.algorithm_name())
    }

    /// Returns the part before the colon.
    pub fn algorithm_name(&self) -> &str {
        self.text.split(':').next().expect("a digest has an algorithm")
    }

    /// Returns the part after the colon.
    pub fn encoded(&self) -> &str {
        self.text.split_once(':').expect("a digest has a colon").1
    }

    /// Returns the first twelve characters of the encoded part, for names people read.
    pub fn short(&self) -> &str {
        let encoded = self.encoded();
        &encoded[..encoded.len().min(12)]
    }

    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `component ([+._-] component)*`, where a component is lower-case alphanumeric.
fn is_algorithm(text: &str) -> bool {
    text.len() <= MAX_PART
        && text.split(['+', '.', '_', '-']).all(|component| {
            !component.is_empty() && component.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
        })
}

/// Looks at every byte whatever comes: an index may have ten thousand digests, and eight bytes are looked at at once.
fn is_lower_hex(text: &str) -> bool {
    text.bytes().fold(true, |fits, b| fits & matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_encoded(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_PART
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A running hash of a known algorithm.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Starts a hash, or says that the algorithm is unknown.
    pub fn new(algorithm: Algorithm) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => State::Blake3(Box::default()),
            Algorithm::Unknown => return None,
        }))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha384(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
            State::Blake3(h) => drop(h.update(bytes)),
        }
    }

    /// Ends the hash.
    pub fn finish(self) -> Digest {
        let (name, hex) = match self.0 {
            State::Sha256(h) => ("sha256", hex(&h.finalize())),
            State::Sha384(h) => ("sha384", hex(&h.finalize())),
            State::Sha512(h) => ("sha512", hex(&h.finalize())),
            State::Blake3(h) => ("blake3", hex(h.finalize().as_bytes())),
        };
        Digest { text: format!("{name}:{hex}").into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|n| char::from_digit(n.into(), 16).expect("a nibble"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_sha256() {
        let digest = Digest::of(Algorithm::Sha256, b"abc").unwrap();
        let bytes = digest.sha256_bytes().unwrap();
        assert_eq!((bytes[0], bytes[31]), (0xba, 0xad));
        assert_eq!(Digest::from_sha256(&bytes), digest);
        assert_eq!(Digest::of(Algorithm::Blake3, b"abc").unwrap().sha256_bytes(), None);
        assert_eq!(digest.blob_path(), format!("blobs/sha256/{}", digest.encoded()));
    }

    #[test]
    fn grammar() {
        let hex64 = "a".repeat(64);
        let hex128 = "0".repeat(128);
        for good in [
            format!("sha256:{hex64}"),
            format!("sha512:{hex128}"),
            format!("blake3:{hex64}"),
            "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8".to_owned(),
            "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564".to_owned(),
            "x:-".to_owned(),
        ] {
            assert_eq!(Digest::parse(&good).map(|d| d.to_string()), Ok(good));
        }
        for bad in [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:abc",
            "SHA256:abc",
            "a..b:x",
            "-a:x",
            "x:a/b",
            "x:..",
            "x:a b",
            "x:\u{e9}",
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "a".repeat(63)),
            &format!("x:{}", "a".repeat(256)),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn known_answers() {
        let of = |algorithm| Digest::of(algorithm, b"{}").unwrap().to_string();
        assert_eq!(
            of(Algorithm::Sha256),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert!(of(Algorithm::Sha512).starts_with("sha512:27c74670adb75075"));
        assert_eq!(
            Digest::of(Algorithm::Blake3, b"").unwrap().to_string(),
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(Digest::of(Algorithm::Unknown, b""), None);
    }
}
