//! The numbers of a JSON text as they are written, since the parser gives only the nearest double.
//!
//! Must only be asked about numbers that the parser has accepted: nothing is checked here.

#[derive(Debug)]
pub(super) struct WrittenNumbers<'t> {
    rest: &'t str,
    /// Numbers that the parser has read and that are still in `rest`. They are skipped when the
    /// text of a later one is needed, so that bodies of integers are not read twice.
    passed: usize,
}

impl<'t> WrittenNumbers<'t> {
    pub fn of(text: &'t str) -> Self {
        Self { rest: text, passed: 0 }
    }

    /// The parser has read a number whose text is not needed.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// The text of the number that the parser has just read.
    pub fn take(&mut self) -> &'t str {
        for _ in 0..std::mem::take(&mut self.passed) {
            self.next();
        }
        self.next()
    }

    fn next(&mut self) -> &'t str {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at += string_length(&bytes[at..]),
                b'-' | b'0'..=b'9' => {
                    let length = bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count();
                    let (taken, rest) = self.rest.split_at(at + length);
                    self.rest = rest;
                    return &taken[at..];
                }
                _ => at += 1,
            }
        }
        ""
    }
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
}

/// The length of the string at the start, with its quotes.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_their_order_and_never_in_texts() {
        let text = r#"{"a 1":[-1,2.50,"3 \" 4","\\"],"ä5":{"x":1e-06},"y":-0.0E+1}"#;
        let mut numbers = WrittenNumbers::of(text);
        numbers.pass();
        assert_eq!([(); 3].map(|()| numbers.take()), ["2.50", "1e-06", "-0.0E+1"]);
    }
}
