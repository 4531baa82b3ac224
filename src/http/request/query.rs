//! Reads query strings, and collects all their errors.
//!
//! Unknown parameters must be refused: with a misspelt filter, the response would contain too
//! many items.

use std::collections::BTreeMap;
use std::fmt::Display;

use rocket::Request;
use rocket::request::{FromRequest, Outcome};

use crate::domain::card_number::holds_card_number;
use crate::domain::tenant::TenantId;
use crate::http::request::card_numbers::{
    outside_of_bodies, parameter_holds_card_number, refused, unchecked_of,
};
use crate::http::request::cursor::CursorKey;
use crate::http::request::fields::text_error;
use crate::http::response::problem::{PartError, Problem, ProblemKind};
use crate::http::rfc3339::{self, TIME_MS_MAX, name_without_unit};

pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 200;

/// In characters. Longer names and values are refused before they are searched.
const PARAMETER_LENGTH_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub struct Query {
    parameters: BTreeMap<String, Vec<String>>,
    errors: Vec<PartError>,
    /// The errors of parameters that contain card numbers.
    card_numbers: Vec<PartError>,
    /// The filters read so far. A cursor is only valid with the same filters.
    filters: String,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Query {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        let (mut query, unchecked) = (Self::default(), unchecked_of(request));
        let segments = request.uri().query().into_iter().flat_map(|query| query.raw_segments());
        for segment in segments.filter(|segment| !segment.is_empty()) {
            let (name, value) = segment.split_at_byte(b'=');
            let (Ok(name), Ok(value)) = (name.url_decode(), value.url_decode()) else {
                query.errors.push(PartError {
                    pointer: None,
                    parameter: None,
                    detail: "expected percent-encoded UTF-8".to_owned(),
                });
                continue;
            };
            if is_too_long(&name) {
                query.error("a name that is too long", too_long());
                continue;
            }
            if name != "cursor" && is_too_long(&value) {
                query.error(&name, too_long());
                continue;
            }
            if parameter_holds_card_number(&name, &value, unchecked) {
                query.card_numbers.push(outside_of_bodies(&shown(&name)));
            }
            query.parameters.entry(name.to_string()).or_default().push(value.into_owned());
        }
        Outcome::Success(query)
    }
}

impl Query {
    pub fn error(&mut self, parameter: &str, detail: impl Into<String>) {
        let parameter = Some(shown(parameter));
        self.errors.push(PartError { pointer: None, parameter, detail: detail.into() });
    }

