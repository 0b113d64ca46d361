//! The distribution API: what is asked of a registry, who we are, where it sends us.

use std::time::Duration;

use parking_lot::RwLock;
use ureq::http::StatusCode;

use super::auth::{Auth, Challenge};
use super::credentials;
use super::failure::{Failure, Trouble};
use super::http::{Http, Request, Response, Until, Url, rest};
use super::patience::Patience;
use super::reference::{Reference, is_loopback};

/// Most redirects followed. Registries send to their storage, and that is one.
const MAX_REDIRECTS: usize = 5;

/// Most bytes of an error's text that are looked at.
const MAX_ERROR: u64 = 16 << 10;

/// How much longer than a request itself those wait whom it serves as well.
const GRACE: Duration = Duration::from_secs(10);

/// The kinds of manifest we read. A registry sends what it has, or what it can make of it.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The form of a list of referrers.
const LIST: &str = "application/vnd.oci.image.index.v1+json";

/// How a registry is to be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Https,
    Http,
    /// Loopback, not asked yet: without TLS, and with it when that is refused.
    Either,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A manifest or index, by tag or digest.
    Manifest(String),
    /// A blob, by digest.
    Blob(String),
    /// Who speaks of a manifest, by its digest; or a further page of that, by path and query.
    Referrers(String),
}

/// Which bytes are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    /// The first.
    pub(super) from: u64,
    /// The one behind the last; none for all there are.
    pub(super) to: Option<u64>,
}

impl Span {
    const ALL: Self = Self { from: 0, to: None };
}

/// A small answer, whole.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// Its `Content-Type`, without parameters.
    pub(super) media_type: String,
    /// What `Docker-Content-Digest` says.
    pub(super) digest: Option<String>,
    /// The `Link` header: where more is.
    pub(super) link: Option<String>,
}

/// A repository in a registry.
pub(super) struct Client {
    pub(super) reference: Reference,
    pub(super) http: Http,
    pub(super) auth: Auth,
    scheme: RwLock<Scheme>,
    pub(super) plain_http: bool,
    /// The longest time without progress.
    timeout: Duration,
}

impl Client {
    pub(super) fn new(
        reference: Reference,
        http: Http,
        tls_wanted: bool,
        plain: bool,
        timeout: Duration,
    ) -> Self {
        let scheme = match (plain, tls_wanted, is_loopback(reference.api_host())) {
            (true, _, _) => Scheme::Http,
            (_, false, true) => Scheme::Either,
            _ => Scheme::Https,
        };
        Self {
            reference,
            http,
            auth: Auth::default(),
            scheme: RwLock::new(scheme),
            plain_http: plain,
            timeout,
        }
    }

    /// Returns how long somebody waits for what another one's request is to bring, as a last resort.
    pub(super) fn longest_wait(&self) -> Duration {
        self.timeout + GRACE
    }

