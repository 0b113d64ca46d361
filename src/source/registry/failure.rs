//! Why a registry did not give what was asked for.

use std::io;
use std::time::Duration;

use super::super::SourceError;

/// Why a registry did not give what was asked for. Each holds a sentence without the reference.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It does not have it.
    #[error("{0}")]
    Absent(String),
    /// It does not let us.
    #[error("{0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// It cannot be reached, or broke off.
    #[error("{0}")]
    Network(String),
    /// It gave something else than it should.
    #[error("{0}")]
    Wrong(String),
    /// It gives whole blobs only.
    #[error("{0}")]
    NoParts(String),
    /// This machine could not keep what came.
    #[error("{0}")]
    Local(String),
}

/// What an attempt came to that brought nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Trying again is of no use.
    Final(Failure),
    /// It may go better later; `after` is what the registry asked for.
    Again {
        /// What went wrong.
        failure: Failure,
        /// How long to wait, where the registry said.
        after: Option<Duration>,
    },
}

impl Trouble {
    pub(super) fn again(failure: Failure) -> Self {
        Self::Again { failure, after: None }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::Absent(_) => io::ErrorKind::NotFound,
            Failure::Refused(_) => io::ErrorKind::PermissionDenied,
            Failure::TimedOut(_) => io::ErrorKind::TimedOut,
            Failure::NoParts(_) => io::ErrorKind::Unsupported,
            Failure::Network(_) | Failure::Wrong(_) | Failure::Local(_) => io::ErrorKind::Other,
        };
        Self::new(kind, failure)
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        Self::Io(failure.into())
    }
}

/// Tells a failure of the connection.
pub(super) fn of_connection(host: &str, error: ureq::Error) -> Trouble {
    use ureq::Error;
    match error {
        Error::Timeout(what) => {
            Trouble::again(Failure::TimedOut(format!("{host} does not answer ({what} took too long)")))
        }
        Error::HostNotFound => Trouble::again(Failure::Network(format!("{host}: no such host is known"))),
        Error::Rustls(e) => Trouble::Final(Failure::Network(tls(host, &e.to_string()))),
        Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            Trouble::Final(Failure::Network(tls(host, &e.to_string())))
        }
        Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
            Trouble::again(Failure::TimedOut(format!("{host} does not answer: {e}")))
        }
        Error::Io(e) => Trouble::again(Failure::Network(format!("{host}: {e}"))),
        Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl | Error::ConnectProxyFailed(_) => {
            Trouble::Final(Failure::Network(format!("{host}: {error}")))
        }
        other => Trouble::again(Failure::Network(format!("{host}: {other}"))),
    }
}

fn tls(host: &str, why: &str) -> String {
    let hint = if why.contains("UnknownIssuer") {
        " (a certificate authority of your own is given with --tls-ca FILE)"
    } else if why.contains("InvalidContentType") || why.contains("corrupt message") {
        " (it does not speak TLS, it seems; --plain-http asks without)"
    } else {
        ""
    };
    format!("{host}: no TLS connection: {why}{hint}")
}
