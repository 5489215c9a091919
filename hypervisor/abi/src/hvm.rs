//! hvm/: parameters of a domain.

pub mod hvm_op;
pub mod params;