    /// Returns what a new question may take.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.timeout)
    }

    /// Returns the host, for messages.
    pub(super) fn host(&self) -> &str {
        self.reference.host()
    }

    /// Returns the registry's own URL.
    pub(super) fn base(&self) -> Option<Url> {
        let scheme = if *self.scheme.read() == Scheme::Http { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{}/", self.reference.api_host()))
    }

    /// Fetches something small of at most `limit` bytes, trying again within `patience`. Questions that belong together
    /// share one.
    pub(super) fn document(
        &self,
        what: &What,
        limit: u64,
        patience: &mut Patience,
    ) -> Result<Document, Failure> {
        loop {
            match self.document_once(what, limit, Until::End(patience.deadline())) {
                Ok(document) => {
                    patience.document(document.bytes.len() as u64);
                    return Ok(document);
                }
                Err(trouble) => {
                    // It answered: what went wrong before that is no reason to ask for nothing more.
                    if matches!(trouble, Trouble::Final(Failure::Absent(_))) {
                        patience.document(0);
                    }
                    patience.again(trouble)?;
                }
            }
        }
    }

    fn document_once(&self, what: &What, limit: u64, until: Until) -> Result<Document, Trouble> {
        let response = self.get(what, Span::ALL, until)?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).map(|v| v.trim().to_owned())
        };
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let (digest, link) = (header("docker-content-digest"), header("link"));
        let length = response.body().content_length();
        if length.is_some_and(|length| length > limit) {
            return Err(self.wrong(&format!("has a document of more than {limit} bytes")).into());
        }
        let bytes = rest(response, self.host(), limit + 1, until)?;
        if bytes.len() as u64 > limit {
            return Err(self.wrong(&format!("has a document of more than {limit} bytes")).into());
        }
        if length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(Trouble::again(Failure::Network(format!("{}: broke off", self.host()))));
        }
        Ok(Document { bytes, media_type, digest, link })
    }

    /// Asks for some bytes, once. The answer has status 200 (all bytes) or 206 (those asked for).
    pub(super) fn get(&self, what: &What, span: Span, until: Until) -> Result<Response, Trouble> {
        let scheme = *self.scheme.read();
        if scheme != Scheme::Either {
            return self.get_by(scheme, what, span, until);
        }
        let failed = match self.get_by(Scheme::Http, what, span, until) {
            Ok(response) => {
                *self.scheme.write() = Scheme::Http;
                return Ok(response);
            }
            // Go's servers answer what is no TLS with a sentence of status 400; others hang up.
            Err(trouble @ Trouble::Final(Failure::Absent(_) | Failure::Refused(_) | Failure::Wrong(_))) => {
                return Err(trouble);
            }
            Err(trouble @ Trouble::Again { failure: Failure::TimedOut(_), .. }) => return Err(trouble),
            Err(trouble) => trouble,
        };
        match self.get_by(Scheme::Https, what, span, until) {
            Ok(response) => {
                *self.scheme.write() = Scheme::Https;
                Ok(response)
            }
            // It spoke TLS, then: what it says is the answer.
            Err(Trouble::Final(failure @ (Failure::Absent(_) | Failure::Refused(_)))) => Err(failure.into()),
            Err(Trouble::Final(Failure::Network(why))) if why.contains("UnknownIssuer") => {
                Err(Failure::Network(why).into())
            }
            Err(_) => Err(failed),
        }
    }

    fn get_by(&self, scheme: Scheme, what: &What, span: Span, until: Until) -> Result<Response, Trouble> {
        let scheme = if scheme == Scheme::Http { "http" } else { "https" };
        let (kind, name) = match what {
            What::Manifest(name) => ("manifests", name),
            What::Blob(digest) => ("blobs", digest),
            What::Referrers(name) => ("referrers", name),
        };
        let (host, repository) = (self.reference.api_host(), self.reference.repository());
        let url = match name.starts_with('/') {
            true => format!("{scheme}://{host}{name}"),
            false => format!("{scheme}://{host}/v2/{repository}/{kind}/{name}"),
        };
        let url = Url::parse(&url)
            .ok_or_else(|| Failure::Network(format!("{}: is no host we can ask", self.host())))?;
        let mut header = self.auth.header();
        if header.is_none()
            && let Some(challenge) = self.auth.challenge()
        {
            // It told us before what it wants: no need to be turned away again.
            header = self.authorization(&challenge, &url, until)?;
        }
        let response = self.follow(&url, what, span, header.as_deref(), until)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.answered(what, response, until);
        }
        let headers = response.headers().get_all("www-authenticate");
        let challenge = Challenge::of(headers.iter().filter_map(|v| v.to_str().ok()));
        let Some(challenge) = challenge else { return self.answered(what, response, until) };
        drain(response, until);
        self.auth.asked(&challenge);
        let Some(header) = self.authorization(&challenge, &url, until)? else {
            return Err(self.wants_login().into());
        };
        let response = self.follow(&url, what, span, Some(&header), until)?;
        self.answered(what, response, until)
    }

    /// Sends the request and goes where the registry sends us. Who we are is told to the registry alone.
    fn follow(
        &self,
        first: &Url,
        what: &What,
        span: Span,
        authorization: Option<&str>,
        until: Until,
    ) -> Result<Response, Trouble> {
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = Vec::new();
            match what {
                What::Manifest(_) => headers.push(("Accept", MANIFESTS.to_owned())),
                What::Blob(_) => headers.push(("Accept", "*/*".to_owned())),
                What::Referrers(_) => headers.push(("Accept", LIST.to_owned())),
            }
            match span {
                Span::ALL => {}
                Span { from, to: None } => headers.push(("Range", format!("bytes={from}-"))),
                Span { from, to: Some(to) } => headers.push(("Range", format!("bytes={from}-{}", to - 1))),
            }
            if let Some(value) = authorization.filter(|_| url.has_origin_of(first)) {
                headers.push(("Authorization", value.to_owned()));
            }
            let response = self.http.send(Request { url: &url, headers, form: None, until })?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                // A storage that turns us away: its URL has run out, and the registry makes a new one.
                let away = !url.has_origin_of(first) && matches!(status.as_u16(), 400 | 401 | 403 | 404);
                return match away {
                    true => Err(Trouble::again(Failure::Network(format!(
                        "{}: its storage at {} answers {status}",
                        self.host(),
                        url.authority()
                    )))),
                    false => Ok(response),
                };
            }
            let location =
                response.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or_default();
            let next = url.join(location);
            drain(response, until);
            let next = next.ok_or_else(|| self.wrong("sends us to no URL"))?;
            let plain_is_fine = self.plain_http || (!url.is_tls() && is_loopback(next.authority()));
            if !next.is_tls() && !plain_is_fine {
                let to = next.authority();
                let what =
                    format!("sends us to {to} over plain HTTP, and we do not go there without --plain-http");
                return Err(self.wrong(&what).into());
            }
            url = next;
        }
        Err(self.wrong("sends us from one place to the next without end").into())
    }

    /// Tells an answer with content from the others.
    fn answered(&self, what: &What, response: Response, until: Until) -> Result<Response, Trouble> {
        let host = self.host();
        let status = response.status();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let again = |failure| Err(Trouble::Again { failure, after });
        match status.as_u16() {
            200 | 206 => Ok(response),
            401 | 403 if !self.auth.has_credentials() => Err(self.wants_login().into()),
            401 | 403 => {
                let said = told(response, until);
                Err(Failure::Refused(format!(
                    "{host} refuses to give {}{said}; is there such a repository, and may you read it?",
                    self.reference.repository()
                ))
                .into())
            }
            404 | 410 => {
                let name = match what {
                    What::Manifest(name) | What::Blob(name) | What::Referrers(name) => name,
                };
                let said = told(response, until);
                Err(Failure::Absent(format!("{host} has no {}:{name}{said}", self.reference.repository()))
                    .into())
            }
            // What those say that do not know the question.
            400 | 405 | 406 | 501 if matches!(what, What::Referrers(_)) => {
                Err(Failure::Absent(format!("{host} knows of no referrers: it answers {status}")).into())
            }
            429 => again(Failure::Network(match after {
                Some(after) => format!("{host} has had too many requests, and asks to wait {after:?}"),
                None => format!("{host} has had too many requests"),
            })),
            408 | 500 | 502 | 503 | 504 => again(Failure::Network(format!("{host} answers {status}"))),
            416 => Err(self.wrong("has fewer bytes than it said").into()),
            _ => Err(Failure::Network(format!("{host} answers {status}{}", told(response, until))).into()),
        }
    }

    pub(super) fn wants_login(&self) -> Failure {
        let host = self.host();
        let shown = if self.auth.has_credentials() {
            format!("{host} does not take the credentials it is given; log in anew")
        } else {
            format!(
                "{host} wants a login for {}, or has no such repository; log in",
                self.reference.repository()
            )
        };
        Failure::Refused(format!("{shown} with `podman login {host}` or `docker login {host}`"))
    }

    pub(super) fn wrong(&self, what: &str) -> Failure {
        Failure::Wrong(format!("{} {what}", self.host()))
    }

    /// Reads now what later requests may need: the user's credentials and the TLS roots. In the cage no program is run for
    /// the one, and the files of the other may not be among those that can be opened.
    pub(super) fn prepare(&self) {
        self.auth.credentials(|| credentials::find(&self.reference));
        self.http.prepare();
    }
}

