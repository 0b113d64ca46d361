//! Mounts that end while sixteen readers are at them, in every way there is to end one, at every moment there is.
//!
//! Whatever the moment, nobody hangs, no process and no mount stays, whatever was read was right, and the next mount works.

use crate::kit::{Act, bytes};
use crate::kit::{
    Layer, Layout, Member, Mount, PLATFORM, Proxy, Random, Registry, TempDir, daemons, detach, is_mounted,
    keepers, run, temp_dir, text, unmount, wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

/// Readers of one mount.
const READERS: usize = 16;

/// Bytes of each of the large files: with two of them, going over the layer takes longer than most delays.
const LARGE: usize = 12 << 20;

/// The longest a reader is let alone, in milliseconds: from before the pass over a layer begins to behind its end.
const LONGEST: usize = 500;

/// How long the rounds of one test go on, and how many are under way at once.
const USUAL: Duration = Duration::from_secs(15);
const LANES: u64 = 3;

/// How a mount ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// `umount`, again and again, until it is not busy any more.
    Unmount,
    /// `umount -l`.
    Detach,
    /// SIGTERM to who serves.
    Signal,
    /// SIGTERM twice.
    Signals,
    /// SIGTERM to the process that unmounts.
    SignalToKeeper,
    /// SIGKILL to who serves.
    Kill,
    /// SIGKILL to the process that unmounts, and then SIGTERM to who serves.
    KillKeeper,
}

const ENDS: [End; 7] =
    [End::Unmount, End::Detach, End::Signal, End::Signals, End::SignalToKeeper, End::Kill, End::KillKeeper];

/// The content of a large file: at each eighth byte, where it stands.
fn content(number: usize, len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|n| (((number as u64) << 40) | n as u64).to_le_bytes()).collect()
}

/// A small layer, and one that takes a while.
fn layout() -> Layout {
    let small: Vec<Member> =
        (0..200).map(|n| Member::file(format!("d{}/f{n}", n % 7), format!("small {n}"))).collect();
    let large: Vec<Member> = (0..2).map(|n| Member::file(format!("large{n}"), content(n, LARGE))).collect();
    Layout::of_layers(&[Layer::of(&small), Layer::of(&large)])
}

/// What the readers of one mount share.
struct Readers {
    over: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
    wrong: Arc<AtomicUsize>,
}

impl Readers {
    /// Lets readers loose on a mount: some read, some list, some ask for attributes.
    fn start(point: &Path) -> Self {
        let readers = Self { over: Arc::default(), running: Arc::default(), wrong: Arc::default() };
        for number in 0..READERS {
            let (over, running, wrong) =
                (readers.over.clone(), readers.running.clone(), readers.wrong.clone());
            let point = point.to_owned();
            running.fetch_add(1, SeqCst);
            spawn(move || {
                let mut round = number;
                while !over.load(SeqCst) {
                    // A mount that ends gives errors, of all kinds; a wrong byte never.
                    if matches!(look(&point, round), Ok(false)) {
                        wrong.fetch_add(1, SeqCst);
                    }
                    round += 1;
                }
                running.fetch_sub(1, SeqCst);
            });
        }
        readers
    }

    /// Tells them to stop; says how many did not, in the time that anything may take.
    fn stop(&self) -> usize {
        self.over.store(true, SeqCst);
        wait_until(|| self.running.load(SeqCst) == 0);
        self.running.load(SeqCst)
    }
}

