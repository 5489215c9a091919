//! Carries a plan out: cache, queue, threads, events.