    pub fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.once(name)?;
        self.parsed_value(name, text, parse)
    }

    fn once(&mut self, name: &str) -> Option<String> {
        let mut values = self.parameters.remove(name)?;
        if values.len() > 1 {
            self.error(name, "appears more than once");
            return None;
        }
        values.pop()
    }

    fn parsed_value<T, E: Display>(
        &mut self,
        name: &str,
        text: String,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&text) {
            Ok(value) => {
                self.filters.push_str(&format!("{name}={}:{text};", text.len()));
                Some(value)
            }
            Err(error) => {
                self.error(name, error.to_string());
                None
            }
        }
    }

    /// The values of a parameter that appears once for each, and at least once.
    pub fn repeated<T, E: Display>(
        &mut self,
        name: &str,
        count_max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let values = self.parameters.remove(name).unwrap_or_default();
        if values.is_empty() || values.len() > count_max {
            self.error(name, format!("expected 1 to {count_max} times"));
            return Vec::new();
        }
        values.into_iter().filter_map(|text| self.parsed_value(name, text, &parse)).collect()
    }

    pub fn text(&mut self, name: &str, length_max: usize) -> Option<String> {
        self.parsed(name, |text| text_error(text, length_max).map_or(Ok(text.to_owned()), Err))
    }

    /// Values that are separated by commas. Empty if the parameter is absent.
    pub fn list<T, E: Display>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        self.parsed(name, |text| text.split(',').map(parse).collect()).unwrap_or_default()
    }

    /// A time: the parameter `name` in milliseconds, or the one without `_ms` in the notation of
    /// RFC 3339. For a cursor both are the same filter.
    pub fn time_ms(&mut self, name: &str) -> Option<u64> {
        let notation = name_without_unit(name);
        if let Some((notation, text)) = notation.and_then(|it| Some((it, self.once(it)?))) {
            match rfc3339::parse(&text) {
                Ok(time_ms) => self.add_time(name, notation, time_ms),
                Err(error) => self.error(notation, format!("{error}; + is written %2B in an address")),
            }
        }
        let expected = match notation {
            Some(notation) => format!("expected UTC milliseconds since 1970; {notation} takes RFC 3339"),
            None => "expected UTC milliseconds since 1970".to_owned(),
        };
        self.parsed(name, |text| text.parse().ok().filter(|time_ms| *time_ms <= TIME_MS_MAX).ok_or(expected))
    }

    /// Adds a time as the parameter in milliseconds, which is there as well only if it is the same.
    fn add_time(&mut self, name: &str, notation: &str, time_ms: u64) {
        let values = self.parameters.entry(name.to_owned()).or_insert_with(|| vec![time_ms.to_string()]);
        let is_other = values.iter().any(|text| text.parse().is_ok_and(|other_ms: u64| other_ms != time_ms));
        if is_other {
            self.error(notation, format!("must be the same time as {name}, or absent"));
        }
    }

    /// Reports the errors of the query of a list that has no pages.
    pub fn finish(mut self) -> Result<(), Problem> {
        self.refuse()
    }

    /// Reads the page and reports all errors. Every filter must have been read before.
    pub fn page(mut self, keys: &CursorKey, tenant: TenantId, list: &str) -> Result<PageRequest, Problem> {
        let query = format!("{list} {}", self.filters);
        let limit = self.limit();
        let after = self.parsed("cursor", |text| {
            keys.open(tenant, &query, text).ok_or("expected a cursor of this list with the same filters")
        });
        self.refuse()?;
        Ok(PageRequest { limit: limit.unwrap_or(LIMIT_DEFAULT), after, query, tenant })
    }

    fn limit(&mut self) -> Option<u32> {
        self.parsed("limit", |text| {
            let number = text.parse::<u32>().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
            number.ok_or(format!("expected a whole number from 1 to {LIMIT_MAX}"))
        })
    }

    fn refuse(&mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.parameters).into_keys() {
            self.error(&name, "is not a known parameter");
        }
        let (mut errors, card_numbers) =
            (std::mem::take(&mut self.errors), std::mem::take(&mut self.card_numbers));
        if errors.is_empty() {
            return if card_numbers.is_empty() { Ok(()) } else { Err(refused(card_numbers)) };
        }
        errors.extend(card_numbers);
        Err(Problem::with_errors(ProblemKind::InvalidQuery, "The query has errors.", errors))
    }
}

fn is_too_long(text: &str) -> bool {
    text.chars().nth(PARAMETER_LENGTH_MAX).is_some()
}

fn too_long() -> String {
    format!("expected at most {PARAMETER_LENGTH_MAX} characters")
}

/// The name of a parameter for an error message. Never repeats a card number.
fn shown(parameter: &str) -> String {
    if holds_card_number(parameter) {
        return "a name that looks like a card number".to_owned();
    }
    parameter.chars().take(64).collect()
}

/// The requested page of a list.
#[derive(Debug)]
pub struct PageRequest {
    pub limit: u32,
    /// The position of the last item on the previous page.
    pub after: Option<String>,
    query: String,
    tenant: TenantId,
}

impl PageRequest {
    /// One more than the limit of the page, to find out whether there is a next page.
    pub fn fetch_limit(&self) -> u32 {
        self.limit + 1
    }

