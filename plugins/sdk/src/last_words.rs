//! Owns what a rule says when it panics: message, file and line, left in its
//! own memory, where a host that looks for the reason finds them. Must never
//! go on after that, nor keep the text where it could be overwritten.

use core::fmt::{self, Write};
use core::hint::black_box;
use std::panic::{PanicHookInfo, set_hook};

/// Around every text, so that a host recognises it. Part of what README.md promises.
const BEGIN: &[u8] = b"tollgate-message";
const END: &[u8] = b"tollgate-the-end";

/// As much as the host shows of it.
const LONGEST_TEXT_BYTES: usize = 1000;

/// Has to be called before anything else, in every instance.
pub(crate) fn leave_last_words() {
    set_hook(Box::new(leave));
}

fn leave(panic: &PanicHookInfo<'_>) {
    let mut words = Words { text: [0; LONGEST_TEXT_BYTES], length_bytes: 0 };
    // What does not fit is cut, which is no failure of the panic.
    let _ = write!(words, "{panic}");
    black_box(words.framed());
    // Here, since whatever runs after this may use the same stack.
    core::arch::wasm32::unreachable()
}

/// On the stack: a panic may come of there being no memory left.
struct Words {
    text: [u8; LONGEST_TEXT_BYTES],
    length_bytes: usize,
}

impl Words {
    fn framed(&self) -> [u8; LONGEST_TEXT_BYTES + BEGIN.len() + 4 + END.len()] {
        let length_bytes = (self.length_bytes as u32).to_le_bytes();
        let mut framed = [0; LONGEST_TEXT_BYTES + BEGIN.len() + 4 + END.len()];
        let text = self.text.get(..self.length_bytes).unwrap_or_default();
        let parts = BEGIN.iter().chain(&length_bytes).chain(text).chain(END);
        framed.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        framed
    }
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.length_bytes..).unwrap_or_default();
        let written = room.len().min(text.len());
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.length_bytes += written;
        Ok(())
    }
}
