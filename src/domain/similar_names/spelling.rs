//! How a word sounds, roughly: one sound has many spellings in Latin letters, most of all in names
//! that were transcribed from another script.

/// The letters of a word as they sound. Different spellings of a name often sound the same.
#[derive(Debug)]
pub struct Sound {
    pub letters: String,
    /// Without vowels and letters that may be one.
    pub consonants: String,
}

impl Sound {
    /// Takes small Latin letters and digits.
    pub fn of(text: &str) -> Self {
        let mut sound = String::with_capacity(text.len() + 1);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (length, letters) = first_sound(rest, sound.as_bytes().last().copied());
            for letter in letters.chars() {
                if !sound.ends_with(letter) {
                    sound.push(letter);
                }
            }
            rest = &rest[length..];
        }
        let consonants = sound.chars().filter(|c| !matches!(c, 'a' | 'i' | 'u' | 'v')).collect();
        Self { letters: sound, consonants }
    }
}

/// The first sound of the rest of a word, and of how many letters it is made. `x` stands for *sh*
/// and `c` for *ch*. A sound that is not heard is empty.
fn first_sound(rest: &[u8], before: Option<u8>) -> (usize, &'static str) {
    let is_digraph = matches!(before, Some(b'k' | b'd' | b't'));
    match rest {
        [b's', b'c', b'h', ..] => (3, "x"),
        [b't', b'c', b'h', ..] => (3, "c"),
        [b's', b'h', ..] => (2, "x"),
        [b'c', b'h', ..] => (2, "c"),
        [b'p', b'h', ..] => (2, "f"),
        [b'z', b'h', ..] => (2, "s"),
        [b'c', b'k', ..] => (2, "k"),
        [b'o', b'u' | b'o' | b'e', ..] | [b'u', b'e', ..] | [b'e', b'o' | b'u', ..] => (2, "u"),
        [b'i', b'e', ..] | [b'e', b'e', ..] => (2, "i"),
        [b'h'] => (1, ""),
        [b'h', ..] if is_digraph => (1, ""),
        [b'c', b'e' | b'i' | b'y', ..] => (1, "s"),
        [b'a' | b'e', ..] => (1, "a"),
        [b'o' | b'u', ..] => (1, "u"),
        [b'i' | b'j' | b'y', ..] => (1, "i"),
        [b'v' | b'w', ..] => (1, "v"),
        [b'c' | b'g' | b'k' | b'q', ..] => (1, "k"),
        [b's' | b'z', ..] => (1, "s"),
        [b'x', ..] => (1, "ks"),
        [other, ..] => (1, itself(*other)),
        [] => (0, ""),
    }
}

fn itself(letter: u8) -> &'static str {
    const ALL: &str = "0123456789bdfhlmnprt";
    ALL.find(char::from(letter)).map_or("", |at| &ALL[at..=at])
}
