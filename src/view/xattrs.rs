//! Extended attributes of what comes from a blob, within what the kernel takes.

use crate::oci::{Annotations, Descriptor};

/// Longest name of an attribute (`XATTR_NAME_MAX`).
const NAME_MAX: usize = 255;

/// Longest value (`XATTR_SIZE_MAX`), and longest list of names (`XATTR_LIST_MAX`), in bytes.
const SIZE_MAX: usize = 65_536;

/// What the names of our own attributes begin with; an image's attributes of such names are not shown.
pub(super) const PREFIX: &[u8] = b"user.oci.";

/// What ls, cp and rsync ask of every file. Where nothing in a tree has any of these, the answer is "not supported", which
/// they take for the whole filesystem and stop asking; "none here" they take for one file.
pub(super) fn is_label(name: &[u8]) -> bool {
    matches!(name, b"security.selinux" | b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Names and values, in the order they are listed.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Returns what a descriptor and the annotations beside it say. What the kernel could not carry is left out: it
/// stands in the documents.
pub(super) fn of_descriptor(descriptor: &Descriptor, annotations: &Annotations) -> Xattrs {
    let mut xattrs = Xattrs::new();
    let mut listed = 0;
    let mut add = |name: String, value: &str| {
        let fits = name.len() <= NAME_MAX && value.len() <= SIZE_MAX && !name.contains('\0');
        if fits && listed + name.len() < SIZE_MAX {
            listed += name.len() + 1;
            xattrs.push((name.into_bytes(), value.as_bytes().to_vec()));
        }
    };
    add("user.oci.digest".to_owned(), descriptor.digest.as_str());
    if !descriptor.media_type.is_empty() {
        add("user.oci.mediatype".to_owned(), &descriptor.media_type);
    }
    for (key, value) in annotations.iter() {
        add(format!("user.oci.annotation.{key}"), value);
    }
    xattrs
}

/// Drops from the end what would make the list of names longer than the kernel carries: it would show none of them.
pub(super) fn cut_to_list(xattrs: &mut Xattrs) {
    let mut listed = 0;
    let fits = |(name, _): &&(Vec<u8>, Vec<u8>)| {
        listed += name.len() + 1;
        listed <= SIZE_MAX
    };
    let fitting = xattrs.iter().take_while(fits).count();
    xattrs.truncate(fitting);
}
