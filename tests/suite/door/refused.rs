//! The bad heads, each with the exact refusal. Each is a payment that would be decided, but for
//! what the case changes.

use crate::support::raw_client::RawRequest;
use crate::support::service::Caller;

/// What a case changes in a valid request.
pub enum Change {
    /// Another request line.
    Line(&'static [u8]),
    /// One more line.
    More(&'static [u8]),
    /// Another line for the header of this name.
    Instead(&'static str, &'static [u8]),
    /// Other bytes.
    Whole(&'static [u8]),
}

use Change::{Instead, Line, More, Whole};

/// Which header the problem names.
#[derive(Debug, Clone, Copy)]
pub enum Blamed {
    /// A line without a usable name cannot be named.
    Any,
    None,
    One(&'static str),
    Either(&'static str, &'static str),
}

/// Malformed lines of the head.
pub const LINES: [Change; 58] = [
    // Ends of lines.
    More(b"X-Note: a\nX-Other: b"),
    More(b"X-Note: a\rX-Other: b"),
    More(b"X-Note: a\r\r\nX-Other: b"),
    More(b"X-Note: a\n\nGET /health HTTP/1.1"),
    Line(b"POST /api/v1/payments HTTP/1.1\nX-Note: a"),
    Line(b"POST /api/v1/payments HTTP/1.1\rX-Note: a"),
    Line(b"POST /api/v1/payments HTTP/1.1\r"),
    Whole(b"GET /health HTTP/1.1\nHost: a\n\n"),
    Whole(b"GET /health HTTP/1.1\r\nHost: a\n\r\n"),
    Whole(b"GET /health HTTP/1.1\r\nHost: a\r\n\n\r\n\r\n"),
    // Folded lines.
    More(b"X-Note: a\r\n b"),
    More(b"X-Note: a\r\n\tb"),
    More(b"X-Note: a\r\n b: c"),
    Line(b"POST /api/v1/payments HTTP/1.1\r\n X-Note: a"),
    Line(b"POST /api/v1/payments HTTP/1.1\r\n\tTransfer-Encoding: chunked"),
    // Control bytes.
    More(b"X-Note: a\0b"),
    More(b"X-Note: a\x01b"),
    More(b"X-Note: a\x0bb"),
    More(b"X-Note: a\x0cb"),
    More(b"X-Note: a\x1bb"),
    More(b"X-Note: a\x7fb"),
    More(b"X-Note: \x08"),
    // Names and colons.
    More(b"X-Note : a"),
    More(b"X-Note\t: a"),
    More(b"Content-Length : 5"),
    More(b"Transfer-Encoding : chunked"),
    More(b"Transfer-Encoding\t: chunked"),
    More(b"X-Note"),
    More(b": a"),
    More(b":"),
    More(b"X Note: a"),
    More(b"X-N\xc3\xb6te: a"),
    More(b"X-Note\xa0: a"),
    More(b"X-(Note): a"),
    More(b"X\"Note: a"),
    More(b"X/Note: a"),
    More(b"X-N\0te: a"),
    More(b"Transfer-Encoding\x0b: chunked"),
    More(b"\xef\xbb\xbfX-Note: a"),
    // The request line.
    Line(b"POST  /api/v1/payments HTTP/1.1"),
    Line(b"POST /api/v1/payments  HTTP/1.1"),
    Line(b"POST\t/api/v1/payments\tHTTP/1.1"),
    Line(b" POST /api/v1/payments HTTP/1.1"),
    Line(b"POST /api/v1/payments HTTP/1.1 "),
    Line(b"POST /api/v1/payments"),
    Line(b"POST /api/v1/payments HTTP/1"),
    Line(b"POST /api/v1/payments HTTP/1.1.1"),
    Line(b"POST /api/v1/payments http/1.1"),
    Line(b"POST /api/v1/payments HTTPS/1.1"),
    Line(b"P(ST /api/v1/payments HTTP/1.1"),
    Line(b"P\xc3\x96ST /api/v1/payments HTTP/1.1"),
    Line(b"POST * HTTP/1.1"),
    Line(b"OPTIONS * HTTP/1.1"),
    Line(b"CONNECT localhost:443 HTTP/1.1"),
    Line(b"POST api/v1/payments HTTP/1.1"),
    Line(b"POST /api/v1/payments#a HTTP/1.1"),
    Line(b"POST /api/v1/p\xc3\xa4yments HTTP/1.1"),
    Line(b"POST /api/v1/pay\x01ments HTTP/1.1"),
];

type Row = (Change, u16, &'static str, Blamed);

const MALFORMED: &str = "malformed-request";
const LENGTH: Blamed = Blamed::One("Content-Length");
const CODING: Blamed = Blamed::One("Transfer-Encoding");
const BOTH: Blamed = Blamed::Either("Content-Length", "Transfer-Encoding");
const HOST: Blamed = Blamed::One("Host");

/// Everything that is wrong in more than its form.
pub const ROWS: [Row; 67] = [
    // The length of the body.
    (Instead("Content-Length", b"Content-Length: +5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: -1"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5,5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5, 5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5 5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 0x5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5.0"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5e1"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: \"5\""), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length:"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length:  "), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: five"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 9223372036854775808"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 18446744073709551621"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 99999999999999999999999"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5\r\nContent-Length: 5"), 400, MALFORMED, LENGTH),
    (Instead("Content-Length", b"Content-Length: 5\r\ncontent-length: 5"), 400, MALFORMED, LENGTH),
    (More(b"Content-Length: 0"), 400, MALFORMED, LENGTH),
    (More(b"Transfer-Encoding: chunked"), 400, MALFORMED, BOTH),
    (More(b"transfer-encoding: chunked"), 400, MALFORMED, BOTH),
    (More(b"Transfer-Encoding: identity"), 501, "not-implemented", CODING),
    // The coding of the body.
    (Instead("Content-Length", b"Transfer-Encoding: xchunked"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: identity"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: gzip"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: gzip, chunked"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: chunked, chunked"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: chunked, identity"), 501, "not-implemented", CODING),
    (Instead("Content-Length", b"Transfer-Encoding: chunked;q=1"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: chunked chunked"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: \"chunked\""), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: \x0bchunked"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: chunked\x0b"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: \0chunked"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding: \xa0chunked"), 400, MALFORMED, CODING),
    (Instead("Content-Length", b"Transfer-Encoding:"), 400, MALFORMED, CODING),
    (
        Instead("Content-Length", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        400,
        MALFORMED,
        CODING,
    ),
    (
        Instead("Content-Length", b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity"),
        400,
        MALFORMED,
        CODING,
    ),
    // The host.
    (Instead("Host", b"X-Note: a"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host:"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: "), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a b"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a, b"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a/b"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: user@a"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a:http"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a:65536"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: :8000"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: [::1"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a\r\nHost: a"), 400, MALFORMED, HOST),
    (Instead("Host", b"Host: a\r\nhost: b"), 400, MALFORMED, HOST),
    (Line(b"POST http://elsewhere.example/api/v1/payments HTTP/1.1"), 400, MALFORMED, HOST),
    (Line(b"POST http://elsewhere.example:80/api/v1/payments HTTP/1.1"), 400, MALFORMED, HOST),
    // Versions.
    (Line(b"POST /api/v1/payments HTTP/1.0"), 505, "http-version-not-supported", Blamed::None),
    (Line(b"POST /api/v1/payments HTTP/0.9"), 505, "http-version-not-supported", Blamed::None),
    (Line(b"POST /api/v1/payments HTTP/1.2"), 505, "http-version-not-supported", Blamed::None),
    (Line(b"POST /api/v1/payments HTTP/2.0"), 505, "http-version-not-supported", Blamed::None),
    (Line(b"POST /api/v1/payments HTTP/3.0"), 505, "http-version-not-supported", Blamed::None),
    (Whole(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, "http-version-not-supported", Blamed::None),
    // Methods.
    (Line(b"FOO /api/v1/payments HTTP/1.1"), 501, "not-implemented", Blamed::None),
    (Line(b"post /api/v1/payments HTTP/1.1"), 501, "not-implemented", Blamed::None),
    (Line(b"POSTS /api/v1/payments HTTP/1.1"), 501, "not-implemented", Blamed::None),
    (Line(b"PROPFIND /api/v1/payments HTTP/1.1"), 501, "not-implemented", Blamed::None),
    // Others.
    (More(b"Expect: 200-ok"), 417, "expectation-failed", Blamed::One("Expect")),
    (More(b"Expect: 100-continue, more"), 417, "expectation-failed", Blamed::One("Expect")),
    (More(b"Expect:"), 417, "expectation-failed", Blamed::One("Expect")),
    // The start of TLS, to a port without it.
    (
        Whole(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x20\x21\x22\r\n\r\n"),
        400,
        MALFORMED,
        Blamed::None,
    ),
    (Whole(b"\r\n\r\n\r\n\r\n"), 400, MALFORMED, Blamed::None),
];

/// The headers that decide what a request means, with a value that is no error by itself. None may
/// be there twice or have bytes that one reader sees and another does not.
const DECIDING: [(&str, &str); 19] = [
    ("Authorization", "Bearer none"),
    ("Idempotency-Key", "k"),
    ("If-Match", "*"),
    ("If-None-Match", "\"none\""),
    ("Content-Type", "application/json"),
    ("Content-Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Encoding", "identity"),
    ("Content-Digest", "sha-512=:AA==:"),
    ("Repr-Digest", "sha-512=:AA==:"),
    ("Host", "localhost"),
    ("Last-Event-ID", "1"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("Cookie", "a=b"),
    ("Origin", "https://shop.example"),
    ("Expect", "100-continue"),
    ("X-Request-Id", "request-1"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Access-Control-Request-Method", "POST"),
];

pub struct Case {
    pub what: String,
    pub bytes: Vec<u8>,
    pub status: u16,
    pub problem: &'static str,
    pub blamed: Blamed,
}

fn changed(request: RawRequest, change: &Change) -> Vec<u8> {
    match change {
        Line(line) => request.line(line).bytes(),
        More(field) => request.field(field).bytes(),
        Instead(name, field) => request.without(name).field(field).bytes(),
        Whole(bytes) => bytes.to_vec(),
    }
}

fn shown(change: &Change) -> String {
    let (Line(bytes) | More(bytes) | Instead(_, bytes) | Whole(bytes)) = change;
    bytes.escape_ascii().to_string()
}

/// A deciding header twice with the same value, in another spelling of its name, and with bytes
/// outside visible ASCII.
fn deciding(caller: &Caller) -> impl Iterator<Item = Case> {
    DECIDING.into_iter().flat_map(move |(name, value)| {
        let fields: [Vec<u8>; 6] = [
            format!("{name}: {value}\r\n{name}: {value}").into_bytes(),
            format!("{name}: {value}\r\n{}: {value}", name.to_uppercase()).into_bytes(),
            [name.as_bytes(), b": ", value.as_bytes(), b"\xe9"].concat(),
            [name.as_bytes(), b":\xa0", value.as_bytes()].concat(),
            [name.as_bytes(), b": \xc3\xa9", value.as_bytes()].concat(),
            [name.as_bytes(), b": ", value.as_bytes(), b"\x00"].concat(),
        ];
        fields.map(|field| {
            let request = RawRequest::payment(caller, "decides").without(name);
            let request =
                if name == "Transfer-Encoding" { request.without("Content-Length") } else { request };
            Case {
                what: field.escape_ascii().to_string(),
                bytes: request.field(field).bytes(),
                status: 400,
                problem: if name == "Idempotency-Key" { "invalid-idempotency-key" } else { MALFORMED },
                blamed: Blamed::One(name),
            }
        })
    })
}

/// All cases, each with another mistake.
pub fn all(caller: &Caller) -> Vec<Case> {
    let request = || RawRequest::payment(caller, "refused");
    let lines = LINES.iter().map(|change| (change, 400, MALFORMED, Blamed::Any));
    let rows = ROWS.iter().map(|(change, status, problem, blamed)| (change, *status, *problem, *blamed));
    let mut cases: Vec<Case> = lines
        .chain(rows)
        .map(|(change, status, problem, blamed)| Case {
            what: shown(change),
            bytes: changed(request(), change),
            status,
            problem,
            blamed,
        })
        .collect();
    cases.extend(deciding(caller));
    let authorization = format!("Authorization: Bearer\u{a0}{}", caller.token());
    cases.push(Case {
        what: "a no-break space after Bearer".to_owned(),
        bytes: request().without("Authorization").field(authorization).bytes(),
        status: 400,
        problem: MALFORMED,
        blamed: Blamed::One("Authorization"),
    });
    cases
}
