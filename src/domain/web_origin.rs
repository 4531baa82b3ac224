//! The origin of a web page, as browsers send it (RFC 6454).

use serde::Deserialize;

const EXPECTED: &str = "expected an origin as browsers send it: http:// or https://, the host in lower case, and the \
                        port if it is not the usual one; for example https://pay.example.com";

/// Compared as text, since a browser always writes the same origin in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebOrigin(String);

impl WebOrigin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (scheme, authority) = text.split_once("://").ok_or(EXPECTED)?;
        let usual_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(EXPECTED),
        };
        // The colons of an IPv6 address are inside of its brackets.
        let host_end = authority.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[host_end..].split_once(':') {
            Some((rest, port)) => (&authority[..host_end + rest.len()], Some(port)),
            None => (authority, None),
        };
        let is_port = |port: &str| {
            let number = port.parse::<u16>().ok().filter(|number| *number != usual_port);
            number.is_some_and(|number| number.to_string() == port)
        };
        if is_host(host) && port.is_none_or(is_port) { Ok(Self(text)) } else { Err(EXPECTED) }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exact_origin_is_accepted() {
        for text in [
            "https://pay.example.com",
            "http://localhost:3000",
            "https://203.0.113.7:8443",
            "http://[2001:db8::1]",
            "http://[2001:db8::1]:3000",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(WebOrigin::try_from(text.to_owned()).map(|origin| origin.0), Ok(text.to_owned()));
        }
        for text in [
            "",
            "*",
            "null",
            "pay.example.com",
            "https://",
            "https://*.example.com",
            "https://pay.example.com/",
            "https://pay.example.com/shop",
            "https://Pay.example.com",
            "https://pay.example.com:443",
            "http://localhost:80",
            "http://localhost:0080",
            "http://localhost:",
            "http://localhost:70000",
            "https://ann@pay.example.com",
            "https://pay.example.com:1:2",
            "https://pay..example.com",
            "https://bücher.example",
            "http://[2001:DB8::1]",
            "http://[2001:db8::1",
            "http://2001:db8::1",
            "ftp://pay.example.com",
        ] {
            assert_eq!(WebOrigin::try_from(text.to_owned()), Err(EXPECTED), "{text}");
        }
    }
}