    /// The cursor's position. If it does not parse, another release created the cursor.
    pub fn position<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let parse = |text: &String| text.parse::<T>();
        self.after.as_ref().map(parse).transpose().map_err(|_| {
            let detail = "expected a cursor of this list with the same filters".to_owned();
            let error = PartError { pointer: None, parameter: Some("cursor".to_owned()), detail };
            Problem::with_errors(ProblemKind::InvalidQuery, "The query has errors.", vec![error])
        })
    }

    /// Cuts the fetched items to the page, and adds the cursor of the next page if there is one.
    pub fn cut<T>(
        &self,
        keys: &CursorKey,
        mut items: Vec<T>,
        position: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let limit = self.limit as usize;
        if items.len() <= limit {
            return (items, None);
        }
        items.truncate(limit);
        let next = items.last().map(|last| self.cursor_at(keys, &position(last)));
        (items, next)
    }

    /// The cursor of a page that begins after this position.
    pub fn cursor_at(&self, keys: &CursorKey, position: &str) -> String {
        keys.seal(self.tenant, &self.query, position)
    }
}

#[cfg(test)]
mod tests {
    use rocket::http::Status;
    use rocket::local::blocking::Client;
    use rocket::{get, routes};
    use uuid::Uuid;

    use super::*;
    use crate::auth::root_secret::SECRET_BYTES;
    use crate::http::response::problem::default_catcher;

    const TENANT: TenantId = TenantId(Uuid::nil());

    #[get("/numbers")]
    fn numbers(mut query: Query) -> Result<String, Problem> {
        let keys = CursorKey::new([7; SECRET_BYTES]);
        let colour = query.text("colour", 5);
        let since = query.time_ms("since_ms");
        let page = query.page(&keys, TENANT, "numbers")?;
        let after = page.position::<u32>()?.unwrap_or(0);
        let fetched: Vec<u32> = (after + 1..=7).take(page.fetch_limit() as usize).collect();
        let (shown, next) = page.cut(&keys, fetched, u32::to_string);
        Ok(format!("{colour:?} {since:?} {shown:?} {}", next.unwrap_or_default()))
    }

    fn ask(query: &str) -> (Status, String) {
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(crate::world::system())
            .mount("/", routes![numbers])
            .register("/", rocket::catchers![default_catcher]);
        let client = Client::untracked(rocket).expect("a rocket");
        let response = client.get(format!("/numbers?{query}")).dispatch();
        (response.status(), response.into_string().expect("a body"))
    }

    #[test]
    fn filters_are_decoded_and_pages_follow_one_another() {
        let (_, first) = ask("limit=3&colour=r%C3%B6t+a");
        let (text, cursor) = first.rsplit_once(' ').expect("a cursor");
        assert_eq!(text, "Some(\"röt a\") None [1, 2, 3]");
        let (_, second) = ask(&format!("limit=4&colour=r%C3%B6t+a&cursor={cursor}"));
        assert_eq!(second, "Some(\"röt a\") None [4, 5, 6, 7] ");
    }

    #[test]
    fn every_error_of_a_query_is_reported_at_once() {
        let query = "limit=0&colour=much-too-long&since_ms=yesterday&color=red&since_ms=1&cursor=AAAA";
        let (status, body) = ask(query);
        assert_eq!(status, Status::BadRequest);
        let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let mut told: Vec<&str> = problem["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .filter_map(|e| e["parameter"].as_str())
            .collect();
        told.sort_unstable();
        assert_eq!(told, ["color", "colour", "cursor", "limit", "since_ms"]);
    }

    #[test]
    fn a_parameter_that_is_too_long_is_refused_and_never_looked_through_or_repeated() {
        let number = "4111111111111111";
        let long = format!("{number}{}", "-".repeat(PARAMETER_LENGTH_MAX));
        for (query, parameter) in
            [(format!("colour={long}"), "colour"), (format!("{long}=red"), "a name that is too long")]
        {
            let (status, body) = ask(&query);
            assert_eq!(status, Status::BadRequest);
            assert!(!body.contains(number), "{body}");
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(problem["errors"].as_array().expect("errors").len(), 1, "{body}");
            assert_eq!(problem["errors"][0]["parameter"], parameter, "{body}");
        }
    }

    #[test]
    fn a_cursor_of_another_query_and_broken_encoding_are_refused() {
        let (_, first) = ask("limit=3&colour=red");
        let (_, cursor) = first.rsplit_once(' ').expect("a cursor");
        for query in [format!("limit=3&colour=blue&cursor={cursor}"), "colour=%ff".to_owned()] {
            assert_eq!(ask(&query).0, Status::BadRequest, "{query}");
        }
    }
}
