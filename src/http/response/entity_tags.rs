//! Entity tags in the conditions of requests (RFC 9110, sections 8.8.3 and 13.1).
//!
//! Owns their syntax and both ways to compare them. Must never say what the tag
//! of a resource is: each resource knows its own.

use rocket::Request;

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`, which any tag fits.
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    is_weak: bool,
    /// The tags without their quotes.
    opaque: String,
}

/// The header is present but is not a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Tag {
    /// Without its quotes.
    pub fn opaque(&self) -> &str {
        &self.opaque
    }
}

impl Tags {
    /// A header that is sent in several lines is one list.
    pub fn of(request: &Request<'_>, header: &str) -> Result<Option<Self>, Malformed> {
        let lines: Vec<&str> = request.headers().get(header).collect();
        match lines.is_empty() {
            true => Ok(None),
            false => Self::parse(&lines.join(",")).map(Some).ok_or(Malformed),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let (mut rest, mut tags) = (text, Vec::new());
        loop {
            // A list may have empty elements.
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::These(tags));
            }
            let strong = rest.strip_prefix("W/");
            let (opaque, behind) = strong.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
            if opaque.contains(|c: char| c <= ' ' || c == '\u{7f}') {
                return None;
            }
            tags.push(Tag { is_weak: strong.is_some(), opaque: opaque.to_owned() });
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// By the weak comparison: whether one of them is `tag`, which is written with its quotes.
    pub fn name(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => {
                let opaque = tag.trim_start_matches("W/").trim_matches('"');
                tags.iter().any(|tag| tag.opaque == opaque)
            }
        }
    }

    /// Those that the strong comparison can find equal, without quotes. Nothing for `*`.
    pub fn strong(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::Any => None,
            Self::These(tags) => Some(tags.iter().filter(|tag| !tag.is_weak).map(|tag| tag.opaque.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(tags: &[(bool, &str)]) -> Option<Tags> {
        let tag = |&(is_weak, opaque): &(bool, &str)| Tag { is_weak, opaque: opaque.to_owned() };
        Some(Tags::These(tags.iter().map(tag).collect()))
    }

    #[test]
    fn a_star_or_a_list_of_tags_is_read_and_nothing_else() {
        for (text, expected) in [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            ("\"7\"", these(&[(false, "7")])),
            ("W/\"7\"", these(&[(true, "7")])),
            ("\"\"", these(&[(false, "")])),
            ("\"7\", W/\"none\" ,\"a,b\"", these(&[(false, "7"), (true, "none"), (false, "a,b")])),
            (",\"7\",,\t\"8\",", these(&[(false, "7"), (false, "8")])),
            ("", None),
            (",", None),
            ("7", None),
            ("\"7", None),
            ("w/\"7\"", None),
            ("W/ \"7\"", None),
            ("\"7\" \"8\"", None),
            ("\"a b\"", None),
            ("*, \"7\"", None),
            ("\"7\", *", None),
        ] {
            assert_eq!(Tags::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_weak_tag_names_its_resource_and_is_not_strong() {
        let tags = Tags::parse("W/\"7\", \"8\"").expect("tags");
        assert!(tags.name("\"7\"") && tags.name("W/\"8\"") && !tags.name("\"9\""));
        assert_eq!(tags.strong().expect("a list").collect::<Vec<_>>(), ["8"]);
        assert!(Tags::Any.name("\"9\"") && Tags::Any.strong().is_none());
    }
}
