//! The certificate of a connection's client, and what a machine client is bound to (RFC 8705).
//!
//! Certificates are parsed and verified where connections are accepted. Must never decide by a name
//! of a certificate that was not verified.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::plugin::Digest;

/// As DNS allows.
const DNS_NAME_LENGTH_MAX: usize = 253;
const URI_LENGTH_MAX: usize = 1_000;
/// In base64url without padding.
const THUMBPRINT_LENGTH: usize = 43;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindingError {
    #[error("expected the SHA-256 of a certificate in base64url: {THUMBPRINT_LENGTH} characters")]
    Thumbprint,
    #[error(
        "expected one full DNS name as certificates have it, such as pay.example.com, without a wildcard"
    )]
    DnsName,
    #[error(
        "expected a URI of at most {URI_LENGTH_MAX} visible ASCII characters, such as spiffe://example.com/pay"
    )]
    Uri,
}

/// The SHA-256 of a certificate, which tokens carry as `x5t#S256`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint(pub [u8; 32]);

impl CertificateThumbprint {
    /// Of the certificate's DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Digest::of(certificate).0)
    }

    pub fn parse(text: &str) -> Result<Self, BindingError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BindingError::Thumbprint)?;
        bytes.try_into().map(Self).map_err(|_| BindingError::Thumbprint)
    }
}

impl fmt::Display for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CertificateThumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CertificateThumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The certificate that the client of a connection has proved to own, after it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub thumbprint: CertificateThumbprint,
    pub dns_names: Vec<String>,
    pub uris: Vec<String>,
}

/// A full DNS name in lower case. A wildcard would name several programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundDnsName(String);

impl BoundDnsName {
    pub fn parse(text: &str) -> Result<Self, BindingError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if text.len() <= DNS_NAME_LENGTH_MAX && text.split('.').all(is_label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BindingError::DnsName)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A URI with its scheme, which is compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundUri(String);

impl BoundUri {
    pub fn parse(text: &str) -> Result<Self, BindingError> {
        let has_scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
            !rest.is_empty()
                && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        });
        if has_scheme && text.len() <= URI_LENGTH_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BindingError::Uri)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which certificates a client may show: this very one, or each that has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateBinding {
    Sha256(CertificateThumbprint),
    SanDns(BoundDnsName),
    SanUri(BoundUri),
}

impl CertificateBinding {
    pub fn allows(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::Sha256(thumbprint) => *thumbprint == certificate.thumbprint,
            Self::SanDns(name) => {
                certificate.dns_names.iter().any(|other| other.eq_ignore_ascii_case(name.as_str()))
            }
            Self::SanUri(uri) => certificate.uris.iter().any(|other| other == uri.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> ClientCertificate {
        ClientCertificate {
            thumbprint: CertificateThumbprint::of(b"one"),
            dns_names: vec!["Pay.Example.com".to_owned(), "*.example.org".to_owned()],
            uris: vec!["spiffe://example.com/pay".to_owned()],
        }
    }

    #[test]
    fn a_binding_allows_exactly_what_it_names() {
        let dns = |name| CertificateBinding::SanDns(BoundDnsName::parse(name).expect(name));
        let uri = |text| CertificateBinding::SanUri(BoundUri::parse(text).expect(text));
        let sha256 = |der: &[u8]| CertificateBinding::Sha256(CertificateThumbprint::of(der));
        for (binding, allows) in [
            (sha256(b"one"), true),
            (sha256(b"two"), false),
            (dns("pay.example.com"), true),
            (dns("PAY.example.com"), true),
            (dns("example.com"), false),
            (dns("shop.example.org"), false),
            (uri("spiffe://example.com/pay"), true),
            (uri("spiffe://example.com/PAY"), false),
            (uri("spiffe://example.com/"), false),
        ] {
            assert_eq!(binding.allows(&certificate()), allows, "{binding:?}");
        }
    }

    #[test]
    fn a_thumbprint_is_written_in_base64url_and_read_back() {
        let thumbprint = CertificateThumbprint::of(b"");
        let text = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(thumbprint.to_string(), text);
        assert_eq!(CertificateThumbprint::parse(text), Ok(thumbprint));
        let with_padding = format!("{text}=");
        for wrong in ["", "47DE", &text[1..], &text.replace('-', "+"), &with_padding] {
            assert_eq!(CertificateThumbprint::parse(wrong), Err(BindingError::Thumbprint), "{wrong}");
        }
    }

    #[test]
    fn names_that_no_certificate_has_are_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for wrong in ["", "*.example.com", "pay.example.com.", "a..b", "bücher.example", "a b", &long] {
            assert_eq!(BoundDnsName::parse(wrong), Err(BindingError::DnsName), "{wrong}");
        }
        for wrong in ["", "pay", "://x", "1a:x", "urn:", "https://example.com/a b", "https://bücher.example"]
        {
            assert_eq!(BoundUri::parse(wrong), Err(BindingError::Uri), "{wrong}");
        }
    }
}
