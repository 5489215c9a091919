//! io/xs_wire.h: the ring of xenstore.

constants! {
    XENSTORE_RING_SIZE: u32 = 1024, "Bytes of each ring.";
    XENSTORE_CONNECTED: u32 = 0, "`connection`: in use.";
    XENSTORE_RECONNECT: u32 = 1, "`connection`: the guest waits for xenstore.";
}

structures! {
    /// The page; shared.
    "struct xenstore_domain_interface" XenstoreDomainInterface 2076 {
        0 req: [u8; 1024], "Requests.";
        1024 rsp: [u8; 1024], "Replies and events.";
        2048 req_cons: u32, "How many bytes of requests were taken.";
        2052 req_prod: u32, "How many there were.";
        2056 rsp_cons: u32, "How many bytes of replies were taken.";
        2060 rsp_prod: u32, "How many there were.";
        2064 server_features: u32, "What the server can.";
        2068 connection: u32, "`XENSTORE_CONNECTED` or `XENSTORE_RECONNECT`.";
        2072 error: u32, "Why the server gave up.";
    }
}
