//! Who asks a gateway, and how that is known: what a trusted proxy says, what a signed token says.

use std::path::{Path, PathBuf};

use axum::http::HeaderName;
use clap::ArgGroup;
use giliran_gateway::{Identity, IdentityKey, Proxies, SignedTokens, TokenRules};
use giliran_nats::private;

use crate::failure::Failure;

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(group = ArgGroup::new("names_accounts").args(["account_header", "identity_key"]).multiple(true))]
pub(super) struct IdentityArgs {
    /// Proxies whose headers are believed: addresses or networks, joined by commas.
    #[arg(long, env = "GILIRAN_TRUST_PROXIES", value_name = "NETWORKS")]
    trust_proxies: Option<Proxies>,
    /// The header in which a trusted proxy names the account that asks.
    #[arg(long, env = "GILIRAN_ACCOUNT_HEADER", value_name = "NAME", requires = "trust_proxies")]
    account_header: Option<HeaderName>,
    /// The header in which a trusted proxy names the applicant it has verified, who then must
    /// be the first of a request.
    #[arg(long, env = "GILIRAN_APPLICANT_HEADER", value_name = "NAME", requires = "trust_proxies")]
    applicant_header: Option<HeaderName>,
    /// The key by which bearer tokens (JWT) are checked: a public one of PEM, Ed25519 (EdDSA),
    /// P-256 (ES256) or RSA (RS256), or a secret of 32 characters or more (HS256).
    #[arg(long, env = "GILIRAN_IDENTITY_KEY", value_name = "FILE")]
    identity_key: Option<PathBuf>,
    /// The audience (`aud`) that tokens must name; left out, those that name any are refused.
    #[arg(long, env = "GILIRAN_IDENTITY_AUDIENCE", value_name = "TEXT", requires = "identity_key")]
    identity_audience: Option<String>,
    /// Who must have issued the tokens (`iss`); left out, anybody with the key.
    #[arg(long, env = "GILIRAN_IDENTITY_ISSUER", value_name = "TEXT", requires = "identity_key")]
    identity_issuer: Option<String>,
    /// The claim of tokens that is the account.
    #[arg(long, env = "GILIRAN_ACCOUNT_CLAIM", value_name = "NAME", default_value = "sub")]
    account_claim: String,
    /// The claim of tokens that is the applicant who was verified, who then must be the first
    /// of a request.
    #[arg(long, env = "GILIRAN_APPLICANT_CLAIM", value_name = "NAME", requires = "identity_key")]
    applicant_claim: Option<String>,
}

impl IdentityArgs {
    /// Where identities come from.
    ///
    /// # Errors
    ///
    /// Where the key is none, or proxies and tokens do not name the same.
    pub(super) fn identity(&self) -> Result<Identity, Failure> {
        let tokens = match &self.identity_key {
            Some(file) => Some(SignedTokens::new(
                identity_key(file)?,
                TokenRules {
                    audience: self.identity_audience.clone(),
                    issuer: self.identity_issuer.clone(),
                    account_claim: self.account_claim.clone(),
                    applicant_claim: self.applicant_claim.clone(),
                },
            )),
            None => None,
        };
        let identity = Identity {
            proxies: self.trust_proxies.clone().unwrap_or_default(),
            account: self.account_header.clone(),
            applicant: self.applicant_header.clone(),
            tokens,
        };
        identity.is_even().map_err(|what| {
            Failure::Usage(format!(
                "--identity-key: proxies and tokens have to name the same, or whoever comes by \
                 one of these ways is checked less; give both of --{what}-header and \
                 --{what}-claim, or neither"
            ))
        })?;
        Ok(identity)
    }
}

fn identity_key(file: &Path) -> Result<IdentityKey, Failure> {
    let usage = |error: giliran_nats::Error| Failure::Usage(error.to_string());
    let text = private::read(file, "identity key").map_err(usage)?;
    let key = if IdentityKey::is_pem(&text) {
        IdentityKey::from_pem(&text)
    } else {
        IdentityKey::from_secret(&private::read_secret(file, "identity key").map_err(usage)?)
    };
    key.map_err(|error| Failure::Usage(format!("identity key {}: {error}", file.display())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        identity: IdentityArgs,
    }

    fn read(args: &[&str]) -> Result<Identity, String> {
        let line =
            Line::try_parse_from(["gateway"].iter().chain(args)).map_err(|e| e.to_string())?;
        line.identity.identity().map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_s_kind_is_seen_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity");
        let name = file.to_str().unwrap();
        let with = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            read(&["--identity-key", name])
        };
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert!(with(public, 0o644).unwrap().tokens.is_some());
        assert!(with(&"s".repeat(32), 0o600).unwrap().tokens.is_some());
        let open = with(&"s".repeat(32), 0o644).unwrap_err();
        assert!(open.contains("mode 0644"), "a secret that others can read: {open}");
        assert!(with("short", 0o600).unwrap_err().contains("openssl rand -hex 32"));
        // What was to be a public key never becomes a secret that everybody knows.
        let damaged = with(&public.replace("MCow", "MCox"), 0o600).unwrap_err();
        assert!(damaged.contains("BEGIN PUBLIC KEY"), "{damaged}");
    }

    #[test]
    fn whoever_comes_by_one_way_is_checked_as_by_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s".repeat(32)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let token = ["--identity-key", file.to_str().unwrap()];
        let proxy = ["--trust-proxies", "10.0.0.7"];
        let (account, applicant) = (["--account-header", "x-a"], ["--applicant-header", "x-b"]);
        let claim = ["--applicant-claim", "nik"];
        assert!(read(&[token, proxy, account].concat()).is_ok());
        assert!(read(&[token, proxy, account, applicant, claim].concat()).is_ok());
        assert!(read(&[token, claim].concat()).is_ok());
        for uneven in [
            [token, proxy, account, applicant].concat(),
            [token, proxy, account, claim].concat(),
            [token, proxy, applicant, claim].concat(),
        ] {
            let refused = read(&uneven).unwrap_err();
            assert!(refused.contains("or neither"), "{uneven:?}: {refused}");
        }
        assert!(read(&claim).is_err(), "a claim of no token");
    }
}
