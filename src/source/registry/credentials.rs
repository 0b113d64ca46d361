//! The user's credentials for a registry, as docker and podman keep them.
//!
//! Secrets are never logged: their type does not print them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::Value;

use super::reference::Reference;

/// Largest file of credentials, and answer of a helper, we read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// How long a credential helper may take: some ask a keyring, or a cloud.
const MAX_HELPER: Duration = Duration::from_secs(20);

/// The name docker keeps Docker Hub's credentials under.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name that says that the secret is an identity token (docker-credential-helpers).
const TOKEN_USER: &str = "<token>";

/// What shows a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user's name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        secret: String,
    },
    /// An identity token, with which other tokens are fetched.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Identity(_) => "Identity(…)",
        })
    }
}

/// Finds the credentials for the registry of `reference`: podman's files first, then docker's.
pub(super) fn find(reference: &Reference) -> Option<Credentials> {
    files().iter().find_map(|path| {
        let mut text = Vec::new();
        File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut text).ok()?;
        match serde_json::from_slice(&text) {
            Ok(config) => in_config(&config, reference, &ask_helper),
            Err(_) => {
                // What stands in there is secret: not even the place of the mistake is told.
                log::warn!("{}: is not JSON; no credentials are taken from it", path.display());
                None
            }
        }
    })
}

/// The files, the one that counts most first.
fn files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = variable("HOME");
    let below = |base: Option<PathBuf>, path: &str| base.map(|base| base.join(path));
    let config = variable("XDG_CONFIG_HOME").or_else(|| below(home.clone(), ".config"));
    let docker = variable("DOCKER_CONFIG").or_else(|| below(home, ".docker"));
    [
        below(variable("XDG_RUNTIME_DIR"), "containers/auth.json"),
        below(config, "containers/auth.json"),
        below(docker, "config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Finds credentials in a file: from the helper of this registry, from the helper of all, from the file itself.
fn in_config(
    config: &Value,
    reference: &Reference,
    ask: &dyn Fn(&str, &str) -> Option<Credentials>,
) -> Option<Credentials> {
    let host = reference.host();
    let server = if reference.is_docker_hub() { HUB_KEY } else { host };
    let own = config["credHelpers"].get(host).or_else(|| config["credHelpers"].get(server));
    let helpers = [own, config.get("credsStore")];
    let helped = helpers.into_iter().flatten().filter_map(Value::as_str).find_map(|name| ask(name, server));
    helped.or_else(|| in_auths(config["auths"].as_object()?, reference))
}

fn in_auths(auths: &serde_json::Map<String, Value>, reference: &Reference) -> Option<Credentials> {
    // podman keeps credentials of a part of a registry as well: the longest one that fits counts.
    let full = format!("{}/{}", reference.host(), reference.repository());
    let mut scope = Some(full.as_str());
    while let Some(wanted) = scope {
        let is_it = |key: &str| key == wanted || (wanted == reference.host() && names_host(key, reference));
        if let Some(found) = auths.iter().filter(|(key, _)| is_it(key)).find_map(|(_, entry)| of_entry(entry))
        {
            return Some(found);
        }
        scope = wanted.rsplit_once('/').map(|(shorter, _)| shorter);
    }
    None
}

/// Older keys are URLs.
fn names_host(key: &str, reference: &Reference) -> bool {
    if reference.is_docker_hub() && [HUB_KEY, "index.docker.io", "registry-1.docker.io"].contains(&key) {
        return true;
    }
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    url.and_then(|rest| rest.split('/').next()) == Some(reference.host())
}

fn of_entry(entry: &Value) -> Option<Credentials> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::Identity(token));
    }
    if let Some(auth) = text("auth") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, secret) = decoded.trim_end_matches('\0').split_once(':')?;
        return Some(Credentials::Password { user: user.to_owned(), secret: secret.to_owned() });
    }
    Some(Credentials::Password { user: text("username")?, secret: text("password")? })
}

/// Asks `docker-credential-NAME get` (docker-credential-helpers).
fn ask_helper(name: &str, server: &str) -> Option<Credentials> {
    // A name, not a path: the file says which helper, the user's PATH says where helpers are.
    if name.is_empty() || Path::new(name).components().count() != 1 || name.contains('/') {
        return None;
    }
    let program = format!("docker-credential-{name}");
    match answer_of(Command::new(&program).arg("get"), server, MAX_HELPER) {
        Ok(answer) => of_helper(&answer),
        Err(e) => {
            log::warn!("{program}: {e}");
            None
        }
    }
}

/// Runs a program to its end, and returns what it said to `input`.
fn answer_of(program: &mut Command, input: &str, limit: Duration) -> io::Result<Vec<u8>> {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not listen has its reasons; its answer tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let answer = listen(&mut child, limit);
    if answer.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
}

