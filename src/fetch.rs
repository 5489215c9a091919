//! Packages from the network, verified and locked: the only place that knows the network.
