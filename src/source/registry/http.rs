//! HTTP itself: connections, TLS roots, proxies, time limits. Knows no registry.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls_native_certs::{CertificateResult, load_native_certs};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, AsSendBody, Body, BodyReader, http};

use super::failure::{Failure, Trouble, of_connection};
use super::reference::is_loopback;

/// Most time for a connection, TLS included. Who is there answers in a fraction of it.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Idle connections kept: as many as layers are gone over at once, and a few for documents.
const MAX_IDLE: usize = 8;

/// An answer: its head, and its body still to be read.
pub(super) type Response = http::Response<Body>;

/// Sends requests. Redirects and failures by status are the caller's.
pub(super) struct Http {
    silence: Duration,
    extra_roots: Vec<Certificate<'static>>,
    system_roots: OnceLock<CertificateResult>,
    /// By TLS or not, by loopback or not: see [`Http::agent`].
    agents: [OnceLock<Agent>; 4],
}

/// A request without a body, or with a form.
pub(super) struct Request<'a> {
    pub(super) url: &'a Url,
    /// Header names and values.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The form to post, encoded, where it is not a GET.
    pub(super) form: Option<String>,
    pub(super) until: Until,
}

/// Until when an answer must be there, with everything that was asked before to get it.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Its head. Whoever reads the body says how slowly it may come, and is asked between reads; `body` is the longest that
    /// can come to. It ends a read that never comes back, as of a body whose end is announced and followed by lines for ever.
    Head { at: Instant, body: Duration },
    /// All of it.
    End(Instant),
}

impl Until {
    pub(super) fn at(self) -> Instant {
        match self {
            Self::Head { at, .. } | Self::End(at) => at,
        }
    }
}

impl Http {
    /// Prepares to send; `silence` is how long a server may say nothing.
    pub(super) fn new(silence: Duration, tls_ca: Option<&Path>) -> Result<Self, Failure> {
        let extra_roots = tls_ca.map(read_certificates).transpose()?.unwrap_or_default();
        Ok(Self { silence, extra_roots, system_roots: OnceLock::new(), agents: Default::default() })
    }

    /// Reads what lies on the disk, the system's TLS roots, so that no request needs it later.
    pub(super) fn prepare(&self) {
        self.system_roots();
    }

    fn system_roots(&self) -> &CertificateResult {
        self.system_roots.get_or_init(load_native_certs)
    }

    /// Sends a request, and returns the answer whatever its status.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Response, Trouble> {
        let url = request.url;
        log::debug!("{} {url}", if request.form.is_some() { "POST" } else { "GET" });
        let mut sent = self.send_once(&request)?;
        // A server may hang up on an idle connection just as it is used again. That says nothing about the server, and may be
        // tried again at once where a request changes nothing (RFC 9112, section 9.3.1).
        if request.form.is_none() && sent.as_ref().is_err_and(hung_up) {
            sent = self.send_once(&request)?;
        }
        let response = sent.map_err(|e| of_connection(url.authority(), e))?;
        log::debug!("{} from {url}", response.status());
        Ok(response)
    }

    /// Fails where the time is over; else returns what came of it.
    fn send_once(&self, request: &Request<'_>) -> Result<Result<Response, ureq::Error>, Trouble> {
        let url = request.url;
        let left = request.until.at().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(url.authority()));
        }
        let mut head = http::Request::builder().uri(url.as_str());
        for (name, value) in &request.headers {
            head = head.header(*name, value);
        }
        Ok(match &request.form {
            None => head.body(()).map_err(Into::into).and_then(|get| self.run(url, request.until, left, get)),
            Some(form) => {
                let head = head.method("POST").header("Content-Type", "application/x-www-form-urlencoded");
                let post = head.body(form.as_str());
                post.map_err(Into::into).and_then(|post| self.run(url, request.until, left, post))
            }
        })
    }

    /// Bounds what comes before the body, each by a share of what is left: ureq has no one limit for all of it.
    fn run<B: AsSendBody>(
        &self,
        url: &Url,
        until: Until,
        left: Duration,
        request: http::Request<B>,
    ) -> Result<Response, ureq::Error> {
        let agent = self.agent(url);
        let timed = agent
            .configure_request(request)
            .timeout_resolve(Some((left / 4).min(MAX_CONNECT)))
            .timeout_connect(Some((left / 3).min(MAX_CONNECT)))
            .timeout_send_request(Some((left / 3).min(self.silence)))
            .timeout_recv_response(Some((left / 2).min(self.silence)))
            .timeout_recv_body(match until {
                Until::Head { body, .. } => Some(body),
                Until::End(_) => None,
            })
            .timeout_global(matches!(until, Until::End(_)).then_some(left));
        agent.run(timed.build())
    }

    /// Returns the agent for a URL: this machine is asked without a proxy, and has roots for TLS only.
    fn agent(&self, url: &Url) -> &Agent {
        let (tls, near) = (url.is_tls(), is_loopback(url.authority()));
        self.agents[usize::from(tls) * 2 + usize::from(near)].get_or_init(|| {
            let silence = Some(self.silence);
            let mut config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(concat!("ocifs/", env!("CARGO_PKG_VERSION")))
                .timeout_per_read(silence)
                .timeout_per_write(silence)
                .max_idle_connections(MAX_IDLE)
                .max_idle_connections_per_host(MAX_IDLE);
            if near {
                config = config.proxy(None);
            }
            if tls {
                config = config.tls_config(self.tls());
            }
            config.build().new_agent()
        })
    }

    fn tls(&self) -> TlsConfig {
        // Complained of only here: without TLS nobody misses them.
        let system = self.system_roots();
        for e in &system.errors {
            log::warn!("the system's certificates: {e}");
        }
        let system = system.certs.iter().map(|der| Certificate::from_der(der).to_owned());
        let roots: Vec<_> = system.chain(self.extra_roots.iter().cloned()).collect();
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(roots))
            .build()
    }
}

