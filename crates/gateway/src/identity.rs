//! Who asks: the account, and where the agency knows it the applicant, as a proxy in front has
//! found out. A header counts only where it comes from a proxy that is trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};
use giliran_wire::answer::Reason;

use crate::problem::Problem;

/// The proxies whose headers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<(IpAddr, u8)>);

/// A text that names no address or network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("addresses or networks joined by commas, as 10.0.0.7,10.1.0.0/16,::1")
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Proxies {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        text.split(',').map(|one| network(one.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), NotANetwork> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| NotANetwork))?;
    if bits > most { Err(NotANetwork) } else { Ok((address, bits)) }
}

impl Proxies {
    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(*bits);
                let head = |address: std::net::Ipv4Addr| u64::from(address.to_bits()) >> shift;
                head(*network) == head(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let head = |address: std::net::Ipv6Addr| {
                    address.to_bits().checked_shr(128 - u32::from(*bits)).unwrap_or(0)
                };
                head(*network) == head(address)
            }
            _ => false,
        })
    }
}

/// Where identities come from.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The proxies in front; each header counts from these alone.
    pub proxies: Proxies,
    /// The header with the account; none: accounts are what requests say, unchecked.
    pub account: Option<HeaderName>,
    /// The header with the verified applicant, who must be the first of a request; none: nobody
    /// has verified any.
    pub applicant: Option<HeaderName>,
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
    /// `not_permitted` where a header that is needed is missing; `malformed` where it occurs
    /// more than once: nobody knows which of them the proxy wrote.
    pub(crate) fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
        let trusted = self.proxies.has(peer.ip().to_canonical());
        let address = if trusted { self.forwarded(peer.ip(), headers) } else { peer.ip() };
        let said = |name: &Option<HeaderName>| {
            let Some(name) = name else { return Ok(None) };
            if trusted && headers.get_all(name).iter().nth(1).is_some() {
                let detail = format!("{name}: occurs more than once; the proxy is to send it once");
                return Err(Problem::malformed(detail));
            }
            let value = headers.get(name).filter(|_| trusted).and_then(|value| value.to_str().ok());
            match value.map(str::trim).filter(|value| !value.is_empty()) {
                Some(value) => Ok(Some(value.to_owned())),
                None => Err(Problem::reason(Reason::NotPermitted)
                    .detail(format!("{name}: the proxy that knows who asks has not said so"))),
            }
        };
        Ok(Caller {
            address: address.to_canonical(),
            account: said(&self.account)?,
            applicant: said(&self.applicant)?,
        })
    }

    /// The last address of `X-Forwarded-For` that is none of the proxies': those before it are
    /// what the client says.
    fn forwarded(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all("x-forwarded-for").iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or_default()).collect();
        let listed: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
        let from_last = listed.iter().rev().map_while(|one| one.trim().parse::<IpAddr>().ok());
        let mut from_last = from_last.map(|address| address.to_canonical());
        from_last.find(|address| !self.proxies.has(*address)).unwrap_or(peer)
    }

    /// Whether anybody has checked who asks.
    pub(crate) const fn is_checked(&self) -> bool {
        self.account.is_some() || self.applicant.is_some()
    }
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

    #[test]
    fn networks_are_what_they_say() {
        for wrong in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/x", "::/129", "10.0.0.7;10.0.0.8"] {
            assert_eq!(wrong.parse::<Proxies>(), Err(NotANetwork), "{wrong}");
        }
        let everybody: Proxies = "0.0.0.0/0,::/0".parse().unwrap();
        assert!(
            everybody.has("8.8.8.8".parse().unwrap()) && everybody.has("2001::1".parse().unwrap())
        );
    }
}
