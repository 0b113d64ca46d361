//! A blob on its way: written to an unfinished file by a thread, and read from there as far as it has come.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::client::{Client, Span, What};
use super::failure::{Failure, Trouble, of_connection};
use super::http::{content_range, give_back};
use super::patience::Patience;
use super::store::Store;
use super::unfinished::Part;
use crate::oci::{Digest, Hasher};
use crate::read_at::ReadAt;

/// Bytes taken from the connection at once.
const PIECE: usize = 128 << 10;

/// A blob that is being downloaded. Its bytes are unchecked, as those of every source are.
pub(super) struct Download {
    digest: Digest,
    size: u64,
    file: File,
    patience: Duration,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    /// How many bytes, from the beginning on, are in the file.
    have: u64,
    /// Somebody has waited in vain since anything came.
    is_silent: bool,
    /// How it ended, once it has.
    end: Option<Result<(), Failure>>,
}

impl Download {
    /// Starts the download of a blob of `size` bytes on a thread of its own, which calls `ended` at the end.
    pub(super) fn start(
        client: Arc<Client>,
        store: Arc<Store>,
        digest: Digest,
        size: u64,
        ended: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Result<Arc<Self>, Failure> {
        let keep = |e: io::Error| Failure::Local(format!("cannot keep {digest}: {e}"));
        let part = store.begin(&digest, size).map_err(keep)?;
        let download = Arc::new(Self {
            file: part.reader().map_err(keep)?,
            size,
            patience: client.longest_wait(),
            state: Mutex::new(State { have: 0, is_silent: false, end: None }),
            moved: Condvar::new(),
            digest: digest.clone(),
        });
        let own = download.clone();
        let thread = std::thread::Builder::new().name("download".to_owned());
        let run = move || {
            // A panic too is an end: whoever reads would wait for ever.
            let end = catch_unwind(AssertUnwindSafe(|| own.run(&client, &store, part)))
                .unwrap_or_else(|_| Err(Failure::Local("a bug: the download panicked".to_owned())));
            if let Err(failure) = &end {
                log::warn!("{}: {failure}", own.digest);
            }
            own.state.lock().end = Some(end);
            own.moved.notify_all();
            ended(&own);
        };
        thread.spawn(run).map_err(keep)?;
        Ok(download)
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Says whether anything is to be had of it: it is over when it ended, well or not, and when nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_silent || state.end.is_some()
    }

    fn run(&self, client: &Client, store: &Store, mut part: Part) -> Result<(), Failure> {
        let keep = |e: io::Error| Failure::Local(format!("cannot keep {}: {e}", self.digest));
        let resumed = part.have > 0;
        // What readers waited for goes before the bytes do.
        let restart = |part: &mut Part| {
            self.publish(0);
            part.restart().map_err(keep)
        };
        if part.have > self.size {
            restart(&mut part)?;
        }
        let filled = match self.fill(client, &mut part) {
            // What was there from an earlier attempt may have been torn by a crash.
            Err(Failure::Wrong(_)) if resumed => {
                restart(&mut part)?;
                self.fill(client, &mut part)
            }
            other => other,
        };
        match filled {
            Ok(()) => store.finish(part, &self.digest).map(drop).map_err(keep),
            Err(failure) => {
                part.give_up(matches!(failure, Failure::Wrong(_)));
                Err(failure)
            }
        }
    }

    /// Downloads what is missing, and fails unless all of it together is the blob.
    fn fill(&self, client: &Client, part: &mut Part) -> Result<(), Failure> {
        let unknown = || Failure::Wrong(format!("{}: cannot be checked: unknown algorithm", self.digest));
        let mut hasher = Hasher::new(self.digest.algorithm()).ok_or_else(unknown)?;
        let mut have = self.rehash(part, &mut hasher)?;
        let mut patience = client.patience();
        while have < self.size {
            if let Err(trouble) = self.receive(client, part, &mut have, &mut hasher, &mut patience) {
                patience.again(trouble)?;
            }
        }
        let found = hasher.finish();
        match found == self.digest {
            true => Ok(()),
            false => {
                Err(client.wrong(&format!("sent something else than {}: it hashes to {found}", self.digest)))
            }
        }
    }

    fn rehash(&self, part: &Part, hasher: &mut Hasher) -> Result<u64, Failure> {
        let mut buf = vec![0; PIECE];
        let mut at = 0;
        while at < part.have {
            let want = usize::try_from(part.have - at).unwrap_or(PIECE).min(PIECE);
            let got = ReadAt::read_at(part.file(), at, &mut buf[..want])
                .map_err(|e| Failure::Local(format!("cannot read what was kept of {}: {e}", self.digest)))?;
            if got == 0 {
                break;
            }
            hasher.update(&buf[..got]);
            at += got as u64;
            // Readers need not wait for the whole of it: that may take minutes.
            self.publish(at);
        }
        Ok(at)
    }

    /// Asks for the bytes from `have` on, and takes what comes.
    fn receive(
        &self,
        client: &Client,
        part: &Part,
        have: &mut u64,
        hasher: &mut Hasher,
        patience: &mut Patience,
    ) -> Result<(), Trouble> {
        let rest = Span { from: *have, to: None };
        let response = client.get(&What::Blob(self.digest.to_string()), rest, patience.body(self.size))?;
        let partial = response.status().as_u16() == 206;
        let mut skip = if partial { 0 } else { *have };
        if partial && content_range(&response).map(|(first, _)| first) != Some(*have) {
            return Err(client.wrong("sent other bytes than those asked for").into());
        }
        let coming = self.size - if partial { *have } else { 0 };
        let announced = response.body().content_length();
        if let Some(length) = announced.filter(|length| *length != coming) {
            let total = length.saturating_add(self.size - coming);
            return Err(client
                .wrong(&format!(
                    "says that {} has {total} bytes, and its descriptor says {}",
                    self.digest, self.size
                ))
                .into());
        }
        let mut body = response.into_body().into_reader();
        let mut buf = vec![0; PIECE];
        while *have < self.size {
            let got = body.read(&mut buf).map_err(|e| of_connection(client.host(), e.into()))?;
            if got == 0 {
                return Err(Trouble::again(Failure::Network(format!(
                    "{} broke off after {have} of {} bytes",
                    client.host(),
                    self.size
                ))));
            }
            // A registry that cannot resume sends all of it again.
            let known = usize::try_from(skip).unwrap_or(got).min(got);
            skip -= known as u64;
            let left = usize::try_from(self.size - *have).unwrap_or(got);
            let piece = &buf[known..got.min(known + left)];
            part.file()
                .write_all_at(piece, *have)
                .map_err(|e| Failure::Local(format!("cannot keep {}: {e}", self.digest)))?;
            hasher.update(piece);
            *have += piece.len() as u64;
            self.publish(*have);
            patience.came(known as u64);
            patience.progress(piece.len() as u64);
            if patience.is_over() {
                let what = format!("{} sends next to nothing", client.host());
                return Err(Failure::TimedOut(what).into());
            }
        }
        give_back(body, announced.is_some());
        Ok(())
    }

    fn publish(&self, have: u64) {
        let mut state = self.state.lock();
        // A second attempt begins at the front; what readers have been given they check themselves.
        state.have = have;
        state.is_silent = false;
        self.moved.notify_all();
    }

    /// Waits until the bytes before `end` are there.
    fn wait_for(&self, end: u64) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let mut seen = state.have;
        loop {
            match &state.end {
                Some(Err(failure)) if state.have < end => return Err(failure.clone()),
                _ if state.have >= end => return Ok(()),
                Some(_) => return Ok(()),
                None => {}
            }
            if self.moved.wait_for(&mut state, self.patience).timed_out() && state.have == seen {
                state.is_silent = true;
                return Err(Failure::TimedOut(format!("{}: nothing comes any more", self.digest)));
            }
            seen = state.have;
        }
    }
}

