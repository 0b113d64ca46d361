//! Mounts a container image as a read-only tree of verified files.
//!
//! Modules stand in layers; one may use those on lower lines, never its own line or above
//! (`tests/it/architecture.rs` checks it):
//!
//! ```text
//! 7  cli                     arguments, reports, exit codes
//! 6  fuse                    the kernel: callbacks, errno, threads
//! 5  view                    what the user sees: names, inode numbers, grafts, failures
//! 4  image    layer          which images there are;  one layer's bytes and its index
//! 3  blob                    bytes that have been checked
//! 2  source                  bytes that have not: directory, tar, docker archive, registry
//! 1  codec    tar    tree    decompress from the middle;  tar headers;  immutable file trees
//! 0  oci      read_at        the specification as types;  the one reading trait
//! ```

pub mod blob;
pub mod cache;
pub mod cli;
pub mod codec;
pub mod fuse;
pub mod image;
pub mod layer;
pub mod oci;
pub mod problems;
pub mod read_at;
pub mod source;
pub mod tar;
pub mod tree;
pub mod view;
