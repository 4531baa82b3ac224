//! Finds an error message in the memory of a rule that failed. The rule controls the memory, so all
//! lengths are checked and all searches are bounded.

/// The marks around a message that a rule left on purpose. plugins/README.md documents them.
const BEGIN: &[u8] = b"tollgate-message";
const END: &[u8] = b"tollgate-the-end";
const LEFT_BYTES_MAX: usize = 1000;

/// How the text of an error begins in languages that leave no message on purpose.
const ERROR: &[u8] = b"Error: ";
const ERROR_BYTES_MAX: usize = 300;
/// The longest name before [`ERROR`], for example `Type`.
const ERROR_NAME_BYTES_MAX: usize = 32;
/// How many texts are compared with the plugin's own bytes.
const CANDIDATES_MAX: usize = 64;
/// How many texts of the plugin are compared with them. A program has a few hundred such texts. If
/// there are more than this, the result is `None`, since a text might be one of its constants.
const PLACES_MAX: usize = 20_000;

/// A message that was left on purpose, or the first text that looks like an error and is not a
/// constant of the plugin.
pub(super) fn find<'a>(memories: impl Iterator<Item = &'a [u8]> + Clone, plugin: &[u8]) -> Option<String> {
    let left = memories.clone().find_map(left_on_purpose);
    left.or_else(|| first_not_in(plugin, memories.flat_map(errors).take(CANDIDATES_MAX).collect()))
}

/// Reads the plugin once for all texts. With one search per text, a memory full of different texts
/// would cost one pass over the plugin each.
fn first_not_in(plugin: &[u8], texts: Vec<String>) -> Option<String> {
    let mark_of = |text: &str| places(text.as_bytes(), ERROR).next().unwrap_or_default();
    let mut texts: Vec<(usize, String)> = texts.into_iter().map(|text| (mark_of(&text), text)).collect();
    for (compared, place) in places(plugin, ERROR).enumerate() {
        if texts.is_empty() || compared == PLACES_MAX {
            return None;
        }
        texts.retain(|(mark, text)| {
            let begins = place.checked_sub(*mark);
            !begins.is_some_and(|begins| plugin[begins..].starts_with(text.as_bytes()))
        });
    }
    texts.into_iter().next().map(|(_, text)| text)
}

fn left_on_purpose(memory: &[u8]) -> Option<String> {
    places(memory, BEGIN).find_map(|place| {
        let behind = memory.get(place + BEGIN.len()..)?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length_bytes = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, behind) = behind.split_at_checked(length_bytes.min(LEFT_BYTES_MAX))?;
        behind.starts_with(END).then(|| String::from_utf8_lossy(text).into_owned())
    })
}

fn errors(memory: &[u8]) -> impl Iterator<Item = String> + '_ {
    places(memory, ERROR).filter_map(|place| {
        let before = memory.get(place.saturating_sub(ERROR_NAME_BYTES_MAX)..place)?;
        let name = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let text = memory.get(place - name..)?;
        let length = text.iter().take(ERROR_BYTES_MAX).take_while(|byte| is_text(**byte)).count();
        let text = String::from_utf8_lossy(text.get(..length)?).trim().to_owned();
        (text.len() > name + ERROR.len()).then_some(text)
    })
}

fn is_text(byte: u8) -> bool {
    byte >= 0x80 || byte.is_ascii_graphic() || byte == b' '
}

fn places<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = wanted.first().copied().unwrap_or_default();
    let starts = bytes.iter().enumerate().filter(move |(_, byte)| **byte == first);
    starts.map(|(place, _)| place).filter(move |place| bytes[*place..].starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &[u8], length: u32) -> Vec<u8> {
        [b"rubbish", BEGIN, &length.to_le_bytes(), text, END].concat()
    }

    fn found(memory: &[u8], plugin: &[u8]) -> Option<String> {
        find([&[][..], memory].into_iter(), plugin)
    }

    #[test]
    fn what_was_left_on_purpose_is_found_whole_and_before_anything_else() {
        let memory = [b"TypeError: no\0".as_slice(), &record("panicked at ä".as_bytes(), 14)].concat();
        assert_eq!(found(&memory, b""), Some("panicked at ä".to_owned()));
    }

    #[test]
    fn a_record_that_is_not_whole_is_none() {
        let text = b"text";
        for memory in [
            record(text, 3),
            record(text, 5),
            record(text, u32::MAX),
            record(&[b'a'; 1001], 1001),
            BEGIN.to_vec(),
            [BEGIN, &4u32.to_le_bytes()].concat(),
            [BEGIN, &4u32.to_le_bytes(), text].concat(),
        ] {
            assert_eq!(found(&memory, b""), None);
        }
        // The begin mark alone is one of the program's constants. A complete record may follow it.
        assert_eq!(found(&[BEGIN, &record(text, 4)].concat(), b""), Some("text".to_owned()));
        assert_eq!(found(&record(&[0xff, b'a'], 2), b""), Some("\u{fffd}a".to_owned()));
    }

    #[test]
    fn what_looks_like_an_error_is_found_unless_the_plugin_holds_it() {
        let memory = b"\0\0TypeError: x is undefined\0Error: the currency is missing\nat prepare\0";
        assert_eq!(found(memory, b""), Some("TypeError: x is undefined".to_owned()));
        assert_eq!(
            found(memory, b"..TypeError: x is undefined.."),
            Some("Error: the currency is missing".to_owned())
        );
        assert_eq!(found(b"Error: ", b""), None);
        assert_eq!(found(b"\0Error: \0", b""), None);
    }

    #[test]
    fn the_search_in_a_memory_full_of_errors_is_bounded() {
        let plugin = b"Error: known";
        let memory = b"Error: known\0".repeat(CANDIDATES_MAX);
        assert_eq!(found(&[memory.as_slice(), b"Error: new"].concat(), plugin), None);
        assert_eq!(found(&[&memory[13..], b"Error: new"].concat(), plugin), Some("Error: new".to_owned()));
        let texts: Vec<String> =
            (0..CANDIDATES_MAX).map(|number| format!("E{number}Error: {number}")).collect();
        let all = texts.join("\0");
        for (held, said) in [
            (0, Some(0)),
            (1, Some(1)),
            (CANDIDATES_MAX - 1, Some(CANDIDATES_MAX - 1)),
            (CANDIDATES_MAX, None),
        ] {
            // Without anything between them, as constants are stored in a program.
            let plugin = texts[..held].concat();
            assert_eq!(found(all.as_bytes(), plugin.as_bytes()), said.map(|place| texts[place].clone()));
        }
        let full = b"Error: ".repeat(PLACES_MAX);
        assert_eq!(found(b"Error: new", &full), Some("Error: new".to_owned()));
        assert_eq!(found(b"Error: new", &[&full[..], b"Error: "].concat()), None);
        let long = [b"Error: ".as_slice(), &[b'x'; 5000]].concat();
        assert_eq!(found(&long, b"").map(|text| text.len()), Some(ERROR_BYTES_MAX));
    }
}
