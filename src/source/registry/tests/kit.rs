//! A server on loopback that answers as a test says, and who asks it.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::super::Reference;
use super::super::client::Client;
use super::super::http::Http;
use super::super::shared::Shared;
use super::super::store::Store;

/// Serves each connection on a thread of its own: one request, which `answer` is given with the connection. Returns the port.
pub(in super::super) fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answer) = (connection.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|got| got > 0) {
                    request.push(byte[0]);
                }
                answer(&String::from_utf8_lossy(&request), &mut connection);
            });
        }
    });
    port
}

/// Returns the bytes that a request asks for with a `Range`: the first, and the one behind the last where it says.
pub(in super::super) fn range(request: &str) -> Option<(usize, Option<usize>)> {
    let request = request.to_ascii_lowercase();
    let (from, to) = request.split_once("range: bytes=")?.1.lines().next()?.split_once('-')?;
    Some((from.parse().ok()?, to.trim().parse().ok().map(|last: usize| last + 1)))
}

pub(in super::super) fn client(port: u16, timeout: Duration) -> Client {
    let reference = Reference::parse(&format!("//127.0.0.1:{port}/app")).unwrap();
    Client::new(reference, Http::new(timeout / 2, None).unwrap(), false, true, timeout)
}

pub(in super::super) fn shared(port: u16, timeout: Duration) -> Shared {
    Shared::new(client(port, timeout), Store::new(None, 1 << 30))
}