/// Reads what is left of a short answer, so that its connection serves the next request. Where nobody bounds its time, one
/// that does not say how short it is may have no end: that is not worth a connection.
fn drain(response: Response, until: Until) -> Vec<u8> {
    match (until, response.body().content_length()) {
        (Until::End(_), _) | (_, Some(0..=MAX_ERROR)) => {
            rest(response, "", MAX_ERROR, until).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// Returns what the registry says is the matter (distribution specification, "Error Codes"), as ` (…)`.
fn told(response: Response, until: Until) -> String {
    let text = drain(response, until);
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&text) else { return String::new() };
    let error = &answer["errors"][0];
    let said = error["message"].as_str().or_else(|| error["code"].as_str()).unwrap_or_default();
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    if said.is_empty() { said } else { format!(" ({said})") }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::tests::kit;
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let port = kit::serve(|_, connection| {
            let answer =
                "HTTP/1.1 307 Elsewhere\r\nLocation: http://storage.invalid/x\r\nContent-Length: 0\r\n\r\n";
            let _ = connection.write_all(answer.as_bytes());
        });
        let timeout = Duration::from_secs(10);
        let reference = Reference::parse(&format!("//127.0.0.1:{port}/app")).unwrap();
        for (plain, refused) in [(false, true), (true, false)] {
            let http = Http::new(timeout / 2, None).unwrap();
            let client = Client::new(reference.clone(), http, false, plain, timeout);
            let asked = client.get(&What::Blob("x".to_owned()), Span::ALL, client.patience().body(1));
            let said = asked.map(|response| response.status()).unwrap_err();
            assert_eq!(
                matches!(&said, Trouble::Final(Failure::Wrong(why)) if why.contains("--plain-http")),
                refused,
                "{said:?}"
            );
        }
    }
}
