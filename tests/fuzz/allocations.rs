//! Counts the memory that a thread takes: the only way to see a short peak.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTED: Counted = Counted;

struct Counted;

thread_local! {
    /// What this thread has taken and not given back. Others may give back for it, and it for others.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Counts anew.
pub(super) fn forget() {
    TAKEN.set(0);
    MOST.set(0);
}

/// The most that this thread had taken at a time.
pub(super) fn most() -> usize {
    MOST.get().try_into().unwrap_or(0)
}

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    _ = TAKEN.try_with(|taken| {
        taken.set(taken.get().saturating_add(bytes));
        MOST.try_with(|most| most.set(most.get().max(taken.get())))
    });
}

fn size(layout: Layout) -> isize {
    // A layout is never larger than this.
    layout.size().cast_signed()
}

// SAFETY: all that is done is done by the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as the caller has promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(new.cast_signed() - size(layout));
        // SAFETY: as the caller has promised.
        unsafe { System.realloc(memory, layout, new) }
    }
}

#[test]
fn what_was_taken_for_a_moment_is_counted() {
    forget();
    drop(Vec::<u8>::with_capacity(1 << 20));
    assert!((1 << 20..2 << 20).contains(&most()), "{}", most());
}
