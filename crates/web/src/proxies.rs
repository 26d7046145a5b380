//! Proxies in front: which are trusted, and what they say of who asks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};

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

/// Why nobody has said who asks; with the header's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsaid {
    /// It occurs more than once.
    Twice(HeaderName),
    /// No trusted proxy has sent it.
    Missing(HeaderName),
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(name) => {
                write!(f, "{name}: occurs more than once; the proxy is to send it once")
            }
            Self::Missing(name) => {
                write!(f, "{name}: the proxy that knows who asks has not said so")
            }
        }
    }
}

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
    /// What a header says of who asks; `peer`: where the connection comes from.
    ///
    /// # Errors
    ///
    /// Where no trusted proxy says it, or says it more than once: nobody knows which of
    /// them the proxy wrote.
    pub fn said<'a>(
        &self,
        peer: IpAddr,
        headers: &'a HeaderMap,
        name: &HeaderName,
    ) -> Result<&'a str, Unsaid> {
        let trusted = self.has(peer.to_canonical());
        if trusted && headers.get_all(name).iter().nth(1).is_some() {
            return Err(Unsaid::Twice(name.clone()));
        }
        let value = headers.get(name).filter(|_| trusted).and_then(|value| value.to_str().ok());
        let value = value.map(str::trim).filter(|value| !value.is_empty());
        value.ok_or_else(|| Unsaid::Missing(name.clone()))
    }

    /// Where a request comes from, seen from the first trusted proxy.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = self.has(peer.to_canonical());
        let address = if trusted { self.forwarded(peer, headers) } else { peer };
        address.to_canonical()
    }

    /// The last address of `X-Forwarded-For` that is none of the proxies': those before it are
    /// what the client says.
    fn forwarded(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all("x-forwarded-for").iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or_default()).collect();
        let listed: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
        let from_last = listed.iter().rev().map_while(|one| one.trim().parse::<IpAddr>().ok());
        let mut from_last = from_last.map(|address| address.to_canonical());
        from_last.find(|address| !self.has(*address)).unwrap_or(peer)
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

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
