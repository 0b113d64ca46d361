//! How a registry is shown who asks: nothing, basic, or a token (distribution, "Token Authentication").

use std::time::{Duration, Instant};

use base64::Engine as _;
use parking_lot::Mutex;
use serde_json::Value;

use super::credentials::Credentials;

/// How long a token counts that does not say (distribution, "Token Response Fields").
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// The longest we believe in a token.
const MAX_LIFE: Duration = Duration::from_secs(3600);

/// What a registry asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// A name and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// The URL tokens are fetched from.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads the values of `WWW-Authenticate` headers; a token goes before basic.
    pub(super) fn of<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            for (scheme, parameters) in challenges(header) {
                let find = |name: &str| {
                    parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
                };
                if scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = find("realm")
                {
                    return Some(Self::Bearer { realm, service: find("service") });
                }
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// Splits `Scheme a="b", c=d, Other e="f"`.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let word: usize = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(word);
        let after = after.trim_start();
        match after.strip_prefix('=') {
            Some(value) => {
                let (value, left) = parameter_value(value.trim_start());
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((name.to_owned(), value));
                }
                rest = left;
            }
            None => {
                if !name.is_empty() {
                    found.push((name.to_owned(), Vec::new()));
                }
                rest = after;
            }
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// Takes a token or a quoted string off the front.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Returns the header of basic authentication.
pub(super) fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")))
}

/// A token and how long it counts.
pub(super) struct Token {
    pub(super) header: String,
    pub(super) until: Instant,
}

/// Reads the answer of a token server.
pub(super) fn token(answer: &[u8]) -> Option<Token> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty());
    let token = text("token").or_else(|| text("access_token"))?;
    // What stands in a header has no control characters.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let life = answer["expires_in"].as_u64().map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE);
    // Fetched anew a little before its end: a request under way should not meet it.
    let until = Instant::now() + life - life / 10;
    Some(Token { header: format!("Bearer {token}"), until })
}

/// What is known of how to ask.
#[derive(Default)]
pub(super) struct Auth {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    header: Option<(String, Option<Instant>)>,
    credentials: Option<Option<Credentials>>,
}

impl Auth {
    /// Returns the header that the last request went through with, while it counts.
    pub(super) fn header(&self) -> Option<String> {
        let state = self.state.lock();
        let (header, until) = state.header.as_ref()?;
        until.is_none_or(|until| Instant::now() < until).then(|| header.clone())
    }

    /// Keeps a header for the requests that follow.
    pub(super) fn keep(&self, header: &str, until: Option<Instant>) {
        self.state.lock().header = Some((header.to_owned(), until));
    }

    /// Returns what the registry asked for the last time.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        self.state.lock().challenge.clone()
    }

    /// Notes what the registry asks for.
    pub(super) fn asked(&self, challenge: &Challenge) {
        self.state.lock().challenge = Some(challenge.clone());
    }

    /// Says whether there are credentials, as far as was looked.
    pub(super) fn has_credentials(&self) -> bool {
        self.state.lock().credentials.as_ref().is_some_and(Option::is_some)
    }

    /// Returns the user's credentials, found once with `find`.
    pub(super) fn credentials(&self, find: impl FnOnce() -> Option<Credentials>) -> Option<Credentials> {
        if let Some(known) = &self.state.lock().credentials {
            return known.clone();
        }
        // Not under the lock: a helper takes its time.
        let found = find();
        self.state.lock().credentials.insert(found).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (headers, expected) in [
            (&[][..], None),
            (&["Basic realm=\"Registry\""][..], Some(Challenge::Basic)),
            (&["basic"][..], Some(Challenge::Basic)),
            (
                &[
                    "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull\"",
                ][..],
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (&["Bearer realm=\"https://a/t, x\" , service=s"][..], bearer("https://a/t, x", Some("s"))),
            (&["Bearer realm=\"a\\\"b\""][..], bearer("a\"b", None)),
            (&["Basic realm=\"x\", Bearer realm=\"y\""][..], bearer("y", None)),
            (&["Basic realm=\"x\"", "Bearer realm=\"y\""][..], bearer("y", None)),
            (&["Negotiate, Basic realm=\"x\""][..], Some(Challenge::Basic)),
            (&["Bearer"][..], None),
            (&["Bearer realm=\"unfinished"][..], bearer("unfinished", None)),
            (&["=,=\"", "\u{e9}=\u{e9}", ",,,  ="][..], None),
        ] {
            assert_eq!(Challenge::of(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    #[test]
    fn tokens() {
        let header = |json: &str| token(json.as_bytes()).map(|t| t.header);
        assert_eq!(header(r#"{"token":"a"}"#).as_deref(), Some("Bearer a"));
        assert_eq!(header(r#"{"access_token":"b","expires_in":300}"#).as_deref(), Some("Bearer b"));
        for bad in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":7}"#] {
            assert!(header(bad).is_none(), "{bad}");
        }
        assert!(token(br#"{"token":"a","expires_in":18446744073709551615}"#).is_some());
        assert_eq!(basic("u", "p"), "Basic dTpw");
    }
}
