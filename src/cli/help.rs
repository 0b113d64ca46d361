//! What `-h` and `--help` say besides the options, and what `--version` says.

/// The package's version, and for release builds from a git tree the commit: build.rs.
pub(super) const VERSION: &str = env!("OCIFS_VERSION");

/// What it is, in a line.
pub(super) const ABOUT: &str = "Mounts a container image as a read-only tree of verified files";

/// What it is, in a paragraph.
pub(super) const LONG_ABOUT: &str = "\
Mounts a container image as a read-only tree of verified files: its documents, its blobs, each layer's own files and \
the finished root filesystem, of every platform and every tag. Nothing is unpacked, and no byte is handed out that was \
not checked against the image's digests.

The command returns when the mount answers, and stays in the background until the mount ends.";

/// Under the options of `-h`.
pub(super) const AFTER_HELP: &str = "\
Unmount with `umount MOUNTPOINT`, or `fusermount3 -u MOUNTPOINT` when you are not root.
More, with examples: `ocifs --help`, `man ocifs`";

/// Under the options of `--help`.
pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  ocifs layout/ mnt                          a layout directory, or an archive as `docker save` writes it
  ls mnt/platforms/linux-amd64/rootfs        what a container would see
  ls mnt/platforms/linux-amd64/diffs/2       what layer 2 brought, deletions as .wh. files
  cat mnt/platforms/*/config.json            the configurations of all platforms
  cat mnt/.ocifs/problems                    what is wrong with the image
  fusermount3 -u mnt                         the end of it; as root `umount mnt`

  ocifs docker://ghcr.io/org/app:1.4 mnt     an image in a registry; layers come when you look into them
  ocifs --image app:1.4 saved.tar mnt        one image of several
  ocifs --image sha256:… layout/ mnt         the image of this digest and no other
  ocifs --symlinks=rebase layout/ mnt        absolute symlinks lead into the image, not into the host
  ocifs inspect layout/                      what is in there, without a mount
  ocifs verify layout/                       whether all of it is intact

The mount:
  platforms/<os-arch>/                       manifest.json config.json layers/N diffs/N/… rootfs/… history
                                             at/N/… deleted/N/… attestations/ referrers/ pretty/
  images/<name>/  artifacts/<name>/          where there are several images
  blobs/<algorithm>/<hex>                    every blob; the mount is itself an OCI layout
  .ocifs/problems  .ocifs/stats              not listed, and there by name

Exit status: 0 fine, 1 the image is bad or the mount failed, 2 wrong usage.";
