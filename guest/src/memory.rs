//! What the standard library would bring along: an allocator, and the means for the host to place arguments.

use core::alloc::{GlobalAlloc, Layout};

#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

// For `memcmp`, which the compiler takes for granted.
#[link(name = "c")]
unsafe extern "C" {}

/// Lets the host place arguments and results in this component's memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
    if new_size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the canonical ABI passes a size and an alignment that `Layout` accepts, and as `old` what came from here.
    let place = unsafe {
        if old_size == 0 {
            ALLOCATOR.alloc(Layout::from_size_align_unchecked(new_size, align))
        } else {
            ALLOCATOR.realloc(old, Layout::from_size_align_unchecked(old_size, align), new_size)
        }
    };
    if place.is_null() {
        core::arch::wasm32::unreachable();
    }
    place
}
