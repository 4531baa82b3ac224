//! The header fields that decide what a request means, and the checks of their raw values.
//!
//! A field that is dropped, doubled or unreadable would otherwise count as absent, and `If-Match`
//! that counts as absent allows every change.

use std::net::Ipv6Addr;

use super::refusal::Refusal;

/// A header that new code reads must be added here. Each may appear once only, in visible ASCII.
const DECIDING: [&str; 19] = [
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Content-Type",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Encoding",
    "Content-Digest",
    "Repr-Digest",
    "Host",
    "Last-Event-ID",
    "traceparent",
    "Cookie",
    "Origin",
    "Expect",
    "X-Request-Id",
    "Sec-Fetch-Site",
    "Access-Control-Request-Method",
];

/// What the fields of one head say about its body and its host.
#[derive(Debug, Default)]
pub struct Fields<'h> {
    seen: u32,
    pub host: Option<&'h [u8]>,
    content_length: Option<u64>,
    chunked: bool,
}

/// How the body of a request is delimited (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    Bytes(u64),
    Chunked,
}

impl<'h> Fields<'h> {
    /// Adds a field whose name is a token. The value has no surrounding whitespace.
    pub fn add(&mut self, name: &[u8], value: &'h [u8]) -> Result<(), Refusal> {
        let is_text = !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        let Some(index) = DECIDING.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        else {
            return is_text.then_some(()).ok_or(Refusal::Malformed("A header contains a control character."));
        };
        let known = DECIDING[index];
        if self.seen & (1 << index) != 0 {
            return Err(Refusal::Field { name: known, expected: "must appear once only" });
        }
        self.seen |= 1 << index;
        if !is_text || !value.is_ascii() {
            return Err(Refusal::Field { name: known, expected: "must consist of visible ASCII characters" });
        }
        match known {
            "Host" => self.host = Some(value),
            "Content-Length" => self.content_length = Some(content_length(value)?),
            "Transfer-Encoding" => self.chunked = is_chunked(value)?,
            "Expect" if !value.eq_ignore_ascii_case(b"100-continue") => return Err(Refusal::Expectation),
            _ => {}
        }
        Ok(())
    }

    /// Both headers together are how requests are smuggled past a proxy that believes the other one.
    pub fn body_length(&self) -> Result<BodyLength, Refusal> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(Refusal::Field {
                name: "Content-Length",
                expected: "must not be sent together with Transfer-Encoding",
            }),
            (_, true) => Ok(BodyLength::Chunked),
            (length, false) => Ok(BodyLength::Bytes(length.unwrap_or(0))),
        }
    }
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length =
        digits.and_then(|text| text.parse::<u64>().ok()).filter(|length| i64::try_from(*length).is_ok());
    length
        .ok_or(Refusal::Field { name: "Content-Length", expected: "must be one number of bytes, in digits" })
}

fn is_chunked(value: &[u8]) -> Result<bool, Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if codings.all(|coding| !coding.is_empty() && coding.iter().all(|byte| is_token_byte(*byte))) {
        return Err(Refusal::TransferCoding);
    }
    Err(Refusal::Field { name: "Transfer-Encoding", expected: "must be chunked" })
}

/// `tchar` of RFC 9110, section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `host[:port]` (RFC 9110, section 7.2). An address of IPv6 is in brackets.
pub fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None if rest.is_empty() => ("v6", None),
                None => return false,
            }
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    !host.is_empty() && host.bytes().all(is_name_byte) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (host, expected) in [
            ("pay.example.com", true),
            ("pay.example.com:8000", true),
            ("127.0.0.1:8000", true),
            ("[::1]", true),
            ("[::1]:8000", true),
            ("", false),
            (":8000", false),
            ("pay.example.com:", false),
            ("pay.example.com:80a", false),
            ("pay.example.com:65536", false),
            ("user@pay.example.com", false),
            ("pay.example.com/path", false),
            ("a b", false),
            ("[::1", false),
            ("[pay]", false),
            ("[::1]x", false),
            ("::1", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), expected, "{host:?}");
        }
    }
}
