//! What a rule leaves behind when it panics: message, file and line, in its own memory,
//! where a host that looks for the reason finds them.
//!
//! Must never continue after a panic, nor keep the text where it could be overwritten.

use core::fmt::{self, Write};
use core::hint::black_box;
use std::panic::{PanicHookInfo, set_hook};

/// Marks around the text, by which a host recognises it. README.md promises them.
const BEGIN: &[u8] = b"tollgate-message";
const END: &[u8] = b"tollgate-the-end";

/// The most that a host shows of the text.
const LONGEST_TEXT_BYTES: usize = 1000;

/// Installs the hook. Must be called first in every instance.
pub(crate) fn leave_last_words() {
    set_hook(Box::new(leave));
}

fn leave(panic: &PanicHookInfo<'_>) {
    let mut words = Words { text: [0; LONGEST_TEXT_BYTES], length_bytes: 0 };
    // A text that does not fit is cut; that must not fail.
    let _ = write!(words, "{panic}");
    black_box(words.framed());
    // The panic ends here, since code that runs later could overwrite this stack.
    core::arch::wasm32::unreachable()
}

/// The text on the stack, since the panic may mean that no memory is left.
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
