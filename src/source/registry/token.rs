//! How a registry's challenge is met: with the user's password, or with a token that it buys.

use super::auth::{self, Challenge};
use super::client::Client;
use super::credentials::{self, Credentials};
use super::failure::{Failure, Trouble};
use super::http::{Request, Until, Url, rest};
use super::reference::is_loopback;

/// Largest answer of a token server we read, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

impl Client {
    /// Returns the header that meets a challenge; none where there are no credentials for it.
    pub(super) fn authorization(
        &self,
        challenge: &Challenge,
        registry: &Url,
        until: Until,
    ) -> Result<Option<String>, Trouble> {
        let credentials = self.auth.credentials(|| credentials::find(&self.reference));
        match challenge {
            Challenge::Basic => {
                let Some(Credentials::Password { user, secret }) = credentials else { return Ok(None) };
                let header = auth::basic(&user, &secret);
                self.auth.keep(&header, None);
                Ok(Some(header))
            }
            Challenge::Bearer { realm, service } => {
                let answer = self.fetch_token(realm, service.as_deref(), credentials, registry, until)?;
                let token = auth::token(&answer)
                    .ok_or_else(|| self.wrong("has a token server whose answer has no token"))?;
                self.auth.keep(&token.header, Some(token.until));
                Ok(Some(token.header))
            }
        }
    }

    fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        credentials: Option<Credentials>,
        registry: &Url,
        until: Until,
    ) -> Result<Vec<u8>, Trouble> {
        let realm = registry.join(realm).ok_or_else(|| self.wrong("names no URL to fetch a token from"))?;
        let plain_is_fine = self.plain_http || is_loopback(realm.authority());
        if !realm.is_tls() && !plain_is_fine && (credentials.is_some() || registry.is_tls()) {
            return Err(self.wrong("wants its token fetched over plain HTTP").into());
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        let mut query: Vec<(&'static str, String)> = vec![("scope", scope)];
        query.extend(service.map(|service| ("service", service.to_owned())));
        let until = Until::End(until.at());
        let basic = match &credentials {
            Some(Credentials::Password { user, secret }) => {
                vec![("Authorization", auth::basic(user, secret))]
            }
            _ => Vec::new(),
        };
        let response = if let Some(Credentials::Identity(token)) = credentials {
            query.extend([
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", "ocifs".to_owned()),
                ("refresh_token", token),
            ]);
            self.http.send(Request { url: &realm, headers: basic, form: Some(encoded(&query)), until })?
        } else {
            let joint = if realm.as_str().contains('?') { '&' } else { '?' };
            let url = Url::parse(&format!("{}{joint}{}", realm.as_str(), encoded(&query)))
                .ok_or_else(|| self.wrong("names no URL to fetch a token from"))?;
            self.http.send(Request { url: &url, headers: basic, form: None, until })?
        };
        match response.status().as_u16() {
            200 => {}
            400..=403 => return Err(self.wants_login().into()),
            _ => {
                let status = response.status();
                let host = realm.authority().to_owned();
                let failure = Failure::Network(format!("{host}, which gives the tokens, answers {status}"));
                return Err(match status.as_u16() {
                    429 | 500..=599 => Trouble::again(failure),
                    _ => failure.into(),
                });
            }
        }
        rest(response, realm.authority(), MAX_TOKEN, until)
    }
}

/// Encodes a query or a form.
fn encoded(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

/// Percent-encodes what may not stand in a query.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
