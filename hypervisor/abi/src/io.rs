//! io/: pages that guests share among each other, as far as the hypervisor has a part in them.

pub mod console;
pub mod xs_wire;
