//! Who sent a request that a proxy forwarded.
//!
//! Any client can write these headers, so they are believed only from addresses that an operator
//! has named.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::HeaderMap;
use ipnet::IpNet;
use serde::Deserialize;

/// The header in which the proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// RFC 7239.
    Forwarded,
    XForwardedFor,
}

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = |_| IpAddr::from_str(&text).map(IpNet::from);
        let network = IpNet::from_str(&text).or_else(address);
        network.map(Self).map_err(|_| "expected an address or a network such as 10.0.0.0/8".to_owned())
    }
}

#[derive(Debug, Clone, Default)]
pub struct Proxies {
    pub networks: Vec<Network>,
    pub header: Option<ForwardingHeader>,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub protocol: bool,
}

impl Proxies {
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|Network(network)| network.contains(&address))
    }

    /// The nearest address that is not one of the proxies: what is further away is only said by
    /// others. `peer` if the headers do not name one.
    pub fn client_of(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let Some(header) = self.header.filter(|_| self.include(peer)) else { return peer };
        let name = match header {
            ForwardingHeader::Forwarded => "forwarded",
            ForwardingHeader::XForwardedFor => "x-forwarded-for",
        };
        // A line that cannot be read as a whole must not be skipped: its end is by the nearest proxy.
        let lines: Vec<_> =
            headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let mut nearest = peer;
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let named = match header {
                ForwardingHeader::Forwarded => forwarded_for(hop),
                ForwardingHeader::XForwardedFor => Some(hop),
            };
            let Some(address) = named.and_then(address_of) else { break };
            nearest = address;
            if !self.include(address) {
                break;
            }
        }
        nearest
    }
}

fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, perhaps with a port. Names such as `unknown` are none.
fn address_of(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let bare = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if node.matches(':').count() == 1 => node.split_once(':')?.0,
        None => node,
    };
    IpAddr::from_str(bare).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn proxies(header: ForwardingHeader) -> Proxies {
        let networks = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        let networks = networks.map(|text| Network::try_from(text.to_owned()).expect("a network")).to_vec();
        Proxies { networks, header: Some(header), protocol: false }
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_proxy() {
        use ForwardingHeader::{Forwarded, XForwardedFor};
        for (header, lines, peer, expected) in [
            (XForwardedFor, vec![&b"203.0.113.7"[..]], "10.0.0.1", "203.0.113.7"),
            (XForwardedFor, vec![&b"203.0.113.7"[..]], "198.51.100.1", "198.51.100.1"),
            (XForwardedFor, vec![&b"1.2.3.4, 203.0.113.7, 10.0.0.9"[..]], "10.0.0.1", "203.0.113.7"),
            (XForwardedFor, vec![&b"1.2.3.4"[..], &b"203.0.113.7:4711"[..]], "10.0.0.1", "203.0.113.7"),
            (XForwardedFor, vec![&b"unknown, 10.0.0.9"[..]], "10.0.0.1", "10.0.0.9"),
            (XForwardedFor, vec![], "10.0.0.1", "10.0.0.1"),
            (XForwardedFor, vec![&b"1.2.3.4"[..], &b"\xff, 203.0.113.7"[..]], "10.0.0.1", "203.0.113.7"),
            (XForwardedFor, vec![&b"1.2.3.4, \xff"[..]], "10.0.0.1", "10.0.0.1"),
            (XForwardedFor, vec![&b"2001:db8::1"[..]], "::ffff:10.0.0.1", "2001:db8::1"),
            (Forwarded, vec![&b"for=203.0.113.7;proto=https"[..]], "10.0.0.1", "203.0.113.7"),
            (Forwarded, vec![&b"proto=https; For=\"[2001:db8::1]:4711\""[..]], "10.0.0.1", "2001:db8::1"),
            (Forwarded, vec![&b"for=1.2.3.4, for=203.0.113.7, for=10.0.0.9"[..]], "10.0.0.1", "203.0.113.7"),
            (Forwarded, vec![&b"for=_hidden"[..]], "10.0.0.1", "10.0.0.1"),
            (Forwarded, vec![&b"203.0.113.7"[..]], "10.0.0.1", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            let name = if header == Forwarded { "forwarded" } else { "x-forwarded-for" };
            for line in &lines {
                headers.append(name, HeaderValue::from_bytes(line).expect("a value"));
            }
            let peer = peer.parse().expect("an address");
            let client = proxies(header).client_of(&headers, peer);
            assert_eq!(client.to_string(), expected, "{lines:?} from {peer}");
        }
    }
}
