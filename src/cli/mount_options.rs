//! `-o` options: ours, the kernel's, and what stands in fstab for others to read.

use std::ffi::OsString;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum as _;
use nix::unistd::{Group, User};

use super::args::{MountArgs, SymlinksArg};
use crate::oci::Platform;

/// Options that other programs read in fstab (mount(8), systemd), or that are true of this filesystem anyway. `rw`
/// is what mount(8) passes by default; the mount is read-only all the same.
const PASSED_OVER: &[&str] = &[
    "async",
    "atime",
    "auto",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "nodev",
    "nodiratime",
    "noatime",
    "noauto",
    "nofail",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nouser",
    "owner",
    "_netdev",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "sync",
    "user",
    "users",
    "auto_unmount",
    "nonempty",
];

/// The same with a value.
const PASSED_OVER_WITH_VALUE: &[&str] = &[
    "comment",
    "context",
    "defcontext",
    "fscontext",
    "fsname",
    "helper",
    "max_read",
    "rootcontext",
    "subtype",
    "user",
];

/// Reads one `-o` argument into `args`. Returns whether `noexec` was in it.
pub(super) fn read(list: &str, args: &mut MountArgs) -> anyhow::Result<bool> {
    let mut noexec = false;
    for option in split(list) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        };
        let need = || value.with_context(|| format!("-o {name}: needs a value, as in {name}=…"));
        match name {
            "" => {}
            "noexec" => noexec = true,
            "allow_other" => args.allow_other = true,
            "allow_root" => args.allow_root = true,
            "uid" => args.uid = Some(user(need()?).with_context(|| format!("-o {option}"))?),
            "gid" => args.gid = Some(group(need()?).with_context(|| format!("-o {option}"))?),
            "image" => args.source.image = Some(need()?.to_owned()),
            "platform" => {
                args.source.platform = Some(Platform::parse(need()?).with_context(|| format!("-o {option}"))?)
            }
            "cache_dir" | "cache-dir" => args.source.cache_dir = Some(need()?.into()),
            "no_cache" | "no-cache" => args.source.no_cache = true,
            "symlinks" => {
                args.symlinks =
                    SymlinksArg::from_str(need()?, false).map_err(|e| anyhow!("-o {option}: {e}"))?;
            }
            "tls_ca" | "tls-ca" => args.source.tls_ca = Some(need()?.into()),
            "plain_http" | "plain-http" => args.source.plain_http = true,
            "timeout" => {
                let seconds = super::registry::seconds(need()?);
                args.source.timeout = Some(seconds.map_err(|e| anyhow!("-o {option}: {e}"))?);
            }
            "log_file" | "log-file" => args.log_file = Some(need()?.into()),
            _ if name.starts_with("x-") || name.starts_with("X-") => {}
            _ if value.is_none() && PASSED_OVER.contains(&name) => {}
            _ if value.is_some() && PASSED_OVER_WITH_VALUE.contains(&name) => {}
            _ => bail!(
                "-o {option}: no such option; ocifs knows ro, allow_other, allow_root, noexec, uid=, gid=, image=, \
                 platform=, symlinks=, cache_dir=, no_cache, tls_ca=, plain_http, timeout=, log_file="
            ),
        }
    }
    if args.allow_other && args.allow_root {
        bail!("allow_other and allow_root exclude each other");
    }
    Ok(noexec)
}

/// Splits at commas; `\,` is a comma and `\\` a backslash, as libfuse has it.
fn split(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut characters = list.chars();
    while let Some(c) = characters.next() {
        let last = options.last_mut().expect("begins with one");
        match c {
            ',' => options.push(String::new()),
            '\\' => last.extend(characters.next()),
            c => last.push(c),
        }
    }
    options
}

/// Reads a user: a number or a name.
pub(super) fn user(text: &str) -> anyhow::Result<u32> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let user =
        User::from_name(text)?.with_context(|| format!("{text:?} is neither a user's name nor a number"))?;
    Ok(user.uid.as_raw())
}

/// Reads a group: a number or a name.
pub(super) fn group(text: &str) -> anyhow::Result<u32> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let group = Group::from_name(text)?
        .with_context(|| format!("{text:?} is neither a group's name nor a number"))?;
    Ok(group.gid.as_raw())
}

/// Translates the command line mount(8) gives its helpers: `SOURCE DIR [-sfnv] [-N NS] [-o OPTS] [-t TYPE]`.
///
/// Returns ours, and whether it is only a rehearsal (`-f`).
pub(super) fn from_mount_helper(args: &[OsString]) -> anyhow::Result<(Vec<OsString>, bool)> {
    let mut ours = vec![OsString::from("ocifs")];
    let mut fake = false;
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("-o") => ours.extend([arg.clone(), rest.next().context("-o needs options")?.clone()]),
            Some("-t" | "-N") => drop(rest.next()),
            Some(flags) if flags.len() > 1 && flags.starts_with('-') && !flags.starts_with("--") => {
                for flag in flags.chars().skip(1) {
                    match flag {
                        'f' => fake = true,
                        'v' => ours.push("-v".into()),
                        's' | 'n' | 'w' | 'r' => {}
                        other => bail!("-{other}: not an option of a mount helper"),
                    }
                }
            }
            _ => ours.push(arg.clone()),
        }
    }
    Ok((ours, fake))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn args() -> MountArgs {
        MountArgs::try_parse_from(["ocifs", "s", "m"]).unwrap()
    }

    #[test]
    fn an_fstab_line() {
        let mut args = args();
        let list = "ro,noauto,nofail,x-systemd.automount,_netdev,comment=a b,allow_other,uid=7,gid=root,image=a\\,b:1,noexec,";
        assert!(read(list, &mut args).unwrap());
        assert!(args.allow_other);
        assert_eq!((args.uid, args.gid), (Some(7), Some(0)));
        assert_eq!(args.source.image.as_deref(), Some("a,b:1"));
    }

    #[test]
    fn what_is_not_an_option() {
        for list in
            ["imgae=x", "uid", "uid=nobody-of-this-name", "platform=linux", "allow_other,allow_root", "ro=1"]
        {
            assert!(read(list, &mut args()).is_err(), "{list}");
        }
    }

    #[test]
    fn a_mount_helper() {
        let given =
            ["mount.fuse.ocifs", "/s", "/m", "-sv", "-t", "fuse.ocifs", "-o", "ro,uid=1"].map(OsString::from);
        let (ours, fake) = from_mount_helper(&given).unwrap();
        assert_eq!(ours, ["ocifs", "/s", "/m", "-v", "-o", "ro,uid=1"].map(OsString::from));
        assert!(!fake);
        assert!(from_mount_helper(&["mount.ocifs", "a", "b", "-f"].map(OsString::from)).unwrap().1);
    }
}
