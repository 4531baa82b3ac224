//! Checks the head of a request as it was sent: every byte of it, before anything is parsed.
//!
//! Stricter than hyper, which accepts a bare line feed, repeated fields and requests without a
//! host. Whoever relaxes a check here lets two servers read one request differently.

use hyper::Uri;

use super::bounds::Bounds;
use super::fields::{BodyLength, Fields, is_host, is_token_byte};
use super::refusal::Refusal;

/// The methods of RFC 9110, and PATCH. They are case-sensitive.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

const REQUEST_LINE: Refusal =
    Refusal::Malformed("The request line must be a method, a path and HTTP/1.1, with single spaces between.");

/// Checks a head that ends in an empty line.
pub fn check(head: &[u8], bounds: &Bounds) -> Result<BodyLength, Refusal> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    let target = check_request_line(request_line, bounds)?;
    let mut fields = Fields::default();
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        if count > bounds.head_fields {
            return Err(too_large(bounds));
        }
        let (name, value) = name_and_value(line)?;
        fields.add(name, value)?;
    }
    let host = fields
        .host
        .filter(|host| is_host(host))
        .ok_or(Refusal::Field { name: "Host", expected: "is required, as host or host:port" })?;
    if let Some(authority) = target.authority()
        && !authority.as_str().as_bytes().eq_ignore_ascii_case(host)
    {
        return Err(Refusal::Field { name: "Host", expected: "must agree with the target of the request" });
    }
    fields.body_length()
}

pub fn too_large(bounds: &Bounds) -> Refusal {
    Refusal::HeadTooLarge { max_bytes: bounds.head_bytes, fields_max: bounds.head_fields }
}

fn check_request_line(line: &[u8], bounds: &Bounds) -> Result<Uri, Refusal> {
    if line.contains(&b'\r') {
        return Err(Refusal::Malformed("The head contains a carriage return inside a line."));
    }
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(REQUEST_LINE);
    };
    let is_version = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) || !is_version {
        return Err(REQUEST_LINE);
    }
    if version != b"HTTP/1.1" {
        return Err(Refusal::Version);
    }
    if !METHODS.contains(&method) {
        return Err(Refusal::UnknownMethod);
    }
    if target.len() > bounds.target_bytes {
        return Err(Refusal::TargetTooLong { max_bytes: bounds.target_bytes });
    }
    target_of(target)
}

fn target_of(target: &[u8]) -> Result<Uri, Refusal> {
    const EXPECTED: Refusal =
        Refusal::Malformed("The request must name a path, in visible ASCII characters.");
    let is_absolute = target.starts_with(b"http://") || target.starts_with(b"https://");
    if !target.starts_with(b"/") && !is_absolute {
        return Err(EXPECTED);
    }
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(EXPECTED);
    }
    Uri::try_from(target).map_err(|_| EXPECTED)
}

fn name_and_value(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.contains(&b'\r') {
        return Err(Refusal::Malformed("The head contains a carriage return inside a line."));
    }
    let colon = line.iter().position(|byte| *byte == b':');
    let Some((name, value)) = colon.map(|colon| (&line[..colon], &line[colon + 1..])) else {
        return Err(Refusal::Malformed("A header has no colon, or is continued on a second line."));
    };
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Err(Refusal::Malformed("The name of a header contains a character that is not allowed."));
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    Ok((name, &value[start..end]))
}
