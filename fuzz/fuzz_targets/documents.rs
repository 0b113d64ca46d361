//! The documents of an image: no panic, and prettying them twice changes nothing more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::oci::{Digest, ImageConfig, Index, Manifest, pretty};

fuzz_target!(|input: &[u8]| {
    let _ = Index::parse(input);
    let _ = Manifest::parse(input);
    let _ = ImageConfig::parse(input);
    if let Ok(once) = pretty(input) {
        assert_eq!(pretty(&once).expect("what we wrote can be read"), once);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(digest) = Digest::parse(text)
    {
        assert_eq!(digest.as_str(), text);
    }
});
