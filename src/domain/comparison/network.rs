//! IP addresses and networks in one canonical text. An IPv4 address that is mapped into IPv6 counts
//! as the IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::text::tidy;

/// A network. With the longest prefix it is a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    length_bits: u32,
}

/// The length of the prefix of IPv6 addresses that are mapped IPv4 addresses.
const MAPPED_BITS: u32 = 96;

impl Network {
    /// Accepts an address, alone or with the length of the prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let text = tidy(text);
        let Some((address, length)) = text.split_once('/') else {
            return text.parse().ok().map(Self::of_one);
        };
        let address: IpAddr = address.parse().ok()?;
        let is_number = (1..=3).contains(&length.len()) && length.bytes().all(|b| b.is_ascii_digit());
        let length: u32 = length.parse().ok().filter(|_| is_number)?;
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if (MAPPED_BITS..=128).contains(&length) => {
                Some(Self::containing(mapped.into(), length - MAPPED_BITS))
            }
            _ if length <= bits(address) => Some(Self::containing(address, length)),
            _ => None,
        }
    }

    fn of_one(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, length_bits: bits(first) }
    }

    fn containing(address: IpAddr, length_bits: u32) -> Self {
        let first = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - length_bits).unwrap_or_default();
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - length_bits).unwrap_or_default();
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Self { first, length_bits }
    }

    /// The address and all networks that contain it, the smallest first.
    pub fn all_of(address: IpAddr) -> Vec<String> {
        let address = address.to_canonical();
        let lengths = (0..=bits(address)).rev();
        lengths.map(|length| Self::containing(address, length).to_string()).collect()
    }
}

fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length_bits == bits(self.first) {
            self.first.fmt(f)
        } else {
            write!(f, "{}/{}", self.first, self.length_bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_text_however_it_is_written() {
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            (" 203.0.113.7\u{200b} ", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("::FFFF:CB00:7107", "203.0.113.7"),
            ("0:0:0:0:0:ffff:203.0.113.7", "203.0.113.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
            ("203.0.113.7/32", "203.0.113.7"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::ffff:203.0.113.7/128", "203.0.113.7"),
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("203.0.113.0/024", "203.0.113.0/24"),
            ("::ffff:203.0.113.7/120", "203.0.113.0/24"),
            ("2001:0DB8:1:2::9/48", "2001:db8:1::/48"),
            ("203.0.113.7/0", "0.0.0.0/0"),
            ("2001:db8::/0", "::/0"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(Network::parse(text).map(|network| network.to_string()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_address_and_no_network_is_none() {
        for text in [
            "",
            "203.0.113",
            "203.0.113.",
            "203.0.113.7/33",
            "203.0.113.7/",
            "203.0.113.7/+8",
            "203.0.113.7/8/8",
            "2001:db8::1/129",
            "fe80::1%eth0",
            "localhost",
            "203.0.113.07",
            "203.0.113.7:443",
            "[2001:db8::1]",
            "203.0.113.7/0008",
            "1",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_in_one_network_of_each_length() {
        let all = Network::all_of("::ffff:203.0.113.7".parse().expect("an address"));
        assert_eq!(all.len(), 33);
        assert_eq!((all[0].as_str(), all[1].as_str()), ("203.0.113.7", "203.0.113.6/31"));
        assert_eq!((all[8].as_str(), all[32].as_str()), ("203.0.113.0/24", "0.0.0.0/0"));
        let all = Network::all_of("2001:db8::1".parse().expect("an address"));
        assert_eq!(all.len(), 129);
        assert!(all.contains(&"2001:db8::/32".to_owned()));
    }
}
