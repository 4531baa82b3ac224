//! Entity tags in the conditions of requests (RFC 9110, sections 8.8.3 and 13.1).
//!
//! Their syntax, and strong and weak comparison.

use rocket::Request;

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`, which matches any tag.
    Any,
    These(Vec<EntityTag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    is_weak: bool,
    /// Without its quotes.
    opaque: String,
}

/// The header is present but is not a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedEntityTags;

impl EntityTag {
    /// The tag without its quotes.
    pub fn opaque(&self) -> &str {
        &self.opaque
    }
}

impl EntityTags {
    /// Several lines of the same header form one list. `None` if there is no such header.
    pub fn of(request: &Request<'_>, header: &str) -> Result<Option<Self>, MalformedEntityTags> {
        let lines: Vec<&str> = request.headers().get(header).collect();
        match lines.is_empty() {
            true => Ok(None),
            false => Self::parse(&lines.join(",")).map(Some).ok_or(MalformedEntityTags),
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
            tags.push(EntityTag { is_weak: strong.is_some(), opaque: opaque.to_owned() });
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// Weak comparison with `tag`, which has its quotes.
    pub fn contain(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => {
                let opaque = tag.trim_start_matches("W/").trim_matches('"');
                tags.iter().any(|tag| tag.opaque == opaque)
            }
        }
    }

    /// The strong tags without their quotes. `None` for `*`.
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

    fn these(tags: &[(bool, &str)]) -> Option<EntityTags> {
        let tag = |&(is_weak, opaque): &(bool, &str)| EntityTag { is_weak, opaque: opaque.to_owned() };
        Some(EntityTags::These(tags.iter().map(tag).collect()))
    }

    #[test]
    fn a_star_or_a_list_of_tags_is_read_and_nothing_else() {
        for (text, expected) in [
            ("*", Some(EntityTags::Any)),
            (" * ", Some(EntityTags::Any)),
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
            assert_eq!(EntityTags::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_weak_tag_names_its_resource_and_is_not_strong() {
        let tags = EntityTags::parse("W/\"7\", \"8\"").expect("tags");
        assert!(tags.contain("\"7\"") && tags.contain("W/\"8\"") && !tags.contain("\"9\""));
        assert_eq!(tags.strong().expect("a list").collect::<Vec<_>>(), ["8"]);
        assert!(EntityTags::Any.contain("\"9\"") && EntityTags::Any.strong().is_none());
    }
}
