//! A strict reader of `application/x-www-form-urlencoded`, for the token endpoint.
//!
//! A broken escape or a repeated name is an error, because two readers could interpret it
//! differently.

use std::collections::HashMap;

use zeroize::Zeroizing;

/// Decoded names and values. They may hold secrets, so they are wiped when dropped and `Debug`
/// does not show them.
pub(super) struct Form(HashMap<String, Zeroizing<String>>);

impl Form {
    /// `None` if the form is malformed.
    pub(super) fn parse(body: &str) -> Option<Self> {
        let mut parameters = HashMap::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?.to_string();
            if parameters.insert(name, decode(value)?).is_some() {
                return None;
            }
        }
        Some(Self(parameters))
    }

    /// A parameter without a value counts as omitted (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

pub(super) fn decode(text: &str) -> Option<Zeroizing<String>> {
    // Allocated at its final size: a buffer that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let ([high, low], after) = rest.split_first_chunk()?;
                rest = after;
                let [high, low] = [high, low].map(|digit| char::from(*digit).to_digit(16));
                u8::try_from(high? * 16 + low?).ok()?
            }
            byte => *byte,
        });
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_pluses_are_decoded() {
        let cases = [
            ("", ""),
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("%C3%a9", "é"),
            ("%2B%25%26%3D", "+%&="),
            ("é", "é"),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text).expect(text).as_str(), expected, "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["%", "%2", "%zz", "%+1", "a%", "%C3", "%FF"] {
            assert!(decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn parameters_are_found_by_their_decoded_names() {
        let form = Form::parse("a=1&&b%5F=x%3Dy&empty=&bare&c=p=q&").expect("parses");
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b_"), Some("x=y"));
        assert_eq!(form.get("c"), Some("p=q"));
        for absent in ["empty", "bare", "other"] {
            assert_eq!(form.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_repeated_name_is_refused_however_it_is_written() {
        for body in ["a=1&a=1", "a=1&b=2&a=", "a=1&%61=2", "a&a"] {
            assert!(Form::parse(body).is_none(), "{body}");
        }
    }
}
