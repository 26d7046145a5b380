//! The names by which a server may be asked. A page elsewhere can have its own name lead to an
//! address here (DNS rebinding), and is then of one origin with us to the browser that shows it;
//! the name in the request stays its own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

/// Names of this machine, which no name elsewhere can be.
const OF_THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Most characters of a name.
const LONGEST: usize = 253;

/// The names that are known: those of this machine, the address where it listens, and those
/// that were named. Ports do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// A text that is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAHost;

impl fmt::Display for NotAHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or an address without a port, as console.example or [2001:db8::7]")
    }
}

impl std::error::Error for NotAHost {}

/// Why a request is for somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// It names no host, or several.
    Unnamed,
    /// It names this one, without its port.
    Named(String),
}

/// The name that a text is, as it is compared.
///
/// # Errors
///
/// Where it has a port, or characters that no name has.
pub fn host(text: &str) -> Result<String, NotAHost> {
    let name = compared(text.trim());
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = |name: &str| {
        let usual = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !name.is_empty() && name.len() <= LONGEST && name.chars().all(usual)
    };
    let fine = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => is_name(&name),
    };
    if fine { Ok(name) } else { Err(NotAHost) }
}

impl Hosts {
    /// Of a server at this address, which also has these names, each as [`host`] gives it.
    pub fn new(listen: SocketAddr, named: impl IntoIterator<Item = String>) -> Self {
        let listen = match listen.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let machine = OF_THIS_MACHINE.into_iter().map(str::to_owned);
        Self(machine.chain([listen]).chain(named).collect())
    }

    /// Whether a request is for this server, by its address and its `Host`.
    ///
    /// # Errors
    ///
    /// The name that it has instead; or that it has none, or several.
    pub fn knows(&self, address: &Uri, headers: &HeaderMap) -> Result<(), Unknown> {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(named), None) = (named.next(), named.next()) else {
            return Err(Unknown::Unnamed);
        };
        let named = named.to_str().map_err(|_| Unknown::Unnamed)?;
        // An address with a host of its own goes before the header.
        let all = [Some(named), address.authority().map(|authority| authority.as_str())];
        for name in all.into_iter().flatten().map(without_port) {
            if !self.0.contains(&name) {
                return Err(Unknown::Named(name));
            }
        }
        Ok(())
    }

    /// Whether a form comes from a page of this server, as far as the request says where from:
    /// a proxy may have put a name of its own into `Host`, but hands on `Origin`.
    pub fn sent(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, host)| self.0.contains(&without_port(host)))
        })
    }
}

/// A name without the port behind it, as it is compared.
fn without_port(name: &str) -> String {
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    let bare = name.rsplit_once(':').filter(|(_, port)| is_port(port)).map(|(bare, _)| bare);
    // Within brackets colons are the address's.
    let bare = bare.filter(|bare| !bare.contains(':') || bare.ends_with(']'));
    compared(bare.unwrap_or(name))
}

/// A name in small letters, without the dot that says that nothing belongs behind it. An IPv6
/// address has many texts, of which browsers send one and people write any.
fn compared(name: &str) -> String {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        Some(address) => format!("[{address}]"),
        None => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn asked(hosts: &Hosts, address: &str, named: &[&str]) -> Result<(), Unknown> {
        let mut headers = HeaderMap::new();
        for name in named {
            headers.append(header::HOST, name.parse().unwrap());
        }
        hosts.knows(&address.parse().unwrap(), &headers)
    }

    /// Behind a proxy that puts its own address into `Host`.
    #[test]
    fn a_form_says_where_it_comes_from() {
        let hosts = Hosts::new("10.0.0.7:8090".parse().unwrap(), [host("console.ok.").unwrap()]);
        let sent = |origin: &str| {
            let origin = (header::ORIGIN, origin.parse().unwrap());
            hosts.sent(&HeaderMap::from_iter([origin]))
        };
        assert!(sent("https://console.ok") && sent("http://10.0.0.7:8090"));
        assert!(!sent("https://evil.example") && !sent("null") && !sent("console.ok"));
        assert!(hosts.sent(&HeaderMap::new()), "older browsers say it otherwise");
        assert_eq!(asked(&hosts, "/", &["Console.OK.:443"]), Ok(()));
    }

    #[test]
    fn a_name_that_leads_here_is_none_of_ours() {
        let named = ["Console.Example", "[2001:DB8:0:0::7]"].map(|name| host(name).unwrap());
        let hosts = Hosts::new("10.0.0.7:8090".parse().unwrap(), named);
        for right in [
            "localhost",
            "LOCALHOST:8090",
            "127.0.0.1:1",
            "[::1]:8090",
            "[::1]",
            "10.0.0.7:8090",
            "console.example",
            "console.example:443",
            "[2001:db8::7]:8090",
            "[2001:db8:0::0:7]",
        ] {
            assert_eq!(asked(&hosts, "/", &[right]), Ok(()), "{right}");
        }
        for wrong in [
            "rebound.example:8090",
            "console.example.evil",
            "localhost.evil",
            "127.0.0.1.evil",
            "10.0.0.8",
            "[::2]:8090",
            "",
            "console.example:443@evil",
        ] {
            let refused = asked(&hosts, "/", &[wrong]);
            assert!(matches!(refused, Err(Unknown::Named(_))), "{wrong}: {refused:?}");
        }
        assert_eq!(asked(&hosts, "/", &[]), Err(Unknown::Unnamed));
        assert_eq!(asked(&hosts, "/", &["localhost", "localhost"]), Err(Unknown::Unnamed));
        let whole = asked(&hosts, "http://rebound.example/", &["localhost"]);
        assert_eq!(whole, Err(Unknown::Named("rebound.example".to_owned())));
    }

    #[test]
    fn a_name_has_no_port() {
        assert_eq!(host(" A.example ").as_deref(), Ok("a.example"));
        for address in ["[2001:db8::7]", "[2001:DB8:0:0::7]", "[2001:0db8:0:0:0:0:0:7]"] {
            assert_eq!(host(address).as_deref(), Ok("[2001:db8::7]"), "{address}");
        }
        for wrong in ["", "a:80", "http://a", "a/b", "2001:db8::7", "[a]", "ä", "*"] {
            assert_eq!(host(wrong), Err(NotAHost), "{wrong}");
        }
    }
}
