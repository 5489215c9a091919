//! io/console.h: the ring of a console.

structures! {
    /// The page; shared.
    "struct xencons_interface" XenconsInterface 3088 {
        0 input ("in"): [u8; 1024], "Typed bytes.";
        1024 out: [u8; 2048], "Printed bytes.";
        3072 in_cons: u32, "How many typed bytes the guest has taken.";
        3076 in_prod: u32, "How many there were.";
        3080 out_cons: u32, "How many printed bytes the console has taken.";
        3084 out_prod: u32, "How many there were.";
    }
}
