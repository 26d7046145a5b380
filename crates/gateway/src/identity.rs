//! Who asks: the account, and where the agency knows it the applicant, as a proxy in front has
//! found out, or as a signed token says. A header counts only where it comes from a proxy that is
//! trusted, a token only with the signature of the key that counts.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use giliran_web::{Proxies, Unsaid};
use giliran_wire::answer::Reason;

use crate::problem::{Kind, Problem};
use crate::signed_token::{SignedTokens, bearer};

/// Where identities come from.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The proxies in front; each header counts from these alone.
    pub proxies: Proxies,
    /// The header with the account; none: no proxy names it.
    pub account: Option<HeaderName>,
    /// The header with the verified applicant, who must be the first of a request; none: no
    /// proxy has verified any.
    pub applicant: Option<HeaderName>,
    /// The tokens that say it; none: tokens say nothing here. A request with one is known by it
    /// alone, whatever its headers say.
    pub tokens: Option<SignedTokens>,
}

/// Who asks, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Where the request comes from, seen from the first trusted proxy.
    pub(crate) address: IpAddr,
    pub(crate) account: Option<String>,
    pub(crate) applicant: Option<String>,
}

impl Identity {
    /// Who asks, by the address that a connection comes from and its headers.
    ///
    /// # Errors
    ///
    /// `not_permitted` where a header that is needed is missing, or `unauthenticated` where a
    /// token would do; `invalid_token`; `malformed` where a header occurs more than once: nobody
    /// knows which of them the proxy wrote.
    pub(crate) fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
        let address = self.proxies.client(peer.ip(), headers);
        if let Some(tokens) = &self.tokens {
            if let Some(token) = bearer(headers)? {
                let (account, applicant) = tokens.read(token)?;
                return Ok(Caller { address, account: Some(account), applicant });
            }
            if self.account.is_none() && self.applicant.is_none() {
                return Err(unauthenticated());
            }
        }
        let said = |name: &Option<HeaderName>| {
            let Some(name) = name else { return Ok(None) };
            let said = self.proxies.said(peer.ip(), headers, name);
            said.map(|value| Some(value.to_owned())).map_err(|unsaid| match unsaid {
                Unsaid::Twice(..) => Problem::malformed(unsaid.to_string()),
                Unsaid::Missing(..) if self.tokens.is_some() => unauthenticated(),
                Unsaid::Missing(..) => {
                    Problem::reason(Reason::NotPermitted).detail(unsaid.to_string())
                }
            })
        };
        Ok(Caller { address, account: said(&self.account)?, applicant: said(&self.applicant)? })
    }

    /// Whether anybody has checked who asks.
    pub(crate) const fn is_checked(&self) -> bool {
        self.names_accounts() || self.applicant.is_some()
    }

    /// Whether the account of a request is known from elsewhere than the request.
    pub(crate) const fn names_accounts(&self) -> bool {
        self.account.is_some() || self.tokens.is_some()
    }

    /// Whether a proxy and tokens name the same: else who comes with one of them would be
    /// checked less than who comes with the other.
    ///
    /// # Errors
    ///
    /// What only one of them names: `account` or `applicant`.
    pub fn is_even(&self) -> Result<(), &'static str> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        match (&self.account, &self.applicant) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err("account"),
            (Some(_), applicant) if applicant.is_some() != tokens.name_applicants() => {
                Err("applicant")
            }
            (Some(_), _) => Ok(()),
        }
    }
}

fn unauthenticated() -> Problem {
    Problem::new(Kind::Unauthenticated)
        .detail("Authorization: missing; a bearer token says here who asks")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            proxies: "10.0.0.7,10.1.0.0/16,fd00::/8".parse().unwrap(),
            account: Some(HeaderName::from_static("x-account")),
            applicant: None,
            tokens: None,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_header_counts_from_a_trusted_proxy_alone() {
        let said = headers(&[("x-account", "u-1")]);
        let from = |peer: &str| identity().caller(peer.parse().unwrap(), &said);
        for trusted in ["10.0.0.7:80", "10.1.200.3:80", "[fd12::1]:80", "[::ffff:10.0.0.7]:80"] {
            assert_eq!(from(trusted).unwrap().account.as_deref(), Some("u-1"), "{trusted}");
        }
        for stranger in ["10.0.0.8:80", "10.2.0.1:80", "[::1]:80"] {
            assert_eq!(from(stranger).unwrap_err().kind.name(), "not_permitted", "{stranger}");
        }
        let mut twice = said.clone();
        twice.append("x-account", "u-2".parse().unwrap());
        let refused = identity().caller("10.0.0.7:80".parse().unwrap(), &twice);
        assert_eq!(refused.unwrap_err().kind.name(), "malformed");
        let nobody = identity().caller("10.0.0.7:80".parse().unwrap(), &headers(&[]));
        assert_eq!(nobody.unwrap_err().kind.name(), "not_permitted");
    }

    #[test]
    fn the_address_is_the_last_one_that_no_proxy_of_ours_has() {
        let at = |peer: &str, forwarded: &str| {
            let said = headers(&[("x-account", "u"), ("x-forwarded-for", forwarded)]);
            identity().caller(peer.parse().unwrap(), &said).map(|caller| caller.address)
        };
        let is = |text: &str| Ok::<IpAddr, ()>(text.parse().unwrap());
        assert_eq!(
            at("10.0.0.7:80", "6.6.6.6, 203.0.113.9, 10.1.0.4").map_err(|_| ()),
            is("203.0.113.9")
        );
        assert_eq!(at("10.0.0.7:80", "10.1.0.4").map_err(|_| ()), is("10.0.0.7"));
        let open = Identity { account: None, ..identity() };
        let said = headers(&[("x-forwarded-for", "6.6.6.6")]);
        let stranger = open.caller("198.51.100.1:80".parse().unwrap(), &said).unwrap();
        assert_eq!(Ok(stranger.address), is("198.51.100.1"));
    }
}
