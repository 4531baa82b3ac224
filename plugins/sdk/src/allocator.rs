//! The allocator of a rule in the sandbox. It allocates upwards and frees only
//! the newest block.
//!
//! It must not be used where an instance serves more than one call: the memory
//! would fill up. Tollgate gives each call a fresh instance.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;
use core::ptr::{null_mut, without_provenance_mut};

const PAGE_SIZE_BYTES: usize = 64 * 1024;

unsafe extern "C" {
    /// Placed by the linker after stack and data. Only its address is used.
    static __heap_base: u8;
}

struct Bump {
    /// The address of the first free byte; 0 before the first allocation.
    next: Cell<usize>,
}

// SAFETY: wasm32-unknown-unknown without atomics has exactly one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static ALLOCATOR: Bump = Bump { next: Cell::new(0) };

impl Bump {
    fn first_free(&self) -> usize {
        match self.next.get() {
            0 => (&raw const __heap_base).addr(),
            next => next,
        }
    }

    /// Makes `end` the first free byte and grows the memory if necessary.
    fn reserve_up_to(&self, end: usize) -> bool {
        let available_bytes = memory_size(0) * PAGE_SIZE_BYTES;
        if end > available_bytes {
            let missing_pages = (end - available_bytes).div_ceil(PAGE_SIZE_BYTES);
            if memory_grow(0, missing_pages) == usize::MAX {
                return false;
            }
        }
        self.next.set(end);
        true
    }

    fn is_newest(&self, block: *mut u8, size_bytes: usize) -> bool {
        block.addr() + size_bytes == self.next.get()
    }
}

// SAFETY: every block starts at or after the first free byte, is aligned and ends
// inside the memory. `next` then moves to its end, so blocks never overlap.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self
            .first_free()
            .checked_next_multiple_of(layout.align())
            .and_then(|start| Some((start, start.checked_add(layout.size())?)));
        match block {
            Some((start, end)) if self.reserve_up_to(end) => without_provenance_mut(start),
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_newest(block, layout.size()) {
            self.next.set(block.addr());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size_bytes: usize) -> *mut u8 {
        if self.is_newest(block, layout.size()) {
            return match block.addr().checked_add(new_size_bytes) {
                Some(end) if self.reserve_up_to(end) => block,
                _ => null_mut(),
            };
        }
        if new_size_bytes <= layout.size() {
            return block;
        }
        // SAFETY: the caller promises that the new size fits a layout of this alignment.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size_bytes, layout.align())) };
        if !moved.is_null() {
            // SAFETY: the new block is larger than the old one and lies after it.
            unsafe { block.copy_to_nonoverlapping(moved, layout.size()) };
        }
        moved
    }
}
