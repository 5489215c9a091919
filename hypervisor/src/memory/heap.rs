//! The heap: blocks of 16 to 2048 bytes cut from frames; what is larger is whole frames.
#![expect(unsafe_code, reason = "the allocator")]

use core::alloc::{GlobalAlloc, Layout};

use super::{Mfn, frames};
use crate::arch::{self, Lock, PAGE_SIZE};

/// Sizes 2^4 to 2^11.
const CLASSES: usize = 8;
const SMALLEST: u32 = 4;

/// First free block of each size, 0 for none; a free block's first word is the address of the next.
struct Heap(Lock<[usize; CLASSES]>);

#[global_allocator]
static HEAP: Heap = Heap(Lock::new([0; CLASSES]));

fn class(layout: &Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST).next_power_of_two();
    let class = (size.ilog2() - SMALLEST) as usize;
    (class < CLASSES).then_some(class)
}

fn order(layout: &Layout) -> u32 {
    let pages = layout.size().max(layout.align()).div_ceil(PAGE_SIZE as usize);
    pages.next_power_of_two().ilog2()
}

// SAFETY: blocks are as large and as aligned as asked, for a class's blocks lie at multiples of their size; each is handed out once
// until it comes back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(&layout) else {
            // What is large a guest asks for, and can be told that there is none: its ports, its handles.
            return frames::allocate_spare(order(&layout))
                .map_or(core::ptr::null_mut(), |frame| arch::pointer(frame.address()));
        };
        let mut heads = self.0.lock();
        if heads[class] == 0 {
            let Some(frame) = frames::allocate(0) else { return core::ptr::null_mut() };
            let (start, size) = (arch::pointer(frame.address()) as usize, 1 << (class as u32 + SMALLEST));
            for block in (start..start + PAGE_SIZE as usize).step_by(size) {
                // SAFETY: inside the frame that was just allocated.
                unsafe { (block as *mut usize).write(heads[class]) };
                heads[class] = block;
            }
        }
        let block = heads[class];
        // SAFETY: a free block of this class.
        heads[class] = unsafe { (block as *const usize).read() };
        block as *mut u8
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match class(&layout) {
            None => frames::free(Mfn::of(arch::physical(pointer)), order(&layout)),
            Some(class) => {
                let mut heads = self.0.lock();
                // SAFETY: the block is the heap's again.
                unsafe { (pointer as *mut usize).write(heads[class]) };
                heads[class] = pointer as usize;
            }
        }
    }
}