/// Reads what a program says until it ends. No thread does it, which would be outside the cage if it stayed.
fn listen(child: &mut Child, limit: Duration) -> io::Result<Vec<u8>> {
    let mut stdout = child.stdout.take();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    let start = Instant::now();
    loop {
        if start.elapsed() > limit {
            return Err(io::Error::other(format!("has not ended after {limit:?}, and is not waited for")));
        }
        // Asked before the pipe is: what it said before it ended is in there.
        let ended = child.try_wait()?.is_some();
        let wait = if ended { 0_u16 } else { 20 };
        let ready = match &stdout {
            Some(pipe) => {
                let polled = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], wait);
                match polled.map_err(io::Error::from) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    readable => readable? > 0,
                }
            }
            None => false,
        };
        if let Some(pipe) = stdout.as_mut().filter(|_| ready) {
            match pipe.read(&mut piece)? {
                0 => stdout = None,
                got => answer.extend_from_slice(&piece[..got]),
            }
            if answer.len() as u64 > MAX_FILE {
                return Err(io::Error::other("says more than a login takes"));
            }
        } else if ended {
            // A program that it started may hold the pipe open for as long as it likes.
            return Ok(answer);
        } else if stdout.is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn of_helper(answer: &[u8]) -> Option<Credentials> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let (user, secret) = (answer["Username"].as_str()?, answer["Secret"].as_str()?.to_owned());
    Some(match user {
        TOKEN_USER => Credentials::Identity(secret),
        user => Credentials::Password { user: user.to_owned(), secret },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn password(user: &str, secret: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), secret: secret.to_owned() }
    }

    #[test]
    fn whose_credentials() {
        // "u:p" and "v:q:r" in base64.
        let (up, vqr) = ("dTpw", "djpxOnI=");
        for (config, reference, expected) in [
            (json!({}), "h.io/a", None),
            (json!({"auths": {"h.io": {"auth": up}}}), "h.io/a", Some(password("u", "p"))),
            (json!({"auths": {"h.io": {"auth": vqr}}}), "h.io/a", Some(password("v", "q:r"))),
            (json!({"auths": {"https://h.io/v1/": {"auth": up}}}), "h.io/a", Some(password("u", "p"))),
            (json!({"auths": {"h.io": {"auth": up}}}), "h.io:5000/a", None),
            (json!({"auths": {"h.io.evil": {"auth": up}}}), "h.io/a", None),
            (json!({"auths": {HUB_KEY: {"auth": up}}}), "alpine", Some(password("u", "p"))),
            (json!({"auths": {"docker.io": {"auth": up}}}), "alpine", Some(password("u", "p"))),
            (
                json!({"auths": {"h.io": {"auth": up}, "h.io/a/b": {"auth": vqr}}}),
                "h.io/a/b/c",
                Some(password("v", "q:r")),
            ),
            (
                json!({"auths": {"h.io": {"auth": up}, "h.io/a/b": {"auth": vqr}}}),
                "h.io/a",
                Some(password("u", "p")),
            ),
            (
                json!({"auths": {"h.io": {"auth": up, "identitytoken": "t"}}}),
                "h.io/a",
                Some(Credentials::Identity("t".into())),
            ),
            (json!({"auths": {"h.io": {"auth": "*"}}}), "h.io/a", None),
            (json!({"auths": {"h.io": {}}}), "h.io/a", None),
            (json!({"auths": 7, "credHelpers": [], "credsStore": {}}), "h.io/a", None),
            (
                json!({"credHelpers": {"h.io": "one"}, "credsStore": "all"}),
                "h.io/a",
                Some(password("one", "h.io")),
            ),
            (
                json!({"credHelpers": {"x.io": "one"}, "credsStore": "all"}),
                "h.io/a",
                Some(password("all", "h.io")),
            ),
            (json!({"credsStore": "all"}), "alpine", Some(password("all", HUB_KEY))),
        ] {
            let reference = Reference::parse(reference).unwrap();
            let ask = |name: &str, server: &str| Some(password(name, server));
            assert_eq!(in_config(&config, &reference, &ask), expected, "{config}");
        }
    }

    #[test]
    fn helpers() {
        assert_eq!(of_helper(br#"{"Username":"u","Secret":"p"}"#), Some(password("u", "p")));
        assert_eq!(
            of_helper(br#"{"Username":"<token>","Secret":"t"}"#),
            Some(Credentials::Identity("t".into()))
        );
        assert_eq!(of_helper(b"credentials not found in native keychain"), None);
        assert_eq!(ask_helper("../x", "h"), None);
        assert_eq!(ask_helper("no-helper-of-this-name", "h"), None);
    }

    #[test]
    fn secrets_do_not_print() {
        assert!(!format!("{:?}", password("u", "geheim")).contains("geheim"));
    }

    #[test]
    fn a_helper_is_heard_out_and_no_longer() {
        let limit = Duration::from_secs(2);
        let ask = |script: &str| {
            let start = Instant::now();
            let answer = answer_of(Command::new("sh").args(["-c", script]), "h.io", limit);
            assert!(start.elapsed() < Duration::from_secs(10), "{script}: {:?}", start.elapsed());
            answer.map(|said| String::from_utf8(said).unwrap()).map_err(|e| e.to_string())
        };
        assert_eq!(ask("cat; echo !").as_deref(), Ok("h.io!\n"));
        assert_eq!(ask("exit 1").as_deref(), Ok(""));
        assert_eq!(ask("echo late; exec >&-; sleep 0.1").as_deref(), Ok("late\n"));
        let much = "head -c 100000 /dev/zero | tr '\\0' x";
        assert_eq!(ask(much).map(|said| said.len()), Ok(100_000));
        // An agent that it leaves behind has its pipe.
        assert_eq!(ask("echo said; sleep 30 &").as_deref(), Ok("said\n"));
        for silent in ["exec sleep 30", "exec >&-; exec sleep 30", "while sleep 0.01; do echo; done"] {
            assert!(ask(silent).unwrap_err().contains("not waited for"), "{silent}");
        }
        assert!(ask("exec cat /dev/zero").unwrap_err().contains("more than"));
    }
}
