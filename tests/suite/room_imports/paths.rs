//! Finds the paths in Rust source code, for the checks of the rooms.
//!
//! This is not a full parser. It knows comments, literals, groups of imports and `#[cfg(test)]`.

use std::iter::Peekable;
use std::str::Chars;

/// One piece of source code. Literals and comments are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

/// Every path of the code, such as `crate::domain::time`. Groups are expanded: `use a::{b, c::d};`
/// names `a::b` and `a::c::d`.
pub fn paths(source: &str) -> Vec<String> {
    named(&tokens(source))
}

/// Like [`paths`], without the items that have the attribute `#[cfg(test)]`.
pub fn paths_outside_tests(source: &str) -> Vec<String> {
    named(&without_tests(&tokens(source)))
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => skip_block_comment(&mut chars),
            '"' => skip_string(&mut chars),
            '\'' => skip_char_or_lifetime(&mut chars),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                tokens.push(Token::Colons);
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| is_word(*c)) {
                    word.push(c);
                }
                if matches!(word.as_str(), "r" | "br" | "cr") && matches!(chars.peek(), Some('"' | '#')) {
                    skip_raw_string(&mut chars);
                } else {
                    tokens.push(Token::Word(word));
                }
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Other(c)),
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn skip_block_comment(chars: &mut Peekable<Chars<'_>>) {
    chars.next();
    let (mut depth, mut last) = (1, ' ');
    while depth > 0 {
        let Some(c) = chars.next() else { return };
        match (last, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {}
        }
        last = c;
    }
}

fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn skip_raw_string(chars: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    // `r#type` is a word, not a string.
    if chars.next_if_eq(&'"').is_none() {
        return;
    }
    let mut closing = None;
    for c in chars {
        closing = match (c, closing) {
            ('"', _) => Some(0),
            ('#', Some(count)) => Some(count + 1),
            _ => None,
        };
        if closing == Some(hashes) {
            return;
        }
    }
}

fn skip_char_or_lifetime(chars: &mut Peekable<Chars<'_>>) {
    match chars.next() {
        Some('\\') => {
            chars.next();
            while chars.next().is_some_and(|c| c != '\'') {}
        }
        // `'a'` is a character, `'a` a lifetime.
        Some(_) => drop(chars.next_if_eq(&'\'')),
        None => {}
    }
}

/// Leaves out each item with `#[cfg(test)]`, up to its closing brace or its semicolon.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let attribute = self::tokens("#[cfg(test)]");
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if rest.starts_with(&attribute) {
            rest = &rest[attribute.len()..];
            rest = &rest[length_of_item(rest)..];
        } else {
            kept.push(first.clone());
            rest = &rest[1..];
        }
    }
    kept
}

fn length_of_item(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::Other('{') => depth += 1,
            Token::Other('}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            Token::Other(';') if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn named(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        if matches!(tokens[place], Token::Word(_)) {
            place = read_path(tokens, place, "", &mut found);
        } else {
            place += 1;
        }
    }
    found
}

/// Reads one path, which begins with a word or an opening brace. Returns the index after it.
fn read_path(tokens: &[Token], start: usize, before: &str, found: &mut Vec<String>) -> usize {
    let (mut path, mut place) = (before.to_owned(), start);
    loop {
        match tokens.get(place) {
            Some(Token::Word(word)) => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(word);
                place += 1;
            }
            Some(Token::Other('{')) if !before.is_empty() || place > start => {
                return read_group(tokens, place + 1, &path, found);
            }
            _ => break,
        }
        let goes_on = matches!(tokens.get(place), Some(Token::Colons))
            && matches!(tokens.get(place + 1), Some(Token::Word(_) | Token::Other('{')));
        if !goes_on {
            break;
        }
        place += 1;
    }
    found.push(path);
    place
}

/// Reads the members of a group up to its closing brace.
fn read_group(tokens: &[Token], start: usize, before: &str, found: &mut Vec<String>) -> usize {
    let mut place = start;
    while let Some(token) = tokens.get(place) {
        match token {
            Token::Other('}') => return place + 1,
            // The new name of an import is not a path.
            Token::Word(word) if word == "as" => place += 2,
            Token::Word(_) => place = read_path(tokens, place, before, found),
            // `use a::{*};`, unlike the star of `use a::{b::*};`.
            Token::Other('*') if tokens[place - 1] != Token::Colons => {
                found.push(before.to_owned());
                place += 1;
            }
            _ => place += 1,
        }
    }
    place
}

#[test]
fn groups_of_imports_are_expanded() {
    let source = "use crate::{config, http::{self, edge::Edge as Rim}, rules::*};\nuse crate::auth::{*};\nuse {sqlx, rocket::http::Status};";
    let expected = [
        "use",
        "crate::config",
        "crate::http::self",
        "crate::http::edge::Edge",
        "crate::rules",
        "use",
        "crate::auth",
        "use",
        "sqlx",
        "rocket::http::Status",
    ];
    assert_eq!(paths(source), expected);
}

#[test]
fn paths_are_found_in_code_and_not_in_comments_or_literals() {
    let source = r##"
        // crate::a
        /* crate::b /* crate::c */ crate::d */
        fn f<'a>(x: &'a crate::e::F) -> ::std::string::String {
            let quote = '"';
            let texts = ["crate::g \" crate::h", r#"crate::i " crate::j"#];
            crate::k::<u8>::l()
        }
    "##;
    let found: Vec<String> = paths(source).into_iter().filter(|path| path.contains("::")).collect();
    assert_eq!(found, ["crate::e::F", "std::string::String", "crate::k"]);
}

#[test]
fn what_is_compiled_for_tests_only_can_be_left_out() {
    let source = "
        use crate::a;
        #[cfg(test)]
        use crate::b;
        #[cfg(test)]
        #[path = \"x.rs\"]
        mod x;
        impl T {
            #[cfg(test)]
            fn f() { if true { crate::c::g() } }
        }
        #[cfg(test)]
        mod tests { use super::*; fn h() { crate::d::i() } }
        fn j() { crate::e::k() }
    ";
    let found: Vec<String> =
        paths_outside_tests(source).into_iter().filter(|path| path.contains("::")).collect();
    assert_eq!(found, ["crate::a", "crate::e::k"]);
}