/// Reads a body to its end, of at most `most` bytes, which must come in time. It must be read to its end for its connection
/// to serve the next request.
pub(super) fn rest(response: Response, host: &str, most: u64, until: Until) -> Result<Vec<u8>, Trouble> {
    let mut body = response.into_body().into_reader().take(most);
    let (mut bytes, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        let got = body.read(&mut piece).map_err(|e| of_connection(host, e.into()))?;
        if got == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece[..got]);
        if Instant::now() >= until.at() {
            return Err(late(host));
        }
    }
}

/// Returns the first and the last byte that a `Content-Range` names: `bytes 5-9/10` (RFC 9110, section 14.4).
pub(super) fn content_range(response: &Response) -> Option<(u64, u64)> {
    range_of(response.headers().get("content-range")?.to_str().ok()?)
}

fn range_of(header: &str) -> Option<(u64, u64)> {
    let (range, _) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Gives the connection of a body back for the next request, of which all that was announced has been read: that happens at
/// its end, which is one more read away. Where nothing was announced the end may be long in coming, and is not waited for.
pub(super) fn give_back(mut body: BodyReader<'_>, announced: bool) {
    if announced {
        let _ = body.read(&mut [0]);
    }
}

/// Says whether the other end closed the connection instead of answering.
fn hung_up(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    matches!(error, ureq::Error::Io(e) if kinds.contains(&e.kind()))
}

fn late(host: &str) -> Trouble {
    Trouble::again(Failure::TimedOut(format!("{host} does not answer in time")))
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::Local(format!("--tls-ca {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| bad(&e))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(&e))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(bad(&"there is no certificate in PEM form in it")),
        false => Ok(found),
    }
}

/// An absolute `http` or `https` URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    /// Where the authority begins and ends.
    authority: (usize, usize),
}

impl Url {
    /// Takes an absolute URL of either scheme. One with a name or password in it is none of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let scheme = ["http://", "https://"]
            .iter()
            .find(|s| text.get(..s.len()).is_some_and(|start| start.eq_ignore_ascii_case(s)))?;
        let rest = &text[scheme.len()..];
        let len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..len];
        let sane =
            !authority.is_empty() && !authority.contains('@') && text.bytes().all(|b| b.is_ascii_graphic());
        // A fragment is for who reads, not for the server.
        let end = text.find('#').unwrap_or(text.len());
        let text = format!("{scheme}{}", &text[scheme.len()..end]);
        sane.then(|| Self { authority: (scheme.len(), scheme.len() + len), text })
    }

    /// Resolves what a `Location` header says (RFC 9110, section 10.2.2), of the forms that servers use.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let origin = &self.text[..self.authority.1];
        match location {
            _ if location.starts_with("//") => Self::parse(&format!("{}:{location}", self.scheme())),
            _ if location.starts_with('/') => Self::parse(&format!("{origin}{location}")),
            _ => Self::parse(location),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, with its port where one is given.
    pub(super) fn authority(&self) -> &str {
        &self.text[self.authority.0..self.authority.1]
    }

    pub(super) fn is_tls(&self) -> bool {
        self.text.starts_with("https:")
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    /// Says whether both mean one server: what is secret between it and us may be told to it.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        let port = |url: &Self| {
            let default = if url.is_tls() { ":443" } else { ":80" };
            let lower = url.authority().to_ascii_lowercase();
            lower.strip_suffix(default).map(str::to_owned).unwrap_or(lower)
        };
        self.is_tls() == other.is_tls() && port(self) == port(other)
    }
}

