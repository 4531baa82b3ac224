//! Leaves the message of a panic, with file and line, in the rule's memory, where the host
//! finds it.

use core::fmt::{self, Write};
use core::hint::black_box;
use std::panic::{PanicHookInfo, set_hook};

/// The marks before and after the text, documented in plugins/README.md. The host searches for them.
const BEGIN: &[u8] = b"tollgate-message";
const END: &[u8] = b"tollgate-the-end";

/// The host shows no more of a text.
const MAX_TEXT_BYTES: usize = 1000;

/// Must be called first in every instance.
pub(crate) fn install_panic_hook() {
    set_hook(Box::new(leave_message));
}

fn leave_message(panic: &PanicHookInfo<'_>) {
    let mut buffer = StackBuffer { text: [0; MAX_TEXT_BYTES], length_bytes: 0 };
    // A text that is too long is cut.
    let _ = write!(buffer, "{panic}");
    black_box(buffer.framed());
    // The call ends here: code that ran later could overwrite the stack.
    core::arch::wasm32::unreachable()
}

/// Text on the stack: the panic may mean that no memory is left.
struct StackBuffer {
    text: [u8; MAX_TEXT_BYTES],
    length_bytes: usize,
}

impl StackBuffer {
    fn framed(&self) -> [u8; MAX_TEXT_BYTES + BEGIN.len() + 4 + END.len()] {
        let length_bytes = (self.length_bytes as u32).to_le_bytes();
        let mut framed = [0; MAX_TEXT_BYTES + BEGIN.len() + 4 + END.len()];
        let text = self.text.get(..self.length_bytes).unwrap_or_default();
        let parts = BEGIN.iter().chain(&length_bytes).chain(text).chain(END);
        framed.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        framed
    }
}

impl Write for StackBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.length_bytes..).unwrap_or_default();
        let written = room.len().min(text.len());
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.length_bytes += written;
        Ok(())
    }
}
