//! Sign-in by OpenID Connect: the issuers that people may come from, and a tenant's settings for it.
//!
//! A secret must never be here in plain text.

use serde::{Deserialize, Serialize};

use crate::domain::user::Role;
use crate::domain::web_origin::WebOrigin;

const EXPECTED: &str = "expected an address that begins with https:// (on this machine, http:// is allowed), with the host \
                        in lower case and without a query, for example https://login.example.com";

/// In characters.
pub const ISSUER_LENGTH_MAX: usize = 500;

/// The address of a provider, which names it in its tokens. Compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerAddress {
    text: String,
    origin_length: usize,
}

impl IssuerAddress {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn origin(&self) -> &str {
        &self.text[..self.origin_length]
    }

    /// With the port, if it is not the usual one.
    pub fn host(&self) -> &str {
        self.origin().split_once("://").map_or("", |(_, host)| host)
    }

    fn is_origin(&self) -> bool {
        matches!(&self.text[self.origin_length..], "" | "/")
    }
}

impl TryFrom<String> for IssuerAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
        let authority_length = rest.find('/').unwrap_or(rest.len());
        let origin_length = scheme.len() + "://".len() + authority_length;
        WebOrigin::try_from(text[..origin_length].to_owned()).map_err(|_| EXPECTED)?;
        let is_safe = scheme == "https" || is_loopback(&rest[..authority_length]);
        let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte);
        if is_safe && text.len() <= ISSUER_LENGTH_MAX && text[origin_length..].bytes().all(is_path) {
            Ok(Self { text, origin_length })
        } else {
            Err(EXPECTED)
        }
    }
}

impl From<IssuerAddress> for String {
    fn from(issuer: IssuerAddress) -> Self {
        issuer.text
    }
}

fn is_loopback(authority: &str) -> bool {
    let host_end = authority.find(']').map_or(0, |bracket| bracket + 1);
    let host = authority[host_end..].split(':').next().map_or(0, str::len) + host_end;
    matches!(&authority[..host], "127.0.0.1" | "[::1]" | "localhost")
}

/// The addresses that an operator allows this server to connect to. Each is an issuer, or an origin,
/// which allows all issuers that are below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedIssuers(Vec<IssuerAddress>);

impl AllowedIssuers {
    pub fn new(addresses: Vec<IssuerAddress>) -> Self {
        Self(addresses)
    }

    pub fn iter(&self) -> impl Iterator<Item = &IssuerAddress> {
        self.0.iter()
    }

    pub fn allows(&self, issuer: &IssuerAddress) -> bool {
        self.0.iter().any(|allowed| match allowed.is_origin() {
            true => allowed.origin() == issuer.origin(),
            false => allowed == issuer,
        })
    }

    pub fn allows_origin(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed.origin() == origin)
    }
}

/// A value of the claim that names a person's roles, and the role that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedRole {
    pub value: String,
    pub role: Role,
}

/// How the people of a tenant sign in with their company's accounts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenidSettings {
    pub issuer: IssuerAddress,
    pub client_id: String,
    /// `None` for a public client.
    pub client_secret_sealed: Option<Vec<u8>>,
    pub roles_claim: String,
    pub role_mapping: Vec<MappedRole>,
    /// Whether people may sign in with passwords too.
    pub password_sign_in: bool,
}

/// Does not show the secret, although it is sealed.
impl std::fmt::Debug for OpenidSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenidSettings").field("issuer", &self.issuer.as_str()).finish_non_exhaustive()
    }
}

impl OpenidSettings {
    /// The roles of a person whose claim has these values.
    pub fn roles_of(&self, values: &[String]) -> Vec<Role> {
        let mut roles: Vec<Role> = self
            .role_mapping
            .iter()
            .filter(|mapped| values.contains(&mapped.value))
            .map(|mapped| mapped.role)
            .collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    pub fn roles(&self) -> Vec<Role> {
        self.role_mapping.iter().map(|mapped| mapped.role).collect()
    }
}

/// By what a provider knows a person, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenidIdentity {
    pub issuer: IssuerAddress,
    pub subject: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(text: &str) -> Result<IssuerAddress, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn an_issuer_has_a_safe_address_without_a_query() {
        for (text, host) in [
            ("https://login.example.com", "login.example.com"),
            ("https://login.example.com/", "login.example.com"),
            ("https://login.example.com:8443/realms/acme", "login.example.com:8443"),
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://[::1]:3000/a", "[::1]:3000"),
            ("http://localhost/a", "localhost"),
        ] {
            assert_eq!(issuer(text).as_ref().map(IssuerAddress::host), Ok(host), "{text}");
        }
        for text in [
            "",
            "login.example.com",
            "http://login.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost@example.com",
            "https://ann@login.example.com",
            "https://Login.example.com",
            "https://login.example.com?a=b",
            "https://login.example.com/a?b",
            "https://login.example.com/a#b",
            "https://login.example.com/a b",
            "https://login.example.com\\@evil.example",
            &format!("https://login.example.com/{}", "a".repeat(ISSUER_LENGTH_MAX)),
        ] {
            assert_eq!(issuer(text), Err(EXPECTED), "{text}");
        }
    }

    #[test]
    fn an_origin_allows_all_its_issuers_and_an_issuer_only_itself() {
        let of = |texts: &[&str]| {
            AllowedIssuers::new(texts.iter().map(|text| issuer(text).expect("an address")).collect())
        };
        let allowed = of(&["https://one.example/", "https://two.example/tenant-a"]);
        for (text, is_allowed) in [
            ("https://one.example", true),
            ("https://one.example/any", true),
            ("https://one.example:8443", false),
            ("https://two.example/tenant-a", true),
            ("https://two.example/tenant-a/", false),
            ("https://two.example/tenant-b", false),
            ("https://two.example", false),
            ("https://three.example", false),
        ] {
            assert_eq!(allowed.allows(&issuer(text).expect("an address")), is_allowed, "{text}");
        }
        assert!(allowed.allows_origin("https://two.example"));
        assert!(!allowed.allows_origin("https://three.example"));
    }
}