impl ReadAt for Download {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.size);
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(buf.len());
        if len == 0 {
            return Ok(0);
        }
        self.wait_for(end)?;
        match ReadAt::read_at(&self.file, offset, &mut buf[..len])? {
            got if got == len => Ok(got),
            // It is as long as its descriptor says, or it is none: fewer bytes would be taken for its end.
            _ => Err(Failure::Network(format!("{}: its download begins anew", self.digest)).into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::kit;
    use super::*;
    use crate::oci::Algorithm;

    /// Readers were told that nothing comes any more, while gigabytes of an earlier attempt were read from the disk.
    #[test]
    fn what_an_earlier_attempt_left_is_read_at_once() {
        const LEFT: u64 = 2 << 30;
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(Some(directory.path().join("blobs")), 20 << 30));
        let digest = Digest::of(Algorithm::Sha256, b"content").unwrap();
        let part = store.begin(&digest, LEFT + 1).unwrap();
        part.file().set_len(LEFT).unwrap();
        assert_eq!(part.file().metadata().unwrap().blocks(), 0, "a hole");
        drop(part);
        let client = Arc::new(kit::client(1, Duration::from_secs(5)));
        let download = Download::start(client, store, digest, LEFT + 1, |_| {}).unwrap();
        assert_eq!(download.read_at(0, &mut [1; 10]).unwrap(), 10);
        let have = download.state.lock().have;
        assert!(have < LEFT, "{have}");
    }
}
