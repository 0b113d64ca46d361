//! Integration tests: the command and the mounted tree, seen from outside, through real mounts.
//!
//! One binary for all of them (one link step). They need /dev/fuse and Debian's skopeo, umoci, buildah, attr;
//! `scripts/test.sh` installs what is missing. What is not there fails a test with a sentence; nothing is skipped.

// The whole crate is tests; clippy knows only #[test] functions as such.
#![allow(clippy::unwrap_used)]

mod kit;

mod architecture;
mod attestations;
mod blobs;
mod cage;
mod cli;
mod corrupt;
mod diffs;
mod documents;
mod ending;
mod images;
mod indexes;
mod inspect;
mod layers;
mod lazy;
mod load;
mod messages;
mod model;
mod mounting;
mod overlay;
mod past;
mod push;
mod realuse;
mod referrers;
mod registry;
mod registry_limits;
mod regressions;
mod remote_referrers;
mod rootfs;
mod semantics;
mod service;
mod sources;
mod tools;
mod verify;
mod version;
