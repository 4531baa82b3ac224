//! Why a request is refused before anyone reads it.
//!
//! Must never hold a value that the client sent.

use std::borrow::Cow;

/// What is wrong with a request, or with the way in which it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not written as RFC 9112 requires.
    Malformed(&'static str),
    /// One header field is to blame.
    Field {
        name: &'static str,
        expected: &'static str,
    },
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// An expectation other than `100-continue`.
    Expectation,
    UnknownMethod,
    Version,
    TargetTooLong {
        max_bytes: usize,
    },
    HeadTooLarge {
        max_bytes: usize,
        fields_max: usize,
    },
    HeadTooSlow,
    BodyTooSlow,
    /// Another connection needs the place of this one.
    GaveWay,
}

impl Refusal {
    pub const REASONS: [&'static str; 11] = [
        "malformed",
        "field",
        "transfer_coding",
        "expectation",
        "method",
        "version",
        "target_size",
        "head_size",
        "head_time",
        "body_time",
        "place",
    ];

    /// For logs and as a label of metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Field { .. } => "field",
            Self::TransferCoding => "transfer_coding",
            Self::Expectation => "expectation",
            Self::UnknownMethod => "method",
            Self::Version => "version",
            Self::TargetTooLong { .. } => "target_size",
            Self::HeadTooLarge { .. } => "head_size",
            Self::HeadTooSlow => "head_time",
            Self::BodyTooSlow => "body_time",
            Self::GaveWay => "place",
        }
    }

    /// The header field that is to blame.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Field { name, .. } => Some(name),
            Self::TransferCoding => Some("Transfer-Encoding"),
            Self::Expectation => Some("Expect"),
            _ => None,
        }
    }

    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(detail) => Cow::Borrowed(detail),
            Self::Field { name, expected } => format!("The header {name} {expected}.").into(),
            Self::TransferCoding => "The only transfer coding that is supported is chunked.".into(),
            Self::Expectation => "The only expectation that is supported is 100-continue.".into(),
            Self::UnknownMethod => "The server does not know this method.".into(),
            Self::Version => "The server speaks HTTP/1.1 only.".into(),
            Self::TargetTooLong { max_bytes } => {
                format!("The target of a request may have at most {max_bytes} bytes.").into()
            }
            Self::HeadTooLarge { max_bytes, fields_max } => format!(
                "The head of a request may have at most {max_bytes} bytes and {fields_max} header fields."
            )
            .into(),
            Self::HeadTooSlow => "The head of the request did not arrive in time.".into(),
            Self::BodyTooSlow => "The body of the request did not arrive in time.".into(),
            Self::GaveWay => {
                "The server needs this connection for others. The request was not processed.".into()
            }
        }
    }
}