/// One look of one reader; says whether what it saw was right.
fn look(point: &Path, round: usize) -> io::Result<bool> {
    let platform = point.join(PLATFORM);
    let number = round / 8 % 2;
    match round % 8 {
        0 | 1 => {
            let file = File::open(platform.join(format!("rootfs/large{number}")))?;
            let mut buffer = vec![0; 100_000];
            for step in 0..20 {
                let at = (round * 7 + step * 13) * 4096 % LARGE;
                let got = file.read_at(&mut buffer, at as u64)?;
                let expected = ((number as u64) << 40) | (at / 8) as u64;
                if got >= 8 && buffer[..8] != expected.to_le_bytes() {
                    return Ok(false);
                }
            }
        }
        2 => {
            let name = round % 200;
            let found = fs::read(platform.join(format!("diffs/0/d{}/f{name}", name % 7)))?;
            return Ok(found == format!("small {name}").as_bytes());
        }
        3 => {
            let names = fs::read_dir(platform.join("rootfs"))?.collect::<io::Result<Vec<_>>>()?;
            return Ok(names.len() == 9);
        }
        4 => {
            for entry in fs::read_dir(platform.join("diffs"))? {
                entry?.metadata()?;
            }
            return Ok(fs::metadata(platform.join(format!("diffs/1/large{number}")))?.len() == LARGE as u64);
        }
        5 => {
            let layer = File::open(platform.join("layers/1"))?;
            let mut magic = [0; 2];
            layer.read_at(&mut magic, 0)?;
            return Ok(magic == [0x1f, 0x8b]);
        }
        // One after the other: the next ones are put into the kernel's cache meanwhile.
        6 => {
            let directory = platform.join(format!("rootfs/d{}", round / 8 % 7));
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let number = entry.file_name().to_string_lossy()[1..].to_owned();
                if fs::read(entry.path())? != format!("small {number}").as_bytes() {
                    return Ok(false);
                }
            }
        }
        _ => {
            fs::read(platform.join("manifest.json"))?;
            fs::read(point.join(".ocifs/stats"))?;
        }
    }
    Ok(true)
}

/// A place to mount at, and how.
struct Place {
    directory: TempDir,
    point: PathBuf,
    source: String,
    options: Vec<&'static str>,
}

