//! Which form and which encoding of a response the client wants (RFC 9110, section 12.5).

use rocket::Request;
use rocket::http::{Accept, MediaType};
use rocket::request::{FromRequest, Outcome};

/// The forms of a page that is both for people and for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedForm {
    Json,
    Html,
    Markdown,
}

impl WantedForm {
    /// The first of those that the client wants equally, so that programs get JSON.
    const OFFERED: [(Self, &str, &str); 3] = [
        (Self::Json, "application", "json"),
        (Self::Html, "text", "html"),
        (Self::Markdown, "text", "markdown"),
    ];

    /// JSON for a client that accepts none of the forms: an explanation is better than a refusal.
    fn of(accept: &Accept) -> Self {
        let mut best = (Self::Json, 0.0);
        for (form, top, sub) in Self::OFFERED {
            let weight = weight(accept, top, sub);
            if weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }
}

/// The weight of the most specific range that contains this media type.
fn weight(accept: &Accept, top: &str, sub: &str) -> f32 {
    let specificity = |range: &MediaType| match (range.top().as_str(), range.sub().as_str()) {
        ("*", "*") => Some(0),
        (found, "*") if found == top => Some(1),
        (found, inside) if found == top && inside == sub => Some(2),
        _ => None,
    };
    let ranges =
        accept.iter().filter_map(|range| Some((specificity(range.media_type())?, range.weight_or(1.0))));
    ranges.max_by_key(|(specificity, _)| *specificity).map_or(0.0, |(_, weight)| weight)
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for WantedForm {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        Outcome::Success(request.accept().map_or(Self::Json, Self::of))
    }
}

/// Whether the client takes a response that is compressed by gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakesGzip(pub bool);

impl TakesGzip {
    /// `*` does not count: a client that can read gzip names it.
    fn of(accepted: &str) -> Self {
        let is_gzip = |coding: &str| {
            let mut parts = coding.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            is_named && weight.unwrap_or(1.0) > 0.0
        };
        Self(accepted.split(',').any(is_gzip))
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for TakesGzip {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        let accepted = request.headers().get_one("Accept-Encoding");
        Outcome::Success(accepted.map_or(Self(false), Self::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_whom_it_was_offered() {
        for (header, takes) in [
            ("gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("x-gzip", false),
            ("*", false),
        ] {
            assert_eq!(TakesGzip::of(header), TakesGzip(takes), "{header:?}");
        }
    }

    #[test]
    fn a_browser_gets_html_and_a_program_what_it_asks_for_or_json() {
        for (header, form) in [
            ("*/*", WantedForm::Json),
            ("application/json", WantedForm::Json),
            ("image/png", WantedForm::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", WantedForm::Html),
            ("text/*", WantedForm::Html),
            ("text/html;q=0.5, text/markdown", WantedForm::Markdown),
            ("text/html;q=0.5, */*", WantedForm::Json),
            ("application/json;q=0, */*;q=0.1", WantedForm::Html),
        ] {
            assert_eq!(WantedForm::of(&header.parse().expect("a header")), form, "{header}");
        }
    }
}
