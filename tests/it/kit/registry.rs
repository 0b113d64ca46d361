//! A registry on loopback, and a proxy before it that counts, and does to answers what a network can do.

use super::{Layout, TempDir, require_tool, run, temp_dir, wait_until};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the proxy holds a connection that it lets hang: longer than any test's own limit.
const HANG: Duration = Duration::from_secs(30);

/// Debian's docker-registry, with a storage of its own. Dropping it ends the process.
pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
    _directory: TempDir,
}

impl Registry {
    /// Starts a registry that anybody may use.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with("", |_| String::new())
    }

    /// Starts one with further lines of configuration below `http:`, and others at the top.
    #[track_caller]
    pub(crate) fn start_with(http: &str, more: impl Fn(&Path) -> String) -> Self {
        require_tool("docker-registry");
        require_tool("skopeo");
        let directory = temp_dir();
        // Somebody else may take the port before the registry does: then another one.
        for _ in 0..5 {
            let port = free_port();
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{}\
                 http:\n  addr: 127.0.0.1:{port}\n{http}\n",
                directory.join("data").display(),
                more(directory.path()),
            );
            fs::write(directory.join("config.yml"), config).unwrap();
            let log = fs::File::create(directory.join("log")).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(directory.join("config.yml"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let up = wait_until(|| {
                TcpStream::connect(("127.0.0.1", port)).is_ok() || process.try_wait().unwrap().is_some()
            });
            if up && process.try_wait().unwrap().is_none() {
                return Self { process, port, _directory: directory };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("docker-registry does not start: {}", super::text(directory.join("log")));
    }

    /// Starts one with TLS, for 127.0.0.1, and writes its key and its certificate to these files.
    #[track_caller]
    pub(crate) fn with_certificate(key: &Path, certificate: &Path) -> Self {
        let done = run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(certificate));
        assert_eq!(done.code(), 0, "{}", done.stderr);
        let tls = format!("  tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        Self::start_with(&tls, |_| String::new())
    }

    /// Copies an image of a layout into the registry, all its platforms with it.
    #[track_caller]
    pub(crate) fn push(&self, layout: &Layout, tag: &str, name: &str, options: &[&str]) {
        let from = format!("oci:{}:{tag}", layout.path().display());
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
        let done = run(command.arg("--dest-tls-verify=false").args(options).args([from, to]));
        assert_eq!(done.code(), 0, "{}", done.stderr);
    }

    /// Ends it: from now on nobody answers.
    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A request that came by.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What was asked for, query included.
    pub(crate) target: String,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// How many of this target came before.
    pub(crate) before: usize,
}

impl Asked {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether it is for a blob.
    pub(crate) fn is_blob(&self) -> bool {
        self.target.contains("/blobs/")
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Goes to the registry, and its answer comes back.
    Pass,
    /// An answer of the proxy's own: status line and headers without the first word, and a body.
    Answer(String, String),
    /// Goes to the registry without its Range.
    Whole,
    /// The answer's body ends after so many bytes.
    Cut(usize),
    /// One bit of the body is turned over.
    Flip(usize),
    /// The answer states a length that is wrong by so much.
    Length(i64),
    /// Nothing comes.
    Hang,
    /// Nothing comes after so many bytes of the body.
    HangAfter(usize),
    /// The body comes at so many bytes a second.
    Trickle(usize),
}

type Rule = Box<dyn Fn(&Asked) -> Act + Send + Sync>;

struct Shared {
    rule: Mutex<Rule>,
    log: Mutex<Vec<Asked>>,
    sent: Mutex<u64>,
    over: AtomicBool,
    upstream: u16,
}

/// Stands before a registry. Each answer closes its connection, so that requests are round trips.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Stands before a registry, and passes everything on.
    pub(crate) fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            rule: Mutex::new(Box::new(|_| Act::Pass)),
            log: Mutex::default(),
            sent: Mutex::default(),
            over: AtomicBool::new(false),
            upstream: registry.port,
        });
        let own = shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if own.over.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(connection), shared) = (connection, own.clone()) else { continue };
                // A client that hangs up is not the proxy's concern.
                std::thread::spawn(move || drop(shared.serve(connection)));
            }
        });
        Self { port, shared }
    }

    /// Does with requests what `rule` says from now on.
    pub(crate) fn rule(&self, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// The name of an image behind it.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// What was asked for since the last time, and the bytes of the answers' bodies.
    pub(crate) fn take(&self) -> (Vec<Asked>, u64) {
        let sent = std::mem::take(&mut *self.shared.sent.lock().unwrap());
        (std::mem::take(&mut *self.shared.log.lock().unwrap()), sent)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        connection.set_read_timeout(Some(HANG))?;
        let mut reader = BufReader::new(connection.try_clone()?);
        let mut client = connection;
        let (first, headers) = head(&mut reader)?;
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = {
            let mut log = self.log.lock().unwrap();
            let before = log.iter().filter(|asked| asked.target == target).count();
            let asked = Asked { target, headers, before };
            log.push(asked.clone());
            asked
        };
        let act = (self.rule.lock().unwrap())(&asked);
        match act {
            Act::Hang => return self.hang(),
            Act::Answer(head, body) => {
                *self.sent.lock().unwrap() += body.len() as u64;
                let length = body.len();
                return write!(
                    client,
                    "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
            _ => {}
        }
        let mut upstream = TcpStream::connect(("127.0.0.1", self.upstream))?;
        write!(upstream, "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n", asked.target)?;
        for (name, value) in &asked.headers {
            let dropped = name == "range" && matches!(act, Act::Whole);
            if !["host", "connection"].contains(&name.as_str()) && !dropped {
                write!(upstream, "{name}: {value}\r\n")?;
            }
        }
        write!(upstream, "\r\n")?;
        let mut upstream = BufReader::new(upstream);
        let (status, headers) = head(&mut upstream)?;
        let mut body = Vec::new();
        upstream.read_to_end(&mut body)?;
        write!(client, "{status}\r\nConnection: close\r\n")?;
        for (name, value) in &headers {
            match (name.as_str(), &act) {
                ("connection", _) => {}
                ("content-length", Act::Length(by)) => {
                    write!(client, "{name}: {}\r\n", value.parse::<i64>().unwrap() + by)?;
                }
                _ => write!(client, "{name}: {value}\r\n")?,
            }
        }
        write!(client, "\r\n")?;
        if let Act::Flip(at) = act
            && let Some(byte) = body.get_mut(at)
        {
            *byte ^= 0x10;
        }
        if let Act::Cut(at) | Act::HangAfter(at) = act {
            body.truncate(at);
        }
        *self.sent.lock().unwrap() += body.len() as u64;
        if let Act::Trickle(rate) = act {
            for piece in body.chunks(rate / 5) {
                client.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(200));
            }
            return Ok(());
        }
        client.write_all(&body)?;
        client.flush()?;
        match act {
            Act::HangAfter(_) => self.hang(),
            _ => Ok(()),
        }
    }

    fn hang(&self) -> std::io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < HANG && !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Reads a first line and headers.
fn head(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { return Ok((first, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
