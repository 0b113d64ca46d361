//! Mounts a container image as a read-only tree of verified files.
//!
//! Modules stand in layers; one may use those on lower lines, never its own line or above
//! (`tests/it/architecture.rs` checks it):
//!
//! ```text
//! 8  cli                     arguments, reports, exit codes
//! 7  fuse                    the kernel: callbacks, errno, threads
//!    cage                    what the process gives up before it serves
//!    survey                  what a source holds as a whole, and whether it is right
//! 6  view                    what the user sees: names, inode numbers, grafts, failures
//! 5  image    layer          which images there are;  one layer's bytes and its index
//! 4  blob                    bytes that have been checked
//! 3  source                  bytes that have not: directory, tar, docker archive, registry
//!    toc                     tables of contents that layers carry
//! 2  stream                  bytes in the middle of a compressed stream
//! 1  codec    tar    tree    decompress from the middle;  tar headers;  immutable file trees
//!    cache                   what is kept on disk from one mount to the next
//! 0  oci      read_at        the specification as types;  the one reading trait
//!    problems                what is wrong with the source, a line each
//!    side_by_side            several things done at once
//!    flight                  one thing done for all who ask for it
//! ```

pub mod blob;
pub mod cache;
pub mod cage;
pub mod cli;
pub mod codec;
pub mod flight;
pub mod fuse;
pub mod image;
pub mod layer;
pub mod oci;
pub mod problems;
pub mod read_at;
pub mod side_by_side;
pub mod source;
pub mod stream;
pub mod survey;
pub mod tar;
pub mod toc;
pub mod tree;
pub mod view;
