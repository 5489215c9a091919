//! What orders stores to tables, forgets translations and writes caches back, one instruction a step. The machine runs this list; the
//! fake one records it, step by step, for `fake/rules.rs` to judge. What `$step!` does with an instruction is each machine's.

/// Defines the maintenance of guests' translations; beside it stand `guest()` and `set_guest()`, which read and write VTTBR_EL2.
macro_rules! stage2_sequences {
    ($step:ident) => {
        /// Orders stores to tables before what follows.
        pub fn publish() {
            $step!("dsb ishst");
            $step!("isb");
        }

        /// Invalidates, on every CPU, what is cached of `page` (an address) in the guest that `vttbr` names; and what stage 1 made of it.
        pub fn invalidate(vttbr: u64, page: u64) {
            with_guest(vttbr, || {
                $step!("dsb ishst");
                $step!("tlbi ipas2e1is", page >> 12);
                $step!("dsb ish");
                // Combined entries hold no guest physical address by which they could be found (DDI 0487, D8.13).
                $step!("tlbi vmalle1is");
                $step!("dsb ish");
            });
        }

        /// Invalidates everything cached of the guest that `vttbr` names.
        pub fn invalidate_all(vttbr: u64) {
            with_guest(vttbr, || {
                $step!("dsb ishst");
                $step!("tlbi vmalls12e1is");
                $step!("dsb ish");
            });
        }

        /// Invalidates, on this CPU, what stage 1 of the loaded guest made.
        pub fn invalidate_here() {
            $step!("tlbi vmalle1");
            $step!("dsb nsh");
            $step!("isb");
        }

        /// Invalidates, on this CPU, what it knows of any guest, after its registers were written.
        fn forget_guests() {
            $step!("isb");
            $step!("tlbi alle1");
            $step!("dsb nsh");
            $step!("isb");
        }

        /// Invalidations act on the guest whose identifier is in VTTBR_EL2.
        fn with_guest(vttbr: u64, act: impl FnOnce()) {
            let current = guest();
            if current == vttbr {
                act();
            } else {
                set_guest(vttbr);
                $step!("isb");
                act();
                set_guest(current);
            }
            $step!("isb");
        }
    };
}

/// Defines what is done when the hypervisor's own tables change.
#[cfg(any(test, target_os = "none"))]
macro_rules! stage1_sequences {
    ($step:ident) => {
        /// Orders stores to a new table before the entry that leads there.
        fn order() {
            $step!("dsb ishst");
        }

        /// Lets the walker see new mappings, which need no invalidation.
        fn publish() {
            $step!("dsb ish");
            $step!("isb");
        }
    };
}

/// The change from one set of tables to another: `root` is the new one, `sctlr` what holds then. One piece, lest the compiler puts
/// anything in between.
#[cfg(any(test, target_os = "none"))]
macro_rules! use_tables {
    ($steps:ident) => {
        $steps!("msr ttbr0_el2, {root}", "isb", "tlbi alle2", "dsb nsh", "isb", "msr sctlr_el2, {sctlr}", "isb")
    };
}

/// Defines cache maintenance; beside it stand `clean_lines()` and `clean_and_invalidate_lines()`, which only issue it.
macro_rules! cache_sequences {
    ($step:ident) => {
        /// Writes back what is dirty in a range of physical memory, so that a guest with its caches off sees it.
        pub fn clean(address: u64, size: u64) {
            if size > 0 {
                clean_lines(address, size);
                $step!("dsb sy");
            }
        }

        /// Writes back and forgets.
        pub fn clean_and_invalidate(address: u64, size: u64) {
            if size > 0 {
                clean_and_invalidate_lines(address, size);
                $step!("dsb sy");
            }
        }

        /// Forgets. Lines that the range shares with others are written back first.
        pub fn invalidate(address: u64, size: u64) {
            clean_and_invalidate(address, size);
        }

        /// Makes instruction fetches see what was written, on every CPU.
        pub fn synchronise_code() {
            $step!("dsb ish");
            $step!("ic ialluis");
            $step!("dsb ish");
            $step!("isb");
        }
    };
}

pub(crate) use {cache_sequences, stage2_sequences};
#[cfg(any(test, target_os = "none"))]
pub(crate) use {stage1_sequences, use_tables};
