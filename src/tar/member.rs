//! One member: its header, and what extended headers said before it, made into an [`Entry`].

use super::header::{BLOCK, Header};
use super::pax::Records;
use super::sparse::Form;
use super::{Entry, Event, Extent, Fault, Kind, MAX_NAME, Problem, Time};

/// What extended headers have said about the next member.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Where the first of them stands.
    pub(super) since: Option<u64>,
    pub(super) records: Records,
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    /// Why the member must be left out.
    pub(super) fault: Option<Fault>,
}

/// Makes an entry of a header and what was said before it, all but a sparse file's extents.
pub(super) fn draft(
    header: Header<'_>,
    at: u64,
    stored: u64,
    pending: Pending,
    sink: &mut dyn FnMut(Event),
) -> Result<(Entry, Form), Problem> {
    let Pending { mut records, long_name, long_link, fault, .. } = pending;
    let flag = header.flag();
    let real_name = records.sparse.name.take();
    let mut path = real_name.or(records.path.take()).or(long_name).unwrap_or_else(|| header.path());
    let fault = fault.or_else(|| check_name(&path, "path").err());
    // For the report; what is longer has a fault by now.
    path.truncate(MAX_NAME);
    let target = || records.linkpath.take().or(long_link).unwrap_or_else(|| header.link().to_vec());

    let name = |what| Problem { offset: at, name: Some(path.clone()), what };
    if matches!(flag, b'V' | b'M' | b'N') {
        return Err(name(Fault::NotAFile(flag)));
    }
    if let Some(fault) = fault {
        return Err(name(fault));
    }

    let slash = path.last() == Some(&b'/');
    let kind = match flag {
        b'1' => Kind::HardLink(check_target(target()).map_err(name)?),
        b'2' => Kind::Symlink(check_target(target()).map_err(name)?),
        b'3' | b'4' => {
            let number = |record: Option<Option<u32>>, field: Option<i64>| {
                let field = field.and_then(|number| u32::try_from(number).ok());
                record.unwrap_or(field).ok_or(Fault::Number("device number"))
            };
            let major = number(records.device_major, header.device_major()).map_err(name)?;
            let minor = number(records.device_minor, header.device_minor()).map_err(name)?;
            match flag {
                b'3' => Kind::CharDevice { major, minor },
                _ => Kind::BlockDevice { major, minor },
            }
        }
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        // Before there was a type for directories, they were files with a slash and without bytes.
        b'0' | 0 if slash && stored == 0 => Kind::Directory,
        _ => Kind::Regular,
    };

    let id = |record: Option<u32>, field: Option<i64>, what| {
        record.or(field.and_then(|id| u32::try_from(id).ok())).ok_or(Fault::Number(what))
    };
    let uid = id(records.uid, header.uid(), "uid").map_err(name)?;
    let gid = id(records.gid, header.gid(), "gid").map_err(name)?;
    let mode = header.mode().ok_or(Fault::Number("mode")).map_err(name)?;
    let mode = u16::try_from(mode & 0o7777).expect("twelve bits fit into sixteen");
    let mtime = match records.mtime {
        Some(time) => time,
        None => Time { seconds: header.mtime().ok_or(Fault::Number("mtime")).map_err(name)?, nanos: 0 },
    };

    let (form, size) = match (&kind, flag) {
        (Kind::Regular, b'S') => {
            let size = header.real_size().ok_or(Fault::Sparse("size is not a number")).map_err(name)?;
            (Form::Dense, size)
        }
        (Kind::Regular, _) => match records.sparse.form().map_err(name)? {
            Form::Dense => (Form::Dense, stored),
            form => {
                let size = records.sparse.real_size.ok_or(Fault::Sparse("no size given")).map_err(name)?;
                (form, size)
            }
        },
        _ => (Form::Dense, 0),
    };
    let mut extents = Vec::new();
    if matches!(form, Form::Dense) && flag != b'S' && size > 0 {
        extents.push(Extent { file_offset: 0, stream_offset: at + BLOCK as u64, length: size });
    }

    let (xattrs, fault) = records.xattrs.finish();
    if let Some(fault) = fault {
        sink(Event::problem(at, Some(path.clone()), fault));
    }
    if kind == Kind::Regular {
        if slash {
            sink(Event::problem(at, Some(path.clone()), Fault::SlashOnFile));
        }
        if !matches!(flag, b'0' | b'7' | b'S' | 0) {
            sink(Event::problem(at, Some(path.clone()), Fault::UnknownType(flag)));
        }
    }
    Ok((Entry { header_offset: at, path, kind, mode, uid, gid, mtime, size, extents, xattrs }, form))
}

fn check_name(name: &[u8], what: &'static str) -> Result<(), Fault> {
    if name.len() > MAX_NAME {
        Err(Fault::NameTooLong(what))
    } else if name.contains(&0) {
        Err(Fault::Nul(what))
    } else {
        Ok(())
    }
}

fn check_target(target: Vec<u8>) -> Result<Vec<u8>, Fault> {
    check_name(&target, "link target")?;
    if target.is_empty() { Err(Fault::NoTarget) } else { Ok(target) }
}
