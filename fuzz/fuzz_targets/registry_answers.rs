//! Whatever a registry answers (status lines, headers, tokens, redirects, links, ranges, documents) ends soon, in an image or an error.
//!
//! The answers go through a socket: no part of the parser has to be opened up for it, and HTTP itself is read too. Each answer
//! stands between bytes 0xff: its status, one byte; its headers up to an empty line, in which `{port}` is the registry's own and
//! `{digest}` that of the body; and its body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocifs::oci::{Algorithm, Digest, Index, Manifest};
use ocifs::source::Source;
use ocifs::source::registry::{Reference, Registry, RegistryOptions};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a registry may give nothing. Short, so that waiting and trying again costs little; answers come at once.
const PATIENCE: Duration = Duration::from_millis(60);

/// The longest that one image may take: some requests, each of which may wait.
const LONGEST: Duration = Duration::from_secs(10);

const STATUS: &[u16] =
    &[200, 200, 200, 206, 301, 302, 307, 400, 401, 401, 403, 404, 416, 429, 500, 503, 0, 99, 1000];

/// What is still to be answered.
static ANSWERS: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());

/// Starts the registry, and returns its port.
fn port() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        for (name, value) in [("HOME", "/nonexistent"), ("XDG_RUNTIME_DIR", "/nonexistent"), ("PATH", "")] {
            // SAFETY: nothing but this thread looks at the environment yet. No file of the user's is read, no helper run.
            unsafe { std::env::set_var(name, value) };
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("a port").port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _ = serve(client);
            }
        });
        port
    })
}

/// Reads a request, and gives the next answer; none closes the connection.
fn serve(mut client: TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut piece = [0; 2048];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Ok(()),
            got => request.extend_from_slice(&piece[..got]),
        }
    }
    let answer = ANSWERS.lock().expect("nobody panics here").pop_front();
    client.write_all(&answer.unwrap_or_else(|| b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n".to_vec()))
}

/// Makes an answer of what the input says of it.
fn answer(input: &[u8], port: u16) -> Vec<u8> {
    let Some((status, rest)) = input.split_first() else { return Vec::new() };
    if *status == b'!' {
        // As it is: what HTTP is, and what it is not.
        return rest.to_vec();
    }
    let end = rest.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
    let digest = Digest::of(Algorithm::Sha256, body).expect("sha256 is known");
    let head = String::from_utf8_lossy(head).replace("{port}", &port.to_string());
    let head = head.replace("{digest}", digest.as_str()).replace('\n', "\r\n");
    let status = STATUS[usize::from(*status) % STATUS.len()];
    let length = if head.contains("Content-Length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let mut answer =
        format!("HTTP/1.1 {status} Text\r\n{head}\r\n{length}Connection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fuzz_target!(|input: &[u8]| {
    let port = port();
    *ANSWERS.lock().expect("nobody panics here") =
        input.split(|byte| *byte == 0xff).take(24).map(|part| answer(part, port)).collect();
    let begin = Instant::now();
    let reference = Reference::parse(&format!("//127.0.0.1:{port}/some/image:v1")).expect("a reference");
    let options = RegistryOptions { store: None, tls_ca: None, plain_http: true, timeout: PATIENCE };
    if let Ok(registry) = Registry::open(&reference, &options) {
        let index = Index::parse(&registry.index().expect("it was made up")).expect("it was made up");
        let top = index.entries[0].descriptor.as_ref().expect("it was made up");
        let _ = registry.blobs();
        let _ = registry.referrers(&top.digest);
        let mut bytes = vec![0; top.size.min(1 << 16) as usize];
        let manifest = registry.open(top).and_then(|blob| Ok(blob.read_at(0, &mut bytes)?));
        if manifest.is_ok()
            && let Ok(manifest) = Manifest::parse(&bytes)
        {
            for layer in manifest.layers.iter().flatten().take(3) {
                let mut piece = [0; 100];
                let _ = registry.open(layer).map(|blob| blob.read_at(5, &mut piece));
                let _ = registry.parts(layer).map(|blob| blob.read_at(70_000, &mut piece));
            }
        }
    }
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
});
