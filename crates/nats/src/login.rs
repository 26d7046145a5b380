//! Who a connection is, and whom it believes.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;

use crate::error::Doing;
use crate::private::{read, read_secret};
use crate::{Error, ErrorKind};

/// How to log in, and by which certificates. Secrets come from files and the
/// environment.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// A credentials file: a JWT and the seed of its NKey.
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an NKey, on a line of its own.
    pub nkey: Option<PathBuf>,
    pub user: Option<String>,
    /// Password, with a user.
    pub password: Option<String>,
    /// Prefix of the connection's inboxes, where permissions ask for one.
    pub inbox_prefix: Option<String>,
    /// Certificates (PEM) of the authorities that are believed, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its private key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// No connection without TLS, whatever the server offers.
    pub tls: bool,
    /// The options that gave all this, for what helps where it is refused.
    pub named: Named,
}

/// What a login's options are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Those that say who logs in.
    pub login: &'static str,
    /// That of the inboxes' prefix.
    pub inbox_prefix: &'static str,
}

impl Default for Named {
    fn default() -> Self {
        Self {
            login: "--nats-user with GILIRAN_NATS_PASSWORD, --nats-nkey, --nats-cert or \
                    --nats-credentials",
            inbox_prefix: "--nats-inbox-prefix or GILIRAN_NATS_INBOX_PREFIX",
        }
    }
}

impl Login {
    /// Puts it into a connection's options.
    pub(crate) fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, Error> {
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        if let Some(file) = &self.credentials {
            let text = read_secret(file, "NATS credentials")?;
            let doing = format!("NATS credentials {}", file.display());
            let taken = options.credentials(&text).doing(&doing);
            options = taken.map_err(|error| error.of_kind(ErrorKind::Unsuitable))?;
        }
        if let Some(file) = &self.nkey {
            options = options.nkey(seed(&read_secret(file, "NKey seed")?, file)?);
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(file) = &self.ca {
            read(file, "NATS CA")?;
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            read(certificate, "NATS client certificate")?;
            read_secret(key, "NATS client key")?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options.require_tls(self.tls || self.ca.is_some() || self.certificate.is_some()))
    }
}

/// The seed in a file, which may hold comments beside it.
fn seed(text: &str, file: &Path) -> Result<String, Error> {
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    seed.map(str::to_owned).ok_or_else(|| {
        Error::plain(format!(
            "NKey seed {}: no line with the seed of a user, which begins with SU",
            file.display()
        ))
        .of_kind(ErrorKind::Unsuitable)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_found_among_comments() {
        let file = Path::new("user.nk");
        let text = "# gateway\n  SUAFIRSTSEED  \n";
        assert_eq!(seed(text, file).unwrap(), "SUAFIRSTSEED");
        let refused = seed("UBLOOKSLIKEAPUBLICKEY", file).unwrap_err().to_string();
        assert!(refused.contains("begins with SU"), "{refused}");
        assert!(!refused.contains("UBLOOKS"), "{refused}");
    }
}