/// Shows a URL without its query, which may be as good as a password (signed URLs of storages).
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.text.find('?').unwrap_or(self.text.len());
        f.write_str(&self.text[..end])?;
        f.write_str(if end < self.text.len() { "?…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn redirects() {
        let base = Url::parse("https://h.io:5000/v2/a?x#y").unwrap();
        assert_eq!(base.as_str(), "https://h.io:5000/v2/a?x");
        for (location, to, same) in [
            ("/b?c", Some("https://h.io:5000/b?c"), true),
            ("//s.io/b", Some("https://s.io/b"), false),
            ("https://H.io:5000/b", Some("https://H.io:5000/b"), true),
            ("http://h.io:5000/b", Some("http://h.io:5000/b"), false),
            ("HTTPS://s.io/b", Some("https://s.io/b"), false),
            ("https://h.io:5000@evil.io/b", None, false),
            ("file:///etc/passwd", None, false),
            ("b", None, false),
            ("https://h.io/a b", None, false),
            ("https:///b", None, false),
            ("", None, false),
        ] {
            let joined = base.join(location);
            assert_eq!(joined.as_ref().map(Url::as_str), to, "{location}");
            assert_eq!(joined.is_some_and(|url| url.has_origin_of(&base)), same, "{location}");
        }
        let plain = Url::parse("https://h.io/").unwrap();
        assert!(plain.has_origin_of(&Url::parse("https://h.io:443/x").unwrap()));
        assert!(!plain.has_origin_of(&Url::parse("https://h.io:80/x").unwrap()));
    }

    /// Answers one connection after the other, and says what was sent on each.
    fn served(answer: &'static [u8]) -> (Url, std::sync::mpsc::Receiver<String>) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = Url::parse(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
        let (said_in, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                let mut request = Vec::new();
                // Until nothing more comes: the client waits for its answer.
                let _ = connection.read_to_end(&mut request);
                let _ = connection.write_all(answer);
                said_in.send(String::from_utf8(request).unwrap()).unwrap();
            }
        });
        (url, said)
    }

    #[test]
    fn a_form_is_posted_as_it_is() {
        let (url, said) = served(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let http = Http::new(Duration::from_secs(5), None).unwrap();
        let until = Until::End(Instant::now() + Duration::from_secs(10));
        let form = Some("grant_type=refresh_token&scope=repository:a/b:pull".to_owned());
        let headers = vec![("Authorization", "Basic x".to_owned())];
        let response = http.send(Request { url: &url, headers, form, until }).unwrap();
        assert_eq!(rest(response, "", 100, until).unwrap(), b"{}");
        let said = said.recv().unwrap();
        assert!(said.starts_with("POST /token HTTP/1.1\r\n"), "{said}");
        for line in [
            "content-type: application/x-www-form-urlencoded",
            "authorization: basic x",
            "content-length: 50",
        ] {
            assert!(said.to_ascii_lowercase().contains(&format!("{line}\r\n")), "{line} in {said}");
        }
        assert!(said.ends_with("\r\n\r\ngrant_type=refresh_token&scope=repository:a/b:pull"), "{said}");
    }

    /// Each counted as a failure of the server, and after six nothing was asked any more.
    #[test]
    fn a_connection_that_ends_between_requests_is_no_failure() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let _ = connection.read(&mut [0; 4 << 10]);
                let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                // The next request is read, and not answered.
                let _ = connection.read(&mut [0; 4 << 10]);
            }
        });
        let http = Http::new(Duration::from_secs(5), None).unwrap();
        let until = Until::End(Instant::now() + Duration::from_secs(20));
        for _ in 0..10 {
            let response = http.send(Request { url: &url, headers: Vec::new(), form: None, until }).unwrap();
            assert_eq!(rest(response, "", 100, until).unwrap(), b"{}");
        }
    }

    #[test]
    fn a_deadline_that_has_passed_asks_nobody() {
        let (url, said) = served(b"");
        let http = Http::new(Duration::from_secs(5), None).unwrap();
        let until = Until::Head { at: Instant::now(), body: Duration::ZERO };
        let failed = http.send(Request { url: &url, headers: Vec::new(), form: None, until });
        let again = matches!(failed, Err(Trouble::Again { failure: Failure::TimedOut(_), .. }));
        assert!(again && said.try_recv().is_err());
    }

    #[test]
    fn ranges_of_answers() {
        for (header, range) in [
            ("bytes 5-9/100", Some((5, 9))),
            ("bytes 0-0/*", Some((0, 0))),
            (" bytes  5-9/100 ", Some((5, 9))),
            ("bytes 5-4/100", None),
            ("bytes */100", None),
            ("bytes 5-/100", None),
            ("bytes 5-9", None),
            ("bytes 5-99999999999999999999/100", None),
            ("5-9/100", None),
            ("", None),
        ] {
            assert_eq!(range_of(header), range, "{header}");
        }
    }

    #[test]
    fn a_signed_url_does_not_print() {
        let url = Url::parse("https://s.io/b?X-Signature=geheim").unwrap();
        assert_eq!(url.to_string(), "https://s.io/b?…");
    }
}