impl Place {
    fn new(source: &str, options: &[&'static str]) -> Self {
        let directory = temp_dir();
        let point = directory.join("mnt");
        fs::create_dir(&point).unwrap();
        Self { directory, point, source: source.to_owned(), options: options.to_vec() }
    }

    #[track_caller]
    fn mount(&self) {
        let mut command = Mount::command(&self.directory);
        command.arg("--log-file").arg(self.directory.join("log")).args(&self.options);
        let done = run(command.arg(&self.source).arg(&self.point));
        assert_eq!(done.code(), 0, "{}", done.stderr);
    }

    fn processes(&self) -> usize {
        daemons(&self.point).len() + keepers(&self.point).len()
    }

    /// Mounts, lets readers at it, ends the mount after `delay`, and looks what is left.
    fn round(&self, end: End, delay: Duration) -> Result<(), String> {
        self.mount();
        let readers = Readers::start(&self.point);
        let (server, keeper) = (daemons(&self.point), keepers(&self.point));
        sleep(delay);
        let told = self.end(end, server[0], keeper[0], &readers);
        let stuck = readers.stop();
        let left = if wait_until(|| self.processes() == 0) { 0 } else { self.processes() };
        // Of a server that was killed the kernel keeps a mount that answers nothing; the next mount clears it away.
        let killed = matches!(end, End::Kill | End::KillKeeper);
        let mounted = is_mounted(&self.point) && !killed;
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let bug = log.lines().find(|line| line.contains("bug:") || line.contains("panicked"));
        let wrong = readers.wrong.load(SeqCst);
        if !told || stuck + left + wrong > 0 || mounted || bug.is_some() {
            // Nobody shall wait for what hangs, this test neither.
            for pid in daemons(&self.point) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            detach(&self.point);
            return Err(format!(
                "ended: {told}, readers stuck: {stuck}, wrong answers: {wrong}, processes left: {left}, still mounted: \
                 {mounted}, log: {bug:?}"
            ));
        }
        Ok(())
    }

    /// Ends the mount; says whether that worked.
    fn end(&self, end: End, server: i32, keeper: i32, readers: &Readers) -> bool {
        let signal = |pid, signal| kill(Pid::from_raw(pid), signal).is_ok();
        let gone = || wait_until(|| !is_mounted(&self.point));
        match end {
            End::Unmount => {
                // Busy, mostly, and that is an answer too.
                let early = (0..5).any(|_| unmount(&self.point));
                early
                    || (readers.stop() == 0
                        && wait_until(|| !is_mounted(&self.point) || unmount(&self.point)))
            }
            End::Detach => {
                detach(&self.point);
                !is_mounted(&self.point)
            }
            End::Signal => signal(server, Signal::SIGTERM) && gone(),
            End::Signals => {
                let first = signal(server, Signal::SIGTERM);
                sleep(Duration::from_millis(5));
                // It may be gone by now.
                signal(server, Signal::SIGTERM);
                first && gone()
            }
            End::SignalToKeeper => signal(keeper, Signal::SIGTERM) && gone(),
            End::Kill => signal(server, Signal::SIGKILL),
            End::KillKeeper => {
                let killed = signal(keeper, Signal::SIGKILL);
                let alive = fs::metadata(self.point.join("index.json")).is_ok();
                killed && alive && signal(server, Signal::SIGTERM)
            }
        }
    }

    /// Ends what the last round left, by a mount that is looked at and unmounted.
    #[track_caller]
    fn close(&self) {
        self.mount();
        assert_eq!(bytes(self.point.join(PLATFORM).join("diffs/0/d3/f3")), b"small 3");
        assert!(wait_until(|| unmount(&self.point)), "{}", text(self.directory.join("log")));
        assert!(!is_mounted(&self.point) && wait_until(|| self.processes() == 0));
    }
}

/// Goes through all ends, round after round, for so long; the delays are those of the seed.
fn rounds(source: &str, options: &[&'static str], time: Duration, seed: u64) {
    let begin = Instant::now();
    let done = AtomicUsize::new(0);
    scope(|lanes| {
        for lane in 0..LANES {
            let done = &done;
            lanes.spawn(move || {
                let mut random = Random::new(seed + lane);
                let place = Place::new(source, options);
                // Each end at least once in each lane, however slow the machine is.
                for number in 0.. {
                    let end = ENDS[(number + lane as usize * 2) % ENDS.len()];
                    if number >= ENDS.len() && begin.elapsed() > time {
                        break;
                    }
                    let delay = Duration::from_millis(random.below(LONGEST) as u64);
                    if let Err(what) = place.round(end, delay) {
                        panic!("{end:?} after {delay:?}, round {number} of seed {}: {what}", seed + lane);
                    }
                    done.fetch_add(1, SeqCst);
                }
                place.close();
            });
        }
    });
    println!("{} mounts ended in {:?}", done.load(SeqCst), begin.elapsed());
}

/// A registry that stops in the middle of the large layer, for longer than we wait for it.
fn hanging(layout: &Layout) -> (Registry, Proxy) {
    let registry = Registry::start();
    registry.push(layout, "v1", "some/app:v1", &[]);
    let proxy = Proxy::before(&registry);
    proxy.rule(|asked| match asked.is_blob() {
        // Taken up where it broke off; then nothing comes at all.
        true if asked.header("range").is_some() => Act::Hang,
        true => Act::HangAfter(50_000),
        false => Act::Pass,
    });
    (registry, proxy)
}

#[test]
fn a_mount_ends_in_every_way_at_every_moment() {
    let layout = layout();
    // Without a cache, each mount goes over its layers anew.
    rounds(layout.path().to_str().unwrap(), &["--no-cache"], USUAL, 0x0c1f_5000);
}

#[test]
fn a_mount_ends_while_its_readers_wait_for_a_registry() {
    let layout = layout();
    let (_registry, proxy) = hanging(&layout);
    rounds(&proxy.image("some/app:v1"), &["--no-cache", "--timeout", "3"], USUAL / 3, 0x0c1f_5100);
}

/// The same for five minutes. `scripts/test.sh --long` runs it.
#[test]
#[ignore = "takes long; scripts/test.sh --long runs it"]
fn a_mount_ends_in_every_way_at_every_moment_for_minutes() {
    let layout = layout();
    let seed = std::process::id().into();
    println!("seed {seed}");
    rounds(layout.path().to_str().unwrap(), &["--no-cache"], Duration::from_secs(300), seed);
}
